// SPDX-License-Identifier: Apache-2.0
//! One archive member's name, checked: components that stay below a root, or whiteouts.

use super::Limits;
use crate::error::{Error, Kind, Result};

const WHITEOUT: &[u8] = b".wh.";
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A path without empty, `.` and `..` components: relative to a root, and below it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct RootPath(Vec<u8>);

/// What a member's name asks for.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// The member itself, at this path; the root if the path is empty.
    Make(RootPath),
    /// Hides whatever lower layers have at this path.
    Whiteout(RootPath),
    /// Hides all that lower layers have in this directory.
    Opaque(RootPath),
    /// Nothing: a leftover of aufs.
    Ignore,
}

/// How much of a name is shown: it is anybody's, and says no more by its length.
const SHOWN: usize = 100;

/// Returns a name for messages, in quotes.
pub(crate) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(4 * SHOWN)]);
    let mut chars = text.chars();
    let begin: String = chars.by_ref().take(SHOWN).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    format!("{begin:?}{more}")
}

impl RootPath {
    /// Checks a member's name or the target of a hard link.
    ///
    /// # Errors
    /// [`Kind::EscapesRoot`] for any `..`, even a harmless one; [`Kind::Limit`] if it is too long or too deep.
    pub fn parse(name: &[u8], limits: &Limits) -> Result<Self> {
        if name.len() > limits.path_len {
            return Err(Error::new(Kind::Limit, format!("unpack {}: name too long", shown(name))));
        }
        let mut path = Vec::with_capacity(name.len());
        let mut depth = 0;
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => {
                    let what = format!("unpack {}: it leads out of the directory by \"..\"", shown(name));
                    return Err(Error::new(Kind::EscapesRoot, what));
                }
                _ => {}
            }
            if part.contains(&0) {
                return Err(Error::new(Kind::Corrupt, format!("unpack {}: nul in name", shown(name))));
            }
            if part.len() > 255 {
                return Err(Error::new(Kind::Limit, format!("unpack {}: name too long", shown(name))));
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
            depth += 1;
        }
        if depth > limits.depth {
            return Err(Error::new(Kind::Limit, format!("unpack {}: path too deep", shown(name))));
        }
        Ok(Self(path))
    }

    /// Returns the bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether it is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Splits into parent directory and last component.
    pub fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (&[], &self.0),
        }
    }

    /// Returns the path for messages.
    pub fn display(&self) -> String {
        shown(&self.0)
    }
}

impl Action {
    /// Tells what a name asks for. Source: OCI image specification, "layer.md", section "Whiteouts".
    ///
    /// # Errors
    /// [`Kind::EscapesRoot`] for a whiteout of `.` or `..`; [`Kind::Corrupt`] for one of nothing, or as a directory.
    pub fn parse(name: &[u8], limits: &Limits) -> Result<Self> {
        let path = RootPath::parse(name, limits)?;
        let (parent, last) = path.split();
        let mut above = parent.split(|byte| *byte == b'/');
        if above.clone().any(|part| part.starts_with(AUFS)) || (last.starts_with(AUFS) && last != OPAQUE) {
            return Ok(Self::Ignore);
        }
        if above.any(|part| part.starts_with(WHITEOUT)) {
            return Err(Error::new(Kind::Corrupt, format!("unpack {}: below a whiteout", path.display())));
        }
        if last == OPAQUE {
            return Ok(Self::Opaque(RootPath(parent.to_vec())));
        }
        let Some(hidden) = last.strip_prefix(WHITEOUT) else {
            return Ok(Self::Make(path));
        };
        match hidden {
            b"" => Err(Error::new(Kind::Corrupt, format!("unpack {}: whiteout of nothing", path.display()))),
            b"." | b".." => {
                let what = format!("unpack {}: whiteout of a directory that it is in", path.display());
                Err(Error::new(Kind::EscapesRoot, what))
            }
            _ => {
                let mut target = parent.to_vec();
                if !target.is_empty() {
                    target.push(b'/');
                }
                target.extend_from_slice(hidden);
                Ok(Self::Whiteout(RootPath(target)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RootPath {
        RootPath(text.as_bytes().to_vec())
    }

    fn action(name: &str) -> Result<Action> {
        Action::parse(name.as_bytes(), &Limits::default())
    }

    #[test]
    fn names_are_taken_relative_to_the_root() {
        for name in ["a/b", "/a/b", "./a//b/", "///a/./b"] {
            assert_eq!(action(name).unwrap(), Action::Make(path("a/b")), "{name}");
        }
        for name in ["", ".", "/", "./"] {
            assert_eq!(action(name).unwrap(), Action::Make(path("")), "{name}");
        }
        assert_eq!(action("a/..b/...").unwrap(), Action::Make(path("a/..b/...")));
    }

    #[test]
    fn whiteouts_are_recognised() {
        assert_eq!(action("a/.wh.b").unwrap(), Action::Whiteout(path("a/b")));
        assert_eq!(action(".wh.b").unwrap(), Action::Whiteout(path("b")));
        assert_eq!(action("a/.wh..wh..opq").unwrap(), Action::Opaque(path("a")));
        assert_eq!(action(".wh..wh..opq").unwrap(), Action::Opaque(path("")));
        for name in [".wh..wh.plnk", ".wh..wh.plnk/1.2", "a/.wh..wh.aufs", ".wh..wh.orph/x"] {
            assert_eq!(action(name).unwrap(), Action::Ignore, "{name}");
        }
    }

    #[test]
    fn names_that_leave_the_root_are_refused() {
        for name in ["..", "../x", "a/../../x", "a/..", "/..", "../.wh.x", "a/.wh..", "a/.wh...", ".wh..", ".wh..."] {
            assert_eq!(action(name).unwrap_err().kind(), Kind::EscapesRoot, "{name}");
        }
    }

    /// The reason is said, and a name of anybody's does not drive it out of sight.
    #[test]
    fn a_refusal_says_why_in_few_words() {
        let long = format!("../{}", "x/".repeat(1000));
        for name in ["../x", long.as_str()] {
            let told = action(name).unwrap_err().to_string();
            assert!(told.contains("leads out") && told.len() < 200, "{told}");
        }
        assert_eq!(shown("ä".repeat(100).as_bytes()), format!("{:?}", "ä".repeat(100)));
        assert_eq!(shown("ä".repeat(200).as_bytes()), format!("{:?}…", "ä".repeat(100)));
    }

    #[test]
    fn malformed_names_are_refused() {
        for name in ["a/.wh.", ".wh.", ".wh.a/b", ".wh.../x", "a\0b"] {
            assert_eq!(action(name).unwrap_err().kind(), Kind::Corrupt, "{name:?}");
        }
        for name in ["a/".repeat(300), "x".repeat(256), "a/".repeat(60_000)] {
            assert_eq!(action(&name).unwrap_err().kind(), Kind::Limit);
        }
    }
}
