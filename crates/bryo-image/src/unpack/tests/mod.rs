// SPDX-License-Identifier: Apache-2.0
//! Archives that attack, and archives that are merely odd, applied beside a canary that must not change.

mod formats;
mod links;
mod members;
mod names;
mod streams;
mod whiteouts;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use tar::{EntryType, Header};

use super::Limits;
use super::apply::{self, Applied, Options};
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
