// SPDX-License-Identifier: Apache-2.0
//! Volumes: directories of the store that outlive containers.
//!
//! ```text
//! volumes/NAME/volume.json    what it is; of the caller
//! volumes/NAME/_data          what is in it; of the ids of containers, made when it is first mounted
//! volumes/.tmp-…              one that is being made or removed
//! ```
//!
//! A volume has its name when it is complete, and loses it before anything of it is removed. One that a container
//! names, running or not, stays. That nobody makes such a container while it is looked for is seen to by a lock: shared
//! by those who make containers with volumes, until the record is there, and had alone by those who remove volumes.

mod remove;
mod unfinished;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bryo_identity::rung::Rung;
use bryo_identity::{HostId, InsideId};
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::container::{Id, Record};
use crate::error::{Error, Kind, Result};
use crate::events::{Event, Type};
use crate::options::{Source, volume_name};
use crate::time::now;

/// The file that says what a volume is.
const FILE: &str = "volume.json";

/// What the names of unfinished ones begin with; no name of a volume does.
const TEMPORARY: &str = ".tmp-";

/// The label by which Docker tells volumes that nobody has named.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume, in the words of Docker's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// When it was made, in RFC 3339, UTC.
    pub created_at: String,
    /// Always `local`.
    pub driver: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The directory of its content on the host.
    #[serde(default)]
    pub mountpoint: PathBuf,
    /// The name.
    pub name: String,
    /// Options of the driver: none.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Always `local`.
    pub scope: String,
}

impl Volume {
    /// Tells whether nobody has named it.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}

/// Keeps volumes from being removed while it lives, and until it is released in every process that has it.
#[derive(Debug)]
pub(crate) struct Hold(File);

impl Hold {
    /// Lets volumes be removed again, whoever has inherited this.
    pub fn release(self) {
        // With the last descriptor it ends in any case.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// What a start holds on to until the record of its container names it: the layers, and the volumes if there are any.
#[derive(Debug)]
pub(crate) struct Claims {
    pub pin: bryo_image::store::Pin,
    pub volumes: Option<Hold>,
}

impl Claims {
    /// Lets go, in every process that has inherited this.
    pub fn release(self) {
        self.pin.release();
        if let Some(volumes) = self.volumes {
            volumes.release();
        }
    }
}

impl Engine {
    /// Returns the directory of the volumes.
    pub(crate) fn volumes_dir(&self) -> PathBuf {
        self.dirs.data.join("volumes")
    }

    /// Lists all volumes by name. What cannot be read is passed over: it is being removed.
    pub fn volumes(&self) -> Vec<Volume> {
        let Ok(entries) = std::fs::read_dir(self.volumes_dir()) else { return Vec::new() };
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut volumes: Vec<Volume> = names.filter_map(|name| self.volume(&name).ok()).collect();
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        volumes
    }

    /// Finds a volume by its name.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchVolume`].
    pub fn volume(&self, name: &str) -> Result<Volume> {
        let none = || Error::new(Kind::NoSuchVolume, format!("no such volume: {}", name.escape_debug()));
        volume_name(name).map_err(|_| none())?;
        let directory = self.volumes_dir().join(name);
        let mountpoint = directory.join(bryo_launch::plan::Volume::DATA);
        match std::fs::read(directory.join(FILE)).ok().and_then(|bytes| serde_json::from_slice::<Volume>(&bytes).ok()) {
            Some(volume) => Ok(Volume { mountpoint, name: name.to_owned(), ..volume }),
            // One whose description is lost is still one.
            None => match std::fs::symlink_metadata(&directory) {
                Ok(found) if found.is_dir() => {
                    let made = found.modified().ok().and_then(|t| jiff::Timestamp::try_from(t).ok());
                    let created_at = made.map(|t| t.to_string()).unwrap_or_default();
                    Ok(Volume { created_at, mountpoint, ..described(name, BTreeMap::new()) })
                }
                _ => Err(none()),
            },
        }
    }

    /// Makes a volume; without a name it gets one that nobody has. One that is there already is left as it is.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for a name that is none, [`Kind::NoSpace`], [`Kind::Io`].
    pub fn create_volume(&self, name: Option<&str>, labels: BTreeMap<String, String>) -> Result<Volume> {
        let _hold = self.hold_volumes()?;
        match name {
            Some(name) => self.make_volume(&volume_name(name)?, labels),
            None => {
                let labels = labels.into_iter().chain([(ANONYMOUS.to_owned(), String::new())]).collect();
                self.make_volume(Id::random().as_str(), labels)
            }
        }
    }

    /// Makes the volumes that options name, and keeps them from being removed until the record says that they are in
    /// use. Nothing is held where there are none.
    pub(crate) fn make_volumes(&self, options: &crate::options::RunOptions) -> Result<Option<Hold>> {
        let mut hold = None;
        for mount in &options.mounts {
            let labels = match &mount.source {
                Source::Volume(_) => BTreeMap::new(),
                Source::Anonymous(_) => BTreeMap::from([(ANONYMOUS.to_owned(), String::new())]),
                Source::Bind(_) | Source::Tmpfs { .. } => continue,
            };
            if hold.is_none() {
                hold = Some(self.hold_volumes()?);
            }
            if let Some(name) = mount.source.volume() {
                self.make_volume(name, labels)?;
            }
        }
        Ok(hold)
    }

    fn hold_volumes(&self) -> Result<Hold> {
        let lock = self.volumes_lock()?;
        let locked = rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockShared));
        locked.map_err(|e| Error::io("cannot lock", &self.dirs.data, e.into()))?;
        Ok(Hold(lock))
    }

    fn volumes_lock(&self) -> Result<File> {
        let path = self.dirs.data.join("volumes.lock");
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
        file.map_err(|e| Error::io("cannot open", &path, e))
    }

    /// Makes one volume: open to the ids of containers, below a directory that only the caller enters.
    fn make_volume(&self, name: &str, labels: BTreeMap<String, String>) -> Result<Volume> {
        if let Ok(volume) = self.volume(name) {
            return Ok(volume);
        }
        let dir = self.volumes_dir();
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&dir);
        made.map_err(|e| Error::io("cannot make", &dir, e))?;
        let volume = described(name, labels);
        let text = serde_json::to_vec(&volume).map_err(|e| Error::io("cannot describe", &dir, e.into()))?;
        let temporary = dir.join(format!("{TEMPORARY}{}", Id::random()));
        let filled = DirBuilder::new()
            .mode(0o700)
            .create(&temporary)
            .and_then(|()| std::fs::write(temporary.join(FILE), text))
            // The mode of mkdir is cut by the umask.
            .and_then(|()| std::fs::set_permissions(&temporary, PermissionsExt::from_mode(0o777)))
            .and_then(|()| self.give(&temporary));
        let path = dir.join(name);
        let named = filled.and_then(|()| {
            rustix::fs::renameat_with(CWD, &temporary, CWD, &path, RenameFlags::NOREPLACE).map_err(Into::into)
        });
        match named {
            Ok(()) => self.journal().write(&[Event::now(Type::Volume, "create", name).with("driver", "local")]),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&temporary);
                // Somebody else was faster: theirs is as good.
                if error.kind() != ErrorKind::AlreadyExists {
                    return Err(Error::io("cannot make volume", &path, error));
                }
            }
        }
        self.volume(name)
    }

    /// On the root rung, gives a directory to root inside: in what is translated, the kernel lets nobody write into a
    /// directory whose owner has no translation.
    pub(crate) fn give(&self, directory: &Path) -> std::io::Result<()> {
        if self.host.rung() != Rung::Root {
            return Ok(());
        }
        let ids = self.store_map().map_err(std::io::Error::other)?;
        let (uid, gid) = (ids.host_uid(InsideId::ROOT), ids.host_gid(InsideId::ROOT));
        std::os::unix::fs::chown(directory, uid.map(HostId::get), gid.map(HostId::get))
    }

    /// Tells which volumes containers name, and which containers those are.
    pub fn volume_users(&self) -> BTreeMap<String, Vec<Record>> {
        let mut users: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in self.containers.all() {
            let names: Vec<String> =
                record.options.mounts.iter().filter_map(|m| m.source.volume().map(str::to_owned)).collect();
            for name in names {
                users.entry(name).or_default().push(record.clone());
            }
        }
        users
    }
}

/// Describes a new volume.
fn described(name: &str, labels: BTreeMap<String, String>) -> Volume {
    Volume {
        created_at: now(),
        driver: "local".into(),
        labels,
        mountpoint: PathBuf::new(),
        name: name.to_owned(),
        options: BTreeMap::new(),
        scope: "local".into(),
    }
}
