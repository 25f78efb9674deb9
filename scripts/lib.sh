# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the scripts share: installing packages if that is allowed, and building the one binary.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export PATH="$PATH:$HOME/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin"

# Runs a command as root, or fails quietly where there is no way to.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}

missing() {
    local p
    for p; do [ "$(dpkg-query -Wf '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"; done
}

# Installs the named Debian packages that are not there; goes on without them where it may not or cannot.
install() {
    command -v dpkg-query >/dev/null || return 0
    local need rest
    mapfile -t need < <(missing "$@")
    [ ${#need[@]} = 0 ] && return 0
    echo "installing: ${need[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    { as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${need[@]}"; } \
        </dev/null >/dev/null 2>&1 || true
    rest=$(missing "$@" | tr '\n' ' ')
    [ -z "$rest" ] || echo "going on without: $rest" >&2
}

# Builds the release binary and prints its path.
build() {
    local target=x86_64-unknown-linux-gnu
    if [ "$(uname -m)" = x86_64 ] && rustup_has "$target" && cargo static >&2; then
        echo "${CARGO_TARGET_DIR:-$PWD/target}/$target/release/bryo"
    else
        cargo build --release >&2 && echo "${CARGO_TARGET_DIR:-$PWD/target}/release/bryo"
    fi
}

# Tells whether rustc can build for a target, whoever installed it.
rustup_has() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]
}
