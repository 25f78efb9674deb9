// SPDX-License-Identifier: Apache-2.0
//! What can go wrong with containers.

use std::fmt;
use std::path::Path;

/// The result of an engine operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// An option, or a combination of options, makes no sense.
    InvalidOption,
    /// An option asks for something that cannot be enforced or is not offered here; nothing was started.
    Unsupported,
    /// The configuration file is wrong.
    InvalidConfig,
    /// A policy file is wrong.
    InvalidPolicy,
    /// The policy does not let it start.
    Policy,
    /// No such user or group in the image.
    UnknownUser,
    /// No such container.
    NoSuchContainer,
    /// No such network.
    NoSuchNetwork,
    /// A network that containers are in.
    NetworkInUse,
    /// No such volume.
    NoSuchVolume,
    /// A container names the volume.
    VolumeInUse,
    /// A name that stands for more than one container.
    Ambiguous,
    /// The name is taken.
    NameInUse,
    /// The container is running.
    Running,
    /// The container is not running.
    NotRunning,
    /// The container is paused, and nothing can run in it.
    Paused,
    /// The container is not paused.
    NotPaused,
    /// A file of the store is damaged.
    Corrupt,
    /// The disk is full.
    NoSpace,
    /// A host path that was asked for does not exist or cannot be used.
    Source,
    /// The image says nothing about what to run.
    NoCommand,
    /// A signal of this number ended the start.
    Interrupted(i32),
    /// Another input or output error.
    Io,
    /// From the images.
    Image(bryo_image::Kind),
    /// From the identities.
    Identity(bryo_identity::Kind),
    /// From the launch.
    Launch(bryo_launch::Kind),
    /// From the network.
    Network(bryo_net::Kind),
    /// From the control groups.
    Cgroup(bryo_cgroup::Kind),
    /// From the packages.
    Packages(bryo_packages::Kind),
}

/// A failure: operation, object, cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    errno: Option<i32>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), errno: None, source: None }
    }

    /// Makes an error that another process has told.
    pub(crate) fn told(kind: Kind, message: String, errno: Option<i32>) -> Self {
        Self { kind, message, errno, source: None }
    }

    /// Makes an error of a failed file operation on a path of the host.
    pub fn io(operation: &str, path: &Path, source: std::io::Error) -> Self {
        let full = matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        Self {
            kind: if full { Kind::NoSpace } else { Kind::Io },
            message: format!("{operation} {}", path.display()),
            errno: source.raw_os_error(),
            source: Some(Box::new(source)),
        }
    }

    /// Returns the text with all causes, each once.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let words = cause.to_string();
            if !text.contains(&words) {
                text = format!("{text}: {words}");
            }
            next = cause.source();
        }
        text
    }

    /// Says what was being done, before what went wrong with it.
    pub(crate) fn within(self, what: &str) -> Self {
        let message = if self.message.is_empty() { what.to_owned() } else { format!("{what}: {}", self.message) };
        Self { message, ..self }
    }

    /// Tells which kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the errno at the root of the failure, if a system call is.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) if self.message.is_empty() => source.fmt(f),
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<bryo_packages::Error> for Error {
    fn from(e: bryo_packages::Error) -> Self {
        Self { kind: Kind::Packages(e.kind()), message: String::new(), errno: None, source: Some(Box::new(e)) }
    }
}

impl From<bryo_image::Error> for Error {
    fn from(e: bryo_image::Error) -> Self {
        Self { kind: Kind::Image(e.kind()), message: String::new(), errno: None, source: Some(Box::new(e)) }
    }
}

impl From<bryo_identity::Error> for Error {
    fn from(e: bryo_identity::Error) -> Self {
        let errno = e.errno().map(bryo_sys::Errno::raw_os_error);
        Self { kind: Kind::Identity(e.kind()), message: String::new(), errno, source: Some(Box::new(e)) }
    }
}

impl From<bryo_launch::Error> for Error {
    fn from(e: bryo_launch::Error) -> Self {
        Self { kind: Kind::Launch(e.kind()), message: String::new(), errno: e.errno(), source: Some(Box::new(e)) }
    }
}

impl From<bryo_net::Error> for Error {
    fn from(e: bryo_net::Error) -> Self {
        Self { kind: Kind::Network(e.kind()), message: String::new(), errno: None, source: Some(Box::new(e)) }
    }
}

impl From<bryo_cgroup::Error> for Error {
    fn from(e: bryo_cgroup::Error) -> Self {
        let errno = e.errno().map(bryo_sys::Errno::raw_os_error);
        Self { kind: Kind::Cgroup(e.kind()), message: String::new(), errno, source: Some(Box::new(e)) }
    }
}

impl From<bryo_sys::Error> for Error {
    fn from(e: bryo_sys::Error) -> Self {
        let errno = e.errno();
        let kind = if errno == bryo_sys::Errno::NOSPC { Kind::NoSpace } else { Kind::Io };
        Self { kind, message: String::new(), errno: Some(errno.raw_os_error()), source: Some(Box::new(e)) }
    }
}
