// SPDX-License-Identifier: Apache-2.0
//! A full disk: one clear error, nothing that stays but what `bryo gc` takes away, and a store that goes on.

use std::path::Path;

use bryo_tests::disk::SmallDisk;
use bryo_tests::images::path;
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::listing::Snapshot;
use bryo_tests::registry::Registry;
use bryo_tests::tar::Tar;
use bryo_tests::{Home, Output, User};
use serde_json::json;

const NAME: &str = "localhost/large:1";
const INSECURE: &str = "--tls-verify=false";
/// The disk that is too small for busybox and one of these, and the one that is not, in mebibytes.
const SMALL: u32 = 14;
const LARGE: u32 = 200;

/// Bytes that do not compress: they fill the disk while they come.
fn noise() -> Vec<u8> {
    (0_u64..3 << 20).flat_map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).to_le_bytes()[..4].to_vec()).collect()
}

/// Bytes that compress very well: they fill the disk while they are unpacked.
fn zeros() -> Vec<u8> {
    vec![0; 32 << 20]
}

/// Writes an archive of busybox, a layer with a large file and some small ones, and one more.
fn archive(content: &[u8], file: &Path) {
    let mut layer = Tar::default();
    for n in 0..200 {
        layer = layer.file(&format!("small{n}"), 0o644, b"x");
    }
    let last = Tar::default().file("last", 0o644, b"last").finish();
    let layers = vec![busybox_layer(), layer.file("large", 0o644, content).finish(), last];
    Image::new(NAME, layers, json!({"Env": [path()]})).archive(file);
}

/// Asserts that a command ended with one error that says what is the matter and what to do.
#[track_caller]
fn told(output: &Output, code: i32) {
    let shown = output.fails(code, &["no space left", "bryo gc"]);
    assert_eq!(shown.lines().filter(|line| line.starts_with("bryo: ")).count(), 1, "{output}");
    assert_eq!(output.text(), "", "{output}");
}

/// Asserts that what the disk held before is all that it holds after collecting, and that no image is listed.
#[track_caller]
fn recovered(home: &Home, disk: &SmallDisk, before: &(Snapshot, u64)) {
    assert!(!home.bryo(&["images"]).ok().contains("large"));
    home.bryo(&["gc"]).ok();
    before.0.assert_nothing_left(home);
    assert!(disk.used() <= before.1 + (256 << 10), "{} bytes are taken, {} were", disk.used(), before.1);
}

#[test]
fn a_pull_onto_a_full_disk_is_told_and_goes_on_when_there_is_room() {
    for content in [noise(), zeros()] {
        let Some(registry) = Registry::start(false) else { return };
        let file = tempfile::NamedTempFile::new().unwrap();
        archive(&content, file.path());
        let name = registry.put(file.path(), "large:1");
        for user in User::all() {
            let home = Home::alone(&user);
            let Some(disk) = SmallDisk::new(&home, SMALL) else { return };
            home.make_store();
            let before = (Snapshot::take(&home), disk.used());
            told(&home.bryo(&["pull", "-q", INSECURE, &name]), 125);
            recovered(&home, &disk, &before);
            // As well when it is pulled for a container.
            home.write(".config/bryo/config.toml", format!("[registries]\ninsecure = [\"{}\"]\n", registry.host));
            told(&home.run(&["--quiet", &name, "true"]), 125);
            recovered(&home, &disk, &before);
            // What an attempt leaves does not hinder the next.
            told(&home.bryo(&["pull", "-q", INSECURE, &name]), 125);
            disk.grow(LARGE);
            home.bryo(&["pull", "-q", INSECURE, &name]).ok();
            works(&home, &name, &content);
        }
    }
}

#[test]
fn a_load_onto_a_full_disk_is_told_and_goes_on_when_there_is_room() {
    for content in [noise(), zeros()] {
        for user in User::all() {
            let home = Home::alone(&user);
            let Some(disk) = SmallDisk::new(&home, SMALL) else { return };
            home.make_store();
            let file = home.path.join("large.tar");
            archive(&content, &file);
            user.own(&file);
            let before = (Snapshot::take(&home), disk.used());
            let words = ["load", "-q", "-i", file.to_str().unwrap()];
            told(&home.bryo(&words), 1);
            // A load leaves nothing at all: there is nothing that another could go on with.
            before.0.assert_nothing_left(&home);
            recovered(&home, &disk, &before);
            // Neither does one from a pipe, which is kept on the disk while it is read.
            told(&home.bryo_fed(&["load", "-q"], &std::fs::read(&file).unwrap()), 1);
            recovered(&home, &disk, &before);
            disk.grow(LARGE);
            home.bryo(&words).ok();
            works(&home, NAME, &content);
        }
    }
}

#[track_caller]
fn works(home: &Home, name: &str, content: &[u8]) {
    let seen = home.run(&[name, "sha256sum", "/large"]).ok();
    assert!(seen.starts_with(&bryo_tests::listing::digest_of(content)), "{seen}");
    assert_eq!(home.run(&[name, "cat", "/last"]).ok(), "last");
}
