// SPDX-License-Identifier: Apache-2.0
//! Archives that lie or lead out, a kill at any moment, and a full disk: nothing stays but what is collected.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::Path;

use bryo_image::archive::{ImportOptions, LoadOptions, import, load_archive, save_layout_dir};
use bryo_image::store::{GcOptions, Store};
use bryo_image::{Digest, Kind};
use serde_json::json;
use tar::{Builder, EntryType};

use super::{Ground, append, gzip, old_archive, root_fs};
use crate::common::{count, output, tests, worker};

tests![
    a_blob_that_lies_is_refused_and_leaves_nothing,
    names_in_archives_open_nothing_outside,
    a_killed_load_leaves_only_what_is_collected,
    a_full_disk_is_told_and_stays_as_full_as_before,
];

fn try_archive(bytes: &[u8]) -> Kind {
    let ground = Ground::new();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    let result = load_archive(&ground.store, &ground.worker, file, &LoadOptions::default());
    let kind = result.unwrap_err().kind();
    assert_eq!((ground.blobs(), ground.layers(), ground.store.images().unwrap().len()), (0, 0, 0));
    assert_eq!(count(&ground.dir.path().join("store/partial")), 0);
    kind
}

/// CVE-2024-24557 and others: what is cached under a digest must be that content.
fn a_blob_that_lies_is_refused_and_leaves_nothing() {
    let (good, evil) = (root_fs(b"good"), root_fs(&[7; 1000]));
    let (good_id, evil_id) = (Digest::sha256_of(&good), Digest::sha256_of(&evil));
    let plain = old_archive(&[&good, &evil], &[good_id.clone(), good_id.clone()], |_| {});
    assert_eq!(try_archive(&plain), Kind::DigestMismatch);
    let packed = old_archive(&[&gzip(&good), &gzip(&evil)], &[good_id.clone(), good_id.clone()], |_| {});
    assert_eq!(try_archive(&packed), Kind::DigestMismatch);
    let fewer = old_archive(&[&good], &[good_id.clone(), evil_id], |_| {});
    assert_eq!(try_archive(&fewer), Kind::Corrupt);
    let whole = old_archive(&[&good], &[good_id], |_| {});
    assert_eq!(try_archive(&whole[..2000]), Kind::Corrupt);
    assert_eq!(try_archive(b"neither this nor that"), Kind::Corrupt);
}

fn names_in_archives_open_nothing_outside() {
    let layer = root_fs(b"a");
    let diff_id = Digest::sha256_of(&layer);
    for name in ["/etc/passwd", "../../../etc/passwd", "l0/../../etc/passwd", "missing"] {
        let config = old_archive(&[&layer], std::slice::from_ref(&diff_id), |manifest| {
            manifest[0]["Config"] = json!(name);
        });
        assert_eq!(try_archive(&config), Kind::NotFound, "{name}");
        let layers = old_archive(&[&layer], std::slice::from_ref(&diff_id), |manifest| {
            manifest[0]["Layers"] = json!([name]);
        });
        assert_eq!(try_archive(&layers), Kind::NotFound, "{name}");
    }
    // A layout whose blobs are links to files outside, or whose digests are paths.
    let ground = Ground::new();
    let layout = ground.path("layout");
    save_layout_dir(&ground.store, &ground.import("app:1", b"one"), Path::new(&layout), Some("v1")).unwrap();
    let blobs = Path::new(&layout).join("blobs/sha256");
    let outside = ground.path("outside");
    fs::create_dir(&outside).unwrap();
    for blob in fs::read_dir(&blobs).unwrap() {
        let blob = blob.unwrap();
        let moved = Path::new(&outside).join(blob.file_name());
        fs::rename(blob.path(), &moved).unwrap();
        std::os::unix::fs::symlink(&moved, blob.path()).unwrap();
    }
    let second = Ground::new();
    assert_eq!(second.load(&format!("oci:{layout}")).unwrap_err().kind(), Kind::NotFound);
    let index = fs::read_to_string(Path::new(&layout).join("index.json")).unwrap();
    let digest = index.split('"').find(|text| text.starts_with("sha256:")).unwrap();
    let evil = index.replace(digest, "sha256:../../../../etc/passwd");
    fs::write(Path::new(&layout).join("index.json"), evil).unwrap();
    assert!(matches!(second.load(&format!("oci:{layout}")).unwrap_err().kind(), Kind::Corrupt | Kind::InvalidDigest));
}

/// Loads the archive beside a store: what is killed in the next test.
pub fn load_into(root: &Path) {
    let store = Store::open(root).unwrap();
    let worker = worker(&store, false);
    let archive = root.with_file_name("archive.tar");
    let input = File::open(archive).unwrap();
    load_archive(&store, &worker, input, &LoadOptions::default()).unwrap();
}

fn a_killed_load_leaves_only_what_is_collected() {
    let ground = Ground::new();
    // Layers of many files and of much data.
    let layers: Vec<Vec<u8>> = (0..3_u8)
        .map(|number| {
            let mut builder = Builder::new(Vec::new());
            for file in 0..400 {
                append(&mut builder, EntryType::Regular, &format!("d{number}/{file}"), &[number; 3000]);
            }
            builder.into_inner().unwrap()
        })
        .collect();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::sha256_of(layer)).collect();
    let packed: Vec<Vec<u8>> = layers.iter().map(|layer| gzip(layer)).collect();
    let archive = old_archive(&packed.iter().map(Vec::as_slice).collect::<Vec<_>>(), &diff_ids, |_| {});
    fs::write(ground.path("archive.tar"), archive).unwrap();
    let (mut complete, mut delay) = (0, 1);
    while complete < 2 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .env("BRYO_TEST_LOAD_INTO", ground.store.root())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        delay += delay / 3 + 3;
        child.kill().ok();
        child.wait().unwrap();
        let images = ground.store.images().unwrap();
        if let Some(record) = images.first() {
            // An image is entered last: all of it is there.
            complete += 1;
            let image = ground.store.image(record).unwrap();
            let paths = ground.store.layer_paths(&image, ground.worker.ownership_key()).unwrap();
            assert!(paths.iter().all(|path| path.is_dir()));
            ground.worker.export(&diff_ids, tempfile::tempfile().unwrap().into()).unwrap();
            ground.store.remove("old:1", false).unwrap();
        }
        ground.store.gc(&GcOptions::default(), Some(&ground.worker)).unwrap();
        assert_eq!((ground.blobs(), ground.layers()), (0, 0));
        assert_eq!(count(&ground.dir.path().join("store/partial")), 0);
    }
}

/// Fills a file system of one mebibyte: first by a blob, then by what a small blob becomes.
pub fn fill(dir: &Path) {
    let store = Store::open(&dir.join("store")).unwrap();
    let worker = worker(&store, true);
    let free = || rustix::fs::statvfs(dir).unwrap().f_bfree;
    let before = free();
    let mut noise = vec![0; 3 << 20];
    rustix::rand::getrandom(&mut noise, rustix::rand::GetRandomFlags::empty()).unwrap();
    for content in [noise, vec![0; 3 << 20]] {
        let bytes = gzip(&root_fs(&content));
        let error = import(&store, &worker, &mut &bytes[..], &ImportOptions::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::NoSpace, "{error:?}");
        assert!(store.images().unwrap().is_empty());
        assert!(free() + 4 >= before, "{} blocks of {before} are free", free());
    }
    let small = import(&store, &worker, &mut &root_fs(b"small")[..], &ImportOptions::default()).unwrap();
    assert!(store.image(&small).is_ok());
}

fn a_full_disk_is_told_and_stays_as_full_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let script = r#"mount -t tmpfs -o size=1m none "$1" && BRYO_TEST_FILL="$1" exec "$2""#;
    let arguments = ["-Urm", "sh", "-c", script, "sh", dir.path().to_str().unwrap(), this.to_str().unwrap()];
    if output("unshare", &["-Urm", "true"]).is_some() {
        output("unshare", &arguments);
    }
}
