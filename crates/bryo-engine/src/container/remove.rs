// SPDX-License-Identifier: Apache-2.0
//! Removing what a container wrote: files that belong to its ids, and not to whoever removes them.

use std::os::fd::OwnedFd;
use std::path::Path;

use bryo_identity::Helpers;
use bryo_identity::map::IdMap;
use bryo_identity::userns::{self, Inside, Request};
use bryo_sys::check;
use bryo_sys::clone::Namespaces;
use bryo_sys::root::Root;
use rustix::fs::{AtFlags, CWD};

use crate::error::{Error, Kind, Result};

/// Where the files' owners have power over them.
#[derive(Debug)]
pub enum Namespace<'a> {
    /// The container's own namespace, kept open from its run.
    Kept(OwnedFd, &'a IdMap),
    /// A new one with the map that the container had.
    New(&'a IdMap, Option<&'a Helpers>),
}

/// Removes a container's layer. The usual one, into which nothing was written, is gone with three system calls.
///
/// # Errors
///
/// [`Kind::Io`] when something could not be removed, [`Kind::Identity`] when the namespace could not be had.
pub fn remove_layer(layer: &Path, namespace: Namespace<'_>) -> Result<()> {
    // Empty directories are removed by the owner of their parent, whoever owns them.
    let empty = ["work/work", "work", "upper"].iter().all(|name| {
        let gone = rustix::fs::unlinkat(CWD, layer.join(name), AtFlags::REMOVEDIR);
        matches!(gone, Ok(()) | Err(rustix::io::Errno::NOENT))
    });
    if empty {
        return rmdir(layer);
    }
    remove_trees(layer, &["upper", "work"], namespace)?;
    rmdir(layer)
}

/// Removes names in a directory of the caller's, with all that is below them, where their owners have power over it.
///
/// # Errors
///
/// As [`remove_layer`].
pub fn remove_trees(directory: &Path, names: &[&str], namespace: Namespace<'_>) -> Result<()> {
    let body = |inside: Inside| i32::from(empty_out(directory, names, &inside).is_err());
    let child = match namespace {
        Namespace::Kept(fd, map) => userns::enter(fd, map, body),
        Namespace::New(map, helpers) => {
            let request = Request { map, helpers, namespaces: Namespaces::empty() };
            userns::spawn(request, body)
        }
    };
    match child.and_then(userns::Child::wait)? {
        0 => Ok(()),
        _ => Err(Error::new(Kind::Io, format!("cannot remove everything in {}", directory.display()))),
    }
}

/// Runs in the namespace: opens the directory as the caller, and empties it as root inside.
fn empty_out(directory: &Path, names: &[&str], inside: &Inside) -> Result<()> {
    let root = Root::open(directory)?;
    inside.become_root()?;
    for name in names {
        match bryo_sys::tree::remove(&root, name.as_bytes()) {
            Err(rustix::io::Errno::NOENT) => (),
            result => check("unlinkat", || (*name).into(), result)?,
        }
    }
    Ok(())
}

fn rmdir(layer: &Path) -> Result<()> {
    match std::fs::remove_dir(layer) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("cannot remove", layer, e)),
        _ => Ok(()),
    }
}
