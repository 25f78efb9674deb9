// SPDX-License-Identifier: Apache-2.0
//! Where copies arrive.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bryo_engine::error::{Error, Kind, Result};
use bryo_image::carry::{Arriving, Carried, Owner, Placing, Top};
use bryo_image::record;
use bryo_sys::check;
use bryo_sys::root::{Root, mkdir};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Where things go.
#[derive(Clone, Debug)]
pub struct Destination {
    /// An absolute path. With a slash at its end it is a directory.
    pub path: String,
    /// Whom directories belong to that have to be made.
    pub owner: (u32, u32),
    /// One id owns everything.
    pub single_id: bool,
    /// Whose the things are; nothing for whom the archive says.
    pub own: Option<(u32, u32)>,
    /// Whether what arrives is unpacked into a directory, whatever comes first in it.
    pub unpacked: bool,
}

/// What has arrived.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Placed {
    /// Whether it is a directory's content.
    pub directory: bool,
    /// How much it is.
    pub carried: Carried,
}

/// Places what an archive has, as [`super::pack`] writes it.
///
/// # Errors
///
/// [`Kind::Source`] when the destination is something else, and what can be wrong with an archive.
pub fn place(root: &Root, destination: &Destination, input: impl Read) -> Result<Placed> {
    let arriving = Arriving::begin(input)?;
    let Some(head) = arriving.head() else { return Ok(Placed::default()) };
    let path = Path::new(&destination.path);
    let open = |path: &Path| root.open_at(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
    let below = destination.unpacked || head.directory || destination.path.ends_with('/');
    let (directory, top) = if below || open(path).is_ok() {
        (path, Top::AsItIs)
    } else {
        let name = path.file_name().ok_or_else(|| refused(destination, "it has no name"))?;
        (path.parent().unwrap_or(Path::new("/")), Top::Named(name.as_bytes().to_vec()))
    };
    make_directory(root, directory, destination.owner, destination.single_id)?;
    let owner = match destination.own {
        Some((uid, gid)) => Owner::These(uid, gid),
        None => Owner::Stream,
    };
    let placing =
        Placing { top, owner, strip_set_id: destination.single_id, record: destination.single_id, attributes: true };
    // Links on the way there are followed inside the root, and none below.
    let carried = arriving.place(open(directory)?.as_fd(), &placing)?;
    Ok(Placed { directory: head.directory, carried })
}

/// Makes a directory and those above it, unless they are there. Tells whether something was made.
///
/// # Errors
///
/// [`Kind::Source`] when something else is in the way.
pub fn make_directory(root: &Root, path: &Path, owner: (u32, u32), single_id: bool) -> Result<bool> {
    let made = std::cell::Cell::new(false);
    let make = |parent: BorrowedFd<'_>, name: &OsStr| {
        made.set(true);
        mkdir(parent, name, Mode::from_raw_mode(0o755))?;
        if single_id {
            return record_owner(parent, name, owner);
        }
        let (uid, gid) = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
        let owned = rustix::fs::chownat(parent.as_fd(), name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        check("fchownat", || name.display().to_string(), owned)
    };
    match root.create_dir_all_by(path, make) {
        Ok(_) => Ok(made.get()),
        Err(e) if matches!(e.errno(), Errno::NOTDIR | Errno::EXIST | Errno::LOOP) => {
            let why = format!("{} is not to be had as a directory: something else is there", path.display());
            Err(Error::new(Kind::Source, why))
        }
        Err(e) => Err(e.into()),
    }
}

/// Writes down whose a directory is that was just made.
fn record_owner(parent: BorrowedFd<'_>, name: &OsStr, owner: (u32, u32)) -> bryo_sys::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(parent, name, flags, Mode::empty());
    let made = check("openat", || name.display().to_string(), made)?;
    match record::write(made.as_fd(), owner) {
        Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        other => check("fsetxattr", || name.display().to_string(), other),
    }
}

fn refused(destination: &Destination, why: &str) -> Error {
    Error::new(Kind::Source, format!("cannot copy to {:?}: {why}", destination.path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::{Selection, pack};

    fn copy(to: &Root, from: &Root, sources: &[&str], path: &str) -> Result<Placed> {
        let sources = sources.iter().map(|s| (*s).to_owned()).collect();
        let mut archive = Vec::new();
        pack(from, &Selection { sources, ..Selection::default() }, &mut archive)?;
        let destination =
            Destination { path: path.to_owned(), owner: (0, 0), single_id: true, own: None, unpacked: false };
        place(to, &destination, archive.as_slice())
    }

    #[test]
    fn copies_go_where_the_reference_says() {
        let from = tempfile::tempdir().unwrap();
        fs::create_dir(from.path().join("d")).unwrap();
        fs::write(from.path().join("d/f"), "1").unwrap();
        fs::write(from.path().join("g"), "2").unwrap();
        let source = Root::open(from.path()).unwrap();
        for (sources, path, expected) in [
            (&["g"][..], "/x", "x"),
            (&["g"], "/x/", "x/g"),
            (&["g"], "/there", "there/g"),
            (&["g"], "/to-there", "there/g"),
            (&["g"], "/new/deep/x", "new/deep/x"),
            (&["d"], "/x", "x/f"),
            (&["d"], "/", "f"),
            (&["d", "g"], "/x/", "x/g"),
            (&["g"], "/out/x", "etc/x"),
        ] {
            let to = tempfile::tempdir().unwrap();
            fs::create_dir(to.path().join("there")).unwrap();
            std::os::unix::fs::symlink("there", to.path().join("to-there")).unwrap();
            fs::create_dir(to.path().join("etc")).unwrap();
            std::os::unix::fs::symlink("/etc", to.path().join("out")).unwrap();
            copy(&Root::open(to.path()).unwrap(), &source, sources, path).unwrap();
            assert!(to.path().join(expected).is_file(), "{sources:?} {path}");
        }
    }

    #[test]
    fn a_file_in_the_way_of_a_directory_is_told() {
        let from = tempfile::tempdir().unwrap();
        fs::write(from.path().join("g"), "2").unwrap();
        let root = Root::open(from.path()).unwrap();
        assert_eq!(copy(&root, &root, &["g"], "/g/x/").unwrap_err().kind(), Kind::Source);
    }
}
