// SPDX-License-Identifier: Apache-2.0
//! `clone3`: a child process in new namespaces, as a safe call.
//!
//! Forking a threaded process leaves the child with locks that nobody will ever release. Instead of asking each
//! caller to promise that it has no threads, [`fork_into`] looks: `/proc/self/task` has one entry a thread, and with
//! exactly one the child's heap and locks are whole, so that ordinary Rust may run in it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

use crate::error::{Error, Result, check, raw};

bitflags::bitflags! {
    /// The namespaces a child gets of its own. Source: `clone(2)`, `namespaces(7)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Namespaces: u64 {
        /// User ids, group ids and capabilities.
        const USER = 0x1000_0000;
        /// The mount table.
        const MOUNT = 0x0002_0000;
        /// Process ids; the child is number 1.
        const PID = 0x2000_0000;
        /// Network devices, addresses, ports, and abstract sockets.
        const NET = 0x4000_0000;
        /// System V IPC and POSIX message queues.
        const IPC = 0x0800_0000;
        /// The host name.
        const UTS = 0x0400_0000;
        /// The view of the cgroup tree.
        const CGROUP = 0x0200_0000;
    }
}

/// Which side of the fork the caller is on.
#[derive(Debug)]
pub enum Fork {
    /// The original process, with the child's number in the caller's pid namespace and a descriptor for it.
    Parent {
        /// The child's process id, seen from the caller.
        pid: Pid,
        /// A descriptor that stays the child's even when the number is used again. Source: `pidfd_open(2)`.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Forks a child into new namespaces. Source: `clone(2)`, section `clone3`.
///
/// # Errors
///
/// `EBUSY` when the calling process has more than one thread; else what the kernel answers: `EPERM`, `ENOSPC`
/// (`user.max_user_namespaces` used up), `ENOMEM`, ...
pub fn fork_into(namespaces: Namespaces) -> Result<Fork> {
    fork(namespaces.bits(), libc::SIGCHLD as u64, None)
}

/// Forks a child into new namespaces and into a control group, a directory of the unified tree: it is born there and
/// has never been anywhere else. A new cgroup namespace still has its root where the caller is. Source: `clone(2)`,
/// `CLONE_INTO_CGROUP`.
///
/// # Errors
///
/// As [`fork_into`]; `EACCES` when the caller may not put processes there, `EBUSY` when groups below it have
/// controllers, `EAGAIN` when its `pids.max` is reached.
pub fn fork_into_group(namespaces: Namespaces, group: BorrowedFd<'_>) -> Result<Fork> {
    fork(namespaces.bits() | CLONE_INTO_CGROUP, libc::SIGCHLD as u64, Some(group))
}

/// Forks a child into new namespaces that is not this process's but its parent's: a process that has joined another pid namespace is not in
/// it itself, only its children are, and it is its parent who waits for them. Source: `clone(2)`, `CLONE_PARENT`.
///
/// # Errors
///
/// As [`fork_into`]; `EINVAL` for process 1 of a pid namespace.
pub fn fork_sibling(namespaces: Namespaces) -> Result<Fork> {
    // What is sent at its end is what is sent at this process's own.
    fork(namespaces.bits() | CLONE_PARENT, 0, None)
}

fn fork(flags: u64, exit_signal: u64, group: Option<BorrowedFd<'_>>) -> Result<Fork> {
    require_single_thread()?;
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal,
        // Without its flag the kernel does not look at it.
        cgroup: group.map_or(0, |group| u64::from(group.as_raw_fd().cast_unsigned())),
        ..CloneArgs::default()
    };
    let size = size_of::<CloneArgs>();
    // SAFETY: the argument block outlives the call and `pidfd` is a writable int; without CLONE_VM the child gets a
    // copy of the address space, and the check above saw no second thread that could hold a lock in it.
    let ret = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
    match raw("clone3", || format!("{flags:#x}"), ret)? {
        0 => Ok(Fork::Child),
        pid => {
            // SAFETY: on success the kernel has stored a new descriptor of ours in `pidfd`.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| Error::new("clone3", "process id out of range", Errno::RANGE))?;
            Ok(Fork::Parent { pid, pidfd })
        }
    }
}

/// Moves this process into a new network namespace. Source: `unshare(2)`.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespace, `ENOSPC` when `user.max_net_namespaces` is used up.
pub fn unshare_network() -> Result<()> {
    // SAFETY: a new network namespace leaves memory and descriptors as they are; only flags that unshare those could
    // make assumptions of other code untrue.
    let made = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
    check("unshare", || "CLONE_NEWNET".into(), made)
}

/// Moves this process into a mount namespace of its own, a copy of the one that it is in. Source: `unshare(2)`.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespace, `ENOSPC` when `user.max_mnt_namespaces` is used up.
pub fn unshare_mounts() -> Result<()> {
    // SAFETY: a new mount namespace leaves memory and descriptors as they are; root and working directory are those of
    // the copy, which this process shares with no other thread.
    let made = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) };
    check("unshare", || "CLONE_NEWNS".into(), made)
}

/// Moves this process into a new cgroup namespace, whose root is the group that it is in. Source: `unshare(2)`.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespace, `ENOSPC` when `user.max_cgroup_namespaces` is used up.
pub fn unshare_cgroup() -> Result<()> {
    // SAFETY: as above; the view of the cgroup tree is nothing that code in this process relies on.
    let made = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) };
    check("unshare", || "CLONE_NEWCGROUP".into(), made)
}

/// Moves this process into one namespace that a descriptor stands for. Source: `setns(2)`.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespace that owns it, and in this process's own for all but that kind.
pub fn join_one(namespace: impl AsFd, kind: Namespaces) -> Result<()> {
    let link = if kind == Namespaces::USER { LinkNameSpaceType::User } else { LinkNameSpaceType::Network };
    check("setns", || format!("{kind:?}"), rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(link)))
}

/// Opens the user namespace that owns a namespace. Source: `ioctl_nsfs(2)`, `NS_GET_USERNS`.
///
/// # Errors
///
/// `EPERM` when it is not one below this process's own.
pub fn owner(namespace: impl AsFd) -> Result<OwnedFd> {
    namespace_of(namespace.as_fd(), NS_GET_USERNS, "NS_GET_USERNS")
}

/// Opens the parent of a user namespace. Source: `ioctl_nsfs(2)`, `NS_GET_PARENT`.
///
/// # Errors
///
/// `EPERM` when it is not this process's own or one below it.
pub fn parent(namespace: impl AsFd) -> Result<OwnedFd> {
    namespace_of(namespace.as_fd(), NS_GET_PARENT, "NS_GET_PARENT")
}

fn namespace_of(namespace: BorrowedFd<'_>, request: libc::c_ulong, word: &'static str) -> Result<OwnedFd> {
    // SAFETY: both requests take no argument and return a new descriptor.
    let ret = unsafe { libc::ioctl(namespace.as_raw_fd(), request as _) };
    let fd = raw("ioctl", || word.into(), ret.into())?;
    let fd = i32::try_from(fd).map_err(|_| Error::new("ioctl", word, Errno::RANGE))?;
    // SAFETY: the kernel has just given us this descriptor, closed on execution.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `NS_GET_USERNS` of `linux/nsfs.h`: `_IO(0xb7, 1)`.
const NS_GET_USERNS: libc::c_ulong = 0xb701;
/// `NS_GET_PARENT` of `linux/nsfs.h`: `_IO(0xb7, 2)`.
const NS_GET_PARENT: libc::c_ulong = 0xb702;

/// `CLONE_PIDFD` of `linux/sched.h`.
const CLONE_PIDFD: u64 = 0x1000;
/// `CLONE_PARENT` of `linux/sched.h`.
const CLONE_PARENT: u64 = 0x8000;
/// `CLONE_INTO_CGROUP` of `linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Moves this process into namespaces of another one; of a pid namespace, the children that it will have. Source:
/// `setns(2)` with a pidfd.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespaces that own them, `ESRCH` when the process has ended.
pub fn join(pidfd: impl AsFd, namespaces: Namespaces) -> Result<()> {
    // Both are the bits of `clone(2)`, which all fit into an int.
    let kinds = u32::try_from(namespaces.bits()).map(ThreadNameSpaceType::from_bits_retain);
    let kinds = kinds.map_err(|_| Error::new("setns", format!("{namespaces:?}"), Errno::RANGE))?;
    let joined = rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), kinds);
    check("setns", || format!("{namespaces:?}"), joined)
}

/// `struct clone_args` up to `CLONE_ARGS_SIZE_VER2`, which every kernel from 5.7 on knows.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Checks that this process has one thread. A directory has two links more than it has subdirectories.
fn require_single_thread() -> Result<()> {
    let stat = check("stat", || "/proc/self/task".into(), rustix::fs::stat("/proc/self/task"))?;
    if stat.st_nlink == 3 { Ok(()) } else { Err(Error::new("clone3", "the process has threads", Errno::BUSY)) }
}
