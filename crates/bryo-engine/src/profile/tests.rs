// SPDX-License-Identifier: Apache-2.0
//! The default profile: complete, compilable, and refusing what it says.

use std::collections::BTreeSet;

use syscalls::{aarch64, x86, x86_64};

use super::*;

/// Refused on purpose, by the reason.
const REFUSED: &[&[&str]] = &[
    // Mounts and namespaces: only with CAP_SYS_ADMIN inside.
    &[
        "clone3",
        "fanotify_init",
        "fanotify_mark",
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "listmount",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "open_tree_attr",
        "pivot_root",
        "setdomainname",
        "sethostname",
        "setns",
        "statmount",
        "umount",
        "umount2",
    ],
    // Other processes' memory and descriptors: only with CAP_SYS_PTRACE.
    &["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev"],
    &["chroot", "reboot"],
    // The kernel's own state, for the host's administrator alone.
    &[
        "acct",
        "bpf",
        "clock_settime",
        "clock_settime64",
        "delete_module",
        "finit_module",
        "init_module",
        "ioperm",
        "iopl",
        "kexec_file_load",
        "kexec_load",
        "perf_event_open",
        "quotactl",
        "quotactl_fd",
        "settimeofday",
        "stime",
        "swapoff",
        "swapon",
        "syslog",
        "vhangup",
    ],
    // Keyrings are not namespaced by container.
    &["add_key", "keyctl", "request_key"],
    // File handles go around path permissions (the "shocker" escape).
    &["name_to_handle_at", "open_by_handle_at"],
    // Large attack surface or an exploit's tool, with a fallback in every program that uses it.
    &[
        "io_uring_enter",
        "io_uring_register",
        "io_uring_setup",
        "lookup_dcookie",
        "migrate_pages",
        "modify_ldt",
        "move_pages",
        "userfaultfd",
        "vmsplice",
    ],
    // Security modules, for the ones that load them.
    &["lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr"],
    // Removed, never implemented, or for programs of the last century.
    &[
        "_sysctl",
        "afs_syscall",
        "bdflush",
        "r#break",
        "create_module",
        "epoll_ctl_old",
        "epoll_wait_old",
        "ftime",
        "get_kernel_syms",
        "getpmsg",
        "gtty",
        "idle",
        "lock",
        "mpx",
        "nfsservctl",
        "prof",
        "profil",
        "putpmsg",
        "query_module",
        "security",
        "stty",
        "sysfs",
        "tuxcall",
        "ulimit",
        "uselib",
        "ustat",
        "vm86",
        "vm86old",
        "vserver",
    ],
    // Derived by the launcher from the calls that they carry.
    &["ipc", "socketcall"],
];

/// Decided by their arguments.
const CONDITIONAL: &[&str] = &["clone", "ioctl", "personality", "socket", "socketpair", "unshare"];

/// Names in the tables which no kernel of that ABI answers to.
const PHANTOM: &[&str] = &["arch_specific_syscall"];

fn kernel_names() -> BTreeSet<&'static str> {
    let x86_64 = x86_64::Sysno::iter().map(|call| call.name());
    let i386 = x86::Sysno::iter().map(|call| call.name());
    let aarch64 = aarch64::Sysno::iter().map(|call| call.name()).filter(|name| *name != "fstatat");
    // The iterators end before their last element.
    let last = [x86_64::Sysno::last().name(), x86::Sysno::last().name(), aarch64::Sysno::last().name()];
    x86_64.chain(i386).chain(aarch64).chain(last).filter(|name| !PHANTOM.contains(name)).collect()
}

fn set<'a>(groups: &[&[&'a str]]) -> BTreeSet<&'a str> {
    groups.concat().into_iter().collect()
}

#[test]
fn every_call_of_the_kernel_is_a_decision() {
    let (permitted, refused) = (set(table::PERMITTED), set(REFUSED));
    let conditional = set(&[CONDITIONAL]);
    let decided: Vec<&str> = permitted.iter().chain(&refused).chain(&conditional).copied().collect();
    let unique: BTreeSet<&str> = decided.iter().copied().collect();
    assert_eq!(decided.len(), unique.len(), "a call is decided twice");
    let kernel = kernel_names();
    assert_eq!(kernel.difference(&unique).collect::<Vec<_>>(), [&""; 0], "undecided");
    let misspelt: Vec<_> =
        permitted.difference(&kernel).filter(|name| !["recv", "send", "newfstatat"].contains(name)).collect();
    assert_eq!(misspelt, [&""; 0], "no such call");
}

#[test]
fn each_group_names_a_call_once_and_in_order() {
    for group in table::PERMITTED {
        assert!(group.is_sorted(), "{group:?}");
    }
    assert_eq!(set(table::PERMITTED).len(), table::PERMITTED.concat().len());
}

#[test]
fn capabilities_open_only_what_is_refused_otherwise() {
    let refused: BTreeSet<_> = set(REFUSED).into_iter().chain(["clone", "unshare"]).collect();
    for (capability, names) in table::OPENED {
        for name in *names {
            assert!(refused.contains(name), "{capability} opens {name}");
        }
    }
}

#[test]
fn compiles_for_every_set_of_capabilities_within_the_kernels_limit() {
    let all = [
        Capability::SysAdmin,
        Capability::SysPtrace,
        Capability::SysChroot,
        Capability::SysBoot,
        Capability::NetRaw,
        Capability::NetAdmin,
    ];
    for subset in 0..1_u32 << all.len() {
        let caps: Vec<_> = all.into_iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1).map(|(_, c)| c).collect();
        let mut profile = default(&caps);
        let native = bryo_launch::seccomp::compile(&profile).unwrap().filters.len();
        assert!(native < 512, "{native} instructions");
        profile.set_architectures(Some(vec![NATIVE, Arch::ScmpArchX86]));
        assert!(bryo_launch::seccomp::compile(&profile).unwrap().filters.len() < 1024);
    }
}
