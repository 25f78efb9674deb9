# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/bench: pulling an image of four layers, about 1 GB and 40,000 files, from a registry on loopback.
set -euo pipefail

echo "== pull: four layers from a registry on loopback"
work=$BENCH/pull && mkdir -p "$work"
# The tests keep a Debian of their own.
kept=${BRYO_TEST_DIR:-/var/tmp/bryo-tests-$(id -u)}/images/rootfs-debian.1.tar
cp "$kept" "$work/1.tar" 2>/dev/null || mmdebstrap --quiet --variant=minbase bookworm "$work/1.tar"
# Real files of this machine, in the order of their names, so that each run has the same.
layer() {
    (cd / && find "$2" -xdev -type f -size -64M -printf '%s\t%p\n' 2>/dev/null | sort -k2 |
        awk -F '\t' -v max="$3" '{ sum += $1; if (sum <= max) print $2 }' |
        tar -cf "$1" --no-recursion --owner=0 --group=0 -T -)
}
layer "$work/2.tar" usr/lib 420000000
layer "$work/3.tar" usr/share 380000000
layer "$work/4.tar" usr/include 150000000
files=$(for n in 1 2 3 4; do tar -tf "$work/$n.tar"; done | wc -l)
umoci init --layout "$work/layout" && umoci new --image "$work/layout:big"
for n in 1 2 3 4; do umoci raw add-layer --image "$work/layout:big" "$work/$n.tar"; done
echo "$files files, $(du -ch "$work"/?.tar | tail -n 1 | cut -f 1) unpacked, $(du -sh "$work/layout" | cut -f 1) compressed"
rm -f "$work"/?.tar

port=5099
printf 'version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' \
    "$work/registry" "$port" >"$work/registry.yml"
OTEL_TRACES_EXPORTER=none docker-registry serve "$work/registry.yml" >/dev/null 2>&1 &
# shellcheck disable=SC2034 # ended by bench_clean
REGISTRY_PID=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.1; done
skopeo copy -q --insecure-policy --dest-tls-verify=false "oci:$work/layout:big" "docker://127.0.0.1:$port/big:1"
rm -rf "$work/layout"

bryo=("$BENCH/bryo" pull -q --tls-verify=false "127.0.0.1:$port/big:1")
podman=(podman pull -q --tls-verify=false "127.0.0.1:$port/big:1")
# Both start from an empty store, both find the registry's files in the page cache, and neither has to wait for what the
# other wrote before.
as_user hyperfine --style none --warmup 1 --runs "${PULLS:-3}" --export-json "$BENCH/home/pull.json" \
    --prepare "$BENCH/bryo rmi 127.0.0.1:$port/big:1 || true; sync -f ." --command-name bryo "${bryo[*]}" \
    --prepare "podman rmi -f 127.0.0.1:$port/big:1 || true; sync -f ." --command-name podman "${podman[*]}" >/dev/null
ratios "$BENCH/home/pull.json"

for peer in bryo podman; do
    declare -n words=$peer
    if [ $peer = bryo ]; then rmi=("$BENCH/bryo" rmi); else rmi=(podman rmi -f); fi
    as_user "${rmi[@]}" "127.0.0.1:$port/big:1" >/dev/null
    echo "$peer: $(peak_memory "${words[@]}") MiB resident at most, all its processes together"
done
echo "goals: podman above 2; bryo below 200 MiB"
