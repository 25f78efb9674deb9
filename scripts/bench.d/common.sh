# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/bench: what is measured on, running as the ordinary user, cleaning up, printing ratios.

# Gives the home that is measured in a file system of its own, if we are root: new, so that no earlier run has left
# traces, and with a journal, as people have. Without one ext4 looks at each inode removed in the last minutes before it
# makes another, which is a measure of what was removed and not of who pulls.
fresh_disk() {
    [ "$(id -u)" = 0 ] && fallocate -l 12G "$BENCH/disk" 2>/dev/null &&
        mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$BENCH/disk" &&
        mount -o loop "$BENCH/disk" "$BENCH/home" 2>/dev/null ||
        echo "without a file system of its own: what was removed on this one shortly before may show"
}

# On hosts with both versions of cgroups crun, and so podman, starts nothing while the second has a controller left.
# One is taken away in our mount namespace; with its end the kernel gives it back.
allow_crun() {
    if [ "$(id -u)" = 0 ] && grep -q hugetlb /sys/fs/cgroup/unified/cgroup.controllers 2>/dev/null; then
        BENCH_HUGETLB=/sys/fs/cgroup/hugetlb
        mkdir -p $BENCH_HUGETLB
        mount -t cgroup -o hugetlb cgroup $BENCH_HUGETLB
    fi
}

# Runs a command as the user who is measured, with nothing of our environment.
as_user() {
    local become=()
    [ "$(id -un)" = "$BENCH_USER" ] || become=(setpriv "--reuid=$BENCH_USER" "--regid=$BENCH_USER" --init-groups)
    (cd "$BENCH/home" && "${become[@]}" env -i "HOME=$BENCH/home" "XDG_RUNTIME_DIR=$BENCH/home/run" \
        PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 "$@")
}

bench_clean() {
    [ -z "${REGISTRY_PID:-}" ] || kill "$REGISTRY_PID" 2>/dev/null || true
    as_user podman system reset -f >/dev/null 2>&1 || true
    # What a part that failed has left running.
    # shellcheck disable=SC2016
    as_user sh -c '"$1" ps -q | xargs -r "$1" rm -f' sh "$BENCH/bryo" >/dev/null 2>&1 || true
    umount "$BENCH/home" 2>/dev/null || true
    # What subordinate ids own can be removed by root, or inside a namespace that has them.
    rm -rf "$BENCH" 2>/dev/null || as_user unshare --map-auto --map-root-user rm -rf "$BENCH/home"
    rm -rf "$BENCH"
    [ -z "${BENCH_HUGETLB:-}" ] || { umount "$BENCH_HUGETLB" && rmdir "$BENCH_HUGETLB"; }
}

# Makes the image that is started, once: a static busybox, for bryo and podman, and unpacked for those without images.
bench_image() {
    local root=$BENCH/rootfs applet
    [ ! -e "$root" ] || return 0
    mkdir -p "$root"/{bin,dev,etc,proc,sys,tmp,run,var}
    cp /bin/busybox "$root/bin/busybox"
    for applet in sh true cat sleep; do ln -s busybox "$root/bin/$applet"; done
    printf 'root:x:0:0::/:/bin/sh\n' >"$root/etc/passwd"
    tar -C "$root" -cf "$BENCH/rootfs.tar" .
    chmod -R a+rX "$root" "$BENCH/rootfs.tar"
    as_user "$BENCH/bryo" import "$BENCH/rootfs.tar" localhost/bench:1 >/dev/null
    as_user podman import -q "$BENCH/rootfs.tar" localhost/bench:1 >/dev/null
}

# Prints the median of each command in a result of hyperfine, and how many times as long as the first it took.
ratios() {
    jq -r '.results[0].median as $first | .results[] |
        "\(.command)\t\(.median * 10000 | round / 10) ms\t+-\((.stddev // 0) * 10000 | round / 10)\t\(.median / $first * 100 | round / 100) x"' \
        "$1" | column -t -s "$(printf '\t')"
}

# Runs a command as the user and prints the largest sum of resident memory of all its processes, in MiB.
peak_memory() {
    as_user setsid --wait "$@" >/dev/null 2>&1 &
    local waiter=$! session='' peak=0 now
    while kill -0 "$waiter" 2>/dev/null; do
        # The newest of that name may be a child: the session is what they all share.
        session=${session:-$(pgrep -n -f "^$1 pull" | xargs -r ps -o sid= -p | tr -d ' ' || true)}
        now=$(ps -e -o sid=,rss= | awk -v s="${session:-none}" '$1 == s { sum += $2 } END { print int(sum / 1024) }')
        [ "$now" -le "$peak" ] || peak=$now
        sleep 0.02
    done
    wait "$waiter"
    echo "$peak"
}
