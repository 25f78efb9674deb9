// SPDX-License-Identifier: Apache-2.0
//! `harden`: the derived layer of a run, made a layer of an image for good.
//!
//! ```text
//! base image ──▶ derive(): state, account, home ──▶ archive ──▶ base's layers and one more, USER uid:gid, labels
//! ```
//!
//! Guarantees: the same image, user and time give the same digest, whatever the clock says; no file of the base but its
//! account files and state changes hands, none but these and the lines that were taken out changes, and no program of it
//! is replaced. Nothing of the image is executed before it is compared: see [`proof`].

mod documents;
mod pod;
pub mod proof;
mod shims;
mod taken;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bryo_identity::rung::Rung;
use bryo_image::archive::{self, Change, CommitOptions};
use bryo_image::changes::{Inodes, Layers, Manner, write_layer};
use bryo_image::members::{self, Entry, EntryKind};
use bryo_image::store::{Image, ImageRecord};
use bryo_sys::check;
use jiff::Timestamp;
use rustix::pipe::PipeFlags;

use crate::Engine;
use crate::agent::{self, Place};
use crate::changes::directory;
use crate::derive::{self, Base, DeriveInput, Facts, Hardening};
use crate::error::{Error, Kind, Result};

pub use documents::{Told, dockerfile};
pub(crate) use documents::{json, one_line, pod_name};
pub(crate) use pod::LOW_PORTS;
pub use pod::kubernetes;
pub use shims::{DIR as SHIMS, is_ours as is_shim, shim};
pub use taken::{Edit, Filter, Start, TakenOut};

/// The label with the paths that must stay writable, with commas between.
pub const WRITABLE: &str = "dev.bryo.writable";

/// The label with the manifest's digest of the image that was hardened.
pub const BASE: &str = "dev.bryo.hardened-from";

/// The label with the groups that the user needs besides its own, as numbers with commas between.
pub const GROUPS: &str = "dev.bryo.groups";

/// How the history names it, before the user.
const COMMAND: &str = "bryo harden --user ";

/// The largest file whose content is told in a Dockerfile, in bytes.
const TOLD_MAX: u64 = 1 << 20;

/// What kind of image is to be made.
#[derive(Clone, Debug, Default)]
pub struct HardenOptions {
    /// The user, as `uid[:gid]` or a name of the image; else `nonroot`, or the image's own one that is not root.
    pub user: Option<String>,
    /// Programs that the start calls to become another user, without asking first whether it is root.
    pub droppers: Vec<String>,
    /// What is taken out.
    pub taken: TakenOut,
    /// Directories, absolute, that the start makes or gives away.
    pub given: Vec<PathBuf>,
    /// Leaves the group out of `USER`, so that engines look for the user's groups in the image's group file.
    pub groups: bool,
    /// When the image is made, in seconds since the epoch; else when its base was.
    pub epoch: Option<u64>,
}

/// A member of the new layer.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it is.
    pub entry: Entry,
    /// Its content, of account files and programs that were added.
    pub content: Option<Vec<u8>>,
}

/// An image that was made.
#[derive(Debug)]
pub struct Hardened {
    /// Its entry; it has no name yet.
    pub record: ImageRecord,
    /// The image.
    pub image: Image,
    /// The value of `USER`.
    pub user: String,
    /// Who it runs as, and where it may write.
    pub facts: Facts,
    /// What is in the new layer.
    pub members: Vec<Member>,
    /// The programs that were added, absolute.
    pub programs: Vec<PathBuf>,
    /// What was taken out.
    pub taken: TakenOut,
    /// Whether it is the image that was to be hardened, which was hardened already.
    pub already: bool,
}

impl Engine {
    /// Makes a hardened image of another one, without a name; of one that is hardened already it returns that one.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] where this host gives only one id, with which no owner can be told from another;
    /// [`Kind::InvalidOption`] for a user that is root; what [`derive::derive`] and the store fail with.
    pub fn harden(&self, base: &Image, options: &HardenOptions) -> Result<Hardened> {
        if self.host.rung() == Rung::Single {
            let why = "this host gives you a single id, in which all owners are one; bryo doctor says how to get more";
            return Err(Error::new(Kind::Unsupported, format!("cannot harden an image: {why}")));
        }
        if let Some(same) = self.already(base, options)? {
            return Ok(same);
        }
        let path = path_of(base);
        let mut hardening =
            Hardening { groups: options.groups, given: options.given.clone(), ..shims::of(&options.droppers) };
        options.taken.prepare(&mut hardening);
        let facts = self.hardened_facts(base, options, &hardening)?;
        if facts.uid == 0 {
            return Err(Error::new(Kind::InvalidOption, "--user: a hardened image is not root's"));
        }
        let created = created(base, options.epoch)?;
        let user = if options.groups { facts.uid.to_string() } else { format!("{}:{}", facts.uid, facts.gid) };
        let mut changes = vec![Change::User(user.clone())];
        if !hardening.programs.is_empty() {
            changes.push(Change::Env("PATH".to_owned(), format!("{}:{path}", shims::DIR)));
        }
        if let Some(start) = &options.taken.start {
            let own = base.config.config().as_ref();
            let is_set = |words: Option<&Vec<String>>| words.is_some_and(|words| !words.is_empty());
            if is_set(own.and_then(|config| config.entrypoint().as_ref())) {
                changes.push(Change::Entrypoint(start.entrypoint.clone()));
            }
            if is_set(own.and_then(|config| config.cmd().as_ref())) {
                changes.push(Change::Cmd(start.cmd.clone()));
            }
        }
        let state: Vec<String> = facts.state.iter().map(|path| path.display().to_string()).collect();
        changes.push(Change::Label(WRITABLE.to_owned(), state.join(",")));
        changes.push(Change::Label(BASE.to_owned(), base.manifest_digest.to_string()));
        if !facts.groups.is_empty() {
            let groups: Vec<String> = facts.groups.iter().map(u32::to_string).collect();
            changes.push(Change::Label(GROUPS.to_owned(), groups.join(",")));
        }
        let commit = CommitOptions {
            changes,
            command: format!("{COMMAND}{}:{}", facts.uid, facts.gid),
            created: Some(created.to_string()),
            limits: self.policy.limits,
            ..CommitOptions::default()
        };
        let record = self.commit_layer(base, &facts, newest(created), &commit)?;
        let image = self.store.image(&record)?;
        let members = self.members(&image)?;
        let programs = hardening.programs.into_iter().map(|(path, _)| path).collect();
        Ok(Hardened { record, image, user, facts, members, programs, taken: options.taken.clone(), already: false })
    }

    /// Returns the image itself where the last thing done to it was to harden it, for the same user. What the image says of
    /// that is only believed as far as it holds: its user is not root.
    fn already(&self, base: &Image, options: &HardenOptions) -> Result<Option<Hardened>> {
        let config = base.config.config().as_ref();
        let label = |name: &str| config?.labels().as_ref()?.get(name).cloned();
        let last = base.config.history().as_ref().and_then(|history| history.last()?.created_by().clone());
        let user = Base::Image(base).user().unwrap_or_default();
        let asked = options.user.as_deref().is_none_or(|asked| asked == user) && options.groups != user.contains(':');
        let made = last.zip(label(WRITABLE)).filter(|_| label(BASE).is_some() && asked && options.epoch.is_none());
        let Some((last, writable)) = made else { return Ok(None) };
        let record = self.store.images()?.into_iter().find(|record| record.manifest == base.manifest_digest);
        let Some(record) = record else { return Ok(None) };
        let mut facts = self.hardened_facts(base, options, &Hardening::default())?;
        let (uid, both) = (facts.uid.to_string(), format!("{}:{}", facts.uid, facts.gid));
        if facts.uid == 0 || (user != uid && user != both) || last != format!("{COMMAND}{both}") {
            return Ok(None);
        }
        facts.state = writable.split(',').filter(|path| path.starts_with('/')).map(PathBuf::from).collect();
        facts.groups = label(GROUPS).iter().flat_map(|text| text.split(',')).filter_map(|id| id.parse().ok()).collect();
        let (image, members) = (base.clone(), self.members(base)?);
        let paths = members.iter().map(|member| Path::new("/").join(std::ffi::OsStr::from_bytes(&member.entry.path)));
        let programs = paths.filter(|path| path.parent() == Some(Path::new(shims::DIR))).collect();
        let (user, taken) = (user.to_owned(), TakenOut::default());
        Ok(Some(Hardened { record, image, user, facts, members, programs, taken, already: true }))
    }

    /// Makes the layer, as a run does.
    fn hardened_facts(&self, base: &Image, options: &HardenOptions, hardening: &Hardening) -> Result<Facts> {
        let user = options.user.as_deref();
        let expected = derive::expected_ids(user, Base::Image(base), false)?;
        let derive = |ids| {
            let map = self.map_for(ids, false)?;
            self.unpack_missing(base, &map)?;
            derive::derive(&DeriveInput {
                store: &self.store,
                base: Base::Image(base),
                layers: &self.store.layer_paths(base, map.ownership_key())?,
                user,
                groups: &[],
                default_user_image: false,
                workdir: None,
                hardening: Some(hardening),
                map: &map,
                helpers: self.host.helpers.as_ref(),
            })
        };
        let facts = derive(expected)?;
        // A name stands for ids that only the image knows; the map is made again for them.
        if facts.run_ids() == expected { Ok(facts) } else { derive(facts.run_ids()) }
    }

    /// Puts the derived layer on the base.
    fn commit_layer(
        &self,
        base: &Image,
        facts: &Facts,
        newest: Option<u64>,
        options: &CommitOptions,
    ) -> Result<ImageRecord> {
        let gone = || Error::new(Kind::Corrupt, "the layer that was made for the image is gone");
        let own = facts.layer.clone().ok_or_else(gone)?;
        // Files of different maps may differ in nothing but the run user's host id; the layer is in this one.
        let map = self.map_for(facts.run_ids(), false)?;
        let lowers: Vec<PathBuf> = self.store.layer_paths(base, map.ownership_key())?.into_iter().rev().collect();
        let worker = self.worker()?;
        let (read, write) = check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
        let open = || {
            let lowers = lowers.iter().map(|path| directory(path)).collect::<Result<_>>()?;
            Ok(Layers {
                own: directory(&own)?,
                lowers,
                mounted: MADE.map(PathBuf::from).to_vec(),
                opaque: Inodes::new(),
            })
        };
        let place = Place::Own(&map, self.host.helpers.as_ref());
        let agent = agent::start(place, [write], open, move |layers, [write]| {
            Ok(write_layer(&layers, Manner { newest, ..Manner::default() }, File::from(write))?)
        })?;
        let mut failure = None;
        let whole = || match agent.answer() {
            Ok(_) => Ok(()),
            Err(error) => {
                failure = Some(error);
                Err(bryo_image::Error::new(bryo_image::Kind::Io, "read the new layer"))
            }
        };
        let made = archive::commit(&self.store, &worker, base, &mut File::from(read), whole, options);
        // The agent's own words say more.
        made.map_err(|error| failure.take().unwrap_or_else(|| error.into()))
    }

    /// Lists the directories of an image's layers in which something lies, or lay until a layer took it away, and those
    /// that are a service's and closed to others: it may insist on that, as PostgreSQL does, and a new volume is open.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub fn filled(&self, image: &Image) -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        for layer in &image.layers {
            members::read(&self.store, layer, &self.policy.limits, &|_| 0, &mut |entry, _| {
                let path = Path::new("/").join(std::ffi::OsStr::from_bytes(&entry.path));
                let whiteout = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".wh."));
                found.extend(path.parent().filter(|_| !whiteout).map(Path::to_owned));
                if entry.kind == EntryKind::Directory && entry.uid != 0 && entry.mode & 0o007 == 0 {
                    found.insert(path);
                }
            })?;
        }
        Ok(found)
    }

    /// Reads what is in the topmost layer.
    fn members(&self, image: &Image) -> Result<Vec<Member>> {
        let Some(layer) = image.layers.last() else { return Ok(Vec::new()) };
        let told = |entry: &Entry| {
            let path = String::from_utf8_lossy(&entry.path);
            let account = matches!(&*path, "etc/passwd" | "etc/group");
            if account || Path::new("/").join(&*path).starts_with(shims::DIR) { TOLD_MAX } else { 0 }
        };
        let mut found = Vec::new();
        members::read(&self.store, layer, &self.policy.limits, &told, &mut |entry, content| {
            found.push(Member { entry, content });
        })?;
        Ok(found)
    }
}

/// Places that a derived layer has for the mounts of a start: nothing of an image.
const MADE: [&str; 6] = ["/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// Returns where an image looks for programs.
fn path_of(image: &Image) -> String {
    let env = image.config.config().as_ref().and_then(|config| config.env().clone()).unwrap_or_default();
    let own = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH="));
    own.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").to_owned()
}

/// Decides when the image was made: what was said, else when its base was.
fn created(base: &Image, epoch: Option<u64>) -> Result<Timestamp> {
    let of_base = || base.config.created().as_deref().and_then(|text| text.parse().ok());
    match epoch {
        Some(epoch) => i64::try_from(epoch)
            .ok()
            .and_then(|epoch| Timestamp::from_second(epoch).ok())
            .ok_or_else(|| Error::new(Kind::InvalidOption, format!("{epoch} seconds since 1970 are no time"))),
        None => Ok(of_base().unwrap_or(Timestamp::UNIX_EPOCH)),
    }
}

/// Returns the latest time in the layer, in seconds since the epoch. Directories of the layer are of now; a time that
/// is yet to come would let that through.
fn newest(created: Timestamp) -> Option<u64> {
    let past = if created <= Timestamp::now() { created } else { Timestamp::UNIX_EPOCH };
    Some(u64::try_from(past.as_second()).unwrap_or(0))
}
