// SPDX-License-Identifier: Apache-2.0
//! The section `.dep-v0` of an auditable Rust executable: compressed JSON. Source: rust-secure-code, cargo-auditable,
//! `PARSING.md`.

use std::io::Read;

use flate2::read::ZlibDecoder;
use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use crate::package::{Package, Type};

/// How long the list may be when it is decompressed, in bytes.
const LIST_MAX: u64 = 8 << 20;

#[derive(Deserialize)]
struct List {
    packages: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    dependencies: Vec<usize>,
}

/// Reads the crates that an executable was made from, without those that only its build needed.
///
/// # Errors
///
/// [`Kind::Corrupt`], [`Kind::Limit`].
pub fn parse(section: &[u8]) -> Result<Vec<Package>> {
    let mut text = Vec::new();
    let read = ZlibDecoder::new(section).take(LIST_MAX + 1).read_to_end(&mut text);
    read.map_err(|e| Error::corrupt("the list of crates is damaged").with_source(e))?;
    if text.len() as u64 > LIST_MAX {
        return Err(Error::new(Kind::Limit, format!("the list of crates is longer than {LIST_MAX} bytes")));
    }
    let list: List =
        serde_json::from_slice(&text).map_err(|e| Error::corrupt("the list of crates is damaged").with_source(e))?;
    let runs = |entry: &Entry| entry.kind.as_deref() != Some("build");
    let name = |n: &usize| list.packages.get(*n).filter(|entry| runs(entry)).map(|entry| entry.name.clone());
    let package = |entry: &Entry| {
        let mut package = Package::new(Type::Cargo, &entry.name, &entry.version);
        package.depends = entry.dependencies.iter().filter_map(name).collect();
        package
    };
    Ok(list.packages.iter().filter(|entry| runs(entry)).map(package).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::elf;
    use super::*;

    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn crates_of_the_build_are_left_out() {
        let text = br#"{"packages":[{"name":"app","version":"0.1.0","root":true,"dependencies":[1,2]},
            {"name":"libc","version":"0.2.1","source":"crates.io"},
            {"name":"cc","version":"1.0.0","kind":"build"}]}"#;
        let said = elf::tests::read(&elf::tests::file(".dep-v0", &compressed(text))).unwrap();
        let names: Vec<_> = said.packages.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["app", "libc"]);
        assert_eq!(said.packages[0].depends, ["libc"]);
    }

    #[test]
    fn a_list_that_grows_without_end_is_refused() {
        let bomb = compressed(&vec![b' '; 9 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(parse(&bomb).unwrap_err().kind(), Kind::Limit);
    }
}
