// SPDX-License-Identifier: Apache-2.0
//! The flags of `bryo run`: Docker's names and Docker's meanings.
//!
//! Guarantees: a flag either has its effect or the container does not start. What this version cannot do is refused
//! with a reason and a way to get it; what is accepted without effect says so in its help. Everything after the image's
//! name belongs to the command.

mod flags;
mod refused;
mod shape;
#[cfg(test)]
mod tests;
mod values;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bryo_engine::error::{Error, Kind, Result};
use bryo_engine::options::RunOptions;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use flags::Flags;

/// What the flags' meaning depends on besides themselves.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// The working directory, which relative paths are resolved against.
    pub here: &'a Path,
    /// Looks up a variable of the caller's environment, for `-e NAME`.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Environment<'_> {
    fn read(&self, what: &str, path: &Path) -> Result<Vec<u8>> {
        let path = self.here.join(path);
        std::fs::read(&path).map_err(|e| {
            let why = format!("cannot read {what} {}: {e}; check the path", path.display());
            Error::new(Kind::Source, why)
        })
    }

    fn read_text(&self, what: &str, path: &Path) -> Result<String> {
        let bytes = self.read(what, path)?;
        String::from_utf8(bytes).map_err(|_| {
            let path = self.here.join(path);
            Error::new(Kind::InvalidOption, format!("{what} {} is not UTF-8 text", path.display()))
        })
    }
}

/// The command line of `bryo run`.
#[derive(Debug, Clone)]
pub struct RunArgs {
    flags: Flags,
}

impl RunArgs {
    /// Tells whether to show what would be started, and start nothing.
    pub fn dry_run(&self) -> bool {
        self.flags.general.dry_run
    }

    /// Tells whether to show what the policy says of it, and start nothing.
    pub fn explain(&self) -> bool {
        self.flags.general.explain
    }

    /// Tells whether to run in the background.
    pub fn detach(&self) -> bool {
        self.flags.general.detach
    }

    /// Returns the keys that let go of the container.
    pub fn detach_keys(&self) -> Option<&str> {
        self.flags.general.detach_keys.as_deref()
    }

    /// Tells whether to show no progress.
    pub fn quiet(&self) -> bool {
        self.flags.general.quiet
    }

    /// Tells whether to remove another container that has the name.
    pub fn replace(&self) -> bool {
        self.flags.general.replace
    }

    /// Tells whether to enforce nothing of a profile, and to say what it would have refused.
    pub fn would_break(&self) -> bool {
        self.flags.confinement.would_break
    }

    /// Turns the flags into what the engine is asked.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for a flag this version does not carry out, [`Kind::InvalidOption`] for a value that is
    /// not understood, [`Kind::Source`] for a file that cannot be used. Nothing has happened then.
    pub fn options(self, env: &Environment<'_>) -> Result<RunOptions> {
        let Flags {
            general,
            identity,
            process,
            files,
            confinement,
            limits,
            network,
            health,
            labels,
            refused,
            image_and_command,
        } = self.flags;
        refused.check()?;
        let mut options = RunOptions::default();
        let mut words = image_and_command.into_iter();
        options.image = words.next().filter(|image| !image.is_empty()).ok_or_else(|| {
            let why = "no image is named; give one, such as \"host:\" for the programs of this machine";
            Error::new(Kind::InvalidOption, why)
        })?;
        options.command = words.collect();
        general.apply(env, &mut options)?;
        identity.apply(&mut options)?;
        process.apply(env, &mut options)?;
        files.apply(env, &mut options)?;
        confinement.apply(env, &mut options)?;
        limits.apply(&mut options)?;
        network.apply(&mut options)?;
        health.apply(&mut options)?;
        labels.apply(env, &mut options)?;
        distinct_targets(&options)?;
        Ok(options)
    }
}

/// Refuses two mounts at one place: one of them would be out of sight.
fn distinct_targets(options: &RunOptions) -> Result<()> {
    let mut seen: HashSet<&PathBuf> = HashSet::new();
    match options.mounts.iter().find(|mount| !seen.insert(&mount.target)) {
        None => Ok(()),
        Some(twice) => {
            let why = format!("two mounts at {}: leave one of them out", twice.target.display());
            Err(Error::new(Kind::InvalidOption, why))
        }
    }
}

impl FromArgMatches for RunArgs {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Flags::from_arg_matches(matches).map(|flags| Self { flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        self.flags.update_from_arg_matches(matches)
    }
}

impl Args for RunArgs {
    fn augment_args(command: Command) -> Command {
        shape::like_docker(command, Flags::augment_args)
    }

    fn augment_args_for_update(command: Command) -> Command {
        shape::like_docker(command, Flags::augment_args_for_update)
    }
}
