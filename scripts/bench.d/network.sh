# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/bench: what goes through a published port and between two containers of a network, beside podman
# with what it brings along for that. Each peer is measured in turn, several times, and the medians are compared.
set -euo pipefail

install iperf3 slirp4netns netavark aardvark-dns
echo "== network: iperf3, ${ROUNDS:=5} rounds of ${SECONDS_EACH:=2} s"

# Makes the image, once: iperf3 and the libraries that it is linked with, beside the static busybox.
network_image() {
    local root=$BENCH/netfs file
    bench_image
    cp -r "$BENCH/rootfs" "$root"
    for file in $(command -v iperf3) $(ldd "$(command -v iperf3)" | grep -o '/[^ )]*'); do
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
    tar -C "$root" -cf "$BENCH/netfs.tar" .
    chmod a+r "$BENCH/netfs.tar"
    as_user "$BENCH/bryo" import "$BENCH/netfs.tar" localhost/bench-net:1 >/dev/null
    as_user podman import -q "$BENCH/netfs.tar" localhost/bench-net:1 >/dev/null
}

# The words that start a peer's containers, by its name.
declare -A engine=([bryo]=$BENCH/bryo [podman]=podman) port=([bryo]=15201 [podman]=15202)

# Runs iperf3 in a container of a peer: flags of the engine, `--`, arguments.
contained() {
    local words=("${engine[$1]}" run)
    [ "$1" = bryo ] || words+=(--cgroups=disabled)
    shift
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    as_user "${words[@]}" localhost/bench-net:1 iperf3 "$@"
}

# Starts a peer's servers: published, and in a network.
serve() {
    as_user "${engine[$1]}" network create bench-net >/dev/null &&
        contained "$1" -d --name bench-published -p "${port[$1]}:5201" -- -s >/dev/null &&
        contained "$1" -d --name bench-server --network bench-net -- -s >/dev/null
}

# Prints the bits of a second that a server got, of what a command that ends with JSON of iperf3 says.
received() {
    "$@" -t "$SECONDS_EACH" -J 2>/dev/null | jq '.end.sum_received.bits_per_second // empty'
}

# Measures a way once, through a peer: from the host at an address, or from another container.
throughput() {
    local where
    case $2 in
    container)
        where=$(as_user "${engine[$1]}" inspect \
            -f '{{(index .NetworkSettings.Networks "bench-net").IPAddress}}' bench-server)
        received contained "$1" --rm --network bench-net -- -c "$where"
        ;;
    *) received as_user iperf3 -c "$2" -p "${port[$1]}" ;;
    esac
}

network_image
peers=()
for peer in bryo podman; do
    # A peer that cannot run on this machine is named and left out: no number is better than a wrong one.
    if serve "$peer" 2>"$BENCH/why"; then
        peers+=("$peer")
    else
        echo "without $peer, which does not run here: $(tail -n 1 "$BENCH/why")"
    fi
done
sleep 1
own=$(ip -4 route get 192.0.2.1 2>/dev/null | grep -o 'src [^ ]*' | cut -d ' ' -f 2 || true)
for way in 127.0.0.1 $own container; do
    rm -f "$BENCH"/bits.*
    for _ in $(seq "$ROUNDS"); do
        for peer in "${peers[@]}"; do throughput "$peer" "$way" >>"$BENCH/bits.$peer"; done
    done
    case $way in
    container) title='between containers' ;;
    127.0.0.1) title='published, from the loopback' ;;
    *) title="published, from the host's address" ;;
    esac
    for peer in "${peers[@]}"; do
        jq -rs --arg name "$title, $peer" --slurpfile first "$BENCH/bits.${peers[0]}" \
            'def median: sort | .[length / 2 | floor];
            if length == 0 then "\($name)\tnothing went through" else
            "\($name)\t\(median / 1e7 | round / 100) Gbit/s\t\(($first | median // 0) / median * 100 | round / 100) x"
            end' "$BENCH/bits.$peer"
    done
done | column -t -s "$(printf '\t')"
for peer in "${peers[@]}"; do
    as_user "${engine[$peer]}" rm -f bench-published bench-server >/dev/null 2>&1 || true
    as_user "${engine[$peer]}" network rm bench-net >/dev/null 2>&1 || true
done
echo "a ratio says how many times as much goes through ${peers[0]:-nobody}; podman's port is a proxy, behind which the"
echo "client is not seen. goals: podman above 0.5 at a published port, above 1 between containers"
