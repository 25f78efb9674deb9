# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/bench: builds beside `buildah build`, on one and the same base images with the same contexts: one of
# 20 instructions of which nothing has changed, an application of three stages, and a layer of 500 MB.
set -euo pipefail

install buildah
bench_image
context=$BENCH/home/context
runs=${BUILDS:-3}

# Measures a build as both make it: its title, how often, the Dockerfile, further words for bryo, and for buildah.
measure_build() {
    local title=$1 times=$2 dockerfile=$3 ours=$4 theirs=$5 commands=() bryo buildah
    echo "== build: $title"
    bryo="$BENCH/bryo build --quiet $ours -t localhost/built:1 -f $dockerfile $context"
    buildah="buildah build --quiet --isolation chroot --pull-never $theirs -t localhost/built:1 -f $dockerfile $context"
    commands=(--prepare 'sync -f .' --command-name bryo "$bryo")
    # shellcheck disable=SC2086 # words of a command
    as_user $bryo >/dev/null
    # shellcheck disable=SC2086
    if as_user $buildah >"$BENCH/why" 2>&1; then
        commands+=(--prepare 'sync -f .' --command-name buildah "$buildah")
    else
        echo "without buildah, which does not build here: $(tail -n 1 "$BENCH/why")"
    fi
    as_user hyperfine -N --style none --runs "$times" --export-json "$BENCH/home/build.json" "${commands[@]}" >/dev/null
    ratios "$BENCH/home/build.json"
}

# Makes an image of Debian with apt, and the packages of a compiler beside it: nothing is fetched while it is measured.
bench_debian() {
    local work=$BENCH/debian
    mkdir -p "$work/debs"
    # shellcheck disable=SC2016 # the hook's own variable
    mmdebstrap --quiet --variant=apt \
        --customize-hook='chroot "$1" apt-get -qq install -y --no-install-recommends --download-only gcc libc6-dev make' \
        --customize-hook="cp \"\$1\"/var/cache/apt/archives/*.deb $work/debs/" bookworm "$work/rootfs.tar" >/dev/null
    chmod -R a+rX "$work"
    as_user "$BENCH/bryo" import "$work/rootfs.tar" localhost/debian:1 >/dev/null
    as_user podman import -q "$work/rootfs.tar" localhost/debian:1 >/dev/null
    as_user cp -r "$work/debs" "$context/debs"
    rm -rf "$work"
}

# Writes an application: some sources to compile, and something that another stage makes meanwhile.
bench_application() {
    local n f
    as_user mkdir -p "$context/src"
    for n in $(seq 1 12); do
        for f in $(seq 1 400); do
            echo "int part_${n}_$f(int x) { int s = 0; for (int i = 0; i < x; i++) s += i * $f % (x + $n); return s; }"
        done | as_user tee "$context/src/part$n.c" >/dev/null
    done
    echo 'int part_1_1(int); int main(void) { return part_1_1(1); }' | as_user tee "$context/src/main.c" >/dev/null
    cat >"$BENCH/Application" <<'END'
FROM localhost/debian:1 AS build
RUN --mount=type=bind,source=debs,target=/debs apt-get -qq install -y /debs/*.deb >/dev/null
WORKDIR /src
COPY src .
RUN for f in *.c; do gcc -O2 -c "$f" || exit 1; done && gcc -o /app *.o

FROM localhost/debian:1 AS assets
RUN seq 1 3000000 | gzip -9 >/assets.gz

FROM localhost/debian:1
COPY --from=build /app /usr/local/bin/app
COPY --from=assets /assets.gz /usr/share/app/assets.gz
USER 1000
CMD ["/usr/local/bin/app"]
END
}

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
bench_debian
bench_application
# Real files of this machine, so that they compress as files do.
{ find /usr/lib -xdev -type f -size -64M -printf '%p\n' | sort | tar -cPf - --no-recursion -T - || true; } 2>/dev/null |
    head -c 500000000 | as_user tee "$context/large" >/dev/null
printf 'FROM localhost/bench:1\nCOPY large /large\n' >"$BENCH/Large"
chmod a+r "$BENCH/Dockerfile" "$BENCH/Application" "$BENCH/Large"
printf '/large\n' | as_user tee "$context/.dockerignore" >/dev/null

measure_build "20 instructions, nothing changed" 20 "$BENCH/Dockerfile" "" --layers
echo "goals: bryo below 100 ms, buildah above 10"
measure_build "an application of three stages, nothing known" "$runs" "$BENCH/Application" --no-cache "--no-cache --layers"
echo "goal: buildah above 0.8"
measure_build "the same without its layers in buildah's cache" "$runs" "$BENCH/Application" --no-cache --no-cache
measure_build "the same, nothing changed" 10 "$BENCH/Application" "" --layers
echo "goal: buildah above 10"
as_user rm "$context/.dockerignore"
for way in gzip uncompressed; do
    measure_build "a layer of 500 MB, $way here, not compressed in buildah's store" "$runs" "$BENCH/Large" \
        "--no-cache --compression $way" --no-cache
done
as_user hyperfine -N --style none --runs "$runs" --export-json "$BENCH/home/gzip.json" \
    --command-name "gzip -6 of the same alone, on one processor" "gzip -6 -c $context/large" >/dev/null
ratios "$BENCH/home/gzip.json"
