// SPDX-License-Identifier: Apache-2.0
//! Arguments: those before the first stage, those of stages, and those that are always there.

use bryo_image::registry::Platform;

use super::Builder;
use crate::dockerfile::{Argument, substitute};
use crate::error::Result;
use crate::state::State;

/// Arguments that commands get without asking, and that change nothing in the result. Source: the Dockerfile reference,
/// "Predefined ARGs".
pub const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Returns a time as images have it; now, if none is said.
pub fn time(seconds: Option<u64>) -> String {
    let given = seconds.and_then(|seconds| jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok());
    given.unwrap_or_else(jiff::Timestamp::now).to_string()
}

/// Lists the arguments that say what is built for what. Source: the Dockerfile reference, "Automatic platform ARGs".
fn platforms(target: &Platform) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (prefix, platform) in [("TARGET", target), ("BUILD", &Platform::host())] {
        let variant = platform.variant.clone().unwrap_or_default();
        let mut whole = format!("{}/{}", platform.os, platform.architecture);
        if !variant.is_empty() {
            whole = format!("{whole}/{variant}");
        }
        let values = [
            ("PLATFORM", whole),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", variant),
        ];
        all.extend(values.map(|(name, value)| (format!("{prefix}{name}"), value)));
    }
    all
}

impl Builder<'_> {
    /// Gives the arguments before the first stage their values.
    pub(super) fn read_globals(&mut self) -> Result<()> {
        self.globals = platforms(self.platform);
        for argument in &self.request.dockerfile.globals {
            if let Some(value) = self.given(&argument.name) {
                self.globals.push((argument.name.clone(), value));
            } else if let Some(default) = &argument.default {
                let value = self.expand_global(default)?;
                self.globals.push((argument.name.clone(), value));
            }
        }
        Ok(())
    }

    /// Replaces the variables of a word outside of stages.
    pub(super) fn expand_global(&self, word: &str) -> Result<String> {
        self.expand_by(&|name| self.global(name), |lookup, escape| substitute::word(word, lookup, escape))
    }

    fn global(&self, name: &str) -> Option<String> {
        self.globals.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// Returns what whoever builds says about an argument.
    fn given(&self, name: &str) -> Option<String> {
        let value = self.request.build_args.get(name)?;
        self.asked_for.borrow_mut().insert(name.to_owned());
        Some(value.clone())
    }

    /// Makes an argument known in a stage: by what whoever builds says, by its default, by what stands before the first
    /// stage.
    pub(super) fn argument(&self, state: &mut State, argument: &Argument) -> Result<()> {
        let value = match (self.given(&argument.name), &argument.default) {
            (Some(value), _) => Some(value),
            (None, Some(default)) => Some(self.expand(default, state)?),
            (None, None) => self.global(&argument.name),
        };
        state.args.push((argument.name.clone(), value));
        Ok(())
    }

    /// Returns what commands get without having asked for it.
    pub(super) fn proxies(&self) -> Vec<(String, String)> {
        PROXIES.iter().filter_map(|name| Some(((*name).to_owned(), self.given(name)?))).collect()
    }

    /// Lists the arguments that were given and that nobody has asked for.
    pub(super) fn unasked(&self) -> Vec<String> {
        let asked = self.asked_for.borrow();
        let known = |name: &str| {
            asked.contains(name) || PROXIES.contains(&name) || [super::CHECK, "SOURCE_DATE_EPOCH"].contains(&name)
        };
        self.request.build_args.keys().filter(|name| !known(name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_arguments() {
        let all = platforms(&"linux/arm/v7".parse().unwrap());
        let value = |name: &str| all.iter().find(|(known, _)| known == name).unwrap().1.clone();
        assert_eq!(value("TARGETPLATFORM"), "linux/arm/v7");
        assert_eq!((value("TARGETARCH"), value("TARGETVARIANT")), ("arm".to_owned(), "v7".to_owned()));
        assert_eq!(value("BUILDOS"), "linux");
    }

    #[test]
    fn times_are_those_of_images() {
        assert_eq!(time(Some(0)), "1970-01-01T00:00:00Z");
        assert!(time(None) > time(Some(1_700_000_000)));
    }
}
