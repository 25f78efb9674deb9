// SPDX-License-Identifier: Apache-2.0
//! Python's versions. Source: Python packaging specifications, "Version specifiers".

use std::cmp::Ordering;
use std::str::FromStr;

use pep440_rs::Version;

/// Compares two versions; nothing for what is none.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    Some(Version::from_str(a).ok()?.cmp(&Version::from_str(b).ok()?))
}
