// SPDX-License-Identifier: Apache-2.0
//! The regular expressions that names are filtered by: literals, `.`, `[...]`, `*`, `+`, `?`, `^`, `$`, `|` and `\`.
//! Groups are not among them. The expression is the caller's own, and names are short.

use crate::error::{Error, Kind, Result};

/// An expression that was understood: it is found somewhere in a text, as in Docker's filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    alternatives: Vec<Vec<Piece>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Start,
    End,
    One(Set, Repeat),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Set {
    Any,
    Char(char),
    /// Ranges, and whether it is all but these.
    Class(Vec<(char, char)>, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Once,
    Optional,
    Any,
    AtLeastOnce,
}

impl Pattern {
    /// Parses an expression.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for what is none, or more than is known here.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::InvalidOption, format!("invalid pattern {text:?}: {why}"));
        let mut alternatives = vec![Vec::new()];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let set = match c {
                '|' => {
                    alternatives.push(Vec::new());
                    continue;
                }
                '^' | '$' => {
                    let piece = if c == '^' { Piece::Start } else { Piece::End };
                    alternatives.last_mut().into_iter().for_each(|pieces| pieces.push(piece.clone()));
                    continue;
                }
                '(' | ')' | '{' | '}' => return Err(bad("groups and counts are not known; use several filters")),
                '*' | '+' | '?' => return Err(bad("there is nothing to repeat")),
                '.' => Set::Any,
                '[' => class(&mut chars).ok_or_else(|| bad("a [ is not closed"))?,
                '\\' => match chars.next() {
                    Some(escaped) if !escaped.is_ascii_alphanumeric() => Set::Char(escaped),
                    _ => return Err(bad("only signs can be escaped")),
                },
                other => Set::Char(other),
            };
            let repeat = match chars.peek() {
                Some('?') => Repeat::Optional,
                Some('*') => Repeat::Any,
                Some('+') => Repeat::AtLeastOnce,
                _ => Repeat::Once,
            };
            if repeat != Repeat::Once {
                chars.next();
            }
            alternatives.last_mut().into_iter().for_each(|pieces| pieces.push(Piece::One(set.clone(), repeat)));
        }
        Ok(Self { alternatives })
    }

    /// Tells whether it is found in a text.
    pub fn is_in(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        self.alternatives.iter().any(|pieces| (0..=text.len()).any(|from| matches(pieces, &text, from)))
    }
}

/// Follows all ways through an expression at one time: as many steps as pieces and characters, never more.
fn matches(pieces: &[Piece], text: &[char], from: usize) -> bool {
    let mut here = vec![false; pieces.len() + 1];
    here[0] = true;
    for at in from..=text.len() {
        let mut next = vec![false; pieces.len() + 1];
        for (n, piece) in pieces.iter().enumerate() {
            if !here[n] {
                continue;
            }
            match piece {
                Piece::Start => here[n + 1] |= at == 0,
                Piece::End => here[n + 1] |= at == text.len(),
                Piece::One(set, repeat) => {
                    here[n + 1] |= matches!(repeat, Repeat::Optional | Repeat::Any);
                    if text.get(at).is_some_and(|c| set.has(*c)) {
                        next[n + 1] = true;
                        next[n] |= matches!(repeat, Repeat::Any | Repeat::AtLeastOnce);
                    }
                }
            }
        }
        if here[pieces.len()] {
            return true;
        }
        here = next;
    }
    false
}

impl Set {
    fn has(&self, c: char) -> bool {
        match self {
            Self::Any => true,
            Self::Char(own) => *own == c,
            Self::Class(ranges, not) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *not,
        }
    }
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Set> {
    let not = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let from = chars.next()?;
        if from == ']' && !ranges.is_empty() {
            return Some(Set::Class(ranges, not));
        }
        let mut rest = chars.clone();
        match (rest.next(), rest.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *chars = rest;
                ranges.push((from, to));
            }
            _ => ranges.push((from, from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_found_where_gos_are() {
        for (pattern, text, yes) in [
            ("web", "my-web-1", true),
            ("^web", "my-web-1", false),
            ("^my.*1$", "my-web-1", true),
            ("^/my-web-1$", "/my-web-1", true),
            ("we?b+", "wbbb", true),
            ("we?b+", "we", false),
            ("^a$|^b$", "b", true),
            ("^a$|^b$", "ab", false),
            ("^[a-c]+[^0-9]$", "abcx", true),
            ("^[a-c]+[^0-9]$", "abc1", false),
            ("a\\.b", "a.b", true),
            ("a\\.b", "axb", false),
            ("", "anything", true),
            ("x*", "", true),
            ("[]-]", "a-b", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().is_in(text), yes, "{pattern} {text}");
        }
        for bad in ["*a", "[a", "\\d", "a{2}", "\\", "+", "(a)"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_expression_takes_long() {
        let pattern = Pattern::parse(&("a?".repeat(200) + &"a*".repeat(200) + "$b")).unwrap();
        assert!(!pattern.is_in(&"a".repeat(500)));
    }
}
