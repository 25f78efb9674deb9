// SPDX-License-Identifier: Apache-2.0
//! Debian's versions: epoch, upstream version, revision. Source: `deb-version(7)`, "Sorting algorithm".

use std::cmp::Ordering;

use super::{digits, span};

/// Compares two versions; nothing for an epoch that is no number.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (Version::parse(a)?, Version::parse(b)?);
    let rest = part(a.upstream, b.upstream).then_with(|| part(a.revision, b.revision));
    Some(a.epoch.cmp(&b.epoch).then(rest))
}

struct Version<'a> {
    epoch: u32,
    upstream: &'a [u8],
    revision: &'a [u8],
}

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().ok()?, rest),
            None => (0, text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Some(Self { epoch, upstream: upstream.as_bytes(), revision: revision.as_bytes() })
    }
}

/// Compares what is no number and what is one in turns.
fn part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let ((words_a, rest_a), (words_b, rest_b)) =
            (span(a, |c| !c.is_ascii_digit()), span(b, |c| !c.is_ascii_digit()));
        let order = words(words_a, words_b);
        if order.is_ne() {
            return order;
        }
        let ((number_a, rest_a), (number_b, rest_b)) =
            (span(rest_a, |c| c.is_ascii_digit()), span(rest_b, |c| c.is_ascii_digit()));
        let order = digits(number_a, number_b);
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

/// A tilde comes before the end, the end before letters, letters before all else.
fn words(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |c: Option<&u8>| match c {
        None => 0,
        Some(b'~') => -1,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    };
    let length = a.len().max(b.len());
    (0..length).map(|n| weight(a.get(n)).cmp(&weight(b.get(n)))).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}
