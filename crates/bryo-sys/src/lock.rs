// SPDX-License-Identifier: Apache-2.0
//! Locks that belong to an open file, and that can be looked at without being taken.
//!
//! `flock(2)` has no look: whoever wants to know whether a lock is held must take it for a moment, and is in the way of
//! whoever takes it in earnest at that moment. Locks of open file descriptions have one. Both go over to children with
//! the descriptor, and end with the last one of them. Source: `fcntl_locking(2)`, `F_OFD_SETLK` and `F_OFD_GETLK`.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::error::{Error, Result, raw};

/// Takes the lock of a file that is open for writing, if nobody has it. It is given back when the last descriptor of
/// this opening is closed, in whichever process.
///
/// # Errors
///
/// When the file system has no locks. A lock that somebody else has is no error, but false.
pub fn take(file: impl AsFd) -> Result<bool> {
    match control(file, libc::F_OFD_SETLK, "F_OFD_SETLK") {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.errno(), Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Tells whether somebody has the lock of a file, without taking it. One's own opening does not count.
///
/// # Errors
///
/// As [`take`].
pub fn is_taken(file: impl AsFd) -> Result<bool> {
    control(file, libc::F_OFD_GETLK, "F_OFD_GETLK").map(|lock| i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Asks for an exclusive lock of the whole file.
fn control(file: impl AsFd, command: libc::c_int, name: &'static str) -> Result<libc::flock> {
    // Both constants are small and the same on every machine.
    let short = |n: libc::c_int| libc::c_short::try_from(n).map_err(|_| Error::new("fcntl", name, Errno::RANGE));
    let (l_type, l_whence) = (short(libc::F_WRLCK)?, short(libc::SEEK_SET)?);
    let mut lock = libc::flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 };
    // SAFETY: the descriptor is open for the length of the call, and `lock` is a writable `struct flock`.
    let ret = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, &raw mut lock) };
    raw("fcntl", || format!("{name}, F_WRLCK"), ret.into())?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_takes_nothing() {
        let path = std::env::temp_dir().join(format!("bryo-sys-lock-{}", std::process::id()));
        let open = || std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path).unwrap();
        let (one, two) = (open(), open());
        assert!(!is_taken(&two).unwrap());
        assert!(take(&one).unwrap());
        assert!(is_taken(&two).unwrap() && !is_taken(&one).unwrap());
        assert!(is_taken(std::fs::File::open(&path).unwrap()).unwrap(), "a reader may look");
        assert!(!take(&two).unwrap());
        let copy = one.try_clone().unwrap();
        drop(one);
        assert!(is_taken(&two).unwrap(), "it ends with the last descriptor");
        drop(copy);
        assert!(!is_taken(&two).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
