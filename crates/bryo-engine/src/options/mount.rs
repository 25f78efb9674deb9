// SPDX-License-Identifier: Apache-2.0
//! `-v`, `--mount` and `--tmpfs`. Source: Docker's `docker run` reference.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::container::Id;
use crate::error::{Error, Kind, Result};
use crate::options::parse::size;

/// Something mounted at a place the caller chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// Where: an absolute path inside.
    pub target: PathBuf,
    /// Mounts it read-only.
    pub read_only: bool,
    /// Makes the run user the caller, so that files come out with the right owner.
    pub me: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A file or directory of the host, absolute; with the mounts below it.
    Bind(PathBuf),
    /// A named volume.
    Volume(String),
    /// A volume without a name of the caller's: it goes with the container.
    Anonymous(String),
    /// Memory: size in bytes and mode, if they were given.
    Tmpfs {
        /// The most it holds, in bytes.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: Option<u32>,
        /// Lets programs on it be executed.
        exec: bool,
    },
}

impl Source {
    /// Makes an anonymous volume, whose name nobody else has.
    fn anonymous() -> Self {
        Self::Anonymous(Id::random().as_str().to_owned())
    }

    /// Returns the name of the volume that it is, if it is one.
    pub fn volume(&self) -> Option<&str> {
        match self {
            Self::Volume(name) | Self::Anonymous(name) => Some(name),
            Self::Bind(_) | Self::Tmpfs { .. } => None,
        }
    }
}

impl Mount {
    /// Parses `-v [SOURCE:]TARGET[:OPTIONS]`. A source with a slash is a path (relative ones are resolved against
    /// `here`), one without is a volume's name; without a source the volume is anonymous.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for anything that is not understood.
    pub fn parse_volume(text: &str, here: &Path) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::InvalidOption, format!("invalid volume {text:?}: {why}"));
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [target] => (None, *target, ""),
            [source, target] => (Some(*source), *target, ""),
            [source, target, options] => (Some(*source), *target, *options),
            _ => return Err(bad("expected [SOURCE:]TARGET[:OPTIONS]")),
        };
        let target = target_path(target)?;
        let source = source.map_or_else(|| Ok(Source::anonymous()), |source| parse_source(source, here))?;
        let mut mount = Self { source, target, read_only: false, me: false };
        for option in options.split(',').filter(|o| !o.is_empty()) {
            match option {
                "ro" | "readonly" => mount.read_only = true,
                "rw" | "rprivate" | "private" => mount.read_only &= option != "rw",
                "me" => mount.me = true,
                // SELinux labels: nothing to relabel for where there is no SELinux policy to apply.
                "z" | "Z" => (),
                "U" => return Err(bad("\"U\" would give the host's files away; \"me\" maps their owner instead")),
                "shared" | "rshared" | "slave" | "rslave" => return Err(bad("mounts are never propagated")),
                other => return Err(bad(&format!("unknown option {other:?}"))),
            }
        }
        Ok(mount)
    }

    /// Parses `--mount type=bind|volume|tmpfs,source=...,target=...[,...]`.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for anything that is not understood.
    pub fn parse_mount(text: &str, here: &Path) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::InvalidOption, format!("invalid mount {text:?}: {why}"));
        let (mut kind, mut source, mut target) = ("volume", None, None);
        let (mut read_only, mut me, mut limit, mut mode) = (false, false, None, None);
        for field in text.split(',') {
            let (key, value) = field.split_once('=').map_or((field, None), |(k, v)| (k, Some(v)));
            let flag = || match value {
                None | Some("true" | "1") => Ok(true),
                Some("false" | "0") => Ok(false),
                Some(_) => Err(bad(&format!("{key} is true or false"))),
            };
            match (key, value) {
                ("type", Some(value)) => kind = value,
                ("source" | "src", Some(value)) => source = Some(value),
                ("target" | "dst" | "destination", Some(value)) => target = Some(value),
                ("readonly" | "ro", _) => read_only = flag()?,
                ("me", _) => me = flag()?,
                ("tmpfs-size", Some(value)) => limit = Some(size(value)?),
                ("tmpfs-mode", Some(value)) => mode = Some(octal(value).ok_or_else(|| bad("tmpfs-mode is octal"))?),
                _ => return Err(bad(&format!("unknown field {field:?}"))),
            }
        }
        let target = target_path(target.ok_or_else(|| bad("target is missing"))?)?;
        let source = match (kind, source) {
            ("bind", Some(source)) => Source::Bind(bind_path(source, here)?),
            ("bind", None) => return Err(bad("source is missing")),
            ("volume", Some(source)) => Source::Volume(volume_name(source)?),
            ("volume", None) => Source::anonymous(),
            ("tmpfs", None) => Source::Tmpfs { size: limit, mode, exec: false },
            ("tmpfs", Some(_)) => return Err(bad("tmpfs has no source")),
            (other, _) => return Err(bad(&format!("unknown type {other:?}: bind, volume and tmpfs are known"))),
        };
        Ok(Self { source, target, read_only, me })
    }

    /// Parses `--tmpfs TARGET[:OPTIONS]`.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for anything that is not understood.
    pub fn parse_tmpfs(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::InvalidOption, format!("invalid tmpfs {text:?}: {why}"));
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let (mut limit, mut mode, mut exec, mut read_only) = (None, None, false, false);
        for option in options.split(',').filter(|o| !o.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("size", value) => limit = Some(size(value)?),
                ("mode", value) => mode = Some(octal(value).ok_or_else(|| bad("mode is octal"))?),
                ("exec", _) => exec = true,
                ("ro", _) => read_only = true,
                ("rw" | "noexec" | "nosuid" | "nodev", _) => (),
                (other, _) => return Err(bad(&format!("unknown option {other:?}"))),
            }
        }
        Ok(Self {
            source: Source::Tmpfs { size: limit, mode, exec },
            target: target_path(target)?,
            read_only,
            me: false,
        })
    }
}

fn parse_source(text: &str, here: &Path) -> Result<Source> {
    let path = text.starts_with(['/', '.', '~']) || text.contains('/');
    if path { Ok(Source::Bind(bind_path(text, here)?)) } else { Ok(Source::Volume(volume_name(text)?)) }
}

fn bind_path(text: &str, here: &Path) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(Error::new(Kind::InvalidOption, "a bind mount's source is empty"));
    }
    // The host's own path, in the caller's words: the kernel resolves it with the caller's rights.
    let path = here.join(text);
    let resolved = std::fs::canonicalize(&path);
    resolved.map_err(|e| {
        let why = format!("cannot share {}: {e}; make it first, nothing is created on the host", path.display());
        Error::new(Kind::Source, why)
    })
}

/// Volume names. Source: Docker's `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
pub(crate) fn volume_name(text: &str) -> Result<String> {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest && text.len() <= 128 {
        return Ok(text.to_owned());
    }
    Err(Error::new(Kind::InvalidOption, format!("invalid volume name {text:?}: use letters, digits, '_', '.' and '-'")))
}

/// Where something may be mounted: anywhere but on the root, in what the kernel itself shows, and over devices.
fn target_path(text: &str) -> Result<PathBuf> {
    let bad = |why: &str| Error::new(Kind::InvalidOption, format!("invalid mount target {text:?}: {why}"));
    let path = Path::new(text);
    if !path.is_absolute() || path.components().any(|c| c == Component::ParentDir) {
        return Err(bad("it must be an absolute path without \"..\""));
    }
    let clean: PathBuf = path.components().collect();
    if clean == Path::new("/") {
        return Err(bad("it cannot be the root"));
    }
    if clean.starts_with("/proc") || clean.starts_with("/sys") {
        return Err(bad("it cannot lie in /proc or /sys"));
    }
    // Devices that are shared cannot be opened inside; what is left are memory and the socket of the system's log.
    if clean.starts_with("/dev") && !clean.starts_with("/dev/shm") && clean != Path::new("/dev/log") {
        return Err(bad("it cannot lie in /dev, but for /dev/shm and /dev/log"));
    }
    Ok(clean)
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(text: &str) -> Result<Mount> {
        Mount::parse_volume(text, Path::new("/tmp"))
    }

    #[test]
    fn paths_are_bound_and_words_are_volumes() {
        assert_eq!(volume("/usr:/x:ro").unwrap().source, Source::Bind("/usr".into()));
        assert!(volume("/usr:/x:ro").unwrap().read_only);
        assert_eq!(
            volume(".:/work:me").unwrap(),
            Mount { source: Source::Bind("/tmp".into()), target: "/work".into(), read_only: false, me: true }
        );
        assert_eq!(volume("data:/var/lib/x").unwrap().source, Source::Volume("data".into()));
    }

    #[test]
    fn a_target_alone_is_an_anonymous_volume() {
        let one = volume("/data").unwrap();
        let other = Mount::parse_mount("target=/data,readonly", Path::new("/")).unwrap();
        for mount in [&one, &other] {
            assert_eq!(mount.target, Path::new("/data"));
            assert!(mount.source.volume().is_some_and(|name| name.len() == 64), "{mount:?}");
            assert!(matches!(mount.source, Source::Anonymous(_)));
        }
        assert_ne!(one.source, other.source);
        assert!(other.read_only && !one.read_only);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "",
            "rel",
            "/usr:rel",
            "/usr:/a/../b",
            "/usr:/",
            "/usr:/proc",
            "/usr:/sys/fs",
            "/usr:/dev",
            "/usr:/dev/pts",
            "/usr:/x:wat",
            "/usr:/x:U",
            "/usr:/x:rshared",
            "-x:/y",
            "a b:/y",
            "/no/such:/x",
            "/usr:/x:ro:z",
        ] {
            assert!(volume(bad).is_err(), "{bad}");
        }
        for bad in [
            "type=bind,target=/x",
            "type=what,target=/x",
            "source=x",
            "type=tmpfs,source=a,target=/x",
            "type=bind,source=/usr,target=/x,bind-propagation=shared",
            "type=tmpfs,target=/x,tmpfs-mode=9",
        ] {
            assert!(Mount::parse_mount(bad, Path::new("/")).is_err(), "{bad}");
        }
    }

    #[test]
    fn tmpfs_takes_dockers_options() {
        let mount = Mount::parse_tmpfs("/cache:size=64m,mode=1777,exec").unwrap();
        assert_eq!(mount.source, Source::Tmpfs { size: Some(64 << 20), mode: Some(0o1777), exec: true });
        assert!(Mount::parse_tmpfs("/cache:uid=0").is_err());
    }
}
