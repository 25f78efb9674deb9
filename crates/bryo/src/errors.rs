// SPDX-License-Identifier: Apache-2.0
//! The end of a command that failed: its exit code, one line that says what and why, one line that says what to try.
//!
//! This is the only place where kinds of errors of the libraries become exit codes and hints.

use std::process::ExitCode;

use bryo_engine::doctor;
use bryo_engine::error::Kind;

use crate::output;

/// The result of what the command line does.
pub type Result<T> = std::result::Result<T, Error>;

/// The exit code of a command line that was not understood, as Docker has it.
pub const USAGE: u8 = 125;
/// The exit code of a payload that exists and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// The exit code of a payload that does not exist.
const NOT_FOUND: u8 = 127;
/// The exit code when nobody reads standard output any more: that of a program that `SIGPIPE` ends.
const BROKEN_PIPE: u8 = 141;

/// Why a command failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A failure of the libraries.
    Engine(bryo_engine::error::Error),
    /// The flags were not understood.
    Usage(clap::Error),
    /// A failure of the command line itself: operation, object and cause, and perhaps what to try.
    Message(String, Option<String>),
    /// Standard output failed.
    Output(std::io::Error),
    /// Some of several objects failed; each was reported when it did.
    Reported,
}

impl Error {
    /// Makes a failure of the command line itself.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into(), None)
    }

    /// Makes a failure from an input or output error.
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::message(format!("{what}: {error}"))
    }

    /// Adds what to try.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Message(text, _) => Self::Message(text, Some(hint.into())),
            other => other,
        }
    }

    /// Prints the failure and what to try, and returns the exit code; `other` is the command's code for what has none
    /// of its own.
    pub fn report(&self, other: u8) -> ExitCode {
        self.print();
        ExitCode::from(self.code(other))
    }

    /// Returns the failure in words; there are none for what has been told, or what nobody is there to read.
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Self::Engine(error) => with_reason(chain(error), error.kind()),
            Self::Usage(error) => error.to_string(),
            Self::Message(text, _) => text.clone(),
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return None,
            Self::Output(error) => format!("write to standard output: {error}"),
            Self::Reported => return None,
        })
    }

    /// Prints the failure and what to try.
    pub fn print(&self) {
        let Some(text) = self.text() else { return };
        output::complain(&format!("bryo: {}\n", cut(&output::line(&text))));
        if let Some(hint) = self.remedy() {
            output::complain(&format!("try: {}\n", output::line(&hint)));
        }
    }

    fn code(&self, other: u8) -> u8 {
        match self {
            Self::Engine(error) => match error.kind() {
                Kind::Launch(bryo_launch::Kind::NotFound) => NOT_FOUND,
                Kind::Launch(bryo_launch::Kind::NotExecutable) => NOT_EXECUTABLE,
                Kind::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(other),
                _ => other,
            },
            Self::Usage(_) => USAGE,
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => BROKEN_PIPE,
            _ => other,
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Engine(error) => host_remedy(error).or_else(|| hint(error.kind()).map(str::to_owned)),
            Self::Message(_, hint) => hint.clone(),
            _ => None,
        }
    }
}

/// Asks `doctor` whether the cause lies in this host, so that both say the same words.
fn host_remedy(error: &bryo_engine::error::Error) -> Option<String> {
    let source = match (std::error::Error::source(error), error.kind()) {
        (Some(source), _) => source,
        // What a child has reported in words.
        (None, Kind::Launch(_)) => return doctor::explain(error).map(|a| format!("{} ({})", a.remedy, a.cause)),
        (None, _) => return None,
    };
    let advice = if let Some(error) = source.downcast_ref::<bryo_launch::Error>() {
        doctor::explain(error)
    } else if let Some(error) = source.downcast_ref::<bryo_identity::Error>() {
        doctor::explain(error)
    } else if let Some(error) = source.downcast_ref::<bryo_net::Error>() {
        doctor::explain(error)
    } else if let Some(error) = source.downcast_ref::<bryo_cgroup::Error>() {
        doctor::explain(error)
    } else if let Some(error) = source.downcast_ref::<bryo_image::Error>() {
        doctor::explain(error)
    } else {
        None
    };
    advice.map(|advice| format!("{} ({})", advice.remedy, advice.cause))
}

/// What to try after a failure whose cause is in what was asked.
fn hint(kind: Kind) -> Option<&'static str> {
    use bryo_image::Kind as Image;
    Some(match kind {
        Kind::Image(Image::NotFound) => "bryo images, for what is here; bryo pull IMAGE, for what is not",
        Kind::Image(Image::InvalidReference) => "a name like alpine, ghcr.io/owner/name:tag or oci:DIR",
        Kind::Image(Image::InvalidDigest) => "a digest is sha256: and 64 digits from 0 to f",
        Kind::Image(Image::Unauthorized) => {
            "a login in ~/.docker/config.json or $XDG_RUNTIME_DIR/containers/auth.json, as docker login and podman login write it"
        }
        Kind::Image(Image::Unreachable) => {
            "check the host's name and network; --tls-verify=false for a registry without TLS that you trust"
        }
        Kind::Image(Image::Platform) => "--platform OS/ARCH, one that the image has",
        Kind::Image(Image::Limit) => "the limits in the configuration file (bryo config path), if you trust the image",
        Kind::Image(Image::DigestMismatch) => "once more; if it stays, the image is damaged where it comes from",
        Kind::Image(Image::Corrupt) => "another copy: archives are as docker save, podman save or bryo save write them",
        Kind::Image(Image::NoSpace) | Kind::NoSpace => "bryo gc, and bryo df for what takes the space",
        Kind::Image(Image::Busy) => "again when the other bryo has ended, or with --force",
        Kind::InvalidConfig => "bryo config init writes a file with every key explained; bryo config path says where",
        Kind::InvalidPolicy => "bryo policy init writes a file with every rule explained",
        Kind::Policy => "bryo policy check --explain IMAGE, or run --explain, for what every rule says",
        Kind::UnknownUser => "--user UID, or a name that is in the image's /etc/passwd",
        Kind::NoSuchContainer => "bryo ps -a",
        Kind::NoSuchNetwork => "bryo network ls; bryo network create NAME",
        Kind::NetworkInUse => "bryo rm --force CONTAINER first",
        Kind::NoSuchVolume => "bryo volume ls",
        Kind::VolumeInUse => "bryo rm, for the containers that name it",
        Kind::Ambiguous => "more digits of the id",
        Kind::NameInUse => "another --name, or bryo rm NAME first",
        Kind::Running => "bryo rm --force, which ends it",
        Kind::Paused => "bryo unpause NAME",
        Kind::NotRunning => "bryo ps -a, for what runs; bryo start NAME",
        Kind::NoCommand => "a command after the image's name",
        Kind::Network(bryo_net::Kind::PortInUse) => "another port of the host; ss -lntup shows who has which",
        Kind::Network(bryo_net::Kind::Address) => "an address of this host (ip addr), or none at all",
        Kind::Network(bryo_net::Kind::Unsupported) => "no address, which is all of them; a newer pasta can do more",
        Kind::Launch(bryo_launch::Kind::NotFound) => "--entrypoint '' if the image's entrypoint is in the way",
        _ => return None,
    })
}

/// The length to which messages are cut: what a hostile file or server says may be as long as it likes.
const MESSAGE_MAX: usize = 600;

fn cut(text: &str) -> String {
    if text.chars().count() <= MESSAGE_MAX {
        return text.to_owned();
    }
    text.chars().take(MESSAGE_MAX).chain(['…']).collect()
}

/// Adds the reason where the kind alone tells it.
fn with_reason(text: String, kind: Kind) -> String {
    let lower = text.to_lowercase();
    match kind {
        Kind::Image(bryo_image::Kind::NotFound) if !lower.contains("not found") && !lower.contains("no such") => {
            text + ": not found"
        }
        Kind::Image(bryo_image::Kind::DigestMismatch) if !lower.contains("digest") => {
            text + ": the digest does not match"
        }
        _ => text,
    }
}

/// Joins the causes of a failure, each once: some errors tell their causes themselves.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

macro_rules! from_libraries {
    ($($error:ty),*) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::Engine(error.into())
            }
        })*
    };
}

from_libraries!(
    bryo_engine::error::Error,
    bryo_image::Error,
    bryo_identity::Error,
    bryo_launch::Error,
    bryo_net::Error,
    bryo_packages::Error
);

impl From<clap::Error> for Error {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

#[cfg(test)]
mod tests {
    use bryo_engine::error::Error as Engine;

    use super::*;

    #[test]
    fn the_payloads_failures_have_codes_of_their_own() {
        for (kind, code) in [
            (Kind::Launch(bryo_launch::Kind::NotFound), 127),
            (Kind::Launch(bryo_launch::Kind::NotExecutable), 126),
            (Kind::Launch(bryo_launch::Kind::Source), 125),
            (Kind::Image(bryo_image::Kind::NotFound), 125),
            (Kind::UnknownUser, 125),
            (Kind::Interrupted(15), 143),
        ] {
            assert_eq!(Error::Engine(Engine::new(kind, "x")).code(125), code, "{kind:?}");
        }
        assert_eq!(Error::message("x").code(1), 1);
        assert_eq!(Error::Output(std::io::ErrorKind::BrokenPipe.into()).code(1), 141);
        assert_eq!(Error::Output(std::io::ErrorKind::StorageFull.into()).code(1), 1);
    }

    #[test]
    fn causes_are_told_once() {
        let inner = bryo_image::Error::new(bryo_image::Kind::NotFound, "find image \"x\"").within("pull x");
        let error = Engine::from(inner);
        assert_eq!(with_reason(chain(&error), error.kind()), "pull x: find image \"x\": not found");
        let io = bryo_image::Error::io("open /x", std::io::Error::from_raw_os_error(2));
        assert_eq!(chain(&Engine::from(io)), "open /x: No such file or directory (os error 2)");
    }

    #[test]
    fn messages_have_an_end() {
        assert_eq!(cut(&"é".repeat(10_000)).chars().count(), MESSAGE_MAX + 1);
    }
}
