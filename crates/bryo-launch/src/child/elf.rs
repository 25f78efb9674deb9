// SPDX-License-Identifier: Apache-2.0
//! The loader that a program's headers name. Source: `elf(5)`, and `load_elf_binary` of `fs/binfmt_elf.c`.
//!
//! Faces headers made to be read differently here and in the kernel, so it believes none of them: the kernel takes a
//! file for a 64-bit or a 32-bit program by other fields than the one that is there to say so, and here a file is read
//! as both. A loader is returned that the kernel might not take, never the other way round.

/// The type of the header that names the loader, `PT_INTERP`.
const INTERP: u32 = 3;

/// The longest path, with its end: `PATH_MAX`.
const PATH_MAX: u64 = 4096;

/// The most bytes of headers that the kernel reads.
const HEADERS_MAX: usize = 65536;

/// The machines whose programs this kernel may run by itself, `e_machine`: its own, and the 32-bit one beside it.
#[cfg(target_arch = "x86_64")]
const MACHINES: [u16; 3] = [62, 3, 6];
/// The machines whose programs this kernel may run by itself, `e_machine`: its own, and the 32-bit one beside it.
#[cfg(target_arch = "aarch64")]
const MACHINES: [u16; 2] = [183, 40];
/// On others no file is known to be a program of this machine.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const MACHINES: [u16; 0] = [];

/// Where the fields are.
struct Layout {
    /// Bytes of a file offset.
    word: usize,
    /// `e_phoff`, `e_phentsize`, `e_phnum` in the file's header.
    table: [usize; 3],
    /// `p_offset` and `p_filesz` in a program header.
    segment: [usize; 2],
    /// The size of a program header.
    size: usize,
}

/// `Elf64_Ehdr`, `Elf64_Phdr`; `Elf32_Ehdr`, `Elf32_Phdr`.
const LAYOUTS: [Layout; 2] = [
    Layout { word: 8, table: [32, 54, 56], segment: [8, 32], size: 56 },
    Layout { word: 4, table: [28, 42, 44], segment: [4, 16], size: 32 },
];

/// Tells whether the kernel itself may run a file that begins so.
pub(super) fn is_native(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF") && number(head, 18, 2).is_some_and(|m| MACHINES.iter().any(|n| u64::from(*n) == m))
}

/// Returns the paths of the loaders that the kernel may take from a file. `read` reads a number of bytes at an offset,
/// or fewer at the end of the file, and tells whether it could.
pub(super) fn loaders(head: &[u8], read: impl Fn(u64, usize, &mut Vec<u8>) -> bool) -> Vec<Vec<u8>> {
    LAYOUTS.iter().filter_map(|layout| loader(layout, head, &read)).collect()
}

fn loader(layout: &Layout, head: &[u8], read: &impl Fn(u64, usize, &mut Vec<u8>) -> bool) -> Option<Vec<u8>> {
    let [offset, entry, count] = layout.table;
    if number(head, entry, 2)? != layout.size as u64 {
        return None;
    }
    let length = usize::try_from(number(head, count, 2)?).ok()? * layout.size;
    let mut headers = Vec::new();
    if length > HEADERS_MAX || !read(number(head, offset, layout.word)?, length, &mut headers) {
        return None;
    }
    // The first counts.
    let header = headers.chunks_exact(layout.size).find(|h| number(h, 0, 4) == Some(u64::from(INTERP)))?;
    let [offset, size] = layout.segment.map(|at| number(header, at, layout.word));
    let size = usize::try_from(size.filter(|size| *size <= PATH_MAX)?).ok()?;
    let mut path = Vec::new();
    if !read(offset?, size, &mut path) {
        return None;
    }
    path.truncate(path.iter().position(|b| *b == 0)?);
    Some(path)
}

/// Reads a number of 2, 4 or 8 bytes in this machine's order, as the kernel does, whatever the file says of its own.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..at + length)?;
    match length {
        2 => Some(u16::from_ne_bytes(field.try_into().ok()?).into()),
        4 => Some(u32::from_ne_bytes(field.try_into().ok()?).into()),
        8 => Some(u64::from_ne_bytes(field.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads from a file that is all in memory.
    fn of(file: &[u8]) -> Vec<Vec<u8>> {
        let head = &file[..file.len().min(256)];
        loaders(head, |offset, length, to| {
            let Ok(offset) = usize::try_from(offset) else { return false };
            to.extend(file.iter().skip(offset).take(length));
            true
        })
    }

    /// A file with one layout's headers: the loader is the second of three, and a later one names another.
    fn file(layout: &Layout, loader: &[u8]) -> Vec<u8> {
        let headers = 64;
        let text = headers + 3 * layout.size;
        let mut file = vec![0; text];
        file[..4].copy_from_slice(b"\x7fELF");
        put(&mut file, 18, 2, u64::from(MACHINES.first().copied().unwrap_or(1)));
        put(&mut file, layout.table[0], layout.word, headers as u64);
        put(&mut file, layout.table[1], 2, layout.size as u64);
        put(&mut file, layout.table[2], 2, 3);
        for (n, kind, length) in [(0, 1, 0), (1, INTERP, loader.len()), (2, INTERP, 1)] {
            let at = headers + n * layout.size;
            put(&mut file, at, 4, kind.into());
            put(&mut file, at + layout.segment[0], layout.word, text as u64);
            put(&mut file, at + layout.segment[1], layout.word, length as u64);
        }
        file.extend(loader);
        file
    }

    fn put(file: &mut [u8], at: usize, length: usize, value: u64) {
        let bytes = value.to_ne_bytes();
        let low = if cfg!(target_endian = "little") { &bytes[..length] } else { &bytes[8 - length..] };
        file[at..at + length].copy_from_slice(low);
    }

    #[test]
    fn the_first_loader_is_found_whatever_class_the_file_claims() {
        for layout in &LAYOUTS {
            for class in [0, 1, 2, 255] {
                let mut file = file(layout, b"/lib/ld.so\0");
                file[4] = class;
                assert!(is_native(&file) || MACHINES.is_empty());
                assert_eq!(of(&file), [b"/lib/ld.so"]);
            }
        }
    }

    #[test]
    fn a_path_ends_where_the_kernel_ends_it() {
        let layout = &LAYOUTS[0];
        assert_eq!(of(&file(layout, b"/proc/self/exe\0/lib/ld.so\0")), [b"/proc/self/exe"]);
        assert_eq!(of(&file(layout, b"")), Vec::<Vec<u8>>::new());
        // Without an end the kernel executes nothing.
        assert_eq!(of(&file(layout, b"/lib/ld.so")), Vec::<Vec<u8>>::new());
        let longest = [vec![b'a'; 4095], vec![0]].concat();
        assert_eq!(of(&file(layout, &longest)), [longest[..4095].to_vec()]);
        assert_eq!(of(&file(layout, &[&longest[..], b"\0"].concat())), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn the_loader_of_a_real_program_is_found() {
        let program = std::fs::read("/bin/ls").unwrap();
        let found = of(&program);
        assert!(is_native(&program) && found.len() == 1, "{found:?}");
        assert!(std::path::Path::new(std::str::from_utf8(&found[0]).unwrap()).exists());
    }

    #[test]
    fn other_machines_and_other_files_are_not_native() {
        let mut file = file(&LAYOUTS[0], b"");
        put(&mut file, 18, 2, 243);
        for head in [&file[..], b"\x7fELF", b"\x7fELF, but not much of one", b"#!/bin/sh", b""] {
            assert!(!is_native(head));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

        /// Whatever the fields say, there is an end to it, and what is found is a path of the file.
        #[test]
        fn no_header_leads_astray(wide: bool, fields in prop::collection::vec((0..250_usize, any::<u8>()), 0..40)) {
            let mut file = file(&LAYOUTS[usize::from(!wide)], b"/lib/ld.so\0");
            for (at, byte) in fields {
                let last = file.len() - 1;
                file[at.min(last)] = byte;
            }
            for path in of(&file) {
                prop_assert!(path.len() < 4096 && file.windows(path.len().max(1)).any(|w| w.starts_with(&path)));
            }
        }

        #[test]
        fn noise_is_read_without_harm(noise: Vec<u8>) {
            let _ = of(&noise);
            let _ = of(&[&file(&LAYOUTS[0], b"")[..64], &noise].concat());
        }
    }
}
