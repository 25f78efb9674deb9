# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/bench: `drift --all` of a hundred containers of a Debian image, in ten of which something was installed,
# beside `diff` of each, which only lists paths; and what a proof of immutability costs.
set -euo pipefail

echo "== drift: ${DRIFT:=100} containers of a minimal Debian"
root=$BENCH/drift.tar
mmdebstrap --variant=minbase --quiet bookworm "$root"
chmod a+r "$root"
as_user "$BENCH/bryo" import "$root" localhost/drift:1 >/dev/null
# shellcheck disable=SC2016
as_user sh -c 'seq "$1" | xargs -P 4 -I N "$2" run -d --name drift-N --network none --user root --writable \
    localhost/drift:1 sleep 100000 >/dev/null
    for n in $(seq 10); do
        "$2" exec "drift-$n" sh -c "cp /bin/true /usr/bin/evil; echo x >/etc/evil; rm /usr/bin/cut;
            printf \"\nPackage: evil\nStatus: install ok installed\nVersion: 1\n\" >>/var/lib/dpkg/status"
    done' sh "$DRIFT" "$BENCH/bryo"
echo "$(as_user "$BENCH/bryo" drift --all --format '{{.Container}}' | sort -u | wc -l) of them differ from their image"
# shellcheck disable=SC2016
printf '%s\n' '#!/bin/sh' 'for n in $(seq "$2"); do "$1" diff "drift-$n"; done' >"$BENCH/each"
chmod 755 "$BENCH/each"
as_user hyperfine -N --style none --runs "${RUNS:-20}" --ignore-failure --export-json "$BENCH/home/drift.json" \
    --command-name "drift --all" "$BENCH/bryo drift --all" \
    --command-name "diff of each" "$BENCH/each $BENCH/bryo $DRIFT" >/dev/null
ratios "$BENCH/home/drift.json"
# shellcheck disable=SC2016
as_user sh -c '"$1" rm -f $("$1" ps -aq) >/dev/null' sh "$BENCH/bryo"
as_user hyperfine -N --style none --runs "${RUNS:-20}" --export-json "$BENCH/home/immutable.json" \
    --command-name "run" "$BENCH/bryo run --rm --network none localhost/drift:1 true" \
    --command-name "run --immutable" "$BENCH/bryo run --rm --network none --immutable localhost/drift:1 true" >/dev/null
ratios "$BENCH/home/immutable.json"
echo "goal: drift --all below 1 s"
