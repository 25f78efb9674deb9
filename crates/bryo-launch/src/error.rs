// SPDX-License-Identifier: Apache-2.0
//! What can go wrong between a plan and a process.

use std::fmt;

/// The result of a launch operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The plan asks for something the launcher does not do, or contradicts itself.
    InvalidPlan,
    /// The host refuses a user namespace or its map.
    Identity,
    /// The kernel refuses a mount although the namespace was given: a late denial, as by AppArmor.
    MountDenied,
    /// A mount or the root file system could not be set up.
    RootFs,
    /// A path of the host that was asked for cannot be opened.
    Source,
    /// A protection could not be applied.
    Confinement,
    /// The program does not exist in the container.
    NotFound,
    /// The program exists and cannot be executed.
    NotExecutable,
    /// The working directory cannot be entered.
    WorkingDirectory,
    /// The process ended before it could say why.
    Lost,
    /// Another system call failed.
    System,
}

impl Kind {
    /// All kinds, in the order of their codes on the wire.
    const ALL: [Self; 11] = [
        Self::InvalidPlan,
        Self::Identity,
        Self::MountDenied,
        Self::RootFs,
        Self::Source,
        Self::Confinement,
        Self::NotFound,
        Self::NotExecutable,
        Self::WorkingDirectory,
        Self::Lost,
        Self::System,
    ];
}

/// A failure: operation, object, cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    errno: Option<i32>,
}

impl Error {
    /// Makes an error without a system call behind it.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), errno: None }
    }

    /// Makes an error of a failed system call.
    pub(crate) fn sys(kind: Kind, what: impl fmt::Display, source: &bryo_sys::Error) -> Self {
        Self { kind, message: format!("{what}: {source}"), errno: Some(source.errno().raw_os_error()) }
    }

    /// Tells which kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the errno at the root of the failure, if a system call is.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// Packs the error into a message for the parent.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let code = Kind::ALL.iter().position(|k| *k == self.kind).unwrap_or(0);
        let mut bytes = vec![b'F', u8::try_from(code).unwrap_or(0)];
        bytes.extend(self.errno.unwrap_or(0).to_ne_bytes());
        // A message longer than the reader's buffer would be cut in the middle of nowhere; cut it here.
        bytes.extend(self.message.as_bytes().iter().take(crate::sync::MAX_MESSAGE - 16));
        bytes
    }

    /// Unpacks a message of [`Error::encode`].
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let kind = bytes.get(1).and_then(|c| Kind::ALL.get(usize::from(*c))).copied().unwrap_or(Kind::Lost);
        let errno = bytes.get(2..6).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
        let message = String::from_utf8_lossy(bytes.get(6..).unwrap_or_default()).into_owned();
        Self { kind, message, errno: (errno != 0).then_some(errno) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<bryo_sys::Error> for Error {
    fn from(source: bryo_sys::Error) -> Self {
        Self::sys(Kind::System, "cannot set the container up", &source)
    }
}

impl From<bryo_identity::Error> for Error {
    fn from(source: bryo_identity::Error) -> Self {
        let errno = source.errno().map(bryo_sys::Errno::raw_os_error);
        Self { kind: Kind::Identity, message: source.to_string(), errno }
    }
}

/// Adds what was being done to a failed system call.
pub(crate) trait Context<T> {
    /// Says what was attempted, in words that are only put together on failure.
    fn context(self, kind: Kind, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for bryo_sys::Result<T> {
    fn context(self, kind: Kind, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::sys(kind, what(), &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way_to_the_parent() {
        let error = Error { kind: Kind::NotFound, message: "no such program: \u{1b}[31m".into(), errno: Some(2) };
        let back = Error::decode(&error.encode());
        assert_eq!((back.kind(), back.errno(), back.to_string()), (Kind::NotFound, Some(2), error.to_string()));
        assert_eq!(Error::decode(b"").kind(), Kind::Lost);
    }
}
