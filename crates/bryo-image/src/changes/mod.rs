// SPDX-License-Identifier: Apache-2.0
//! What a container has changed: its own layer, read beside those below it.
//!
//! The layer is in the form of overlayfs (`userxattr`): a character device 0/0 hides a name, the attribute
//! `user.overlay.opaque` hides all that lower layers have in a directory. A file is there as soon as it was opened for
//! writing, and a directory as soon as something in it was changed: whether they differ is for a comparison to say.
//!
//! Trusts: nothing in the layers, which the container may go on changing meanwhile.

mod layer;
mod merged;
mod root;
mod walk;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

pub use layer::{Manner, write_layer};
pub use root::{Roots, roots};

use crate::error::Result;

/// What happened to a path.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is another one, or something of it is.
    Changed,
    /// It is gone.
    Deleted,
}

/// One path that is not as in the image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The absolute path inside.
    pub path: PathBuf,
}

/// What is written down about a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct File {
    /// Its type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Its user id, as the kernel shows it to whoever compares.
    pub uid: u32,
    /// Its length in bytes.
    pub size: u64,
}

impl File {
    fn of(stat: &Stat) -> Self {
        Self { mode: stat.st_mode, uid: stat.st_uid, size: u64::try_from(stat.st_size).unwrap_or(0) }
    }

    /// Returns what it is.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }
}

/// A change with the file as it is and as it was.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The change.
    pub change: Change,
    /// The file in the container; nothing for one that is gone.
    pub now: Option<File>,
    /// The file in the layers below; nothing for one that is new.
    pub before: Option<File>,
}

/// Files, by device and inode.
pub type Inodes = BTreeSet<(u64, u64)>;

/// The layers of a container.
#[derive(Debug)]
pub struct Layers {
    /// What it has written.
    pub own: OwnedFd,
    /// What it stands on, top first.
    pub lowers: Vec<OwnedFd>,
    /// Absolute paths that something is mounted on: what is there below the mount, empty, was made for it.
    pub mounted: Vec<PathBuf>,
    /// Directories that hide what lower layers have in them, and do not say so to whoever compares: the attribute
    /// `trusted.overlay.opaque` is shown to root of the machine only.
    pub opaque: Inodes,
}

/// Lists what differs from the layers below, by path.
///
/// # Errors
/// [`Kind::Limit`](crate::error::Kind::Limit) for a tree that is too deep, [`Kind::Io`](crate::error::Kind::Io).
pub fn changes(layers: &Layers) -> Result<Vec<Change>> {
    Ok(walk::walk(layers)?.into_iter().map(|detail| detail.change).collect())
}

/// Lists what differs from the layers below, with the files as they are and as they were.
///
/// # Errors
/// As [`changes`].
pub fn details(layers: &Layers) -> Result<Vec<Detail>> {
    walk::walk(layers)
}

/// Finds where mounts are, as paths without links.
fn places(layers: &Layers) -> Result<BTreeSet<PathBuf>> {
    let mut all = vec![merged::again(&layers.own)?];
    for lower in &layers.lowers {
        all.push(merged::again(lower)?);
    }
    layers.mounted.iter().map(|path| merged::real(&all, path, &layers.opaque)).collect()
}

/// Returns a path in the own layer, relative to its root.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::unpack::{Part, export, usage};

    fn layers(own: &Path, lower: &Path) -> Layers {
        let open = |path| OwnedFd::from(fs::File::open(path).unwrap());
        Layers { own: open(own), lowers: vec![open(lower)], mounted: Vec::new(), opaque: Inodes::new() }
    }

    /// overlayfs marks a directory that was made anew, and none of those that are made in it.
    #[test]
    fn what_was_below_a_directory_that_was_made_anew_is_gone_at_every_depth() {
        let dir = tempfile::tempdir().unwrap();
        let (own, lower) = (dir.path().join("own"), dir.path().join("lower"));
        fs::create_dir_all(lower.join("d/s/u/w")).unwrap();
        for file in ["d/top", "d/s/file", "d/s/u/deep", "d/s/u/w/deeper"] {
            fs::write(lower.join(file), "x").unwrap();
        }
        fs::create_dir_all(own.join("d/s/u")).unwrap();
        let anew = fs::File::open(own.join("d")).unwrap();
        rustix::fs::fsetxattr(&anew, c"user.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();

        let layers = layers(&own, &lower);
        let gone: Vec<PathBuf> = changes(&layers)
            .unwrap()
            .into_iter()
            .filter(|change| change.kind == ChangeKind::Deleted)
            .map(|change| change.path)
            .collect();
        assert_eq!(gone, ["/d/s/file", "/d/s/u/deep", "/d/s/u/w", "/d/top"].map(PathBuf::from));

        let mut layer = Vec::new();
        write_layer(&layers, Manner { squash: true, maker: (0, 0), newest: None }, &mut layer).unwrap();
        let names: Vec<String> = tar::Archive::new(layer.as_slice())
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        for hidden in ["d/s/.wh.file", "d/s/u/.wh.deep", "d/s/u/.wh.w", "d/.wh.top"] {
            assert!(names.iter().any(|name| name == hidden), "{hidden}: {names:?}");
        }

        // The same where the mark is one that only somebody else sees, in the own layer and in a lower one.
        rustix::fs::fremovexattr(&anew, c"user.overlay.opaque").unwrap();
        let deleted = |layers: &Layers| {
            let found = changes(layers).unwrap().into_iter().filter(|change| change.kind == ChangeKind::Deleted);
            found.map(|change| change.path).collect::<Vec<_>>()
        };
        assert!(deleted(&layers).is_empty(), "the control: nobody has said so");
        let found = rustix::fs::fstat(&anew).unwrap();
        let layers = Layers { opaque: Inodes::from([(found.st_dev, found.st_ino)]), ..layers };
        assert_eq!(deleted(&layers), gone);
        let open = |path: &Path| OwnedFd::from(fs::File::open(path).unwrap());
        fs::create_dir_all(dir.path().join("top/d/s")).unwrap();
        fs::write(dir.path().join("top/d/s/file"), "x").unwrap();
        let above = |opaque| Layers {
            own: open(&dir.path().join("top")),
            lowers: vec![open(&own), open(&lower)],
            mounted: Vec::new(),
            opaque,
        };
        let of_file = |layers: &Layers| {
            changes(layers).unwrap().into_iter().find(|change| change.path.ends_with("file")).map(|change| change.kind)
        };
        assert_eq!(of_file(&above(layers.opaque.clone())), Some(ChangeKind::Added), "what is hidden was not there");
        assert_eq!(of_file(&above(Inodes::new())), Some(ChangeKind::Changed));
    }

    /// Makes a file, a link and a directory of each of some names, in turn, and removes them again.
    fn change(tree: &Path, goes_on: &AtomicBool) {
        let names: Vec<PathBuf> = (0..8).map(|n| tree.join(format!("d/{n}"))).collect();
        while goes_on.load(Ordering::Relaxed) {
            for name in &names {
                std::os::unix::fs::symlink("target", name).unwrap();
            }
            for name in &names {
                fs::remove_file(name).unwrap();
                fs::write(name, "x").unwrap();
            }
            for name in &names {
                fs::remove_file(name).unwrap();
                fs::create_dir_all(name.join("in/side")).unwrap();
            }
            for name in &names {
                fs::remove_dir_all(name).unwrap();
            }
        }
    }

    #[test]
    fn what_goes_while_it_is_looked_at_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let (own, lower) = (dir.path().join("own"), dir.path().join("lower"));
        fs::create_dir_all(own.join("d")).unwrap();
        fs::create_dir_all(lower.join("d")).unwrap();
        for n in 0..4 {
            std::os::unix::fs::symlink("another", lower.join(format!("d/{n}"))).unwrap();
            fs::create_dir_all(lower.join(format!("d/{}/in", n + 4))).unwrap();
        }
        let goes_on = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| change(&own, &goes_on));
            let until = Instant::now() + Duration::from_secs(2);
            let done = std::panic::catch_unwind(|| {
                while Instant::now() < until {
                    let mut layers = layers(&own, &lower);
                    layers.mounted = (0..8).map(|n| PathBuf::from(format!("/d/{n}/in"))).collect();
                    changes(&layers).unwrap();
                    write_layer(&layers, Manner { squash: true, maker: (0, 0), newest: None }, std::io::sink())
                        .unwrap();
                    let Layers { own, lowers, .. } = layers;
                    usage(own.as_fd()).unwrap();
                    let parts = lowers.into_iter().chain([own]).map(Part::new).collect();
                    export(parts, true, tempfile::tempfile().unwrap()).unwrap();
                }
            });
            goes_on.store(false, Ordering::Relaxed);
            done.unwrap();
        });
    }
}
