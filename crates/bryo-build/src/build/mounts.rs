// SPDX-License-Identifier: Apache-2.0
//! What `RUN --mount` mounts.

use std::fs::File;
use std::path::{Path, PathBuf};

use bryo_engine::error::Error as EngineError;
use bryo_engine::step::{CacheDirectory, Scratch, SecretFile, StepMount};
use bryo_image::Digest;
use rustix::fs::FlockOperation;
use serde_json::{Value, json};

use super::Builder;
use super::copy::{Piece, arrived, pipe};
use super::simple::absolute;
use super::ssh::Forward;
use crate::dockerfile::Run;
use crate::dockerfile::mount::{Mount, MountKind, Sharing};
use crate::error::{Result, wrong};
use crate::files::{Destination, Placed, Selection, place};
use crate::state::State;

/// How many directories of one name may be in use at once.
const PRIVATE_MAX: u32 = 64;

/// What a step gets mounted, and what makes it the same another time.
#[derive(Default)]
pub(super) struct Mounts {
    pub list: Vec<StepMount>,
    /// What is only made when the step runs.
    later: Vec<Later>,
    pub inputs: Vec<Value>,
    /// Variables with secrets.
    pub env: Vec<String>,
    /// Copies that go when the step has ended.
    pub scratches: Vec<Scratch>,
    /// Ways to agents with keys.
    agents: Vec<Forward>,
    /// Locks of cache directories.
    locks: Vec<File>,
    /// Files that are mounted and go when the step has ended.
    files: Vec<tempfile::TempPath>,
}

/// A mount that costs something to make.
enum Later {
    Cache {
        id: String,
        /// What is in it when it is made.
        filled: Option<Box<Piece>>,
        sharing: Sharing,
        mode: u32,
        owner: (u32, u32),
        target: PathBuf,
        read_only: bool,
    },
    Agent {
        agent: PathBuf,
        target: PathBuf,
    },
    Bind {
        piece: Box<Piece>,
        source: String,
        target: PathBuf,
        write: bool,
    },
}

impl Builder<'_> {
    /// Finds out what a step gets mounted.
    pub(super) fn mounts(&mut self, mounts: &mut Mounts, state: &State, index: usize, run: &Run) -> Result<()> {
        for text in &run.mounts {
            let text = self.expand(text, state)?;
            let mount = Mount::parse(&text).map_err(wrong)?;
            self.mount(mounts, state, index, mount)?;
        }
        Ok(())
    }

    fn mount(&mut self, mounts: &mut Mounts, state: &State, index: usize, mount: Mount) -> Result<()> {
        let target = mount.target.as_deref().map(|target| PathBuf::from(absolute(state.workdir(), target)));
        match mount.kind {
            MountKind::Tmpfs { size } => {
                let target = wanted(target)?;
                mounts.inputs.push(json!({"tmpfs": target}));
                mounts.list.push(StepMount::Tmpfs { target, size });
            }
            MountKind::Secret { .. } => self.secret(mounts, mount.kind, target)?,
            MountKind::Ssh { id, required } => self.agent(mounts, id, required, target)?,
            MountKind::Cache { id, from, source, sharing, read_only, mode, uid, gid } => {
                let target = wanted(target)?;
                let id = id.unwrap_or_else(|| target.display().to_string());
                mounts.inputs.push(json!({"cache": id, "target": target, "owner": [uid, gid, mode]}));
                let filled = from.map(|from| self.bound(index, Some(&from), &source)).transpose()?;
                let filled = filled.map(|(piece, _)| Box::new(piece));
                mounts.later.push(Later::Cache { id, filled, sharing, mode, owner: (uid, gid), target, read_only });
            }
            MountKind::Bind { from, source, write } => {
                let (piece, of) = self.bound(index, from.as_deref(), &source)?;
                let target = wanted(target)?;
                mounts.inputs.push(json!({"bind": self.digest(&piece)?, "of": of, "target": target, "write": write}));
                mounts.later.push(Later::Bind { piece: Box::new(piece), source, target, write });
            }
        }
        Ok(())
    }

    /// Makes what the step needs now that it runs. What was made before something went wrong is in `mounts` as well.
    pub(super) fn make_mounts(&self, mounts: &mut Mounts) -> Result<()> {
        for later in std::mem::take(&mut mounts.later) {
            match later {
                Later::Agent { agent, target } => {
                    let place = self.engine.store().root().join("build");
                    std::fs::create_dir_all(&place).map_err(|e| EngineError::io("cannot make", &place, e))?;
                    let forward = Forward::begin(&agent, &place)?;
                    mounts.list.push(StepMount::File { target, source: forward.path(), read_only: false });
                    mounts.agents.push(forward);
                }
                Later::Cache { id, filled, sharing, mode, owner, target, read_only } => {
                    let (directory, lock) = self.cache_directory(&id, sharing)?;
                    mounts.locks.extend(lock);
                    self.make_cache(&directory, filled.as_deref(), mode, owner)?;
                    mounts.list.push(StepMount::Cache(CacheDirectory { target, directory, read_only }));
                }
                Later::Bind { piece, source, target, write } => self.bind(mounts, &piece, target, (&source, write))?,
            }
        }
        Ok(())
    }

    /// Makes a directory that steps share, unless it is there. One at a time: others wait until it is whole.
    fn make_cache(&self, directory: &Path, filled: Option<&Piece>, mode: u32, owner: (u32, u32)) -> Result<()> {
        let path = directory.with_extension("making");
        let fail = |e| EngineError::io("cannot lock", &path, e);
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|e| fail(e.into()))?;
        if directory.join(CacheDirectory::DATA).exists() {
            return Ok(());
        }
        self.engine.make_cache(directory, mode, owner)?;
        let Some(piece) = filled else { return Ok(self.engine.finish_cache(directory)?) };
        let destination = self.tree_of_its_own();
        let (read, write) = pipe()?;
        let placing =
            self.engine.in_cache(directory, [read], move |root, [read]| place(root, &destination, File::from(read)))?;
        let sent = self.send(piece, write);
        arrived(placing, sent)?;
        Ok(self.engine.finish_cache(directory)?)
    }

    /// Gives a step an agent, if there is one.
    fn agent(&self, mounts: &mut Mounts, id: Option<String>, required: bool, target: Option<PathBuf>) -> Result<()> {
        let id = id.unwrap_or_else(|| "default".to_owned());
        mounts.inputs.push(json!({"ssh": id, "target": target}));
        let Some(agent) = self.request.agents.get(&id) else {
            if required {
                return Err(wrong(format!("ssh {id} is required, and was not given: --ssh {id}")));
            }
            return Ok(());
        };
        let number = mounts.later.iter().filter(|later| matches!(later, Later::Agent { .. })).count();
        let target = target.unwrap_or_else(|| PathBuf::from(format!("/run/buildkit/ssh_agent.{number}")));
        if number == 0 {
            mounts.env.push(format!("SSH_AUTH_SOCK={}", target.display()));
        }
        mounts.later.push(Later::Agent { agent: agent.clone(), target });
        Ok(())
    }

    /// Says which files a bind means, and what a stage's are known by.
    fn bound(&mut self, index: usize, from: Option<&str>, source: &str) -> Result<(Piece, Value)> {
        let sources = vec![crate::pattern::literal(source)];
        let Some(from) = from else {
            let ignore = self.request.context.ignore.clone();
            let selection = Selection { sources, ignore, owner: Some((0, 0)), ..Selection::default() };
            return Ok((Piece::Context(selection), Value::Null));
        };
        let state = self.source(index, from)?;
        let (recorded, attributes) = (self.single_id(), true);
        let selection = Selection { sources, recorded, attributes, ..Selection::default() };
        Ok((Piece::Stage(self.layers(&state)?, selection), state.content()))
    }

    /// Gives a step a copy of files: what it writes to them, if it may, is forgotten with the copy, and nothing of the
    /// host is ever mounted.
    fn bind(&self, mounts: &mut Mounts, piece: &Piece, target: PathBuf, (source, write): (&str, bool)) -> Result<()> {
        let scratch = self.engine.scratch()?;
        let copied = self.copy_for(piece, &scratch);
        mounts.scratches.push(scratch);
        let (placed, directory) = copied?;
        mounts.list.push(if placed.directory {
            StepMount::Cache(CacheDirectory { target, directory, read_only: !write })
        } else {
            let name = crate::pattern::clean(source);
            let name = name.rsplit('/').next().unwrap_or_default();
            let source = directory.join(CacheDirectory::DATA).join(name);
            StepMount::File { target, source, read_only: !write }
        });
        Ok(())
    }

    /// Returns where a piece is placed that is all there is.
    fn tree_of_its_own(&self) -> Destination {
        Destination { path: "/".to_owned(), owner: (0, 0), single_id: self.single_id(), own: None, unpacked: false }
    }

    fn copy_for(&self, piece: &Piece, scratch: &Scratch) -> Result<(Placed, PathBuf)> {
        let destination = self.tree_of_its_own();
        let (read, write) = pipe()?;
        let (placing, directory) =
            self.engine.in_copy(scratch, [read], move |root, [read]| place(root, &destination, File::from(read)))?;
        let sent = self.send(piece, write);
        Ok((arrived(placing, sent)?, directory))
    }

    /// Gives a step a program to execute.
    pub(super) fn add_script(&self, mounts: &mut Mounts, target: PathBuf, text: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let place = self.engine.store().root().join("build");
        let fail = |e| EngineError::io("cannot write in", &place, e);
        std::fs::create_dir_all(&place).map_err(fail)?;
        let file = tempfile::Builder::new().prefix("script-").tempfile_in(&place).map_err(fail)?;
        std::fs::write(file.path(), text).map_err(fail)?;
        file.as_file().set_permissions(PermissionsExt::from_mode(0o755)).map_err(fail)?;
        // Closed: what is open for writing is not executed.
        let file = file.into_temp_path();
        mounts.list.push(StepMount::File { target, source: file.to_path_buf(), read_only: true });
        mounts.files.push(file);
        Ok(())
    }

    /// Gives a step a secret. What it says is in no key, no history and no layer: only its name is.
    fn secret(&self, mounts: &mut Mounts, kind: MountKind, target: Option<PathBuf>) -> Result<()> {
        let MountKind::Secret { id, env, required, mode, uid, gid } = kind else { return Ok(()) };
        let name = target.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let id = id.or(name).ok_or_else(|| wrong("--mount=type=secret wants an id or a target"))?;
        mounts.inputs.push(json!({"secret": id, "target": target, "env": env}));
        let Some(content) = self.request.secrets.get(&id) else {
            if required {
                return Err(wrong(format!("secret {id} is required, and was not given: --secret id={id},src=FILE")));
            }
            return Ok(());
        };
        let file = target.is_some() || env.is_none();
        if let Some(env) = env {
            let value =
                String::from_utf8(content.clone()).map_err(|_| crate::context::no_text(&format!("secret {id}")))?;
            mounts.env.push(format!("{env}={value}"));
        }
        if file {
            // Where one id owns everything, it is everybody's.
            let owner = if self.single_id() { (0, 0) } else { (uid, gid) };
            let target = target.unwrap_or_else(|| Path::new("/run/secrets").join(crate::pattern::clean(&id)));
            mounts.list.push(StepMount::Secret(SecretFile { target, content: content.clone(), mode, owner }));
        }
        Ok(())
    }

    /// Returns a directory that steps share, called by a digest of its name, so that no name leads elsewhere.
    fn cache_directory(&self, id: &str, sharing: Sharing) -> Result<(PathBuf, Option<File>)> {
        let mounts = self.engine.store().root().join("build/mounts");
        std::fs::create_dir_all(&mounts).map_err(|e| EngineError::io("cannot make", &mounts, e))?;
        let name = Digest::sha256_of(id.as_bytes()).hex()[..32].to_owned();
        let first = mounts.join(&name);
        if sharing == Sharing::Shared {
            return Ok((first, None));
        }
        for number in 0..PRIVATE_MAX {
            let directory = if number == 0 { first.clone() } else { mounts.join(format!("{name}-{number}")) };
            let path = directory.with_extension("lock");
            let lock = File::options().create(true).truncate(false).write(true).open(&path);
            let lock = lock.map_err(|e| EngineError::io("cannot open", &path, e))?;
            let operation = match sharing {
                Sharing::Private => FlockOperation::NonBlockingLockExclusive,
                _ => FlockOperation::LockExclusive,
            };
            if rustix::fs::flock(&lock, operation).is_ok() {
                return Ok((directory, Some(lock)));
            }
        }
        Err(wrong(format!("cache {id}: too many steps use it at once")))
    }
}

fn wanted(target: Option<PathBuf>) -> Result<PathBuf> {
    target.ok_or_else(|| wrong("--mount wants a target"))
}
