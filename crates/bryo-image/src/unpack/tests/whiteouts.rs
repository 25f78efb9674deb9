// SPDX-License-Identifier: Apache-2.0
//! Whiteouts, which are names with a meaning.

use super::{Archive, Ground, is_whiteout, read, xattr};
use crate::error::Kind;

#[test]
fn whiteouts_take_the_form_of_overlayfs() {
    let ground = Ground::new();
    let archive = Archive::default()
        .file("a/.wh.gone", b"")
        .file("b/.wh..wh..opq", b"")
        .dir("c")
        .file("c/kept", b"kept")
        .file(".wh.c", b"")
        .file(".wh.d", b"")
        .dir("d")
        .file("d/x", b"")
        .file(".wh.e", b"")
        .file("e", b"again")
        .file(".wh.f", b"")
        .file("f/below", b"")
        .file(".wh..wh.plnk", b"")
        .file(".wh..wh.plnk/1.2", b"")
        .end();
    ground.apply(&archive).unwrap();
    assert!(is_whiteout(&ground.at("a/gone")));
    assert_eq!(read(ground.at("c/kept")), "kept");
    assert_eq!(read(ground.at("e")), "again");
    for dir in ["b", "c", "d", "f"] {
        assert_eq!(xattr(&ground.at(dir), "user.overlay.opaque").as_deref(), Some(&b"y"[..]), "{dir}");
    }
    assert!(!ground.at(".wh..wh.plnk").exists());
}

#[test]
fn whiteouts_do_not_follow_links() {
    let canary = Ground::new().canary();
    let opaque = Archive::default().symlink("l", &canary).file("l/.wh..wh..opq", b"").end();
    assert_eq!(Ground::new().kind_of(&opaque), Kind::Corrupt);

    let ground = Ground::new();
    let archive = Archive::default().symlink("l", "../canary").file("l/.wh.file", b"").file(".wh.l", b"").end();
    ground.apply(&archive).unwrap();
    assert!(ground.at("l").is_symlink());
    assert!(is_whiteout(&ground.at("canary/file")));
}
