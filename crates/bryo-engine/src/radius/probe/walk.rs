// SPDX-License-Identifier: Apache-2.0
//! The walk over the host's files: by descriptor, without following a symbolic link, within bounds.
//!
//! The kernel is asked for each file (`faccessat2(2)`, `AT_EACCESS`) with the ids and capabilities that the probe has.
//! Its mounts are read-only, and the kernel says so (`EROFS`) only where writing were allowed otherwise.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{
    Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, Stat, accessat, major, minor, openat, statat,
};
use rustix::io::Errno;

use super::super::report::Reach;
use super::ledger::{Found, Ledger, Target};
use super::mounts::{Kind, Mount, Mounts};
use super::{exists, secrets, sockets};

/// Deeper directories are not entered: each holds a descriptor.
const MAX_DEPTH: u32 = 100;

/// How many entries of the kernel's file systems are looked at.
const KERNEL_ENTRIES: u64 = 400_000;

/// What is looked at first: where what matters is.
const FIRST: &[&[u8]] = &[b"etc", b"home", b"root", b"dev", b"run", b"var", b"tmp", b"srv", b"opt", b"mnt", b"media"];

/// The walk.
pub(super) struct Walker<'a> {
    mounts: &'a Mounts,
    ledger: &'a mut Ledger,
    /// Paths of sockets that were found in the kernel's list.
    bound: HashSet<PathBuf>,
    /// Paths of secrets that were found without a walk.
    known: HashSet<PathBuf>,
    deadline: Instant,
    limit: u64,
    entries: u64,
    complete: bool,
    skipped: Vec<String>,
}

/// What a directory inherits.
#[derive(Debug, Clone, Copy)]
struct Place {
    mount: Mount,
    /// Whether anybody gets here.
    open: bool,
    /// Whether this is the kernel's.
    kernel: bool,
    depth: u32,
}

/// A file that is looked at.
struct Entry<'a> {
    directory: &'a OwnedFd,
    name: &'a CStr,
    path: PathBuf,
    stat: Stat,
    place: Place,
}

impl<'a> Walker<'a> {
    pub fn new(
        mounts: &'a Mounts,
        ledger: &'a mut Ledger,
        bound: HashSet<PathBuf>,
        deadline: Instant,
        limit: u64,
    ) -> Self {
        let (entries, complete) = (0, true);
        Self { mounts, ledger, bound, known: HashSet::new(), deadline, limit, entries, complete, skipped: Vec::new() }
    }

    /// Returns how many entries were looked at, whether they were all, and what was left out.
    pub fn done(self) -> (u64, bool, Vec<String>) {
        (self.entries, self.complete, self.skipped)
    }

    /// Asks for secrets by their usual names: a directory that cannot be listed may still be entered.
    pub fn known_secrets(&mut self) {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let homes: HashSet<PathBuf> = passwd.lines().filter_map(|l| l.split(':').nth(5)).map(PathBuf::from).collect();
        let mut homes: Vec<PathBuf> = homes.into_iter().filter(|home| secrets::is_home(home)).collect();
        // Somebody's home that is mounted when it is entered stays where it is.
        homes.retain(|home| self.mounts.around(home).kind == Kind::Files);
        homes.sort();
        for home in &homes {
            self.directory_by_name(home, 45, "a home");
            for name in secrets::IN_HOMES {
                self.secret_by_name(&home.join(name));
            }
            for name in secrets::STORES_IN_HOMES {
                self.directory_by_name(&home.join(name), 80, "the store of a container engine");
            }
        }
        for store in secrets::STORES {
            self.directory_by_name(Path::new(store), 80, "the store of a container engine");
        }
    }

    fn directory_by_name(&mut self, path: &Path, weight: u8, why: &'static str) {
        let may = accessat(CWD, path, Access::READ_OK | Access::EXEC_OK, AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW);
        if may.is_ok() {
            let open = sockets::is_open(path);
            self.by_name(path, weight, why, |mode| open && mode & 0o005 == 0o005);
        }
    }

    fn secret_by_name(&mut self, path: &Path) {
        let Some((weight, why)) = secrets::of(path).filter(|_| exists(path)) else { return };
        let may = accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW);
        if may.is_ok() {
            let open = sockets::is_open(path);
            self.by_name(path, weight, why, |mode| open && mode & 0o004 != 0);
            self.known.insert(path.to_owned());
        }
    }

    fn by_name(&mut self, path: &Path, weight: u8, why: &'static str, everybody: impl Fn(RawMode) -> bool) {
        let Ok(stat) = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) else { return };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return;
        }
        let (everybody, own) = (everybody(stat.st_mode), sockets::is_own(&stat));
        let what = path.to_string_lossy().into_owned();
        let target = Target::Path(path.to_owned());
        self.ledger.add(Reach::Secrets, Found { target, what, why, weight, everybody, own });
    }

    /// Looks for what of the kernel may be written.
    pub fn kernel(&mut self) {
        let limit = std::mem::replace(&mut self.limit, self.entries + KERNEL_ENTRIES);
        for root in ["/proc/sys", "/sys"] {
            self.root(Path::new(root), true);
        }
        self.limit = limit.saturating_add(self.entries);
        for name in ["sysrq-trigger", "kcore"] {
            let path = Path::new("/proc").join(name);
            let what = if name == "kcore" { Access::READ_OK } else { Access::WRITE_OK };
            if self.may(CWD, path.as_os_str(), what, self.mounts.around(&path)) {
                let found = Found {
                    what: path.to_string_lossy().into_owned(),
                    target: Target::Path(path),
                    why: "control of the whole machine",
                    weight: 100,
                    everybody: false,
                    own: false,
                };
                self.ledger.add(Reach::Kernel, found);
            }
        }
    }

    /// Walks over everything else.
    pub fn files(&mut self) {
        self.root(Path::new("/"), false);
    }

    fn root(&mut self, path: &Path, kernel: bool) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(fd) = openat(CWD, path, flags, Mode::empty()) else { return };
        let place = Place { mount: self.mounts.around(path), open: true, kernel, depth: 0 };
        self.directory(&fd, path, place);
    }

    fn goes_on(&mut self) -> bool {
        self.entries += 1;
        // The time is asked for now and then: it costs as much as a file.
        let late = self.entries.is_multiple_of(64) && Instant::now() >= self.deadline;
        if late || self.entries > self.limit {
            self.deadline = if late { Instant::now() } else { self.deadline };
            self.complete = false;
            return false;
        }
        true
    }

    fn directory(&mut self, fd: &OwnedFd, path: &Path, place: Place) {
        let Ok(entries) = Dir::read_from(fd) else { return };
        let mut names: Vec<CString> =
            entries.filter_map(Result::ok).map(|entry| entry.file_name().to_owned()).collect();
        if path == Path::new("/") {
            let rank = |name: &CString| FIRST.iter().position(|first| *first == name.to_bytes()).unwrap_or(usize::MAX);
            names.sort_by_key(rank);
        }
        let has_mounts = self.mounts.any_in(path);
        for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
            if !self.goes_on() {
                return;
            }
            let Ok(stat) = statat(fd, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            let mounted = if has_mounts { self.mounts.at(&path) } else { None };
            let place = Place { mount: mounted.unwrap_or(place.mount), ..place };
            self.entry(Entry { directory: fd, name, path, stat, place });
        }
    }

    fn entry(&mut self, entry: Entry<'_>) {
        let kind = FileType::from_raw_mode(entry.stat.st_mode);
        match (entry.place.mount.kind, entry.place.kernel) {
            (Kind::Foreign, _) => return self.skipped.push(entry.path.to_string_lossy().into_owned()),
            // Looked at by itself.
            (Kind::Kernel, false) => return,
            (_, true) => return self.of_kernel(entry, kind),
            _ => (),
        }
        match kind {
            FileType::Directory => self.subdirectory(&entry),
            FileType::RegularFile => self.file(&entry),
            FileType::Socket => self.socket(&entry),
            FileType::CharacterDevice | FileType::BlockDevice => self.device(&entry),
            _ => (),
        }
    }

    fn of_kernel(&mut self, entry: Entry<'_>, kind: FileType) {
        // Limits of user namespaces: what is seen there is that of the probe's own.
        if entry.path == Path::new("/proc/sys/user") {
            return;
        }
        let is_group = entry.path.starts_with("/sys/fs/cgroup");
        if kind == FileType::Directory {
            self.enter(&entry);
        }
        let counts = kind == FileType::RegularFile || (kind == FileType::Directory && is_group);
        if counts && self.writable(&entry) {
            let everybody = entry.place.open && entry.stat.st_mode & 0o002 != 0;
            let (weight, why) = if is_group { (60, "a control group") } else { (80, "a setting of the kernel") };
            // A few files of the kernel are for everybody to write, and do nothing but for the writer.
            let weight = if everybody { 20 } else { weight };
            self.add(Reach::Kernel, entry, weight, why, everybody);
        }
    }

    fn subdirectory(&mut self, entry: &Entry<'_>) {
        let mode = entry.stat.st_mode;
        let may_search = self.may(entry.directory, as_os(entry.name), Access::EXEC_OK, entry.place.mount);
        if may_search && self.writable(entry) {
            let everybody = entry.place.open && mode & 0o003 == 0o003;
            let (weight, why) = secrets::written(&entry.path, false);
            let weight = if everybody { weight.min(15) } else { weight };
            self.add_ref(Reach::WritableDirectories, entry, weight, why, everybody);
        }
        self.enter(entry);
    }

    fn enter(&mut self, entry: &Entry<'_>) {
        if entry.place.depth >= MAX_DEPTH {
            self.complete = false;
            return;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(fd) = openat(entry.directory, entry.name, flags, Mode::empty()) else { return };
        let open = entry.place.open && entry.stat.st_mode & 0o001 != 0;
        self.directory(&fd, &entry.path, Place { open, depth: entry.place.depth + 1, ..entry.place });
    }

    fn file(&mut self, entry: &Entry<'_>) {
        let mode = entry.stat.st_mode;
        let gives_rights = mode & 0o4000 != 0 || mode & 0o2010 == 0o2010;
        if self.writable(entry) {
            let everybody = entry.place.open && mode & 0o002 != 0;
            let (weight, why) = secrets::written(&entry.path, gives_rights);
            self.add_ref(Reach::WritableFiles, entry, weight, why, everybody);
        }
        let public = entry.place.open && mode & 0o004 != 0;
        let secret = secrets::of(&entry.path);
        // What everybody may read and is no secret is what a host is full of.
        if (secret.is_some() || !public)
            && self.may(entry.directory, as_os(entry.name), Access::READ_OK, entry.place.mount)
        {
            match secret {
                Some(_) if self.known.contains(&entry.path) => (),
                Some((weight, why)) => self.add_ref(Reach::Secrets, entry, weight, why, public),
                None => {
                    let weight = if secrets::is_home(&entry.path) { 60 } else { 40 };
                    self.add_ref(Reach::PrivateFiles, entry, weight, "", public);
                }
            }
        }
        let effective = gives_rights && !entry.place.mount.no_set_id && Self::is_mapped(&entry.stat);
        if effective && self.may(entry.directory, as_os(entry.name), Access::EXEC_OK, entry.place.mount) {
            let everybody = entry.place.open && mode & 0o001 != 0;
            self.add_ref(Reach::SetIdPrograms, entry, 70, "runs with its owner's rights", everybody);
        }
    }

    /// A program gives the rights of an owner only to who has that owner in its map: anybody else sees nobody in the
    /// owner's place. Source: `user_namespaces(7)`, "Set-user-ID and set-group-ID programs".
    fn is_mapped(stat: &Stat) -> bool {
        (stat.st_mode & 0o4000 != 0 && stat.st_uid != sockets::NOBODY && !sockets::is_own(stat))
            || (stat.st_mode & 0o2010 == 0o2010 && stat.st_gid != sockets::NOBODY)
    }

    fn socket(&mut self, entry: &Entry<'_>) {
        if self.bound.contains(&entry.path) || !self.writable(entry) {
            return;
        }
        let everybody = entry.place.open && entry.stat.st_mode & 0o002 != 0;
        let mut found = sockets::found(&entry.path, everybody, sockets::is_own(&entry.stat));
        // It may be another network namespace's, or left over.
        (found.weight, found.why) = (found.weight / 2, "nobody is seen to listen in the host's network");
        self.ledger.add(Reach::Sockets, found);
    }

    fn device(&mut self, entry: &Entry<'_>) {
        let (device, mode) = (entry.stat.st_rdev, entry.stat.st_mode);
        let block = FileType::from_raw_mode(mode) == FileType::BlockDevice;
        if entry.place.mount.no_devices || (!block && is_harmless(major(device), minor(device))) {
            return;
        }
        let (read, write) =
            (self.may(entry.directory, as_os(entry.name), Access::READ_OK, entry.place.mount), self.writable(entry));
        if !read && !write {
            return;
        }
        let bits = (RawMode::from(read) * 0o004) | (RawMode::from(write) * 0o002);
        let everybody = entry.place.open && mode & bits == bits;
        let (weight, why) = match (block, major(device), minor(device)) {
            (true, ..) => (100, "a disk, under every permission of files"),
            (_, 1, 1 | 2 | 4) => (100, "the memory of the machine"),
            (_, 1, 11) => (50, "the log of the kernel"),
            (_, 13, _) => (90, "keyboard and mouse"),
            (_, 81, _) | (_, 116, _) => (85, "camera or sound"),
            (_, 10, 232) => (60, "virtual machines"),
            (_, 10, 200 | 229) => (40, "networks or file systems of one's own"),
            _ => (50, ""),
        };
        self.add_ref(Reach::Devices, entry, weight, why, everybody);
    }

    fn writable(&self, entry: &Entry<'_>) -> bool {
        self.may(entry.directory, as_os(entry.name), Access::WRITE_OK, entry.place.mount)
    }

    fn may(&self, directory: impl std::os::fd::AsFd, name: &OsStr, what: Access, mount: Mount) -> bool {
        match accessat(directory, name, what, AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => true,
            Err(Errno::ROFS) => !mount.read_only,
            Err(_) => false,
        }
    }

    fn add(&mut self, kind: Reach, entry: Entry<'_>, weight: u8, why: &'static str, everybody: bool) {
        self.add_ref(kind, &entry, weight, why, everybody);
    }

    fn add_ref(&mut self, kind: Reach, entry: &Entry<'_>, weight: u8, why: &'static str, everybody: bool) {
        let what = entry.path.to_string_lossy().into_owned();
        let own = sockets::is_own(&entry.stat);
        let target = Target::Path(entry.path.clone());
        self.ledger.add(kind, Found { target, what, why, weight, everybody, own });
    }
}

fn as_os(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

/// Null, zero, full, random numbers, one's own terminal and new ones: what every container has. Source: the kernel's
/// `devices.txt`.
fn is_harmless(major: u32, minor: u32) -> bool {
    matches!((major, minor), (1, 3 | 5 | 7 | 8 | 9) | (5, 0 | 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_follows_no_link_and_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        for n in 0..10 {
            std::fs::write(inner.join(format!("f{n}")), "x").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), inner.join("up")).unwrap();
        let walk = |limit| {
            let (mounts, mut ledger) = (Mounts::default(), Ledger::default());
            let deadline = Instant::now() + std::time::Duration::from_secs(60);
            let mut walker = Walker::new(&mounts, &mut ledger, HashSet::new(), deadline, limit);
            walker.root(dir.path(), false);
            let (entries, complete, _) = walker.done();
            let files = ledger.take(Reach::WritableFiles).len();
            (entries, complete, files)
        };
        assert_eq!(walk(1000), (13, true, 10));
        let (_, complete, files) = walk(5);
        assert!(!complete && files < 10);
    }
}
