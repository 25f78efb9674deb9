// SPDX-License-Identifier: Apache-2.0
//! Which capabilities a container gets.

use std::collections::HashSet;

use oci_spec::runtime::{Capabilities, Capability};

use crate::options::RunOptions;

/// What root inside needs to install packages and to start services, and nothing else. Compared with Docker's default,
/// without `MKNOD` (no effect in a user namespace), `AUDIT_WRITE`, `SYS_CHROOT` and `NET_RAW`.
const ROOT: [Capability; 10] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::Setfcap,
    Capability::NetBindService,
];

/// Capabilities that the kernel only asks for in the first user namespace: whoever holds them inside holds nothing.
/// Source: `capabilities(7)`, `user_namespaces(7)`, and `capable()` where the kernel asks for each.
const WITHOUT_EFFECT: [Capability; 18] = [
    Capability::AuditControl,
    Capability::AuditRead,
    Capability::AuditWrite,
    Capability::BlockSuspend,
    Capability::Bpf,
    Capability::Lease,
    Capability::LinuxImmutable,
    Capability::MacAdmin,
    Capability::MacOverride,
    Capability::Mknod,
    Capability::Perfmon,
    Capability::SysModule,
    Capability::SysPacct,
    Capability::SysRawio,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Syslog,
    Capability::WakeAlarm,
];

/// The capabilities of a container.
#[derive(Debug, Clone, Default)]
pub(super) struct Granted {
    /// The bounding, permitted and effective sets.
    pub set: Capabilities,
    /// The ambient and inheritable sets: without them a user who is not root would lose them with the first program.
    pub ambient: Capabilities,
    /// A line for each that was asked for and means nothing.
    pub without_effect: Vec<String>,
}

impl Granted {
    /// Tells whether the payload may mount.
    pub fn mounts(&self) -> bool {
        self.set.contains(&Capability::SysAdmin)
    }
}

pub(super) fn of(options: &RunOptions, uid: u32) -> Granted {
    let base: &[Capability] = if uid == 0 { &ROOT } else { &[] };
    let mut set: HashSet<Capability> = base.iter().copied().collect();
    // As Docker: ALL first, then single ones, so that "drop ALL, add one" and "add ALL, drop one" both mean what they say.
    if options.cap_drop_all {
        set.clear();
    }
    if options.cap_add_all {
        set.extend(all());
    }
    set.extend(&options.cap_add);
    for capability in &options.cap_drop {
        set.remove(capability);
    }
    if let Some(profile) = &options.profile {
        profile.narrow_capabilities(&mut set);
    }
    let ambient = if uid == 0 { HashSet::new() } else { set.clone() };
    let idle = options.cap_add.iter().filter(|c| WITHOUT_EFFECT.contains(c));
    let without_effect =
        idle.map(|c| format!("--cap-add {c} has no effect: the kernel grants it to no user namespace"));
    Granted { set, ambient, without_effect: without_effect.collect() }
}

/// All capabilities of `capabilities(7)`.
fn all() -> impl Iterator<Item = Capability> {
    const NAMES: [&str; 41] = [
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "PERFMON",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "SYSLOG",
        "WAKE_ALARM",
    ];
    NAMES.iter().filter_map(|name| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_root_has_any_and_root_has_few() {
        assert!(of(&RunOptions::default(), 65532).set.is_empty());
        let root = of(&RunOptions::default(), 0);
        assert_eq!((root.set.len(), root.ambient.len()), (10, 0));
        assert!(!root.set.contains(&Capability::SysAdmin) && !root.set.contains(&Capability::NetRaw));
    }

    #[test]
    fn what_is_asked_for_is_given_and_nothing_else() {
        let options = RunOptions { cap_add: vec![Capability::NetRaw], ..RunOptions::default() };
        let granted = of(&options, 1000);
        assert_eq!(granted.set, HashSet::from([Capability::NetRaw]));
        assert_eq!(granted.ambient, granted.set);
        let options = RunOptions { cap_drop_all: true, cap_add: vec![Capability::Chown], ..RunOptions::default() };
        assert_eq!(of(&options, 0).set, HashSet::from([Capability::Chown]));
        let options = RunOptions { cap_add_all: true, cap_drop: vec![Capability::SysAdmin], ..RunOptions::default() };
        assert_eq!(of(&options, 0).set.len(), 40);
    }

    #[test]
    fn what_means_nothing_is_said_to() {
        let options = RunOptions { cap_add: vec![Capability::SysModule, Capability::NetRaw], ..RunOptions::default() };
        assert_eq!(of(&options, 0).without_effect.len(), 1);
    }
}
