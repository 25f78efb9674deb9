// SPDX-License-Identifier: Apache-2.0
//! Archives that attack, and archives that are merely odd, applied beside a canary that must not change.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::Mode;
use tar::{EntryType, Header};

use super::apply::{self, Applied, Options};
use super::stream::{self, Source};
use super::{Compression, LayerReport, Limits};
use crate::digest::Digest;
use crate::error::{Kind, Result};

/// Builds archives without any of the checks that a decent writer makes.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(mut self, entry_type: u8, name: &str, link: &str, data: &[u8], change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(EntryType::new(entry_type));
        header.set_mode(if entry_type == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.add(b'0', name, "", data, |_| {})
    }

    fn dir(self, name: &str) -> Self {
        self.add(b'5', name, "", b"", |_| {})
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.add(b'2', name, target, b"", |_| {})
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.add(b'1', name, target, b"", |_| {})
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let mut len = body + 1;
            while len != body + len.to_string().len() {
                len = body + len.to_string().len();
            }
            data.extend_from_slice(format!("{len} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.add(b'x', "pax", "", &data, |_| {})
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A root to unpack into, and a canary beside it.
struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        // The worker does this for itself; the tests share their process.
        rustix::process::umask(Mode::empty());
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("canary")).unwrap();
        fs::write(dir.path().join("canary/file"), "alive").unwrap();
        fs::set_permissions(dir.path().join("canary/file"), fs::Permissions::from_mode(0o640)).unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn canary(&self) -> String {
        self.dir.path().join("canary").to_str().unwrap().to_owned()
    }

    fn apply(&self, archive: &[u8]) -> Result<Applied> {
        self.apply_with(archive, Limits::default())
    }

    fn apply_with(&self, archive: &[u8], limits: Limits) -> Result<Applied> {
        let root = OwnedFd::from(File::open(self.root()).unwrap());
        let squash = !rustix::process::geteuid().is_root();
        let result = apply::apply(archive, root, Options { squash, end_mark_needed: true, limits });
        self.check_canary();
        result
    }

    fn check_canary(&self) {
        let mut names: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["canary", "root"]);
        assert_eq!(fs::read_dir(self.canary()).unwrap().count(), 1);
        let file = self.dir.path().join("canary/file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "alive");
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o640, 1));
    }

    fn kind_of(&self, archive: &[u8]) -> Kind {
        self.apply(archive).unwrap_err().kind()
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    let len = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    Some(value[..len].to_vec())
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

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

#[test]
fn the_root_cannot_be_replaced() {
    for name in ["./", "/", "."] {
        let archive = Archive::default().symlink(name, "/etc").end();
        assert_eq!(Ground::new().kind_of(&archive), Kind::EscapesRoot, "{name}");
    }
}

#[test]
fn names_that_leave_the_root_end_the_layer() {
    for name in ["../x", "a/../../x", "/../x", "a/..", "../.wh.canary", ".wh..", "a/.wh..."] {
        for archive in [
            Archive::default().file(name, b"evil"),
            Archive::default().dir(name),
            Archive::default().symlink(name, "x"),
            Archive::default().add(b'3', name, "", b"", |_| {}),
        ] {
            assert_eq!(Ground::new().kind_of(&archive.end()), Kind::EscapesRoot, "{name}");
        }
    }
}

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
fn long_names_come_in_three_forms() {
    let ground = Ground::new();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let archive = Archive::default()
        .add(b'L', "././@LongLink", "", format!("{long}\0").as_bytes(), |_| {})
        .file("short", b"gnu")
        .pax(&[("path", format!("{long}2").as_bytes()), ("mtime", b"12.5")])
        .file("short", b"pax")
        .add(b'K', "././@LongLink", "", format!("{long}\0").as_bytes(), |_| {})
        .symlink("link", "short")
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!(read(ground.at(&long)), "gnu");
    assert_eq!(read(ground.at(&format!("{long}2"))), "pax");
    assert_eq!(fs::metadata(ground.at(&format!("{long}2"))).unwrap().mtime_nsec(), 500_000_000);
    assert_eq!(fs::read_link(ground.at("link")).unwrap(), Path::new(&long));
}

/// CVE-2025-62518, CVE-2026-33055: archives in which two readers see different members.
#[test]
fn ambiguous_archives_are_refused() {
    let inner = Archive::default().file("hidden", b"").0;
    let bomb = |size: u64| move |header: &mut Header| header.set_size(size);
    for (what, archive) in [
        ("pax size hides members", Archive::default().pax(&[("size", b"0")]).file("a", &inner)),
        ("pax size over field zero", Archive::default().pax(&[("size", b"512")]).add(b'0', "a", "", &inner, bomb(0))),
        ("two long names", Archive::default().add(b'L', "l", "", b"a\0", |_| {}).add(b'L', "l", "", b"b\0", |_| {})),
        ("gnu and pax name", Archive::default().add(b'L', "l", "", b"a\0", |_| {}).pax(&[("path", b"b")])),
        ("two pax headers", Archive::default().pax(&[("path", b"a")]).pax(&[("path", b"b")])),
        ("nul inside a long name", Archive::default().add(b'L', "l", "", b"a\0b\0", |_| {})),
        ("data in a directory", Archive::default().add(b'5', "d", "", &inner, |_| {})),
        ("data in a link", Archive::default().add(b'1', "d", "a", &inner, |_| {})),
        ("data in a file with a slash", Archive::default().add(b'0', "d/", "", &inner, |_| {})),
        ("unknown type", Archive::default().add(b'Z', "d", "", b"", |_| {})),
        ("global header that renames", Archive::default().add(b'g', "g", "", b"10 path=x\n", |_| {})),
    ] {
        let archive = archive.file("last", b"").end();
        assert_eq!(Ground::new().kind_of(&archive), Kind::Corrupt, "{what}");
    }
}

#[test]
fn damaged_archives_are_refused() {
    let whole = Archive::default().file("a", &[7; 1500]).file("b", b"x").end();
    for len in [100, 511, 600, 1024, 2048, 2700, 3000, 3072] {
        assert_eq!(Ground::new().kind_of(&whole[..len]), Kind::Corrupt, "{len}");
    }
    let mut sum = whole.clone();
    sum[0] ^= 1;
    assert_eq!(Ground::new().kind_of(&sum), Kind::Corrupt);
    let second = [whole.clone(), Archive::default().file("c", b"").end()].concat();
    assert_eq!(Ground::new().kind_of(&second), Kind::Corrupt);
    let orphan = Archive::default().pax(&[("path", b"a")]).end();
    assert_eq!(Ground::new().kind_of(&orphan), Kind::Corrupt);
    assert_eq!(Ground::new().kind_of(b""), Kind::Corrupt);
    assert_eq!(Ground::new().apply(&Archive::default().end()).unwrap(), Applied::default());
}

#[test]
fn limits_hold() {
    let limits = Limits { entries: 3, uncompressed: 1000, ..Limits::default() };
    let many = (0..4).fold(Archive::default(), |archive, at| archive.file(&at.to_string(), b"")).end();
    let large = Archive::default().file("a", &[0; 1001]).end();
    let claimed = Archive::default().add(b'0', "a", "", b"", |header| header.set_size(1 << 40)).end();
    let header = Archive::default().add(b'x', "a", "", b"", |header| header.set_size(1 << 30)).end();
    let name = vec![b'/'; 5000];
    let long = Archive::default().add(b'L', "l", "", &name, |_| {}).file("a", b"").end();
    let deep = Archive::default().add(b'L', "l", "", "a/".repeat(300).as_bytes(), |_| {}).file("a", b"").end();
    for (what, archive) in
        [("many", many), ("large", large), ("claimed", claimed), ("header", header), ("long", long), ("deep", deep)]
    {
        let error = Ground::new().apply_with(&archive, limits).unwrap_err();
        assert_eq!(error.kind(), Kind::Limit, "{what}");
    }
}

#[test]
fn sparse_files_of_all_formats_have_holes() {
    let zero_zero: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"1048580"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"1048576"),
        ("GNU.sparse.numbytes", b"4"),
    ];
    let zero_one: &[(&str, &[u8])] =
        &[("GNU.sparse.size", b"1048580"), ("GNU.sparse.name", b"01"), ("GNU.sparse.map", b"0,3,1048576,4")];
    let one_zero: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"10"),
        ("GNU.sparse.realsize", b"1048580"),
    ];
    let mut map = b"2\n0\n3\n1048576\n4\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"abcdefg");
    let old = |header: &mut Header| {
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(1_048_580);
        gnu.sparse[0].set_offset(0);
        gnu.sparse[0].set_length(3);
        gnu.sparse[1].set_offset(1_048_576);
        gnu.sparse[1].set_length(4);
    };
    let archive = Archive::default()
        .pax(zero_zero)
        .file("00", b"abcdefg")
        .pax(zero_one)
        .file("GNUSparseFile.0/01", b"abcdefg")
        .pax(one_zero)
        .file("GNUSparseFile.0/10", &map)
        .add(b'S', "old", "", b"abcdefg", old)
        .end();
    let ground = Ground::new();
    ground.apply(&archive).unwrap();
    let mut expected = vec![0; 1_048_580];
    expected[..3].copy_from_slice(b"abc");
    expected[1_048_576..].copy_from_slice(b"defg");
    for name in ["00", "01", "10", "old"] {
        assert!(fs::read(ground.at(name)).unwrap() == expected, "{name}");
        assert!(fs::metadata(ground.at(name)).unwrap().blocks() < 100, "{name}");
    }
}

#[test]
fn a_sparse_size_is_limited_too() {
    let records: &[(&str, &[u8])] = &[("GNU.sparse.size", b"9000000000000000000"), ("GNU.sparse.map", b"0,1")];
    let archive = Archive::default().pax(records).file("etc/group", b"x").end();
    assert_eq!(Ground::new().kind_of(&archive), Kind::Limit);
}

#[test]
fn trees_deeper_than_descriptors_are_removed() {
    let ground = Ground::new();
    // Each link leads to the end of the path before it.
    let mut archive = Archive::default();
    let part = "d/".repeat(40);
    for at in 0..30 {
        let name = if at == 0 { part.clone() } else { format!("l{at}/{part}") };
        archive = archive.dir(&name);
        let target = if at == 0 { part.clone() } else { format!("l{at}/{part}") };
        archive = archive.symlink(&format!("l{}", at + 1), &target);
    }
    let archive = archive.file("d", b"").end();
    ground.apply(&archive).unwrap();
    assert_eq!(read(ground.at("d")), "");
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

fn through_stream(bytes: &[u8], source: Source) -> Result<LayerReport> {
    let ground = Ground::new();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let root = OwnedFd::from(File::open(ground.root()).unwrap());
    let options = Options { squash: true, end_mark_needed: true, limits: source.limits };
    stream::run(&source, file.into(), |blocks| apply::apply(blocks, root, options).map(drop))
}

fn source() -> Source {
    Source { diff_id: None, compression: None, blob_size: None, limits: Limits::default() }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_compression_gives_the_same_diff_id() {
    let archive = Archive::default().file("a", &[7; 1 << 20]).end();
    let diff_id = Digest::sha256_of(&archive);
    let two_members = [gzip(&archive[..5000]), gzip(&archive[5000..])].concat();
    let zstd = zstd::encode_all(&archive[..], 1).unwrap();
    for (compression, blob) in [
        (Compression::None, archive.clone()),
        (Compression::Gzip, gzip(&archive)),
        (Compression::Gzip, two_members),
        (Compression::Zstd, zstd),
    ] {
        let known = Source {
            diff_id: Some(diff_id.clone()),
            compression: Some(compression),
            blob_size: Some(blob.len() as u64),
            ..source()
        };
        let report = through_stream(&blob, known).unwrap();
        assert_eq!(report.diff_id, diff_id);
        assert_eq!(report.uncompressed_size, archive.len() as u64);
        assert_eq!(report.compressed_size, blob.len() as u64);
        assert_eq!(through_stream(&blob, source()).unwrap().compression, compression);
    }
}

#[test]
fn a_stream_that_is_not_what_was_declared_is_refused() {
    let archive = Archive::default().file("a", b"x").end();
    let kind = |bytes: &[u8], source: Source| through_stream(bytes, source).unwrap_err().kind();
    let other = Source { diff_id: Some(Digest::sha256_of(b"other")), ..source() };
    assert_eq!(kind(&archive, other), Kind::DigestMismatch);
    let size = Source { blob_size: Some(archive.len() as u64 + 1), ..source() };
    assert_eq!(kind(&archive, size), Kind::DigestMismatch);
    let zstd = Source { compression: Some(Compression::Zstd), ..source() };
    assert_eq!(kind(&gzip(&archive), zstd), Kind::UnsupportedMedia);
    let compressed = gzip(&archive);
    assert_eq!(kind(&compressed[..compressed.len() - 4], source()), Kind::Corrupt);
    let mut flipped = compressed.clone();
    let last = flipped.len() - 5;
    flipped[last] ^= 0xff;
    assert_eq!(kind(&flipped, source()), Kind::Corrupt);
    assert_eq!(kind(&[&compressed[..], b"garbage"].concat(), source()), Kind::Corrupt);
    assert_eq!(kind(b"\xfd7zXZ\0 and more", source()), Kind::UnsupportedMedia);
}

#[test]
fn bombs_are_defused() {
    let zeros = Archive::default().file("a", &vec![0; 8 << 20]).end();
    let limits = Limits { ratio_floor: 1 << 20, ratio: 20, ..Limits::default() };
    for blob in [gzip(&zeros), zstd::encode_all(&zeros[..], 1).unwrap()] {
        let declared = Source { blob_size: Some(blob.len() as u64), limits, ..source() };
        assert_eq!(through_stream(&blob, declared).unwrap_err().kind(), Kind::Limit);
        let undeclared = Source { limits, ..source() };
        assert_eq!(through_stream(&blob, undeclared).unwrap_err().kind(), Kind::Limit);
    }
    let small = Source { limits: Limits { compressed: 1000, ..Limits::default() }, ..source() };
    assert_eq!(through_stream(&zeros, small).unwrap_err().kind(), Kind::Limit);

    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(&zeros).unwrap();
    let wide = encoder.finish().unwrap();
    let window = Source { limits: Limits { zstd_window_log: 20, ..Limits::default() }, ..source() };
    assert_eq!(through_stream(&wide, window).unwrap_err().kind(), Kind::Limit);
}

fn any_name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        5 => prop::sample::select(vec!["a", "b", "c", "d"]),
        1 => prop::sample::select(vec!["..", ".", "", ".wh.a", ".wh..wh..opq", ".wh.", ".wh..", "canary", "file"]),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn any_target() -> impl Strategy<Value = String> {
    prop_oneof![
        any_name(),
        prop::sample::select(vec!["..", "../canary", "../../..", "/", "/a", "a/..", "../canary/file", "."])
            .prop_map(str::to_owned)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_ever_leaves_the_root(
        members in prop::collection::vec((0_u8..7, any_name(), any_target()), 1..12),
    ) {
        let ground = Ground::new();
        let types = *b"0025136";
        let archive = members.iter().fold(Archive::default(), |archive, (at, name, target)| {
            let entry_type = types[usize::from(*at)];
            let data: &[u8] = if entry_type == b'0' { b"data" } else { b"" };
            archive.add(entry_type, name, target, data, |header| header.set_mode(0o777))
        });
        // Whether it is refused or not, `apply` looks at the canary.
        ground.apply(&archive.end()).ok();
    }

    #[test]
    fn damaged_bytes_never_panic(flips in prop::collection::vec((0_usize..4096, any::<u8>()), 1..8)) {
        let ground = Ground::new();
        let mut archive = Archive::default()
            .pax(&[("path", b"long"), ("GNU.sparse.map", b"0,3"), ("GNU.sparse.size", b"9")])
            .file("a", b"abc")
            .hard_link("b", "long")
            .end();
        for (at, value) in flips {
            let at = at % archive.len();
            archive[at] = value;
        }
        ground.apply(&archive).ok();
    }
}
