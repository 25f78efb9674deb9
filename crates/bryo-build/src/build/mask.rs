// SPDX-License-Identifier: Apache-2.0
//! Secrets that a command says are not told: what a build tells is kept by whoever runs it, and often read by others.

use std::collections::BTreeMap;

use crate::progress::Stream;

/// Secrets shorter than this, in bytes, would take ordinary words out of what is told.
const WHOLE_MIN: usize = 4;

/// The same for a line of a secret that has several.
const LINE_MIN: usize = 8;

/// What stands in the place of a secret.
const STARS: &[u8] = b"***";

/// Takes secrets out of what a command says.
pub(super) struct Mask {
    /// What is taken out, the longest first.
    secrets: Vec<Vec<u8>>,
    /// What may be the beginning of one, of each stream.
    held: [Vec<u8>; 2],
}

impl Mask {
    /// Takes these out.
    pub(super) fn new(secrets: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for secret in secrets.values().map(|secret| secret.trim_ascii()) {
            let lines = secret.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            all.extend(lines.filter(|line| line.len() >= LINE_MIN).map(<[u8]>::to_vec));
            if secret.len() >= WHOLE_MIN {
                all.push(secret.to_vec());
            }
        }
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all.dedup();
        Self { secrets: all, held: [Vec::new(), Vec::new()] }
    }

    fn held(&mut self, stream: Stream) -> &mut Vec<u8> {
        &mut self.held[usize::from(stream == Stream::Err)]
    }

    /// Returns what can be told of what was said.
    pub(super) fn pass(&mut self, stream: Stream, bytes: &[u8]) -> Vec<u8> {
        let mut said = std::mem::take(self.held(stream));
        said.extend_from_slice(bytes);
        let mut told = Vec::with_capacity(said.len());
        let mut rest = said.as_slice();
        while !rest.is_empty() {
            if let Some(secret) = self.secrets.iter().find(|secret| rest.starts_with(secret)) {
                told.extend_from_slice(STARS);
                rest = &rest[secret.len()..];
            } else if self.secrets.iter().any(|secret| secret.starts_with(rest)) {
                *self.held(stream) = rest.to_vec();
                break;
            } else {
                told.push(rest[0]);
                rest = &rest[1..];
            }
        }
        told
    }

    /// Returns what was held back when nothing more is said.
    pub(super) fn rest(&mut self, stream: Stream) -> Vec<u8> {
        std::mem::take(self.held(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let named = secrets.iter().enumerate().map(|(n, text)| (n.to_string(), text.as_bytes().to_vec()));
        Mask::new(&named.collect())
    }

    #[test]
    fn a_secret_is_not_told_however_it_is_cut() {
        let said = b"token=abcdefgh. abcdef abcdefgh";
        for cut in 0..said.len() {
            let mut mask = mask(&["abcdefgh\n"]);
            let mut told = mask.pass(Stream::Out, &said[..cut]);
            assert_eq!(mask.pass(Stream::Err, b"abc"), b"");
            told.extend(mask.pass(Stream::Out, &said[cut..]));
            told.extend(mask.rest(Stream::Out));
            assert_eq!(String::from_utf8(told).unwrap(), "token=***. abcdef ***", "{cut}");
            assert_eq!(mask.rest(Stream::Err), b"abc");
        }
    }

    #[test]
    fn lines_of_a_key_are_secrets_and_short_words_are_none() {
        let mut mask = mask(&["-----BEGIN KEY-----\nMIIabcdef\nx\n", "ab", ""]);
        assert_eq!(mask.pass(Stream::Out, b"ab x MIIabcdef\n-----BEGIN KEY-----\n"), b"ab x ***\n***\n");
    }
}
