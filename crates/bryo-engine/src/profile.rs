// SPDX-License-Identifier: Apache-2.0
//! The default seccomp profile, and profiles from files.
//!
//! **Guarantees.** The default is an allowlist: what is not named is refused, `EPERM` for calls that exist and
//! `ENOSYS` for calls of the future. It is a plain OCI value, so it can be printed, stored and read by others.
//!
//! **Faces** the payload, and through it the kernel's bugs: a call that no ordinary program in a container without
//! capabilities can use is not worth its attack surface. **Trusts** the author of a profile file to mean what it
//! says; what it says is carried out in full or refused.
//!
//! # Decisions
//! * *Namespaces.* `clone` and `unshare` lose the namespace flags, `setns` and the mount calls are refused: nearly
//!   all kernel holes of recent years that a container could reach began with a user namespace of its own. `clone3`
//!   hides its flags behind a pointer that no filter can follow, so it answers `ENOSYS` and C libraries use `clone`.
//! * *`ptrace`* is permitted: debuggers need it, it ends at the pid namespace and at the process' own credentials,
//!   and since Linux 4.8 the filter runs after the tracer, so it is no way around the filter. The calls that reach
//!   into another process without attaching to it wait for `CAP_SYS_PTRACE`.
//! * *Sockets.* Unix, IPv4, IPv6, and the netlink protocols that ordinary libraries ask. Families above `AF_PACKET`
//!   (`AF_ALG`, `AF_VSOCK`, ...) answer `EAFNOSUPPORT`, which programs meet on kernels built without them;
//!   `AF_PACKET` answers `EPERM` as it does to everybody without `CAP_NET_RAW`.
//! * *Terminals.* `TIOCSTI` and `TIOCLINUX` type into the terminal of whoever holds it; `TIOCSETD` loads line
//!   disciplines. The kernel reads 32 bits of the request, so 32 bits are compared (CVE-2019-10063).
//! * *A capability opens* the calls that it makes useful inside a user namespace, and no others: `CAP_SYS_MODULE`,
//!   `CAP_SYS_TIME`, `CAP_BPF` and their like count in the host's namespace alone, so nothing is opened for them.
//! * *32-bit programs* are refused unless `SCMP_ARCH_X86` is added to the profile's architectures. The names of
//!   their calls are in the allowlist, so adding it is all there is to do.
//!
//! For `ioctl` the order of the rules counts. The launcher takes the first that matches; a runtime built on
//! libseccomp lets the unconditional permission win, as in other engines' defaults.

mod file;
mod table;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
    LinuxSyscall,
};

pub use file::{Error, Host, Kind, from_docker_json};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// `int` and `unsigned int` arguments: the kernel ignores the high half, so the comparison must too.
const INT: u64 = 0xffff_ffff;

/// The `CLONE_NEW*` flags of clone(2); `CLONE_NEWTIME` is no flag there.
const CLONE_NEW: u64 = 0x7e02_0000;
/// All that unshare(2) may take apart: VM, FS, FILES, SIGHAND, THREAD, SYSVSEM. Unknown flags are refused.
const UNSHARE_HARMLESS: u64 = 0x0005_0f00;

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const AF_PACKET: u64 = 17;

/// Netlink protocols asked by `getifaddrs`, `ss`, libselinux, PAM, libudev and libnl.
const NETLINK: [u64; 6] = [
    0,  // NETLINK_ROUTE
    4,  // NETLINK_SOCK_DIAG
    7,  // NETLINK_SELINUX
    9,  // NETLINK_AUDIT
    15, // NETLINK_KOBJECT_UEVENT
    16, // NETLINK_GENERIC
];

/// The personalities without effect on security: Linux, 32-bit names, the 2.6 version number, and the query.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, INT];

/// ioctl requests refused on every descriptor.
const IOCTLS: [u64; 3] = [
    0x5412, // TIOCSTI
    0x541c, // TIOCLINUX
    0x5423, // TIOCSETD
];

/// Builds the default profile of a container that holds the given capabilities.
#[must_use]
pub fn default(caps: &[Capability]) -> LinuxSeccomp {
    let mut rules = vec![permit(table::PERMITTED.iter().copied().flatten().chain(opened_by(caps)), &[])];
    if !caps.contains(&Capability::SysAdmin) {
        rules.push(permit(["clone"], &[masked(0, CLONE_NEW, 0)]));
        rules.push(permit(["unshare"], &[masked(0, !UNSHARE_HARMLESS, 0)]));
        rules.push(refuse(["clone3"], ENOSYS, &[]));
        rules.push(refuse(table::ABSENT, ENOSYS, &[]));
    }
    rules.extend(PERSONALITIES.map(|value| permit(["personality"], &[masked(0, INT, value)])));
    rules.extend(sockets(caps));
    rules.extend(IOCTLS.map(|request| refuse(["ioctl"], EPERM, &[masked(1, INT, request)])));
    rules.push(permit(["ioctl"], &[]));

    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(EPERM))
        .set_architectures(Some(vec![NATIVE]))
        .set_syscalls(Some(rules));
    profile
}

#[cfg(target_arch = "x86_64")]
const NATIVE: Arch = Arch::ScmpArchX86_64;
#[cfg(target_arch = "aarch64")]
const NATIVE: Arch = Arch::ScmpArchAarch64;

/// Yields the calls that the given capabilities open.
fn opened_by(caps: &[Capability]) -> impl Iterator<Item = &'static &'static str> {
    table::OPENED.iter().filter(|(capability, _)| caps.contains(capability)).flat_map(|(_, names)| *names)
}

fn sockets(caps: &[Capability]) -> Vec<LinuxSyscall> {
    let family = |family| masked(0, INT, family);
    let mut rules: Vec<_> = [AF_UNIX, AF_INET, AF_INET6].map(|f| permit(["socket"], &[family(f)])).into();
    if caps.contains(&Capability::NetAdmin) {
        rules.push(permit(["socket"], &[family(AF_NETLINK)]));
    } else {
        let protocol = |protocol| permit(["socket"], &[family(AF_NETLINK), masked(2, INT, protocol)]);
        rules.extend(NETLINK.map(protocol));
    }
    if caps.contains(&Capability::NetRaw) {
        rules.push(permit(["socket"], &[family(AF_PACKET)]));
    }
    rules.push(refuse(["socket"], EAFNOSUPPORT, &[above(0, AF_PACKET)]));
    rules.push(permit(["socketpair"], &[family(AF_UNIX)]));
    rules
}

fn permit(names: impl IntoIterator<Item: ToString>, args: &[LinuxSeccompArg]) -> LinuxSyscall {
    rule(names, LinuxSeccompAction::ScmpActAllow, args)
}

fn refuse(names: impl IntoIterator<Item: ToString>, errno: u32, args: &[LinuxSeccompArg]) -> LinuxSyscall {
    let mut rule = rule(names, LinuxSeccompAction::ScmpActErrno, args);
    rule.set_errno_ret(Some(errno));
    rule
}

fn rule(
    names: impl IntoIterator<Item: ToString>,
    action: LinuxSeccompAction,
    args: &[LinuxSeccompArg],
) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.into_iter().map(|name| name.to_string()).collect()).set_action(action);
    if !args.is_empty() {
        rule.set_args(Some(args.to_vec()));
    }
    rule
}

/// Yields the condition that the bits under the mask are those of the value.
fn masked(index: usize, mask: u64, value: u64) -> LinuxSeccompArg {
    condition(compare(index, LinuxSeccompOperator::ScmpCmpMaskedEq, mask).value_two(value))
}

fn above(index: usize, value: u64) -> LinuxSeccompArg {
    condition(compare(index, LinuxSeccompOperator::ScmpCmpGt, value))
}

fn compare(index: usize, op: LinuxSeccompOperator, value: u64) -> LinuxSeccompArgBuilder {
    LinuxSeccompArgBuilder::default().index(index).op(op).value(value)
}

fn condition(builder: LinuxSeccompArgBuilder) -> LinuxSeccompArg {
    builder.build().expect("every field has a default")
}

#[cfg(test)]
mod tests;
