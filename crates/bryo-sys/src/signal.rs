// SPDX-License-Identifier: Apache-2.0
//! Signals as data: blocked, and read from a descriptor.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::error::{Error, Result, raw};

/// A set of signals by number.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl std::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((1..=64).filter(|s| self.contains(*s))).finish()
    }
}

impl SignalSet {
    /// Makes a set without members.
    pub fn empty() -> Self {
        // SAFETY: `sigset_t` is plain data for which all zeroes is a valid value.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is writable.
        unsafe { libc::sigemptyset(&raw mut set) };
        Self(set)
    }

    /// Makes a set of all signals.
    pub fn full() -> Self {
        let mut set = Self::empty();
        // SAFETY: `set.0` is an initialised, writable set.
        unsafe { libc::sigfillset(&raw mut set.0) };
        set
    }

    /// Adds a signal; numbers that are no signal are passed over.
    pub fn with(mut self, signal: i32) -> Self {
        // SAFETY: `self.0` is an initialised, writable set; a bad number only makes the call fail.
        unsafe { libc::sigaddset(&raw mut self.0, signal) };
        self
    }

    /// Takes a signal out.
    pub fn without(mut self, signal: i32) -> Self {
        // SAFETY: as in `with`.
        unsafe { libc::sigdelset(&raw mut self.0, signal) };
        self
    }

    /// Tells whether a signal is in the set.
    pub fn contains(&self, signal: i32) -> bool {
        // SAFETY: `self.0` is an initialised set.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }

    /// Makes this the set of blocked signals of the calling thread. Source: `sigprocmask(2)`.
    pub fn block(&self) -> Result<()> {
        self.replace().map(drop)
    }

    /// As [`SignalSet::block`], and returns what was blocked before.
    pub fn replace(&self) -> Result<Self> {
        let mut before = Self::empty();
        // SAFETY: reads one initialised set and writes to another.
        let ret = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, &raw mut before.0) };
        if ret == 0 {
            return Ok(before);
        }
        Err(Error::new("sigprocmask", format!("{self:?}"), Errno::from_raw_os_error(ret)))
    }

    /// Opens a descriptor from which these signals are read once they are blocked. Source: `signalfd(2)`.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        // SAFETY: reads one initialised set and returns a new descriptor.
        let ret = unsafe { libc::signalfd(-1, &raw const self.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        let fd = raw("signalfd", || format!("{self:?}"), ret.into())?;
        let fd = i32::try_from(fd).map_err(|_| Error::new("signalfd", "", Errno::RANGE))?;
        // SAFETY: the kernel has just given us this descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Returns the signal of a number from 1 to 64, real-time signals included.
pub fn numbered(number: i32) -> Option<rustix::process::Signal> {
    // SAFETY: these are the kernel's signals (`signal(7)`); those that a C library keeps to itself are only sent to
    // other processes here, which cannot disturb the library in this one.
    (1..=64).contains(&number).then(|| unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}

/// Reads the next signal's number from a descriptor of [`SignalSet::descriptor`], or `None` when there is none now.
pub fn next(descriptor: impl AsFd) -> Result<Option<i32>> {
    // `struct signalfd_siginfo` is 128 bytes and opens with the number.
    let mut info = [0_u8; 128];
    match rustix::io::read(descriptor, &mut info) {
        Ok(128) => Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))),
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(Error::new("read", "signalfd", errno)),
    }
}

/// Puts every signal back to its default action, so that nothing the caller ignored is ignored inside.
///
/// Ignored signals survive `execve` (`signal(7)`), and Rust itself ignores `SIGPIPE`.
pub fn reset_all() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid action for every signal; numbers that cannot be changed make the call fail.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
