// SPDX-License-Identifier: Apache-2.0
//! Images that go out and come in, here and in other tools.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use bryo_image::archive::{LoadOptions, SaveFormat, load_archive, save, save_layout_dir, save_plain_dir};
use bryo_image::{Digest, Kind};
use serde_json::Value;

use super::{Ground, gzip, old_archive, root_fs};
use crate::common::{output, tests};

tests![
    an_imported_archive_is_an_image,
    other_tools_read_the_store,
    saved_archives_load_again,
    directories_load_again,
    skopeo_and_bryo_read_each_other,
    old_archives_with_links_load,
];

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
