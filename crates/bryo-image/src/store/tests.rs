// SPDX-License-Identifier: Apache-2.0
//! The store's own promises, without an image: what is on the disk, and what a writer finds there.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use rustix::fs::IFlags;

use super::Store;
use crate::error::Kind;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
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
