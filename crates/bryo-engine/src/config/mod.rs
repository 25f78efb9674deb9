// SPDX-License-Identifier: Apache-2.0
//! The configuration files: what a site and a user want as defaults.
//!
//! Guarantees: a file is understood as a whole or refused with line and column; a word that is not known is an error
//! and never passed over, since it may have been meant to make something stricter. Trusts: whoever writes the files.
//! A missing file costs one failed `open`.

pub(crate) mod file;
mod nearest;
mod read;
mod write;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use bryo_image::registry::RegistryOptions;
use bryo_image::unpack::Limits;
use bryo_launch::plan::Landlock;

use crate::Policy;
use crate::error::{Error, Result};
use crate::options::{Network, Pull};

/// What the configuration files say, over the built-in defaults. Flags of the command line go before all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who runs when `--user` is not given.
    pub default_user: DefaultUser,
    /// The network when `--network` is not given.
    pub network: Network,
    /// When an image is pulled.
    pub pull: Pull,
    /// Landlock: on, off, or where available; in the form of [`crate::options::Security::landlock`].
    pub landlock: Option<bool>,
    /// Registries, `HOST[:PORT]` as in image names, for which TLS is not verified and plain HTTP is tried after it.
    pub insecure: Vec<String>,
    /// For a registry, the mirrors that are asked before it, each `HOST[:PORT][/PREFIX]`.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// What an image may cost at most.
    pub limits: Limits,
    /// How many processes a container may have when `--pids-limit` is not given; nothing for no limit.
    pub pids_limit: Option<u64>,
}

/// Who runs when nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultUser {
    /// The image's user if it is not root, else `nonroot`.
    Nonroot,
    /// The image's user, root too.
    Image,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_user: DefaultUser::Nonroot,
            network: Network::Private,
            pull: Pull::Missing,
            landlock: None,
            insecure: Vec::new(),
            mirrors: BTreeMap::new(),
            limits: Limits::default(),
            pids_limit: Some(crate::engine::PIDS_LIMIT),
        }
    }
}

impl Config {
    /// Returns the text of a new configuration file: every key with its meaning and its default, commented out.
    #[must_use]
    pub fn template() -> &'static str {
        include_str!("template.toml")
    }

    /// Reads files in their order; what a later one says replaces what an earlier one says, key by key. Files that do
    /// not exist say nothing.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::InvalidConfig`] with line and column, [`crate::error::Kind::Io`] for a file that exists
    /// and cannot be read.
    pub fn load<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Result<Self> {
        let mut config = Self::default();
        for file in files {
            let file = file.as_ref();
            match std::fs::read_to_string(file) {
                Ok(text) => config.apply(file, &text)?,
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => (),
                Err(e) => return Err(Error::io("read the configuration file", file, e)),
            }
        }
        Ok(config)
    }

    /// Takes over what one file says; `file` is its name in errors.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::InvalidConfig`] with line and column.
    pub fn apply(&mut self, file: &Path, text: &str) -> Result<()> {
        read::apply(self, file, text)
    }

    /// Writes the configuration as a file that says all of it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        write::to_toml(self)
    }

    /// Returns the engine's part.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            image_user: self.default_user == DefaultUser::Image,
            network: self.network,
            landlock: match self.landlock {
                None => Landlock::WhereAvailable,
                Some(false) => Landlock::Off,
                Some(true) => Landlock::Required,
            },
            limits: self.limits,
            pids_limit: self.pids_limit,
            ..Policy::default()
        }
    }

    /// Hands the registries' part to the options of a pull or a push.
    pub fn configure(&self, options: &mut RegistryOptions) {
        options.insecure.extend(self.insecure.iter().cloned());
        options.mirrors.extend(self.mirrors.iter().map(|(host, mirrors)| (host.clone(), mirrors.clone())));
    }
}

#[cfg(test)]
mod tests;
