// SPDX-License-Identifier: Apache-2.0
//! The default profile in the kernel: a probe attempts system calls with the filter and without it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test panic like the test")]

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use bryo_engine::profile;
use bryo_launch::seccomp;
use oci_spec::runtime::{Arch, Capability};

const EPERM: i32 = 1;
const ESRCH: i32 = 3;
const EBADF: i32 = 9;
const EFAULT: i32 = 14;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;
const EAFNOSUPPORT: i32 = 97;

/// Tells the re-executed test binary which probe to become and under which filter.
const PROBE: &str = "SECCOMP_TEST_PROBE";
const FILTER: &str = "SECCOMP_TEST_FILTER";

type Results = HashMap<String, i32>;

/// Builds the probe and runs it under a filter (`none`, `default`, `i386`, `admin`).
fn probe(filter: &str) -> Results {
    let dir = tempfile::tempdir().unwrap();
    let binary: PathBuf = dir.path().join("probe");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probes/syscalls.c");
    let built = Command::new("cc").args(["-O1", "-Wall", "-o"]).arg(&binary).arg(source).status();
    assert!(built.expect("a C compiler links Rust programs, so there is one").success());
    // The test binary becomes the probe: the filter must be installed in the process that attempts the calls.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "becomes_the_probe_when_asked", "--nocapture", "--test-threads=1"])
        .env(PROBE, &binary)
        .env(FILTER, filter)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{filter}: {}\n{stdout}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    // The harness prints the name of the test without an end of line before the probe takes over.
    let lines = stdout.lines().map(|line| line.rsplit_once("... ").map_or(line, |(_, rest)| rest));
    lines.filter_map(|line| line.split_once(' ')).filter_map(|(k, v)| Some((k.to_owned(), v.parse().ok()?))).collect()
}

#[test]
fn becomes_the_probe_when_asked() {
    let Some(binary) = std::env::var_os(PROBE) else { return };
    let filter = std::env::var(FILTER).unwrap();
    let caps: &[Capability] = if filter == "admin" { &[Capability::SysAdmin] } else { &[] };
    let mut profile = profile::default(caps);
    if filter == "i386" {
        profile.set_architectures(Some(vec![Arch::ScmpArchX86]));
    }
    if filter != "none" {
        let program = seccomp::compile(&profile).unwrap();
        rustix::thread::set_no_new_privs(true).unwrap();
        bryo_sys::seccomp::install(&program.filters, program.flags).unwrap();
    }
    panic!("exec: {}", Command::new(binary).exec());
}

#[track_caller]
fn expect(results: &Results, expected: &[(&str, i32)]) {
    let wrong: Vec<_> = expected.iter().filter(|(label, errno)| results.get(*label) != Some(errno)).collect();
    assert!(wrong.is_empty(), "expected {wrong:?}, all results: {results:?}");
}

#[test]
fn what_is_refused_is_refused_and_would_not_be_without_the_filter() {
    expect(
        &probe("none"),
        &[
            ("setns", EBADF),
            ("clone-newuser", EINVAL),
            ("clone-newuser-high", EINVAL),
            ("clone3", EINVAL),
            ("unshare-newuser", EINVAL),
            ("add_key", EFAULT),
            ("process_vm_readv", EINVAL),
            ("name_to_handle_at", EFAULT),
            ("personality-norandomize", 0),
            ("tiocsti", EBADF),
            ("tiocsti-high", EBADF),
            ("tioclinux", EBADF),
            ("socket-netfilter", 0),
        ],
    );
    expect(
        &probe("default"),
        &[
            ("mount", EPERM),
            ("fsopen", EPERM),
            ("setns", EPERM),
            ("clone-newuser", EPERM),
            ("clone-newuser-high", EPERM),
            ("clone3", ENOSYS),
            ("unshare-newuser", EPERM),
            ("keyctl", EPERM),
            ("add_key", EPERM),
            ("io_uring_setup", EPERM),
            ("process_vm_readv", EPERM),
            ("name_to_handle_at", EPERM),
            ("personality-norandomize", EPERM),
            ("tiocsti", EPERM),
            ("tiocsti-high", EPERM),
            ("tioclinux", EPERM),
            ("socket-netfilter", EPERM),
            ("socket-packet", EPERM),
            ("socket-alg", EAFNOSUPPORT),
            ("socket-alg-high", EAFNOSUPPORT),
            ("socket-vsock", EAFNOSUPPORT),
            ("future", ENOSYS),
        ],
    );
}

#[test]
fn what_programs_need_is_permitted() {
    expect(
        &probe("default"),
        &[
            ("getpid", 0),
            ("unshare-files", 0),
            ("personality-query", 0),
            ("tcgets", EBADF),
            ("socket-unix", 0),
            ("socket-inet6", 0),
            ("socket-route", 0),
            ("ptrace", ESRCH),
            ("fork", 0),
        ],
    );
    assert_ne!(probe("default")["landlock"], EPERM);
}

#[test]
fn a_capability_opens_its_calls_in_the_kernel() {
    expect(
        &probe("admin"),
        &[
            ("setns", EBADF),
            ("clone-newuser", EINVAL),
            ("clone3", EINVAL),
            ("unshare-newuser", EINVAL),
            ("keyctl", EPERM),
            ("tiocsti", EPERM),
        ],
    );
}

#[test]
#[cfg(target_arch = "x86_64")]
fn other_abis_do_not_exist_unless_the_profile_names_them() {
    let foreign = ["i386-getpid", "i386-mount", "i386-socket-inet", "i386-socketcall-socket", "i386-socketcall-bind"];
    let control = probe("none");
    expect(&control, &[("i386-getpid", 0), ("i386-socket-inet", 0), ("i386-socketcall-socket", EFAULT)]);
    let default = probe("default");
    expect(&default, &foreign.map(|label| (label, ENOSYS)));
    expect(&default, &[("x32-getpid", ENOSYS)]);
    expect(
        &probe("i386"),
        &[
            ("i386-getpid", 0),
            ("i386-mount", EPERM),
            ("i386-socket-inet", 0),
            ("i386-socket-alg", EAFNOSUPPORT),
            ("i386-socketcall-socket", EPERM),
            ("i386-socketcall-bind", EFAULT),
            ("x32-getpid", ENOSYS),
        ],
    );
}
