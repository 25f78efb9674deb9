// SPDX-License-Identifier: Apache-2.0
//! A real Debian, unpacked by bryo and by umoci, compared entry by entry.
//!
//! The archive is made once by `mmdebstrap` and kept in `target/test-images`. Without mmdebstrap or umoci the
//! comparison cannot be made: it is skipped, unless `BRYO_REQUIRE=1`.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bryo_image::Digest;
use bryo_image::archive::{ImportOptions, export, import, save_layout_dir};
use bryo_image::store::{GcOptions, Store};
use bryo_image::unpack::Worker;
use common::{output, worker};
use tar::{Archive, EntryType};

fn main() {
    common::run(&[("debian_is_unpacked_as_umoci_does_it", debian_is_unpacked_as_umoci_does_it)]);
}

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

fn debian() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-images");
    let file = dir.join("debian-minbase.tar");
    if !file.exists() {
        std::fs::create_dir_all(&dir).ok()?;
        let partial = dir.join("debian-minbase.partial.tar");
        let made = Command::new("mmdebstrap").args(["--quiet", "--variant=minbase", "bookworm"]).arg(&partial).status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        std::fs::rename(partial, &file).ok()?;
    }
    Some(file)
}

fn debian_is_unpacked_as_umoci_does_it() {
    let skip = |why: &str| {
        assert!(std::env::var_os("BRYO_REQUIRE").is_none(), "{why}");
        print!("skipped: {why} ... ");
    };
    let Some(archive) = debian() else { return skip("mmdebstrap cannot make a Debian") };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let worker = worker(&store, false);
    let begin = Instant::now();
    let options = ImportOptions { reference: Some("debian".parse().unwrap()), ..ImportOptions::default() };
    let record = import(&store, &worker, &mut File::open(&archive).unwrap(), &options).unwrap();
    print!("{} ms ... ", begin.elapsed().as_millis());
    let image = store.image(&record).unwrap();
    let exported = dir.path().join("exported.tar");
    export(&store, &worker, &image, File::create(&exported).unwrap().into()).unwrap();
    let ours = read(&exported);

    // The archive itself, read by another parser, says what there must be.
    let said = read(&archive);
    compare("the archive", &said, &ours);
    assert!(ours.len() > 3000);

    // umoci as an ordinary user keeps owners in an attribute, as root on the files.
    let layout = dir.path().join("layout");
    save_layout_dir(&store, &record, &layout, Some("debian")).unwrap();
    let bundle = dir.path().join("bundle");
    let mut arguments = vec!["unpack", "--image"];
    let name = format!("{}:debian", layout.display());
    let ordinary = !rustix::process::geteuid().is_root();
    arguments.extend([&name[..], "--keep-dirlinks"]);
    if ordinary {
        arguments.push("--rootless");
    }
    arguments.push(bundle.to_str().unwrap());
    if output("umoci", &arguments).is_none() {
        clean(&store, &worker);
        return skip("umoci is not installed");
    }
    let theirs = walk(&bundle.join("rootfs"), ordinary);
    compare("umoci", &theirs, &ours);
    clean(&store, &worker);
}

fn clean(store: &Store, worker: &Worker) {
    store.remove("debian", true).unwrap();
    let report = store.gc(&GcOptions::default(), Some(worker)).unwrap();
    assert_eq!((report.blobs, report.layers), (3, 1));
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
        xattrs: BTreeMap::new(),
    })
}

/// Reads the owner that umoci keeps in `user.rootlesscontainers`: a protocol buffer of two numbers.
fn rootless_owner(path: &Path) -> (u64, u64) {
    let mut value = [0; 64];
    let Ok(len) = rustix::fs::lgetxattr(path, c"user.rootlesscontainers", &mut value[..]) else { return (0, 0) };
    let mut owner = (0, 0);
    let mut bytes = value[..len].iter().copied();
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
