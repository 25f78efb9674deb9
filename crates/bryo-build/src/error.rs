// SPDX-License-Identifier: Apache-2.0
//! Why a build ended.

use std::fmt;

use crate::dockerfile::{Mistake, Place};

/// The result of what can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// The Dockerfile, or what was asked for beside it, is not understood.
    Dockerfile,
    /// A command of the Dockerfile has ended with this code.
    Step(i32),
    /// The result would run as root, and must not.
    Root,
    /// From the engine.
    Engine(bryo_engine::error::Kind),
}

/// A failure: what went wrong, and where in the Dockerfile.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    place: Option<Place>,
    source: Option<bryo_engine::error::Error>,
}

impl Error {
    /// Makes an error of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), place: None, source: None }))
    }

    /// Says where in the Dockerfile it is, unless that is known better already.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }

    /// Returns what kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns where in the Dockerfile it is.
    pub fn place(&self) -> Option<Place> {
        self.0.place
    }

    /// Returns the engine's failure that this is.
    pub fn into_engine(self) -> std::result::Result<bryo_engine::error::Error, Self> {
        let mut inner = self.0;
        inner.source.take().ok_or(Self(inner))
    }
}

/// Makes an error of the Dockerfile.
pub(crate) fn wrong(message: impl Into<String>) -> Error {
    Error::new(Kind::Dockerfile, message)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

impl From<Mistake> for Error {
    fn from(mistake: Mistake) -> Self {
        let error = wrong(mistake.message);
        if mistake.place.line == 0 { error } else { error.at(mistake.place) }
    }
}

impl From<bryo_engine::error::Error> for Error {
    fn from(source: bryo_engine::error::Error) -> Self {
        let kind = Kind::Engine(source.kind());
        Self(Box::new(Inner { kind, message: source.to_string(), place: None, source: Some(source) }))
    }
}

impl From<bryo_image::Error> for Error {
    fn from(source: bryo_image::Error) -> Self {
        bryo_engine::error::Error::from(source).into()
    }
}

/// Shows the lines of a Dockerfile around a place, as BuildKit does.
pub fn excerpt(name: &str, text: &str, place: Place) -> String {
    /// How many lines are shown before and after.
    const AROUND: usize = 3;
    /// How many lines of a long instruction are shown.
    const MOST: usize = 40;
    let lines: Vec<&str> = text.lines().collect();
    let first = place.line.saturating_sub(AROUND + 1);
    let last = (place.last_line + AROUND).min(lines.len()).min(place.line + MOST);
    let rule = "-".repeat(20);
    let mut shown = format!("{name}:{}\n{rule}\n", place.line);
    for (number, line) in lines.iter().enumerate().take(last).skip(first) {
        let here = (place.line..=place.last_line).contains(&(number + 1));
        let mark = if here { ">>>" } else { "   " };
        shown.push_str(format!("{:4} | {mark} {line}", number + 1).trim_end());
        shown.push('\n');
    }
    shown + &rule + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_around_a_place_are_shown() {
        let text = "FROM x\n\nRUN a \\\n  b\nRUN c\nRUN d\nRUN e\nRUN f\n";
        let place = Place { line: 3, column: 1, last_line: 4 };
        let expected = "Dockerfile:3\n--------------------\n   1 |     FROM x\n   2 |\n   3 | >>> RUN a \\\n   4 | >>>   b\n   5 |     RUN c\n   6 |     RUN d\n   7 |     RUN e\n--------------------\n";
        assert_eq!(excerpt("Dockerfile", text, place), expected);
    }
}
