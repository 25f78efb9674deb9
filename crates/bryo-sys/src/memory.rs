// SPDX-License-Identifier: Apache-2.0
//! A process that will wait for long gives back the memory that it no longer needs.

use std::fs::File;
use std::io::{BufRead, BufReader};

use crate::error::{Result, raw};

/// What stays below the frame of whoever asks, for the calls that it will make at once.
const MARGIN: usize = 8 << 10;

/// In KiB, that of the machines with the largest pages.
const LARGEST_PAGE: usize = 64;

/// A mapping of this process. Source: `proc_pid_smaps(5)`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
    /// Shows a file, and cannot be written to.
    of_file: bool,
    /// What is not the file's any more, in KiB.
    own: usize,
    /// The size of a page.
    page: usize,
}

/// Gives back what can be had again or is not in use: free memory of the allocator, pages of the program's file, and
/// the stack below the caller, where earlier calls went deeper. Whoever waits at once has little of the program in
/// memory while he waits.
///
/// # Errors
///
/// When `/proc` cannot be read, or the kernel refuses; what was given back by then stays so.
pub fn give_back() -> Result<()> {
    trim();
    let here = 0_u8;
    let here = (&raw const here).addr();
    let mut files = [(0, 0); 16];
    let mut places = files.iter_mut();
    for mapping in mappings()? {
        if mapping.of_file && mapping.own == 0 {
            if let Some(place) = places.next() {
                *place = (mapping.start, mapping.end - mapping.start);
            }
        } else if (mapping.start..mapping.end).contains(&here) && here - mapping.start > MARGIN {
            // The kernel wants whole pages.
            let length = (here - MARGIN - mapping.start) / mapping.page * mapping.page;
            // SAFETY: stacks grow downwards, so that what lies so far below a local variable of the innermost frame
            // belongs to calls that have returned; the next ones find zeroes, and read nothing that they have not
            // written.
            let ret = unsafe { libc::madvise(pointer(mapping.start), length, libc::MADV_DONTNEED) };
            raw("madvise", || format!("{:#x}, {length}, MADV_DONTNEED", mapping.start), ret.into())?;
        }
    }
    // The program itself last: what is called from here on comes back.
    for (start, length) in files.into_iter().filter(|(_, length)| *length > 0) {
        // SAFETY: a page of a private mapping of a file that holds nothing of its own is read from the file again when
        // it is touched, and nobody can have written to one since it was looked at.
        let ret = unsafe { libc::madvise(pointer(start), length, libc::MADV_DONTNEED) };
        raw("madvise", || format!("{start:#x}, {length}, MADV_DONTNEED"), ret.into())?;
    }
    Ok(())
}

fn pointer(address: usize) -> *mut libc::c_void {
    std::ptr::with_exposed_provenance_mut(address)
}

/// Gives free memory of the heap back, wherever it lies. Source: `malloc_trim(3)`.
#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: takes a number, and touches only what is free.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back what they can when it is freed.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

fn mappings() -> Result<Vec<Mapping>> {
    let failed = |e: std::io::Error| {
        let errno = rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO);
        crate::Error::new("read", "/proc/self/smaps", errno)
    };
    let mut found: Vec<Mapping> = Vec::with_capacity(64);
    let mut reader = BufReader::new(File::open("/proc/self/smaps").map_err(failed)?);
    let mut line = String::new();
    while reader.read_line(&mut line).map_err(failed)? > 0 {
        if let Some(mapping) = parse(&line) {
            found.push(mapping);
        } else if let (Some((field, size)), Some(last)) = (line.split_once(':'), found.last_mut()) {
            let size = size.trim().strip_suffix(" kB").and_then(|size| size.parse().ok());
            match field {
                "Anonymous" => last.own = size.unwrap_or(usize::MAX),
                "KernelPageSize" => last.page = size.unwrap_or(LARGEST_PAGE) << 10,
                _ => (),
            }
        }
        line.clear();
    }
    Ok(found)
}

/// Parses the first line of a mapping; those of its fields are none.
fn parse(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let rights = words.next()?;
    let constant = rights.ends_with('p') && !rights.contains('w');
    let of_file = constant && words.nth(3).is_some_and(|path| path.starts_with('/'));
    // Until its field is read, all of it may be its own.
    Some(Mapping { start, end, of_file, own: usize::MAX, page: LARGEST_PAGE << 10 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_told_apart() {
        let text = "7f1dad616000-7f1dadda0000 r-xp 00215000 fe:00 2170965                    /usr/bin/bryo\n";
        let of_file =
            Mapping { start: 0x7f1d_ad61_6000, end: 0x7f1d_adda_0000, of_file: true, own: usize::MAX, page: 64 << 10 };
        assert_eq!(parse(text), Some(of_file));
        assert!(
            !parse("7fff6b268000-7fff6b289000 rw-p 00000000 00:00 0                          [stack]").unwrap().of_file
        );
        assert!(!parse("7f0000000000-7f0000001000 rw-s 00000000 00:05 9       /memfd:x (deleted)").unwrap().of_file);
        for line in ["Rss:                4 kB", "VmFlags: rd ex mr mw me", ""] {
            assert_eq!(parse(line), None);
        }
        assert!(mappings().unwrap().iter().any(|m| m.of_file && m.own == 0));
    }

    #[test]
    fn what_is_in_use_stays() {
        let text = "moss ".repeat(100_000);
        let copy = text.clone();
        let deep: fn(u32) -> u64 = |n| (0..n).map(u64::from).sum();
        give_back().unwrap();
        assert!(text == copy && deep(1000) == 499_500);
        give_back().unwrap();
    }
}
