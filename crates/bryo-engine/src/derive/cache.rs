// SPDX-License-Identifier: Apache-2.0
//! Finding a derived layer, and putting a new one in its place.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bryo_identity::map::render;
use bryo_identity::userns::{Inside, Request, spawn};
use bryo_image::Digest;
use bryo_image::temporary::Temporary;
use bryo_sys::check;
use bryo_sys::clone::Namespaces;
use bryo_sys::root::Root;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::build::{self, CONTENT, Job};
use super::facts::Facts;
use super::{Base, DeriveInput};
use crate::error::{Error, Kind, Result};

/// Changes whenever a layer made before would be wrong.
const FORMAT: u32 = 11;

/// The name of the file with the facts.
const FACTS: &str = "facts.json";

/// The longest answer of the child, in bytes.
const ANSWER_MAX: u64 = 1 << 20;

/// The place of one derived layer.
#[derive(Debug)]
pub(super) struct Slot {
    layers: PathBuf,
    directory: PathBuf,
    base: String,
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Made(Facts),
    Failed { cause: Cause, message: String },
}

/// The kinds of failure that mean something to the caller.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Cause {
    InvalidOption,
    UnknownUser,
    NotMapped,
    NoSpace,
    MountDenied,
    Identity,
    Io,
}

impl Slot {
    /// Names the layer by all that it depends on.
    pub fn of(input: &DeriveInput<'_>) -> Result<Self> {
        let base = match input.base {
            Base::Image(image) => image.manifest_digest.to_string(),
            Base::Directory(path) => identify(path)?,
        };
        let mut key = format!("{FORMAT}\n{base}\n");
        // Quoted, so that no text can look like two.
        let _ = writeln!(key, "{:?} {:?} {:?} {}", input.user, input.groups, input.workdir, input.default_user_image);
        if let Some(hardening) = input.hardening {
            let _ = writeln!(key, "{hardening:?}");
        }
        if !input.map.is_single() {
            // On the single rung nothing on the disk depends on which id inside is the caller.
            key += &render(&input.map.uids);
            key.push('\n');
            key += &render(&input.map.gids);
        }
        let layers = input.store.layers_dir(input.map.ownership_key());
        let directory = layers.join(format!("derived-{}", Digest::sha256_of(key.as_bytes()).hex()));
        Ok(Self { layers, directory, base })
    }

    /// Reads the facts, if the layer is there. A damaged file, as a power failure may leave, is none.
    pub fn read(&self) -> Option<Facts> {
        let text = std::fs::read(self.directory.join(FACTS)).ok()?;
        let mut facts: Facts = serde_json::from_slice(&text).ok()?;
        facts.layer = Some(self.directory.join(CONTENT));
        Some(facts)
    }

    /// Makes the layer.
    pub fn make(&self, input: &DeriveInput<'_>) -> Result<Facts> {
        let create = DirBuilder::new().recursive(true).mode(0o755).create(&self.layers);
        create
            // The umask must not cut it: ids of containers go through it.
            .and_then(|()| std::fs::set_permissions(&self.layers, Permissions::from_mode(0o755)))
            .map_err(|e| Error::io("create", &self.layers, e))?;
        // One at a time: others that want the same layer wait for this one instead of making their own.
        let lock = File::open(&self.layers).map_err(|e| Error::io("open", &self.layers, e))?;
        lock_exclusively(&lock, &self.layers)?;
        if let Some(facts) = self.read() {
            return Ok(facts);
        }
        let temporary =
            Temporary::create(&self.layers).map_err(|e| Error::io("create a directory in", &self.layers, e))?;
        let facts = match self.fill(input, &temporary) {
            Ok(facts) => facts,
            Err(e) => {
                // The child has emptied it.
                temporary.discard();
                return Err(e);
            }
        };
        self.put(&temporary, &facts)?;
        Ok(Facts { layer: Some(self.directory.join(CONTENT)), ..facts })
    }

    fn fill(&self, input: &DeriveInput<'_>, temporary: &Temporary) -> Result<Facts> {
        let wanted = input.wanted()?;
        let job = Job {
            layers: input.layers,
            foreign: matches!(input.base, Base::Directory(_)),
            target: temporary.path(),
            wanted: &wanted,
            groups: input.groups,
            workdir: input.workdir(),
            volumes: input.base.volumes(),
            hardening: input.hardening,
            map: input.map,
        };
        let (ours, theirs) =
            check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC))?;
        let request = Request { map: input.map, helpers: input.helpers, namespaces: Namespaces::MOUNT };
        let child = spawn(request, move |inside| report(&inside, &job, theirs))?;
        let mut text = Vec::new();
        let read = File::from(ours).take(ANSWER_MAX).read_to_end(&mut text);
        let code = child.wait()?;
        read.map_err(|e| Error::io("read the facts about", temporary.path(), e))?;
        match serde_json::from_slice(&text) {
            Ok(Answer::Made(facts)) => Ok(facts),
            Ok(Answer::Failed { cause, message }) => Err(Error::new(cause.kind(), message)),
            Err(_) => Err(Error::new(Kind::Io, format!("the process that prepares the image ended with {code}"))),
        }
    }

    /// Puts the finished layer in its place: the name says that all of it is there.
    fn put(&self, temporary: &Temporary, facts: &Facts) -> Result<()> {
        let write = |name: &str, text: &[u8]| {
            let path = temporary.path().join(name);
            std::fs::write(&path, text).map_err(|e| Error::io("write", &path, e))
        };
        let text = serde_json::to_vec(facts).map_err(|e| Error::io("render", temporary.path(), e.into()))?;
        write("image", self.base.as_bytes())?;
        write(FACTS, &text)?;
        temporary.close().map_err(|e| Error::io("close", temporary.path(), e))?;
        if std::fs::symlink_metadata(&self.directory).is_ok() {
            // It was there and could not be read. Under such a name the next worker sweeps it.
            let away = self.layers.join(Temporary::new_name().map_err(|e| Error::io("name", &self.directory, e))?);
            std::fs::rename(&self.directory, &away).map_err(|e| Error::io("rename", &self.directory, e))?;
        }
        std::fs::rename(temporary.path(), &self.directory).map_err(|e| Error::io("rename", temporary.path(), e))
    }
}

fn lock_exclusively(file: &File, path: &Path) -> Result<()> {
    let locked = rustix::io::retry_on_intr(|| rustix::fs::flock(file, FlockOperation::LockExclusive));
    locked.map_err(|e| Error::io("lock", path, e.into()))
}

/// Names a directory of the host by all that the account files in it can tell about a change.
fn identify(path: &Path) -> Result<String> {
    let stat = std::fs::metadata(path).map_err(|e| Error::io("look at", path, e))?;
    let mut name = format!("rootfs:{:?} {}.{} {}\n", path, stat.dev(), stat.ino(), stat.mtime());
    let root = Root::open(path)?;
    for file in ["/etc/passwd", "/etc/group"] {
        let stat = root.resolve(file).ok().and_then(|fd| rustix::fs::fstat(fd).ok());
        let seen = stat.map(|stat| (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec));
        let _ = writeln!(name, "{seen:?}");
    }
    Ok(name)
}

/// Runs in the child.
fn report(inside: &Inside, job: &Job<'_>, pipe: OwnedFd) -> i32 {
    let answer = match build::build(inside, job) {
        Ok(facts) => Answer::Made(facts),
        Err(e) => {
            let cause = Cause::of(e.kind());
            let message = match cause {
                Cause::Io | Cause::NoSpace => format!("cannot prepare the image: {e}"),
                _ => e.to_string(),
            };
            Answer::Failed { cause, message }
        }
    };
    let text = serde_json::to_vec(&answer).unwrap_or_default();
    // With nobody to hear it, the layer is swept like any other that was not finished.
    i32::from(File::from(pipe).write_all(&text).is_err())
}

impl Cause {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::InvalidOption => Self::InvalidOption,
            Kind::UnknownUser => Self::UnknownUser,
            Kind::Identity(bryo_identity::Kind::NotMapped) => Self::NotMapped,
            Kind::Identity(_) => Self::Identity,
            Kind::NoSpace => Self::NoSpace,
            Kind::Launch(bryo_launch::Kind::MountDenied) => Self::MountDenied,
            _ => Self::Io,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::InvalidOption => Kind::InvalidOption,
            Self::UnknownUser => Kind::UnknownUser,
            Self::NotMapped => Kind::Identity(bryo_identity::Kind::NotMapped),
            Self::Identity => Kind::Identity(bryo_identity::Kind::System),
            Self::NoSpace => Kind::NoSpace,
            Self::MountDenied => Kind::Launch(bryo_launch::Kind::MountDenied),
            Self::Io => Kind::Io,
        }
    }
}
