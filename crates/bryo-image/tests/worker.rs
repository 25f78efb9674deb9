// SPDX-License-Identifier: Apache-2.0
//! The unpacking process, for real: as whoever runs the tests, on every rung that this host gives.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use bryo_image::store::{GcOptions, Store};
use bryo_image::unpack::{Limits, UnpackJob, Worker};
use bryo_image::{Digest, Kind};
use common::{bytes_fd, count, map, worker};
use tar::{Builder, EntryType, Header};

fn main() {
    common::run(TESTS);
}

common::tests![
    a_layer_belongs_to_ids_inside,
    a_single_id_owns_everything,
    nothing_is_left_of_a_layer_that_fails,
    nothing_is_left_of_a_layer_that_is_not_committed,
    layers_unpack_at_the_same_time,
    the_next_worker_sweeps_what_a_killed_one_left,
    merged_layers_export_as_overlayfs_shows_them,
    ids_outside_of_the_map_are_told,
    a_worker_holds_no_rights_over_the_caller,
    a_dead_worker_is_an_error,
];

fn entry(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, ids: (u64, u64), mode: u32, data: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_uid(ids.0);
    header.set_gid(ids.1);
    header.set_mode(mode);
    header.set_mtime(1_000_000_000);
    header.set_size(data.len() as u64);
    builder.append_data(&mut header, name, data).unwrap();
}

fn sample() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let capability = [&0x0200_0001_u32.to_le_bytes()[..], &[0, 4, 0, 0], &[0; 12]].concat();
    entry(&mut builder, EntryType::Directory, "srv", (33, 44), 0o2750, b"");
    builder.append_pax_extensions([("SCHILY.xattr.security.capability", &capability[..])]).unwrap();
    entry(&mut builder, EntryType::Regular, "srv/ping", (0, 0), 0o755, b"#!");
    entry(&mut builder, EntryType::Regular, "srv/su", (0, 0), 0o4755, b"#!");
    entry(&mut builder, EntryType::Regular, "srv/secret", (33, 44), 0o000, b"x");
    entry(&mut builder, EntryType::Directory, "srv/closed", (0, 0), 0o000, b"");
    entry(&mut builder, EntryType::Regular, "srv/closed/in", (7, 7), 0o600, b"");
    entry(&mut builder, EntryType::Regular, ".wh.gone", (0, 0), 0o600, b"");
    builder.into_inner().unwrap()
}

fn job(archive: &[u8]) -> UnpackJob {
    UnpackJob {
        diff_id: Some(Digest::sha256_of(archive)),
        compression: None,
        blob_size: Some(archive.len() as u64),
        limits: Limits::default(),
    }
}

fn unpack(worker: &Worker, archive: &[u8]) -> Digest {
    let unpacked = worker.unpack(job(archive), bytes_fd(archive)).unwrap().wait().unwrap();
    unpacked.commit().unwrap().diff_id
}

fn a_layer_belongs_to_ids_inside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let map = map(false);
    let worker = worker(&store, false);
    let archive = sample();
    let diff_id = unpack(&worker, &archive);
    let root = store.layer_dir(worker.ownership_key(), &diff_id).join("fs");
    let exported = export(&worker, std::slice::from_ref(&diff_id));
    assert!(exported.contains(&("srv/secret".into(), 33, 44, 0o000)) || map.is_single());
    assert!(exported.contains(&("srv/su".into(), 0, 0, if map.is_single() { 0o755 } else { 0o4755 })));
    let root_meta = fs::metadata(&root).unwrap();
    let inside = |id: u32| map.host_uid(bryo_identity::InsideId::new(id).unwrap()).map(|id| id.get());
    if let Some(host) = inside(0) {
        assert_eq!(root_meta.uid(), host);
        assert_eq!(fs::metadata(root.join("srv")).unwrap().uid(), inside(33).unwrap());
    }
    assert!(worker.usage(&[diff_id.hex().to_owned()]).unwrap()[0] >= 4096);

    // Collected, with the directory that nobody may enter.
    let report = store.gc(&GcOptions::default(), Some(&worker)).unwrap();
    assert_eq!(report.layers, 1);
    assert_eq!(count(&store.layers_dir(worker.ownership_key())), 0);
}

fn a_single_id_owns_everything() {
    if rustix::process::geteuid().is_root() {
        return; // Root has a range of its own making.
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let worker = worker(&store, true);
    let diff_id = unpack(&worker, &sample());
    let root = store.layer_dir(worker.ownership_key(), &diff_id).join("fs");
    let meta = fs::metadata(root.join("srv/su")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (rustix::process::geteuid().as_raw(), 0o755));
    assert!(export(&worker, &[diff_id]).contains(&("srv/secret".into(), 33, 44, 0o000)));
    assert_eq!(store.gc(&GcOptions::default(), Some(&worker)).unwrap().layers, 1);
}

fn nothing_is_left_of_a_layer_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let worker = worker(&store, false);
    let archive = sample();
    let truncated = &archive[..archive.len() - 2000];
    let other = UnpackJob { diff_id: Some(Digest::sha256_of(b"other")), ..job(&archive) };
    let mut escape = Builder::new(Vec::new());
    entry(&mut escape, EntryType::Regular, "first", (0, 0), 0o644, b"x");
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..7].copy_from_slice(b"../evil");
    header.set_entry_type(EntryType::Regular);
    header.set_size(0);
    header.set_cksum();
    escape.append(&header, &b""[..]).unwrap();
    let escape = escape.into_inner().unwrap();
    for (kind, job, bytes) in [
        (Kind::Corrupt, UnpackJob { blob_size: None, ..job(&archive) }, truncated),
        (Kind::DigestMismatch, other, &archive[..]),
        (Kind::EscapesRoot, job(&escape), &escape[..]),
        (Kind::Corrupt, job(b"no archive at all"), &b"no archive at all"[..]),
    ] {
        let error = worker.unpack(job, bytes_fd(bytes)).unwrap().wait().unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(count(&store.layers_dir(worker.ownership_key())), 0);
    }
}

fn nothing_is_left_of_a_layer_that_is_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let worker = worker(&store, false);
    let archive = sample();
    let unpacked = worker.unpack(job(&archive), bytes_fd(&archive)).unwrap().wait().unwrap();
    assert_eq!(unpacked.report().entries, 8);
    assert_eq!(count(&store.layers_dir(worker.ownership_key())), 1);
    assert!(!store.has_layer(worker.ownership_key(), &unpacked.report().diff_id));
    drop(unpacked);
    assert_eq!(count(&store.layers_dir(worker.ownership_key())), 0);
}

fn layers_unpack_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let worker = worker(&store, false);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let worker = &worker;
            scope.spawn(move || {
                let mut builder = Builder::new(Vec::new());
                entry(&mut builder, EntryType::Regular, &format!("f{number}"), (0, 0), 0o644, &[7; 100_000]);
                unpack(worker, &builder.into_inner().unwrap());
            });
        }
        // The same layer twice: one of them is second, and both are right.
        let archive = sample();
        for _ in 0..2 {
            let (worker, archive) = (&worker, archive.clone());
            scope.spawn(move || unpack(worker, &archive));
        }
    });
    assert_eq!(count(&store.layers_dir(worker.ownership_key())), 9);
    assert_eq!(store.gc(&GcOptions::default(), Some(&worker)).unwrap().layers, 9);
}

fn the_next_worker_sweeps_what_a_killed_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let worker_dir = {
        let worker = worker(&store, false);
        let archive = sample();
        let unpacked = worker.unpack(job(&archive), bytes_fd(&archive)).unwrap().wait().unwrap();
        let living = common::worker(&store, false);
        assert_eq!(count(&store.layers_dir(living.ownership_key())), 1, "the maker lives");
        // The lock goes as it does when a process dies; the tree stays.
        drop(living);
        let key = worker.ownership_key().to_owned();
        let inner = store.layers_dir(&key);
        let name = fs::read_dir(&inner).unwrap().next().unwrap().unwrap().file_name();
        fs::rename(inner.join(&name), inner.join(".tmp-dead")).unwrap();
        drop(unpacked);
        inner
    };
    assert_eq!(count(&worker_dir), 1);
    let _next = worker(&store, false);
    assert_eq!(count(&worker_dir), 0);
}

fn merged_layers_export_as_overlayfs_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let worker = worker(&store, false);
    let layer = |entries: &[(&str, EntryType)]| {
        let mut builder = Builder::new(Vec::new());
        for (name, kind) in entries {
            let data: &[u8] = if *kind == EntryType::Regular { name.as_bytes() } else { b"" };
            entry(&mut builder, *kind, name, (0, 0), 0o755, data);
        }
        unpack(&worker, &builder.into_inner().unwrap())
    };
    let (file, directory) = (EntryType::Regular, EntryType::Directory);
    let layers = [
        layer(&[("a", directory), ("a/gone", file), ("a/kept", file), ("b", directory), ("b/hidden", file)]),
        layer(&[("c", file), ("d", directory), ("d/in", file)]),
        layer(&[("a/.wh.gone", file), ("b/.wh..wh..opq", file), ("b/new", file), ("c", directory), (".wh.d", file)]),
        layer(&[("a/last", file)]),
    ];
    let names: Vec<String> = export(&worker, &layers).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["a", "a/kept", "a/last", "b", "b/new", "c"]);
    store.gc(&GcOptions::default(), Some(&worker)).unwrap();
}

fn export(worker: &Worker, layers: &[Digest]) -> Vec<(String, u64, u64, u32)> {
    let mut output = tempfile::tempfile().unwrap();
    worker.export(layers, output.try_clone().unwrap().into()).unwrap();
    std::io::Seek::rewind(&mut output).unwrap();
    let mut archive = tar::Archive::new(output);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let name = entry.path().unwrap().display().to_string();
            (
                name.trim_end_matches('/').to_owned(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mode().unwrap(),
            )
        })
        .collect()
}

fn ids_outside_of_the_map_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let worker = worker(&store, false);
    let mut builder = Builder::new(Vec::new());
    entry(&mut builder, EntryType::Regular, "f", (3_000_000, 0), 0o644, b"x");
    let archive = builder.into_inner().unwrap();
    let result = worker.unpack(job(&archive), bytes_fd(&archive)).unwrap().wait();
    if !map(false).is_single() {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Identity);
        assert!(error.to_string().contains("3000000"), "{error}");
    }
}

/// What a worker that was taken over by an archive could do: looked at from outside.
fn a_worker_holds_no_rights_over_the_caller() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let worker = worker(&store, false);
    let status = fs::read_to_string(format!("/proc/{}/status", worker.process_id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP, over the ids of the map.
    assert_eq!(field("CapEff:"), "000000008000001b");
    assert_eq!(field("CapPrm:"), "000000008000001b");
    // Nobody but the caller itself, or root, sees what is open there.
    if let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", worker.process_id())) {
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut open: BTreeMap<String, String> = paths
            .map(|path| {
                let number = path.file_name().unwrap().to_string_lossy().into_owned();
                (number, fs::read_link(path).unwrap().display().to_string())
            })
            .collect();
        assert!(["0", "1", "2"].iter().all(|number| open.remove(*number).is_some_and(|what| what == "/dev/null")));
        open.retain(|_, what| !what.starts_with(&store.root().display().to_string()));
        assert!(open.values().all(|what| what.starts_with("socket:") || what.starts_with("pipe:")), "{open:?}");
        assert!(!open.is_empty() && open.len() <= 3, "{open:?}");
    }
    if !map(false).is_single() {
        assert_ne!(field("Uid:"), rustix::process::geteuid().as_raw().to_string());
    }
}

fn a_dead_worker_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let worker = worker(&store, false);
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let handle = worker.unpack(job(&sample()), reader).unwrap();
    let begin = Instant::now();
    let pid = rustix::process::Pid::from_raw(worker.process_id().cast_signed()).unwrap();
    // An ordinary user may not signal ids of the map, as they are others; its own child it may, before that.
    if rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_err() {
        return;
    }
    assert_eq!(handle.wait().unwrap_err().kind(), Kind::Io);
    assert!(begin.elapsed() < Duration::from_secs(5));
}
