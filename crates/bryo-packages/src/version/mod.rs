// SPDX-License-Identifier: Apache-2.0
//! Which of two versions is newer: each world has rules of its own.
//!
//! Guarantees: a total order over what each world calls a version; what is none compares with nothing. No input costs
//! more than its length.

pub mod apk;
pub mod dpkg;
pub mod golang;
pub mod pep440;
pub mod rpm;
pub mod rubygems;
pub mod semver;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::package::Type;

/// Whose rules are followed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Debian's.
    Dpkg,
    /// Alpine's.
    Apk,
    /// rpm's.
    Rpm,
    /// Python's.
    Pep440,
    /// npm's and Cargo's.
    Semver,
    /// Go's.
    Golang,
    /// Ruby's.
    Rubygems,
}

/// The longest version that is looked at, in bytes.
const LENGTH_MAX: usize = 4096;

impl Scheme {
    /// Returns the rules of a type of packages.
    pub fn of(kind: Type) -> Self {
        match kind {
            Type::Deb => Self::Dpkg,
            Type::Apk => Self::Apk,
            Type::Rpm => Self::Rpm,
            Type::Pypi => Self::Pep440,
            Type::Npm | Type::Cargo => Self::Semver,
            Type::Gem => Self::Rubygems,
            Type::Golang => Self::Golang,
        }
    }

    /// Compares two versions; nothing for what is none by these rules.
    pub fn compare(self, a: &str, b: &str) -> Option<Ordering> {
        if a.len() > LENGTH_MAX || b.len() > LENGTH_MAX {
            return None;
        }
        match self {
            Self::Dpkg => dpkg::compare(a, b),
            Self::Apk => Some(apk::compare(a, b)),
            Self::Rpm => Some(rpm::compare(a, b)),
            Self::Pep440 => pep440::compare(a, b),
            Self::Semver => semver::compare(a, b),
            Self::Golang => golang::compare(a, b),
            Self::Rubygems => rubygems::compare(a, b),
        }
    }
}

/// Compares numbers of any length.
fn digits(a: &[u8], b: &[u8]) -> Ordering {
    let plain = |n: &[u8]| n.iter().position(|d| *d != b'0').unwrap_or(n.len());
    let (a, b) = (&a[plain(a)..], &b[plain(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Splits off what is at the beginning and fits.
fn span(text: &[u8], fits: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| !fits(*b)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests;
