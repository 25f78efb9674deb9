// SPDX-License-Identifier: Apache-2.0
//! An rpm header: an index of tags and the data that it points into. Sources: rpm, `docs/manual/format_header.md`,
//! `docs/manual/tags.md`.

use crate::error::{Error, Result};
use crate::package::{Package, Source, Type};

/// Limits of rpm itself. Source: `format_header.md`.
const ENTRIES_MAX: usize = 0xffff;
const DATA_MAX: usize = 256 << 20;
/// How many texts of one tag are read.
const TEXTS_MAX: usize = 1_000_000;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const ARCH: u32 = 1022;
const SOURCE: u32 = 1044;
const PROVIDES: u32 = 1047;
const REQUIRES: u32 = 1049;
const DIRINDEXES: u32 = 1116;
const BASENAMES: u32 = 1117;
const DIRNAMES: u32 = 1118;

/// Reads one package; a key that was imported looks like a package, and is none.
///
/// # Errors
///
/// [`Kind::Corrupt`](crate::Kind::Corrupt).
pub fn package(blob: &[u8], files: bool) -> Result<Option<Package>> {
    let header = Header::parse(blob)?;
    let name = header.text(NAME).ok_or_else(|| Error::corrupt("a header has no name"))?;
    if name == "gpg-pubkey" {
        return Ok(None);
    }
    let whole = |version: String, release: Option<String>| match release {
        Some(release) => format!("{version}-{release}"),
        None => version,
    };
    let version = header.text(VERSION).ok_or_else(|| Error::corrupt(format!("the header of {name} has no version")))?;
    let version = whole(version, header.text(RELEASE));
    let epoch = header.numbers(EPOCH).next().filter(|epoch| *epoch > 0);
    let mut package = Package::new(Type::Rpm, name, epoch.map_or(version.clone(), |e| format!("{e}:{version}")));
    package.arch = header.text(ARCH);
    package.supplier = header.text(VENDOR);
    package.licenses = header.text(LICENSE).into_iter().collect();
    package.source = header.text(SOURCE).and_then(|file| source(&file));
    package.provides = header.texts(PROVIDES);
    // What rpm itself must be able to do is no package.
    package.depends = header.texts(REQUIRES).into_iter().filter(|name| !name.starts_with("rpmlib(")).collect();
    for names in [&mut package.provides, &mut package.depends] {
        names.sort();
        names.dedup();
    }
    if files {
        package.files = header.files();
    }
    Ok(Some(package))
}

/// Reads `NAME-VERSION-RELEASE.src.rpm`.
fn source(file: &str) -> Option<Source> {
    let stem = file.strip_suffix(".src.rpm").or(file.strip_suffix(".nosrc.rpm"))?;
    let (rest, release) = stem.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some(Source { name: name.to_owned(), version: format!("{version}-{release}") })
}

struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(blob: &'a [u8]) -> Result<Self> {
        // In a file there is a mark before it, in a database there is none.
        let blob = blob.strip_prefix(b"\x8e\xad\xe8\x01\0\0\0\0").unwrap_or(blob);
        let damaged = || Error::corrupt("a header is damaged");
        let count = word(blob, 0).ok_or_else(damaged)?;
        let size = word(blob, 4).ok_or_else(damaged)?;
        let (count, size) = (count as usize, size as usize);
        if count > ENTRIES_MAX || size > DATA_MAX {
            return Err(damaged());
        }
        let index = blob.get(8..8 + count * 16).ok_or_else(damaged)?;
        let data = blob.get(8 + count * 16..8 + count * 16 + size).ok_or_else(damaged)?;
        Ok(Self { index, data })
    }

    /// Finds a tag: its type, its data and how many of it there are.
    fn find(&self, tag: u32) -> Option<(u32, &'a [u8], usize)> {
        let entry = self.index.chunks_exact(16).find(|entry| word(entry, 0) == Some(tag))?;
        let data = self.data.get(word(entry, 8)? as usize..)?;
        Some((word(entry, 4)?, data, word(entry, 12)? as usize))
    }

    fn texts(&self, tag: u32) -> Vec<String> {
        /// The types of one text, of several, and of one in several languages.
        const TEXTS: [u32; 3] = [6, 8, 9];
        let Some((kind, data, count)) = self.find(tag) else { return Vec::new() };
        if !TEXTS.contains(&kind) || data.is_empty() {
            return Vec::new();
        }
        let parts = data.split(|byte| *byte == 0).take(count.min(TEXTS_MAX));
        parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }

    fn text(&self, tag: u32) -> Option<String> {
        self.texts(tag).into_iter().next().filter(|text| !text.is_empty())
    }

    fn numbers(&self, tag: u32) -> impl Iterator<Item = u32> + use<'a> {
        /// The type of numbers of 32 bits.
        const INT32: u32 = 4;
        let (kind, data, count) = self.find(tag).unwrap_or_default();
        let count = if kind == INT32 { count } else { 0 };
        data.chunks_exact(4).take(count).filter_map(|chunk| word(chunk, 0))
    }

    fn files(&self) -> Vec<String> {
        let dirs = self.texts(DIRNAMES);
        let names = self.texts(BASENAMES);
        let name = |(name, dir): (String, u32)| Some(format!("{}{name}", dirs.get(dir as usize)?));
        names.into_iter().zip(self.numbers(DIRINDEXES)).filter_map(name).collect()
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes a header of texts, and an epoch.
    pub fn header(texts: &[(u32, &str)], epoch: Option<u32>) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::<u8>::new());
        let mut add = |tag: u32, kind: u32, bytes: &[u8]| {
            for word in [tag, kind, u32::try_from(data.len()).unwrap(), 1] {
                index.extend(word.to_be_bytes());
            }
            data.extend(bytes);
        };
        if let Some(epoch) = epoch {
            add(EPOCH, 4, &epoch.to_be_bytes());
        }
        for (tag, text) in texts {
            add(*tag, 6, format!("{text}\0").as_bytes());
        }
        let mut out = Vec::new();
        out.extend(u32::try_from(index.len() / 16).unwrap().to_be_bytes());
        out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(index);
        out.extend(data);
        out
    }

    #[test]
    fn a_package_has_epoch_release_and_source() {
        let texts =
            [(NAME, "openssl-libs"), (VERSION, "3.0.7"), (RELEASE, "1.el9"), (SOURCE, "openssl-3.0.7-1.el9.src.rpm")];
        let found = package(&header(&texts, Some(1)), false).unwrap().unwrap();
        assert_eq!(found.version, "1:3.0.7-1.el9");
        assert_eq!(found.origin(), ("openssl", "3.0.7-1.el9"));
        let plain = package(&header(&texts, None), false).unwrap().unwrap();
        assert_eq!(plain.version, "3.0.7-1.el9");
        assert!(package(&header(&[(NAME, "gpg-pubkey"), (VERSION, "1")], None), false).unwrap().is_none());
    }

    #[test]
    fn a_cut_or_lying_header_is_refused() {
        let whole = header(&[(NAME, "a"), (VERSION, "1")], None);
        for length in 0..whole.len() {
            assert!(package(&whole[..length], false).is_err(), "{length}");
        }
        let mut lying = whole;
        lying[0..4].copy_from_slice(&0xffff_ffffu32.to_be_bytes());
        assert!(package(&lying, false).is_err());
    }
}
