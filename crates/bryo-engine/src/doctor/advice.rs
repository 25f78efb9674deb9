// SPDX-License-Identifier: Apache-2.0
//! What each lack of a host costs, and the one line that mends it: written once, for `doctor` and for every failure.
//!
//! Commands are for Debian and its relatives where they name packages; the package's other names are beside them.

use bryo_identity::HostId;
use serde::Serialize;

/// A reason for which a host cannot give what a container needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The kernel was built without user namespaces.
    NoUserNamespaces,
    /// `user.max_user_namespaces` is 0.
    UserNamespacesOff,
    /// `user.max_user_namespaces`, or the depth of 32, is used up.
    UserNamespacesUsedUp,
    /// Another `user.max_*_namespaces` is 0.
    NamespacesOff,
    /// `kernel.unprivileged_userns_clone` is 0.
    UsernsCloneOff,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1.
    AppArmor,
    /// The filter or security module of a surrounding container refuses.
    Surrounded,
    /// The surrounding container masks parts of `/proc`, so the kernel gives no new one.
    ProcMasked,
    /// `/etc/subuid` or `/etc/subgid` has no range for the caller.
    NoRange,
    /// The range is smaller than images need.
    SmallRange,
    /// The helpers that write maps are not installed.
    NoHelpers,
    /// The helpers have lost their set-user-id bit or file capability.
    HelpersPowerless,
    /// The helpers lie on a file system that is mounted `nosuid`.
    HelpersNosuid,
    /// The calling process has `no_new_privs`, so that no helper can gain anything.
    CallerConfined,
    /// The helpers refuse the range for another reason.
    HelpersRefuse,
    /// Root of a surrounding container does not have the ids that bryo hands out.
    OutsideRange,
    /// Overlays in user namespaces are not supported by this kernel.
    OverlayMissing,
    /// The file system of the store cannot hold the upper layer of an overlay.
    OverlayRefused,
    /// The file system of the store cannot be mounted with ids mapped.
    NoIdmappedMounts,
    /// The kernel was built without system call filters.
    NoSeccomp,
    /// The kernel has no usable Landlock.
    NoLandlock,
    /// Control groups are version 1.
    CgroupV1,
    /// Not all controllers of control groups are delegated to the caller.
    NoDelegation,
    /// systemd runs, and the caller has no manager of its own.
    NoManager,
    /// No control group is the caller's, and there is no systemd.
    NoGroup,
    /// The kernel does not have a controller.
    NoController,
    /// The kernel does not count what is swapped.
    NoSwapAccounting,
    /// `pasta` is not installed.
    NoPasta,
    /// `/dev/net/tun` is missing.
    NoTun,
    /// `/dev/net/tun` is closed to the ids of containers.
    TunClosed,
    /// The host has no default route.
    NoRoute,
    /// A port of the host that was to be published is one of root's.
    LowPort(u16),
    /// The kernel is too old.
    OldKernel,
    /// The file system of the store is full.
    StoreFull,
    /// The store cannot be written by the caller.
    StoreClosed,
    /// The directory for run-time state is missing, or open to others.
    RuntimeDirectory,
}

/// What a lack costs and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What the lack is, as the end of a sentence that begins "because".
    pub cause: String,
    /// What is lost.
    pub loses: String,
    /// One line: the command, or the deed where no command does it.
    pub remedy: String,
}

/// Whose commands are to be pasted.
#[derive(Debug, Clone)]
pub struct Person {
    /// The login name, or the number where there is none.
    pub name: String,
    /// The user id on the host.
    pub uid: HostId,
    /// The group id on the host.
    pub gid: HostId,
    /// The first host id from which on no range is given to anybody.
    pub free: u32,
    /// The absolute path of this program.
    pub program: String,
}

const NOTHING_RUNS: &str = "no container can run";
const SINGLE: &str = "containers run as you and not as nobody: whoever breaks out of one would be you";
const LOOPBACK: &str = "containers have no network but their own loopback; --network host still works";
const LIMITS: &str = "limits: --memory, --cpus, --pids-limit and the like; pause; the figures of stats";

impl Cause {
    /// Writes the advice for a person.
    pub fn advice(self, person: &Person) -> Advice {
        let (cause, loses) = self.meaning();
        Advice { cause: cause.into(), loses: loses.into(), remedy: self.remedy(person) }
    }

    fn meaning(self) -> (&'static str, &'static str) {
        match self {
            Self::NoUserNamespaces => ("this kernel has no user namespaces", NOTHING_RUNS),
            Self::UserNamespacesOff => ("user.max_user_namespaces is 0", NOTHING_RUNS),
            Self::UserNamespacesUsedUp => {
                ("user.max_user_namespaces or the nesting depth of 32 is used up", NOTHING_RUNS)
            }
            Self::NamespacesOff => ("a limit user.max_*_namespaces is 0", NOTHING_RUNS),
            Self::UsernsCloneOff => ("kernel.unprivileged_userns_clone is 0", NOTHING_RUNS),
            Self::AppArmor => {
                ("AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns)", NOTHING_RUNS)
            }
            Self::Surrounded => ("what surrounds bryo (a container, a sandbox) refuses it", NOTHING_RUNS),
            Self::ProcMasked => ("the surrounding container masks parts of /proc", NOTHING_RUNS),
            Self::NoRange => ("/etc/subuid and /etc/subgid have no range for you", SINGLE),
            Self::SmallRange => {
                ("your range of subordinate ids is smaller than 65536", "images with users above the range cannot run")
            }
            Self::NoHelpers => ("newuidmap and newgidmap are not installed", SINGLE),
            Self::HelpersPowerless => ("newuidmap or newgidmap has lost its set-user-id bit", NOTHING_RUNS),
            Self::HelpersNosuid => ("newuidmap lies on a file system that is mounted nosuid", NOTHING_RUNS),
            Self::CallerConfined => {
                ("bryo was started with no_new_privs, under which newuidmap has no power", NOTHING_RUNS)
            }
            Self::HelpersRefuse => ("newuidmap or newgidmap refuses your range", NOTHING_RUNS),
            Self::OutsideRange => {
                ("the ids for root's containers are not among those of the surrounding container", NOTHING_RUNS)
            }
            Self::OverlayMissing => {
                ("this kernel has no overlay file system in user namespaces", "images; host: works")
            }
            Self::OverlayRefused => {
                ("the store's file system cannot hold a container's own layer", "images; host: works")
            }
            Self::NoIdmappedMounts => {
                ("the store's file system has no mounts with mapped ids", "images when root runs them; host: works")
            }
            Self::NoSeccomp => ("this kernel has no system call filters", NOTHING_RUNS),
            Self::NoLandlock => {
                ("this kernel has no Landlock, or it is not enabled", "the second fence round the files")
            }
            Self::CgroupV1 => ("control groups are version 1 here", LIMITS),
            Self::NoDelegation => ("the controllers of control groups are not all delegated to you", LIMITS),
            Self::NoManager => ("no systemd manager runs for you outside of a login session", LIMITS),
            Self::NoGroup => ("no control group is yours, and there is no systemd to ask for one", LIMITS),
            Self::NoController => ("this kernel does not have all controllers, or they are switched off", LIMITS),
            Self::NoSwapAccounting => ("this kernel does not count what is swapped", "--memory with a limit of swap"),
            Self::NoPasta => ("pasta is not installed", LOOPBACK),
            Self::NoTun => ("/dev/net/tun is missing", LOOPBACK),
            Self::TunClosed => ("/dev/net/tun is closed to the ids of containers", LOOPBACK),
            Self::NoRoute => ("this host has no default route", LOOPBACK),
            Self::LowPort(_) => ("net.ipv4.ip_unprivileged_port_start keeps the port for root", "publishing low ports"),
            Self::OldKernel => ("this kernel is older than 5.12", NOTHING_RUNS),
            Self::StoreFull => ("the file system of the store is full", "pulling images and starting containers"),
            Self::StoreClosed => ("the store cannot be written by you", "images, containers and volumes"),
            Self::RuntimeDirectory => {
                ("XDG_RUNTIME_DIR is not a directory that is yours alone", "run-time state that ends with your session")
            }
        }
    }

    fn remedy(self, person: &Person) -> String {
        let Person { name, uid, gid, free, program } = person;
        let last = free.saturating_add(65535);
        match self {
            Self::NoUserNamespaces => "boot a kernel with CONFIG_USER_NS=y".into(),
            Self::UserNamespacesOff | Self::UserNamespacesUsedUp => {
                "sudo sysctl -w user.max_user_namespaces=65536".into()
            }
            Self::NamespacesOff => {
                "for n in mnt pid net ipc uts cgroup; do sudo sysctl -w user.max_${n}_namespaces=65536; done".into()
            }
            Self::UsernsCloneOff => "sudo sysctl -w kernel.unprivileged_userns_clone=1".into(),
            Self::AppArmor => format!(
                "printf 'abi <abi/4.0>,\\nprofile bryo {program} flags=(unconfined) {{ userns, }}\\n' | \
                 sudo tee /etc/apparmor.d/bryo && sudo apparmor_parser -r /etc/apparmor.d/bryo"
            ),
            Self::Surrounded => "run bryo outside of it, or start the container around it with \
                 --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
                .into(),
            Self::ProcMasked => "start the container around bryo with --security-opt unmask=ALL (podman) or \
                 --security-opt systempaths=unconfined (docker)"
                .into(),
            Self::NoRange | Self::SmallRange => {
                format!("sudo usermod --add-subuids {free}-{last} --add-subgids {free}-{last} {name}")
            }
            Self::NoHelpers => "sudo apt install uidmap   # elsewhere: shadow-utils, shadow-uidmap, shadow".into(),
            Self::HelpersPowerless => "sudo chmod u+s \"$(command -v newuidmap)\" \"$(command -v newgidmap)\"".into(),
            Self::HelpersNosuid => "sudo mount -o remount,suid \"$(df --output=target /usr/bin | tail -n 1)\"".into(),
            Self::CallerConfined => "start bryo from an ordinary login: grep NoNewPrivs /proc/self/status must say 0 \
                 (in a systemd unit: NoNewPrivileges=no)"
                .into(),
            Self::HelpersRefuse => {
                format!("grep '^{name}:' /etc/subuid /etc/subgid   # the ranges must not overlap others")
            }
            Self::OutsideRange => {
                "echo root:1:65535 | tee -a /etc/subuid /etc/subgid   # or another range that /proc/self/uid_map has"
                    .into()
            }
            Self::OverlayMissing => "sudo modprobe overlay   # and Linux 5.11 or newer".into(),
            Self::OverlayRefused | Self::NoIdmappedMounts => {
                "export XDG_DATA_HOME=/a/directory/on/a/local/disk   # ext4, xfs or btrfs; not NFS, not overlay".into()
            }
            Self::NoSeccomp => "boot a kernel with CONFIG_SECCOMP_FILTER=y".into(),
            Self::NoLandlock => {
                "boot a kernel of 5.19 or newer with landlock in its list of security modules (lsm=landlock,...)".into()
            }
            Self::CgroupV1 => "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line".into(),
            Self::NoDelegation => format!(
                "sudo mkdir -p /etc/systemd/system/user@{uid}.service.d && printf '[Service]\\nDelegate=cpu cpuset io \
                 memory pids\\n' | sudo tee /etc/systemd/system/user@{uid}.service.d/delegate.conf && \
                 sudo systemctl daemon-reload   # then log in again"
            ),
            Self::NoManager => format!("sudo loginctl enable-linger {name}"),
            Self::NoGroup => format!(
                "sudo sh -c \"cd /sys/fs/cgroup; for c in cpu cpuset io memory pids; do echo +\\$c >cgroup.subtree_control; \
                 done; mkdir -p {name}; chown {uid}:{gid} {name} {name}/cgroup.procs {name}/cgroup.subtree_control; \
                 echo $$ >{name}/cgroup.procs\"   # for this shell"
            ),
            Self::NoController => {
                "boot with cgroup_enable=memory on the kernel's command line, or a kernel that has the controller"
                    .into()
            }
            Self::NoSwapAccounting => {
                "--memory-swap -1, or boot with swapaccount=1 on the kernel's command line".into()
            }
            Self::NoPasta => "sudo apt install passt".into(),
            Self::NoTun => "sudo modprobe tun && sudo chmod 666 /dev/net/tun".into(),
            Self::TunClosed => "sudo chmod 666 /dev/net/tun".into(),
            Self::NoRoute => "ip route   # connect this machine; a line must begin with \"default\"".into(),
            Self::LowPort(port) => {
                let high = port.saturating_add(8000);
                format!(
                    "host port {high}; or: sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}; or a redirect by \
                     the firewall: sudo iptables -t nat -A PREROUTING -p tcp --dport {port} -j REDIRECT --to-ports {high}"
                )
            }
            Self::OldKernel => "boot Linux 5.12 or newer".into(),
            Self::StoreFull => "bryo gc && bryo rmi IMAGE   # what broke off, and what no other image needs".into(),
            Self::StoreClosed => {
                format!("sudo chown {uid}:{gid} ~/.local/share/bryo && chmod 0700 ~/.local/share/bryo")
            }
            Self::RuntimeDirectory => {
                format!(
                    "sudo install -d -m 0700 -o {uid} -g {gid} /run/user/{uid} && export XDG_RUNTIME_DIR=/run/user/{uid}"
                )
            }
        }
    }
}

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "because {}\ntry: {}", self.cause, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Person {
        let id = |n| HostId::new(n).unwrap();
        let program = "/usr/local/bin/bryo".into();
        Person { name: "ada".into(), uid: id(1000), gid: id(1001), free: 165_536, program }
    }

    #[test]
    fn remedies_can_be_pasted_as_they_are() {
        let remedy = |cause: Cause| cause.advice(&person()).remedy;
        assert_eq!(remedy(Cause::NoRange), "sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 ada");
        assert!(remedy(Cause::AppArmor).contains("profile bryo /usr/local/bin/bryo flags=(unconfined) { userns, }"));
        assert!(remedy(Cause::RuntimeDirectory).contains("-o 1000 -g 1001 /run/user/1000"));
        assert!(remedy(Cause::LowPort(443)).contains("ip_unprivileged_port_start=443; or a redirect"));
        assert!(remedy(Cause::LowPort(443)).contains("--dport 443 -j REDIRECT --to-ports 8443"));
        assert_eq!(remedy(Cause::NoManager), "sudo loginctl enable-linger ada");
        assert!(
            remedy(Cause::NoGroup).contains("echo +\\$c >cgroup") && remedy(Cause::NoGroup).contains("1000:1001 ada")
        );
        for cause in [Cause::NoDelegation, Cause::NoGroup] {
            assert!(!remedy(cause).contains('\n'), "one line");
        }
    }
}
