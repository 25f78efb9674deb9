# SPDX-License-Identifier: Apache-2.0

# Lists what can be done.
default:
    @just --list

# Formatting, lints, licences, documentation.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
    scripts/deny
    shellcheck -x .ci/run scripts/try scripts/test scripts/deny scripts/bench scripts/fuzz scripts/lib.sh scripts/bench.d/* tests/vm/build tests/vm/customize tests/vm/guest tests/vm/job tests/vm/run tests/vm/test tests/vm/cases/* tests/systemd/* tests/services/run tests/services/table

# All tests, or those that the arguments name: just test -p bryo-tests network::
test *args:
    scripts/test {{ args }}

# The Dockerfiles of tests/build, by bryo and, where it is installed, by buildah.
conformance:
    scripts/test -p bryo-tests build_corpus:: -- --include-ignored

# Real services as nobody, asked by clients of their protocols; writes the table of docs/src/services.md.
corpus *names:
    tests/services/run {{ names }}

# Has every reader of what others have written, or those that are named, search for crashes; needs a nightly compiler and
# cargo-fuzz. SECONDS is for each.
fuzz seconds="60" *names:
    scripts/fuzz {{ seconds }} {{ names }}

# Limits, delegation and denials, in a virtual machine with systemd; as root.
test-vm *cases:
    tests/vm/test {{ cases }}

# What others have published as right: FIXTURES is test/testdata of kubernetes/pod-security-admission, VERSIONS is
# test/unit/version.data of apk-tools. Neither is in this repository.
published fixtures versions:
    BRYO_PSS_FIXTURES={{ fixtures }} cargo test -p bryo-audit --test published -- --ignored
    BRYO_TEST_APK_VERSIONS={{ versions }} cargo test -p bryo-packages --test versions -- --ignored

# Start and pull beside the peers, as ratios of one run.
bench *which:
    scripts/bench {{ which }}

# The static binary.
build:
    cargo static

# Builds bryo and shows what it does.
try:
    scripts/try

# The handbook, in target/book.
book:
    mdbook build docs
