// SPDX-License-Identifier: Apache-2.0
//! The formats of archives: long names, sparse files, and what is damaged or has two readings.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;
use tar::Header;

use super::{Archive, Ground, read};
use crate::error::Kind;
use crate::unpack::apply::Applied;

#[test]
fn long_names_come_in_three_forms() {
    let ground = Ground::new();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let archive = Archive::default()
        .add(b'L', "././@LongLink", "", format!("{long}\0").as_bytes(), |_| {})
        .file("short", b"gnu")
        .pax(&[("path", format!("{long}2").as_bytes()), ("mtime", b"12.5")])
        .file("short", b"pax")
        .add(b'K', "././@LongLink", "", format!("{long}\0").as_bytes(), |_| {})
        .symlink("link", "short")
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!(read(ground.at(&long)), "gnu");
    assert_eq!(read(ground.at(&format!("{long}2"))), "pax");
    assert_eq!(fs::metadata(ground.at(&format!("{long}2"))).unwrap().mtime_nsec(), 500_000_000);
    assert_eq!(fs::read_link(ground.at("link")).unwrap(), Path::new(&long));
}

/// CVE-2025-62518, CVE-2026-33055: archives in which two readers see different members.
#[test]
fn ambiguous_archives_are_refused() {
    let inner = Archive::default().file("hidden", b"").0;
    let bomb = |size: u64| move |header: &mut Header| header.set_size(size);
    for (what, archive) in [
        ("pax size hides members", Archive::default().pax(&[("size", b"0")]).file("a", &inner)),
        ("pax size over field zero", Archive::default().pax(&[("size", b"512")]).add(b'0', "a", "", &inner, bomb(0))),
        ("two long names", Archive::default().add(b'L', "l", "", b"a\0", |_| {}).add(b'L', "l", "", b"b\0", |_| {})),
        ("gnu and pax name", Archive::default().add(b'L', "l", "", b"a\0", |_| {}).pax(&[("path", b"b")])),
        ("two pax headers", Archive::default().pax(&[("path", b"a")]).pax(&[("path", b"b")])),
        ("nul inside a long name", Archive::default().add(b'L', "l", "", b"a\0b\0", |_| {})),
        ("data in a directory", Archive::default().add(b'5', "d", "", &inner, |_| {})),
        ("data in a link", Archive::default().add(b'1', "d", "a", &inner, |_| {})),
        ("data in a file with a slash", Archive::default().add(b'0', "d/", "", &inner, |_| {})),
        ("unknown type", Archive::default().add(b'Z', "d", "", b"", |_| {})),
        ("global header that renames", Archive::default().add(b'g', "g", "", b"10 path=x\n", |_| {})),
    ] {
        let archive = archive.file("last", b"").end();
        assert_eq!(Ground::new().kind_of(&archive), Kind::Corrupt, "{what}");
    }
}

#[test]
fn damaged_archives_are_refused() {
    let whole = Archive::default().file("a", &[7; 1500]).file("b", b"x").end();
    for len in [100, 511, 600, 1024, 2048, 2700, 3000, 3072] {
        assert_eq!(Ground::new().kind_of(&whole[..len]), Kind::Corrupt, "{len}");
    }
    let mut sum = whole.clone();
    sum[0] ^= 1;
    assert_eq!(Ground::new().kind_of(&sum), Kind::Corrupt);
    let second = [whole.clone(), Archive::default().file("c", b"").end()].concat();
    assert_eq!(Ground::new().kind_of(&second), Kind::Corrupt);
    let orphan = Archive::default().pax(&[("path", b"a")]).end();
    assert_eq!(Ground::new().kind_of(&orphan), Kind::Corrupt);
    assert_eq!(Ground::new().kind_of(b""), Kind::Corrupt);
    assert_eq!(Ground::new().apply(&Archive::default().end()).unwrap(), Applied::default());
}

#[test]
fn sparse_files_of_all_formats_have_holes() {
    let zero_zero: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"1048580"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"1048576"),
        ("GNU.sparse.numbytes", b"4"),
    ];
    let zero_one: &[(&str, &[u8])] =
        &[("GNU.sparse.size", b"1048580"), ("GNU.sparse.name", b"01"), ("GNU.sparse.map", b"0,3,1048576,4")];
    let one_zero: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"10"),
        ("GNU.sparse.realsize", b"1048580"),
    ];
    let mut map = b"2\n0\n3\n1048576\n4\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"abcdefg");
    let old = |header: &mut Header| {
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(1_048_580);
        gnu.sparse[0].set_offset(0);
        gnu.sparse[0].set_length(3);
        gnu.sparse[1].set_offset(1_048_576);
        gnu.sparse[1].set_length(4);
    };
    let archive = Archive::default()
        .pax(zero_zero)
        .file("00", b"abcdefg")
        .pax(zero_one)
        .file("GNUSparseFile.0/01", b"abcdefg")
        .pax(one_zero)
        .file("GNUSparseFile.0/10", &map)
        .add(b'S', "old", "", b"abcdefg", old)
        .end();
    let ground = Ground::new();
    ground.apply(&archive).unwrap();
    let mut expected = vec![0; 1_048_580];
    expected[..3].copy_from_slice(b"abc");
    expected[1_048_576..].copy_from_slice(b"defg");
    for name in ["00", "01", "10", "old"] {
        assert!(fs::read(ground.at(name)).unwrap() == expected, "{name}");
        assert!(fs::metadata(ground.at(name)).unwrap().blocks() < 100, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bytes_never_panic(flips in prop::collection::vec((0_usize..4096, any::<u8>()), 1..8)) {
        let ground = Ground::new();
        let mut archive = Archive::default()
            .pax(&[("path", b"long"), ("GNU.sparse.map", b"0,3"), ("GNU.sparse.size", b"9")])
            .file("a", b"abc")
            .hard_link("b", "long")
            .end();
        for (at, value) in flips {
            let at = at % archive.len();
            archive[at] = value;
        }
        ground.apply(&archive).ok();
    }
}
