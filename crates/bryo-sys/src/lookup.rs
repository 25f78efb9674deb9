// SPDX-License-Identifier: Apache-2.0
//! Lookups that end inside a root: by the kernel, or step by step where the kernel may not be asked.
//!
//! `openat2(2)` does it all in one call. A filter that looks at the arguments of system calls cannot look into its
//! structure, and some answer it with `ENOSYS` for that reason: systemd's `RestrictSUIDSGID=`, which `DynamicUser=`
//! brings along. Then each component is opened by itself, in a directory that is held open. Links are read and taken
//! apart here; `..` goes back to the directory that the way came from. The kernel never sees more than a single name,
//! and never `..`, so that no rename meanwhile leads out of the root.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, Result};

/// The most links that the kernel follows on one path, `MAXSYMLINKS`.
const LINKS_MAX: usize = 40;

/// The longest path, `PATH_MAX` with the byte that ends it.
const PATH_MAX: usize = 4096;

/// The magic number of procfs, `PROC_SUPER_MAGIC` of `linux/magic.h`.
const PROC: u64 = 0x9fa0;

/// The inode of the root of procfs, `PROC_ROOT_INO`.
const PROC_ROOT: u64 = 1;

/// Opens a path inside a root. Links are followed and end inside; those of processes (`/proc/self/exe`) are not.
///
/// # Errors
///
/// As `openat2(2)` with `RESOLVE_IN_ROOT` and `RESOLVE_NO_MAGICLINKS`.
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            // The kernel asks to try again when a rename raced with `..`.
            Err(Errno::AGAIN | Errno::INTR) => (),
            Err(Errno::NOSYS) => return Walk::new(root, path)?.open(flags | OFlags::CLOEXEC, mode),
            other => return other,
        }
    }
}

/// Opens a path as the process itself sees it, without following links of processes.
///
/// # Errors
///
/// As `openat2(2)` with `RESOLVE_NO_MAGICLINKS`.
pub fn open_here(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    loop {
        match rustix::fs::openat2(CWD, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            Err(Errno::AGAIN | Errno::INTR) => (),
            Err(Errno::NOSYS) => {
                let here = rustix::process::getcwd(Vec::new())?;
                let whole = Path::new(OsStr::from_bytes(here.as_bytes())).join(path);
                let root = rustix::fs::openat(CWD, "/", DIRECTORY, Mode::empty())?;
                return Walk::new(root.as_fd(), &whole)?.open(flags | OFlags::CLOEXEC, Mode::empty());
            }
            other => return other,
        }
    }
}

/// How a directory on the way is opened.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A lookup on its way.
struct Walk {
    root: OwnedFd,
    /// The directories from below the root to here.
    way: Vec<OwnedFd>,
    /// The components to come, the next one last.
    rest: Vec<Vec<u8>>,
    links: usize,
    /// Whether the path says by its end that it is a directory's.
    directory: bool,
}

impl Walk {
    fn new(root: BorrowedFd<'_>, path: &Path) -> Result<Self> {
        let path = path.as_os_str().as_bytes();
        match path {
            [] => return Err(Errno::NOENT),
            _ if path.len() >= PATH_MAX => return Err(Errno::NAMETOOLONG),
            _ if path.contains(&0) => return Err(Errno::INVAL),
            _ => (),
        }
        let root = rustix::fs::openat(root, ".", DIRECTORY, Mode::empty())?;
        let mut walk = Self { root, way: Vec::new(), rest: Vec::new(), links: 0, directory: false };
        walk.add(path);
        Ok(walk)
    }

    /// Puts a path before what is still to come.
    fn add(&mut self, path: &[u8]) {
        if self.rest.is_empty() {
            self.directory |= path.ends_with(b"/");
        }
        let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        self.rest.extend(parts.rev().map(<[u8]>::to_vec));
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.way.last().unwrap_or(&self.root).as_fd()
    }

    fn open(mut self, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        while let Some(part) = self.rest.pop() {
            // The directory that `.` and `..` are looked up in must be one that can be entered.
            match part.as_slice() {
                b"." => self.enterable()?,
                b".." => {
                    self.enterable()?;
                    self.way.pop();
                }
                name if self.rest.is_empty() => {
                    if let Some(opened) = self.last(OsStr::from_bytes(name), flags, mode)? {
                        return Ok(opened);
                    }
                }
                name => self.enter(OsStr::from_bytes(name))?,
            }
        }
        // The way ends in a directory that it has been in: by `.`, `..`, or the root itself.
        if flags.contains(OFlags::CREATE) {
            return Err(if flags.contains(OFlags::EXCL) { Errno::EXIST } else { Errno::ISDIR });
        }
        rustix::fs::openat(self.here(), ".", flags, mode)
    }

    /// Opens the last component; nothing when it is a link, and the way goes on.
    fn last(&mut self, name: &OsStr, flags: OFlags, mode: Mode) -> Result<Option<OwnedFd>> {
        let exclusive = flags.contains(OFlags::CREATE | OFlags::EXCL);
        let follow = self.directory || !flags.contains(OFlags::NOFOLLOW);
        let found = self.look(name);
        if let (Ok((fd, stat)), true, false) = (&found, follow, exclusive)
            && is_link(stat)
        {
            self.follow(fd)?;
            return Ok(None);
        }
        if matches!(found, Err(e) if e != Errno::NOENT) {
            return Err(found.err().unwrap_or(Errno::NOENT));
        }
        let must_be = if self.directory { OFlags::DIRECTORY } else { OFlags::empty() };
        // What is a link by now, and was none a moment ago, is refused.
        rustix::fs::openat(self.here(), name, flags | must_be | OFlags::NOFOLLOW, mode).map(Some)
    }

    /// Goes on to a component that is not the last one.
    fn enter(&mut self, name: &OsStr) -> Result<()> {
        let (fd, stat) = self.look(name)?;
        if is_link(&stat) {
            return self.follow(&fd);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        self.way.push(fd);
        Ok(())
    }

    /// Looks at a name in the directory that the way has come to.
    fn look(&self, name: &OsStr) -> Result<(OwnedFd, Stat)> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.here(), name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok((fd, stat))
    }

    /// Puts what a link says before what is still to come.
    fn follow(&mut self, link: &OwnedFd) -> Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX || self.is_of_process(link)? {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes();
        match target.first() {
            None => return Err(Errno::NOENT),
            Some(b'/') => self.way.clear(),
            Some(_) => (),
        }
        self.add(&target);
        Ok(())
    }

    /// Tells whether a link is one that leads to what a process has, and not to what its text says. All of procfs that
    /// are none stand in its root: `self`, `thread-self`, `mounts`, `net`.
    fn is_of_process(&self, link: &OwnedFd) -> Result<bool> {
        let of_procfs = u64::try_from(rustix::fs::fstatfs(link)?.f_type) == Ok(PROC);
        Ok(of_procfs && rustix::fs::fstat(self.here())?.st_ino != PROC_ROOT)
    }

    fn enterable(&self) -> Result<()> {
        rustix::fs::statat(self.here(), ".", AtFlags::empty()).map(drop)
    }
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    fn walk(root: &File, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        Walk::new(root.as_fd(), path)?.open(flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))
    }

    fn kernel(root: &File, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        open_in_root(root.as_fd(), path, flags, if flags.contains(OFlags::CREATE) { 0o600.into() } else { 0.into() })
    }

    /// What a lookup came to: which file, or which error.
    fn outcome(result: Result<OwnedFd>) -> std::result::Result<(u64, u64, u32), Errno> {
        let fd = result?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok((stat.st_dev, stat.st_ino, stat.st_mode))
    }

    fn tree() -> (PathBuf, File) {
        let dir =
            std::env::temp_dir().join(format!("bryo-lookup-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::create_dir_all(dir.join("d/e/d")).unwrap();
        for file in ["f", "d/f", "d/e/f"] {
            std::fs::write(dir.join(file), file).unwrap();
        }
        let links = [
            ("abs", "/d/e"),
            ("up", "../../../d"),
            ("d/up", "../f"),
            ("loop", "loop"),
            ("none", "nowhere/x"),
            ("slash", "f/"),
            ("d/e/root", "/"),
            ("dir", "d/"),
            ("d/far", "../../../../abs/../up/./e"),
            ("two", "abs/root/dir"),
        ];
        for (name, target) in links {
            symlink(target, dir.join(name)).unwrap();
        }
        let root = File::open(&dir).unwrap();
        (dir, root)
    }

    #[test]
    fn every_step_ends_where_the_kernels_does() {
        let (dir, root) = tree();
        let parts = ["d", "e", "f", "abs", "up", "loop", "none", "slash", "root", "dir", "far", "two", "no", ".", ".."];
        let flags = [
            OFlags::PATH,
            OFlags::PATH | OFlags::NOFOLLOW,
            OFlags::PATH | OFlags::DIRECTORY,
            OFlags::RDONLY,
            OFlags::RDONLY | OFlags::NOFOLLOW,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
            OFlags::WRONLY,
        ];
        let mut paths: Vec<String> = vec!["".into(), "/".into(), "//".into()];
        for a in parts {
            for b in parts {
                paths.extend([a.to_owned(), format!("/{a}/"), format!("{a}/{b}"), format!("{a}//{b}/")]);
                paths.extend(parts.map(|c| format!("{a}/{b}/{c}")));
                paths.extend(["up", "..", "f"].map(|c| format!("/{a}/{b}/{c}/d")));
            }
        }
        for path in &paths {
            for flags in flags {
                let path = Path::new(path);
                let (ours, theirs) = (outcome(walk(&root, path, flags)), outcome(kernel(&root, path, flags)));
                assert_eq!(ours, theirs, "{path:?} {flags:?}");
            }
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_made_is_made_inside() {
        let (dir, root) = tree();
        let create = OFlags::WRONLY | OFlags::CREATE;
        for (path, there) in
            [("d/new", "d/new"), ("up/new2", "d/new2"), ("../../new3", "new3"), ("abs/new4", "d/e/new4")]
        {
            walk(&root, Path::new(path), create | OFlags::EXCL).unwrap();
            assert!(dir.join(there).is_file(), "{path}");
            assert_eq!(walk(&root, Path::new(path), create | OFlags::EXCL).err(), Some(Errno::EXIST), "{path}");
            walk(&root, Path::new(path), create).unwrap();
        }
        assert_eq!(walk(&root, Path::new("none"), create | OFlags::EXCL).err(), Some(Errno::EXIST));
        assert_eq!(walk(&root, Path::new(".."), create).err(), Some(Errno::ISDIR));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn links_of_processes_lead_nowhere() {
        let proc = File::open("/").unwrap();
        for path in
            ["/proc/self/exe", "/proc/self/root/etc", "/proc/self/fd/0", "/proc/self/ns/user", "/proc/self/cwd/."]
        {
            for flags in [OFlags::PATH, OFlags::RDONLY | OFlags::NONBLOCK] {
                let (ours, theirs) =
                    (outcome(walk(&proc, Path::new(path), flags)), outcome(kernel(&proc, Path::new(path), flags)));
                assert_eq!((ours, theirs), (Err(Errno::LOOP), Err(Errno::LOOP)), "{path}");
            }
        }
        for path in ["/proc/self/status", "/proc/mounts", "/proc/net/dev", "/proc/thread-self/comm"] {
            assert!(walk(&proc, Path::new(path), OFlags::RDONLY).is_ok(), "{path}");
        }
        // The link itself may be looked at.
        assert!(walk(&proc, Path::new("/proc/self/exe"), OFlags::PATH | OFlags::NOFOLLOW).is_ok());
    }
}
