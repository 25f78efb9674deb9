// SPDX-License-Identifier: Apache-2.0
//! A container's files as the container sees them, for an agent: among its mounts while it runs, else among mounts that
//! are made for the agent alone.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bryo_launch::overlay::Overlay;
use bryo_launch::plan::Volume;
use bryo_sys::mount::{Attr, Change, attach, clone_tree, set_attr};
use bryo_sys::root::Root;
use bryo_sys::{Errno, check};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::Engine;
use crate::agent::keep_file_rights;
use crate::changes::directory;
use crate::container::Record;
use crate::error::{Error, Kind, Result};
use crate::options::Source;
use crate::run::Image;

/// How the files are reached.
#[derive(Debug)]
pub(crate) enum View {
    /// Among the mounts of the container.
    Running { write: bool },
    /// By mounting what it is made of.
    Stopped(Stopped),
}

/// What a container that does not run is made of.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// The layers, top first.
    lowers: Vec<PathBuf>,
    /// The container's directory.
    directory: PathBuf,
    /// What was asked to be mounted, the outermost first: on the host, inside, and whether it is read-only.
    mounts: Vec<(PathBuf, PathBuf, bool)>,
    /// Whether its own layer is to be written to.
    write: bool,
    /// Whether it was asked to have a root that nobody writes to.
    read_only: bool,
}

/// What was opened with the caller's ids.
#[derive(Debug)]
pub(crate) enum Opened {
    Running {
        write: bool,
    },
    Stopped {
        lowers: Vec<OwnedFd>,
        place: OwnedFd,
        scratch: Option<OwnedFd>,
        mounts: Vec<(OwnedFd, PathBuf)>,
        read_only: bool,
    },
}

impl Engine {
    /// Says how the files of a container that does not run are reached.
    pub(super) fn stopped(&self, record: &Record, write: bool) -> Result<Stopped> {
        let mounts = record.options.mounts.iter().filter_map(|mount| {
            let source = match &mount.source {
                Source::Bind(path) => path.clone(),
                Source::Volume(name) | Source::Anonymous(name) => self.volumes_dir().join(name).join(Volume::DATA),
                // What was in memory is gone.
                Source::Tmpfs { .. } => return None,
            };
            Some((source, mount.target.clone(), mount.read_only))
        });
        let mut mounts: Vec<_> = mounts.collect();
        mounts.sort_by_key(|(_, target, _)| target.components().count());
        Ok(Stopped {
            lowers: self.lowers_of(record)?,
            directory: self.containers.dir(&record.id),
            mounts,
            write,
            read_only: record.options.strict_read_only,
        })
    }

    /// Returns the layers that a container stands on, top first.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for one that stands on none, [`Kind::Corrupt`] when one is gone.
    pub(crate) fn lowers_of(&self, record: &Record) -> Result<Vec<PathBuf>> {
        let base = if record.image_id.is_some() { None } else { Some(Image::of_host(&record.image)?) };
        let gone =
            |name: &String| Error::new(Kind::Corrupt, format!("a layer of container {} is gone: {name}", record.name));
        let layer = |name: &String| self.layer_path(name).ok_or_else(|| gone(name));
        let mut lowers = record.layers.iter().map(layer).collect::<Result<Vec<_>>>()?;
        match base {
            Some(Image::Rootfs(path)) => lowers.push(path),
            Some(_) => {
                let why = "is made of the host's own system, and has no files of its own but in memory while it runs";
                return Err(Error::new(Kind::Unsupported, format!("container {} {why}", record.name)));
            }
            None => {}
        }
        Ok(lowers)
    }
}

impl View {
    /// Opens what only the caller may open.
    pub fn open(&self) -> Result<Opened> {
        match self {
            Self::Running { write } => Ok(Opened::Running { write: *write }),
            Self::Stopped(stopped) => stopped.open(),
        }
    }
}

impl Stopped {
    fn open(&self) -> Result<Opened> {
        let layer = self.directory.join("layer");
        let mut lowers = self.lowers.iter().map(|path| directory(path)).collect::<Result<Vec<_>>>()?;
        let upper = layer.join("upper");
        if !self.write && upper.exists() {
            // To be looked at only: as one layer among the others it stays as it is.
            lowers.insert(0, directory(&upper)?);
        }
        let mounts = self.mounts.iter().filter(|(source, _, _)| source.exists()).map(tree);
        Ok(Opened::Stopped {
            lowers,
            place: directory(&self.directory)?,
            scratch: self.write.then(|| directory(&layer)).transpose()?,
            mounts: mounts.collect::<Result<_>>()?,
            read_only: self.read_only,
        })
    }
}

fn tree((source, target, read_only): &(PathBuf, PathBuf, bool)) -> Result<(OwnedFd, PathBuf)> {
    let tree = clone_tree(CWD, &source.to_string_lossy(), true)?;
    let read_only = if *read_only { Attr::RDONLY } else { Attr::empty() };
    set_attr(&tree, Change { private: true, ..Change::set(Attr::NOSUID | Attr::NODEV | read_only) })?;
    Ok((tree, target.clone()))
}

impl Opened {
    /// Comes to where the files are, gives up every right but those over files, and returns their root.
    pub fn enter(self) -> Result<Root> {
        let root = match self {
            Self::Running { write } => running(write)?,
            Self::Stopped { lowers, place, scratch, mounts, read_only } => {
                stopped(&lowers, &place, scratch.as_ref(), mounts, read_only)?
            }
        };
        keep_file_rights()?;
        Ok(root)
    }
}

/// In a copy of the container's mounts the root may be written to; in the container's own it stays as it is.
fn running(write: bool) -> Result<Root> {
    bryo_sys::clone::unshare_mounts()?;
    let root = Root::open(Path::new("/"))?;
    if write {
        let change = Change { set: Attr::empty(), clear: Attr::RDONLY, private: false, recursive: false };
        set_attr(&root, change)?;
    }
    Ok(root)
}

fn stopped(
    lowers: &[OwnedFd],
    place: &OwnedFd,
    scratch: Option<&OwnedFd>,
    mounts: Vec<(OwnedFd, PathBuf)>,
    read_only: bool,
) -> Result<Root> {
    let own = |scratch: &OwnedFd, name: &str| -> Result<OwnedFd> {
        match rustix::fs::mkdirat(scratch, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => (),
            Err(e) => check("mkdirat", || name.into(), Err(e))?,
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(check("openat", || name.into(), rustix::fs::openat(scratch, name, flags, Mode::empty()))?)
    };
    let upper = scratch.map(|scratch| Ok::<_, Error>((own(scratch, "upper")?, own(scratch, "work")?))).transpose()?;
    let written = upper.is_some();
    let overlay = Overlay { lowers, upper, volatile: false }.mount(Attr::NODEV | Attr::NOSUID)?;
    attach(&overlay, place)?;
    let root = Root::from_fd(overlay);
    for (tree, target) in mounts {
        if let Some(place) = mount_point(&root, &tree, &target, written)? {
            attach(tree, place)?;
        }
    }
    if written && read_only {
        set_attr(&root, Change { recursive: false, ..Change::set(Attr::RDONLY) })?;
    }
    Ok(root)
}

/// Finds where something is mounted; one that has never run may have no such place yet.
fn mount_point(root: &Root, tree: &OwnedFd, target: &Path, make: bool) -> Result<Option<OwnedFd>> {
    match root.resolve(target) {
        Err(e) if e.errno() == Errno::NOENT && !make => return Ok(None),
        Err(e) if e.errno() == Errno::NOENT => (),
        other => return Ok(Some(other?)),
    }
    let found = check("fstat", || target.display().to_string(), rustix::fs::fstat(tree))?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        Ok(Some(root.create_dir_all(target, Mode::from_raw_mode(0o755))?))
    } else {
        Ok(Some(root.create_file(target, Mode::from_raw_mode(0o644))?))
    }
}
