// SPDX-License-Identifier: Apache-2.0
//! Owners, modes, times and attributes of members, set by descriptor and never through a link (CVE-2021-32760).
//!
//! Order matters: `chown` clears set-id bits and file capabilities, and writing changes the time. So: owner, mode,
//! attributes, times.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::tar::Member;
use crate::error::{Error, Kind, Result};
use crate::record;

const SET_ID: u32 = 0o6000;

/// What a member's inode is to have.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    /// Ids inside; `None` for the ids that the process acts with.
    owner: Option<(u32, u32)>,
    /// Ids inside that are only written down: one id owns everything.
    recorded: Option<(u32, u32)>,
    mode: u32,
    mtime: (i64, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Metadata {
    /// Takes what a member says. With `squash`, one id owns everything: a set-id bit would then give away the
    /// caller's own id, so it goes too.
    ///
    /// Returns the number of attributes that the allowlist leaves out as well.
    ///
    /// # Errors
    /// [`Kind::Identity`] for ids beyond 32 bits.
    pub fn of(member: &mut Member, squash: bool) -> Result<(Self, u64)> {
        let id = |id: u64| {
            u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| {
                let name = String::from_utf8_lossy(&member.name).into_owned();
                Error::new(Kind::Identity, format!("unpack {name:?}: {id} is no id"))
            })
        };
        let owner = (id(member.uid)?, id(member.gid)?);
        let xattrs = std::mem::take(&mut member.xattrs);
        let all = xattrs.len();
        let xattrs: Vec<_> = xattrs.into_iter().filter_map(allowed).collect();
        let dropped = (all - xattrs.len()) as u64;
        let metadata = Self {
            owner: (!squash && owner != (0, 0)).then_some(owner),
            recorded: (squash && owner != (0, 0)).then_some(owner),
            mode: if squash { member.mode & !SET_ID } else { member.mode },
            mtime: member.mtime,
            xattrs,
        };
        Ok((metadata, dropped))
    }

    /// Returns the mode to create the inode with: the umask of the process is 0.
    pub fn mode(&self) -> Mode {
        Mode::from_raw_mode(self.mode)
    }

    /// Sets everything on an open file that was created with [`mode`](Self::mode). Returns the number of attributes
    /// that the file system does not take.
    pub fn set_on_file(&self, file: BorrowedFd<'_>, path: &str) -> Result<u64> {
        if let Some((uid, gid)) = self.owner {
            rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|error| self.owner_error(path, error))?;
        }
        if self.mode & SET_ID != 0 {
            // Both writing and a change of owner cleared these bits.
            self.set_mode(file, path)?;
        }
        let dropped = self.set_xattrs(file, path)?;
        self.set_times(file, path)?;
        Ok(dropped)
    }

    /// Sets everything on an open directory. Returns the number of attributes that the file system does not take.
    pub fn set_on_directory(&self, dir: BorrowedFd<'_>, path: &str) -> Result<u64> {
        if let Some((uid, gid)) = self.owner {
            rustix::fs::fchown(dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|error| self.owner_error(path, error))?;
        }
        self.set_mode(dir, path)?;
        let dropped = self.set_xattrs(dir, path)?;
        self.set_times(dir, path)?;
        Ok(dropped)
    }

    /// Sets owner and time of a link or pipe by its name, not following it. They have no attributes of use here.
    pub fn set_on_name(&self, parent: BorrowedFd<'_>, name: &[u8], path: &str) -> Result<()> {
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| self.owner_error(path, error))?;
        }
        rustix::fs::utimensat(parent, name, &self.timestamps(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Error::io(format!("set times of {path}"), error))
    }

    fn set_mode(&self, fd: BorrowedFd<'_>, path: &str) -> Result<()> {
        rustix::fs::fchmod(fd, self.mode()).map_err(|error| Error::io(format!("set mode of {path}"), error))
    }

    fn set_times(&self, fd: BorrowedFd<'_>, path: &str) -> Result<()> {
        rustix::fs::futimens(fd, &self.timestamps()).map_err(|error| Error::io(format!("set times of {path}"), error))
    }

    fn timestamps(&self) -> Timestamps {
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: self.mtime.0, tv_nsec: self.mtime.1.into() },
        }
    }

    fn set_xattrs(&self, fd: BorrowedFd<'_>, path: &str) -> Result<u64> {
        let mut dropped = 0;
        if let Some(owner) = self.recorded {
            match record::write(fd, owner) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::PERM) => dropped += 1,
                Err(error) => return Err(Error::io(format!("write the owner of {path} down"), error)),
            }
        }
        for (name, value) in &self.xattrs {
            match rustix::fs::fsetxattr(fd, &name[..], value, XattrFlags::empty()) {
                Ok(()) => {}
                // A file system without such attributes, or a map whose only id is not root.
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => dropped += 1,
                Err(error) => {
                    let name = String::from_utf8_lossy(name);
                    return Err(Error::io(format!("set attribute {name:?} of {path}"), error));
                }
            }
        }
        Ok(dropped)
    }

    fn owner_error(&self, path: &str, errno: Errno) -> Error {
        let (uid, gid) = self.owner.unwrap_or_default();
        let what = format!("set owner of {path} to {uid}:{gid}");
        match errno {
            // The id is not in the map. Source: chown(2) in a user namespace.
            Errno::INVAL | Errno::OVERFLOW => Error::new(Kind::Identity, what).with_source(errno),
            _ => Error::io(what, errno),
        }
    }
}

/// Lets through what has a meaning for a container and gives no rights on the host: file capabilities, which are
/// bound to the user namespace, and user attributes, except those that direct overlayfs or say whose a file is.
pub(crate) fn allowed((name, value): (Vec<u8>, Vec<u8>)) -> Option<(Vec<u8>, Vec<u8>)> {
    if name == b"security.capability" {
        return capability(&value).map(|value| (name, value));
    }
    let user = name.strip_prefix(b"user.")?;
    let harmless =
        !user.is_empty() && user != b"overlay" && !user.starts_with(b"overlay.") && name != record::OWNER.as_bytes();
    (harmless && name.len() <= 255 && !name.contains(&0)).then_some((name, value))
}

/// Returns file capabilities in the form without a root id: the kernel binds it to our namespace's root.
/// Source: `capabilities(7)`, "File capability extended attribute versioning".
fn capability(value: &[u8]) -> Option<Vec<u8>> {
    let magic = u32::from_le_bytes(value.get(..4)?.try_into().ok()?);
    match (magic & 0xff00_0000, value.len()) {
        (0x0200_0000, 20) => Some(value.to_vec()),
        (0x0300_0000, 24) => {
            let version_2 = (magic & 0x00ff_ffff) | 0x0200_0000;
            Some([&version_2.to_le_bytes()[..], &value[4..20]].concat())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(name: &str, value: &[u8]) -> bool {
        allowed((name.into(), value.to_vec())).is_some()
    }

    #[test]
    fn only_harmless_attributes_pass() {
        let capability = [&0x0200_0001_u32.to_le_bytes()[..], &[0; 16]].concat();
        assert!(is_allowed("security.capability", &capability));
        assert!(is_allowed("user.mime_type", b"text/plain"));
        for name in [
            "trusted.overlay.opaque",
            "user.overlay.opaque",
            "user.overlay.redirect",
            "user.overlay",
            "user.bryo.owner",
            "user.",
            "user",
            "security.selinux",
            "security.ima",
            "system.posix_acl_access",
            "usera.b",
            "",
        ] {
            assert!(!is_allowed(name, b"y"), "{name}");
        }
        assert!(!is_allowed("security.capability", b"short"));
    }

    #[test]
    fn a_foreign_root_id_does_not_survive() {
        let foreign = [&0x0300_0001_u32.to_le_bytes()[..], &[7; 16], &5000_u32.to_le_bytes()].concat();
        let (_, value) = allowed((b"security.capability".to_vec(), foreign)).unwrap();
        assert_eq!(value, [&0x0200_0001_u32.to_le_bytes()[..], &[7; 16]].concat());
    }
}
