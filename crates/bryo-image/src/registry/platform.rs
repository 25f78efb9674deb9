// SPDX-License-Identifier: Apache-2.0
//! Platforms: operating system, architecture and variant, and which image of an index fits best.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};

/// What an image runs on, in the words of the image specification (those of Go's `GOOS` and `GOARCH`).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The architecture, such as `amd64` or `arm64`.
    pub architecture: String,
    /// The architecture's variant, such as `v7`; `None` for its default.
    pub variant: Option<String>,
}

impl Platform {
    /// Returns the platform this program was compiled for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Tells how well an image made for `offer` fits a request for this platform: less is better,
    /// `None` is not at all. An ARM processor also runs the code of older 32-bit variants.
    pub fn distance(&self, offer: &Self) -> Option<u32> {
        if self.os != offer.os || self.architecture != offer.architecture {
            return None;
        }
        let (wanted, offered) = (self.effective_variant(), offer.effective_variant());
        if wanted == offered {
            return Some(0);
        }
        let number = |variant: Option<&str>| variant?.strip_prefix('v')?.parse::<u32>().ok();
        match self.architecture.as_str() {
            "arm" => {
                let (wanted, offered) = (number(wanted)?, number(offered)?);
                wanted.checked_sub(offered).filter(|_| offered >= 5)
            }
            // An image for the base level runs on every level above it.
            "amd64" if offered.is_none() => number(wanted),
            _ => None,
        }
    }

    /// The variant with an architecture's default one spelled as in an image that does not name it.
    fn effective_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", Some("v8")) | ("amd64", Some("v1")) => None,
            ("arm", None) => Some("v7"),
            (_, variant) => variant.filter(|text| !text.is_empty()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Parses `OS/ARCH[/VARIANT]`, or `ARCH` alone for Linux.
    fn from_str(text: &str) -> Result<Self> {
        let part_ok = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [architecture] if *architecture != "linux" => ("linux", *architecture, None),
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some(*variant)),
            _ => ("", "", None),
        };
        if !part_ok(os) || !part_ok(architecture) || !variant.is_none_or(part_ok) {
            let what = format!("parse platform {text:?}: it is written as linux/arm64 or linux/arm/v7");
            return Err(Error::new(Kind::Platform, what));
        }
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" => "386",
            other => other,
        };
        Ok(Self { os: os.into(), architecture: architecture.into(), variant: variant.map(str::to_owned) })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(wanted: &str, offered: &str) -> Option<u32> {
        wanted.parse::<Platform>().unwrap().distance(&offered.parse().unwrap())
    }

    #[test]
    fn platforms_parse_in_their_spellings() {
        for (text, full) in [
            ("linux/amd64", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm/v7", "linux/arm/v7"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), full);
        }
        for bad in ["", "linux", "/", "linux/", "/amd64", "linux/arm/", "a/b/c/d", "linux/am d", "linux/\u{1b}"] {
            assert_eq!(bad.parse::<Platform>().unwrap_err().kind(), Kind::Platform, "{bad:?}");
        }
    }

    #[test]
    fn default_variants_are_equal_to_none() {
        assert_eq!(distance("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(distance("linux/arm64/v8", "linux/arm64"), Some(0));
        assert_eq!(distance("linux/arm", "linux/arm/v7"), Some(0));
        assert_eq!(distance("linux/amd64", "linux/amd64/v1"), Some(0));
    }

    #[test]
    fn newer_processors_run_older_variants_only() {
        assert_eq!(distance("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(distance("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(distance("linux/arm/v7", "linux/arm/v4"), None);
        assert_eq!(distance("linux/amd64/v3", "linux/amd64"), Some(3));
        assert_eq!(distance("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(distance("linux/amd64", "linux/arm64"), None);
        assert_eq!(distance("linux/amd64", "windows/amd64"), None);
    }
}
