// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with a profile.

use std::fmt;

/// A profile that cannot be obeyed in full, so that there is no program for it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
}

/// The reason why a profile was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A call that the profile refuses has a name that no table knows: it would be permitted.
    UnknownSyscall,
    /// An errno above 4095, or one given for an action that returns none.
    InvalidErrno,
    /// An argument's index or mask with no meaning.
    InvalidArgument,
    /// An action that this launcher cannot carry out.
    Unsupported,
    /// More instructions than the kernel takes.
    TooLong,
}

impl Error {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Tells why the profile was refused.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "compile seccomp profile: {}", self.message)
    }
}

impl std::error::Error for Error {}
