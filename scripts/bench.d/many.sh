# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/bench: many containers, started by several processes at once: the time of a start with 10 there and
# with a thousand, and what a monitor that waits costs.
set -euo pipefail

echo "== many: ${MANY:=1000} detached containers"
bench_image
# Starts so many by four processes and prints the milliseconds that one took.
start_many() {
    local begin end
    begin=$(date +%s%N)
    # shellcheck disable=SC2016
    as_user sh -c 'seq "$1" | xargs -P 4 -I N "$2" run -d --network none localhost/bench:1 /bin/sleep 100000 \
        >/dev/null' sh "$1" "$BENCH/bryo"
    end=$(date +%s%N)
    echo $(((end - begin) / 1000 / $1))
}
first=$(start_many 10)
start_many $((MANY - 20)) >/dev/null
last=$(start_many 10)
there=$(as_user "$BENCH/bryo" ps -q | wc -l)
echo "$there run; a start took $first us among the first 10, $last us among the last 10: $((last * 100 / first)) %"
# Private pages are those that go with the process.
private=$(pgrep -f "^$BENCH/bryo run -d" | while read -r pid; do
    awk '/^Private/ { sum += $2 } END { print sum }' "/proc/$pid/smaps_rollup" 2>/dev/null || true
done | awk '{ sum += $1 } END { print int(sum) }')
echo "their monitors and guardians have $((private / there)) KiB of private memory for each container"
# shellcheck disable=SC2016
as_user sh -c '"$1" rm -f $("$1" ps -aq) >/dev/null' sh "$BENCH/bryo"
echo "goals: 150 % at most; below 1024 KiB"
