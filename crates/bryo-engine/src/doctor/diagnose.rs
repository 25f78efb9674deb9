// SPDX-License-Identifier: Apache-2.0
//! From a refusal to its cause: what the kernel answered, read beside the host's settings.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bryo_identity::rung::{Host, Rung};
use bryo_identity::{HostId, subid};
use bryo_sys::Errno;

use super::advice::{Advice, Cause, Person};
use super::facts;

/// A failure of a layer, whose cause may lie in the host.
#[derive(Debug)]
pub struct Failure {
    layer: Layer,
    errno: Option<Errno>,
    message: String,
}

#[derive(Debug, Clone, Copy)]
enum Layer {
    Launch(bryo_launch::Kind),
    Identity(bryo_identity::Kind),
    Network(bryo_net::Kind),
    Image(bryo_image::Kind),
    Cgroup(bryo_cgroup::Kind),
    Other,
}

impl Failure {
    fn new(layer: Layer, errno: Option<i32>, message: &dyn std::fmt::Display) -> Self {
        Self { layer, errno: errno.map(Errno::from_raw_os_error), message: message.to_string() }
    }
}

impl From<&crate::error::Error> for Failure {
    fn from(error: &crate::error::Error) -> Self {
        use crate::error::Kind;
        let layer = match error.kind() {
            Kind::Launch(kind) => Layer::Launch(kind),
            Kind::Identity(kind) => Layer::Identity(kind),
            Kind::Network(kind) => Layer::Network(kind),
            Kind::Image(kind) => Layer::Image(kind),
            Kind::Cgroup(kind) => Layer::Cgroup(kind),
            Kind::NoSpace => Layer::Image(bryo_image::Kind::NoSpace),
            _ => Layer::Other,
        };
        Self::new(layer, error.errno(), error)
    }
}

impl From<&bryo_launch::Error> for Failure {
    fn from(error: &bryo_launch::Error) -> Self {
        Self::new(Layer::Launch(error.kind()), error.errno(), error)
    }
}

impl From<&bryo_identity::Error> for Failure {
    fn from(error: &bryo_identity::Error) -> Self {
        Self::new(Layer::Identity(error.kind()), error.errno().map(Errno::raw_os_error), error)
    }
}

impl From<&bryo_net::Error> for Failure {
    fn from(error: &bryo_net::Error) -> Self {
        Self::new(Layer::Network(error.kind()), None, error)
    }
}

impl From<&bryo_image::Error> for Failure {
    fn from(error: &bryo_image::Error) -> Self {
        Self::new(Layer::Image(error.kind()), None, error)
    }
}

impl From<&bryo_cgroup::Error> for Failure {
    fn from(error: &bryo_cgroup::Error) -> Self {
        Self::new(Layer::Cgroup(error.kind()), error.errno().map(Errno::raw_os_error), error)
    }
}

/// Explains a failure whose cause lies in the host, in the words of `doctor`; `None` when it lies elsewhere.
///
/// Looks at the host again, so it costs a few file reads: for the end of a failed command, not for a loop.
pub fn explain(failure: impl Into<Failure>) -> Option<Advice> {
    let host = Host::probe();
    let cause = cause(&failure.into(), &host)?;
    Some(cause.advice(&Person::of(&host)))
}

fn cause(failure: &Failure, host: &Host) -> Option<Cause> {
    match failure.layer {
        Layer::Launch(kind) => launch(kind, failure, host),
        Layer::Identity(bryo_identity::Kind::NoUserNamespace) => Some(namespace(failure.errno)),
        Layer::Identity(bryo_identity::Kind::MapRefused | bryo_identity::Kind::NotMapped) => Some(map(host)),
        Layer::Network(bryo_net::Kind::NoPasta) => Some(Cause::NoPasta),
        Layer::Network(bryo_net::Kind::NoTun) => Some(Cause::NoTun),
        Layer::Network(bryo_net::Kind::TunClosed) => Some(Cause::TunClosed),
        Layer::Network(bryo_net::Kind::NoRoute) => Some(Cause::NoRoute),
        Layer::Network(bryo_net::Kind::LowPort(port)) => Some(Cause::LowPort(port)),
        Layer::Image(bryo_image::Kind::NoSpace) => Some(Cause::StoreFull),
        Layer::Image(bryo_image::Kind::Identity) => Some(identity_without_errno(host)),
        Layer::Cgroup(kind) => group(kind),
        Layer::Identity(_) | Layer::Network(_) | Layer::Image(_) | Layer::Other => None,
    }
}

fn launch(kind: bryo_launch::Kind, failure: &Failure, host: &Host) -> Option<Cause> {
    use bryo_launch::Kind;
    match (kind, failure.errno) {
        (Kind::Identity, Some(errno @ (Errno::NOSPC | Errno::USERS | Errno::INVAL))) => Some(namespace(Some(errno))),
        // Both the namespace and a map that is written directly are refused with these two.
        (Kind::Identity, Some(errno)) => match namespace(Some(errno)) {
            Cause::Surrounded if host.rung() == Rung::Root => Some(map(host)),
            cause => Some(cause),
        },
        (Kind::Identity, None) => Some(identity_without_errno(host)),
        (Kind::MountDenied, _) => Some(late(failure.message.contains("/proc"))),
        (Kind::RootFs, Some(Errno::NOSPC | Errno::DQUOT)) => Some(Cause::StoreFull),
        (Kind::RootFs, Some(Errno::NODEV)) => Some(Cause::OverlayMissing),
        (Kind::RootFs, Some(Errno::INVAL)) => root_fs(&failure.message),
        (_, Some(Errno::NOSYS)) => Some(Cause::OldKernel),
        (Kind::Confinement, None) if bryo_sys::process::landlock_abi() < FIRST_LANDLOCK => Some(Cause::NoLandlock),
        (Kind::Confinement, Some(Errno::INVAL)) if !seccomp() => Some(Cause::NoSeccomp),
        _ => None,
    }
}

/// Says why there are no limits.
pub(super) fn group(kind: bryo_cgroup::Kind) -> Option<Cause> {
    use bryo_cgroup::Kind;
    match kind {
        Kind::NoCgroup2 => Some(Cause::CgroupV1),
        Kind::NoPlace => Some(Cause::NoGroup),
        Kind::NoManager => Some(Cause::NoManager),
        Kind::NotDelegated => Some(Cause::NoDelegation),
        Kind::NotInKernel => Some(Cause::NoController),
        Kind::NoSwap => Some(Cause::NoSwapAccounting),
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
    let none_left = limits().iter().any(|(_, n)| *n == Some(0));
    if none_left { namespace(Some(Errno::NOSPC)) } else { map(host) }
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
