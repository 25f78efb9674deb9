// SPDX-License-Identifier: Apache-2.0
//! From a refusal to its cause: what the kernel answered, read beside the host's settings.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bryo_identity::rung::{Host, Rung};
use bryo_identity::{HostId, subid};
use bryo_sys::Errno;

use super::advice::{Advice, Cause, Person};
use super::facts;

/// A failure of a layer below, whose cause may lie in the host.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// A container did not start.
    Launch(&'a bryo_launch::Error),
    /// Ids could not be had.
    Identity(&'a bryo_identity::Error),
    /// A network could not be had.
    Network(&'a bryo_net::Error),
    /// An image could not be stored.
    Image(&'a bryo_image::Error),
}

impl<'a> From<&'a bryo_launch::Error> for Failure<'a> {
    fn from(error: &'a bryo_launch::Error) -> Self {
        Self::Launch(error)
    }
}

impl<'a> From<&'a bryo_identity::Error> for Failure<'a> {
    fn from(error: &'a bryo_identity::Error) -> Self {
        Self::Identity(error)
    }
}

impl<'a> From<&'a bryo_net::Error> for Failure<'a> {
    fn from(error: &'a bryo_net::Error) -> Self {
        Self::Network(error)
    }
}

impl<'a> From<&'a bryo_image::Error> for Failure<'a> {
    fn from(error: &'a bryo_image::Error) -> Self {
        Self::Image(error)
    }
}

/// Explains a failure whose cause lies in the host, in the words of `doctor`; `None` when it lies elsewhere.
///
/// Looks at the host again, so it costs a few file reads: for the end of a failed command, not for a loop.
pub fn explain<'a>(failure: impl Into<Failure<'a>>) -> Option<Advice> {
    let host = Host::probe();
    let cause = cause(&failure.into(), &host)?;
    Some(cause.advice(&Person::of(&host)))
}

fn cause(failure: &Failure<'_>, host: &Host) -> Option<Cause> {
    match failure {
        Failure::Launch(e) => launch(e, host),
        Failure::Identity(e) => match e.kind() {
            bryo_identity::Kind::NoUserNamespace => Some(namespace(e.errno())),
            bryo_identity::Kind::MapRefused | bryo_identity::Kind::NotMapped => Some(map(host)),
            _ => None,
        },
        Failure::Network(e) => match e.kind() {
            bryo_net::Kind::NoPasta => Some(Cause::NoPasta),
            bryo_net::Kind::NoTun => Some(Cause::NoTun),
            bryo_net::Kind::NoRoute => Some(Cause::NoRoute),
            _ => None,
        },
        Failure::Image(e) => match e.kind() {
            bryo_image::Kind::NoSpace => Some(Cause::StoreFull),
            bryo_image::Kind::Identity => Some(identity_without_errno(host)),
            _ => None,
        },
    }
}

fn launch(error: &bryo_launch::Error, host: &Host) -> Option<Cause> {
    use bryo_launch::Kind;
    let errno = error.errno().map(Errno::from_raw_os_error);
    match (error.kind(), errno) {
        (Kind::Identity, Some(errno @ (Errno::NOSPC | Errno::USERS | Errno::INVAL))) => Some(namespace(Some(errno))),
        // Both the namespace and a map that is written directly are refused with these two.
        (Kind::Identity, Some(errno)) => match namespace(Some(errno)) {
            Cause::Surrounded if host.rung() == Rung::Root => Some(map(host)),
            cause => Some(cause),
        },
        (Kind::Identity, None) => Some(identity_without_errno(host)),
        (Kind::MountDenied, _) => Some(late(error.to_string().contains("/proc"))),
        (Kind::RootFs, Some(Errno::NOSPC | Errno::DQUOT)) => Some(Cause::StoreFull),
        (Kind::RootFs, Some(Errno::NODEV)) => Some(Cause::OverlayMissing),
        (Kind::RootFs, Some(Errno::INVAL)) => root_fs(&error.to_string()),
        (_, Some(Errno::NOSYS)) => Some(Cause::OldKernel),
        (Kind::Confinement, None) if bryo_sys::process::landlock_abi() < FIRST_LANDLOCK => Some(Cause::NoLandlock),
        (Kind::Confinement, Some(Errno::INVAL)) if !seccomp() => Some(Cause::NoSeccomp),
        _ => None,
    }
}

/// The first Landlock ABI that the launcher uses.
pub(super) const FIRST_LANDLOCK: u8 = 2;

fn root_fs(message: &str) -> Option<Cause> {
    if message.starts_with("cannot mount the layers") {
        Some(Cause::OverlayRefused)
    } else if message.starts_with("cannot map the ids") {
        Some(Cause::NoIdmappedMounts)
    } else {
        None
    }
}

fn identity_without_errno(host: &Host) -> Cause {
    match limits().iter().any(|(_, n)| *n == Some(0)) {
        true => namespace(Some(Errno::NOSPC)),
        false => map(host),
    }
}

/// Says why the kernel refuses new namespaces.
pub(super) fn namespace(errno: Option<Errno>) -> Cause {
    match errno {
        Some(Errno::INVAL | Errno::NOSYS) if !Path::new("/proc/self/ns/user").exists() => Cause::NoUserNamespaces,
        Some(Errno::NOSYS) => Cause::OldKernel,
        Some(Errno::NOSPC | Errno::USERS) => match limits() {
            [(_, Some(0)), ..] => Cause::UserNamespacesOff,
            others if others.iter().any(|(_, n)| *n == Some(0)) => Cause::NamespacesOff,
            _ => Cause::UserNamespacesUsedUp,
        },
        _ if sysctl("kernel/unprivileged_userns_clone") == Some(0) => Cause::UsernsCloneOff,
        _ if sysctl("kernel/apparmor_restrict_unprivileged_userns") == Some(1) => Cause::AppArmor,
        _ => Cause::Surrounded,
    }
}

/// Says why the kernel gives a namespace and then refuses mounts in it.
pub(super) fn late(proc: bool) -> Cause {
    if sysctl("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        Cause::AppArmor
    } else if proc {
        Cause::ProcMasked
    } else {
        Cause::Surrounded
    }
}

/// Says why a map cannot be written.
pub(super) fn map(host: &Host) -> Cause {
    let Some(helpers) = &host.helpers else {
        return if host.caller.uid == HostId::ROOT { Cause::OutsideRange } else { Cause::NoHelpers };
    };
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    if host.uids.is_empty() || host.gids.is_empty() {
        return Cause::NoRange;
    }
    if facts::own_status(&read("/proc/self/status")).no_new_privs {
        return Cause::CallerConfined;
    }
    let mounts = read("/proc/self/mountinfo");
    for helper in [&helpers.newuidmap, &helpers.newgidmap] {
        let real = std::fs::canonicalize(helper).unwrap_or_else(|_| helper.clone());
        let options = facts::mount_options(&mounts, &real.to_string_lossy()).unwrap_or_default();
        if options.split(',').any(|o| o == "nosuid") {
            return Cause::HelpersNosuid;
        }
        if !has_power(&real) {
            return Cause::HelpersPowerless;
        }
    }
    Cause::HelpersRefuse
}

/// Tells whether a program gains root or a capability when it is run.
fn has_power(program: &Path) -> bool {
    let root = std::fs::metadata(program).is_ok_and(|m| m.mode() & 0o4000 != 0 && m.uid() == 0);
    let mut value = [0_u8; 64];
    root || rustix::fs::getxattr(program, "security.capability", &mut value).is_ok_and(|n| n > 0)
}

/// Tells whether the kernel has system call filters. Source: `seccomp(2)`, `/proc` interfaces.
pub(super) fn seccomp() -> bool {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    actions.split_whitespace().any(|a| a == "errno") || rustix::thread::secure_computing_mode().is_ok()
}

/// Reads how many namespaces of each kind may be made; user namespaces come first. Source: `namespaces(7)`.
pub(super) fn limits() -> [(&'static str, Option<u64>); 7] {
    ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"]
        .map(|kind| (kind, sysctl(&format!("user/max_{kind}_namespaces"))))
}

/// Reads a number below `/proc/sys`.
pub(super) fn sysctl(name: &str) -> Option<u64> {
    std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}

impl Person {
    /// Looks up who calls.
    pub fn of(host: &Host) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (uid, gid) = (host.caller.uid, host.caller.gid);
        let name = subid::login_name(&read("/etc/passwd"), uid).map_or_else(|| uid.to_string(), str::to_owned);
        let free = facts::first_free(&read("/etc/subuid")).max(facts::first_free(&read("/etc/subgid")));
        let program = std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| "/usr/local/bin/bryo".into());
        Self { name, uid, gid, free, program: program.display().to_string() }
    }
}
