// SPDX-License-Identifier: Apache-2.0
//! Executables that list what they are made of: as much of ELF as leads to two sections and to an address.
//!
//! Three small parts of a file are read, each with a limit, however large it is: a library that takes files whole or
//! caches what it reads would let a hostile header choose how much. Source: `elf(5)`.

use crate::error::{Error, Kind, Result};
use crate::tree::Bytes;

use super::{Said, cargo, golang};

/// How many headers a file may have; compilers write some dozens.
const HEADERS_MAX: u64 = 4096;
/// How long the names of sections may be together, in bytes.
const NAMES_MAX: u64 = 1 << 20;
/// How long a section of interest may be, in bytes.
pub(super) const SECTION_MAX: u64 = 32 << 20;

/// Reads the packages of an executable. What is no ELF file, or lists nothing, has none.
///
/// # Errors
///
/// [`Kind::Corrupt`] for a list that is damaged, [`Kind::Limit`], [`Kind::Io`].
pub fn packages(file: Bytes) -> Result<Said> {
    let Some(elf) = Elf::read(&file)? else { return Ok(Said::default()) };
    let mut said = Said::default();
    for section in &elf.sections {
        let found = match section.name.as_slice() {
            b".dep-v0" => cargo::parse(&elf.data(section)?),
            b".go.buildinfo" => golang::parse(&elf, &elf.data(section)?),
            _ => continue,
        };
        match found {
            Ok(packages) => said.packages.extend(packages),
            Err(e) => said.problems.push(e.chain()),
        }
    }
    Ok(said)
}

/// A part of a file that has a name.
#[derive(Debug)]
pub(super) struct Section {
    name: Vec<u8>,
    offset: u64,
    size: u64,
}

/// An executable's headers.
#[derive(Debug)]
pub(super) struct Elf<'a> {
    file: &'a Bytes,
    wide: bool,
    big: bool,
    sections: Vec<Section>,
    segments: (u64, u64),
}

impl<'a> Elf<'a> {
    /// Reads the headers; a file without sections has nothing to tell.
    fn read(file: &'a Bytes) -> Result<Option<Self>> {
        let mut head = [0u8; 64];
        let length = file.at(0, &mut head)?;
        if length < 52 || head[..4] != *b"\x7fELF" || !matches!(head[4], 1 | 2) || !matches!(head[5], 1 | 2) {
            return Ok(None);
        }
        let mut elf = Self { file, wide: head[4] == 2, big: head[5] == 2, sections: Vec::new(), segments: (0, 0) };
        let (ph, sh, counts) = if elf.wide {
            (elf.long(&head, 32), elf.long(&head, 40), 54)
        } else {
            (elf.word(&head, 28), elf.word(&head, 32), 42)
        };
        elf.segments = (ph, elf.half(&head, counts + 2).min(HEADERS_MAX));
        let (count, names) = (elf.half(&head, counts + 6), elf.half(&head, counts + 8));
        if sh == 0 || count == 0 || count > HEADERS_MAX || names >= count {
            return Ok(None);
        }
        elf.read_sections(sh, count, names)?;
        Ok(Some(elf))
    }

    fn read_sections(&mut self, offset: u64, count: u64, names: u64) -> Result<()> {
        let size = if self.wide { 64 } else { 40 };
        let table = self.part(offset, count * size)?;
        let header = |n: u64| -> Option<(u64, u64, u64)> {
            let at = usize::try_from(n * size).ok()?;
            let h = table.get(at..at + usize::try_from(size).ok()?)?;
            let (from, long) =
                if self.wide { (self.long(h, 24), self.long(h, 32)) } else { (self.word(h, 16), self.word(h, 20)) };
            Some((self.word(h, 0), from, long))
        };
        let Some((_, from, long)) = header(names) else { return Ok(()) };
        let text = self.part(from, long.min(NAMES_MAX))?;
        let name = |at: u64| {
            let rest = usize::try_from(at).ok().and_then(|at| text.get(at..)).unwrap_or_default();
            // Those of interest are short.
            rest.iter().take(32).take_while(|b| **b != 0).copied().collect()
        };
        let found: Vec<Section> =
            (0..count).filter_map(header).map(|(at, offset, size)| Section { name: name(at), offset, size }).collect();
        self.sections = found;
        Ok(())
    }

    /// Reads a section.
    fn data(&self, section: &Section) -> Result<Vec<u8>> {
        if section.size > SECTION_MAX {
            let name = String::from_utf8_lossy(&section.name).into_owned();
            return Err(Error::new(Kind::Limit, format!("section {name} is longer than {SECTION_MAX} bytes")));
        }
        self.part(section.offset, section.size)
    }

    /// Reads so many bytes, or as many as there are.
    pub fn part(&self, offset: u64, size: u64) -> Result<Vec<u8>> {
        // What the file does not have is not made room for.
        let there = self.file.len()?.saturating_sub(offset).min(size);
        let mut data = vec![0; usize::try_from(there).unwrap_or(0)];
        let read = self.file.at(offset, &mut data)?;
        data.truncate(read);
        Ok(data)
    }

    /// Reads what is at an address when the program runs.
    pub fn memory(&self, address: u64, size: u64) -> Result<Vec<u8>> {
        /// The type of what is loaded.
        const LOAD: u64 = 1;
        let (offset, count) = self.segments;
        let entry: usize = if self.wide { 56 } else { 32 };
        let table = self.part(offset, count * entry as u64)?;
        for h in table.chunks_exact(entry).filter(|h| self.word(h, 0) == LOAD) {
            let (from, start, long) = if self.wide {
                (self.long(h, 8), self.long(h, 16), self.long(h, 32))
            } else {
                (self.word(h, 4), self.word(h, 8), self.word(h, 16))
            };
            if address >= start && address - start < long {
                return self.part(from.saturating_add(address - start), size.min(long - (address - start)));
            }
        }
        Err(Error::corrupt("an address leads nowhere"))
    }

    /// Reads an address at a place.
    pub fn pointer(&self, data: &[u8], at: usize) -> u64 {
        if self.wide { self.long(data, at) } else { self.word(data, at) }
    }

    /// Returns how many bytes an address has.
    pub fn width(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    fn half(&self, data: &[u8], at: usize) -> u64 {
        self.number(data, at, 2)
    }

    fn word(&self, data: &[u8], at: usize) -> u64 {
        self.number(data, at, 4)
    }

    fn long(&self, data: &[u8], at: usize) -> u64 {
        self.number(data, at, 8)
    }

    fn number(&self, data: &[u8], at: usize, length: usize) -> u64 {
        let bytes = data.get(at..at + length).unwrap_or_default();
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if self.big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes a 64-bit little-endian file with one section of a name.
    pub fn file(name: &str, data: &[u8]) -> Vec<u8> {
        let names = format!("\0{name}\0.shstrtab\0");
        let (names_at, data_at) = (64, 64 + names.len());
        let table_at = data_at + data.len();
        let mut out = vec![0u8; 64];
        out[..6].copy_from_slice(b"\x7fELF\x02\x01");
        out[40..48].copy_from_slice(&(table_at as u64).to_le_bytes());
        out[58..60].copy_from_slice(&64u16.to_le_bytes());
        out[60..62].copy_from_slice(&3u16.to_le_bytes());
        out[62..64].copy_from_slice(&2u16.to_le_bytes());
        out.extend(names.as_bytes());
        out.extend(data);
        let section = |name: u32, offset: usize, size: usize| {
            let mut h = [0u8; 64];
            h[..4].copy_from_slice(&name.to_le_bytes());
            h[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            h[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            h
        };
        out.extend([0u8; 64]);
        out.extend(section(1, data_at, data.len()));
        out.extend(section(2 + u32::try_from(name.len()).unwrap(), names_at, names.len()));
        out
    }

    pub fn read(data: &[u8]) -> Result<Said> {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(data).unwrap();
        packages(Bytes::of(file, "x"))
    }

    #[test]
    fn what_is_no_executable_or_lists_nothing_has_no_packages() {
        for data in [b"#!/bin/sh".to_vec(), vec![0; 100], file(".text", b"x"), b"\x7fELF".to_vec()] {
            let said = read(&data).unwrap();
            assert!(said.packages.is_empty() && said.problems.is_empty());
        }
    }

    #[test]
    fn a_damaged_list_is_a_problem_and_no_panic() {
        assert_eq!(read(&file(".dep-v0", b"garbage")).unwrap().problems.len(), 1);
        assert_eq!(read(&file(".go.buildinfo", b"garbage")).unwrap().problems.len(), 1);
    }
}
