// SPDX-License-Identifier: Apache-2.0
//! A shell's pattern with `*` and `?`, in substitutions.
//!
//! Guarantees: the time is at most the length of the text times that of the pattern, whatever is in both.

/// The most comparisons of a character in one word: some tenths of a second.
pub(super) const WORK_MAX: usize = 1 << 26;

/// A pattern.
pub(super) struct Shape(Vec<Piece>);

#[derive(Clone, Copy, PartialEq)]
enum Piece {
    Any,
    One,
    Char(char),
}

impl Shape {
    pub fn new(text: &str, escape: char) -> Self {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' => Piece::Any,
                '?' => Piece::One,
                c if c == escape => Piece::Char(chars.next().unwrap_or(c)),
                c => Piece::Char(c),
            });
        }
        pieces.dedup_by(|a, b| *a == Piece::Any && *b == Piece::Any);
        Self(pieces)
    }

    /// Returns the pattern that fits a text that is read from its end.
    pub fn reversed(mut self) -> Self {
        self.0.reverse();
        self
    }

    /// Returns how many comparisons [`ends`](Self::ends) makes.
    pub fn work(&self, text: &[char]) -> usize {
        self.0.len().saturating_mul(text.len())
    }

    /// Returns for each place of a text, its end included, where the longest or the shortest part ends that begins there
    /// and fits: piece by piece from the last one, so that each needs to know of the next piece alone.
    pub fn ends(&self, text: &[char], longest: bool) -> Vec<Option<usize>> {
        let mut ends: Vec<Option<usize>> = (0..=text.len()).map(Some).collect();
        for piece in self.0.iter().rev() {
            match piece {
                Piece::Any => {
                    for at in (0..text.len()).rev() {
                        ends[at] = match (ends[at], ends[at + 1]) {
                            (Some(one), Some(other)) if longest => Some(one.max(other)),
                            (Some(one), Some(other)) => Some(one.min(other)),
                            (one, other) => one.or(other),
                        };
                    }
                }
                Piece::One | Piece::Char(_) => {
                    for at in 0..text.len() {
                        let fits = *piece == Piece::One || *piece == Piece::Char(text[at]);
                        ends[at] = if fits { ends[at + 1] } else { None };
                    }
                    ends[text.len()] = None;
                }
            }
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What fits, as a child would find out.
    fn fits(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|skipped| fits(rest, &text[skipped..])),
            (['?', rest @ ..], [_, others @ ..]) => fits(rest, others),
            ([one, rest @ ..], [other, others @ ..]) => one == other && fits(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_longest_and_the_shortest_are_found(pattern in "[ab*?]{0,6}", text in "[ab]{0,8}") {
            let (wanted, chars): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            let shape = Shape::new(&pattern, '\\');
            let (longest, shortest) = (shape.ends(&chars, true), shape.ends(&chars, false));
            for at in 0..=chars.len() {
                let all: Vec<usize> = (at..=chars.len()).filter(|end| fits(&wanted, &chars[at..*end])).collect();
                prop_assert_eq!(longest[at], all.last().copied(), "{:?} in {:?} at {}", pattern, text, at);
                prop_assert_eq!(shortest[at], all.first().copied(), "{:?} in {:?} at {}", pattern, text, at);
            }
        }
    }
}
