// SPDX-License-Identifier: Apache-2.0
//! rpm's database in sqlite: one table, `Packages (hnum INTEGER PRIMARY KEY, blob BLOB)`, read by our own means, as every
//! reader that is kept well brings a C library with it. Source: sqlite.org, "Database File Format".

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::super::Said;
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// How deep a tree may be; each level multiplies.
const DEPTH_MAX: usize = 20;
/// The largest value, in bytes: that of a header.
const VALUE_MAX: u64 = 256 << 20;
/// How many of the schema's entries are looked at.
const SCHEMA_MAX: usize = 1000;

/// Reads the packages; `wal` is what was written and has not been moved into the database.
///
/// # Errors
///
/// [`Kind::Corrupt`](crate::Kind::Corrupt) when it is no such database, or its tree is damaged.
pub fn packages(data: &[u8], wal: Option<&[u8]>, files: bool) -> Result<Said> {
    let db = Db::open(data, wal)?;
    let mut root = None;
    let mut schema = 0;
    db.rows(1, &mut |row| {
        let columns = db.columns(row, 4)?;
        let text = |n: usize| columns.get(n).map(Vec::as_slice).unwrap_or_default();
        if text(0) == b"table" && text(1) == b"Packages" {
            root = Some(columns.get(3).map_or(0, |bytes| bytes.iter().fold(0u64, |sum, b| sum << 8 | u64::from(*b))));
        }
        schema += 1;
        (schema < SCHEMA_MAX).then_some(())
    })?;
    let root = root.ok_or_else(|| Error::corrupt("it has no table Packages"))?;
    let mut said = Said::default();
    let mut budget = super::Budget::of(data);
    let done = db.rows(u32::try_from(root).unwrap_or(0), &mut |row| {
        budget.take(usize::try_from(row.length).ok()?.max(16))?;
        let blob = db.columns(row, 2)?.into_iter().nth(1)?;
        super::one(&blob, files, &mut budget, &mut said);
        Some(())
    });
    // What was read before the damage is told.
    said.problems.extend(done.err().map(|e| e.chain()));
    Ok(said)
}

/// A row: what of it is on its page, how long it is, and where the rest begins.
struct Row<'a> {
    local: &'a [u8],
    length: u64,
    rest: u32,
}

struct Db<'a> {
    data: &'a [u8],
    wal: HashMap<u32, &'a [u8]>,
    size: usize,
    usable: usize,
    pages: u32,
}

fn damaged() -> Error {
    Error::corrupt("its tree of pages is damaged")
}

impl<'a> Db<'a> {
    fn open(data: &'a [u8], wal: Option<&'a [u8]>) -> Result<Self> {
        let refused = || Error::corrupt("it is no database of sqlite");
        if !data.starts_with(MAGIC) || data.len() < 100 {
            return Err(refused());
        }
        let size = match half(data, 16) {
            Some(1) => 65536,
            Some(size) if size >= 512 && size.is_power_of_two() => usize::from(size),
            _ => return Err(refused()),
        };
        let usable = size - usize::from(data[20]);
        if usable < 480 {
            return Err(refused());
        }
        let wal = wal.map(|wal| frames(wal, size)).unwrap_or_default();
        let last = wal.keys().max().copied().unwrap_or(0);
        let pages = u32::try_from(data.len() / size).unwrap_or(u32::MAX).max(last);
        Ok(Self { data, wal, size, usable, pages })
    }

    fn page(&self, number: u32) -> Option<&'a [u8]> {
        if let Some(page) = self.wal.get(&number) {
            return Some(page);
        }
        let at = (number.checked_sub(1)? as usize).checked_mul(self.size)?;
        self.data.get(at..at.checked_add(self.size)?)
    }

    /// Gives every row of a table away, until there is no answer; a row that cannot be read ends it.
    fn rows(&self, root: u32, each: &mut dyn FnMut(&Row<'a>) -> Option<()>) -> Result<()> {
        // A page is read once: one that is its own parent does not go on for ever.
        let mut seen = HashSet::new();
        let mut todo = vec![(root, 0)];
        while let Some((number, depth)) = todo.pop() {
            if depth > DEPTH_MAX || number > self.pages || !seen.insert(number) {
                return Err(damaged());
            }
            let page = self.page(number).ok_or_else(damaged)?;
            let head = if number == 1 { 100 } else { 0 };
            let count = usize::from(half(page, head + 3).ok_or_else(damaged)?);
            match page.get(head) {
                Some(5) => {
                    let children = (0..count).map(|n| word(page, usize::from(half(page, head + 12 + 2 * n)?)));
                    let children = children.chain([word(page, head + 8)]).collect::<Option<Vec<u32>>>();
                    todo.extend(children.ok_or_else(damaged)?.into_iter().rev().map(|child| (child, depth + 1)));
                }
                Some(13) => {
                    for n in 0..count {
                        let at = usize::from(half(page, head + 8 + 2 * n).ok_or_else(damaged)?);
                        let row = self.row(page, at).ok_or_else(damaged)?;
                        if each(&row).is_none() {
                            return Err(damaged());
                        }
                    }
                }
                _ => return Err(damaged()),
            }
        }
        Ok(())
    }

    fn row(&self, page: &'a [u8], at: usize) -> Option<Row<'a>> {
        let mut cell = page.get(at..self.usable)?;
        let length = varint(&mut cell)?;
        varint(&mut cell)?;
        // How much is on the page itself. Source: "B-tree Cell Format".
        let (usable, whole) = (self.usable as u64, length);
        let most = usable - 35;
        let least = (usable - 12) * 32 / 255 - 23;
        let local = if whole <= most {
            whole
        } else {
            let fitting = least + (whole - least) % (usable - 4);
            if fitting <= most { fitting } else { least }
        };
        let (local, rest) = cell.split_at_checked(usize::try_from(local).ok()?)?;
        let rest = if local.len() as u64 == length { 0 } else { word(rest, 0)? };
        Some(Row { local, length, rest })
    }

    /// Puts a row together.
    fn whole(&self, row: &Row<'a>) -> Option<Cow<'a, [u8]>> {
        if row.rest == 0 {
            return Some(Cow::Borrowed(row.local));
        }
        let there = (u64::from(self.pages) * self.size as u64).min(VALUE_MAX);
        if row.length > there {
            return None;
        }
        let length = usize::try_from(row.length).ok()?;
        let mut value = Vec::with_capacity(length);
        value.extend(row.local);
        let mut next = row.rest;
        while value.len() < length {
            let page = self.page(next)?;
            let part = page.get(4..self.usable)?;
            value.extend(&part[..part.len().min(length - value.len())]);
            next = word(page, 0)?;
        }
        Some(Cow::Owned(value))
    }

    /// Reads the first columns of a row. A number comes as its bytes.
    fn columns(&self, row: &Row<'a>, count: usize) -> Option<Vec<Vec<u8>>> {
        let whole = self.whole(row)?;
        let mut head: &[u8] = &whole;
        let length = usize::try_from(varint(&mut head)?).ok()?;
        let used = whole.len() - head.len();
        let mut types = head.get(..length.checked_sub(used)?)?;
        let mut body = whole.get(length..)?;
        let mut columns = Vec::new();
        while columns.len() < count && !types.is_empty() {
            let kind = varint(&mut types)?;
            let size = match kind {
                0 | 8 | 9 => 0,
                n @ 1..=4 => n,
                5 => 6,
                6 | 7 => 8,
                10 | 11 => return None,
                n => (n - 12) / 2,
            };
            let (value, rest) = body.split_at_checked(usize::try_from(size).ok()?)?;
            columns.push(if kind == 9 { vec![1] } else { value.to_vec() });
            body = rest;
        }
        Some(columns)
    }
}

/// Reads the pages of a write-ahead log that were committed. Source: "WAL File Format".
fn frames(wal: &[u8], size: usize) -> HashMap<u32, &[u8]> {
    let mut committed = HashMap::new();
    let big = match word(wal, 0) {
        Some(0x377f_0683) => true,
        Some(0x377f_0682) => false,
        _ => return committed,
    };
    if word(wal, 8).map(|n| n as usize) != Some(size) || wal.len() < 32 {
        return committed;
    }
    let mut pending = Vec::new();
    let mut sum = checksum((0, 0), &wal[..24], big);
    for frame in wal[32..].chunks_exact(24 + size) {
        sum = checksum(checksum(sum, &frame[..8], big), &frame[24..], big);
        // What was there before the log began anew has other salts or sums.
        if frame[8..16] != wal[16..24] || word(frame, 16) != Some(sum.0) || word(frame, 20) != Some(sum.1) {
            break;
        }
        pending.extend(word(frame, 0).map(|number| (number, &frame[24..])));
        if word(frame, 4) != Some(0) {
            committed.extend(pending.drain(..));
        }
    }
    committed
}

fn checksum(start: (u32, u32), data: &[u8], big: bool) -> (u32, u32) {
    let number = |bytes: &[u8]| {
        let add = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
        if big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
    };
    data.chunks_exact(8).fold(start, |(a, b), pair| {
        let a = a.wrapping_add(number(&pair[..4])).wrapping_add(b);
        (a, b.wrapping_add(number(&pair[4..])).wrapping_add(a))
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for n in 0..9 {
        let (byte, further) = rest.split_first()?;
        *rest = further;
        if n == 8 {
            return Some(value << 8 | u64::from(*byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn half(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_another_file_is_refused() {
        assert!(packages(b"", None, false).is_err());
        assert!(packages(&[0; 8192], None, false).is_err());
        let mut empty = MAGIC.to_vec();
        empty.resize(8192, 0);
        empty[16..18].copy_from_slice(&4096u16.to_be_bytes());
        assert!(packages(&empty, None, false).is_err());
        // A page that is its own child.
        empty[100] = 5;
        empty[108..112].copy_from_slice(&1u32.to_be_bytes());
        assert!(packages(&empty, None, false).is_err());
    }
}
