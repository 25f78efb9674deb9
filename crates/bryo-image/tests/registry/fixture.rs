// SPDX-License-Identifier: Apache-2.0
//! Images made by hand, a store of one's own, and what a pull left in it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bryo_identity::map::RunIds;
use bryo_identity::rung::Host;
use bryo_image::progress::{Event, Progress};
use bryo_image::pull::{PullOptions, pull};
use bryo_image::reference::Reference;
use bryo_image::registry::{RegistryOptions, RetryPolicy};
use bryo_image::store::{Image, Store};
use bryo_image::unpack::Worker;
use bryo_image::{Digest, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One blob of a made image.
#[derive(Clone)]
pub struct Blob {
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

impl Blob {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::sha256_of(&bytes), bytes }
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// An image in memory.
#[derive(Clone)]
pub struct Made {
    pub layers: Vec<Blob>,
    pub config: Blob,
    pub manifest: Blob,
}

/// A layer's archive with one file, and one of random bytes so that it does not compress away.
pub fn archive(name: &str, content: &str, noise: usize) -> Vec<u8> {
    let mut seed = noise as u64 + content.len() as u64 + 88_172_645_463_325_252;
    let noise: Vec<u8> = (0..noise)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[3]
        })
        .collect();
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in [(name.to_owned(), content.as_bytes()), (format!("{name}.noise"), &noise)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        builder.append_data(&mut header, name, data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Makes an image of archives, compressed with gzip, zstd and not at all in turn.
pub fn image(archives: &[Vec<u8>], architecture: &str) -> Made {
    let packed: Vec<(Blob, String)> = archives
        .iter()
        .enumerate()
        .map(|(n, tar)| match n % 3 {
            0 => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(tar).unwrap();
                (Blob::new(encoder.finish().unwrap()), format!("{LAYER}+gzip"))
            }
            1 => (Blob::new(zstd::encode_all(tar.as_slice(), 1).unwrap()), format!("{LAYER}+zstd")),
            _ => (Blob::new(tar.clone()), LAYER.to_owned()),
        })
        .collect();
    let diff_ids: Vec<Digest> = archives.iter().map(|tar| Digest::sha256_of(tar)).collect();
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = Blob::new(serde_json::to_vec(&config).unwrap());
    let layers: Vec<Value> = packed.iter().map(|(blob, media)| blob.descriptor(media)).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(CONFIG), "layers": layers,
    });
    let manifest = Blob::new(serde_json::to_vec(&manifest).unwrap());
    Made { layers: packed.into_iter().map(|(blob, _)| blob).collect(), config, manifest }
}

/// The image that most tests use: three layers, the first one large enough to be cut.
pub fn three_layers() -> Made {
    let archives = [archive("a", "first", 600_000), archive("b", "second", 1000), archive("c", "third", 1000)];
    image(&archives, host_arch())
}

pub fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An index over images, as a blob.
pub fn index(images: &[(&Made, &str)]) -> Blob {
    let entries: Vec<Value> = images
        .iter()
        .map(|(made, architecture)| {
            let mut entry = made.manifest.descriptor(MANIFEST);
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry
        })
        .collect();
    nested_index(&entries)
}

pub fn nested_index(entries: &[Value]) -> Blob {
    Blob::new(serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})).unwrap())
}

pub fn index_entry(blob: &Blob) -> Value {
    blob.descriptor(INDEX)
}

impl Made {
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config, &self.manifest])
    }

    /// Writes an OCI layout for other tools.
    pub fn write_layout(&self, dir: &Path) {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for blob in self.blobs() {
            fs::write(blobs.join(blob.digest.hex()), &blob.bytes).unwrap();
        }
        let mut entry = self.manifest.descriptor(MANIFEST);
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "t"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        fs::write(dir.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
        fs::write(dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

/// A store in a temporary directory with its worker. Made before any thread.
pub struct Fixture {
    pub dir: TempDir,
    pub store: Store,
    pub worker: Worker,
    pub options: PullOptions,
    pub log: Log,
}

impl Fixture {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        Self::with(dir, &root)
    }

    /// Uses the store of another process.
    pub fn at(root: &Path) -> Self {
        Self::with(tempfile::tempdir().unwrap(), root)
    }

    fn with(dir: TempDir, root: &Path) -> Self {
        let store = Store::open(root).unwrap();
        let host = Host::probe();
        let map = host.map(host.rung(), RunIds::NONROOT).unwrap();
        let worker = Worker::start(&store, &map, host.helpers.as_ref()).unwrap();
        let retry =
            RetryPolicy { attempts: 4, first_pause: Duration::from_millis(10), longest_pause: Duration::from_secs(2) };
        let registry = RegistryOptions { retry, ..RegistryOptions::default() };
        let options = PullOptions { registry, ..PullOptions::default() };
        Self { dir, store, worker, options, log: Log::default() }
    }

    /// Names a host as one that may be reached without TLS.
    pub fn allow(&mut self, authority: &str) {
        self.options.registry.insecure.push(authority.to_owned());
    }

    pub fn pull(&self, name: &str) -> Result<Image> {
        let reference: Reference = name.parse().unwrap();
        pull(&self.store, &self.worker, &reference, &self.options, &self.log)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Checks that an image is whole: blobs, unpacked layers, entry.
    pub fn assert_whole(&self, image: &Image, made: &Made) {
        assert_eq!(image.manifest_digest, made.manifest.digest);
        for blob in made.blobs() {
            assert_eq!(fs::read(self.store.blob_path(&blob.digest)).unwrap(), blob.bytes);
        }
        let paths = self.store.layer_paths(image, self.worker.ownership_key()).unwrap();
        let contents: Vec<String> = paths
            .iter()
            .zip(["a", "b", "c"])
            .map(|(path, name)| fs::read_to_string(path.join(name)).unwrap())
            .collect();
        assert_eq!(contents, ["first", "second", "third"][..contents.len()]);
        assert!(self.partials().is_empty());
    }

    /// Checks that nothing of a failed pull can be seen.
    pub fn assert_nothing_left(&self) {
        assert!(self.store.images().unwrap().is_empty());
        assert_eq!(self.layers(), Vec::<String>::new());
        assert_eq!(self.partials(), Vec::<String>::new());
    }

    pub fn partials(&self) -> Vec<String> {
        names(&self.store.root().join("partial")).into_iter().filter(|name| name != "index.json").collect()
    }

    pub fn blobs(&self) -> Vec<String> {
        names(&self.store.layout_dir().join("blobs/sha256"))
    }

    pub fn layers(&self) -> Vec<String> {
        names(&self.store.layers_dir(self.worker.ownership_key()))
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries: Vec<_> = fs::read_dir(dir).map(|entries| entries.flatten().collect()).unwrap_or_default();
    entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Keeps what a transfer told, one line per event.
#[derive(Default)]
pub struct Log(Mutex<Vec<String>>);

impl Log {
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Progress for Log {
    fn event(&self, event: Event<'_>) {
        let line = match event {
            Event::Resolved { layers, .. } => format!("resolved {}", layers.len()),
            Event::LayerExists { .. } => "exists".to_owned(),
            Event::LayerStart { resumed, .. } => format!("start {resumed}"),
            Event::LayerVerified { .. } => "verified".to_owned(),
            Event::LayerDone { .. } => "done".to_owned(),
            Event::Retry { attempt, pause, .. } => format!("retry {attempt} {}", pause.as_millis()),
            Event::Done { .. } => "finished".to_owned(),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}
