// SPDX-License-Identifier: Apache-2.0
//! Compressed streams, and what archives may cost.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use super::{Archive, Ground};
use crate::digest::Digest;
use crate::error::{Kind, Result};
use crate::unpack::apply::{self, Options};
use crate::unpack::stream::{self, Source};
use crate::unpack::{Compression, LayerReport, Limits};

fn through_stream(bytes: &[u8], source: Source) -> Result<LayerReport> {
    let ground = Ground::new();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let root = OwnedFd::from(File::open(ground.root()).unwrap());
    let options = Options { squash: true, end_mark_needed: true, limits: source.limits };
    stream::run(&source, file.into(), |blocks| apply::apply(blocks, root, options).map(drop))
}

fn source() -> Source {
    Source { diff_id: None, compression: None, blob_size: None, limits: Limits::default() }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_compression_gives_the_same_diff_id() {
    let archive = Archive::default().file("a", &[7; 1 << 20]).end();
    let diff_id = Digest::sha256_of(&archive);
    let two_members = [gzip(&archive[..5000]), gzip(&archive[5000..])].concat();
    let zstd = zstd::encode_all(&archive[..], 1).unwrap();
    for (compression, blob) in [
        (Compression::None, archive.clone()),
        (Compression::Gzip, gzip(&archive)),
        (Compression::Gzip, two_members),
        (Compression::Zstd, zstd),
    ] {
        let known = Source {
            diff_id: Some(diff_id.clone()),
            compression: Some(compression),
            blob_size: Some(blob.len() as u64),
            ..source()
        };
        let report = through_stream(&blob, known).unwrap();
        assert_eq!(report.diff_id, diff_id);
        assert_eq!(report.uncompressed_size, archive.len() as u64);
        assert_eq!(report.compressed_size, blob.len() as u64);
        assert_eq!(through_stream(&blob, source()).unwrap().compression, compression);
    }
}

#[test]
fn a_stream_that_is_not_what_was_declared_is_refused() {
    let archive = Archive::default().file("a", b"x").end();
    let kind = |bytes: &[u8], source: Source| through_stream(bytes, source).unwrap_err().kind();
    let other = Source { diff_id: Some(Digest::sha256_of(b"other")), ..source() };
    assert_eq!(kind(&archive, other), Kind::DigestMismatch);
    let size = Source { blob_size: Some(archive.len() as u64 + 1), ..source() };
    assert_eq!(kind(&archive, size), Kind::DigestMismatch);
    let zstd = Source { compression: Some(Compression::Zstd), ..source() };
    assert_eq!(kind(&gzip(&archive), zstd), Kind::UnsupportedMedia);
    let compressed = gzip(&archive);
    assert_eq!(kind(&compressed[..compressed.len() - 4], source()), Kind::Corrupt);
    let mut flipped = compressed.clone();
    let last = flipped.len() - 5;
    flipped[last] ^= 0xff;
    assert_eq!(kind(&flipped, source()), Kind::Corrupt);
    assert_eq!(kind(&[&compressed[..], b"garbage"].concat(), source()), Kind::Corrupt);
    assert_eq!(kind(b"\xfd7zXZ\0 and more", source()), Kind::UnsupportedMedia);
}

#[test]
fn bombs_are_defused() {
    let zeros = Archive::default().file("a", &vec![0; 8 << 20]).end();
    let limits = Limits { ratio_floor: 1 << 20, ratio: 20, ..Limits::default() };
    for blob in [gzip(&zeros), zstd::encode_all(&zeros[..], 1).unwrap()] {
        let declared = Source { blob_size: Some(blob.len() as u64), limits, ..source() };
        assert_eq!(through_stream(&blob, declared).unwrap_err().kind(), Kind::Limit);
        let undeclared = Source { limits, ..source() };
        assert_eq!(through_stream(&blob, undeclared).unwrap_err().kind(), Kind::Limit);
    }
    let small = Source { limits: Limits { compressed: 1000, ..Limits::default() }, ..source() };
    assert_eq!(through_stream(&zeros, small).unwrap_err().kind(), Kind::Limit);

    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(&zeros).unwrap();
    let wide = encoder.finish().unwrap();
    let window = Source { limits: Limits { zstd_window_log: 20, ..Limits::default() }, ..source() };
    assert_eq!(through_stream(&wide, window).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn limits_hold() {
    let limits = Limits { entries: 3, uncompressed: 1000, ..Limits::default() };
    let many = (0..4).fold(Archive::default(), |archive, at| archive.file(&at.to_string(), b"")).end();
    let large = Archive::default().file("a", &[0; 1001]).end();
    let claimed = Archive::default().add(b'0', "a", "", b"", |header| header.set_size(1 << 40)).end();
    let header = Archive::default().add(b'x', "a", "", b"", |header| header.set_size(1 << 30)).end();
    let name = vec![b'/'; 5000];
    let long = Archive::default().add(b'L', "l", "", &name, |_| {}).file("a", b"").end();
    let deep = Archive::default().add(b'L', "l", "", "a/".repeat(300).as_bytes(), |_| {}).file("a", b"").end();
    for (what, archive) in
        [("many", many), ("large", large), ("claimed", claimed), ("header", header), ("long", long), ("deep", deep)]
    {
        let error = Ground::new().apply_with(&archive, limits).unwrap_err();
        assert_eq!(error.kind(), Kind::Limit, "{what}");
    }
}

#[test]
fn a_sparse_size_is_limited_too() {
    let records: &[(&str, &[u8])] = &[("GNU.sparse.size", b"9000000000000000000"), ("GNU.sparse.map", b"0,1")];
    let archive = Archive::default().pax(records).file("etc/group", b"x").end();
    assert_eq!(Ground::new().kind_of(&archive), Kind::Limit);
}
