// SPDX-License-Identifier: Apache-2.0
//! The process of a step: planned, launched and confined as that of every container.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bryo_identity::InsideId;
use bryo_image::store::Image as StoredImage;
use bryo_launch::plan::{GeneratedFile, Volume};
use bryo_launch::relay::{self, Caller, Source as Stream};
use bryo_sys::root::Root;
use oci_spec::image::ImageConfiguration;
use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Scratch;
use super::files::Working;
use super::owners::emulated;
use crate::Engine;
use crate::container::{Namespace, remove_trees};
use crate::derive::Facts;
use crate::error::{Error, Kind, Result};
use crate::options::{Mount, Network, RunOptions, Source};
use crate::run::{Image, Prepared};
use crate::users::{self, Accounts, Wanted};

/// What a step runs.
#[derive(Debug)]
pub struct StepProcess<'a> {
    /// The program and its arguments.
    pub command: &'a [String],
    /// `NAME=VALUE`.
    pub env: &'a [String],
    /// The user, as the Dockerfile says; root if it says nothing.
    pub user: Option<&'a str>,
    /// The accounts of the stage.
    pub accounts: &'a Accounts,
    /// The working directory.
    pub workdir: &'a Path,
    /// Whether it has a network; nothing for what containers have.
    pub network: Option<Network>,
    /// What is mounted.
    pub mounts: &'a [StepMount],
    /// The image's architecture, `amd64` and the like.
    pub architecture: &'a str,
}

/// Who hears what a step says.
pub struct StepListener<'a> {
    /// Is shown its output, as it comes.
    pub output: &'a mut dyn FnMut(Stream, &[u8]),
    /// Is told what a person should know, a line at a time.
    pub note: &'a dyn Fn(&str),
}

impl std::fmt::Debug for StepListener<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepListener").finish_non_exhaustive()
    }
}

/// Something that is mounted for one step.
#[derive(Debug)]
pub enum StepMount {
    /// Memory.
    Tmpfs {
        /// Where.
        target: PathBuf,
        /// Its size in bytes.
        size: Option<u64>,
    },
    /// A secret, in memory.
    Secret(SecretFile),
    /// A directory that the step shares with others.
    Cache(CacheDirectory),
    /// A file.
    File {
        /// Where.
        target: PathBuf,
        /// The file on the host.
        source: PathBuf,
        /// Whether it cannot be written to.
        read_only: bool,
    },
}

/// A secret, as the step sees it.
pub struct SecretFile {
    /// Where.
    pub target: PathBuf,
    /// What it says.
    pub content: Vec<u8>,
    /// Its mode.
    pub mode: u32,
    /// The user and the group that it belongs to.
    pub owner: (u32, u32),
}

impl std::fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretFile").field("target", &self.target).finish_non_exhaustive()
    }
}

/// A directory whose data, called [`CacheDirectory::DATA`], belongs to the ids of containers.
#[derive(Debug)]
pub struct CacheDirectory {
    /// Where.
    pub target: PathBuf,
    /// The directory on the host.
    pub directory: PathBuf,
    /// Whether it cannot be written to.
    pub read_only: bool,
}

impl CacheDirectory {
    /// The name of the data.
    pub const DATA: &str = Volume::DATA;
}

impl StepMount {
    /// Returns where it is mounted.
    pub fn target(&self) -> &Path {
        match self {
            Self::Tmpfs { target, .. } | Self::File { target, .. } => target,
            Self::Secret(secret) => &secret.target,
            Self::Cache(cache) => &cache.target,
        }
    }

    /// Returns the mount among those that a container may ask for.
    fn asked_for(&self) -> Option<Mount> {
        let source = match self {
            Self::Tmpfs { size, .. } => Source::Tmpfs { size: *size, mode: None, exec: true },
            Self::File { source, .. } => Source::Bind(source.clone()),
            Self::Secret(_) | Self::Cache(_) => return None,
        };
        let read_only = matches!(self, Self::File { read_only: true, .. });
        Some(Mount { source, target: self.target().to_owned(), read_only, me: false })
    }
}

impl Engine {
    /// Runs a step above layers, given top first, with the confinement that every container has: root inside if the
    /// Dockerfile says so, nobody outside. Returns its exit code.
    ///
    /// The calling process must have one thread.
    ///
    /// # Errors
    ///
    /// As [`Engine::run`], until it runs.
    pub fn run_step(
        &self,
        scratch: &Scratch,
        layers: &[PathBuf],
        process: &StepProcess<'_>,
        listener: StepListener<'_>,
    ) -> Result<i32> {
        let facts = step_facts(process)?;
        let ids = self.map_for(facts.run_ids(), false)?;
        if !ids.is_single() && ids.host_uid(facts.run_ids().uid).is_none() {
            let why = format!("user {} has no id on this host; a smaller number has one", facts.uid);
            return Err(Error::new(Kind::Identity(bryo_identity::Kind::NotMapped), why));
        }
        scratch.maker.set((facts.uid, facts.gid));
        let mut facts = facts;
        facts.groups.retain(|g| !ids.is_single() && InsideId::new(*g).is_some_and(|g| ids.host_gid(g).is_some()));
        let options = RunOptions {
            image: scratch.name.clone(),
            command: process.command.to_vec(),
            entrypoint: Some(Vec::new()),
            env: process.env.to_vec(),
            workdir: Some(process.workdir.to_owned()),
            hostname: Some("build".to_owned()),
            mounts: process.mounts.iter().filter_map(StepMount::asked_for).collect(),
            writable: true,
            network: process.network,
            remove: true,
            ..RunOptions::default()
        };
        let network = process.network.unwrap_or(self.policy.network);
        let prepared = Prepared::of_step(step_image(process)?, facts, network, ids, scratch.lowers(layers)?);
        let signals = relay::signals();
        let before = signals.replace()?;
        let result = self.run_prepared(scratch, process, (&options, prepared), listener);
        // Between steps a signal does what it has done before.
        before.block()?;
        result
    }

    fn run_prepared(
        &self,
        scratch: &Scratch,
        process: &StepProcess<'_>,
        (options, prepared): (&RunOptions, Prepared),
        listener: StepListener<'_>,
    ) -> Result<i32> {
        let inbox = relay::signals().descriptor()?;
        let (mut planned, slot) = self.plan(options, &prepared, &scratch.id, Some(&scratch.held))?;
        for mount in process.mounts {
            add(&mut planned.plan, mount);
        }
        planned.plan.emulate_ids = emulated(&planned.plan);
        let mut live = self.launch(&planned, prepared.network, options, (&scratch.id, &scratch.name), listener.note)?;
        let calls = live.running.take_listener();
        let owners = calls.map(|calls| self.emulate_owners(&planned.plan.ids, live.running.pidfd(), calls));
        let owners = owners.transpose()?;
        let streams = live.running.take_streams();
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|e| Error::io("cannot open", "/dev/null".as_ref(), e))?;
        let caller = Caller { stdin: null.as_fd(), stdout: null.as_fd(), stderr: null.as_fd() };
        let relay = relay::Options { caller, interactive: false, proxy_signals: false, inbox: &inbox, asides: &[] };
        let seen = relay::run(live.running.pidfd(), streams, &relay, Some(listener.output))?;
        let (code, _) = live.wait(&mut crate::container::Status::default())?;
        drop(owners);
        drop(slot);
        match seen.ended_by {
            Some(signal) => Err(Error::new(Kind::Interrupted(signal), format!("signal {signal} ended the build"))),
            None => Ok(code),
        }
    }

    /// Makes the data of a directory that steps share, under a name by which it is not known yet; what another build has
    /// begun goes. Nobody else makes it meanwhile.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSpace`], [`Kind::Io`].
    pub fn make_cache(&self, directory: &Path, mode: u32, owner: (u32, u32)) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let map = self.store_map()?;
        let made = std::fs::create_dir_all(directory);
        let opened = made.and_then(|()| std::fs::set_permissions(directory, PermissionsExt::from_mode(0o777)));
        opened.and_then(|()| self.give(directory)).map_err(|e| Error::io("cannot make", directory, e))?;
        if directory.join(Volume::UNFINISHED).exists() {
            remove_trees(directory, &[Volume::UNFINISHED], Namespace::New(&map, self.host.helpers.as_ref()))?;
        }
        let single = map.is_single();
        self.in_directory(directory, [], |fd, []| {
            use rustix::fs::{Gid, Mode, Uid};
            let name = Volume::UNFINISHED;
            let made = rustix::fs::mkdirat(fd, name, Mode::from_raw_mode(mode));
            bryo_sys::check("mkdirat", || name.into(), made)?;
            if !single {
                let (uid, gid) = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
                let owned = rustix::fs::chownat(fd, name, uid, gid, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
                bryo_sys::check("fchownat", || name.into(), owned)?;
            }
            Ok(())
        })?
        .answer()
    }

    /// Works on the data of a directory that is being made.
    ///
    /// # Errors
    ///
    /// As [`Engine::in_directory`].
    pub fn in_cache<T: Serialize + DeserializeOwned, const N: usize>(
        &self,
        directory: &Path,
        given: [OwnedFd; N],
        work: impl FnOnce(&Root, [OwnedFd; N]) -> Result<T>,
    ) -> Result<Working<T>> {
        self.in_directory(directory, given, |fd, given| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let data = rustix::fs::openat(fd, Volume::UNFINISHED, flags, rustix::fs::Mode::empty());
            work(&Root::from_fd(bryo_sys::check("openat", || Volume::UNFINISHED.into(), data)?), given)
        })
    }

    /// Gives the data of a directory its name, now that it is whole.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`].
    pub fn finish_cache(&self, directory: &Path) -> Result<()> {
        self.in_directory(directory, [], |fd, []| {
            let named = rustix::fs::renameat(fd, Volume::UNFINISHED, fd, CacheDirectory::DATA);
            Ok(bryo_sys::check("renameat", || CacheDirectory::DATA.into(), named)?)
        })?
        .answer()
    }
}

/// Adds what a container cannot ask for.
fn add(plan: &mut bryo_launch::plan::Plan, mount: &StepMount) {
    match mount {
        StepMount::Secret(SecretFile { target, content, mode, owner }) => {
            let (path, content) = (target.clone(), content.clone());
            plan.files.push(GeneratedFile { path, content, mode: *mode, owner: *owner });
        }
        StepMount::Cache(CacheDirectory { target, directory, read_only }) => {
            let (directory, target) = (directory.clone(), target.clone());
            plan.volumes.push(Volume { directory, target, read_only: *read_only });
        }
        StepMount::Tmpfs { .. } | StepMount::File { .. } => (),
    }
}

fn step_facts(process: &StepProcess<'_>) -> Result<Facts> {
    // The Dockerfile's author may say root, and whoever builds has taken the Dockerfile.
    let wanted = Wanted::decide(Some(process.user.unwrap_or("root")), None, true)?;
    let user = users::resolve(&wanted, &[], process.accounts)?;
    Ok(Facts {
        uid: user.uid.get(),
        gid: user.gid.get(),
        groups: user.groups.iter().map(|gid| gid.get()).collect(),
        name: user.name,
        home: user.home,
        shell: user.shell.unwrap_or_else(|| "/bin/sh".into()),
        state: Vec::new(),
        executable: Vec::new(),
        layer: None,
    })
}

/// Makes up an image for the plan, which says nothing that the options do not.
fn step_image(process: &StepProcess<'_>) -> Result<Image> {
    let config = serde_json::json!({
        "os": "linux",
        "architecture": process.architecture,
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let config: ImageConfiguration =
        serde_json::from_value(config).map_err(|e| Error::new(Kind::Corrupt, format!("the stage's platform: {e}")))?;
    let nobody = bryo_image::Digest::sha256_of(b"");
    Ok(Image::Stored(Box::new(StoredImage {
        reference: None,
        manifest_digest: nobody.clone(),
        config_digest: nobody,
        config,
        layers: Vec::new(),
        healthcheck: None,
    })))
}
