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
mod walk;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use layer::{Manner, write_layer};

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

/// The layers of a container.
#[derive(Debug)]
pub struct Layers {
    /// What it has written.
    pub own: OwnedFd,
    /// What it stands on, top first.
    pub lowers: Vec<OwnedFd>,
    /// Absolute paths that something is mounted on: what is there below the mount, empty, was made for it.
    pub mounted: Vec<PathBuf>,
}

/// Lists what differs from the layers below, by path.
///
/// # Errors
/// [`Kind::Limit`](crate::error::Kind::Limit) for a tree that is too deep, [`Kind::Io`](crate::error::Kind::Io).
pub fn changes(layers: &Layers) -> Result<Vec<Change>> {
    walk::walk(layers)
}

/// Finds where mounts are, as paths without links.
fn places(layers: &Layers) -> Result<BTreeSet<PathBuf>> {
    let mut all = vec![merged::again(&layers.own)?];
    for lower in &layers.lowers {
        all.push(merged::again(lower)?);
    }
    layers.mounted.iter().map(|path| merged::real(&all, path)).collect()
}

/// Returns a path in the own layer, relative to its root.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
