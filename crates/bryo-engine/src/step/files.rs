// SPDX-License-Identifier: Apache-2.0
//! Work on the files of a step, with the ids that they belong to.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bryo_launch::overlay::{Overlay, forget_volatile};
use bryo_launch::plan::Volume;
use bryo_sys::check;
use bryo_sys::mount::Attr;
use bryo_sys::root::Root;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Scratch;
use crate::Engine;
use crate::agent::{self, Agent, Place, keep_file_rights};
use crate::error::Result;

/// Work that goes on in a process of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Working<T>(Agent<T>);

impl<T: DeserializeOwned> Working<T> {
    /// Waits for what it has found.
    ///
    /// # Errors
    ///
    /// What it reports.
    pub fn answer(self) -> Result<T> {
        self.0.answer()
    }
}

/// What was opened with the caller's ids.
struct Opened {
    lowers: Vec<OwnedFd>,
    scratch: Option<OwnedFd>,
}

impl Engine {
    /// Works on layers, given top first, as one tree; what is written goes to the scratch, and without one nothing can
    /// be. The process has the ids of the files' owners and sees nothing else of the host.
    ///
    /// The calling process must have one thread.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::Identity`] when the namespace cannot be had; what the work answers, when it is asked.
    pub fn in_tree<T: Serialize + DeserializeOwned, const N: usize>(
        &self,
        layers: &[PathBuf],
        scratch: Option<&Scratch>,
        given: [OwnedFd; N],
        work: impl FnOnce(&Root, [OwnedFd; N]) -> Result<T>,
    ) -> Result<Working<T>> {
        let map = self.store_map()?;
        let (lowers, upper) = match scratch {
            Some(scratch) => (scratch.lowers(layers)?, Some(self.own_layer(scratch)?)),
            None => (layers.to_vec(), None),
        };
        let open = || {
            let lowers = lowers.iter().map(|path| directory(path)).collect::<Result<_>>()?;
            Ok(Opened { lowers, scratch: upper.as_deref().map(directory).transpose()? })
        };
        let place = Place::Mounting(&map, self.host.helpers.as_ref());
        let agent = agent::start(place, given, open, |opened, given| {
            let root = opened.mount()?;
            keep_file_rights()?;
            work(&root, given)
        })?;
        Ok(Working(agent))
    }

    /// Works on one directory of the caller's, mode 0777 below one that only the caller can enter, with the ids of the
    /// files' owners.
    ///
    /// # Errors
    ///
    /// As [`Engine::in_tree`].
    pub fn in_directory<T: Serialize + DeserializeOwned, const N: usize>(
        &self,
        path: &Path,
        given: [OwnedFd; N],
        work: impl FnOnce(&OwnedFd, [OwnedFd; N]) -> Result<T>,
    ) -> Result<Working<T>> {
        let map = self.store_map()?;
        let place = Place::Own(&map, self.host.helpers.as_ref());
        Ok(Working(agent::start(place, given, || directory(path), |opened, given| work(&opened, given))?))
    }

    /// Puts files together that a step gets mounted, below the directory that is returned, and returns the answer of
    /// the work with it. The root is empty.
    ///
    /// # Errors
    ///
    /// As [`Engine::in_tree`].
    pub fn in_copy<T: Serialize + DeserializeOwned, const N: usize>(
        &self,
        scratch: &Scratch,
        given: [OwnedFd; N],
        work: impl FnOnce(&Root, [OwnedFd; N]) -> Result<T>,
    ) -> Result<(Working<T>, PathBuf)> {
        let layer = self.own_layer(scratch)?;
        let made = |fd: &OwnedFd, name: &str| -> Result<OwnedFd> {
            let mode = Mode::from_raw_mode(0o755);
            check("mkdirat", || name.into(), rustix::fs::mkdirat(fd, name, mode))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(check("openat", || name.into(), rustix::fs::openat(fd, name, flags, Mode::empty()))?)
        };
        let working = self.in_directory(&layer, given, |fd, given| {
            // Where what is left of a step is looked for.
            let upper = made(fd, "upper")?;
            work(&Root::from_fd(made(&upper, Volume::DATA)?), given)
        })?;
        Ok((working, layer.join("upper")))
    }

    /// Makes the directory with a step's own layer, and gives it to whom files of containers belong.
    pub(super) fn own_layer(&self, scratch: &Scratch) -> Result<PathBuf> {
        let path = scratch.held.layer()?;
        self.give(&path).map_err(|e| crate::error::Error::io("cannot give away", &path, e))?;
        Ok(path)
    }
}

impl Opened {
    fn mount(self) -> Result<Root> {
        let own = |name: &str| -> Result<Option<OwnedFd>> {
            let Some(scratch) = &self.scratch else { return Ok(None) };
            match rustix::fs::mkdirat(scratch, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => (),
                Err(e) => check("mkdirat", || name.into(), Err(e))?,
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(Some(check("openat", || name.into(), rustix::fs::openat(scratch, name, flags, Mode::empty()))?))
        };
        let upper = own("upper")?.zip(own("work")?);
        // What a step writes becomes a layer by being read again, and is thrown away.
        let overlay = Overlay { lowers: &self.lowers, upper, volatile: self.scratch.is_some() };
        let root = Root::from_fd(overlay.mount(Attr::NODEV | Attr::NOSUID)?);
        if let Some(scratch) = &self.scratch {
            forget_volatile(scratch, Path::new("work"));
        }
        Ok(root)
    }
}

pub(super) fn directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(check("open", || path.display().to_string(), rustix::fs::openat(CWD, path, flags, Mode::empty()))?)
}
