// SPDX-License-Identifier: Apache-2.0
//! The derived layer: an image made ready for a user, once.
//!
//! Stock images expect root. For the user that replaces it, one more layer goes on top of the image's own: state
//! directories and the data in them with another owner, an account, a home, and places to mount on. It is made once for
//! each image, user and id map, and kept below `layers/`; after that a start reads one file.
//!
//! ```text
//! layers/<ownership>/derived-<key>/fs           the layer; belongs to ids inside
//! layers/<ownership>/derived-<key>/facts.json   who runs, and what is state
//! layers/<ownership>/derived-<key>/image        the manifest's digest: the layer goes when that is gone
//! ```
//!
//! Guarantees: a layer has its name when it is complete, or not at all; no byte of the image is executed.

mod adopt;
mod build;
mod cache;
mod entries;
mod facts;
mod give;
mod implied;
mod layer;
mod places;
mod programs;
mod services;
pub(crate) mod tree;

use std::path::{Path, PathBuf};

use bryo_identity::Helpers;
use bryo_identity::map::{IdMap, RunIds};
use bryo_image::store::{Image, Store};

pub use facts::Facts;
pub use places::{KEPT, PACKAGES};

use crate::error::Result;
use crate::users::Wanted;

/// What a container stands on.
#[derive(Debug, Clone, Copy)]
pub enum Base<'a> {
    /// An image of the store.
    Image(&'a Image),
    /// A directory of the host; its owners are not in the map.
    Directory(&'a Path),
}

/// What a layer has beyond that of a run, when it is made for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardening {
    /// Programs that are added, by absolute path; they belong to root.
    pub programs: Vec<(PathBuf, String)>,
    /// Files of the image, by absolute path, with another content; owner and mode stay what they are.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// Writes the user's groups down in the group file.
    pub groups: bool,
    /// Directories, absolute, that the start makes or gives away.
    pub given: Vec<PathBuf>,
}

/// What is derived from, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct DeriveInput<'a> {
    /// The store, in which the layer is kept.
    pub store: &'a Store,
    /// The image.
    pub base: Base<'a>,
    /// The layers on the host, bottom to top, as [`Store::layer_paths`] returns them; the directory alone for one.
    pub layers: &'a [PathBuf],
    /// What the caller says about the user.
    pub user: Option<&'a str>,
    /// More groups, names or ids.
    pub groups: &'a [String],
    /// Honours an image that wants root.
    pub default_user_image: bool,
    /// Replaces the image's working directory.
    pub workdir: Option<&'a Path>,
    /// Makes the layer for good: whoever is asked for stands in for the image's root.
    pub hardening: Option<&'a Hardening>,
    /// The map; it has the ids that [`expected_ids`] returns. On the root rung, that of slot 0.
    pub map: &'a IdMap,
    /// The helpers that write the map.
    pub helpers: Option<&'a Helpers>,
}

impl DeriveInput<'_> {
    /// Decides who is wanted.
    ///
    /// # Errors
    ///
    /// [`InvalidOption`](crate::error::Kind::InvalidOption) for what is no user.
    pub fn wanted(&self) -> Result<Wanted> {
        Wanted::decide(self.user, self.base.user(), self.default_user_image)
    }

    /// Returns the working directory.
    fn workdir(&self) -> Option<PathBuf> {
        let image = || match self.base {
            Base::Image(image) => image.config.config().as_ref()?.working_dir().as_ref().map(PathBuf::from),
            Base::Directory(_) => None,
        };
        self.workdir.map(Path::to_owned).or_else(image).filter(|path| path.is_absolute())
    }
}

impl<'a> Base<'a> {
    /// Returns what the image says about its user.
    pub fn user(&self) -> Option<&'a str> {
        match self {
            Self::Image(image) => image.config.config().as_ref()?.user().as_deref(),
            Self::Directory(_) => None,
        }
    }

    /// Returns the directories that the image declares to be data, whose paths are its word: its volumes, and where its
    /// environment sends programs that follow the XDG Base Directory Specification.
    fn volumes(&self) -> Vec<PathBuf> {
        const HOMES: [&str; 4] = ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"];
        let config = match self {
            Self::Image(image) => image.config.config().as_ref(),
            Self::Directory(_) => None,
        };
        let env = config.and_then(|config| config.env().as_deref()).unwrap_or_default();
        let homes = env.iter().filter_map(|pair| pair.split_once('=')).filter(|(name, _)| HOMES.contains(name));
        let volumes = config.and_then(|config| config.volumes().clone()).unwrap_or_default();
        // A variable is no volume: what is the system's stays the system's.
        let homes = homes.map(|(_, path)| PathBuf::from(path)).filter(|path| !places::is_system(path));
        volumes.into_iter().map(PathBuf::from).chain(homes).collect()
    }
}

/// Returns the ids that the map must have before [`derive()`] is called: numbers are what they are, names are looked for
/// among the ids that every map has.
///
/// # Errors
///
/// As [`DeriveInput::wanted`].
pub fn expected_ids(user: Option<&str>, base: Base<'_>, default_user_image: bool) -> Result<RunIds> {
    Ok(Wanted::decide(user, base.user(), default_user_image)?.expected())
}

/// Returns the facts about an image and a user, and makes the layer if it is not there yet.
///
/// The run user may turn out to be another one than the map was made for: the caller then makes the container's map
/// from [`Facts::run_ids`]. A map that gives the run user a host id of its own (sharing) makes another layer.
///
/// # Errors
///
/// [`UnknownUser`](crate::error::Kind::UnknownUser) for a name that the image does not have,
/// [`InvalidOption`](crate::error::Kind::InvalidOption) for a user or working directory that is none,
/// [`Identity`](crate::error::Kind::Identity) for one without an id on this host or when no child can be made.
pub fn derive(input: &DeriveInput<'_>) -> Result<Facts> {
    let slot = cache::Slot::of(input)?;
    match slot.read() {
        Some(facts) => Ok(facts),
        None => slot.make(input),
    }
}
