// SPDX-License-Identifier: Apache-2.0
//! Watching the system calls of other processes. Source: `ptrace(2)`.
//!
//! A process is watched by the thread that has attached to it, and by no other. What is read here is what the watched
//! process says of itself; nothing is changed in it.

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::error::{Error, Result, raw};

/// What a watched thread has stopped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It has ended.
    Ended,
    /// It is about to make a call, or comes back from one.
    Call,
    /// It is about to get a signal.
    Signal(i32),
    /// It has executed a program.
    Executed,
    /// It was stopped by a job control signal, and stays so.
    Group,
    /// Anything else that it goes on from: it was born, it has a child, ...
    Other,
}

/// A call of a watched thread. Source: `struct ptrace_syscall_info` of `linux/ptrace.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before it is made.
    Entry {
        /// The ABI, as in `linux/audit.h`.
        arch: u32,
        /// Its number there.
        number: u64,
        /// Its arguments.
        args: [u64; 6],
    },
    /// After it: what it returned, or an errno.
    Exit(std::result::Result<i64, i32>),
    /// No call at all.
    None,
}

/// How a thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// Up to its next call, with a signal (0 for none).
    ToCall(i32),
    /// Without being watched for calls, with a signal (0 for none).
    Freely(i32),
    /// Not: it stays stopped until a signal lets it go on.
    Listening,
}

const TRACEME: libc::c_uint = 0;
const CONT: libc::c_uint = 7;
const DETACH: libc::c_uint = 17;
const SYSCALL: libc::c_uint = 24;
const SEIZE: libc::c_uint = 0x4206;
const LISTEN: libc::c_uint = 0x4208;
const GET_EVENT_MESSAGE: libc::c_uint = 0x4201;
const GET_SYSCALL_INFO: libc::c_uint = 0x420e;

/// `PTRACE_O_TRACESYSGOOD`, `_TRACEFORK`, `_TRACEVFORK`, `_TRACECLONE`, `_TRACEEXEC`, `_EXITKILL` of `linux/ptrace.h`.
const OPTIONS: libc::c_ulong = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x0010_0000;

/// `PTRACE_EVENT_EXEC` and `PTRACE_EVENT_STOP` of `linux/ptrace.h`.
const EVENT_EXEC: i32 = 4;
const EVENT_STOP: i32 = 128;

/// Has the parent watch this process. It stops after its next `execve(2)`.
///
/// # Errors
///
/// `EPERM` when the parent has no right to, or somebody watches already.
pub fn trace_me() -> Result<()> {
    request(TRACEME, None, 0, 0)
}

/// Watches a process, and all that it will start but by `CLONE_UNTRACED`; it does not stop for that. They are killed when
/// this thread ends: nothing goes on unwatched.
///
/// # Errors
///
/// `EPERM` without the right to look into it, `ESRCH` when it is gone.
pub fn seize(pid: Pid) -> Result<()> {
    request(SEIZE, Some(pid), 0, OPTIONS)
}

/// Lets a thread that has stopped go on.
///
/// # Errors
///
/// `ESRCH` when it was killed meanwhile.
pub fn go_on(pid: Pid, how: Go) -> Result<()> {
    let (word, signal) = match how {
        Go::ToCall(signal) => (SYSCALL, signal),
        Go::Freely(signal) => (CONT, signal),
        Go::Listening => (LISTEN, 0),
    };
    request(word, Some(pid), 0, libc::c_ulong::from(signal.unsigned_abs()))
}

/// Watches a process that has stopped no more, and leaves it with a signal.
///
/// # Errors
///
/// `ESRCH` when it was killed meanwhile.
pub fn leave(pid: Pid, signal: Signal) -> Result<()> {
    request(DETACH, Some(pid), 0, libc::c_ulong::from(signal.as_raw().unsigned_abs()))
}

fn request(word: libc::c_uint, pid: Option<Pid>, address: libc::c_ulong, data: libc::c_ulong) -> Result<()> {
    let pid = Pid::as_raw(pid);
    // SAFETY: none of these requests takes a pointer: address and data are numbers, and the kernel checks the process.
    let ret = unsafe { libc::syscall(libc::SYS_ptrace, libc::c_ulong::from(word), pid, address, data) };
    raw("ptrace", || format!("{word:#x}, {pid}"), ret).map(drop)
}

/// Waits for the next stop of any thread that is watched; nothing when nobody is left.
///
/// # Errors
///
/// When waiting itself fails.
pub fn wait() -> Result<Option<(Pid, Stop)>> {
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int, which outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        match raw("waitpid", || "-1, __WALL".into(), pid.into()) {
            Ok(_) => (),
            Err(e) if e.errno() == Errno::CHILD => return Ok(None),
            Err(e) if e.errno() == Errno::INTR => continue,
            Err(e) => return Err(e),
        }
        let none = || Error::new("waitpid", "no process id", Errno::RANGE);
        return Ok(Some((Pid::from_raw(pid).ok_or_else(none)?, stop(status))));
    }
}

/// Reads a status as `wait(2)` gives it for a watched thread.
fn stop(status: i32) -> Stop {
    if !libc::WIFSTOPPED(status) {
        return Stop::Ended;
    }
    let signal = libc::WSTOPSIG(status);
    match (signal, status >> 16) {
        (_, 0) if signal == libc::SIGTRAP | 0x80 => Stop::Call,
        (signal, 0) => Stop::Signal(signal),
        (_, EVENT_EXEC) => Stop::Executed,
        (libc::SIGTRAP, EVENT_STOP) => Stop::Other,
        (_, EVENT_STOP) => Stop::Group,
        _ => Stop::Other,
    }
}

/// Returns who has executed the program that a process has stopped for: the thread that did, by the number that it had.
/// All other threads are gone, and it has the number of the process by now.
///
/// # Errors
///
/// `ESRCH` when it was killed meanwhile.
pub fn executed_by(pid: Pid) -> Result<Option<Pid>> {
    let (raw_pid, word) = (pid.as_raw_nonzero().get(), libc::c_ulong::from(GET_EVENT_MESSAGE));
    let mut message: libc::c_ulong = 0;
    // SAFETY: the kernel writes one unsigned long, which outlives the call; the address is not used.
    let ret = unsafe { libc::syscall(libc::SYS_ptrace, word, raw_pid, 0, &raw mut message) };
    raw("ptrace", || format!("PTRACE_GETEVENTMSG, {raw_pid}"), ret)?;
    Ok(i32::try_from(message).ok().and_then(Pid::from_raw))
}

/// `struct ptrace_syscall_info`, with the largest of its forms.
#[repr(C)]
#[derive(Default)]
struct Info {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    /// Entry: the number and six arguments. Exit: the result, and a byte that says whether it is an error.
    words: [u64; 8],
}

/// Reads the call that a thread has stopped for.
///
/// # Errors
///
/// `ESRCH` when it was killed meanwhile, `EIO` before Linux 5.3.
pub fn call(pid: Pid) -> Result<Side> {
    let mut info = Info::default();
    let (size, raw_pid) = (size_of::<Info>(), pid.as_raw_nonzero().get());
    let word = libc::c_ulong::from(GET_SYSCALL_INFO);
    // SAFETY: the kernel writes at most `size` bytes, and any bytes are a value of the structure, which outlives the call.
    let ret = unsafe { libc::syscall(libc::SYS_ptrace, word, raw_pid, size, &raw mut info) };
    raw("ptrace", || format!("PTRACE_GET_SYSCALL_INFO, {raw_pid}"), ret)?;
    let [first, second, ..] = info.words;
    Ok(match info.op {
        1 => {
            let mut args = [0; 6];
            args.copy_from_slice(&info.words[1..7]);
            Side::Entry { arch: info.arch, number: first, args }
        }
        2 if second.to_ne_bytes()[0] != 0 => Side::Exit(Err(i32::try_from(-first.cast_signed()).unwrap_or(libc::EIO))),
        2 => Side::Exit(Ok(first.cast_signed())),
        _ => Side::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_the_kernel_writes_it() {
        let stopped = |signal: i32, event: i32| stop(event << 16 | signal << 8 | 0x7f);
        assert_eq!(stop(0), Stop::Ended);
        assert_eq!(stop(libc::SIGKILL), Stop::Ended);
        assert_eq!(stopped(libc::SIGTRAP | 0x80, 0), Stop::Call);
        assert_eq!(stopped(libc::SIGTRAP, 0), Stop::Signal(libc::SIGTRAP));
        assert_eq!(stopped(libc::SIGTRAP, EVENT_EXEC), Stop::Executed);
        assert_eq!(stopped(libc::SIGSTOP, EVENT_STOP), Stop::Group);
        assert_eq!(stopped(libc::SIGTRAP, EVENT_STOP), Stop::Other);
    }

    #[test]
    fn nobody_who_is_not_there_is_watched() {
        let nobody = Pid::from_raw(i32::MAX - 1).unwrap();
        assert_eq!(seize(nobody).unwrap_err().errno(), Errno::SRCH);
        assert_eq!(call(nobody).unwrap_err().errno(), Errno::SRCH);
        assert_eq!(executed_by(nobody).unwrap_err().errno(), Errno::SRCH);
    }
}
