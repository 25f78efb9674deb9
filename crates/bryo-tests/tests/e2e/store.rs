// SPDX-License-Identifier: Apache-2.0
//! Images in and out: archives, directories, names; and a store that other tools can read.

use std::fs;

use bryo_tests::images::{self, BUSYBOX, DEBIAN, PROBE};
use bryo_tests::listing::{Snapshot, describe};
use bryo_tests::{Home, User, skip};

#[test]
fn other_tools_read_the_store() {
    if !skip::have("skopeo") || !skip::have("umoci") {
        return;
    }
    for user in User::all() {
        let home = Home::new(&user);
        home.load(&images::busybox());
        let layout = home.store().join("images").display().to_string();
        let seen = home.tool("skopeo", &["inspect", &format!("oci:{layout}:{BUSYBOX}")]).json();
        assert_eq!(seen["Layers"].as_array().unwrap().len(), 1);
        let copy = home.path.join("copy.tar").display().to_string();
        home.tool(
            "skopeo",
            &["copy", "-q", "--insecure-policy", &format!("oci:{layout}:{BUSYBOX}"), &format!("oci-archive:{copy}")],
        )
        .ok();
        assert!(home.tool("umoci", &["list", "--layout", &layout]).ok().contains("busybox"));
        home.tool("umoci", &["stat", "--image", &format!("{layout}:{BUSYBOX}")]).ok();
    }
}

#[test]
fn both_kinds_of_archives_go_out_and_in() {
    if !skip::have("skopeo") {
        return;
    }
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&images::probe());
    let id = home.bryo(&["inspect", "--format", "{{.Id}}", PROBE]);
    for (format, transport) in [("docker-archive", "docker-archive"), ("oci-archive", "oci-archive")] {
        let file = home.path.join(format!("{format}.tar")).display().to_string();
        home.bryo(&["save", "--format", format, "-o", &file, PROBE]).ok();
        let seen = home.tool("skopeo", &["inspect", "--config", &format!("{transport}:{file}")]).json();
        assert_eq!(seen["rootfs"]["diff_ids"].as_array().unwrap().len(), 2, "{format}");
        let other = Home::new(&user);
        fs::copy(&file, other.path.join("in.tar")).unwrap();
        user.own(&other.path.join("in.tar"));
        other.bryo(&["load", "-i", &other.path.join("in.tar").display().to_string()]).ok();
        assert_eq!(other.run(&[PROBE, "/probe", "euid"]).ok(), "65532 65532", "{format}");
        assert_eq!(other.bryo(&["inspect", "--format", "{{.Id}}", PROBE]).text(), id.text(), "{format}");
    }
}

#[test]
fn an_archive_comes_through_a_pipe() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let bytes = fs::read(images::busybox()).unwrap();
    home.bryo_fed(&["load"], &bytes).ok();
    let saved = home.bryo(&["save", BUSYBOX]);
    saved.ok();
    let other = Home::new(&user);
    other.bryo_fed(&["load"], &saved.stdout).ok();
    assert_eq!(other.run(&[BUSYBOX, "echo", "piped"]).ok(), "piped");
}

#[test]
fn a_compressed_archive_is_loaded() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let file = home.path.join("b.tar");
    fs::copy(images::busybox(), &file).unwrap();
    bryo_tests::program::tool("gzip", &["-1", file.to_str().unwrap()]);
    home.bryo(&["load", "-i", &home.path.join("b.tar.gz").display().to_string()]).ok();
    home.run(&[BUSYBOX, "true"]).ok();
}

#[test]
fn a_root_file_system_is_imported_and_exported() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let tar = home.write("rootfs.tar", bryo_tests::layout::busybox_layer()).display().to_string();
    home.bryo(&["import", &tar, "localhost/imported:1"]).ok();
    assert_eq!(home.run(&["localhost/imported:1", "/bin/echo", "in"]).ok(), "in");
    let out = home.path.join("out.tar").display().to_string();
    home.bryo(&["export", "-o", &out, "localhost/imported:1"]).ok();
    let names = |file: &str| {
        let text = bryo_tests::program::tool("tar", &["--numeric-owner", "-tvf", file]);
        let mut lines: Vec<String> = text
            .lines()
            .map(|l| l.split_whitespace().filter(|f| !f.contains(':')).collect::<Vec<_>>())
            .map(|f| format!("{} {} {}", &f[0][1..], f[1], f[4].trim_start_matches("./").trim_matches('/')))
            .filter(|l| !l.ends_with(' ') && !l.ends_with('.'))
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(names(&out), names(&tar));
}

#[test]
fn transports_name_images_where_they_are() {
    if !skip::have("skopeo") {
        return;
    }
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let archive = home.path.join("a.tar");
    fs::copy(images::busybox(), &archive).unwrap();
    user.own(&archive);
    let archive = archive.display().to_string();
    let (layout, dir) = (home.path.join("layout").display().to_string(), home.path.join("dir").display().to_string());
    let docker = home.path.join("docker.tar").display().to_string();
    let copy = |to: &str| {
        home.tool("skopeo", &["copy", "-q", "--insecure-policy", &format!("oci-archive:{archive}"), to]).ok();
    };
    copy(&format!("oci:{layout}:v1"));
    copy(&format!("dir:{dir}"));
    copy(&format!("docker-archive:{docker}:localhost/b:1"));
    for image in [
        format!("oci:{layout}:v1"),
        format!("dir:{dir}"),
        format!("docker-archive:{docker}"),
        format!("oci-archive:{archive}"),
    ] {
        assert_eq!(home.run(&[&image, "/bin/echo", "ran"]).ok(), "ran", "{image}");
    }
}

#[test]
fn images_are_listed_named_and_removed() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::alone(&user);
    assert_eq!(home.bryo(&["images", "-q"]).ok(), "");
    let empty = Snapshot::take(&home);
    home.load(&images::busybox());
    let id = home.bryo(&["images", "-q"]).ok();
    assert_eq!(id.lines().count(), 1, "{id}");
    assert!(home.bryo(&["images"]).ok().contains("localhost/busybox"));
    home.bryo(&["tag", BUSYBOX, "mine:2"]).ok();
    assert!(home.bryo(&["images"]).ok().contains("docker.io/library/mine"));
    home.bryo(&["tag", "Not A Name", "x"]).fails(1, &["Not A Name"]);
    // An id, or the beginning of one, is as good as a name.
    home.run(&[&id[..id.len().min(10)], "true"]).ok();
    home.bryo(&["rmi", "mine:2"]).ok();
    home.run(&[BUSYBOX, "true"]).ok();
    home.bryo(&["rmi", BUSYBOX]).ok();
    assert_eq!(home.bryo(&["images", "-q"]).ok(), "");
    home.bryo(&["rmi", BUSYBOX]).fails(1, &["busybox"]);
    // With the last name go the blobs, the unpacked layers and what was derived from them.
    let left = Snapshot::take(&home);
    let files = |s: &Snapshot| s.files.iter().filter(|f| f.contains("sha256/") || f.contains("/fs")).count();
    assert_eq!((files(&left), files(&empty)), (0, 0), "{:#?}", left.files);
}

#[test]
fn inspect_and_history_tell_what_an_image_is() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let seen = home.bryo(&["inspect", BUSYBOX]).json()[0].clone();
    assert_eq!(seen["Config"]["Cmd"][0], "sh", "{seen}");
    assert_eq!(seen["Architecture"], if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    assert!(seen["RepoTags"].to_string().contains(BUSYBOX), "{seen}");
    assert_eq!(seen["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    assert!(home.bryo(&["history", PROBE]).ok().contains("a test"));
    home.bryo(&["inspect", "localhost/none:1"]).fails(1, &["localhost/none:1"]);
}

/// Text from an image is escaped before it meets a terminal.
#[test]
fn an_image_cannot_drive_the_terminal() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\u{9b}31m\u{202e}";
    let config = serde_json::json!({"Labels": {"evil": evil, evil: "x"}, "Cmd": [evil], "Env": [format!("A={evil}")]});
    let file = home.path.join("evil.tar");
    bryo_tests::layout::Image::new("localhost/evil:1", vec![bryo_tests::layout::busybox_layer()], config)
        .archive(&file);
    home.load(&file);
    for words in [&["inspect", "localhost/evil:1"][..], &["history", "localhost/evil:1"], &["run", "localhost/evil:1"]]
    {
        let output = home.bryo(words);
        for text in [output.text(), output.stderr.clone()] {
            assert!(!text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\r']), "{words:?}: {text:?}");
        }
    }
}

#[test]
fn debian_is_unpacked_entry_by_entry_as_umoci_unpacks_it() {
    if !skip::have("umoci") || !bryo_tests::user::is_root() {
        return skip::skip("comparing owners with umoci's needs umoci and root");
    }
    let (Some(user), Some(archive)) = (User::with_range(), images::debian()) else { return };
    let home = Home::new(&user);
    home.load(&archive);
    let layout = home.store().join("images").display().to_string();
    let bundle = tempfile::tempdir().unwrap();
    let out = bundle.path().join("bundle");
    bryo_tests::program::tool("umoci", &["unpack", "--image", &format!("{layout}:{DEBIAN}"), out.to_str().unwrap()]);
    let theirs = describe(&out.join("rootfs"));
    let mut layers = Vec::new();
    find(&home.store().join("layers"), &mut layers);
    let ours_dir = layers.iter().max_by_key(|d| describe(d).len()).expect("an unpacked layer");
    let (first, _) = user.range().unwrap();
    // Owners on disk are subordinate ids; those of umoci, run by root, are the image's own.
    let ours: std::collections::BTreeSet<String> = describe(ours_dir).into_iter().map(|l| inside(&l, first)).collect();
    let device = |l: &&String| !l.contains(" 2000") && !l.contains(" 2060") && !l.contains(" 2066");
    let only_theirs: Vec<_> = theirs.difference(&ours).filter(device).take(20).collect();
    let only_ours: Vec<_> = ours.difference(&theirs).take(20).collect();
    assert!(only_theirs.is_empty() && only_ours.is_empty(), "theirs {only_theirs:#?} ours {only_ours:#?}");
}

/// Finds the directories named `fs` below one.
fn find(dir: &std::path::Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        if entry.file_name() == "fs" {
            into.push(entry.path());
        } else {
            find(&entry.path(), into);
        }
    }
}

/// Turns the owner in a description from a host id into the id inside.
fn inside(line: &str, first: u32) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for word in &mut words {
        let ids = word.split_once(':').and_then(|(u, g)| Some((u.parse::<u32>().ok()?, g.parse::<u32>().ok()?)));
        if let Some((uid, gid)) = ids.filter(|(u, g)| *u >= first && *g >= first) {
            *word = format!("{}:{}", uid - first, gid - first);
            break;
        }
    }
    words.join(" ")
}
