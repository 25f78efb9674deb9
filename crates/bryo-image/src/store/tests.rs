// SPDX-License-Identifier: Apache-2.0
//! The store's own promises, without an image: what is on the disk, and what a writer finds there.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::IFlags;

use super::{BlobSlot, BlobWriter, Store};
use crate::digest::Digest;
use crate::error::Kind;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

fn writer(store: &Store, content: &[u8]) -> BlobWriter {
    match store.begin_blob(&Digest::sha256_of(content), Some(content.len() as u64)).unwrap() {
        BlobSlot::Write(writer) => writer,
        BlobSlot::Present => panic!("the blob is there"),
    }
}

#[test]
fn layers_are_spread_over_the_file_system() {
    let (dir, store) = store();
    let has = |path| rustix::fs::ioctl_getflags(File::open(path).unwrap()).map(|flags| flags.contains(IFlags::TOPDIR));
    // Whether this file system takes the hint at all.
    let probe = File::open(dir.path()).unwrap();
    let known = rustix::fs::ioctl_getflags(&probe)
        .and_then(|flags| rustix::fs::ioctl_setflags(&probe, flags | IFlags::TOPDIR))
        .is_ok();
    let layers = store.create_layers_dir("key").unwrap();
    assert_eq!(has(layers).unwrap_or(false), known);
    // Layers of one owner are unrelated; what is inside one layer is not.
    let inside = store.layers_dir("key").join("layer");
    fs::create_dir(&inside).unwrap();
    assert!(!has(inside).unwrap_or(false));
}

#[test]
fn a_store_is_private_and_opens_again() {
    let (dir, store) = store();
    let root = dir.path().join("store");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    let digest = store.put_blob(b"kept").unwrap();
    let again = Store::open(&root).unwrap();
    assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(again.read_blob(&digest, 100).unwrap(), b"kept");
    assert_eq!(again.read_blob(&digest, 3).unwrap_err().kind(), Kind::Limit);
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(Store::open(&file).unwrap_err().kind(), Kind::Io);
}

#[test]
fn a_broken_off_blob_is_continued() {
    let (_dir, store) = store();
    let content = b"one half, other half";
    let mut first = writer(&store, content);
    first.write_all(&content[..10]).unwrap();
    drop(first);
    let mut second = writer(&store, content);
    assert_eq!(second.len(), 10);
    second.write_all(&content[10..]).unwrap();
    second.commit().unwrap();
    assert_eq!(store.read_blob(&Digest::sha256_of(content), 100).unwrap(), content);
    assert_eq!(fs::read_dir(store.partial_dir()).unwrap().count(), 0);
}

#[test]
fn wrong_bytes_never_get_a_name_and_do_not_stay() {
    let (_dir, store) = store();
    let digest = Digest::sha256_of(b"right");
    for wrong in [&b"wrong"[..], b"righ"] {
        let mut writer = writer(&store, b"right");
        writer.write_all(wrong).unwrap();
        assert_eq!(writer.commit().unwrap_err().kind(), Kind::DigestMismatch);
        assert_eq!(fs::read_dir(store.partial_dir()).unwrap().count(), 0);
    }
    let mut writer = writer(&store, b"right");
    assert!(writer.write_all(b"right and more").is_err(), "more than was declared");
    drop(writer);
    assert_eq!(fs::read_dir(store.partial_dir()).unwrap().count(), 0);
    assert_eq!(store.has_blob(&digest), None);
}

/// Nothing is flushed, so that after a power failure a blob may be short.
#[test]
fn a_blob_of_the_wrong_length_is_written_anew() {
    let (_dir, store) = store();
    let digest = store.put_blob(b"whole").unwrap();
    fs::write(store.blob_path(&digest), b"who").unwrap();
    assert_eq!(store.read_blob(&digest, 100).unwrap_err().kind(), Kind::DigestMismatch);
    store.put_blob_stream(&digest, Some(5), &mut &b"whole"[..]).unwrap();
    assert_eq!(store.read_blob(&digest, 100).unwrap(), b"whole");
}
