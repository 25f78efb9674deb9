// SPDX-License-Identifier: Apache-2.0
//! Values of `bryo build` that only the command line knows.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::str::FromStr;

use bryo_engine::step::Compression;

use crate::errors::{Error, Result};

/// The variable that says which time a reproducible result is of. Source: reproducible-builds.org.
pub const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The longest secret, in bytes. Source: BuildKit's limit.
const SECRET_MAX: u64 = 500 << 10;

/// Looks a variable of the environment up.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads `NAME=VALUE`, or the value of a variable here. A name without a value here is none.
pub fn build_args(list: &[String], variable: Variable<'_>) -> Result<BTreeMap<String, String>> {
    let mut args = BTreeMap::new();
    for text in list {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), variable(text)),
        };
        if name.is_empty() {
            return Err(Error::message(format!("--build-arg {text:?}: NAME=VALUE is expected")));
        }
        if let Some(value) = value {
            args.insert(name.to_owned(), value);
        }
    }
    Ok(args)
}

/// Reads `NAME=VALUE` or `NAME`.
pub fn named(flag: &str, list: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=').unwrap_or((text, "")) {
        ("", _) => Err(Error::message(format!("{flag} {text:?}: NAME=VALUE is expected"))),
        (name, value) => Ok((name.to_owned(), value.to_owned())),
    };
    list.iter().map(pair).collect()
}

/// Reads the time of a reproducible result.
pub fn epoch(args: &BTreeMap<String, String>) -> Result<Option<u64>> {
    let Some(text) = args.get(EPOCH).filter(|text| !text.is_empty()) else { return Ok(None) };
    let seconds = text.parse().ok();
    seconds.map(Some).ok_or_else(|| Error::message(format!("{EPOCH}={text:?}: seconds since 1970 are expected")))
}

/// Reads a date as servers write it, in seconds since 1970. Source: RFC 9110, section 5.6.7.
pub fn http_date(text: &str) -> Option<u64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    u64::try_from(time.as_second()).ok()
}

/// Reads `ID` or `ID=SOCKET`: where agents with keys are.
pub fn agents(list: &[String], variable: Variable<'_>) -> Result<BTreeMap<String, PathBuf>> {
    let agent = |text: &String| {
        let (id, path) = match text.split_once('=') {
            Some((id, path)) => (id, Some(path.to_owned())),
            None => (text.as_str(), None),
        };
        if id.is_empty() {
            return Err(Error::message(format!("--ssh {text:?}: ID or ID=SOCKET is expected")));
        }
        let none = || {
            let what = format!("--ssh {id}: there is no agent: SSH_AUTH_SOCK is not set");
            Error::message(what).hint("eval $(ssh-agent) && ssh-add, or --ssh ID=SOCKET")
        };
        let path = PathBuf::from(path.or_else(|| variable("SSH_AUTH_SOCK")).ok_or_else(none)?);
        let found =
            std::fs::metadata(&path).map_err(|e| Error::io(format!("--ssh {id}: find {}", path.display()), &e))?;
        if !found.file_type().is_socket() {
            let what = format!("--ssh {id}: {} is no socket of an agent", path.display());
            return Err(
                Error::message(what).hint("ssh-add FILE, then --ssh default: an agent uses the key for the build")
            );
        }
        Ok((id.to_owned(), path))
    };
    list.iter().map(agent).collect()
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// What everybody reads
    Gzip,
    /// Smaller and faster
    Zstd,
    /// Not at all
    Uncompressed,
}

impl From<Way> for Compression {
    fn from(way: Way) -> Self {
        match way {
            Way::Gzip => Self::Gzip,
            Way::Zstd => Self::Zstd,
            Way::Uncompressed => Self::None,
        }
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSource {
    /// What the Dockerfile calls it.
    pub id: String,
    file: Option<PathBuf>,
    variable: Option<String>,
}

impl FromStr for SecretSource {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (mut id, mut file, mut variable) = (None, None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
                Some(("env", value)) => variable = Some(value.to_owned()),
                Some(("type", "file" | "env")) => (),
                _ => return Err(format!("{field:?} is not known; id=ID,src=FILE or id=ID,env=VARIABLE is")),
            }
        }
        let id = id.filter(|id| !id.is_empty()).ok_or("a secret wants an id: id=ID,src=FILE")?;
        if file.is_some() && variable.is_some() {
            return Err("a secret comes from a file or from a variable, not from both".to_owned());
        }
        Ok(Self { id, file, variable })
    }
}

impl SecretSource {
    /// Reads the secret. What only has an id is the variable of that name, or the file.
    pub fn read(&self, variable: Variable<'_>) -> Result<Vec<u8>> {
        if let Some(name) = &self.variable {
            let value = variable(name).map(String::into_bytes);
            return value.ok_or_else(|| Error::message(format!("secret {}: there is no variable {name}", self.id)));
        }
        if let (None, Some(value)) = (&self.file, variable(&self.id)) {
            return Ok(value.into_bytes());
        }
        let path = self.file.clone().unwrap_or_else(|| PathBuf::from(&self.id));
        let fail = |error| Error::io(format!("secret {}: read {}", self.id, path.display()), &error);
        let file = std::fs::File::open(&path).map_err(fail)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, SECRET_MAX + 1), &mut bytes).map_err(fail)?;
        if bytes.len() as u64 > SECRET_MAX {
            return Err(Error::message(format!("secret {}: it has more than {SECRET_MAX} bytes", self.id)));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(name: &str) -> Option<String> {
        (name == "HERE").then(|| "value".to_owned())
    }

    #[test]
    fn arguments_take_their_values_from_here() {
        let list = ["A=1".to_owned(), "HERE".to_owned(), "NONE".to_owned(), "B=".to_owned()];
        let args = build_args(&list, &here).unwrap();
        let args: Vec<_> = args.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(args, [("A", "1"), ("B", ""), ("HERE", "value")]);
        assert!(build_args(&["=1".to_owned()], &here).is_err());
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        let read = |text: &str| text.parse::<SecretSource>().unwrap().read(&here);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "secret").unwrap();
        assert_eq!(read(&format!("id=x,src={}", file.path().display())).unwrap(), b"secret");
        assert_eq!(read("id=x,env=HERE").unwrap(), b"value");
        assert_eq!(read("id=HERE").unwrap(), b"value");
        assert!(read("id=x,src=/none").is_err() && read("id=x,env=NONE").is_err());
        for text in ["", "src=x", "id=", "id=x,src=a,env=b", "id=x,mode=5"] {
            assert!(text.parse::<SecretSource>().is_err(), "{text}");
        }
    }

    #[test]
    fn dates_of_servers_are_read() {
        assert_eq!(http_date("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480));
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn agents_are_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let list = ["default".to_owned(), format!("x={}", path.display())];
        let here = |name: &str| (name == "SSH_AUTH_SOCK").then(|| path.display().to_string());
        assert_eq!(agents(&list, &here).unwrap().len(), 2);
        assert!(agents(&list, &|_| None).is_err());
        for text in ["", "=x", "x=/etc/passwd", "x=/none"] {
            assert!(agents(&[text.to_owned()], &here).is_err(), "{text}");
        }
    }

    #[test]
    fn the_time_of_a_result_is_a_number() {
        let of = |text: &str| epoch(&BTreeMap::from([(EPOCH.to_owned(), text.to_owned())]));
        assert_eq!(of("5").unwrap(), Some(5));
        assert_eq!(of("").unwrap(), None);
        assert!(of("x").is_err() && of("-1").is_err());
    }
}
