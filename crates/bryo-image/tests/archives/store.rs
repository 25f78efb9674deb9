// SPDX-License-Identifier: Apache-2.0
//! The store: names, sizes, what is collected and when, and damage that is told.

use std::fs;
use std::io::Write;

use bryo_image::store::{BlobSlot, GcOptions};
use bryo_image::{Digest, Kind};

use super::Ground;
use crate::common::{count, tests};

tests![
    images_are_found_tagged_and_removed,
    interrupted_blobs_are_resumed_or_collected,
    collection_waits_for_those_who_add,
    a_damaged_store_is_told,
    sizes_are_counted,
];

fn images_are_found_tagged_and_removed() {
    let ground = Ground::new();
    let store = &ground.store;
    let one = ground.import("app:1", b"one");
    let two = ground.import("example.org/x/app:2", b"two");
    for name in ["app:1", "docker.io/library/app:1", "docker.io/app:1", one.id().hex(), &one.id().hex()[..12]] {
        assert_eq!(store.find(name).unwrap(), one, "{name}");
    }
    assert_eq!(store.find(one.id().as_str()).unwrap(), one);
    assert_eq!(store.find(one.manifest.as_str()).unwrap(), one);
    assert_eq!(store.find(&format!("example.org/x/app@{}", two.manifest)).unwrap(), two);
    for name in ["app", "app:2", "nothing", "0123456789ab", "", &format!("app@{}", two.manifest), "../x", "sha256:zz"] {
        assert_eq!(store.find(name).unwrap_err().kind(), Kind::NotFound, "{name}");
    }

    store.tag(&one, "docker.io/library/app:latest").unwrap();
    assert_eq!(store.find("app").unwrap().id(), one.id());
    assert_eq!(store.remove(&one.id().hex()[..12], false).unwrap_err().kind(), Kind::Busy);
    let removed = store.remove("app:1", false).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted), (1, None));
    // The name goes to another image; the first stays without one.
    let three = ground.import("app", b"three");
    assert_eq!(store.find("app").unwrap().id(), three.id());
    let untagged = store.find(one.id().hex()).unwrap();
    assert_eq!(untagged.reference, None);
    let removed = store.remove(one.id().hex(), false).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted.as_ref()), (0, Some(one.id())));
    assert_eq!((ground.blobs(), ground.layers()), (9, 3));
    let report = store.gc(&GcOptions::default(), Some(&ground.worker)).unwrap();
    assert_eq!((report.blobs, report.layers), (3, 1));
    assert_eq!((ground.blobs(), ground.layers()), (6, 2));
    // What a container uses stays.
    let layer = store.image(&two).unwrap().layers[0].diff_id.clone();
    store.remove("example.org/x/app:2", false).unwrap();
    let in_use = GcOptions { layers_in_use: [layer].into(), ..GcOptions::default() };
    assert_eq!(store.gc(&in_use, Some(&ground.worker)).unwrap().layers, 0);
    assert_eq!(store.gc(&GcOptions::default(), Some(&ground.worker)).unwrap().layers, 1);
}

fn interrupted_blobs_are_resumed_or_collected() {
    let ground = Ground::new();
    let content = b"0123456789";
    let digest = Digest::sha256_of(content);
    let begin = || match ground.store.begin_blob(&digest, Some(10)).unwrap() {
        BlobSlot::Write(writer) => writer,
        BlobSlot::Present => panic!("it is there already"),
    };
    let mut writer = begin();
    writer.write_all(&content[..4]).unwrap();
    drop(writer);
    let mut writer = begin();
    assert_eq!(writer.len(), 4);
    writer.write_all(&content[4..]).unwrap();
    assert!(ground.store.has_blob(&digest).is_none());
    writer.commit().unwrap();
    assert_eq!(ground.store.has_blob(&digest), Some(10));
    assert!(matches!(ground.store.begin_blob(&digest, Some(10)).unwrap(), BlobSlot::Present));

    let other = Digest::sha256_of(b"other");
    let BlobSlot::Write(mut living) = ground.store.begin_blob(&other, None).unwrap() else { panic!("it is there") };
    living.write_all(b"ot").unwrap();
    fs::write(ground.dir.path().join("store/partial/sha256-dead"), b"x").unwrap();
    let report = ground.store.gc(&GcOptions::default(), None).unwrap();
    assert_eq!((report.blobs, report.leftovers), (1, 1));
    living.write_all(b"her").unwrap();
    living.commit().unwrap();

    let mut wrong = match ground.store.begin_blob(&digest, Some(10)).unwrap() {
        BlobSlot::Write(writer) => writer,
        BlobSlot::Present => panic!("it was collected"),
    };
    assert!(wrong.write_all(b"more than ten bytes").is_err());
    drop(wrong);
    let mut wrong = begin();
    assert!(wrong.is_empty());
    wrong.write_all(b"9876543210").unwrap();
    assert_eq!(wrong.commit().unwrap_err().kind(), Kind::DigestMismatch);
    assert_eq!(count(&ground.dir.path().join("store/partial")), 0);
}

fn collection_waits_for_those_who_add() {
    let ground = Ground::new();
    let pin = ground.store.pin().unwrap();
    let digest = ground.store.put_blob(b"not referred to yet").unwrap();
    assert_eq!(ground.store.gc(&GcOptions::default(), None).unwrap_err().kind(), Kind::Busy);
    assert!(ground.store.has_blob(&digest).is_some());
    drop(pin);
    assert_eq!(ground.store.gc(&GcOptions::default(), None).unwrap().blobs, 1);
}

fn a_damaged_store_is_told() {
    let ground = Ground::new();
    let record = ground.import("app:1", b"one");
    let path = ground.store.blob_path(record.id());
    let config = fs::read(&path).unwrap();
    fs::write(&path, String::from_utf8(config.clone()).unwrap().replace("/bin/x", "/bin/y")).unwrap();
    assert_eq!(ground.store.image(&record).unwrap_err().kind(), Kind::DigestMismatch);
    fs::remove_file(&path).unwrap();
    assert_eq!(ground.store.image(&record).unwrap_err().kind(), Kind::NotFound);
    fs::write(&path, config).unwrap();
    assert!(ground.store.image(&record).is_ok());
    let index = ground.store.layout_dir().join("index.json");
    let good = fs::read(&index).unwrap();
    fs::write(&index, b"{").unwrap();
    assert_eq!(ground.store.images().unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(ground.store.gc(&GcOptions::default(), None).unwrap_err().kind(), Kind::Corrupt);
    fs::write(&index, good).unwrap();
}

fn sizes_are_counted() {
    let ground = Ground::new();
    ground.import("app:1", &[7; 100_000]);
    ground.import("app:2", &[8; 100_000]);
    let usage = ground.store.df(Some(&ground.worker)).unwrap();
    assert_eq!((usage.images.len(), usage.layers.len()), (2, 2));
    assert!(usage.blobs >= 4096 * 6);
    assert!(usage.layers.iter().all(|layer| layer.referenced && layer.bytes.unwrap() >= 100_000));
    assert!(usage.images.iter().all(|image| image.unique > 0 && image.unique <= image.summary.size));
}
