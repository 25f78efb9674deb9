// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with identities.

use std::fmt;

/// The result of an operation on identities.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The host refuses to make a user namespace.
    NoUserNamespace,
    /// The maps could not be written.
    MapRefused,
    /// An id is outside what the host gives to this user.
    NotMapped,
    /// A file that describes ids could not be read.
    Unreadable,
    /// The process has threads where it must not have any.
    Threaded,
    /// Another system call failed.
    System,
}

/// A failure: operation, object, cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<bryo_sys::Error>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn caused(kind: Kind, message: impl Into<String>, source: bryo_sys::Error) -> Self {
        Self { kind, message: message.into(), source: Some(source) }
    }

    /// Tells which kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the errno at the root of the failure, if a system call is.
    pub fn errno(&self) -> Option<bryo_sys::Errno> {
        self.source.as_ref().map(bryo_sys::Error::errno)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

impl From<bryo_sys::Error> for Error {
    fn from(source: bryo_sys::Error) -> Self {
        Self::caused(Kind::System, "system call failed", source)
    }
}
