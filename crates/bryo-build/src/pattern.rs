// SPDX-License-Identifier: Apache-2.0
//! Patterns of paths: `*`, `?`, `[a-z]`, `\x`, and `**` for any number of directories. Source: Go's `filepath.Match`, and
//! `.dockerignore` in Docker's reference.
//!
//! Guarantees: a look takes time in proportion to pattern and path, whatever both are.

/// A pattern for paths without a leading slash.
#[derive(Clone, Debug)]
pub struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    /// Itself.
    Char(char),
    /// Any one but a slash.
    One,
    /// Any number, no slash among them.
    Star,
    /// Any number of anything.
    Deep,
    /// What follows up to the next slash may as well not be there: two more pieces.
    Perhaps,
    /// One of these, or none of them.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    while chars.next_if_eq(&'*').is_some() {}
                    let whole = pieces.last().is_none_or(|piece| *piece == Piece::Char('/'));
                    if whole && chars.next_if_eq(&'/').is_some() {
                        pieces.extend([Piece::Perhaps, Piece::Deep, Piece::Char('/')]);
                    } else {
                        pieces.push(Piece::Deep);
                    }
                }
                '*' => pieces.push(Piece::Star),
                '?' => pieces.push(Piece::One),
                '[' => pieces.push(class(&mut chars).ok_or_else(|| format!("{text:?}: [ has no end"))?),
                '\\' => pieces.push(Piece::Char(chars.next().ok_or_else(|| format!("{text:?} ends with \\"))?)),
                c => pieces.push(Piece::Char(c)),
            }
        }
        Ok(Self { pieces })
    }

    /// Tells whether a pattern means one name only, and which.
    pub fn literal(&self) -> Option<String> {
        let char = |piece: &Piece| if let Piece::Char(c) = piece { Some(*c) } else { None };
        self.pieces.iter().map(char).collect()
    }

    /// Tells whether a whole path fits.
    pub fn matches(&self, path: &str) -> bool {
        let mut states = vec![false; self.pieces.len() + 1];
        self.enter(&mut states, 0);
        for c in path.chars() {
            let mut next = vec![false; states.len()];
            for (at, piece) in self.pieces.iter().enumerate().filter(|(at, _)| states[*at]) {
                match piece {
                    Piece::Star if c != '/' => self.enter(&mut next, at),
                    Piece::Deep => self.enter(&mut next, at),
                    Piece::One if c != '/' => self.enter(&mut next, at + 1),
                    Piece::Char(own) if *own == c => self.enter(&mut next, at + 1),
                    Piece::Class { negated, ranges } if c != '/' && is_in(ranges, c) != *negated => {
                        self.enter(&mut next, at + 1);
                    }
                    _ => (),
                }
            }
            states = next;
        }
        states[self.pieces.len()]
    }

    /// Enters a state, and those that are reached from it without a character.
    fn enter(&self, states: &mut [bool], at: usize) {
        let mut waiting = vec![at];
        while let Some(at) = waiting.pop() {
            if std::mem::replace(&mut states[at], true) {
                continue;
            }
            match self.pieces.get(at) {
                Some(Piece::Star | Piece::Deep) => waiting.push(at + 1),
                Some(Piece::Perhaps) => waiting.extend([at + 1, at + 3]),
                _ => (),
            }
        }
    }
}

fn is_in(ranges: &[(char, char)], c: char) -> bool {
    ranges.iter().any(|(from, to)| (*from..=*to).contains(&c))
}

/// Reads a class behind its bracket.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Piece> {
    let negated = chars.next_if(|c| matches!(c, '^' | '!')).is_some();
    let mut ranges = Vec::new();
    loop {
        let mut one = || match chars.next()? {
            '\\' => chars.next().map(|c| (c, true)),
            c => Some((c, false)),
        };
        let (from, escaped) = one()?;
        if from == ']' && !escaped {
            return (!ranges.is_empty()).then_some(Piece::Class { negated, ranges });
        }
        if chars.next_if_eq(&'-').is_none() {
            ranges.push((from, from));
            continue;
        }
        let to = match chars.next()? {
            ']' => return None,
            '\\' => chars.next()?,
            c => c,
        };
        ranges.push((from, to));
    }
}

/// Writes a name as a pattern that means it and nothing else.
pub fn literal(name: &str) -> String {
    name.chars().flat_map(|c| matches!(c, '*' | '?' | '[' | '\\').then_some('\\').into_iter().chain([c])).collect()
}

/// Takes `.`, empty parts and `..` out of a path, and the slashes around it. What climbs out ends at the root.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => (),
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_dockers_do() {
        for (pattern, path, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "a/b", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("*.go", "x.go", true),
            ("*.go", "d/x.go", false),
            ("**/*.go", "x.go", true),
            ("**/*.go", "d/e/x.go", true),
            ("d/**", "d/e/f", true),
            ("d/**/f", "d/f", true),
            ("d/**/f", "d/e/e/f", true),
            ("d/**/f", "df", false),
            ("**", "a/b", true),
            ("a**", "ab/c", true),
            ("?", "a", true),
            ("?", "/", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[^a-c]x", "dx", true),
            ("[]]", "]", false),
            (r"[\]]", "]", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("a.b", "axb", false),
        ] {
            let parsed = Pattern::parse(pattern);
            assert_eq!(parsed.is_ok_and(|p| p.matches(path)), expected, "{pattern} {path}");
        }
        for bad in ["[", "[a", "a\\", "[]", "[a-]"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_stars_do_not_take_long() {
        let pattern = Pattern::parse(&"*a".repeat(200)).unwrap();
        assert!(!pattern.matches(&"aaab".repeat(1000)));
        assert!(!Pattern::parse(&"**/x".repeat(100)).unwrap().matches(&"x".repeat(4000)));
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, expected) in [("/a//b/", "a/b"), ("./a/../b", "b"), ("../../x", "x"), (".", ""), ("", "")] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn a_pattern_without_signs_is_a_name() {
        assert_eq!(Pattern::parse(r"a\*b").unwrap().literal().as_deref(), Some("a*b"));
        assert_eq!(Pattern::parse("a*").unwrap().literal(), None);
        for name in ["a*b", "[x]", r"\", "?", "é"] {
            assert_eq!(Pattern::parse(&literal(name)).unwrap().literal().as_deref(), Some(name));
        }
    }
}
