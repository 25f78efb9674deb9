# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by scripts/bench: `exec CONTAINER true` beside podman, in a container that runs already.
set -euo pipefail

echo "== exec: exec CONTAINER true"
bench_image
bryo=("$BENCH/bryo" exec bench-exec /bin/true)
podman=(podman exec bench-exec /bin/true)
as_user "$BENCH/bryo" run -d --name bench-exec --network none localhost/bench:1 /bin/sleep 1000 >/dev/null
commands=(--command-name bryo "${bryo[*]}")
if as_user podman run -d --name bench-exec --network none --cgroups=disabled localhost/bench:1 /bin/sleep 1000 \
    >"$BENCH/why" 2>&1 && as_user "${podman[@]}" >"$BENCH/why" 2>&1; then
    commands+=(--command-name podman "${podman[*]}")
else
    echo "without podman, which does not run here: $(tail -n 1 "$BENCH/why")"
fi
as_user hyperfine -N --style none --warmup 5 --runs "${RUNS:-100}" --export-json "$BENCH/home/exec.json" \
    "${commands[@]}" >/dev/null
ratios "$BENCH/home/exec.json"
as_user "$BENCH/bryo" rm -f bench-exec >/dev/null
as_user podman rm -f -t 0 bench-exec >/dev/null 2>&1 || true
echo "goals: bryo below 6 ms, podman above 30"
