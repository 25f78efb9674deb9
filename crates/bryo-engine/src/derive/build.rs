// SPDX-License-Identifier: Apache-2.0
//! The child that makes a derived layer.
//!
//! | who | namespaces | ids and capabilities | may allocate | peer | exits |
//! |---|---|---|---|---|---|
//! | child of [`super::derive`] | own user, mount | the caller's until the layers are open; then root inside, all capabilities inside | yes: its parent had one thread | the parent, by a pipe | 0 with an answer on the pipe |
//!
//! The layers are opened first, with the ids of the caller, since the store lies where nobody else may enter. Nothing
//! of the image is executed.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bryo_identity::InsideId;
use bryo_identity::map::IdMap;
use bryo_identity::userns::Inside;
use bryo_launch::overlay::Overlay;
use bryo_sys::mount::Attr;
use bryo_sys::{Errno, check};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::MountPropagationFlags;

use super::facts::Facts;
use super::layer::{Attributes, Layer};
use super::services::Services;
use super::tree::{Tree, kind};
use super::{Hardening, entries, implied, places, programs};
use crate::error::{Error, Kind, Result};
use crate::users::{self, User, Wanted};

/// The name of the content in the layer's directory.
pub(super) const CONTENT: &str = "fs";

/// How many declared volumes are looked at.
const VOLUMES_MAX: usize = 256;

/// What to make.
#[derive(Debug)]
pub(super) struct Job<'a> {
    /// The layers, bottom to top.
    pub layers: &'a [PathBuf],
    /// A directory of the host instead of an image's layers.
    pub foreign: bool,
    /// The new layer's directory.
    pub target: &'a Path,
    /// Who runs.
    pub wanted: &'a Wanted,
    /// More groups.
    pub groups: &'a [String],
    /// The working directory.
    pub workdir: Option<PathBuf>,
    /// The volumes that the image declares.
    pub volumes: Vec<PathBuf>,
    /// What the layer has beyond that of a run.
    pub hardening: Option<&'a Hardening>,
    /// The map.
    pub map: &'a IdMap,
}

/// Makes the layer, or leaves nothing of it.
pub(super) fn build(inside: &Inside, job: &Job<'_>) -> Result<Facts> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let changed = check("mount", || "/, MS_REC|MS_PRIVATE".into(), rustix::mount::mount_change("/", private));
    changed.map_err(|e| match e.errno() {
        // As in a container's own start: a security module lets the namespace be made and refuses what it is for.
        Errno::PERM | Errno::ACCESS => {
            let why = format!("cannot mount in the new user namespace: {e}");
            Error::new(Kind::Launch(bryo_launch::Kind::MountDenied), why)
        }
        _ => Error::from(e),
    })?;
    let lowers = job.layers.iter().rev().map(|path| directory(path)).collect::<Result<Vec<_>>>()?;
    let lists = job.layers.iter().rev().map(|path| Ok(bryo_image::unpack::implied(path)?));
    let lists = if job.foreign { Vec::new() } else { lists.collect::<Result<Vec<_>>>()? };
    let target = directory(job.target)?;
    inside.become_root()?;
    // Now, since a change of ids takes it back: without the parent there is nobody to put the layer in its place.
    let killed = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    check("prctl", || "PR_SET_PDEATHSIG".into(), killed)?;
    rustix::process::umask(Mode::empty());
    check("mkdirat", || CONTENT.into(), rustix::fs::mkdirat(&target, CONTENT, Mode::from_raw_mode(0o755)))?;
    let result = implied::described(&lowers, &lists)
        .map_err(Into::into)
        .and_then(|described| content(job, lowers, described, &target));
    if result.is_err() {
        // The caller does not own what is in it. What cannot be removed is swept up by the next worker.
        let _ = bryo_sys::tree::remove(&target, CONTENT.as_bytes());
    }
    result
}

fn content(
    job: &Job<'_>,
    mut lowers: Vec<OwnedFd>,
    described: BTreeMap<PathBuf, Attributes>,
    target: &OwnedFd,
) -> Result<Facts> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = check("openat", || CONTENT.into(), rustix::fs::openat(target, CONTENT, flags, Mode::empty()))?;
    let root = match lowers.len() {
        0 => made.try_clone().map_err(|e| Error::io("copy descriptor of", job.target, e))?,
        1 => lowers.remove(0),
        _ => Overlay { lowers: &lowers, upper: None, volatile: false }
            .mount(Attr::RDONLY | Attr::NODEV | Attr::NOSUID)?,
    };
    let mut tree = Tree::new(root, job.foreign);
    tree.described = described;
    let layer = Layer::new(made, job.map.is_single());
    Builder { job, tree: &tree, layer }.run()
}

fn directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty());
    Ok(check("open", || path.display().to_string(), fd)?)
}

pub(super) struct Builder<'a> {
    pub job: &'a Job<'a>,
    pub tree: &'a Tree,
    pub layer: Layer,
}

impl Builder<'_> {
    fn run(mut self) -> Result<Facts> {
        let files = entries::Files::read(self.tree);
        let accounts = files.accounts();
        let mut user = users::resolve(self.job.wanted, self.job.groups, &accounts)?;
        self.require_mapped(&mut user)?;
        user.replaces_root |= self.job.hardening.is_some() && self.job.wanted.image_is_root();
        let mut services = Services::default();
        if user.replaces_root && self.job.map.is_single() {
            // Everything belongs to the user already, whosever it is in the image.
            services = Services::of(&accounts);
        } else if user.replaces_root {
            let owners;
            (owners, services) = self.adopt(&user, &accounts)?;
            if !self.job.wanted.names_group() {
                self.join(&mut user, &owners, &accounts);
            }
        } else if self.job.hardening.is_some() && user.uid != InsideId::ROOT {
            self.provide(&user)?;
        }
        self.own_directories(&user)?;
        self.mount_points()?;
        self.describe()?;
        self.programs()?;
        self.rewrite()?;
        let members = self.job.hardening.is_some_and(|hardening| hardening.groups);
        files.complete(self.tree, &mut self.layer, (&user, &services), (&accounts, members))?;
        let shell = user.shell.clone().unwrap_or_else(|| self.shell());
        let state = self.state(&user);
        Ok(Facts {
            uid: user.uid.get(),
            gid: user.gid.get(),
            groups: user.groups.iter().map(|gid| gid.get()).collect(),
            executable: programs::among(self.tree, &state),
            state,
            name: user.name,
            home: user.home,
            shell,
            layer: None,
        })
    }

    /// A user must have an id on the host. Of supplementary groups the image may name some that have none.
    fn require_mapped(&self, user: &mut User) -> Result<()> {
        if self.job.map.is_single() {
            return Ok(());
        }
        if self.job.map.host_uid(user.uid).is_none() || self.job.map.host_gid(user.gid).is_none() {
            let (name, uid, gid) = (&user.name, user.uid, user.gid);
            return Err(Error::new(
                Kind::Identity(bryo_identity::Kind::NotMapped),
                format!(
                    "user {name:?} is {uid}:{gid} in the image, which has no id on this host: use --user {uid}:{gid}"
                ),
            ));
        }
        user.groups.retain(|gid| self.job.map.host_gid(*gid).is_some());
        Ok(())
    }

    /// Makes the home, the working directory and the declared volumes where they are missing.
    fn own_directories(&mut self, user: &User) -> Result<()> {
        let owner = |mode| Attributes { uid: user.uid.get(), gid: user.gid.get(), mode };
        // Debian's word for "has no home".
        if user.home != Path::new("/nonexistent") {
            self.make(&user.home, owner(0o700))?;
        }
        if let Some(workdir) = &self.job.workdir
            && !self.make(workdir, owner(0o755))?
        {
            let what = format!("working directory {:?} is not a directory in the image", workdir.display());
            return Err(Error::new(Kind::InvalidOption, what));
        }
        let job = self.job;
        for volume in job.volumes.iter().take(VOLUMES_MAX).filter(|path| path.is_absolute()) {
            self.make(volume, owner(0o755))?;
        }
        Ok(())
    }

    /// Makes a directory where nothing is, and tells whether there is one then.
    fn make(&mut self, path: &Path, attributes: Attributes) -> Result<bool> {
        let real = match self.tree.real(path) {
            Ok(real) => real,
            Err(e) if matches!(e.errno(), Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::ACCESS) => {
                return Ok(false);
            }
            Err(e) => return Err(e.into()),
        };
        let apart = ["/proc", "/sys", "/dev"].iter().any(|system| real.path.starts_with(system));
        if real.stat.is_some() || apart || self.layer.has(&real.path) {
            return Ok(apart || real.stat.is_none() || real.is_dir());
        }
        // Those above it are made too, and belong to root.
        match self.layer.directory(self.tree, &real.path, attributes) {
            Err(e) if e.errno() == Errno::NAMETOOLONG => Ok(false),
            result => Ok(result.map(|()| true)?),
        }
    }

    /// Makes what every start mounts on, so that a start makes nothing.
    fn mount_points(&mut self) -> Result<()> {
        for (path, mode) in [("/proc", 0o555), ("/sys", 0o555), ("/dev", 0o755)] {
            // A link in their place is for the launcher to refuse (CVE-2019-19921).
            if self.tree.look(Path::new(path))?.is_none() {
                self.make(Path::new(path), Attributes::root(mode))?;
                self.layer.directory(self.tree, Path::new(path), Attributes::root(mode))?;
            }
        }
        self.make(Path::new("/run"), Attributes::root(0o755))?;
        for path in ["/tmp", "/var/tmp"].map(Path::new) {
            self.make(path, Attributes::root(0o1777))?;
            let Ok(real) = self.tree.real(path) else { continue };
            let open = real.stat.as_ref().is_some_and(|stat| stat.st_mode & 0o1777 == 0o1777);
            if real.is_dir() && (self.tree.foreign || !open) && !places::is_system(&real.path) {
                self.layer.directory(self.tree, &real.path, Attributes::root(0o1777))?;
            }
        }
        for path in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"].map(Path::new) {
            self.file(path)?;
        }
        Ok(())
    }

    /// Puts directories right that layers only imply.
    fn describe(&mut self) -> Result<()> {
        for (path, attributes) in &self.tree.described {
            if !self.layer.has(path) {
                self.layer.directory(self.tree, path, *attributes)?;
            }
        }
        Ok(())
    }

    /// Adds programs.
    fn programs(&mut self) -> Result<()> {
        for (path, text) in self.job.hardening.iter().flat_map(|hardening| &hardening.programs) {
            let parent = path.parent().unwrap_or(Path::new("/"));
            self.make(parent, Attributes::root(0o755))?;
            let path = self.tree.real(parent)?.path.join(path.file_name().unwrap_or_default());
            let mut file = self.layer.file(self.tree, &path, Attributes::root(0o755))?;
            std::io::Write::write_all(&mut file, text.as_bytes()).map_err(|e| Error::io("write", &path, e))?;
        }
        Ok(())
    }

    /// Gives files of the image another content.
    fn rewrite(&mut self) -> Result<()> {
        for (path, content) in self.job.hardening.iter().flat_map(|hardening| &hardening.files) {
            let found = self.tree.look(path)?.map(|(_, stat)| stat);
            let Some(stat) = found.filter(|stat| kind(stat) == FileType::RegularFile) else {
                return Err(Error::new(Kind::Corrupt, format!("{} is not a file in the image", path.display())));
            };
            // It may have changed hands already.
            let attributes = self.layer.attributes(path).unwrap_or_else(|| Attributes::of(self.tree, &stat));
            let mut file = self.layer.file(self.tree, path, attributes)?;
            std::io::Write::write_all(&mut file, content).map_err(|e| Error::io("write", path, e))?;
        }
        Ok(())
    }

    /// Makes an empty file where nothing is, and in the place of a link that leads to nothing.
    fn file(&mut self, path: &Path) -> Result<()> {
        let passable = |errno| matches!(errno, Errno::LOOP | Errno::NOTDIR | Errno::ACCESS);
        match self.tree.real(path) {
            Ok(real) if real.stat.is_some() => return Ok(()),
            Ok(_) => (),
            Err(e) if passable(e.errno()) => (),
            Err(e) => return Err(e.into()),
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        let Ok(parent) = self.tree.real(parent) else { return Ok(()) };
        if parent.stat.is_some() && !parent.is_dir() {
            return Ok(());
        }
        let path = parent.path.join(path.file_name().unwrap_or_default());
        self.layer.file(self.tree, &path, Attributes::root(0o644))?;
        Ok(())
    }

    /// Lists the directories that stay writable below a read-only root. For root inside, package databases are none:
    /// for everybody else their owner sees to that, and one mount does for all of `/var`.
    fn state(&self, user: &User) -> Vec<PathBuf> {
        let mut state = if user.uid == InsideId::ROOT { places::variable(self.tree) } else { vec!["/var".into()] };
        state.extend(["/run", "/srv", "/tmp", "/var/tmp"].map(PathBuf::from));
        state.push(user.home.clone());
        state.extend(self.job.workdir.clone());
        let found = state.iter().filter_map(|path| self.made(path)).filter(|real| !places::is_system(real));
        // What is said for good must be true: root's own stays out of it.
        let found = found.filter(|real| self.job.hardening.is_none() || self.opens(user, real));
        let volumes = self.volumes().filter_map(|path| self.made(path)).filter(|real| !places::is_core(real));
        places::outermost(found.chain(volumes))
    }

    pub(super) fn volumes(&self) -> impl Iterator<Item = &Path> {
        self.job.volumes.iter().take(VOLUMES_MAX).map(PathBuf::as_path).filter(|path| path.is_absolute())
    }

    /// Returns the real path of a directory of the image.
    pub(super) fn existing(&self, path: &Path) -> Option<PathBuf> {
        self.tree.real(path).ok().filter(super::tree::Real::is_dir).map(|real| real.path)
    }

    /// Returns the real path of a directory of the image or of the new layer.
    fn made(&self, path: &Path) -> Option<PathBuf> {
        let real = self.tree.real(path).ok()?;
        (real.is_dir() || self.layer.has(&real.path)).then_some(real.path)
    }

    /// Finds a shell for those whose account names none.
    fn shell(&self) -> PathBuf {
        let shells = ["/bin/sh", "/bin/bash", "/bin/ash", "/usr/bin/sh"].map(PathBuf::from);
        let exists = |path: &&PathBuf| {
            let found = self.tree.real(path).ok().and_then(|real| real.stat);
            found.is_some_and(|stat| kind(&stat) == FileType::RegularFile)
        };
        shells.iter().find(exists).unwrap_or(&shells[0]).clone()
    }
}
