// SPDX-License-Identifier: Apache-2.0
//! The host's mounts. Source: `proc_pid_mountinfo(5)`.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What a mount is like for whoever walks over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mount {
    pub kind: Kind,
    pub read_only: bool,
    pub no_devices: bool,
    pub no_set_id: bool,
}

/// What a file system is to the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// Files.
    #[default]
    Files,
    /// The kernel's own, which is looked at by itself.
    Kernel,
    /// Another machine's or another program's: it may not answer, and opening it is seen there.
    Foreign,
}

/// Kernel interfaces as file systems.
const KERNEL: &[&str] = &[
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// File systems behind which is somebody else. `autofs` mounts when it is entered.
const FOREIGN: &[&str] =
    &["9p", "afs", "autofs", "ceph", "cifs", "coda", "fuse", "glusterfs", "lustre", "nfs", "nfs4", "smb3"];

/// All mounts by mount point; of several at one place the last, which is on top.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    by_path: HashMap<PathBuf, Mount>,
    parents: HashSet<PathBuf>,
}

impl Mounts {
    pub fn parse(text: &str) -> Self {
        let mut mounts = Self::default();
        for (path, mount) in text.lines().filter_map(line) {
            mounts.parents.extend(path.parent().map(Path::to_owned));
            mounts.by_path.insert(path, mount);
        }
        mounts
    }

    /// Returns what is mounted at a path, if it is a mount point.
    pub fn at(&self, path: &Path) -> Option<Mount> {
        self.by_path.get(path).copied()
    }

    /// Tells whether something is mounted directly below a directory.
    pub fn any_in(&self, directory: &Path) -> bool {
        self.parents.contains(directory)
    }

    /// Returns the mount that a path is on.
    pub fn around(&self, path: &Path) -> Mount {
        path.ancestors().find_map(|above| self.at(above)).unwrap_or_default()
    }
}

fn line(line: &str) -> Option<(PathBuf, Mount)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(4);
    let (path, options) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (name, super_options) = (right.next()?, right.nth(1)?);
    let has = |options: &str, word: &str| options.split(',').any(|option| option == word);
    let base = name.split('.').next().unwrap_or(name);
    let kind = match base {
        _ if KERNEL.contains(&base) => Kind::Kernel,
        // A container's own root may be one; what is mounted elsewhere is somebody's.
        _ if FOREIGN.contains(&base) && path != "/" => Kind::Foreign,
        _ => Kind::Files,
    };
    let mount = Mount {
        kind,
        read_only: has(options, "ro") || has(super_options, "ro"),
        no_devices: has(options, "nodev"),
        no_set_id: has(options, "nosuid") || has(options, "noexec"),
    };
    Some((unescaped(path), mount))
}

/// Blanks and such are written as three octal digits behind a backslash.
fn unescaped(path: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| byte == b'\\') {
            Some(value) => {
                bytes.push(value);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw,nosuid,nodev,noexec - proc proc rw
24 22 0:30 / /home/a\\040b rw,nosuid - fuse.sshfs x rw
25 22 8:2 / /data ro,nodev - ext4 /dev/sdb rw
26 22 8:3 / /super rw - ext4 /dev/sdc ro
27 22 0:31 / /data rw - tmpfs none rw
28 22 0:32 / /mnt rw,relatime - autofs systemd-1 rw
nonsense
";

    #[test]
    fn a_mount_has_its_flags_and_the_last_one_is_on_top() {
        let mounts = Mounts::parse(TEXT);
        assert_eq!(mounts.at(Path::new("/")), Some(Mount::default()));
        assert_eq!(mounts.at(Path::new("/proc")).unwrap().kind, Kind::Kernel);
        assert!(mounts.at(Path::new("/super")).unwrap().read_only);
        assert!(!mounts.at(Path::new("/data")).unwrap().read_only);
        let other = mounts.at(Path::new("/home/a b")).unwrap();
        assert_eq!((other.kind, other.no_set_id), (Kind::Foreign, true));
        assert_eq!(mounts.at(Path::new("/mnt")).unwrap().kind, Kind::Foreign);
        assert!(mounts.any_in(Path::new("/home")) && !mounts.any_in(Path::new("/data")));
        assert_eq!(mounts.around(Path::new("/proc/sys/kernel")).kind, Kind::Kernel);
    }
}
