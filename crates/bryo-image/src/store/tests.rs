// SPDX-License-Identifier: Apache-2.0
//! The store's own promises, without an image: what is on the disk, and what a writer finds there.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use rustix::fs::IFlags;

use super::{GcOptions, NewImage, Store};
use crate::digest::Digest;
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

/// Enters an image of one layer: the digests of its manifest, its configuration and its layer.
fn image(store: &Store, name: &str) -> [Digest; 3] {
    let layer = store.put_blob(name.as_bytes()).unwrap();
    let config = format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{layer}\"]}}}}"
    );
    let config = store.put_blob(config.as_bytes()).unwrap();
    let descriptor = |kind: &str, digest: &Digest| {
        let size = store.has_blob(digest).unwrap();
        format!("{{\"mediaType\":\"application/vnd.oci.image.{kind}\",\"digest\":\"{digest}\",\"size\":{size}}}")
    };
    let (of_config, of_layer) = (descriptor("config.v1+json", &config), descriptor("layer.v1.tar", &layer));
    let text = format!("{{\"schemaVersion\":2,\"config\":{of_config},\"layers\":[{of_layer}]}}");
    let manifest = store.put_blob(text.as_bytes()).unwrap();
    let entered = store.commit_image(&NewImage {
        reference: Some(name.to_owned()),
        manifest: manifest.clone(),
        size: text.len() as u64,
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        config: config.clone(),
        source: None,
    });
    entered.unwrap();
    [manifest, config, layer]
}

/// What an image without its manifest or its configuration refers to is unknown, and may be everything there is.
#[test]
fn nothing_is_collected_while_an_image_lacks_its_documents() {
    for lost in [0, 1] {
        let (_dir, store) = store();
        let image = image(&store, "localhost/one:1");
        let orphan = store.put_blob(b"nobody's").unwrap();
        let lost = &image[lost];
        store.remove_damaged(lost).unwrap();
        assert_eq!(store.has_blob(lost), None);
        assert_eq!(store.gc(&GcOptions::default(), None).unwrap_err().kind(), Kind::NotFound);
        let kept = image.iter().filter(|digest| *digest != lost).chain([&orphan]);
        for digest in kept {
            assert!(store.has_blob(digest).is_some(), "{digest}");
        }
        let report = store.check(&GcOptions::default(), true).unwrap();
        assert!(!report.is_whole() && report.orphaned_blobs.is_empty(), "{report:?}");
        // What was damaged is still there for a person, and is told of.
        let [aside] = report.leftovers.as_slice() else { panic!("{report:?}") };
        let bytes = fs::read(aside).unwrap();
        store.put_blob(&bytes).unwrap();
        let report = store.gc(&GcOptions::default(), None).unwrap();
        assert_eq!((report.blobs, report.leftovers), (1, 1));
        assert!(!aside.exists() && store.has_blob(&image[2]).is_some());
        assert!(store.check(&GcOptions::default(), true).unwrap().is_whole());
    }
}

/// What cannot be read, as on a disk that fails, is told of beside all else.
#[test]
fn a_blob_that_cannot_be_read_does_not_end_the_check() {
    let (_dir, store) = store();
    let [manifest, ..] = image(&store, "localhost/one:1");
    let unreadable = Digest::sha256_of(b"unreadable");
    fs::create_dir(store.blob_path(&unreadable)).unwrap();
    let layers = store.create_layers_dir("key").unwrap();
    fs::create_dir(layers.join("0".repeat(64))).unwrap();
    fs::write(store.blob_path(&manifest), "damaged").unwrap();
    let report = store.check(&GcOptions::default(), true).unwrap();
    assert_eq!(report.unreadable_blobs.iter().map(|(digest, _)| digest).collect::<Vec<_>>(), [&unreadable]);
    assert_eq!((report.damaged.as_slice(), report.blobs, report.layers), (&[manifest][..], 4, 1));
    assert!(!report.is_whole());
}

/// Two containers that have changed nothing, committed one after the other, give an image of the same layer twice.
#[test]
fn a_layer_that_an_image_has_twice_is_one_place() {
    let (_dir, store) = store();
    let [.., one] = image(&store, "localhost/one:1");
    let [.., two] = image(&store, "localhost/two:1");
    let layers = store.create_layers_dir("key").unwrap();
    for layer in [&one, &two] {
        fs::create_dir_all(layers.join(layer.hex()).join("fs")).unwrap();
    }
    let read = |name: &str| store.image(&store.find(name).unwrap()).unwrap();
    let mut image = read("localhost/one:1");
    image.layers.extend(read("localhost/two:1").layers);
    image.layers.extend(image.layers.first().cloned());
    let paths = store.layer_paths(&image, "key").unwrap();
    assert_eq!(paths, [two, one].map(|layer| layers.join(layer.hex()).join("fs")));
}
