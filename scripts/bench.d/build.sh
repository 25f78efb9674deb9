# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/bench: a build of 20 instructions of which nothing has changed, beside `buildah build --layers`, on
# one and the same base image with the same context.
set -euo pipefail

echo "== build: 20 instructions, nothing changed"
install buildah
bench_image
context=$BENCH/home/context
as_user mkdir -p "$context"
{
    echo "FROM localhost/bench:1"
    echo "WORKDIR /app"
    for n in 1 2 3 4 5 6; do
        echo "COPY file$n /app/"
        echo "RUN cat /app/file$n > /app/made$n"
        as_user sh -c "echo $n > '$context/file$n'"
    done
    printf 'ENV A=1\nARG B=2\nLABEL c=d\nEXPOSE 80\nUSER 1000\nCMD ["true"]\n'
} >"$BENCH/Dockerfile"
chmod a+r "$BENCH/Dockerfile"

bryo=("$BENCH/bryo" build --quiet -t localhost/built:1 -f "$BENCH/Dockerfile" "$context")
buildah=(buildah build --quiet --layers --isolation chroot -t localhost/built:1 -f "$BENCH/Dockerfile" "$context")

commands=(--command-name bryo "${bryo[*]}")
as_user "${bryo[@]}" >/dev/null
if as_user "${buildah[@]}" >"$BENCH/why" 2>&1; then
    commands+=(--command-name buildah "${buildah[*]}")
else
    echo "without buildah, which does not build here: $(tail -n 1 "$BENCH/why")"
fi
as_user hyperfine -N --style none --warmup 2 --runs 20 --export-json "$BENCH/home/build.json" "${commands[@]}" >/dev/null
ratios "$BENCH/home/build.json"
echo "goals: bryo below 100 ms, buildah above 10"
