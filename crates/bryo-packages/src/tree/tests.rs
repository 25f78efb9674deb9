// SPDX-License-Identifier: Apache-2.0
use std::fs;

use super::*;

fn paths(tree: &Tree) -> Vec<String> {
    let mut seen = Vec::new();
    let walked = tree.walk(&mut |entry| {
        seen.push(entry.text());
        Visit::Enter
    });
    assert!(walked.unwrap().problems.is_empty());
    seen
}

#[test]
fn links_are_seen_and_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("real/deep")).unwrap();
    fs::write(dir.path().join("real/deep/file"), "x").unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("outside")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("real/passwd")).unwrap();
    let tree = Tree::open(dir.path(), Limits::default()).unwrap();
    assert_eq!(paths(&tree), ["outside", "real", "real/deep", "real/deep/file", "real/passwd"]);
    assert_eq!(tree.document("real/deep/file").unwrap(), b"x");
    for link in ["outside/passwd", "real/passwd", "../etc/passwd", "real/../../etc/passwd"] {
        assert!(tree.document(link).is_err(), "{link}");
    }
}

#[test]
fn limits_hold_and_the_rest_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b/c/d")).unwrap();
    fs::write(dir.path().join("z"), "12345").unwrap();
    let limits = Limits { depth: 2, document: 4, ..Limits::default() };
    let tree = Tree::open(dir.path(), limits).unwrap();
    let mut seen = Vec::new();
    let walked = tree
        .walk(&mut |entry| {
            seen.push(entry.text());
            Visit::Enter
        })
        .unwrap();
    assert_eq!(seen, ["a", "a/b", "z"]);
    assert_eq!(walked.problems.len(), 1);
    assert_eq!(walked.problems[0].0, "a/b");
    assert_eq!(tree.document("z").unwrap_err().kind(), Kind::Limit);
    let few = Tree::open(dir.path(), Limits { entries: 3, ..Limits::default() }).unwrap();
    assert_eq!(few.walk(&mut |_| Visit::Enter).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn upper_layers_come_first_and_hide() {
    let dir = tempfile::tempdir().unwrap();
    let (upper, lower) = (dir.path().join("upper"), dir.path().join("lower"));
    for (layer, path, text) in [
        (&lower, "d/both", "lower"),
        (&lower, "d/below", "lower"),
        (&lower, "o/gone", "x"),
        (&upper, "d/both", "upper"),
    ] {
        fs::create_dir_all(layer.join(path).parent().unwrap()).unwrap();
        fs::write(layer.join(path), text).unwrap();
    }
    fs::create_dir_all(upper.join("o")).unwrap();
    let opaque = fs::File::open(upper.join("o")).unwrap();
    rustix::fs::fsetxattr(&opaque, c"user.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();
    let open = |path: &std::path::Path| OwnedFd::from(fs::File::open(path).unwrap());
    let tree = Tree::new(vec![open(&upper), open(&lower)], Limits::default());
    assert_eq!(paths(&tree), ["d", "d/below", "d/both", "o"]);
    assert_eq!(tree.document("d/both").unwrap(), b"upper");
    assert_eq!(tree.document("d/below").unwrap(), b"lower");
    assert!(tree.document("o/gone").is_err());
    // The same where somebody else has read the mark.
    rustix::fs::fremovexattr(&opaque, c"user.overlay.opaque").unwrap();
    let tree = || Tree::new(vec![open(&upper), open(&lower)], Limits::default());
    assert!(paths(&tree()).contains(&"o/gone".to_owned()), "the control: nobody has said so");
    let found = rustix::fs::fstat(&opaque).unwrap();
    let told = tree().with_opaque(Inodes::from([(found.st_dev, found.st_ino)]));
    assert!(told.document("o/gone").is_err() && !paths(&told).contains(&"o/gone".to_owned()));
    // Without the upper layer it is there.
    assert!(paths(&Tree::new(vec![open(&lower)], Limits::default())).contains(&"o/gone".to_owned()));
}

#[test]
fn a_fifo_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let tree = Tree::open(dir.path(), Limits::default()).unwrap();
    assert!(tree.document("fifo").is_err());
}
