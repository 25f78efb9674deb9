// SPDX-License-Identifier: Apache-2.0
//! One error for every system call: what was called, on what, and what the kernel said.

use std::fmt;

use rustix::io::Errno;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Error>;

/// A system call that failed: its name, its arguments as a person would write them, and errno.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    call: &'static str,
    args: String,
    errno: Errno,
}

impl Error {
    /// Records a failed call.
    pub fn new(call: &'static str, args: impl Into<String>, errno: Errno) -> Self {
        Self { call, args: args.into(), errno }
    }

    /// Names the system call.
    pub fn call(&self) -> &'static str {
        self.call
    }

    /// Renders the arguments of the call.
    pub fn args(&self) -> &str {
        &self.args
    }

    /// Returns what the kernel answered.
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}): {}", self.call, self.args, self.errno)
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(e: Error) -> Self {
        std::io::Error::from_raw_os_error(e.errno.raw_os_error())
    }
}

/// Gives a bare errno its call and arguments. The arguments are only rendered on failure.
pub fn check<T>(call: &'static str, args: impl FnOnce() -> String, result: rustix::io::Result<T>) -> Result<T> {
    result.map_err(|errno| Error::new(call, args(), errno))
}

/// Turns the return value of a raw system call into a result.
pub(crate) fn raw(call: &'static str, args: impl FnOnce() -> String, ret: libc::c_long) -> Result<libc::c_long> {
    if ret >= 0 {
        return Ok(ret);
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Err(Error::new(call, args(), Errno::from_raw_os_error(errno)))
}
