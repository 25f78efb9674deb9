// SPDX-License-Identifier: Apache-2.0
//! Ruby's versions: numbers and words; a word makes a version one before. Source: RubyGems, `Gem::Version`.

use std::cmp::Ordering;

use super::digits;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment<'a> {
    Word(&'a [u8]),
    Number(&'a [u8]),
}

const ZERO: Segment<'static> = Segment::Number(b"");

/// Compares two versions; nothing for what is none.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (a.trim().replace('-', ".pre."), b.trim().replace('-', ".pre."));
    let (a, b) = (segments(&a)?, segments(&b)?);
    let length = a.len().max(b.len());
    let at = |all: &[Segment<'_>], n: usize| -> (bool, Vec<u8>) {
        match all.get(n).copied().unwrap_or(ZERO) {
            Segment::Word(text) => (false, text.to_vec()),
            Segment::Number(text) => (true, text.to_vec()),
        }
    };
    let orders = (0..length).map(|n| match (at(&a, n), at(&b, n)) {
        ((true, a), (true, b)) => digits(&a, &b),
        ((false, a), (false, b)) => a.cmp(&b),
        ((number, _), _) => {
            if number {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
    });
    Some(orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal))
}

/// Splits into numbers and words, without the zeros that do not count: those at the end, and before the first word.
fn segments(text: &str) -> Option<Vec<Segment<'_>>> {
    let bytes = text.as_bytes();
    if !bytes.is_empty() && !bytes[0].is_ascii_digit() {
        return None;
    }
    if !bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'.') {
        return None;
    }
    let mut all = Vec::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let number = first.is_ascii_digit();
        let fits = |b: u8| if number { b.is_ascii_digit() } else { b.is_ascii_alphabetic() };
        let (segment, further) = super::span(rest, fits);
        rest = if segment.is_empty() { &rest[1..] } else { further };
        match segment {
            [] => (),
            _ if number => all.push(Segment::Number(segment)),
            _ => all.push(Segment::Word(segment)),
        }
    }
    let word = all.iter().position(|s| matches!(s, Segment::Word(_))).unwrap_or(all.len());
    let tail = all.split_off(word);
    Some(without_zeros(all).into_iter().chain(without_zeros(tail)).collect())
}

fn without_zeros(mut all: Vec<Segment<'_>>) -> Vec<Segment<'_>> {
    while matches!(all.last(), Some(Segment::Number(n)) if n.iter().all(|d| *d == b'0')) {
        all.pop();
    }
    all
}
