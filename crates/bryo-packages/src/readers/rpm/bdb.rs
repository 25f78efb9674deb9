// SPDX-License-Identifier: Apache-2.0
//! rpm's older database, `Packages`: a hash of Berkeley DB, whose values are on chains of overflow pages. Source:
//! Berkeley DB, `dbinc/db_page.h`, the layouts in its comments.

use std::borrow::Cow;

use super::super::Said;
use crate::error::{Error, Result};

const MAGIC: u32 = 0x0006_1561;
const HASH_UNSORTED: u8 = 2;
const OVERFLOW: u8 = 7;
const HASH: u8 = 13;
/// A value on a page of its own.
const OFF_PAGE: u8 = 3;
/// A value on the page itself.
const KEY_DATA: u8 = 1;
const PAGE_HEAD: usize = 26;
/// The largest value, in bytes: that of a header.
const VALUE_MAX: usize = 256 << 20;

/// Reads the packages.
///
/// # Errors
///
/// [`Kind::Corrupt`](crate::Kind::Corrupt) when it is no such database.
pub fn packages(data: &[u8], files: bool) -> Result<Said> {
    let db = Db::open(data)?;
    // A chain of every page would be read once for each value that points to it: no more is read than there is, some
    // times over.
    let mut budget = data.len().saturating_mul(4).max(1 << 20);
    let mut blobs = Vec::new();
    for page in (0..=db.last).filter_map(|n| db.page(n)) {
        if !matches!(page.get(25), Some(&HASH_UNSORTED | &HASH)) {
            continue;
        }
        let count = db.half(page, 20).unwrap_or(0) as usize;
        // Keys and values take turns.
        for n in (1..count).step_by(2) {
            let Some(value) = db.half(page, PAGE_HEAD + 2 * n).map(usize::from) else { break };
            let before = db.half(page, PAGE_HEAD + 2 * (n - 1)).map_or(0, usize::from);
            match page.get(value) {
                Some(&OFF_PAGE) => {
                    let Some(blob) = db.overflow(page, value, &mut budget) else {
                        blobs.push(Cow::Borrowed([].as_slice()));
                        continue;
                    };
                    blobs.push(Cow::Owned(blob));
                }
                // Values grow from the end of the page; the count of packages is one that is as short as a number.
                Some(&KEY_DATA) if before > value + 1 + 16 => {
                    blobs.push(Cow::Borrowed(page.get(value + 1..before).unwrap_or_default()));
                }
                _ => (),
            }
        }
    }
    Ok(super::headers(blobs.into_iter(), files, super::Budget::of(data)))
}

struct Db<'a> {
    data: &'a [u8],
    size: usize,
    last: u32,
    big: bool,
}

impl<'a> Db<'a> {
    fn open(data: &'a [u8]) -> Result<Self> {
        let refused = || Error::corrupt("it is no database of rpm in the form of Berkeley DB");
        let magic = data.get(12..16).and_then(|bytes| bytes.try_into().ok()).ok_or_else(refused)?;
        let big = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC, _) => false,
            (_, MAGIC) => true,
            _ => return Err(refused()),
        };
        let mut db = Self { data, size: 0, last: 0, big };
        let size = db.word(data, 20).ok_or_else(refused)?;
        if !(512..=65536).contains(&size) || !size.is_power_of_two() || data.get(24) != Some(&0) {
            return Err(refused());
        }
        db.size = size as usize;
        let there = u32::try_from(data.len() / db.size).unwrap_or(u32::MAX);
        db.last = db.word(data, 32).ok_or_else(refused)?.min(there);
        Ok(db)
    }

    fn page(&self, number: u32) -> Option<&'a [u8]> {
        let at = (number as usize).checked_mul(self.size)?;
        self.data.get(at..at.checked_add(self.size)?)
    }

    /// Puts a value together from its chain.
    fn overflow(&self, page: &[u8], at: usize, budget: &mut usize) -> Option<Vec<u8>> {
        let mut next = self.word(page, at + 4)?;
        let length = self.word(page, at + 8)? as usize;
        if length > VALUE_MAX {
            return None;
        }
        let mut value = Vec::with_capacity(length.min(self.data.len()));
        while value.len() < length {
            let page = self.page(next).filter(|_| next != 0)?;
            if page.get(25) != Some(&OVERFLOW) {
                return None;
            }
            // On such a page the offset of free space is how long its data is.
            let used = usize::from(self.half(page, 22)?).min(length - value.len());
            if used == 0 || used > *budget {
                return None;
            }
            *budget -= used;
            value.extend(page.get(PAGE_HEAD..PAGE_HEAD + used)?);
            next = self.word(page, 16)?;
        }
        Some(value)
    }

    fn word(&self, data: &[u8], at: usize) -> Option<u32> {
        let bytes = data.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn half(&self, data: &[u8], at: usize) -> Option<u16> {
        let bytes = data.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_another_file_is_refused() {
        assert!(packages(b"", false).is_err());
        assert!(packages(&[0; 8192], false).is_err());
    }
}
