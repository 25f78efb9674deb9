// SPDX-License-Identifier: Apache-2.0
//! Advisories on disk: a file for each ecosystem and source, sorted by package, of which only what is asked for is read.
//!
//! ```text
//! magic | length, header (JSON) | count, index: name's place and length, record's place and length | names | records
//! ```
//! Numbers are little-endian; places are from the beginning of the file. A record is the JSON of all advisories for one
//! package. Files are there whole or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::epss::Epss;
use super::kev::Kev;
use super::{Advisory, Feed};
use crate::cache::write_atomically;
use crate::error::{Error, Kind, Result};
use crate::tree::Bytes;

const MAGIC: &[u8; 8] = b"bryoadv1";
const END: &str = ".advisories";
/// The longest header and index that are read, in bytes.
const HEAD_MAX: u64 = 1 << 20;
const INDEX_MAX: u64 = 1 << 30;
const ENTRY: usize = 20;

/// What a file says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Header {
    /// Whose packages these are, in OSV's words.
    pub ecosystem: String,
    /// Who has published it: `osv`, `debian`, `alpine`.
    pub source: String,
    /// Where it was read from.
    pub origin: String,
    /// When it was published, as far as that is known: RFC 3339.
    pub date: String,
    /// When it was read: RFC 3339.
    pub fetched: String,
    /// How many advisories there are.
    pub advisories: usize,
}

/// Where something is said to come from.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// Who has published it.
    pub source: String,
    /// Where it was read from.
    pub origin: String,
    /// When it was published, if it does not say itself: RFC 3339.
    pub date: String,
    /// When it was read: RFC 3339.
    pub fetched: String,
}

/// The directory of advisories.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Keeps them in a directory, which is made when there is something to keep.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Keeps what a source has, instead of what it had for the same ecosystems.
    ///
    /// # Errors
    ///
    /// That a file cannot be written.
    pub fn put(&self, feed: &Feed, from: &Provenance) -> Result<Vec<Header>> {
        let mut headers = Vec::new();
        for (ecosystem, packages) in &feed.advisories {
            let header = Header {
                ecosystem: ecosystem.clone(),
                source: from.source.clone(),
                origin: from.origin.clone(),
                date: feed.date.clone().unwrap_or_else(|| from.date.clone()),
                fetched: from.fetched.clone(),
                advisories: packages.values().map(Vec::len).sum(),
            };
            let data = encoded(&header, packages)?;
            write_atomically(&self.dir.join(file_name(ecosystem, &from.source)), &data)?;
            headers.push(header);
        }
        Ok(headers)
    }

    /// Lists what there is; a file that cannot be read is told beside it.
    pub fn list(&self) -> (Vec<Header>, Vec<Error>) {
        let (mut headers, mut problems) = (Vec::new(), Vec::new());
        for path in self.files() {
            match Book::open(&path) {
                Ok(book) => headers.push(book.header),
                Err(e) => problems.push(e),
            }
        }
        (headers, problems)
    }

    /// Opens all that there is for ecosystems that fit; what cannot be read is told beside it.
    pub fn open(&self, fits: impl Fn(&str) -> bool) -> (Vec<Book>, Vec<Error>) {
        let (mut books, mut problems) = (Vec::new(), Vec::new());
        for path in self.files() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ecosystem = name.split('@').next().unwrap_or_default();
            if !fits(&decoded(ecosystem)) {
                continue;
            }
            match Book::open(&path) {
                Ok(book) => books.push(book),
                Err(e) => problems.push(e),
            }
        }
        // What the distributions say themselves comes before what others have made of it.
        books.sort_by_key(|book| book.header.source == "osv");
        (books, problems)
    }

    /// Removes all of an ecosystem or of a source, and says how many files that were.
    ///
    /// # Errors
    ///
    /// That a file cannot be removed.
    pub fn remove(&self, word: &str) -> Result<usize> {
        let mut removed = 0;
        for path in self.files() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (ecosystem, source) = name.trim_end_matches(END).split_once('@').unwrap_or_default();
            if source == word || decoded(ecosystem) == word {
                std::fs::remove_file(&path).map_err(|e| Error::io(format!("remove {}", path.display()), e))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Keeps the catalogue of what is exploited.
    ///
    /// # Errors
    ///
    /// That the file cannot be written.
    pub fn put_kev(&self, kev: &Kev) -> Result<()> {
        let data = serde_json::to_vec(kev).map_err(|e| Error::corrupt("write the catalogue").with_source(e))?;
        write_atomically(&self.dir.join("kev.json"), &data)
    }

    /// Returns the catalogue of what is exploited, if it was given.
    pub fn kev(&self) -> Option<Kev> {
        serde_json::from_slice(&std::fs::read(self.dir.join("kev.json")).ok()?).ok()
    }

    /// Keeps the guesses of what will be exploited.
    ///
    /// # Errors
    ///
    /// That the file cannot be written.
    pub fn put_epss(&self, epss: &Epss) -> Result<()> {
        write_atomically(&self.dir.join("epss.csv"), &epss.to_bytes())
    }

    /// Returns the guesses of what will be exploited, if they were given.
    pub fn epss(&self) -> Option<Epss> {
        std::fs::read(self.dir.join("epss.csv")).ok().map(Epss::from_bytes)
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(END)).collect();
        files.sort();
        files
    }
}

/// Makes a name of an ecosystem that is no path.
fn file_name(ecosystem: &str, source: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    let mut name = String::new();
    for byte in ecosystem.bytes().take(100) {
        if plain(byte) && !(name.is_empty() && byte == b'.') {
            name.push(char::from(byte));
        } else {
            name += &format!("%{byte:02x}");
        }
    }
    format!("{name}@{source}{END}")
}

fn decoded(name: &str) -> String {
    let mut out = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, further)) = rest.split_first() {
        let hex = further.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &further[2..];
            }
            None => {
                out.push(*first);
                rest = further;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encoded(header: &Header, packages: &BTreeMap<String, Vec<Advisory>>) -> Result<Vec<u8>> {
    let failed = |e: serde_json::Error| Error::corrupt("write advisories").with_source(e);
    let too_much = |_| Error::new(Kind::Limit, "write advisories: there are too many for one file");
    let head = serde_json::to_vec(header).map_err(failed)?;
    let names: usize = packages.keys().map(String::len).sum();
    let mut name_at = MAGIC.len() + 4 + head.len() + 4 + packages.len() * ENTRY;
    let mut record_at = name_at + names;
    let (mut index, mut text, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let word = |n: usize| u32::try_from(n).map(u32::to_le_bytes).map_err(too_much);
    for (name, advisories) in packages {
        let record = serde_json::to_vec(advisories).map_err(failed)?;
        index.extend(word(name_at)?);
        index.extend(word(name.len())?);
        index.extend((record_at as u64).to_le_bytes());
        index.extend(word(record.len())?);
        name_at += name.len();
        record_at += record.len();
        text.extend(name.as_bytes());
        records.extend(record);
    }
    let mut out = MAGIC.to_vec();
    out.extend(word(head.len())?);
    out.extend(head);
    out.extend(word(packages.len())?);
    for part in [index, text, records] {
        out.extend(part);
    }
    Ok(out)
}

/// One file, open.
#[derive(Debug)]
pub struct Book {
    /// What it says of itself.
    pub header: Header,
    file: Bytes,
    /// The index and the names, and where in the file they begin.
    index: Vec<u8>,
    start: u64,
    count: usize,
}

impl Book {
    fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let file = File::open(path).map_err(|e| Error::io(format!("read {shown}"), e))?;
        let file = Bytes::of(file, shown.clone());
        let damaged = || Error::corrupt(format!("read {shown}: it is damaged; fetch it again"));
        let part = |at: u64, length: u64| -> Result<Vec<u8>> {
            let mut data = vec![0; usize::try_from(length).map_err(|_| damaged())?];
            if file.at(at, &mut data)? == data.len() { Ok(data) } else { Err(damaged()) }
        };
        let word = |at: u64| -> Result<u64> {
            Ok(part(at, 4)?.try_into().map(u32::from_le_bytes).map_err(|_| damaged())?.into())
        };
        if part(0, 8)? != MAGIC {
            return Err(damaged());
        }
        let length = word(8)?;
        if length > HEAD_MAX {
            return Err(damaged());
        }
        let header: Header = serde_json::from_slice(&part(12, length)?).map_err(|e| damaged().with_source(e))?;
        let count = word(12 + length)?;
        let start = 16 + length;
        let size = count * ENTRY as u64;
        if size > INDEX_MAX || start + size > file.len()? {
            return Err(damaged());
        }
        // Names follow the index, and the first record follows them.
        let mut index = part(start, size)?;
        let end = index.get(8..16).map_or(start + size, |at| at.try_into().map_or(0, u64::from_le_bytes));
        let names = end.checked_sub(start + size).filter(|names| *names <= INDEX_MAX && end <= file.len().unwrap_or(0));
        index.extend(part(start + size, names.ok_or_else(damaged)?)?);
        Ok(Self { header, file, index, start, count: usize::try_from(count).map_err(|_| damaged())? })
    }

    /// Returns the advisories for a package.
    ///
    /// # Errors
    ///
    /// [`Kind::Corrupt`] when the file is damaged; [`Kind::Io`].
    pub fn find(&self, name: &str) -> Result<Vec<Advisory>> {
        let damaged = || Error::corrupt(format!("read {}: it is damaged; fetch it again", self.file.path()));
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.index.get(middle * ENTRY..(middle + 1) * ENTRY).ok_or_else(damaged)?;
            let word = |at: usize| entry[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
            let at = u64::from(word(0)).checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
            let at = at.ok_or_else(damaged)?;
            let own = self.index.get(at..at + word(4) as usize).ok_or_else(damaged)?;
            match own.cmp(name.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let place = entry[8..16].try_into().map_or(0, u64::from_le_bytes);
                    let length = word(16);
                    if place.saturating_add(length.into()) > self.file.len()? {
                        return Err(damaged());
                    }
                    let mut record = vec![0; length as usize];
                    self.file.at(place, &mut record)?;
                    return serde_json::from_slice(&record).map_err(|e| damaged().with_source(e));
                }
            }
        }
        Ok(Vec::new())
    }
}
