// SPDX-License-Identifier: Apache-2.0
//! A real Debian, unpacked by bryo and by umoci, compared entry by entry.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bryo_image::Digest;
use bryo_image::archive::{ImportOptions, LoadOptions, export, import, load_archive, save_layout_dir};
use bryo_image::store::{GcOptions, ImageRecord, Store};
use bryo_image::unpack::Worker;
use bryo_tests::layout::Image;
use bryo_tests::skip::{have, skip};
use bryo_tests::{images, tar::Tar};
use common::{map, output, tests, worker};
use tar::{Archive, EntryType};

fn main() {
    common::run(TESTS);
}

tests![debian_is_unpacked_as_umoci_does_it, attributes_are_umocis_but_for_those_that_direct_the_host];

/// Where umoci keeps the owner of a file that it cannot give away.
const ROOTLESS: &str = "user.rootlesscontainers";

/// What two unpackers must agree on.
#[derive(Debug, Eq, PartialEq)]
struct Seen {
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
    size: u64,
    target: Option<String>,
    content: Option<Digest>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// A store with one image, and what this host can compare it with.
struct Ground {
    dir: tempfile::TempDir,
    store: Store,
    worker: Worker,
    /// umoci, as an ordinary user, cannot give files away nor set attributes of security.
    ordinary: bool,
}

impl Ground {
    /// Makes an empty one, and an archive of Debian. `None`, which is a skip, where it cannot be compared.
    fn new() -> Option<(Self, PathBuf)> {
        if map(false).is_single() {
            skip("one id owns everything here, which nobody else does");
            return None;
        }
        let debian = images::rootfs("debian", &[]).filter(|_| have("umoci"))?;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let (worker, ordinary) = (worker(&store, false), !rustix::process::geteuid().is_root());
        Some((Self { dir, store, worker, ordinary }, debian))
    }

    /// Lists the image as bryo exports it.
    fn ours(&self, record: &ImageRecord) -> BTreeMap<String, Seen> {
        let exported = self.dir.path().join("exported.tar");
        let image = self.store.image(record).unwrap();
        export(&self.store, &self.worker, &image, File::create(&exported).unwrap().into()).unwrap();
        read(&exported)
    }

    /// Lists the image as umoci unpacks it: as an ordinary user it keeps owners in an attribute, as root on the files.
    fn umocis(&self, record: &ImageRecord) -> BTreeMap<String, Seen> {
        let (layout, bundle) = (self.dir.path().join("layout"), self.dir.path().join("bundle"));
        save_layout_dir(&self.store, record, &layout, Some("debian")).unwrap();
        let name = format!("{}:debian", layout.display());
        let mut arguments = vec!["unpack", "--image", &name, "--keep-dirlinks"];
        if self.ordinary {
            arguments.push("--rootless");
        }
        arguments.push(bundle.to_str().unwrap());
        output("umoci", &arguments).unwrap();
        walk(&bundle.join("rootfs"), self.ordinary)
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

fn debian_is_unpacked_as_umoci_does_it() {
    let Some((ground, archive)) = Ground::new() else { return };
    let begin = Instant::now();
    let options = ImportOptions { reference: Some("debian".parse().unwrap()), ..ImportOptions::default() };
    let record = import(&ground.store, &ground.worker, &mut File::open(&archive).unwrap(), &options).unwrap();
    print!("{} ms ... ", begin.elapsed().as_millis());
    let ours = ground.ours(&record);
    // The archive itself, read by another parser, says what there must be.
    compare("the archive", &read(&archive), &ours);
    assert!(ours.len() > 3000);
    compare("umoci", &ground.umocis(&record), &ours);
}

/// File capabilities that are bound to nobody, or to the root of another user namespace. Source: `capabilities(7)`.
fn capability(root: Option<u32>) -> Vec<u8> {
    let magic = if root.is_some() { 0x0300_0001_u32 } else { 0x0200_0001 };
    let sets = [1_u32 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
    [&magic.to_le_bytes()[..], &sets, &root.map(u32::to_le_bytes).into_iter().flatten().collect::<Vec<_>>()].concat()
}

/// A layer with attributes of every namespace.
fn attributes() -> Vec<u8> {
    Tar::default()
        .dir("opt/", 0o755)
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability(None)),
            ("SCHILY.xattr.user.note", b"a\0b=c"),
            ("SCHILY.xattr.user.overlayed", b"by its name alone"),
        ])
        .file("opt/ping", 0o755, b"#!")
        .pax(&[("SCHILY.xattr.security.capability", &capability(Some(5000)))])
        .file("opt/foreign", 0o755, b"#!")
        .pax(&[
            ("SCHILY.xattr.user.mime_type", b"inode/directory"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.note", b"n"),
        ])
        .dir("opt/d/", 0o755)
        .pax(&[
            ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.security.ima", b"\x01x"),
            ("SCHILY.xattr.security.selinux", b"system_u:object_r:etc_t:s0"),
            ("SCHILY.xattr.trusted.x", b"1"),
        ])
        .file("opt/f", 0o644, b"x")
        .finish()
}

fn attributes_are_umocis_but_for_those_that_direct_the_host() {
    let Some((ground, debian)) = Ground::new() else { return };
    let archive = ground.dir.path().join("two.tar");
    let layers = vec![std::fs::read(debian).unwrap(), attributes()];
    Image::new("localhost/two:1", layers, serde_json::json!({})).archive(&archive);
    let input = File::open(&archive).unwrap();
    let record = load_archive(&ground.store, &ground.worker, input, &LoadOptions::default()).unwrap().remove(0);
    let (mut ours, mut theirs) = (ground.ours(&record), ground.umocis(&record));

    let capable = ("security.capability".to_owned(), capability(None));
    let note = ("user.note".to_owned(), b"a\0b=c".to_vec());
    let named = ("user.overlayed".to_owned(), b"by its name alone".to_vec());
    assert_eq!(ours["opt/ping"].xattrs, [capable.clone(), note, named].into());
    assert_eq!(ours["opt/foreign"].xattrs, [capable].into(), "bound to the root of this map and to no other");
    assert_eq!(ours["opt/d"].xattrs, [("user.mime_type".to_owned(), b"inode/directory".to_vec())].into());
    assert_eq!(ours["opt/f"].xattrs, BTreeMap::new());
    // On the disk as well, where an export does not show what directs overlayfs.
    let image = ground.store.image(&record).unwrap();
    let layer = ground.store.layer_paths(&image, ground.worker.ownership_key()).unwrap().remove(1);
    for path in ["opt/d", "opt/f"] {
        assert_eq!(xattrs(&layer.join(path)), ours[path].xattrs);
    }

    // What umoci has set and bryo has not is exactly what means something to the host's kernel.
    let mut only_theirs = BTreeSet::new();
    for (path, seen) in &mut theirs {
        seen.xattrs.retain(|name, _| {
            let common = ours.get(path).is_some_and(|own| own.xattrs.contains_key(name));
            common || !only_theirs.insert(format!("{path} {name}"))
        });
    }
    let mut expected = vec!["opt/d user.overlay.opaque", "opt/f user.overlay.redirect"];
    if !ground.ordinary {
        expected.extend(["opt/d trusted.note", "opt/f security.ima", "opt/f trusted.x"]);
    }
    assert_eq!(only_theirs, expected.into_iter().map(str::to_owned).collect());

    // All else is the same, with values, but for the capabilities: those of a foreign root, and all for umoci as an
    // ordinary user.
    let different = if ground.ordinary { &["opt/foreign", "opt/ping"][..] } else { &["opt/foreign"] };
    for path in different {
        for side in [&mut ours, &mut theirs] {
            side.get_mut(*path).unwrap().xattrs.remove("security.capability");
        }
    }
    compare("umoci", &theirs, &ours);
}

fn compare(who: &str, theirs: &BTreeMap<String, Seen>, ours: &BTreeMap<String, Seen>) {
    let mut differences = Vec::new();
    for (name, seen) in theirs {
        match ours.get(name) {
            None => differences.push(format!("{name}: only {who} has it: {seen:?}")),
            Some(own) if own != seen => differences.push(format!("{name}: {who} {seen:?}, bryo {own:?}")),
            Some(_) => {}
        }
    }
    let extra = ours.keys().filter(|name| !theirs.contains_key(*name));
    differences.extend(extra.map(|name| format!("{name}: only bryo has it")));
    let shown = differences.len().min(10);
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences[..shown].join("\n"));
}

/// Reads an archive with the tar crate's own iterator; hard links get what their first name has.
fn read(path: &Path) -> BTreeMap<String, Seen> {
    let mut archive = Archive::new(std::io::BufReader::new(File::open(path).unwrap()));
    let mut entries = BTreeMap::new();
    let mut links = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().trim_start_matches("./").trim_end_matches('/').to_owned();
        let kind = entry.header().entry_type();
        if name.is_empty() || matches!(kind, EntryType::Char | EntryType::Block) {
            continue;
        }
        if kind == EntryType::Link {
            let target = entry.link_name().unwrap().unwrap();
            links.push((name, target.to_str().unwrap().trim_start_matches("./").to_owned()));
            continue;
        }
        let mut xattrs = BTreeMap::new();
        for extension in entry.pax_extensions().unwrap().into_iter().flatten() {
            let extension = extension.unwrap();
            if let Some(name) = extension.key().unwrap().strip_prefix("SCHILY.xattr.") {
                xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
            }
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let regular = kind == EntryType::Regular;
        let seen = Seen {
            kind,
            mode: if kind == EntryType::Symlink { 0o777 } else { header.mode().unwrap() & 0o7777 },
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            mtime: header.mtime().unwrap(),
            size: if regular { content.len() as u64 } else { 0 },
            target: entry.link_name().unwrap().map(|target| target.to_str().unwrap().to_owned()),
            content: regular.then(|| Digest::sha256_of(&content)),
            xattrs,
        };
        entries.insert(name, seen);
    }
    for (name, target) in links {
        let seen = entries.get(&target).unwrap();
        let copy = Seen { target: None, content: seen.content.clone(), xattrs: seen.xattrs.clone(), ..*seen };
        entries.insert(name, copy);
    }
    entries
}

/// Walks what umoci has unpacked.
fn walk(root: &Path, ordinary: bool) -> BTreeMap<String, Seen> {
    let mut entries = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if let Some(seen) = look(&path, ordinary) {
                if seen.kind == EntryType::Directory {
                    todo.push(path);
                }
                entries.insert(name, seen);
            }
        }
    }
    entries
}

fn look(path: &Path, ordinary: bool) -> Option<Seen> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::symlink_metadata(path).unwrap();
    let kind = match meta.mode() & 0o170_000 {
        0o040_000 => EntryType::Directory,
        0o100_000 => EntryType::Regular,
        0o120_000 => EntryType::Symlink,
        0o010_000 => EntryType::Fifo,
        _ => return None,
    };
    let regular = kind == EntryType::Regular;
    let content = regular.then(|| std::fs::read(path).unwrap());
    // Devices: umoci makes plain files of them for an ordinary user; no other file is that empty in /dev.
    if ordinary && path.parent().is_some_and(|dir| dir.ends_with("rootfs/dev")) && regular {
        return None;
    }
    let owner = if ordinary { rootless_owner(path) } else { (meta.uid().into(), meta.gid().into()) };
    Some(Seen {
        kind,
        mode: if kind == EntryType::Symlink { 0o777 } else { meta.mode() & 0o7777 },
        owner,
        mtime: meta.mtime().cast_unsigned(),
        size: if regular { meta.len() } else { 0 },
        target: (kind == EntryType::Symlink).then(|| std::fs::read_link(path).unwrap().to_str().unwrap().to_owned()),
        content: content.map(|content| Digest::sha256_of(&content)),
        xattrs: xattrs(path),
    })
}

/// Reads all attributes of a name but the one in which umoci keeps the owner.
fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = [0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names = names.map(|name| std::str::from_utf8(name).unwrap()).filter(|name| *name != ROOTLESS);
    names.map(|name| (name.to_owned(), xattr(path, name).unwrap())).collect()
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 4096];
    let len = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    Some(value[..len].to_vec())
}

/// Reads the owner that umoci keeps in an attribute: a protocol buffer of two numbers.
fn rootless_owner(path: &Path) -> (u64, u64) {
    let Some(value) = xattr(path, ROOTLESS) else { return (0, 0) };
    let mut owner = (0, 0);
    let mut bytes = value.into_iter();
    while let Some(tag) = bytes.next() {
        let (mut number, mut shift) = (0_u64, 0);
        for byte in bytes.by_ref() {
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        // "No change" of this id: root's.
        let number = if number == u64::from(u32::MAX) { 0 } else { number };
        match tag >> 3 {
            1 => owner.0 = number,
            _ => owner.1 = number,
        }
    }
    owner
}
