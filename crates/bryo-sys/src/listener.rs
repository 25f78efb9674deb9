// SPDX-License-Identifier: Apache-2.0
//! System calls that another process answers. Source: `seccomp_unotify(2)`.
//!
//! A call that a filter hands to a listener is never made by the kernel: it is answered here, with success or an errno.
//! The word that lets the kernel go on with it is not to be had, because what was looked at could be another thing by
//! then.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{Error, Result, raw};
use crate::seccomp::{SockFilter, install_with};

/// The longest path, in bytes, with its end. Source: `linux/limits.h`, `PATH_MAX`.
const PATH_MAX: usize = 4096;

/// The smallest page of any machine: what lies in one is there as a whole or not at all.
const PAGE: usize = 4096;

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// What it is answered by.
    pub id: u64,
    /// The thread that makes it, in the pid namespace of whoever asks.
    pub thread: u32,
    number: i64,
    args: [u64; 6],
}

/// A change of owner that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chown {
    /// Where the file is.
    pub file: Place,
    /// The user that it is to belong to.
    pub uid: Option<u32>,
    /// The group that it is to belong to.
    pub gid: Option<u32>,
}

/// Where a thread says that a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A descriptor has it; nothing for where the thread is.
    Descriptor(Option<i32>),
    /// At a path, from a descriptor or where the thread is.
    Path {
        /// Where a relative path begins.
        dir: Option<i32>,
        /// Where the path is in memory; see [`read_path`].
        address: u64,
        /// Whether a link at its end is followed.
        follow: bool,
        /// Whether no path at all means the descriptor.
        may_be_empty: bool,
    },
}

/// Which kind of id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of the user.
    User,
    /// Of the group.
    Group,
}

/// What a call wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A change of a file's owner.
    Chown(Chown),
    /// The process's real id.
    Real(Whose),
    /// The process's effective id.
    Effective(Whose),
    /// The real, effective and saved id, to be written to these addresses ([`write_number`]).
    All(Whose, [u64; 3]),
    /// `setuid`, `setgid`.
    Become(Whose, u32),
    /// `setreuid`, `setregid`: the real and the effective id.
    BecomeTwo(Whose, [Option<u32>; 2]),
    /// `setresuid`, `setresgid`: the real, effective and saved id.
    BecomeThree(Whose, [Option<u32>; 3]),
}

impl Call {
    /// Reads the arguments of a call of the native ABI that has to do with owners. Source: `chown(2)`, `credentials(7)`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for flags that the kernel does not know, `ENOSYS` for another call.
    pub fn asked(&self) -> rustix::io::Result<Asked> {
        use Whose::{Group, User};
        let [a, b, c, ..] = self.args;
        Ok(match self.number {
            libc::SYS_getuid => Asked::Real(User),
            libc::SYS_getgid => Asked::Real(Group),
            libc::SYS_geteuid => Asked::Effective(User),
            libc::SYS_getegid => Asked::Effective(Group),
            libc::SYS_getresuid => Asked::All(User, [a, b, c]),
            libc::SYS_getresgid => Asked::All(Group, [a, b, c]),
            libc::SYS_setuid => Asked::Become(User, int(a).cast_unsigned()),
            libc::SYS_setgid => Asked::Become(Group, int(a).cast_unsigned()),
            libc::SYS_setreuid => Asked::BecomeTwo(User, [id(a), id(b)]),
            libc::SYS_setregid => Asked::BecomeTwo(Group, [id(a), id(b)]),
            libc::SYS_setresuid => Asked::BecomeThree(User, [id(a), id(b), id(c)]),
            libc::SYS_setresgid => Asked::BecomeThree(Group, [id(a), id(b), id(c)]),
            _ => Asked::Chown(self.chown()?),
        })
    }

    fn chown(&self) -> rustix::io::Result<Chown> {
        let [a, b, c, d, e, _] = self.args;
        let path = |address, follow| Place::Path { dir: None, address, follow, may_be_empty: false };
        let (file, uid, gid) = match self.number {
            libc::SYS_fchown => (Place::Descriptor(Some(int(a))), b, c),
            libc::SYS_fchownat => {
                let flags = int(e);
                if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
                    return Err(Errno::INVAL);
                }
                let (follow, may_be_empty) = (flags & libc::AT_SYMLINK_NOFOLLOW == 0, flags & libc::AT_EMPTY_PATH != 0);
                let dir = Some(int(a)).filter(|dir| *dir != libc::AT_FDCWD);
                (Place::Path { dir, address: b, follow, may_be_empty }, c, d)
            }
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chown => (path(a, true), b, c),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lchown => (path(a, false), b, c),
            _ => return Err(Errno::NOSYS),
        };
        Ok(Chown { file, uid: id(uid), gid: id(gid) })
    }
}

/// Reads an id; nothing for the one that means to leave it as it is.
fn id(arg: u64) -> Option<u32> {
    Some(int(arg).cast_unsigned()).filter(|id| *id != u32::MAX)
}

/// Reads an `int` as the kernel does: the lower half of the register.
#[allow(clippy::cast_possible_truncation)]
fn int(arg: u64) -> i32 {
    arg as i32
}

/// Where the calls of processes are heard.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.0
    }
}

impl Listener {
    /// Installs a filter on the calling thread and everything it will start, whose calls for a listener are heard here.
    ///
    /// # Errors
    ///
    /// As [`crate::seccomp::install`]; `EBUSY` where there is a listener already.
    pub fn install(program: &[SockFilter]) -> Result<Self> {
        let number = install_with(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
        let none = |_| Error::new("seccomp", "SECCOMP_FILTER_FLAG_NEW_LISTENER", Errno::BADF);
        let number = i32::try_from(number).map_err(none)?;
        // SAFETY: with this flag the call answers with a descriptor that it has just made and that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// Waits for the next call; nothing when nobody is left to make one.
    ///
    /// # Errors
    ///
    /// When waiting itself fails.
    pub fn next(&self) -> Result<Option<Call>> {
        use rustix::event::{PollFd, PollFlags, poll};
        loop {
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            let polled = rustix::io::retry_on_intr(|| poll(&mut fds, None));
            crate::check("poll", || "a listener".into(), polled)?;
            if !fds[0].revents().contains(PollFlags::IN) {
                return Ok(None);
            }
            // SAFETY: the structure is of integers only, for which zeros are values; the kernel wants it so.
            let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the kernel writes one such structure, which outlives the request.
            let ret = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
            match raw("ioctl", || "SECCOMP_IOCTL_NOTIF_RECV".into(), ret.into()) {
                // Whoever made it was killed meanwhile.
                Err(e) if matches!(e.errno(), Errno::NOENT | Errno::INTR) => (),
                Err(e) => return Err(e),
                Ok(_) => {
                    let (number, args) = (call.data.nr.into(), call.data.args);
                    return Ok(Some(Call { id: call.id, thread: call.pid, number, args }));
                }
            }
        }
    }

    /// Tells whether a call still waits. As long as it does, its thread has its number and its memory.
    pub fn waits(&self, call: &Call) -> bool {
        // SAFETY: the kernel reads one number, which outlives the request.
        let ret = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const call.id) };
        ret == 0
    }

    /// Answers a call. One that does not wait any more needs no answer.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the answer.
    pub fn answer(&self, call: &Call, answer: rustix::io::Result<u32>) -> Result<()> {
        let error = answer.err().map_or(0, |errno| -errno.raw_os_error());
        let mut response = libc::seccomp_notif_resp { id: call.id, val: answer.unwrap_or(0).into(), error, flags: 0 };
        // SAFETY: the kernel reads one such structure, which outlives the request.
        let ret = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) };
        match raw("ioctl", || "SECCOMP_IOCTL_NOTIF_SEND".into(), ret.into()) {
            Err(e) if e.errno() != Errno::NOENT => Err(e),
            _ => Ok(()),
        }
    }
}

impl From<OwnedFd> for Listener {
    /// Takes a listener that another process has installed.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads a path from the memory of another process, up to its end. Source: `process_vm_readv(2)`.
///
/// # Errors
///
/// `EFAULT` where there is no memory, `ENAMETOOLONG` without an end, `EPERM` for a process that may not be looked into.
pub fn read_path(thread: u32, address: u64) -> rustix::io::Result<Vec<u8>> {
    let fault = |_| Errno::FAULT;
    let thread = libc::pid_t::try_from(thread).map_err(|_| Errno::SRCH)?;
    let mut address = usize::try_from(address).map_err(fault)?;
    let mut path = Vec::with_capacity(PAGE);
    while path.len() < PATH_MAX {
        let mut part = [0_u8; PAGE];
        let length = PAGE - address % PAGE;
        let read = read_part(thread, address, &mut part[..length])?;
        let part = &part[..read];
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            path.extend_from_slice(&part[..end]);
            return if path.len() < PATH_MAX { Ok(path) } else { Err(Errno::NAMETOOLONG) };
        }
        path.extend_from_slice(part);
        address = address.checked_add(read).ok_or(Errno::FAULT)?;
    }
    Err(Errno::NAMETOOLONG)
}

/// Reads bytes from the memory of another process, as many as there are up to the end of the buffer; returns how many.
///
/// # Errors
///
/// As [`read_path`].
pub fn read_bytes(thread: u32, address: u64, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    let thread = libc::pid_t::try_from(thread).map_err(|_| Errno::SRCH)?;
    read_part(thread, usize::try_from(address).map_err(|_| Errno::FAULT)?, buffer)
}

fn read_part(thread: libc::pid_t, address: usize, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    let length = buffer.len();
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(address), iov_len: length };
    // SAFETY: the kernel writes at most `length` bytes, which the buffer has; the other address is of another process,
    // and the kernel checks it.
    let read = unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(read) {
        Ok(read @ 1..) => Ok(read),
        _ => Err(last()),
    }
}

/// Writes a number to the memory of another process. Source: `process_vm_writev(2)`.
///
/// # Errors
///
/// As [`read_path`].
pub fn write_number(thread: u32, address: u64, number: u32) -> rustix::io::Result<()> {
    let thread = libc::pid_t::try_from(thread).map_err(|_| Errno::SRCH)?;
    let address = usize::try_from(address).map_err(|_| Errno::FAULT)?;
    let mut bytes = number.to_ne_bytes();
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(address), iov_len: bytes.len() };
    // SAFETY: the kernel reads the bytes of `bytes`; the other address is of another process, and the kernel checks it.
    let written = unsafe { libc::process_vm_writev(thread, &raw const local, 1, &raw const remote, 1, 0) };
    if usize::try_from(written) == Ok(bytes.len()) { Ok(()) } else { Err(last()) }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_the_kernel_reads_them() {
        let call = |number, args| Call { id: 0, thread: 1, number, args }.chown();
        let here = u64::from(libc::AT_FDCWD.cast_unsigned()) | 7 << 32;
        let at = |dir, follow, may_be_empty| Place::Path { dir, address: 9, follow, may_be_empty };
        let wanted = call(libc::SYS_fchownat, [here, 9, 5, u64::MAX, 0, 0]).unwrap();
        assert_eq!(wanted, Chown { file: at(None, true, false), uid: Some(5), gid: None });
        let wanted = call(libc::SYS_fchownat, [4, 9, u64::from(u32::MAX), 6, 0x1100, 0]).unwrap();
        assert_eq!(wanted, Chown { file: at(Some(4), false, true), uid: None, gid: Some(6) });
        assert_eq!(call(libc::SYS_fchown, [3, 1, 2, 0, 0, 0]).unwrap().file, Place::Descriptor(Some(3)));
        assert_eq!(call(libc::SYS_fchownat, [4, 9, 5, 6, 1, 0]), Err(Errno::INVAL));
        let asked = |number, args| Call { id: 0, thread: 1, number, args }.asked();
        assert_eq!(asked(libc::SYS_getpid, [0; 6]), Err(Errno::NOSYS));
        let three = asked(libc::SYS_setresgid, [5, u64::from(u32::MAX), 6, 0, 0, 0]);
        assert_eq!(three, Ok(Asked::BecomeThree(Whose::Group, [Some(5), None, Some(6)])));
    }

    #[test]
    fn a_number_is_written_where_there_is_memory() {
        let number = std::cell::Cell::new(7_u32);
        let address = number.as_ptr().expose_provenance() as u64;
        write_number(std::process::id(), address, 9).unwrap();
        assert_eq!(number.get(), 9);
        assert_eq!(write_number(std::process::id(), 8, 9), Err(Errno::FAULT));
    }

    #[test]
    fn a_path_is_read_up_to_its_end_and_not_beyond_memory() {
        let text = [&[b'a'; 5000][..], b"\0b"].concat();
        let short = &text[4990..];
        let address = |text: &[u8]| text.as_ptr().expose_provenance() as u64;
        assert_eq!(read_path(std::process::id(), address(short)).unwrap(), [b'a'; 10]);
        assert_eq!(read_path(std::process::id(), address(&text)), Err(Errno::NAMETOOLONG));
        assert_eq!(read_path(std::process::id(), 8), Err(Errno::FAULT));
    }
}
