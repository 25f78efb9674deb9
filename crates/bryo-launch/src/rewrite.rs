// SPDX-License-Identifier: Apache-2.0
//! Writes one of the generated files anew, in a container that runs.
//!
//! What is generated is read-only inside, by the mount that shows it. A helper makes a mount of its own of the same file,
//! writable and in no place, and writes there; what the payload sees never becomes writable.
//!
//! | who | namespaces | kernel ids | may allocate | ends by |
//! |---|---|---|---|---|
//! | helper | the host's, then the container's user and mount namespace | the caller's, then root inside | yes | its exit code |
//!
//! The path is the container's, and may lead elsewhere by now: only a file is written to that is what was generated, in
//! memory, mounted by itself and with the same bytes. The helper is in no pid namespace of the container, and so nobody
//! that the payload could look into.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bryo_identity::map::IdMap;
use bryo_identity::userns::{self, Inside};
use bryo_sys::clone::Namespaces;
use bryo_sys::fd::{message_pair, receive, send};
use bryo_sys::mount::{Attr, Change, clone_tree, set_attr};
use bryo_sys::{Errno, check};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};

use crate::child;
use crate::error::{Error, Kind, Result};

/// The magic number of tmpfs, `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// `STATX_ATTR_MOUNT_ROOT` of `linux/stat.h`.
const MOUNT_ROOT: u64 = 0x2000;

/// A generated file that is to say something else.
#[derive(Debug, Clone, Copy)]
pub struct Rewrite<'a> {
    /// Process 1 of the container.
    pub container: BorrowedFd<'a>,
    /// The container's ids.
    pub ids: &'a IdMap,
    /// Where the file is, inside.
    pub path: &'a Path,
    /// What it says.
    pub old: &'a [u8],
    /// What it is to say.
    pub new: &'a [u8],
}

/// Writes the file. The calling process must have one thread, and be of the user who started the container.
///
/// # Errors
///
/// When the file is another one by now, or the kernel refuses.
pub fn rewrite(request: Rewrite<'_>) -> Result<()> {
    let what = || format!("cannot change {} in the container", request.path.display());
    let failed = |why: String| Error::new(Kind::RootFs, format!("{}: {why}", what()));
    let (mine, theirs) = message_pair()?;
    let mut theirs = Some(theirs);
    let helper = userns::join(request.container, Namespaces::MOUNT, request.ids, None, |inside| {
        let Some(theirs) = theirs.take() else { return child::NOT_STARTED };
        let said = match write(request, &inside) {
            Ok(()) => "done".into(),
            Err(e) => e.to_string(),
        };
        i32::from(send(&theirs, said.as_bytes(), &[]).is_err())
    })?;
    drop(theirs);
    let mut words = [0; 512];
    let (n, _) = receive(&mine, &mut words)?;
    helper.wait()?;
    match &words[..n] {
        b"done" => Ok(()),
        words => Err(failed(String::from_utf8_lossy(words).into_owned())),
    }
}

/// The helper's part.
fn write(request: Rewrite<'_>, inside: &Inside) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // While the host's `/proc` is there: the container's may be none.
    let links = check("open", || "/proc/self/fd".into(), rustix::fs::open("/proc/self/fd", flags, Mode::empty()))?;
    // A kernel that lets everything be dumped (`fs.suid_dumpable`) forgets it with every change of ids.
    child::undumpable()?;
    inside.become_root()?;
    child::undumpable()?;
    let path = request.path.to_string_lossy();
    is_generated(&path)?;
    let tree = clone_tree(CWD, &path, false)?;
    set_attr(&tree, Change { set: Attr::empty(), clear: Attr::RDONLY, private: false, recursive: false })?;
    let file = open(&links, &tree)?;
    let other = |_| bryo_sys::Error::new("open", "it is not what was generated", Errno::STALE);
    let mut old = vec![0; request.old.len() + 1];
    let n = file.read_at(&mut old, 0).map_err(other)?;
    if old[..n] != *request.old {
        return Err(bryo_sys::Error::new("read", "it is not what was generated", Errno::STALE).into());
    }
    let length = u64::try_from(request.new.len()).unwrap_or(u64::MAX);
    let written = file.write_all_at(request.new, 0).and_then(|()| file.set_len(length));
    written.map_err(|e| Error::new(Kind::RootFs, e.to_string()))
}

/// Refuses what the path leads to if it is not a file in memory that is mounted by itself.
fn is_generated(path: &str) -> bryo_sys::Result<()> {
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE);
    let found = check("statx", || path.into(), found)?;
    let kind = FileType::from_raw_mode(found.stx_mode.into());
    let system = check("statfs", || path.into(), rustix::fs::statfs(path))?.f_type;
    let mounted = found.stx_attributes.bits() & MOUNT_ROOT != 0;
    if kind == FileType::RegularFile && mounted && u64::try_from(system) == Ok(TMPFS_MAGIC) {
        return Ok(());
    }
    Err(bryo_sys::Error::new("statx", "it is not what was generated", Errno::STALE))
}

/// Opens what a descriptor without rights stands for.
fn open(links: &OwnedFd, tree: &OwnedFd) -> bryo_sys::Result<File> {
    let number = tree.as_raw_fd().to_string();
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(links, &number, flags, Mode::empty());
    check("open", || number, opened).map(File::from)
}
