// SPDX-License-Identifier: Apache-2.0
//! Why an image wants root: each reason with its evidence and its remedy.
//!
//! Guarantees: nothing of the image is executed; the same image gives the same reasons in the same order. Trusts nothing
//! it reads. What scripts do is read from their text: what a program that is no script does is not known here.

mod files;
mod given;
pub(crate) mod guard;
mod services;
mod start;
mod taken;
mod user;

use bryo_image::members::Entry;
use serde::Serialize;

pub(crate) use files::is_state;
pub use given::given;
pub use start::{Call, drops};
pub use taken::taken_out;

use crate::facts::image::Image;
use crate::judge::image::effective;

/// The kind of a reason. Its word never changes its meaning.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// There is no `USER`.
    NoUser,
    /// `USER` is root.
    UserRoot,
    /// `USER` is a name.
    UserNamed,
    /// The user's group is 0.
    GroupZero,
    /// Engines do not agree on `USER`.
    UserAmbiguous,
    /// The start changes the user.
    DropsPrivileges,
    /// The start becomes root.
    GainsPrivileges,
    /// The start changes owners.
    ChangesOwner,
    /// The start does what only root may.
    Privileged,
    /// The start installs or fetches software.
    Installs,
    /// The start writes outside of state directories.
    WritesOutside,
    /// A service's configuration changes the user.
    UserDirective,
    /// A port below 1024.
    LowPort,
    /// A state directory that the user cannot write to.
    StateOwner,
    /// A set-user-id program.
    SetUid,
    /// A set-group-id program.
    SetGid,
    /// A program with capabilities.
    FileCapabilities,
}

impl Cause {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoUser => "no-user",
            Self::UserRoot => "user-root",
            Self::UserNamed => "user-named",
            Self::GroupZero => "group-zero",
            Self::UserAmbiguous => "user-ambiguous",
            Self::DropsPrivileges => "drops-privileges",
            Self::GainsPrivileges => "gains-privileges",
            Self::ChangesOwner => "changes-owner",
            Self::Privileged => "privileged",
            Self::Installs => "installs",
            Self::WritesOutside => "writes-outside",
            Self::UserDirective => "user-directive",
            Self::LowPort => "low-port",
            Self::StateOwner => "state-owner",
            Self::SetUid => "set-uid",
            Self::SetGid => "set-gid",
            Self::FileCapabilities => "file-capabilities",
        }
    }
}

/// Who has something to do about a reason.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// The image's author: no layer on top can help.
    Author,
    /// `bryo run` does it for a container, `bryo harden` for good.
    Harden,
    /// Nobody: it does no harm without root.
    Nobody,
}

impl Remedy {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Author => "author",
            Self::Harden => "harden",
            Self::Nobody => "nobody",
        }
    }
}

/// One reason.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reason {
    /// Its kind.
    pub cause: Cause,
    /// What shows it.
    pub evidence: String,
    /// The file, absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The file's owner inside, as `uid:gid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The file's mode, in octal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The package that the file is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Who has something to do.
    pub by: Remedy,
    /// What to do.
    pub remedy: String,
}

impl Reason {
    fn new(cause: Cause, evidence: impl Into<String>, by: Remedy, remedy: impl Into<String>) -> Self {
        let (evidence, remedy) = (evidence.into(), remedy.into());
        Self { cause, evidence, file: None, line: None, owner: None, mode: None, package: None, by, remedy }
    }

    /// Adds the file, with what is known of it.
    fn at(mut self, image: &Image, path: &str, line: Option<usize>) -> Self {
        self.file = Some(format!("/{path}"));
        self.line = line;
        if let Some(file) = image.files.get(path) {
            self.owner = Some(format!("{}:{}", file.uid, file.gid));
            self.mode = Some(format!("{:04o}", file.mode & 0o7777));
        }
        self
    }
}

/// What an image is started with beyond its configuration.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The words, in place of the image's.
    pub words: Option<Vec<String>>,
    /// The user, in place of the image's.
    pub user: Option<String>,
}

/// All reasons of an image: first what its author has to do, last what does no harm.
pub fn reasons(image: &Image, asked: &Asked) -> Vec<Reason> {
    let text = asked.user.as_deref().unwrap_or_else(|| image.text("User"));
    let who = effective(image, text);
    let words = asked.words.clone().unwrap_or_else(|| image.starts());
    let started = start::Started::read(image, &words);
    let mut found = user::reasons(image, text, &who);
    found.extend(start::reasons(image, &started));
    found.extend(services::reasons(image, &started));
    found.extend(files::state(image, &who));
    found.extend(files::set_id(image, &started));
    files::packages(image, &mut found);
    found.sort_by_key(|reason| reason.by);
    found
}

/// Tells how much of a file is read for this, in bytes, beside what an audit reads.
pub fn wanted(path: &str, entry: &Entry) -> u64 {
    if files::is_package_list(path) {
        return files::LIST_MAX;
    }
    let script = entry.mode & 0o111 != 0 && entry.size < (32 << 10) && start::is_script_place(path);
    if script || services::is_configuration(path) { services::FILE_MAX } else { 0 }
}
