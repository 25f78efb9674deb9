// SPDX-License-Identifier: Apache-2.0
//! The section `.go.buildinfo` of a Go executable. Source: Go, package `debug/buildinfo`, "The build info blob".

use super::elf::{Elf, SECTION_MAX};
use crate::error::{Error, Result};
use crate::package::{Package, Type};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The length of the marks around the list of modules, in bytes.
const MARK: usize = 16;
/// The name under which the standard library has advisories.
pub const STDLIB: &str = "stdlib";

/// Reads the modules that an executable was made from, and the version of Go as that of its standard library.
///
/// # Errors
///
/// [`Kind::Corrupt`](crate::Kind::Corrupt).
pub(super) fn parse(elf: &Elf<'_>, section: &[u8]) -> Result<Vec<Package>> {
    let damaged = || Error::corrupt("the list of Go modules is damaged");
    // The blob begins at a multiple of 16 bytes.
    let start = (0..section.len()).step_by(16).find(|at| section[*at..].starts_with(MAGIC)).ok_or_else(damaged)?;
    let blob = &section[start..];
    let flags = *blob.get(15).ok_or_else(damaged)?;
    let (version, modules) = if flags & 2 != 0 {
        let mut rest = blob.get(32..).ok_or_else(damaged)?;
        let version = counted(&mut rest).ok_or_else(damaged)?.to_vec();
        (version, counted(&mut rest).ok_or_else(damaged)?.to_vec())
    } else {
        // Older compilers point to where the texts are.
        let width = elf.width();
        let text = |at: usize| -> Result<Vec<u8>> {
            let head = elf.memory(elf.pointer(blob, at), 2 * width as u64)?;
            elf.memory(elf.pointer(&head, 0), elf.pointer(&head, width).min(SECTION_MAX))
        };
        (text(16)?, text(16 + width).unwrap_or_default())
    };
    let version = String::from_utf8(version).map_err(|_| damaged())?;
    Ok(packages(&version, &modules))
}

/// Takes a text with its length before it.
fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (byte, further) = rest.split_first()?;
        *rest = further;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (text, further) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *rest = further;
            return Some(text);
        }
    }
    None
}

fn packages(version: &str, modules: &[u8]) -> Vec<Package> {
    let mut found = Vec::new();
    // Experiments and distributors add words after a blank or a dash.
    let go = version.strip_prefix("go").and_then(|v| v.split([' ', '-']).next()).filter(|v| !v.is_empty());
    found.extend(go.map(|version| Package::new(Type::Golang, STDLIB, version)));
    let inner = if modules.len() > 2 * MARK { &modules[MARK..modules.len() - MARK] } else { &[] };
    let text = String::from_utf8_lossy(inner);
    for line in text.lines() {
        let mut words = line.split('\t');
        let (Some(word), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else { continue };
        match word {
            // Its own version is often not known to itself.
            "mod" | "dep" => found.push(Package::new(Type::Golang, path, version)),
            // Something else stands in for the one before.
            "=>" => {
                if let Some(last) = found.last_mut() {
                    *last = Package::new(Type::Golang, path, version);
                }
            }
            _ => (),
        }
    }
    found.retain(|package| !package.version.is_empty() && package.version != "(devel)");
    found
}

#[cfg(test)]
mod tests {
    use super::super::elf;

    fn blob(version: &str, modules: &str) -> Vec<u8> {
        let mut out = super::MAGIC.to_vec();
        out.extend([8, 2]);
        out.resize(32, 0);
        for text in [version.to_owned(), format!("0123456789abcdef{modules}\n0123456789abcdef")] {
            let mut n = text.len();
            while n >= 0x80 {
                out.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
                n >>= 7;
            }
            out.push(u8::try_from(n).unwrap());
            out.extend(text.as_bytes());
        }
        out
    }

    #[test]
    fn modules_and_what_replaces_them() {
        let text = "path\tx/cmd\nmod\texample.com/x\t(devel)\t\ndep\tgithub.com/a/b\tv1.0.0\th1:x\n\
            dep\tgithub.com/c/d\tv1.1.0\n=>\tgithub.com/fork/d\tv1.1.1\th1:y\nbuild\t-compiler=gc";
        let said =
            elf::tests::read(&elf::tests::file(".go.buildinfo", &blob("go1.21.3 X:boringcrypto", text))).unwrap();
        let found: Vec<_> = said.packages.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
        assert_eq!(found, [("stdlib", "1.21.3"), ("github.com/a/b", "v1.0.0"), ("github.com/fork/d", "v1.1.1")]);
        let mut cut = blob("go1.21.3", text);
        cut.truncate(60);
        assert_eq!(elf::tests::read(&elf::tests::file(".go.buildinfo", &cut)).unwrap().problems.len(), 1);
    }
}
