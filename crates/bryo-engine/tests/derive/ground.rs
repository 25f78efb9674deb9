// SPDX-License-Identifier: Apache-2.0
//! A store, layers made from small archives, and a look at what is merged from them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bryo_engine::derive::{Base, DeriveInput, Facts};
use bryo_identity::map::{IdMap, RunIds};
use bryo_identity::rung::{Host, Rung};
use bryo_identity::userns::{Request, spawn};
use bryo_image::Digest;
use bryo_image::archive::{ImportOptions, import};
use bryo_image::store::{Image, Layer, Store};
use bryo_image::unpack::{Limits, UnpackJob, Worker};
use bryo_launch::overlay::Overlay;
use bryo_sys::clone::Namespaces;
use bryo_sys::mount::Attr;
use bryo_sys::root::Root;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};

/// What is at a path of the merged tree.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub size: i64,
    pub is_dir: bool,
    pub target: Option<String>,
    pub text: String,
}

pub type Seen = BTreeMap<String, Entry>;

/// A layer's archive.
pub struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn header(kind: tar::EntryType, ids: (u64, u64), mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_uid(ids.0);
        header.set_gid(ids.1);
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        header.set_size(size as u64);
        header
    }

    pub fn directory(&mut self, path: &str, ids: (u64, u64), mode: u32) {
        let mut header = Self::header(tar::EntryType::Directory, ids, mode, 0);
        self.0.append_data(&mut header, path, &b""[..]).unwrap();
    }

    pub fn file(&mut self, path: &str, ids: (u64, u64), mode: u32, content: &[u8]) {
        let mut header = Self::header(tar::EntryType::Regular, ids, mode, content.len());
        self.0.append_data(&mut header, path, content).unwrap();
    }

    pub fn fifo(&mut self, path: &str) {
        let mut header = Self::header(tar::EntryType::Fifo, (0, 0), 0o644, 0);
        self.0.append_data(&mut header, path, &b""[..]).unwrap();
    }

    pub fn link(&mut self, path: &str, target: &str) {
        let mut header = Self::header(tar::EntryType::Symlink, (0, 0), 0o777, 0);
        self.0.append_link(&mut header, path, target).unwrap();
    }

    pub fn hard_link(&mut self, path: &str, target: &str) {
        let mut header = Self::header(tar::EntryType::Link, (0, 0), 0o644, 0);
        self.0.append_link(&mut header, path, target).unwrap();
    }
}

/// A store of its own.
pub struct Ground {
    pub store: Store,
    pub map: IdMap,
    host: Host,
    image: Image,
    layers: Vec<PathBuf>,
    first: Vec<u8>,
    temporary: tempfile::TempDir,
}

impl Ground {
    pub fn new(single: bool) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::open(&temporary.path().join("store")).unwrap();
        let host = Host::probe();
        let rung = if single { Rung::Single } else { host.rung() };
        let map = host.map(rung, RunIds::NONROOT).unwrap();
        let digest = Digest::sha256_of(b"image");
        let mut ground = Self {
            store,
            map,
            host,
            image: Image {
                reference: None,
                manifest_digest: digest.clone(),
                config_digest: digest,
                config: oci_spec::image::ImageConfiguration::default(),
                layers: Vec::new(),
                healthcheck: None,
            },
            layers: Vec::new(),
            first: Vec::new(),
            temporary,
        };
        ground.config(serde_json::json!({}));
        ground
    }

    /// Unpacks one more layer on top.
    pub fn layer(&mut self, fill: impl FnOnce(&mut Tar)) {
        let mut tar = Tar(tar::Builder::new(Vec::new()));
        fill(&mut tar);
        let archive = tar.0.into_inner().unwrap();
        let diff_id = Digest::sha256_of(&archive);
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(&archive).unwrap();
        std::io::Seek::rewind(&mut input).unwrap();
        let job =
            UnpackJob { diff_id: Some(diff_id.clone()), compression: None, blob_size: None, limits: Limits::default() };
        self.worker().unpack(job, input.into()).unwrap().wait().unwrap().commit().unwrap();
        self.layers.push(self.store.layer_dir(self.map.ownership_key(), &diff_id).join("fs"));
        let layer = Layer { digest: diff_id.clone(), size: 0, media_type: String::new(), diff_id };
        self.image.layers.push(layer);
        self.first = archive;
        self.change();
    }

    pub fn config(&mut self, config: serde_json::Value) {
        let whole = serde_json::json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": config,
        });
        self.image.config = serde_json::from_value(whole).unwrap();
        self.change();
    }

    /// Another content is another image.
    fn change(&mut self) {
        let text = format!("{:?} {:?}", self.image.config, self.image.layers);
        self.image.manifest_digest = Digest::sha256_of(text.as_bytes());
    }

    pub fn worker(&self) -> Worker {
        Worker::start(&self.store, &self.map, self.host.helpers.as_ref()).unwrap()
    }

    /// Makes a real image of the store from the topmost layer alone.
    pub fn import(&self, worker: &Worker) -> Image {
        self.import_file(worker, &mut &self.first[..])
    }

    pub fn import_file(&self, worker: &Worker, input: &mut dyn Read) -> Image {
        let record = import(&self.store, worker, input, &ImportOptions::default()).unwrap();
        self.store.image(&record).unwrap()
    }

    /// Makes a directory of the host that everybody may look at.
    pub fn directory(&self, name: &str) -> PathBuf {
        fs::set_permissions(self.temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = self.temporary.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    pub fn input(&self) -> DeriveInput<'_> {
        DeriveInput {
            store: &self.store,
            base: Base::Image(&self.image),
            layers: &self.layers,
            user: None,
            groups: &[],
            default_user_image: false,
            workdir: None,
            hardening: None,
            map: &self.map,
            helpers: self.host.helpers.as_ref(),
        }
    }

    /// Counts unfinished directories.
    pub fn leftovers(&self) -> usize {
        let entries = fs::read_dir(self.store.layers_dir(self.map.ownership_key())).unwrap();
        entries.flatten().filter(|entry| entry.file_name().to_str().unwrap().starts_with(".tmp-")).count()
    }

    pub fn seen(&self, facts: &Facts) -> Seen {
        self.seen_over(facts, &self.layers)
    }

    /// Looks at the merged tree as root inside.
    pub fn seen_over(&self, facts: &Facts, layers: &[PathBuf]) -> Seen {
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let request = Request { map: &self.map, helpers: self.host.helpers.as_ref(), namespaces: Namespaces::MOUNT };
        let derived = facts.layer.clone().unwrap();
        let child = spawn(request, move |inside| {
            let open = |path: &Path| rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
            let lowers: Vec<OwnedFd> =
                std::iter::once(&derived).chain(layers.iter().rev()).map(|path| open(path).unwrap()).collect();
            inside.become_root().unwrap();
            let root = match &lowers[..] {
                [only] => only.try_clone().unwrap(),
                _ => Overlay { lowers: &lowers, upper: None, volatile: false }.mount(Attr::RDONLY).unwrap(),
            };
            let mut seen = Seen::new();
            look(&Root::from_fd(root), Path::new("/"), &mut seen);
            File::from(theirs).write_all(&serde_json::to_vec(&seen).unwrap()).map_or(1, |()| 0)
        });
        let child = child.unwrap();
        let mut text = Vec::new();
        File::from(ours).read_to_end(&mut text).unwrap();
        assert_eq!(child.wait().unwrap(), 0);
        serde_json::from_slice(&text).unwrap()
    }
}

impl Drop for Ground {
    /// The caller may not remove what belongs to ids inside.
    fn drop(&mut self) {
        let Ok(worker) = Worker::start(&self.store, &self.map, self.host.helpers.as_ref()) else { return };
        for entry in fs::read_dir(self.store.layers_dir(worker.ownership_key())).into_iter().flatten().flatten() {
            worker.remove_tree(&entry.path()).unwrap_or_default();
        }
    }
}

fn look(root: &Root, path: &Path, seen: &mut Seen) {
    let dir = root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).unwrap();
    for entry in Dir::read_from(&dir).unwrap().flatten() {
        let name = entry.file_name().to_str().unwrap();
        if matches!(name, "." | "..") {
            continue;
        }
        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let kind = FileType::from_raw_mode(stat.st_mode);
        let below = path.join(name);
        let target = (kind == FileType::Symlink)
            .then(|| rustix::fs::readlinkat(&dir, name, Vec::new()).unwrap().into_string().unwrap());
        let text = match kind {
            FileType::RegularFile => root.read(&below, 1 << 16).unwrap_or_default(),
            _ => Vec::new(),
        };
        let entry = Entry {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            size: stat.st_size,
            is_dir: kind == FileType::Directory,
            target,
            text: String::from_utf8_lossy(&text).into_owned(),
        };
        seen.insert(below.to_str().unwrap().to_owned(), entry);
        if kind == FileType::Directory {
            look(root, &below, seen);
        }
    }
}
