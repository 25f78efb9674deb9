// SPDX-License-Identifier: Apache-2.0
//! Images in and out of the store, judged by skopeo and umoci where they are installed.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::Path;

use bryo_image::archive::{
    Change, ImportOptions, LoadOptions, SaveFormat, import, load, load_archive, save, save_layout_dir, save_plain_dir,
};
use bryo_image::reference::Source;
use bryo_image::store::{BlobSlot, GcOptions, ImageRecord, Store};
use bryo_image::unpack::Worker;
use bryo_image::{Digest, Kind};
use common::{count, output, worker};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

fn main() {
    if let Some(store) = std::env::var_os("BRYO_TEST_LOAD_INTO") {
        return load_into(Path::new(&store));
    }
    if let Some(dir) = std::env::var_os("BRYO_TEST_FILL") {
        return fill(Path::new(&dir));
    }
    common::run(&[
        ("an_imported_archive_is_an_image", an_imported_archive_is_an_image),
        ("images_are_found_tagged_and_removed", images_are_found_tagged_and_removed),
        ("other_tools_read_the_store", other_tools_read_the_store),
        ("saved_archives_load_again", saved_archives_load_again),
        ("directories_load_again", directories_load_again),
        ("skopeo_and_bryo_read_each_other", skopeo_and_bryo_read_each_other),
        ("old_archives_with_links_load", old_archives_with_links_load),
        ("a_blob_that_lies_is_refused_and_leaves_nothing", a_blob_that_lies_is_refused_and_leaves_nothing),
        ("names_in_archives_open_nothing_outside", names_in_archives_open_nothing_outside),
        ("interrupted_blobs_are_resumed_or_collected", interrupted_blobs_are_resumed_or_collected),
        ("collection_waits_for_those_who_add", collection_waits_for_those_who_add),
        ("a_damaged_store_is_told", a_damaged_store_is_told),
        ("sizes_are_counted", sizes_are_counted),
        ("a_killed_load_leaves_only_what_is_collected", a_killed_load_leaves_only_what_is_collected),
        ("a_full_disk_is_told_and_stays_as_full_as_before", a_full_disk_is_told_and_stays_as_full_as_before),
    ]);
}

struct Ground {
    worker: Worker,
    store: Store,
    dir: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { worker: worker(&store, false), store, dir }
    }

    fn import(&self, name: &str, content: &[u8]) -> ImageRecord {
        let options = ImportOptions {
            reference: Some(name.parse().unwrap()),
            changes: vec![Change::Cmd(vec!["/bin/x".into()]), Change::User("7".into())],
            ..ImportOptions::default()
        };
        import(&self.store, &self.worker, &mut &gzip(&root_fs(content))[..], &options).unwrap()
    }

    fn load(&self, source: &str) -> bryo_image::Result<Vec<ImageRecord>> {
        let source: Source = source.parse().unwrap();
        load(&self.store, &self.worker, &source, &LoadOptions::default())
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn blobs(&self) -> usize {
        count(&self.store.layout_dir().join("blobs/sha256"))
    }

    fn layers(&self) -> usize {
        count(&self.store.layers_dir(self.worker.ownership_key()))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Files of the map's ids can only be removed through the worker.
        for record in self.store.images().unwrap_or_default() {
            self.store.remove(&record.manifest.to_string(), true).ok();
        }
        self.store.gc(&GcOptions::default(), Some(&self.worker)).ok();
    }
}

fn root_fs(content: &[u8]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, data) in [
        (EntryType::Directory, "bin", &b""[..]),
        (EntryType::Regular, "bin/x", content),
        (EntryType::Regular, "etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
    ] {
        append(&mut builder, kind, name, data);
    }
    builder.into_inner().unwrap()
}

fn append(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, data: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(data.len() as u64);
    builder.append_data(&mut header, name, data).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn an_imported_archive_is_an_image() {
    let ground = Ground::new();
    let record = ground.import("app:1", b"one");
    assert_eq!(record.reference.as_deref(), Some("docker.io/library/app:1"));
    let image = ground.store.image(&record).unwrap();
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.user().as_deref(), Some("7"));
    assert_eq!(config.cmd().as_ref().unwrap(), &["/bin/x"]);
    assert_eq!(image.layers[0].diff_id, Digest::sha256_of(&root_fs(b"one")));
    assert_eq!(image.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(ground.store.layer_paths(&image, ground.worker.ownership_key()).unwrap().len(), 1);
    let missing = ground.store.layer_paths(&image, "other-map").unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    assert!(missing.to_string().contains(image.layers[0].diff_id.as_str()));
    assert_eq!(image.history()[0].layer.as_ref(), Some(&image.layers[0]));
    let summary = ground.store.summary(&record).unwrap();
    assert!(summary.created.unwrap().starts_with("20"));
    assert!(summary.size > 500);
}

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

fn other_tools_read_the_store() {
    let ground = Ground::new();
    ground.import("app:1", b"one");
    let layout = ground.store.layout_dir();
    let layout = layout.to_str().unwrap();
    let name = "docker.io/library/app:1";
    if let Some(text) = output("skopeo", &["inspect", &format!("oci:{layout}:{name}")]) {
        let seen: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(seen["Layers"].as_array().unwrap().len(), 1);
        output("skopeo", &["copy", "-q", &format!("oci:{layout}:{name}"), &format!("dir:{}", ground.path("copied"))]);
        let loaded = ground.load(&format!("dir:{}", ground.path("copied"))).unwrap();
        assert_eq!(loaded[0].reference.as_deref(), Some("localhost/copied:latest"));
        ground.store.remove("localhost/copied", false).unwrap();
    }
    if let Some(text) = output("umoci", &["ls", "--layout", layout]) {
        assert_eq!(text.trim(), name);
        let stat = output("umoci", &["stat", "--json", "--image", &format!("{layout}:{name}")]).unwrap();
        let seen: Value = serde_json::from_str(&stat).unwrap();
        assert_eq!(seen["history"].as_array().unwrap().len(), 1);
        // Another tool's entry has no annotation of ours.
        output("umoci", &["tag", "--image", &format!("{layout}:{name}"), "other"]).unwrap();
        assert_eq!(ground.store.find("other").unwrap().reference.as_deref(), Some("other"));
        ground.store.remove("other", false).unwrap();
    }
}

fn saved_archives_load_again() {
    let ground = Ground::new();
    let one = ground.import("app:1", b"one");
    ground.store.tag(&one, "example.org/also:2").unwrap();
    ground.import("app:3", b"three");
    let records = ground.store.images().unwrap();
    for format in [SaveFormat::DockerArchive, SaveFormat::OciArchive] {
        let mut bytes = Vec::new();
        save(&ground.store, &records, format, &mut bytes).unwrap();
        let mut again = Vec::new();
        save(&ground.store, &records, format, &mut again).unwrap();
        assert!(bytes == again, "{format:?} is not the same twice");

        let second = Ground::new();
        // Compressed, and through a pipe.
        let (reader, writer) = std::io::pipe().unwrap();
        let packed = gzip(&bytes);
        let writing = std::thread::spawn(move || File::from(std::os::fd::OwnedFd::from(writer)).write_all(&packed));
        let input = File::from(std::os::fd::OwnedFd::from(reader));
        let loaded = load_archive(&second.store, &second.worker, input, &LoadOptions::default()).unwrap();
        writing.join().unwrap().unwrap();
        let mut names: Vec<_> = loaded.iter().map(|record| record.reference.clone().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["docker.io/library/app:1", "docker.io/library/app:3", "example.org/also:2"]);
        assert_eq!(second.store.find("app:1").unwrap().id(), one.id());
        assert_eq!(second.layers(), 2);

        let file = ground.path("archive.tar");
        fs::write(&file, &bytes).unwrap();
        let transport = if format == SaveFormat::OciArchive { "oci-archive" } else { "docker-archive" };
        let third = Ground::new();
        assert_eq!(third.load(&format!("{transport}:{file}:docker.io/library/app:1")).unwrap().len(), 1);
        let error = third.load(&format!("{transport}:{file}:docker.io/library/none:1")).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        if let Some(text) =
            output("skopeo", &["inspect", "--config", &format!("{transport}:{file}:docker.io/library/app:1")])
        {
            let seen: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(seen["config"]["User"], "7");
        }
    }
}

fn directories_load_again() {
    let ground = Ground::new();
    let record = ground.import("app:1", b"one");
    let (layout, plain) = (ground.path("layout"), ground.path("plain"));
    save_layout_dir(&ground.store, &record, Path::new(&layout), Some("v1")).unwrap();
    save_layout_dir(&ground.store, &record, Path::new(&layout), Some("v2")).unwrap();
    save_layout_dir(&ground.store, &record, Path::new(&layout), Some("v2")).unwrap();
    save_plain_dir(&ground.store, &record, Path::new(&plain)).unwrap();
    let second = Ground::new();
    assert_eq!(second.load(&format!("oci:{layout}")).unwrap().len(), 2);
    let loaded = second.load(&format!("oci:{layout}:v1")).unwrap();
    assert_eq!(loaded[0].reference.as_deref(), Some("localhost/layout:v1"));
    let loaded = second.load(&format!("dir:{plain}")).unwrap();
    assert_eq!(loaded[0].reference.as_deref(), Some("localhost/plain:latest"));
    assert_eq!(loaded[0].id(), record.id());
    assert_eq!(second.load(&format!("oci:{layout}:none")).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(second.load("oci:/nonexistent/dir").unwrap_err().kind(), Kind::NotFound);
    if let Some(text) = output("umoci", &["ls", "--layout", &layout]) {
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["v1", "v2"]);
    }
}

fn skopeo_and_bryo_read_each_other() {
    let ground = Ground::new();
    let record = ground.import("app:1", b"one");
    let archive = ground.path("first.tar");
    let images = [record.clone()];
    save(&ground.store, &images, SaveFormat::OciArchive, &mut File::create(&archive).unwrap()).unwrap();
    let from = format!("oci-archive:{archive}:docker.io/library/app:1");
    for target in ["docker-archive:@:example.org/a:1", "oci-archive:@:b", "dir:@d", "oci:@l:c"] {
        let path = ground.path("second");
        let target = target.replace('@', &path);
        if output("skopeo", &["copy", "-q", &from, &target]).is_none() {
            return;
        }
        let second = Ground::new();
        let loaded = second.load(&target).unwrap();
        assert_eq!(loaded.len(), 1, "{target}");
        let image = second.store.image(&loaded[0]).unwrap();
        assert_eq!(image.layers[0].diff_id, ground.store.image(&record).unwrap().layers[0].diff_id);
        fs::remove_file(&path).ok();
    }
}

/// Writes a docker archive of one image in the form before Docker 1.10: directories, and links between layers.
fn old_archive(layers: &[&[u8]], diff_ids: &[Digest], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut names = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        let name = format!("l{at}/layer.tar");
        match layers[..at].iter().position(|other| other == layer) {
            Some(first) => {
                let mut header = Header::new_gnu();
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, &name, format!("../l{first}/layer.tar")).unwrap();
            }
            None => append(&mut builder, EntryType::Regular, &name, layer),
        }
        names.push(name);
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    append(&mut builder, EntryType::Regular, "config.json", config.to_string().as_bytes());
    let mut manifest = json!([{ "Config": "config.json", "RepoTags": ["old:1"], "Layers": names }]);
    change(&mut manifest);
    append(&mut builder, EntryType::Regular, "manifest.json", manifest.to_string().as_bytes());
    builder.into_inner().unwrap()
}

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

fn old_archives_with_links_load() {
    let ground = Ground::new();
    let (layer, other) = (root_fs(b"a"), gzip(&root_fs(b"b")));
    let (first, second) = (Digest::sha256_of(&layer), Digest::sha256_of(&root_fs(b"b")));
    let archive = old_archive(&[&layer, &other, &layer], &[first.clone(), second, first], |_| {});
    let path = ground.path("old.tar");
    fs::write(&path, archive).unwrap();
    let loaded = ground.load(&format!("docker-archive:{path}")).unwrap();
    assert_eq!(loaded[0].reference.as_deref(), Some("docker.io/library/old:1"));
    assert_eq!(ground.store.image(&loaded[0]).unwrap().layers.len(), 3);
    assert_eq!(ground.layers(), 2);
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

/// Loads the archive beside a store: what is killed in the next test.
fn load_into(root: &Path) {
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
fn fill(dir: &Path) {
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
