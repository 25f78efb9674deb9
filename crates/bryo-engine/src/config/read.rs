// SPDX-License-Identifier: Apache-2.0
//! From TOML to the configuration, with the place of every mistake.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::{Config, DefaultUser};
use crate::error::{Error, Kind, Result};
use crate::options::{Network, Pull, size};

const TOP: [&str; 7] = ["default-user", "network", "pull", "landlock", "pids-limit", "registries", "limits"];
const REGISTRIES: [&str; 2] = ["insecure", "mirrors"];
const LIMITS: [&str; 8] = [
    "max-layer-size",
    "max-unpacked-size",
    "max-ratio",
    "ratio-from",
    "max-entries",
    "max-path-length",
    "max-path-depth",
    "max-zstd-window",
];

type Value<'a> = Spanned<DeValue<'a>>;

/// Takes over what a file says, or nothing of it.
pub(super) fn apply(config: &mut Config, path: &Path, text: &str) -> Result<()> {
    let file = File { path, text };
    let root = DeTable::parse(text).map_err(|e| file.error(e.span().map_or(0, |span| span.start), e.message()))?;
    let mut new = config.clone();
    file.each(root.get_ref(), "", &TOP, |key, value| match key {
        "default-user" => {
            let words = [("nonroot", DefaultUser::Nonroot), ("image", DefaultUser::Image)];
            file.word(value, &words).map(|user| new.default_user = user)
        }
        "network" => {
            let words = [("private", Network::Private), ("none", Network::None), ("host", Network::Host)];
            file.word(value, &words).map(|network| new.network = network)
        }
        "pull" => {
            let words = [("missing", Pull::Missing), ("always", Pull::Always), ("never", Pull::Never)];
            file.word(value, &words).map(|pull| new.pull = pull)
        }
        "landlock" => {
            let words = [("auto", None), ("off", Some(false)), ("require", Some(true))];
            file.word(value, &words).map(|landlock| new.landlock = landlock)
        }
        "pids-limit" => file.processes(value).map(|limit| new.pids_limit = limit),
        "registries" => file.registries(value, &mut new),
        _ => file.limits(value, &mut new),
    })?;
    *config = new;
    Ok(())
}

/// A file and its text, for errors.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn error(&self, offset: usize, why: impl std::fmt::Display) -> Error {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        Error::new(Kind::InvalidConfig, format!("{}:{line}:{column}: {why}", self.path.display()))
    }

    fn wrong(&self, value: &Value<'_>, why: impl std::fmt::Display) -> Error {
        self.error(value.span().start, why)
    }

    /// Calls `f` for each key of a table; only known ones get there.
    fn each<'t>(
        &self,
        table: &'t DeTable<'_>,
        section: &str,
        known: &[&str],
        mut f: impl FnMut(&str, &'t Value<'_>) -> Result<()>,
    ) -> Result<()> {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let place = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
                let remedy = match nearest(name, known) {
                    Some(word) => format!("did you mean {word:?}?"),
                    None => format!("known are {}", known.join(", ")),
                };
                return Err(self.error(key.span().start, format!("unknown key {name:?}{place}; {remedy}")));
            }
            f(name, value)?;
        }
        Ok(())
    }

    fn table<'v, 'a>(&self, value: &'v Value<'a>) -> Result<&'v DeTable<'a>> {
        value.get_ref().as_table().ok_or_else(|| self.wrong(value, "this is a section, [NAME], of its own"))
    }

    fn string<'v>(&self, value: &'v Value<'_>) -> Result<&'v str> {
        value.get_ref().as_str().ok_or_else(|| self.wrong(value, "expected a word in quotes"))
    }

    fn word<T: Copy>(&self, value: &Value<'_>, words: &[(&str, T)]) -> Result<T> {
        let text = self.string(value)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.wrong(value, format!("{text:?} is not known here; {} are", known.join(", ")))
        })
    }

    /// A number above zero: a limit of nothing would let nothing pass.
    fn number(&self, value: &Value<'_>) -> Result<u64> {
        let number = value.get_ref().as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
        number.filter(|n| *n > 0).ok_or_else(|| self.wrong(value, "expected a number above 0"))
    }

    /// A number of processes, or -1 for no limit.
    fn processes(&self, value: &Value<'_>) -> Result<Option<u64>> {
        let number = value.get_ref().as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        match number {
            Some(-1) => Ok(None),
            Some(n) if n > 0 => Ok(Some(n.unsigned_abs())),
            _ => Err(self.wrong(value, "expected a number above 0, or -1 for no limit")),
        }
    }

    /// A number of bytes, or a text with a suffix.
    fn bytes(&self, value: &Value<'_>) -> Result<u64> {
        match value.get_ref().as_str() {
            None => self.number(value).map_err(|_| self.wrong(value, "expected a size above 0, such as \"64g\"")),
            Some(text) => match size(text) {
                Ok(0) => Err(self.wrong(value, "expected a size above 0, such as \"64g\"")),
                Ok(bytes) => Ok(bytes),
                Err(e) => Err(self.wrong(value, e)),
            },
        }
    }

    fn count(&self, value: &Value<'_>) -> Result<usize> {
        usize::try_from(self.number(value)?).map_err(|_| self.wrong(value, "this is too large"))
    }

    /// A registry or a mirror: a host, for a mirror with a path, never with a scheme.
    fn host<'v>(&self, value: &'v Value<'_>) -> Result<&'v str> {
        let text = self.string(value)?;
        self.check_host(text, value.span().start)?;
        Ok(text)
    }

    fn check_host(&self, text: &str, offset: usize) -> Result<()> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:/[]".contains(&b));
        if plain && !text.is_empty() && !text.contains("//") && !text.starts_with('/') {
            return Ok(());
        }
        Err(self.error(offset, format!("{text:?} is not HOST[:PORT], without a scheme")))
    }

    fn hosts(&self, value: &Value<'_>) -> Result<Vec<String>> {
        let list = value.get_ref().as_array();
        let list = list.ok_or_else(|| self.wrong(value, "expected a list, such as [\"localhost:5000\"]"))?;
        list.iter().map(|host| self.host(host).map(str::to_owned)).collect()
    }

    fn registries(&self, value: &Value<'_>, config: &mut Config) -> Result<()> {
        self.each(self.table(value)?, "registries", &REGISTRIES, |key, value| {
            if key == "insecure" {
                config.insecure = self.hosts(value)?;
                return Ok(());
            }
            for (host, mirrors) in self.table(value)? {
                self.check_host(host.get_ref(), host.span().start)?;
                config.mirrors.insert(host.get_ref().to_string(), self.hosts(mirrors)?);
            }
            Ok(())
        })
    }

    fn limits(&self, value: &Value<'_>, config: &mut Config) -> Result<()> {
        let limits = &mut config.limits;
        self.each(self.table(value)?, "limits", &LIMITS, |key, value| {
            match key {
                "max-layer-size" => limits.compressed = self.bytes(value)?,
                "max-unpacked-size" => limits.uncompressed = self.bytes(value)?,
                "max-ratio" => limits.ratio = self.number(value)?,
                "ratio-from" => limits.ratio_floor = self.bytes(value)?,
                "max-entries" => limits.entries = self.number(value)?,
                "max-path-length" => limits.path_len = self.count(value)?,
                "max-path-depth" => limits.depth = self.count(value)?,
                _ => limits.zstd_window_log = self.window(value)?,
            }
            Ok(())
        })
    }

    /// The binary logarithm of a window's size. Source: zstd's `ZSTD_WINDOWLOG_MIN` and `_MAX`.
    fn window(&self, value: &Value<'_>) -> Result<u32> {
        let log = self.bytes(value)?.ilog2();
        match log {
            10..=31 => Ok(log),
            _ => Err(self.wrong(value, "a window is between \"1k\" and \"2g\"")),
        }
    }
}
