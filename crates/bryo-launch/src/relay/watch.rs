// SPDX-License-Identifier: Apache-2.0
//! Notices when a payload tells a person at a terminal that it was refused something.

/// What was noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The words for `EROFS`.
    pub read_only: bool,
    /// The words for `EPERM` or `EACCES`.
    pub not_permitted: bool,
    /// The signal with which somebody has ended the command, and with it the payload.
    pub ended_by: Option<i32>,
}

impl Seen {
    /// Joins what two streams showed.
    pub fn or(self, other: Self) -> Self {
        Self {
            read_only: self.read_only || other.read_only,
            not_permitted: self.not_permitted || other.not_permitted,
            ended_by: self.ended_by.or(other.ended_by),
        }
    }
}

/// The words, as `strerror(3)` has them in every C library, without their first letter: programs differ in its case.
const READ_ONLY: &[u8] = b"ead-only file system";
const NOT_PERMITTED: [&[u8]; 2] = [b"peration not permitted", b"ermission denied"];

/// Looks for the words in a stream that comes in pieces.
#[derive(Debug, Default)]
pub struct Watch {
    /// What was found so far.
    pub seen: Seen,
    /// The end of the last piece, in which words may have begun.
    tail: Vec<u8>,
}

impl Watch {
    /// Looks at the next piece.
    pub fn look(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        self.seen.read_only |= contains(&self.tail, READ_ONLY);
        self.seen.not_permitted |= NOT_PERMITTED.iter().any(|words| contains(&self.tail, words));
        let keep = self.tail.len().min(NOT_PERMITTED[0].len());
        self.tail.drain(..self.tail.len() - keep);
    }
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|w| w.eq_ignore_ascii_case(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_seen_across_pieces() {
        let mut watch = Watch::default();
        for piece in ["touch: /x: Read-on", "ly file sys", "tem\n"] {
            watch.look(piece.as_bytes());
        }
        assert_eq!(watch.seen, Seen { read_only: true, ..Seen::default() });
        watch.look(b"mount: permission DENIED (are you root?)");
        assert!(watch.seen.not_permitted);
        let mut watch = Watch::default();
        watch.look(b"all is well");
        assert_eq!(watch.seen, Seen::default());
    }
}
