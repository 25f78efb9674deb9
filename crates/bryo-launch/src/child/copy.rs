// SPDX-License-Identifier: Apache-2.0
//! Copies a directory of the image: content, owners, modes, attributes, and the times of the last change.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bryo_sys::{Errno, Error, Result, check};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};

/// Deeper trees than this are not copied.
const MAX_DEPTH: u32 = 64;

/// The longest attribute, and list of names of attributes. Source: `xattr(7)`, `XATTR_SIZE_MAX`, `XATTR_LIST_MAX`.
const XATTR_MAX: usize = 65536;

/// Copies what is in a directory into an empty one, which becomes like it. Links are copied as links; sockets, FIFOs and
/// devices are not content.
pub(super) fn directory(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    below(from, to, MAX_DEPTH)
}

fn below(from: &OwnedFd, to: &OwnedFd, depth: u32) -> Result<()> {
    if depth == 0 {
        return Err(Error::new("copy", "the image's directory is too deep for a volume", Errno::NAMETOOLONG));
    }
    for entry in check("openat", || ".".into(), Dir::read_from(from))? {
        let entry = check("getdents64", String::new, entry)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            one(from, to, entry.file_name(), depth)?;
        }
    }
    let stat = check("fstat", String::new, rustix::fs::fstat(from))?;
    be_like(from.as_fd(), &stat, to.as_fd())
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: u32) -> Result<()> {
    let shown = || name.to_string_lossy().into_owned();
    let open = |fd: &OwnedFd, flags| {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        check("openat", shown, rustix::fs::openat(fd, name, flags, Mode::from_raw_mode(0o600)))
    };
    // Not what the directory says: some file systems do not.
    let stat = check("fstatat", shown, rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            check("mkdirat", shown, rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700)))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            below(&open(from, flags)?, &open(to, flags)?, depth - 1)
        }
        FileType::RegularFile => {
            let source = File::from(open(from, OFlags::RDONLY | OFlags::NONBLOCK)?);
            let copy = File::from(open(to, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?);
            std::io::copy(&mut &source, &mut &copy)
                .map_err(|e| Error::new("write", shown(), Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
            be_like(source.as_fd(), &stat, copy.as_fd())
        }
        FileType::Symlink => {
            let target = check("readlinkat", shown, rustix::fs::readlinkat(from, name, Vec::new()))?;
            check("symlinkat", shown, rustix::fs::symlinkat(&target, to, name))?;
            let (uid, gid) = owner(&stat);
            let owned = rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
            check("fchownat", shown, owned)?;
            let timed = rustix::fs::utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW);
            check("utimensat", shown, timed)
        }
        _ => Ok(()),
    }
}

/// The order matters: a change of owner takes set-user-id bits and file capabilities away, and writing changes the time.
fn be_like(from: BorrowedFd<'_>, stat: &Stat, to: BorrowedFd<'_>) -> Result<()> {
    let (uid, gid) = owner(stat);
    check("fchown", || format!("{uid:?}:{gid:?}"), rustix::fs::fchown(to, Some(uid), Some(gid)))?;
    check("fchmod", String::new, rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode)))?;
    attributes(from, to)?;
    check("futimens", String::new, rustix::fs::futimens(to, &times(stat)))
}

fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() },
    }
}

/// Copies what has a meaning for a container and gives no rights on the host.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut names = Vec::with_capacity(256);
    loop {
        match rustix::fs::flistxattr(from, rustix::buffer::spare_capacity(&mut names)) {
            Ok(_) => break,
            Err(Errno::RANGE) if names.capacity() < XATTR_MAX => names.reserve(XATTR_MAX),
            // A file system without any.
            Err(Errno::OPNOTSUPP) => return Ok(()),
            Err(e) => return check("flistxattr", String::new, Err(e)),
        }
    }
    for name in names.split(|b| *b == 0).filter(|name| is_kept(name)) {
        let mut value = Vec::with_capacity(XATTR_MAX);
        let read = rustix::fs::fgetxattr(from, name, rustix::buffer::spare_capacity(&mut value));
        let copied = read.and_then(|_| rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty()));
        match copied {
            // A file system without such attributes, or a capability of another namespace's root.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL | Errno::NODATA) => (),
            Err(e) => check("fsetxattr", || String::from_utf8_lossy(name).into_owned(), Err(e))?,
        }
    }
    Ok(())
}

/// File capabilities, which are bound to the user namespace, and user attributes, except those that direct overlayfs.
fn is_kept(name: &[u8]) -> bool {
    let user = name.strip_prefix(b"user.").is_some_and(|rest| rest != b"overlay" && !rest.starts_with(b"overlay."));
    user || name == b"security.capability"
}
