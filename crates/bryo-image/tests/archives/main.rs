// SPDX-License-Identifier: Apache-2.0
//! Images in and out of the store, judged by skopeo and umoci where they are installed.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod exchange;
mod store;
mod trouble;

use std::io::Write;
use std::path::Path;

use bryo_image::Digest;
use bryo_image::archive::{Change, ImportOptions, LoadOptions, import, load};
use bryo_image::reference::Source;
use bryo_image::store::{GcOptions, ImageRecord, Store};
use bryo_image::unpack::Worker;
use common::{count, worker};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

fn main() {
    // What two of the tests start: something that is killed, and something with a disk of its own.
    if let Some(store) = std::env::var_os("BRYO_TEST_LOAD_INTO") {
        return trouble::load_into(Path::new(&store));
    }
    if let Some(dir) = std::env::var_os("BRYO_TEST_FILL") {
        return trouble::fill(Path::new(&dir));
    }
    common::run(&[exchange::TESTS, store::TESTS, trouble::TESTS].concat());
}

struct Ground {
    worker: Worker,
    store: Store,
    dir: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { worker: worker(&store, false), store, dir }
    }

    fn import(&self, name: &str, content: &[u8]) -> ImageRecord {
        let options = ImportOptions {
            reference: Some(name.parse().unwrap()),
            changes: vec![Change::Cmd(vec!["/bin/x".into()]), Change::User("7".into())],
            ..ImportOptions::default()
        };
        import(&self.store, &self.worker, &mut &gzip(&root_fs(content))[..], &options).unwrap()
    }

    fn load(&self, source: &str) -> bryo_image::Result<Vec<ImageRecord>> {
        let source: Source = source.parse().unwrap();
        load(&self.store, &self.worker, &source, &LoadOptions::default())
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn blobs(&self) -> usize {
        count(&self.store.layout_dir().join("blobs/sha256"))
    }

    fn layers(&self) -> usize {
        count(&self.store.layers_dir(self.worker.ownership_key()))
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

fn root_fs(content: &[u8]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, data) in [
        (EntryType::Directory, "bin", &b""[..]),
        (EntryType::Regular, "bin/x", content),
        (EntryType::Regular, "etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
    ] {
        append(&mut builder, kind, name, data);
    }
    builder.into_inner().unwrap()
}

fn append(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, data: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(data.len() as u64);
    builder.append_data(&mut header, name, data).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes a docker archive of one image in the form before Docker 1.10: directories, and links between layers.
fn old_archive(layers: &[&[u8]], diff_ids: &[Digest], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut names = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        let name = format!("l{at}/layer.tar");
        match layers[..at].iter().position(|other| other == layer) {
            Some(first) => {
                let mut header = Header::new_gnu();
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, &name, format!("../l{first}/layer.tar")).unwrap();
            }
            None => append(&mut builder, EntryType::Regular, &name, layer),
        }
        names.push(name);
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    append(&mut builder, EntryType::Regular, "config.json", config.to_string().as_bytes());
    let mut manifest = json!([{ "Config": "config.json", "RepoTags": ["old:1"], "Layers": names }]);
    change(&mut manifest);
    append(&mut builder, EntryType::Regular, "manifest.json", manifest.to_string().as_bytes());
    builder.into_inner().unwrap()
}
