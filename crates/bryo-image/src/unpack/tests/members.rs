// SPDX-License-Identifier: Apache-2.0
//! Every type of member, with its owner, mode, time and attributes, and members that replace others.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tar::Header;

use super::{Archive, Ground, read, xattr};

#[test]
fn files_links_and_directories_become_what_the_archive_says() {
    let ground = Ground::new();
    let archive = Archive::default()
        .add(b'5', "./", "", b"", |header| header.set_mode(0o750))
        .add(b'5', "tmp/", "", b"", |header| header.set_mode(0o1777))
        .file("tmp/a", b"hello")
        .add(b'0', "bin/su", "", b"#!", |header| header.set_mode(0o4755))
        .hard_link("b", "/tmp/a")
        .symlink("c", "../outside")
        .add(b'6', "pipe", "", b"", |_| {})
        .file("./deep/er/x", b"")
        .end();
    assert_eq!(ground.apply(&archive).unwrap().entries, 8);
    assert_eq!(read(ground.at("b")), "hello");
    assert_eq!(fs::metadata(ground.at("b")).unwrap().nlink(), 2);
    assert_eq!(fs::read_link(ground.at("c")).unwrap(), Path::new("../outside"));
    assert!(fs::metadata(ground.at("pipe")).unwrap().file_type().is_fifo());
    let mode = |path: &str| fs::metadata(ground.at(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode(""), mode("tmp"), mode("deep"), mode("deep/er")), (0o750, 0o1777, 0o755, 0o755));
    let set_id = if rustix::process::geteuid().is_root() { 0o4755 } else { 0o755 };
    assert_eq!(mode("bin/su"), set_id);
    for path in ["tmp", "tmp/a", "c", "pipe", ""] {
        assert_eq!(fs::symlink_metadata(ground.at(path)).unwrap().mtime(), 1_000_000_000, "{path}");
    }
}

#[test]
fn owners_are_kept_when_the_map_has_them() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root gives files away; the worker's own test covers an ordinary user.
    }
    let ground = Ground::new();
    let owned = |header: &mut Header| {
        header.set_uid(33);
        header.set_gid(44);
        header.set_mode(0o6755);
    };
    let archive = Archive::default()
        .add(b'5', "d", "", b"", owned)
        .add(b'0', "d/f", "", b"x", owned)
        .add(b'2', "d/l", "f", b"", owned)
        .end();
    ground.apply(&archive).unwrap();
    for path in ["d", "d/f", "d/l"] {
        let meta = fs::symlink_metadata(ground.at(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (33, 44), "{path}");
    }
    assert_eq!(fs::metadata(ground.at("d/f")).unwrap().mode() & 0o7777, 0o6755);
    assert_eq!(fs::metadata(ground.at("d")).unwrap().mode() & 0o7777, 0o6755);
}

#[test]
fn devices_are_left_out() {
    let ground = Ground::new();
    let archive = Archive::default()
        .add(b'3', "dev/null", "", b"", |header| header.set_device_major(1).unwrap())
        .add(b'4', "dev/sda", "", b"", |_| {})
        .hard_link("dev/null2", "dev/null")
        .file("secret", b"x")
        // A whiteout is no device node of the archive's making.
        .add(b'3', "secret", "", b"", |_| {})
        .end();
    let applied = ground.apply(&archive).unwrap();
    assert_eq!(applied.devices_skipped, 4);
    assert_eq!(fs::read_dir(ground.at("dev")).map_or(0, Iterator::count), 0);
    assert!(!ground.at("secret").exists());
}

#[test]
fn later_members_replace_earlier_ones_of_any_type() {
    let ground = Ground::new();
    let archive = Archive::default()
        .dir("x")
        .file("x/a", b"1")
        .file("x", b"file now")
        .file("y", b"file")
        .dir("y")
        .file("y/in", b"2")
        .symlink("z", "y")
        .file("z", b"not through the link")
        .dir("w")
        .dir("w")
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!(read(ground.at("x")), "file now");
    assert_eq!(read(ground.at("y/in")), "2");
    assert_eq!(read(ground.at("z")), "not through the link");
}

#[test]
fn attributes_pass_by_allowlist() {
    let ground = Ground::new();
    let archive = Archive::default()
        .pax(&[
            ("SCHILY.xattr.user.note", b"line\nbreak"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"x"),
        ])
        .dir("d")
        .end();
    assert_eq!(ground.apply(&archive).unwrap().xattrs_dropped, 3);
    assert_eq!(xattr(&ground.at("d"), "user.note").as_deref(), Some(&b"line\nbreak"[..]));
    assert_eq!(xattr(&ground.at("d"), "user.overlay.opaque"), None);
}

#[test]
fn trees_deeper_than_descriptors_are_removed() {
    let ground = Ground::new();
    // Each link leads to the end of the path before it. The kernel follows 40 of them, and counts those of a lookup that
    // it had to begin again, because somebody renamed something, twice.
    let mut archive = Archive::default();
    let part = "d/".repeat(46);
    for at in 0..20 {
        let name = if at == 0 { part.clone() } else { format!("l{at}/{part}") };
        archive = archive.dir(&name);
        let target = if at == 0 { part.clone() } else { format!("l{at}/{part}") };
        archive = archive.symlink(&format!("l{}", at + 1), &target);
    }
    let archive = archive.file("d", b"").end();
    ground.apply(&archive).unwrap();
    assert_eq!(read(ground.at("d")), "");
}
