// SPDX-License-Identifier: Apache-2.0
//! Semantic versions, as npm and Cargo have them. Source: semver.org, 2.0.0, item 11.

use std::cmp::Ordering;

use semver::Version;

/// Compares two versions; nothing for what is none. What comes after a plus does not count.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    Some(parse(a)?.cmp_precedence(&parse(b)?))
}

/// Reads a version; advisories leave out what is zero.
pub(super) fn parse(text: &str) -> Option<Version> {
    let text = text.trim();
    let text = text.strip_prefix(['v', '=']).unwrap_or(text);
    if let Ok(version) = Version::parse(text) {
        return Some(version);
    }
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let padding = match numbers.matches('.').count() {
        0 => ".0.0",
        1 => ".0",
        _ => return None,
    };
    Version::parse(&format!("{numbers}{padding}{rest}")).ok()
}
