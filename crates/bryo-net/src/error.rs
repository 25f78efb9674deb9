// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with networks.

use std::fmt;

/// The result of a network operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `pasta` is not installed.
    NoPasta,
    /// `/dev/net/tun` is missing.
    NoTun,
    /// `/dev/net/tun` is closed to the ids with which the helper program runs.
    TunClosed,
    /// The host itself has no way out.
    NoRoute,
    /// A port of the host that was asked for is in use.
    PortInUse,
    /// A port of the host that was asked for is below those that are everybody's.
    LowPort(u16),
    /// An address on which a port was to be published is none of the host, or none that the container can have.
    Address,
    /// The installed helper program cannot do what was asked.
    Unsupported,
    /// The helper program failed.
    Helper,
    /// A network of several containers could not be set up.
    Switch,
}

/// A failure: operation, object, cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Tells which kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
