// SPDX-License-Identifier: Apache-2.0
//! A profile's part in a plan: everything that it does not name is taken away from what the container would have.

use std::path::{Path, PathBuf};

use bryo_launch::plan::{TcpPorts, Volume};
use oci_spec::runtime::{Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, Mount};
use serde::{Deserialize, Serialize};

use super::{Ports, Profile, port};
use crate::error::{Error, Kind, Result};
use crate::options::{RunOptions, Seccomp};

/// What happens between the installation of the filter and the payload, and what the kernel makes every program do:
/// executing it, by another small program where there is no Landlock, or saying why not and ending.
pub(super) const LAUNCH: [&str; 18] = [
    "access",
    "brk",
    "close",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fcntl",
    "mmap",
    "munmap",
    "newfstatat",
    "restart_syscall",
    "rt_sigreturn",
    "sendmsg",
    "set_robust_list",
    "write",
];

/// What of a profile was enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Enforcement {
    /// How many system calls are permitted at most, those of the launch included.
    pub syscalls: usize,
    /// Devices that there are besides `/dev/null`.
    pub devices: Vec<String>,
    /// Directories that may be written in.
    pub writes: Vec<String>,
    /// TCP ports that may be bound; nothing where ports are not looked at.
    pub bind: Option<Vec<u16>>,
    /// TCP ports that may be connected to.
    pub connect: Option<Vec<u16>>,
    /// What the profile says and nobody enforces.
    pub not_enforced: Vec<String>,
}

impl Profile {
    /// Refuses what would undo the profile.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`].
    pub fn check(options: &RunOptions) -> Result<()> {
        let security = &options.security;
        let contradictions = [
            (options.writable, "--writable"),
            (security.seccomp != Seccomp::Builtin, "--security-opt seccomp"),
            (security.new_privileges, "--security-opt no-new-privileges=false"),
            (options.init, "--init"),
        ];
        match contradictions.iter().find(|(is, _)| *is && options.profile.is_some()) {
            None => Ok(()),
            Some((_, flag)) => {
                let why = format!("--profile and {flag} contradict each other; leave one of them out");
                Err(Error::new(Kind::InvalidOption, why))
            }
        }
    }

    /// Tells what is enforced.
    pub(crate) fn enforcement(&self) -> Enforcement {
        let ports = self.tcp_ports();
        Enforcement {
            syscalls: self
                .syscalls
                .iter()
                .map(String::as_str)
                .chain(LAUNCH)
                .collect::<std::collections::HashSet<_>>()
                .len(),
            devices: self.devices.iter().cloned().collect(),
            writes: self.writes.iter().cloned().collect(),
            bind: ports.as_ref().map(|ports| ports.bind.clone()),
            connect: ports.map(|ports| ports.connect),
            not_enforced: self.not_enforced(),
        }
    }

    fn not_enforced(&self) -> Vec<String> {
        match &self.ports {
            None => vec!["ports, which the profile does not name".to_owned()],
            Some(_) => vec![
                "UDP ports: Landlock knows those of TCP alone".to_owned(),
                "listening without a port of one's own choice: the kernel takes a random one".to_owned(),
            ],
        }
    }

    /// Returns the notes that a start with this profile is worth.
    pub(crate) fn notes(&self) -> Vec<String> {
        let udp = |ports: &Ports| ports.bind.iter().chain(&ports.connect).any(|word| word.starts_with("udp/"));
        let told = self.ports.as_ref().is_some_and(udp);
        told.then(|| "the profile's UDP ports are not enforced: Landlock knows those of TCP alone".to_owned())
            .into_iter()
            .collect()
    }

    /// Returns the TCP ports that may be used; nothing where ports are not looked at.
    pub(crate) fn tcp_ports(&self) -> Option<TcpPorts> {
        let tcp = |words: &std::collections::BTreeSet<String>| {
            words.iter().filter_map(|word| port(word).filter(|(p, _)| *p == "tcp")).map(|(_, n)| n).collect()
        };
        self.ports.as_ref().map(|ports| TcpPorts { bind: tcp(&ports.bind), connect: tcp(&ports.connect) })
    }

    /// Names the devices that are wanted, as they are called in `/dev`.
    pub(crate) fn device_names(&self) -> Vec<String> {
        self.devices.iter().filter_map(|path| path.strip_prefix("/dev/")).map(str::to_owned).collect()
    }

    /// Takes capabilities away.
    pub(crate) fn narrow_capabilities(&self, set: &mut Capabilities) {
        set.retain(|capability: &Capability| self.capabilities.contains(&format!("CAP_{capability}")));
    }

    /// Tells whether a call is permitted at all.
    pub(super) fn permits(&self, call: &str) -> bool {
        self.syscalls.contains(call) || LAUNCH.contains(&call)
    }

    /// Takes calls out of a filter: what it permitted with some arguments only it still does.
    pub(crate) fn narrow_filter(&self, filter: &mut LinuxSeccomp) {
        let mut rules = filter.syscalls().clone().unwrap_or_default();
        rules.retain_mut(|rule| {
            if rule.action() == LinuxSeccompAction::ScmpActAllow {
                let names: Vec<String> = rule.names().iter().filter(|name| self.permits(name)).cloned().collect();
                rule.set_names(names);
            }
            !rule.names().is_empty()
        });
        filter.set_syscalls(Some(rules));
    }

    /// Leaves of the places to write those that are written in.
    pub(crate) fn narrow_state(&self, state: &[PathBuf]) -> Vec<PathBuf> {
        let mut kept: Vec<PathBuf> = Vec::new();
        for written in self.writes.iter().map(Path::new) {
            let below = state.iter().any(|dir| written.starts_with(dir)).then(|| written.to_owned());
            let above = state.iter().filter(|dir| dir.starts_with(written)).cloned();
            kept.extend(below.into_iter().chain(above));
        }
        kept.sort();
        // What lies in another one is writable with it.
        let all = kept.clone();
        kept.retain(|dir| !all.iter().any(|other| other != dir && dir.starts_with(other)));
        kept.dedup();
        kept
    }

    /// Makes mounts read-only that are not written in. `/dev` itself is the launcher's to fill.
    pub(crate) fn narrow_mounts(&self, mounts: &mut [Mount], volumes: &mut [Volume]) {
        let own = mounts.iter().map(|mount| mount.destination().clone());
        let all: Vec<PathBuf> = own.chain(volumes.iter().map(|volume| volume.target.clone())).collect();
        for mount in mounts {
            let target = mount.destination();
            let memory = mount.typ().as_deref() == Some("tmpfs") && target != Path::new("/dev");
            let bind = mount.options().iter().flatten().any(|option| matches!(option.as_str(), "bind" | "rbind"));
            if (memory || bind) && !self.writes_to(target, &all) {
                let mut options = mount.options().clone().unwrap_or_default();
                if !options.iter().any(|option| option == "ro") {
                    options.push("ro".to_owned());
                }
                mount.set_options(Some(options));
            }
        }
        for volume in volumes {
            volume.read_only |= !self.writes_to(&volume.target, &all);
        }
    }

    /// Tells whether something is written to a mount: what is written to another one in it is not.
    fn writes_to(&self, target: &Path, mounts: &[PathBuf]) -> bool {
        let inner = |written: &Path| {
            mounts.iter().any(|other| other != target && other.starts_with(target) && written.starts_with(other))
        };
        self.writes.iter().map(Path::new).any(|it| target.starts_with(it) || it.starts_with(target) && !inner(it))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SMALL, profile};
    use super::*;

    #[test]
    fn a_filter_only_loses() {
        let whole = crate::profile::default(&[]);
        let mut narrow = whole.clone();
        let mut asks = profile(SMALL);
        asks.syscalls.extend(["mount".to_owned(), "clone".to_owned()]);
        asks.narrow_filter(&mut narrow);
        let allowed = |filter: &LinuxSeccomp| -> Vec<(String, bool)> {
            let rules = filter.syscalls().clone().unwrap_or_default().into_iter();
            let rules = rules.filter(|rule| rule.action() == LinuxSeccompAction::ScmpActAllow);
            rules.flat_map(|r| r.names().iter().map(|n| (n.clone(), r.args().is_some())).collect::<Vec<_>>()).collect()
        };
        let (before, after) = (allowed(&whole), allowed(&narrow));
        assert!(after.iter().all(|rule| before.contains(rule)));
        let named = |name: &str| after.iter().any(|(n, _)| n == name);
        assert!(named("read") && named("execve") && !named("mount") && !named("getpid"));
        // What namespaces it may make is still looked at.
        assert!(after.iter().any(|(n, args)| n == "clone" && *args) && !after.contains(&("clone".to_owned(), false)));
        bryo_launch::seccomp::compile(&narrow).unwrap();
    }

    #[test]
    fn places_to_write_are_those_that_are_written_in() {
        let state = ["/tmp", "/run", "/var"].map(PathBuf::from);
        assert_eq!(profile(SMALL).narrow_state(&state), ["/tmp", "/var/lib/x"].map(PathBuf::from));
        let mut wide = profile(SMALL);
        wide.writes = ["/".to_owned()].into();
        assert_eq!(wide.narrow_state(&state).len(), 3);
        wide.writes.clear();
        assert!(wide.narrow_state(&state).is_empty());
    }

    #[test]
    fn memory_that_holds_another_mount_is_read_only_as_well() {
        let mount = |target: &str, kind: &str| {
            let mut mount = Mount::default();
            mount.set_destination(target.into()).set_typ(Some(kind.to_owned())).set_options(None);
            mount
        };
        let closed = |asks: &Profile, targets: &[&str]| {
            let mut mounts: Vec<Mount> = targets.iter().map(|target| mount(target, "tmpfs")).collect();
            asks.narrow_mounts(&mut mounts, &mut []);
            let closed = mounts.iter().map(|mount| mount.options().iter().flatten().any(|option| option == "ro"));
            closed.collect::<Vec<_>>()
        };
        let small = profile(SMALL);
        assert_eq!(closed(&small, &["/data", "/data/sub", "/tmp", "/dev"]), [true, true, false, false]);
        // What is written to the inner one is not written to the outer one.
        assert_eq!(closed(&small, &["/var", "/var/lib"]), [true, false]);
        assert_eq!(closed(&small, &["/var", "/var/lib/x/y", "/var/lib/xy"]), [false, false, true]);
    }

    #[test]
    fn what_would_undo_a_profile_is_refused() {
        let mut options = RunOptions { profile: Some(profile(SMALL)), ..RunOptions::default() };
        Profile::check(&options).unwrap();
        options.security.new_privileges = true;
        assert_eq!(Profile::check(&options).unwrap_err().kind(), Kind::InvalidOption);
    }
}
