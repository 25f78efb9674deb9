# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by scripts/bench: `run --rm --network none IMAGE true` beside crun, bubblewrap and podman, on one and the same
# root file system with the same kinds of namespaces. crun and bubblewrap get it unpacked: they have no images.
set -euo pipefail

echo "== start: run --rm --network none IMAGE true"
bench_image
root=$BENCH/rootfs

bundle=$BENCH/home/bundle
as_user mkdir -p "$bundle"
as_user sh -c "cd '$bundle' && crun spec --rootless"
# All ids, as bryo maps them, through newuidmap as well; a network of its own; no terminal.
read -r first < <(awk -F: -v u="$BENCH_USER" '$1 == u { print $2; exit }' /etc/subuid)
jq --arg root "$root" --argjson first "${first:-100000}" '.root = {path: $root, readonly: true} |
    .process.terminal = false | .process.args = ["/bin/true"] | .linux.namespaces += [{type: "network"}] |
    .linux.uidMappings = [{containerID: 0, hostID: $first, size: 65536}] |
    .linux.gidMappings = [{containerID: 0, hostID: $first, size: 65536}] |
    .linux.namespaces |= unique_by(.type)' "$bundle/config.json" >"$BENCH/config.json"
cp "$BENCH/config.json" "$bundle/config.json"

bryo=("$BENCH/bryo" run --rm --network none localhost/bench:1 /bin/true)
crun=(crun --cgroup-manager=disabled run --bundle "$bundle" bench)
bwrap=(bwrap --unshare-all --ro-bind "$root" / --proc /proc --dev /dev --tmpfs /tmp --tmpfs /run --new-session /bin/true)
podman=(podman run --rm --network none --cgroups=disabled localhost/bench:1 /bin/true)

commands=(--command-name bryo "${bryo[*]}")
for peer in crun bwrap podman; do
    declare -n words=$peer
    # A peer that cannot run on this machine is named and left out: no number is better than a wrong one.
    if as_user "${words[@]}" >"$BENCH/why" 2>&1; then
        commands+=(--command-name "$peer" "${words[*]}")
    else
        echo "without $peer, which does not run here: $(tail -n 1 "$BENCH/why")"
    fi
done
as_user hyperfine -N --style none --warmup 5 --runs "${RUNS:-100}" --export-json "$BENCH/home/start.json" \
    "${commands[@]}" >/dev/null
ratios "$BENCH/home/start.json"
echo "goals: crun above 1, bwrap above 0.5, podman above 10"
