// SPDX-License-Identifier: Apache-2.0
//! From TOML to the configuration, with the place of every mistake.

use std::path::Path;

use super::file::{File, Value};
use super::{Config, DefaultUser};
use crate::error::{Kind, Result};
use crate::options::{Network, Pull};

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

/// Takes over what a file says, or nothing of it.
pub(super) fn apply(config: &mut Config, path: &Path, text: &str) -> Result<()> {
    let file = File { path, text, mistake: Kind::InvalidConfig };
    let root = file.parse()?;
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

impl File<'_> {
    /// A number of processes, or -1 for no limit.
    fn processes(&self, value: &Value<'_>) -> Result<Option<u64>> {
        let number = value.get_ref().as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        match number {
            Some(-1) => Ok(None),
            Some(n) if n > 0 => Ok(Some(n.unsigned_abs())),
            _ => Err(self.wrong(value, "expected a number above 0, or -1 for no limit")),
        }
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
