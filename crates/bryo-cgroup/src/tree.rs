// SPDX-License-Identifier: Apache-2.0
//! The tree of control groups: directories and files of the kernel's. Source: `cgroups(7)`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use bryo_sys::{Errno, check};
use rustix::fs::{Access, AtFlags, Mode, OFlags};

use crate::error::{Error, Kind, Result};

/// Where the tree is. Programs that read it rely on the place, and systemd has no other.
const MOUNT: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// A control group that is held: another one of its name is not mistaken for it.
#[derive(Debug)]
pub(crate) struct Group {
    dir: OwnedFd,
    path: PathBuf,
}

impl Group {
    /// Opens a group by its absolute path in the tree.
    pub fn open(path: &Path) -> Result<Self> {
        let plain =
            path.is_absolute() && path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !plain {
            return Err(Error::new(Kind::System, format!("{} is no control group", path.display())));
        }
        let relative = path.strip_prefix("/").unwrap_or(path);
        let dir = open_dir(rustix::fs::CWD, &Path::new(MOUNT).join(relative))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    /// Opens the group that this process is in.
    pub fn own() -> Result<Self> {
        Self::open(&own_path()?)
    }

    /// Opens a group below this one.
    pub fn child(&self, name: &str) -> Result<Self> {
        Ok(Self { dir: open_dir(&self.dir, name.as_ref())?, path: self.path.join(name) })
    }

    /// Opens the group above this one.
    pub fn parent(&self) -> Result<Option<Self>> {
        self.path.parent().map(Self::open).transpose()
    }

    /// Makes a group below this one, if it is not there.
    pub fn make(&self, name: &str) -> Result<Self> {
        match rustix::fs::mkdirat(&self.dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => self.child(name),
            failed => Err(self.failed("mkdirat", name, failed)),
        }
    }

    /// Removes a group below this one; one that is not there is no failure.
    pub fn remove(&self, name: &str) -> bryo_sys::Result<()> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            removed => check("unlinkat", || self.path.join(name).display().to_string(), removed),
        }
    }

    /// Reads one of its files.
    pub fn read(&self, file: &str) -> Result<String> {
        let read = || -> std::io::Result<String> {
            let fd = rustix::fs::openat(&self.dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            std::io::read_to_string(std::fs::File::from(fd))
        };
        read().map_err(|e| {
            let errno = Errno::from_io_error(&e).unwrap_or(Errno::IO);
            bryo_sys::Error::new("read", self.path.join(file).display().to_string(), errno).into()
        })
    }

    /// Writes one of its files, in one piece as the kernel wants it.
    pub fn write(&self, file: &str, value: &str) -> bryo_sys::Result<()> {
        let args = || format!("{}, {value:?}", self.path.join(file).display());
        let fd = rustix::fs::openat(&self.dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        let fd = check("open", args, fd)?;
        check("write", args, rustix::io::write(&fd, value.as_bytes())).map(drop)
    }

    /// Tells whether it has a file, and with it what the file is for.
    pub fn has(&self, file: &str) -> bool {
        rustix::fs::accessat(&self.dir, file, Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Tells whether this process may make groups below it and put processes into it.
    pub fn is_writable(&self) -> bool {
        let open = |file: &str| rustix::fs::accessat(&self.dir, file, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
        open(".") && open("cgroup.procs") && open("cgroup.subtree_control")
    }

    /// Tells whether systemd says that what is below it is its owner's business. Source: systemd's
    /// `CGROUP_DELEGATION.md`.
    pub fn is_marked_delegated(&self) -> bool {
        let path = Path::new(MOUNT).join(self.path.strip_prefix("/").unwrap_or(&self.path));
        ["user.delegate", "trusted.delegate"].iter().any(|name| {
            let mut value = [0_u8; 8];
            matches!(rustix::fs::getxattr(&path, *name, &mut value), Ok(1) if value[0] == b'1')
        })
    }

    /// Tells whether this is the root of the whole tree, to which the rule against processes beside groups does not
    /// apply.
    pub fn is_root(&self) -> bool {
        !self.has("cgroup.type")
    }

    /// Returns the controllers of a file such as `cgroup.controllers`.
    pub fn controllers(&self, file: &str) -> Result<Vec<String>> {
        Ok(self.read(file)?.split_whitespace().map(str::to_owned).collect())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its last name; the root has none.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|n| n.to_str()).unwrap_or_default()
    }

    /// Hands the directory over, for a child to be born in it.
    pub fn into_directory(self) -> OwnedFd {
        self.dir
    }

    fn failed(&self, call: &'static str, name: &str, failed: rustix::io::Result<()>) -> Error {
        let path = self.path.join(name);
        match check(call, || path.display().to_string(), failed) {
            Err(error) => Error::caused(Kind::System, "cannot make a control group", error),
            Ok(()) => Error::new(Kind::System, format!("cannot make {}", path.display())),
        }
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn open_dir(at: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(at, path, flags, Mode::empty());
    Ok(check("open", || path.display().to_string(), opened)?)
}

/// Returns the path of the group that this process is in.
pub(crate) fn own_path() -> Result<PathBuf> {
    require_unified()?;
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    parse_own(&text)
}

/// Refuses to go on where the tree is not that of version 2 alone.
pub(crate) fn require_unified() -> Result<()> {
    let unified = rustix::fs::statfs(MOUNT).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(CGROUP2_SUPER_MAGIC));
    if unified { Ok(()) } else { Err(Error::new(Kind::NoCgroup2, "control groups are version 1 here, or not mounted")) }
}

fn parse_own(text: &str) -> Result<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    // A process that was moved out of its cgroup namespace, and one whose group is gone.
    if !path.starts_with('/') || path.starts_with("/..") || path.ends_with(" (deleted)") {
        return Err(Error::new(
            Kind::NoPlace,
            format!("this process is in no control group that it can see: {path:?}"),
        ));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_that_of_the_unified_tree() {
        assert_eq!(parse_own("0::/user.slice/session-1.scope\n").unwrap(), Path::new("/user.slice/session-1.scope"));
        assert_eq!(parse_own("1:name=systemd:/x\n0::/\n").unwrap(), Path::new("/"));
        for nowhere in ["", "4:memory:/\n", "0::/../other\n", "0::/gone (deleted)\n"] {
            assert_eq!(parse_own(nowhere).unwrap_err().kind(), Kind::NoPlace, "{nowhere:?}");
        }
    }

    #[test]
    fn only_plain_paths_are_groups() {
        for bad in ["", "relative", "/a/../b"] {
            assert!(Group::open(Path::new(bad)).is_err(), "{bad:?}");
        }
    }
}
