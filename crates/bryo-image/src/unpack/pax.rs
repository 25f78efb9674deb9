// SPDX-License-Identifier: Apache-2.0
//! PAX extended headers, read by their length prefixes. Source: POSIX.1-2017, `pax`, "pax Extended Header".
//!
//! Faces: records that another reader would take differently (values with newlines, repeated keys, lengths that do
//! not fit). Whatever could change a member's name or extent must be said once and clearly.

use super::entry::shown;
use crate::error::{Error, Kind, Result};

/// The largest extended header that is read, in bytes.
pub(super) const PAX_MAX: u64 = 1 << 20;

/// What an extended header says about the next member.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: PaxSparse,
}

/// The keys of GNU's sparse formats 0.0, 0.1 and 1.0. Source: GNU tar manual, "Storing Sparse Files".
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct PaxSparse {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    pub blocks: Option<u64>,
    /// Format 0.1: the whole map in one value.
    pub map: Option<Vec<u64>>,
    /// Format 0.0: one pair of keys for each chunk.
    pub pairs: Vec<(u64, Option<u64>)>,
}

impl PaxSparse {
    /// Returns whether any key of it was there.
    pub fn is_used(&self) -> bool {
        *self != Self::default()
    }
}

impl Pax {
    /// Parses the records of a header for one member.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for records that are malformed or repeat what must be said once.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        for record in Records(bytes) {
            let (key, value) = record?;
            pax.add(key, value)?;
        }
        Ok(pax)
    }

    /// Checks a global header: it may describe the archive, but not change members, as readers disagree on that.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if it would change a name, an extent or an owner.
    pub fn check_global(bytes: &[u8]) -> Result<()> {
        for record in Records(bytes) {
            let (key, _) = record?;
            let changes = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid");
            if changes || key.starts_with(b"GNU.sparse.") || key.starts_with(b"SCHILY.xattr.") {
                return Err(corrupt("global header that changes members", key));
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"path" => once(&mut self.path, key, text(key, value)?),
            b"linkpath" => once(&mut self.link, key, text(key, value)?),
            b"size" => once(&mut self.size, key, number(key, value)?),
            b"uid" => once(&mut self.uid, key, number(key, value)?),
            b"gid" => once(&mut self.gid, key, number(key, value)?),
            b"mtime" => once(&mut self.mtime, key, time(key, value)?),
            b"GNU.sparse.major" => once(&mut self.sparse.major, key, number(key, value)?),
            b"GNU.sparse.minor" => once(&mut self.sparse.minor, key, number(key, value)?),
            b"GNU.sparse.name" => once(&mut self.sparse.name, key, text(key, value)?),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => once(&mut self.sparse.real_size, key, number(key, value)?),
            b"GNU.sparse.numblocks" => once(&mut self.sparse.blocks, key, number(key, value)?),
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').map(|part| number(key, part));
                once(&mut self.sparse.map, key, numbers.collect::<Result<Vec<_>>>()?)
            }
            b"GNU.sparse.offset" => {
                self.sparse.pairs.push((number(key, value)?, None));
                Ok(())
            }
            b"GNU.sparse.numbytes" => match self.sparse.pairs.last_mut() {
                Some((_, len @ None)) => {
                    *len = Some(number(key, value)?);
                    Ok(())
                }
                _ => Err(corrupt("sparse length without offset", key)),
            },
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if key.starts_with(b"GNU.sparse.") {
                    return Err(corrupt("unknown sparse format", key));
                }
                Ok(())
            }
        }
    }
}

struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        // Some writers pad the header's size itself.
        if self.0.iter().all(|byte| *byte == 0) {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        Some(split_record(bytes).map(|(record, rest)| {
            self.0 = rest;
            record
        }))
    }
}

type Record<'a> = (&'a [u8], &'a [u8]);

/// Splits `"LEN KEY=VALUE\n"` off, where LEN counts all of it.
fn split_record(bytes: &[u8]) -> Result<(Record<'_>, &[u8])> {
    let fail = || corrupt("malformed record", &bytes[..bytes.len().min(40)]);
    let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or_else(fail)?;
    let len = usize::try_from(number(b"length", &bytes[..space])?).map_err(|_| fail())?;
    if len > bytes.len() || len < space + 3 || bytes[len - 1] != b'\n' {
        return Err(fail());
    }
    let body = &bytes[space + 1..len - 1];
    let equals = body.iter().position(|byte| *byte == b'=').ok_or_else(fail)?;
    if equals == 0 {
        return Err(fail());
    }
    Ok(((&body[..equals], &body[equals + 1..]), &bytes[len..]))
}

fn once<T>(slot: &mut Option<T>, key: &[u8], value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(corrupt("repeated key", key)),
    }
}

fn text(key: &[u8], value: &[u8]) -> Result<Vec<u8>> {
    if value.is_empty() || value.contains(&0) {
        return Err(corrupt("empty or broken text", key));
    }
    Ok(value.to_vec())
}

fn number(key: &[u8], value: &[u8]) -> Result<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let parsed = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    parsed.filter(|_| digits).ok_or_else(|| corrupt("number", key))
}

/// Parses seconds with an optional fraction, possibly negative.
fn time(key: &[u8], value: &[u8]) -> Result<(i64, u32)> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let seconds = number(key, parts.next().unwrap_or_default())?;
    let seconds = i64::try_from(seconds).map_err(|_| corrupt("time", key))?;
    let mut nanos = 0;
    let fraction = parts.next().unwrap_or_default();
    for at in 0..9 {
        let digit = fraction.get(at).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return Err(corrupt("time", key));
        }
        nanos = nanos * 10 + u32::from(digit - b'0');
    }
    Ok(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

fn corrupt(what: &str, key: &[u8]) -> Error {
    Error::new(Kind::Corrupt, format!("read pax header: {what} {}", shown(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut len = body + 1;
        while len != body + len.to_string().len() {
            len = body + len.to_string().len();
        }
        [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn values_may_contain_newlines_and_equals_signs() {
        let bytes = [record("SCHILY.xattr.user.a", b"1\n12 path=evil\n"), record("path", b"a=b")].concat();
        let pax = Pax::parse(&bytes).unwrap();
        assert_eq!(pax.path.unwrap(), b"a=b");
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"1\n12 path=evil\n".to_vec())]);
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, expected) in [("7", (7, 0)), ("7.25", (7, 250_000_000)), ("-1.5", (-2, 500_000_000))] {
            assert_eq!(Pax::parse(&record("mtime", text.as_bytes())).unwrap().mtime, Some(expected));
        }
    }

    #[test]
    fn what_two_readers_could_take_differently_is_refused() {
        let twice = [record("path", b"a"), record("path", b"b")].concat();
        let mut short = record("path", b"abc");
        short[0] = b'9';
        let mut long = record("path", b"abc");
        long[0] = b'4';
        for bytes in [
            twice,
            short,
            long,
            record("path", b""),
            record("path", b"a\0b"),
            record("size", b"+5"),
            record("size", b""),
            record("size", b"99999999999999999999999"),
            record("GNU.sparse.numbytes", b"5"),
            record("GNU.sparse.future", b"5"),
            b"path=a\n".to_vec(),
            b"9 patha\n\n".to_vec(),
            b"6 =ab\n".to_vec(),
        ] {
            let error = Pax::parse(&bytes).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_global_header_may_only_comment() {
        assert!(Pax::check_global(&record("comment", b"0123abcd")).is_ok());
        for key in ["path", "size", "linkpath", "uid", "GNU.sparse.name"] {
            assert!(Pax::check_global(&record(key, b"1")).is_err(), "{key}");
        }
    }
}
