// SPDX-License-Identifier: Apache-2.0
//! The crate's error: what was attempted, on which object, and why it failed.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// The result of every fallible operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate. `Display` names the operation and its object; `source()` is the cause.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    what: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What sort of failure it is: what a caller may branch on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// No image, blob, layer or file of that name.
    NotFound,
    /// A name which is not an image reference or transport, or which fits several images.
    InvalidReference,
    /// A digest outside the strict grammar.
    InvalidDigest,
    /// The registry refused the credentials, or wants some.
    Unauthorized,
    /// The registry cannot be reached.
    Unreachable,
    /// The registry answered with an error or against its protocol.
    Registry,
    /// Bytes are not what their digest or declared size says.
    DigestMismatch,
    /// An archive, manifest or configuration that is truncated, malformed or ambiguous.
    Corrupt,
    /// One of the limits on images was exceeded.
    Limit,
    /// A path tried to leave the root it belongs to.
    EscapesRoot,
    /// A media type or compression this program does not handle, or a lie about it.
    UnsupportedMedia,
    /// No image for the platform asked for.
    Platform,
    /// The disk or the quota is full.
    NoSpace,
    /// Any other failure of the operating system.
    Io,
    /// The id map cannot hold an owner, or the user namespace could not be made.
    Identity,
    /// Another process holds what is needed.
    Busy,
}

impl Kind {
    const ALL: [(Self, &'static str); 16] = [
        (Self::NotFound, "not-found"),
        (Self::InvalidReference, "invalid-reference"),
        (Self::InvalidDigest, "invalid-digest"),
        (Self::Unauthorized, "unauthorized"),
        (Self::Unreachable, "unreachable"),
        (Self::Registry, "registry"),
        (Self::DigestMismatch, "digest-mismatch"),
        (Self::Corrupt, "corrupt"),
        (Self::Limit, "limit"),
        (Self::EscapesRoot, "escapes-root"),
        (Self::UnsupportedMedia, "unsupported-media"),
        (Self::Platform, "platform"),
        (Self::NoSpace, "no-space"),
        (Self::Io, "io"),
        (Self::Identity, "identity"),
        (Self::Busy, "busy"),
    ];

    /// Returns a stable name, as sent over the worker's socket.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("io", |(_, name)| name)
    }

    /// Returns the kind of that name; `Io` for a name nobody knows.
    pub(crate) fn from_name(name: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == name).map_or(Self::Io, |(kind, _)| *kind)
    }
}

impl Error {
    /// Makes an error from its kind and a lower-case "operation object" text.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, what: what.into(), source: None }))
    }

    /// Makes an error from an input/output error; a full disk or quota becomes [`Kind::NoSpace`], and an error of this
    /// crate, which a reader or writer of ours has put there, keeps its kind.
    pub fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let source = match source.into().downcast::<Self>() {
            Ok(inner) => return inner.within(what),
            Err(source) => source,
        };
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
            _ => Kind::Io,
        };
        Self::new(kind, what).with_source(source)
    }

    /// Makes an error from a failed read of a stream that this crate decompresses or checks on the way: an error of
    /// this crate keeps its kind, malformed or truncated data is [`Kind::Corrupt`].
    pub(crate) fn from_read(what: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Kind::Corrupt,
            _ => Kind::Io,
        };
        match source.downcast::<Self>() {
            Ok(inner) => inner.within(what),
            // Decoders report damage in their own words, the system by a number.
            Err(source) if source.to_string().contains("too much memory") => {
                Self::new(Kind::Limit, what).with_source(source)
            }
            Err(source) if kind == Kind::Corrupt || source.raw_os_error().is_none() => {
                Self::new(Kind::Corrupt, what).with_source(source)
            }
            Err(source) => Self::io(what, source),
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts an outer operation around this error, of the same kind.
    #[must_use]
    pub fn within(self, what: impl Into<String>) -> Self {
        Self::new(self.kind(), what).with_source(self)
    }

    /// Returns what sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the text with all causes, joined by colons.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| {
            let source: &(dyn StdError + 'static) = source.as_ref();
            source
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_an_error_of_ours_keep_their_kind() {
        let full = io::Error::from_raw_os_error(28);
        assert_eq!(Error::io("write blob", full).kind(), Kind::NoSpace);
        let other = io::Error::from_raw_os_error(13);
        assert_eq!(Error::io("write blob", other).kind(), Kind::Io);
        let ours = io::Error::other(Error::new(Kind::DigestMismatch, "verify blob"));
        assert_eq!(Error::io("write blob", ours).kind(), Kind::DigestMismatch);
    }

    #[test]
    fn kinds_survive_their_names() {
        for (kind, name) in Kind::ALL {
            assert_eq!(Kind::from_name(name), kind);
            assert_eq!(kind.name(), name);
        }
    }

    #[test]
    fn the_chain_has_every_cause() {
        let error = Error::new(Kind::Corrupt, "parse header")
            .with_source(io::Error::other("bad checksum"))
            .within("unpack layer");
        assert_eq!(error.kind(), Kind::Corrupt);
        assert_eq!(error.chain(), "unpack layer: parse header: bad checksum");
    }
}
