// SPDX-License-Identifier: Apache-2.0
//! `execve` with an argument list and an environment that were built, never inherited.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use crate::error::{Error, raw};

/// Argument or environment strings in the form the kernel wants, prepared before the moment of the call.
#[derive(Debug)]
pub struct StringArray {
    // Keeps alive what `pointers` points to.
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl StringArray {
    /// Prepares the strings.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect();
        Self { strings, pointers }
    }

    /// Returns the strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Replaces this process by another program. Returns only when that failed. Source: `execve(2)`.
pub fn execve(path: &CStr, argv: &StringArray, envp: &StringArray) -> Error {
    // SAFETY: `path` ends in NUL, and both arrays are NULL-terminated lists of strings that their owners keep alive.
    let ret = unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    match raw("execve", || path.to_string_lossy().into_owned(), ret.into()) {
        Err(e) => e,
        Ok(_) => Error::new("execve", "returned without an error", rustix::io::Errno::IO),
    }
}

/// As [`execve`], with the program as a descriptor. Source: `execveat(2)`, `AT_EMPTY_PATH`.
pub fn execveat(program: impl AsFd, argv: &StringArray, envp: &StringArray) -> Error {
    let (fd, flags) = (program.as_fd().as_raw_fd(), libc::AT_EMPTY_PATH);
    let (argv, envp) = (argv.pointers.as_ptr(), envp.pointers.as_ptr());
    // SAFETY: the path is empty and ends in NUL; the arrays are as for `execve`.
    let ret = unsafe { libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), argv, envp, flags) };
    match raw("execveat", || fd.to_string(), ret) {
        Err(e) => e,
        Ok(_) => Error::new("execveat", "returned without an error", rustix::io::Errno::IO),
    }
}

/// Ends this process at once: no destructors, no handlers, no flushing of buffers that the parent will flush too.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any status and does not return.
    unsafe { libc::_exit(code) }
}
