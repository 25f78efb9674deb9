// SPDX-License-Identifier: Apache-2.0
//! rpm's own database, `Packages.db`: pages of slots, each of which points to the blob of one package. Source: rpm,
//! `lib/backend/ndb/rpmpkg.c`, the constants at its head.

use std::borrow::Cow;

use super::super::Said;
use crate::error::{Error, Result};

const HEADER: u32 = u32::from_le_bytes(*b"RpmP");
const SLOT: u32 = u32::from_le_bytes(*b"Slot");
const BLOB: u32 = u32::from_le_bytes(*b"BlbS");
const VERSION: u32 = 0;
const PAGE: usize = 4096;
const SLOT_SIZE: usize = 16;
/// What offsets and lengths are counted in, in bytes.
const BLOCK: usize = 16;
/// The bytes before a package in its blob.
const BLOB_HEAD: usize = 16;

/// Reads the packages.
///
/// # Errors
///
/// [`Kind::Corrupt`](crate::Kind::Corrupt) when it is no such database.
pub fn packages(data: &[u8], files: bool) -> Result<Said> {
    let word = |at: usize| Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let refused = |why: &str| Error::corrupt(format!("it is no database of rpm in ndb form: {why}"));
    if word(0) != Some(HEADER) {
        return Err(refused("another mark"));
    }
    if word(4) != Some(VERSION) {
        return Err(refused("another version"));
    }
    let pages = word(12).ok_or_else(|| refused("it is cut"))? as usize;
    let end = pages.saturating_mul(PAGE).min(data.len());
    let blob = |slot: usize| -> Option<Cow<'_, [u8]>> {
        let (index, offset) = (word(slot + 4)?, word(slot + 8)? as usize);
        if word(slot)? != SLOT || index == 0 || offset == 0 {
            return None;
        }
        let at = offset.checked_mul(BLOCK)?;
        let length = word(at.checked_add(12)?)? as usize;
        // A blob that is not this package's is damage, and told as a header that is none.
        let whole = word(at)? == BLOB && word(at + 4)? == index;
        let data = data.get(at + BLOB_HEAD..(at + BLOB_HEAD).checked_add(length)?);
        Some(Cow::Borrowed(data.filter(|_| whole).unwrap_or_default()))
    };
    // The first two slots of the first page are the head.
    Ok(super::headers((2 * SLOT_SIZE..end).step_by(SLOT_SIZE).filter_map(blob), files, super::Budget::of(data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_another_file_is_refused() {
        assert!(packages(b"", false).is_err());
        assert!(packages(&[0; 8192], false).is_err());
        assert!(packages(b"RpmP\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff", false).unwrap().packages.is_empty());
    }
}
