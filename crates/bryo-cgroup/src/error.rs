// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with control groups.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of an operation on control groups.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Kind {
    /// Control groups are version 1 here, or there are none.
    NoCgroup2,
    /// No group is the caller's, and there is no systemd to ask for one.
    NoPlace,
    /// systemd runs, and the caller has no manager of its own.
    NoManager,
    /// A controller is not delegated to the caller.
    NotDelegated,
    /// The kernel does not have a controller, or a part of it.
    NotInKernel,
    /// The kernel does not account for swap.
    NoSwap,
    /// The spec asks for what control groups of version 2 do not do.
    Unsupported,
    /// The kernel or systemd refuses, or the kernel has something else than was written.
    Refused,
    /// The caller wanted no more.
    Interrupted,
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

    /// Returns what the kernel answered, if it was the kernel.
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
        Self::caused(Kind::System, "cannot use control groups", source)
    }
}
