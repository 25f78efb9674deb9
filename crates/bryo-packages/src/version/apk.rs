// SPDX-License-Identifier: Apache-2.0
//! Alpine's versions: `DIGITS{.DIGITS}{LETTER}{_SUFFIX{DIGITS}}{~HASH}{-rDIGITS}`. Source: `apk-package(5)`, "Package
//! version"; the order of the parts of a version as apk's own test data has it.

use std::cmp::Ordering;

use super::{digits, span};

/// One part of a version. The order of kinds is that of their places: what ends earlier is older.
#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    First(&'a [u8]),
    Digits(&'a [u8]),
    Letter(u8),
    Suffix(i8),
    SuffixNumber(&'a [u8]),
    Hash(&'a [u8]),
    Revision(&'a [u8]),
    End,
    Invalid,
}

/// Suffixes: those below zero come before the version itself, those above after it.
const SUFFIXES: [(&[u8], i8); 9] = [
    (b"alpha", -4),
    (b"beta", -3),
    (b"pre", -2),
    (b"rc", -1),
    (b"cvs", 1),
    (b"svn", 2),
    (b"git", 3),
    (b"hg", 4),
    (b"p", 5),
];

/// Compares two versions; of one that is invalid, what is valid at its beginning.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (Parts::new(a), Parts::new(b));
    loop {
        let (part_a, part_b) = (a.next(), b.next());
        let (place_a, place_b) = (part_a.place(), part_b.place());
        if place_a != place_b {
            return match (part_a, part_b) {
                (Part::Suffix(weight), _) if weight < 0 => Ordering::Less,
                (_, Part::Suffix(weight)) if weight < 0 => Ordering::Greater,
                _ => place_b.cmp(&place_a),
            };
        }
        let order = part_a.order(part_b);
        if order.is_ne() || matches!(part_a, Part::End | Part::Invalid) {
            return order;
        }
    }
}

impl Part<'_> {
    fn place(self) -> u8 {
        match self {
            Self::First(_) => 0,
            Self::Digits(_) => 1,
            Self::Letter(_) => 2,
            Self::Suffix(_) => 3,
            Self::SuffixNumber(_) => 4,
            Self::Hash(_) => 5,
            Self::Revision(_) => 6,
            Self::End => 7,
            Self::Invalid => 8,
        }
    }

    /// Compares parts of one kind.
    fn order(self, other: Self) -> Ordering {
        match (self, other) {
            // A zero in front makes a fraction of a number.
            (Self::Digits(a), Self::Digits(b)) if a.first() == Some(&b'0') || b.first() == Some(&b'0') => a.cmp(b),
            (Self::First(a), Self::First(b))
            | (Self::Digits(a), Self::Digits(b))
            | (Self::SuffixNumber(a), Self::SuffixNumber(b))
            | (Self::Revision(a), Self::Revision(b)) => digits(a, b),
            (Self::Letter(a), Self::Letter(b)) => a.cmp(&b),
            (Self::Suffix(a), Self::Suffix(b)) => a.cmp(&b),
            (Self::Hash(a), Self::Hash(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }
}

struct Parts<'a> {
    rest: &'a [u8],
    place: Option<u8>,
}

impl<'a> Parts<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.as_bytes(), place: None }
    }

    fn next(&mut self) -> Part<'a> {
        let part = self.read().unwrap_or(Part::Invalid);
        self.place = Some(part.place());
        part
    }

    fn read(&mut self) -> Option<Part<'a>> {
        let Some(place) = self.place else { return self.number().map(Part::First) };
        let Some(first) = self.rest.first() else { return Some(Part::End) };
        match first {
            b'a'..=b'z' if place <= 1 => {
                self.rest = &self.rest[1..];
                Some(Part::Letter(*first))
            }
            b'.' if place <= 1 => {
                self.rest = &self.rest[1..];
                self.number().map(Part::Digits)
            }
            b'0'..=b'9' if place <= 1 => self.number().map(Part::Digits),
            b'0'..=b'9' if place == 3 => self.number().map(Part::SuffixNumber),
            b'_' if place <= 4 => {
                let (word, rest) = span(&self.rest[1..], |c| c.is_ascii_lowercase());
                self.rest = rest;
                SUFFIXES.iter().find(|(suffix, _)| *suffix == word).map(|(_, weight)| Part::Suffix(*weight))
            }
            b'~' if place < 5 => {
                let (hash, rest) = span(&self.rest[1..], |c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
                self.rest = rest;
                (!hash.is_empty()).then_some(Part::Hash(hash))
            }
            b'-' if place < 6 => {
                self.rest = self.rest.strip_prefix(b"-r")?;
                self.number().map(Part::Revision)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<&'a [u8]> {
        let (number, rest) = span(self.rest, |c| c.is_ascii_digit());
        self.rest = rest;
        (!number.is_empty()).then_some(number)
    }
}
