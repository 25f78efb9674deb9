// SPDX-License-Identifier: Apache-2.0
//! Directories that a layer has only because something is in them.
//!
//! Their owner and mode are those of the next layer below that describes them, as where an image is unpacked into one
//! tree. An overlay shows those of the uppermost directory instead.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use bryo_image::unpack::is_opaque;
use bryo_sys::{Errno, Error, Result};
use rustix::fs::{Mode, OFlags, Stat};

use super::layer::Attributes;

/// What a layer has at a path.
enum Found {
    /// Nothing, and it may be in one below.
    Nothing,
    /// A directory; what is below may have a part in it.
    Shared(Stat),
    /// A directory or nothing, and what is below is hidden.
    Alone(Option<Stat>),
}

/// Returns what the directories should be, by absolute path. Layers and lists are top to bottom.
pub(super) fn described(layers: &[OwnedFd], lists: &[Vec<PathBuf>]) -> Result<BTreeMap<PathBuf, Attributes>> {
    let lists: Vec<BTreeSet<&Path>> = lists.iter().map(|list| list.iter().map(PathBuf::as_path).collect()).collect();
    // Dots come of links in the archive, and might lead out of the layer.
    let plain = |path: &&Path| path.components().all(|part| matches!(part, Component::Normal(_)));
    let paths: BTreeSet<&Path> = lists.iter().flatten().copied().filter(plain).collect();
    let mut described = BTreeMap::new();
    for path in paths {
        if let Some(attributes) = describe(path, layers, &lists)? {
            described.insert(Path::new("/").join(path), attributes);
        }
    }
    Ok(described)
}

/// Finds the uppermost description of a directory; `None` if the overlay shows that one anyhow, or there is none.
fn describe(path: &Path, layers: &[OwnedFd], lists: &[BTreeSet<&Path>]) -> Result<Option<Attributes>> {
    let mut implied = false;
    for (layer, list) in layers.iter().zip(lists) {
        let (stat, last) = match find(layer, path)? {
            Found::Nothing => continue,
            Found::Shared(stat) => (Some(stat), false),
            Found::Alone(stat) => (stat, true),
        };
        if let Some(stat) = stat
            && !list.contains(path)
        {
            let found = Attributes { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 };
            return Ok(implied.then_some(found));
        }
        implied |= stat.is_some();
        if last {
            break;
        }
    }
    Ok(None)
}

/// Looks into one layer, through no links: what leads through one is another directory.
fn find(layer: &OwnedFd, path: &Path) -> Result<Found> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |errno| Error::new("openat", path.display().to_string(), errno);
    let mut here = rustix::fs::openat(layer, c".", flags, Mode::empty()).map_err(failed)?;
    let mut alone = is_opaque(&here);
    for name in path {
        here = match rustix::fs::openat(&here, name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) if !alone => return Ok(Found::Nothing),
            // A file, a link, or a whiteout.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Found::Alone(None)),
            Err(errno) => return Err(failed(errno)),
        };
        alone |= is_opaque(&here);
    }
    let stat = rustix::fs::fstat(&here).map_err(|errno| Error::new("fstat", path.display().to_string(), errno))?;
    Ok(if alone { Found::Alone(Some(stat)) } else { Found::Shared(stat) })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Makes layers, bottom to top, of `path mode` members; a path with `!` is implied, with `=` a link.
    fn layers(dir: &Path, members: &[&[(&str, u32)]]) -> (Vec<OwnedFd>, Vec<Vec<PathBuf>>) {
        let layer = |(n, members): (usize, &&[(&str, u32)])| {
            let root = dir.join(n.to_string());
            fs::create_dir(&root).unwrap();
            let mut list = Vec::new();
            for (name, mode) in *members {
                let path = root.join(name.trim_start_matches(['!', '=']));
                if name.starts_with('=') {
                    symlink("elsewhere", path).unwrap();
                    continue;
                }
                list.extend(name.strip_prefix('!').map(PathBuf::from));
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
            }
            (OwnedFd::from(fs::File::open(&root).unwrap()), list)
        };
        members.iter().enumerate().map(layer).rev().unzip()
    }

    fn modes(members: &[&[(&str, u32)]]) -> Vec<(String, u32)> {
        let dir = tempfile::tempdir().unwrap();
        let (layers, lists) = layers(dir.path(), members);
        let found = described(&layers, &lists).unwrap();
        found.into_iter().map(|(path, found)| (path.display().to_string(), found.mode)).collect()
    }

    #[test]
    fn the_next_description_below_is_taken() {
        let tmp = |mode| vec![("/tmp".to_owned(), mode)];
        assert_eq!(modes(&[&[("tmp", 0o1777)], &[("!tmp", 0o755)]]), tmp(0o1777));
        assert_eq!(modes(&[&[("tmp", 0o1777)], &[], &[("!tmp", 0o755)], &[("!tmp", 0o755)]]), tmp(0o1777));
        assert_eq!(modes(&[&[("tmp", 0o1777)], &[("tmp", 0o700)], &[("!tmp", 0o755)]]), tmp(0o700));
    }

    #[test]
    fn nothing_is_said_where_the_overlay_is_right() {
        assert_eq!(modes(&[&[], &[("!tmp", 0o755)]]), []);
        assert_eq!(modes(&[&[("tmp", 0o1777)], &[("!tmp", 0o755)], &[("tmp", 0o700)]]), []);
        // What was removed and made again is new.
        assert_eq!(modes(&[&[("tmp", 0o1777)], &[("=tmp", 0)], &[("!tmp", 0o755)]]), []);
    }
}
