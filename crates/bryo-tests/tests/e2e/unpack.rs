// SPDX-License-Identifier: Apache-2.0
//! Layers as they come: correct ones give the file system that they describe, hostile ones leave nothing behind.

use std::path::Path;

use bryo_tests::images::path;
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::listing::{Snapshot, describe};
use bryo_tests::tar::{Entry, Tar};
use bryo_tests::{Home, Output, User};
use serde_json::json;

const NAME: &str = "localhost/layers:1";

/// Writes an image of busybox and further layers and loads it.
fn load(home: &Home, layers: Vec<Vec<u8>>) -> Output {
    let file = home.path.join("layers.tar");
    let all = [vec![busybox_layer()], layers].concat();
    Image::new(NAME, all, json!({"Env": [path()]})).archive(&file);
    home.bryo(&["load", "-i", &file.display().to_string()])
}

#[track_caller]
fn sees(home: &Home, script: &str, expected: &str) {
    assert_eq!(home.run(&["--user", "root", NAME, "sh", "-c", script]).ok(), expected, "{script}");
}

#[test]
fn whiteouts_and_opaque_directories_hide_what_is_below() {
    for user in User::all() {
        let home = Home::new(&user);
        let below = Tar::default()
            .dir("d/", 0o755)
            .file("d/gone", 0o644, b"1")
            .file("d/stays", 0o644, b"2")
            .dir("o/", 0o755)
            .file("o/hidden", 0o644, b"3")
            .dir("o/sub/", 0o755)
            .file("o/sub/hidden", 0o644, b"4")
            .dir("gone-dir/", 0o755)
            .file("gone-dir/x", 0o644, b"5")
            .file("becomes-dir", 0o644, b"6")
            .dir("becomes-file/", 0o755);
        let above = Tar::default()
            .file("d/.wh.gone", 0, b"")
            .dir("o/", 0o755)
            .file("o/.wh..wh..opq", 0, b"")
            .file("o/new", 0o644, b"7")
            .file(".wh.gone-dir", 0, b"")
            .dir("becomes-dir/", 0o755)
            .file("becomes-dir/x", 0o644, b"8")
            .file("becomes-file", 0o644, b"9");
        load(&home, vec![below.finish(), above.finish()]).ok();
        sees(
            &home,
            "ls /d /o; ls -d /gone-dir 2>/dev/null; cat /becomes-dir/x /becomes-file",
            "/d:\nstays\n\n/o:\nnew\n89",
        );
    }
}

#[test]
fn owners_modes_times_and_links_are_the_archives() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    let file = |name, ids, mode| Entry { name, kind: b'0', mode, ids, link: "", data: b"x" };
    let layer = Tar::default()
        .entry(file("a", (1000, 1001), 0o640))
        .entry(file("setuid", (0, 0), 0o4755))
        .hardlink("b", "a", 0o644)
        .symlink("s", "/absolute/target")
        .entry(Entry { name: "fifo", kind: b'6', mode: 0o600, ids: (0, 0), link: "", data: b"" });
    load(&home, vec![layer.finish()]).ok();
    sees(&home, "stat -c '%a %u %g %Y %h' /a /b", "640 1000 1001 1700000000 2\n640 1000 1001 1700000000 2");
    sees(&home, "readlink /s; stat -c %F /fifo; stat -c %a /setuid", "/absolute/target\nfifo\n4755");
}

#[test]
fn long_names_extended_attributes_and_odd_bytes_survive() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let directory = format!("{}/", "d".repeat(120));
    let layer = Tar::default()
        .pax(&[("path", directory.as_bytes())])
        .dir("short/", 0o755)
        .pax(&[("path", long.as_bytes())])
        .file("short", 0o644, b"long")
        .pax(&[("SCHILY.xattr.user.note", b"kept"), ("SCHILY.xattr.trusted.overlay.opaque", b"y")])
        .file("noted", 0o644, b"")
        .pax(&[("SCHILY.xattr.user.overlay.opaque", b"y"), ("SCHILY.xattr.user.overlay.redirect", b"/etc")])
        .dir("tricky/", 0o755)
        .file("odd\n\u{1b}name", 0o644, b"odd");
    load(&home, vec![layer.finish()]).ok();
    sees(&home, &format!("cat /{long}; ls -d /tricky /noted"), "long/noted\n/tricky");
    sees(&home, "cat /odd*", "odd");
}

#[test]
fn device_nodes_are_passed_over() {
    for user in User::all() {
        let home = Home::new(&user);
        let node = |name, kind| Entry { name, kind, mode: 0o666, ids: (0, 0), link: "", data: b"" };
        load(&home, vec![Tar::default().entry(node("disk", b'4')).entry(node("mem", b'3')).finish()]).ok();
        sees(&home, "ls /disk /mem 2>/dev/null; true", "");
    }
}

/// Loads a layer that must be refused; asserts that nothing of it stays and nothing outside changes.
#[track_caller]
fn refused(layer: impl Fn(&str) -> Vec<u8>, words: &[&str]) {
    for user in User::all() {
        let home = Home::alone(&user);
        home.make_store();
        let canary = home.mkdir("w/canary");
        home.write("w/canary/file", "untouched");
        std::fs::set_permissions(&canary, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let before = (Snapshot::take(&home), describe(&canary));
        load(&home, vec![layer(canary.to_str().unwrap())]).fails(1, words);
        before.0.assert_nothing_left(&home);
        assert_eq!(describe(&canary), before.1);
        assert!(!home.bryo(&["images"]).ok().contains("layers"));
    }
}

/// Loads a layer that may be refused or tamed; asserts that nothing outside the root changes.
#[track_caller]
fn harmless(layer: impl Fn(&str) -> Vec<u8>) {
    for user in User::all() {
        let home = Home::new(&user);
        let canary = home.mkdir("w/canary");
        home.write("w/canary/file", "untouched");
        std::fs::set_permissions(&canary, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let before = describe(&canary);
        let output = load(&home, vec![layer(canary.to_str().unwrap())]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output}");
        assert_eq!(describe(&canary), before, "{output}");
        if output.status.code() == Some(0) {
            home.run(&[NAME, "true"]);
            assert_eq!(describe(&canary), before, "{output}");
        }
    }
}

/// CVE-2018-20990, CVE-2026-17106: what is written through a link that the archive made.
#[test]
fn nothing_is_written_through_links() {
    harmless(|c| Tar::default().symlink("a", c).file("a/f", 0o644, b"x").finish());
    harmless(|c| Tar::default().symlink("a", c).file("a/file", 0o644, b"x").finish());
    harmless(|_| Tar::default().symlink("a", "..").symlink("b", "a/../../w/canary").file("b/f", 0o644, b"x").finish());
    harmless(|c| Tar::default().dir("d/", 0o755).symlink("d", c).file("d/f", 0o644, b"x").finish());
    harmless(|c| Tar::default().symlink("a", &format!("{c}/file")).file("a", 0o600, b"x").finish());
}

/// CVE-2021-38511, CVE-2026-50162: hard links to what lies outside.
#[test]
fn nothing_outside_is_linked() {
    harmless(|c| Tar::default().hardlink("h", &format!("{c}/file"), 0o644).file("h", 0o644, b"x").finish());
    harmless(|_| Tar::default().hardlink("h", "../../../../../../../../etc/passwd", 0o644).finish());
    harmless(|c| Tar::default().symlink("s", c).hardlink("h", "s/file", 0o644).finish());
}

#[test]
fn names_that_lead_out_stay_in() {
    harmless(|_| Tar::default().file("../../../../../../../../../../tmp/bryo-escaped", 0o644, b"x").finish());
    harmless(|c| Tar::default().file(&format!("{c}/made"), 0o644, b"x").finish());
    harmless(|_| Tar::default().dir("..", 0o777).dir(".", 0o700).finish());
    assert!(!Path::new("/tmp/bryo-escaped").exists());
}

/// CVE-2021-32760, CVE-2021-41089: owner, mode and time of what a link points to.
#[test]
fn metadata_does_not_follow_links() {
    harmless(|c| {
        let link = format!("{c}/file");
        let entry = Entry { name: "s", kind: b'2', mode: 0o4777, ids: (1, 1), link: &link, data: b"" };
        Tar::default().entry(entry).finish()
    });
}

#[test]
fn every_form_of_whiteout_stays_in_its_directory() {
    for name in [".wh.", ".wh..", ".wh...", ".wh.../x", "../.wh.x", ".wh..wh.x", "a/.wh.file", "a/.wh..wh..opq"] {
        harmless(|c| Tar::default().symlink("a", c).file(name, 0o644, b"").finish());
    }
}

#[test]
fn a_root_that_is_not_a_directory_is_no_root() {
    harmless(|c| Tar::default().symlink(".", c).file("f", 0o644, b"x").finish());
    harmless(|c| Tar::default().symlink("./", c).finish());
}

#[test]
fn truncated_and_broken_archives_leave_nothing() {
    refused(|_| Tar::default().file("f", 0o644, &[b'x'; 4096]).truncated(1024), &[]);
    refused(|_| vec![b'x'; 2048], &[]);
    refused(
        |_| {
            let mut bytes = Tar::default().file("f", 0o644, b"x").finish();
            bytes[0] ^= 1;
            bytes
        },
        &[],
    );
}

/// CVE-2024-24557: a layer must be what the configuration says it is, not only what the manifest says.
#[test]
fn a_wrong_diff_id_is_refused() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::alone(&user);
    home.make_store();
    let before = Snapshot::take(&home);
    let file = home.path.join("layers.tar");
    let mut image = Image::new(NAME, vec![busybox_layer()], json!({"Env": [path()]}));
    image.claimed = Some(vec![format!("sha256:{}", "1".repeat(64))]);
    image.archive(&file);
    home.bryo(&["load", "-i", &file.display().to_string()]).fails(1, &["1111"]);
    before.assert_nothing_left(&home);
}

#[test]
fn limits_hold_against_bombs() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::alone(&user);
    home.write(".config/bryo/config.toml", "[limits]\nmax-unpacked-size = \"64m\"\n");
    home.make_store();
    let before = Snapshot::take(&home);
    let zeros = vec![0; 256 << 20];
    load(&home, vec![Tar::default().file("bomb", 0o644, &zeros).finish()]).fails(1, &["limit"]);
    before.assert_nothing_left(&home);
    let deep = format!("{}f", "d/".repeat(1000));
    let layer = Tar::default().pax(&[("path", deep.as_bytes())]).file("x", 0o644, b"x").finish();
    load(&home, vec![layer]).fails(1, &["deep"]);
    before.assert_nothing_left(&home);
}
