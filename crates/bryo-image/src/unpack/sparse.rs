// SPDX-License-Identifier: Apache-2.0
//! Maps of sparse files: where the data of a member belongs. Four formats, one checked result.

use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

use super::pax::PaxSparse;
use crate::error::{Error, Kind, Result};

/// The most chunks of one file.
pub(super) const CHUNKS_MAX: usize = 1 << 18;

/// Where the data goes: ascending chunks that do not overlap and stay within the size.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SparseMap {
    /// The file's size in bytes, holes included.
    pub real_size: u64,
    /// Offset and length of each chunk.
    pub chunks: Vec<(u64, u64)>,
}

impl SparseMap {
    /// Checks a map against the number of data bytes that the member has.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if chunks overlap, leave the file or do not add up to the data.
    pub fn checked(real_size: u64, chunks: Vec<(u64, u64)>, data: u64) -> Result<Self> {
        let fail = || Error::new(Kind::Corrupt, "read sparse map: chunks do not fit the file");
        let (mut end, mut sum) = (0, 0_u64);
        for (offset, len) in &chunks {
            if *offset < end {
                return Err(fail());
            }
            end = offset.checked_add(*len).filter(|end| *end <= real_size).ok_or_else(fail)?;
            sum += len;
        }
        if sum != data {
            return Err(fail());
        }
        Ok(Self { real_size, chunks })
    }
}

/// Reads the chunks of GNU's old format from the header itself.
pub(super) fn from_gnu_header(header: &GnuHeader) -> Result<Vec<(u64, u64)>> {
    let mut chunks = Vec::new();
    add_gnu(&mut chunks, &header.sparse)?;
    Ok(chunks)
}

/// Adds the chunks of one extension block of GNU's old format; returns whether another follows.
pub(super) fn add_gnu_extension(chunks: &mut Vec<(u64, u64)>, block: &[u8; 512]) -> Result<bool> {
    let mut extension = GnuExtSparseHeader::new();
    extension.as_mut_bytes().copy_from_slice(block);
    add_gnu(chunks, &extension.sparse)?;
    Ok(extension.is_extended())
}

fn add_gnu(chunks: &mut Vec<(u64, u64)>, sparse: &[GnuSparseHeader]) -> Result<()> {
    for chunk in sparse.iter().take_while(|chunk| !chunk.is_empty()) {
        let fail = |error| Error::new(Kind::Corrupt, "read sparse map").with_source(error);
        add(chunks, chunk.offset().map_err(fail)?, chunk.length().map_err(fail)?)?;
    }
    Ok(())
}

/// Reads the chunks of PAX formats 0.0 and 0.1. Format 1.0 has them in the data.
pub(super) fn from_pax(sparse: &PaxSparse) -> Result<Vec<(u64, u64)>> {
    let fail = || Error::new(Kind::Corrupt, "read sparse map: not in pairs");
    let mut chunks = Vec::new();
    match &sparse.map {
        Some(_) if !sparse.pairs.is_empty() => return Err(fail()),
        Some(map) if map.len() % 2 != 0 => return Err(fail()),
        Some(map) => {
            for pair in map.chunks_exact(2) {
                add(&mut chunks, pair[0], pair[1])?;
            }
        }
        None => {
            for (offset, len) in &sparse.pairs {
                add(&mut chunks, *offset, len.ok_or_else(fail)?)?;
            }
        }
    }
    if sparse.blocks.is_some_and(|blocks| blocks != chunks.len() as u64) {
        return Err(fail());
    }
    Ok(chunks)
}

/// Adds a chunk. Empty ones only mark the end of the file.
pub(super) fn add(chunks: &mut Vec<(u64, u64)>, offset: u64, len: u64) -> Result<()> {
    if chunks.len() == CHUNKS_MAX {
        return Err(Error::new(Kind::Limit, "read sparse map: too many chunks"));
    }
    if len > 0 {
        chunks.push((offset, len));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_do_not_fit_are_refused() {
        assert!(SparseMap::checked(100, vec![(0, 10), (50, 10)], 20).is_ok());
        assert!(SparseMap::checked(100, vec![], 0).is_ok());
        for (chunks, data) in [
            (vec![(0, 10), (5, 10)], 20),
            (vec![(50, 10), (0, 10)], 20),
            (vec![(95, 10)], 10),
            (vec![(0, 10)], 11),
            (vec![(u64::MAX, 2)], 2),
        ] {
            assert_eq!(SparseMap::checked(100, chunks, data).unwrap_err().kind(), Kind::Corrupt);
        }
    }
}
