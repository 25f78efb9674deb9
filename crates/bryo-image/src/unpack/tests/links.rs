// SPDX-License-Identifier: Apache-2.0
//! Links that lead out: followed inside the root, and never to write, to link or to set attributes elsewhere.

use std::fs::{self, File};
use std::path::Path;

use tar::Header;

use super::{Archive, Ground, read, xattr};
use crate::error::Kind;

/// CVE-2018-20990, CVE-2021-38511, CVE-2026-17106: write through a link of the same archive.
#[test]
fn a_link_to_the_outside_leads_inside() {
    let ground = Ground::new();
    let canary = ground.canary();
    let archive = Archive::default()
        .symlink("a", &canary)
        .file("a/file", b"evil")
        .symlink("s1", "s2")
        .symlink("s2", "../../../../..")
        .dir("s1/made")
        .file("s1/escaped", b"inside")
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!(read(ground.at(&format!("{}/file", canary.trim_start_matches('/')))), "evil");
    assert_eq!(read(ground.at("escaped")), "inside");
    assert!(ground.at("made").is_dir());
}

/// CVE-2018-20990: a hard link to a host file, then written.
#[test]
fn a_hard_link_names_only_what_is_inside() {
    let canary = Ground::new().canary();
    let absolute = Archive::default().hard_link("h", &format!("{canary}/file")).file("h", b"evil").end();
    assert_eq!(Ground::new().kind_of(&absolute), Kind::Corrupt);
    for target in ["../canary/file", "a/../../canary/file", ".."] {
        let archive = Archive::default().dir("a").hard_link("h", target).end();
        assert_eq!(Ground::new().kind_of(&archive), Kind::EscapesRoot, "{target}");
    }
    // Through a link, the target is looked for inside, where it is not.
    let through = Archive::default().symlink("a", "../canary").hard_link("h", "a/file").end();
    assert_eq!(Ground::new().kind_of(&through), Kind::Corrupt);
    let directory = Archive::default().dir("d").hard_link("h", "d").end();
    assert_eq!(Ground::new().kind_of(&directory), Kind::Corrupt);
}

#[test]
fn a_hard_link_is_replaced_not_written_through() {
    let ground = Ground::new();
    let archive = Archive::default().file("a", b"one").hard_link("b", "a").file("b", b"two").hard_link("a", "a").end();
    ground.apply(&archive).unwrap();
    assert_eq!((read(ground.at("a")), read(ground.at("b"))), ("one".into(), "two".into()));
}

/// CVE-2026-33056, CVE-2021-32760: metadata of a later member set through a link.
#[test]
fn attributes_never_go_through_a_link() {
    let ground = Ground::new();
    let canary = ground.canary();
    let open = |header: &mut Header| header.set_mode(0o777);
    let capability = [&0x0200_0001_u32.to_le_bytes()[..], &[0; 16]].concat();
    let archive = Archive::default()
        .symlink("d", &canary)
        .add(b'5', "d", "", b"", open)
        .symlink("f", &format!("{canary}/file"))
        .pax(&[("SCHILY.xattr.security.capability", &capability), ("SCHILY.xattr.user.x", b"1")])
        .add(b'0', "f", "", b"new", open)
        .pax(&[("SCHILY.xattr.user.x", b"1")])
        .symlink("l", &format!("{canary}/file"))
        .end();
    ground.apply(&archive).unwrap();
    assert!(ground.at("d").symlink_metadata().unwrap().is_dir());
    assert_eq!(read(ground.at("f")), "new");
    assert_eq!(xattr(&Path::new(&canary).join("file"), "user.x"), None);
}

/// CVE-2026-17106: a directory becomes a link in the middle of the archive, after its descriptor was kept.
#[test]
fn a_replaced_directory_is_resolved_anew() {
    let ground = Ground::new();
    let archive = Archive::default()
        .file("d/one", b"1")
        .symlink("d", "../canary")
        .file("d/file", b"evil")
        .add(b'5', "d/sub", "", b"", |header| header.set_mode(0o777))
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!(read(ground.at("canary/file")), "evil");
}

/// CVE-2025-47290: somebody swaps a directory for a link while the archive is applied.
#[test]
fn a_directory_swapped_meanwhile_leads_nowhere_outside() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let ground = Ground::new();
    let root = ground.root();
    fs::create_dir(root.join("d")).unwrap();
    std::os::unix::fs::symlink("../canary", root.join("link")).unwrap();
    let members = (0..300).fold(Archive::default(), |archive, at| {
        // A path of its own for each, so that no descriptor is kept from before the swap.
        let archive = archive.file(&format!("d/sub{at}/file"), b"evil");
        archive.file("d/file", b"evil").add(b'5', &format!("d/x{at}"), "", b"", |header| header.set_mode(0o777))
    });
    let archive = members.end();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let dir = File::open(&root).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&dir, "d", &dir, "link", flags).ok();
            }
        });
        for _ in 0..20 {
            // Any outcome is right but a change of the canary, which `apply` looks at.
            ground.apply(&archive).ok();
        }
        stop.store(true, Ordering::Relaxed);
    });
    ground.check_canary();
}
