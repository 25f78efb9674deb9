// SPDX-License-Identifier: Apache-2.0
//! An image: its configuration, and its files as its layers make them, with those that a later layer takes away.

use std::collections::BTreeMap;
use std::sync::Arc;

use bryo_image::members::{self, Entry, EntryKind};
use bryo_image::store::{self, Store};
use bryo_image::unpack::Limits;
use serde_json::Value;

use crate::identity::{ACCOUNTS_MAX, Accounts};
use crate::judge::secrets;

/// The largest script that is read, in bytes.
const SCRIPT_MAX: u64 = 256 << 10;

/// How many members an image may have.
const ENTRIES_MAX: u64 = 2_000_000;

/// A file of an image.
#[derive(Clone, Debug)]
pub struct File {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// The owner's id inside.
    pub uid: u64,
    /// The group's id inside.
    pub gid: u64,
    /// Its length in bytes.
    pub size: u64,
    /// The target of a link.
    pub link: String,
    /// Whether it has capabilities.
    pub capable: bool,
    /// The layer that it is of, from 0.
    pub layer: usize,
    /// Its content, if it is one that is looked at.
    pub content: Option<Arc<[u8]>>,
}

/// An image's facts.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The name it was asked for by.
    pub name: String,
    /// Its name in the store, if it has one.
    pub reference: Option<String>,
    /// The configuration, as it is.
    pub config: Value,
    /// The files, by paths without a leading slash.
    pub files: BTreeMap<String, File>,
    /// Files that a later layer has taken away.
    pub removed: Vec<(String, File)>,
    /// Whether the files are known at all.
    pub has_files: bool,
}

impl Image {
    /// Reads an image of a store.
    ///
    /// # Errors
    /// What the store, or a layer, fails with.
    pub fn read(store: &Store, image: &store::Image, config: &[u8], name: &str) -> bryo_image::Result<Self> {
        Self::read_with(store, image, config, name, &|_, _| 0)
    }

    /// As [`Image::read`], and reads as many bytes more of a file as `more` says.
    ///
    /// # Errors
    /// What the store, or a layer, fails with.
    pub fn read_with(
        store: &Store,
        image: &store::Image,
        config: &[u8],
        name: &str,
        more: &dyn Fn(&str, &Entry) -> u64,
    ) -> bryo_image::Result<Self> {
        let config: Value = serde_json::from_slice(config).unwrap_or_default();
        let mut made = Self { name: name.to_owned(), config, has_files: true, ..Self::default() };
        let starts = made.starts();
        let limits = Limits { entries: ENTRIES_MAX, ..Limits::default() };
        for (at, layer) in image.layers.iter().enumerate() {
            let wanted = |entry: &Entry| {
                let path = String::from_utf8_lossy(&entry.path);
                wanted(&path, entry, &starts).max(more(&path, entry))
            };
            members::read(store, layer, &limits, &wanted, &mut |entry, content| made.apply(at, entry, content))?;
        }
        Ok(made)
    }

    /// Reads nothing of an image of a store but its accounts.
    ///
    /// # Errors
    /// What the store, or a layer, fails with.
    pub fn read_accounts(store: &Store, image: &store::Image) -> bryo_image::Result<Accounts> {
        let mut made = Self::default();
        let limits = Limits { entries: ENTRIES_MAX, ..Limits::default() };
        let is_one = |path: &str| matches!(path, "etc" | "etc/passwd" | "etc/group");
        for (at, layer) in image.layers.iter().enumerate() {
            let wanted = |entry: &Entry| if is_one(&String::from_utf8_lossy(&entry.path)) { ACCOUNTS_MAX } else { 0 };
            members::read(store, layer, &limits, &wanted, &mut |entry, content| {
                let path = String::from_utf8_lossy(&entry.path);
                if is_one(&path) || path.starts_with(".wh.") || path.starts_with("etc/.wh.") {
                    made.apply(at, entry, content);
                }
            })?;
        }
        Ok(made.accounts())
    }

    /// Puts one member of a layer on top. Source: OCI image specification, "layer.md".
    pub fn apply(&mut self, layer: usize, entry: Entry, content: Option<Vec<u8>>) {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            return self.take_below(dir, layer);
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            let gone = if dir.is_empty() { hidden.to_owned() } else { format!("{dir}/{hidden}") };
            if let Some(file) = self.files.remove(&gone) {
                self.removed.push((gone.clone(), file));
            }
            return self.take_below(&gone, layer);
        }
        if path.is_empty() {
            return;
        }
        let mut file = File {
            kind: entry.kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size,
            link: String::from_utf8_lossy(&entry.link).into_owned(),
            capable: entry.attributes.iter().any(|name| name == b"security.capability"),
            layer,
            content: content.map(Into::into),
        };
        if file.kind == EntryKind::HardLink
            && let Some(same) = self.files.get(file.link.trim_start_matches('/'))
        {
            file = File { layer, ..same.clone() };
        }
        if entry.kind != EntryKind::Directory {
            self.take_below(&path, layer);
        }
        // What is replaced is in the lower layer all the same.
        if let Some(before) = self.files.insert(path.clone(), file)
            && before.content.is_some()
            && before.layer < layer
        {
            self.removed.push((path, before));
        }
    }

    fn take_below(&mut self, dir: &str, layer: usize) {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let below: Vec<String> = self
            .files
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter(|(_, file)| file.layer < layer)
            .map(|(path, _)| path.clone())
            .collect();
        for path in below {
            if let Some(file) = self.files.remove(&path) {
                self.removed.push((path, file));
            }
        }
    }

    /// Returns a text of the configuration.
    pub fn text(&self, key: &str) -> &str {
        self.config["config"][key].as_str().unwrap_or_default()
    }

    /// Returns a list of the configuration.
    pub fn list(&self, key: &str) -> Vec<String> {
        let list = self.config["config"][key].as_array();
        list.into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    }

    /// Returns the names of a map of the configuration.
    pub fn names(&self, key: &str) -> Vec<&str> {
        let map = self.config["config"][key].as_object();
        map.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }

    /// Returns the words of the start.
    pub fn starts(&self) -> Vec<String> {
        [self.list("Entrypoint"), self.list("Cmd")].concat()
    }

    /// Returns the accounts.
    pub fn accounts(&self) -> Accounts {
        let content = |path: &str| self.find(path).and_then(|(_, file)| file.content.clone());
        let [passwd, group] = ["etc/passwd", "etc/group"].map(content);
        Accounts::parse(passwd.as_deref().unwrap_or_default(), group.as_deref().unwrap_or_default())
    }

    /// Finds a file, through links.
    pub fn find(&self, path: &str) -> Option<(String, &File)> {
        let mut path = normal("", path);
        for _ in 0..40 {
            if let Some(file) = self.files.get(&path).filter(|file| file.kind != EntryKind::Symlink) {
                return Some((path, file));
            }
            // The first part that is a link.
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let (end, link) = ends
                .into_iter()
                .find_map(|end| Some((end, self.files.get(&path[..end]).filter(|f| f.kind == EntryKind::Symlink)?)))?;
            let dir = path[..end].rsplit_once('/').map_or("", |(dir, _)| dir);
            path = format!("{}{}", normal(dir, &link.link), &path[end..]);
        }
        None
    }

    /// Finds a program as a start finds it.
    pub fn program(&self, name: &str) -> Option<(String, &File)> {
        if name.contains('/') {
            let dir = if name.starts_with('/') { "" } else { self.text("WorkingDir") };
            return self.find(&format!("{dir}/{name}"));
        }
        let env = self.list("Env");
        let path = env
            .iter()
            .find_map(|pair| pair.strip_prefix("PATH="))
            .unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        path.split(':').find_map(|dir| self.find(&format!("{dir}/{name}")))
    }
}

/// Resolves a path by its text against a directory.
fn normal(dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = if path.starts_with('/') { Vec::new() } else { dir.split('/').collect() };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

/// Tells how many bytes of a file are read; `starts` are the words of the start.
pub fn wanted(path: &str, entry: &Entry, starts: &[String]) -> u64 {
    let name = path.rsplit('/').next().unwrap_or_default();
    match path {
        "etc/passwd" | "etc/group" | "etc/shadow" => return ACCOUNTS_MAX,
        "etc/sudoers" | "etc/doas.conf" | "etc/os-release" | "usr/lib/os-release" => return SCRIPT_MAX,
        _ => {}
    }
    let below = ["etc/sudoers.d/", "etc/apt/", "etc/yum.repos.d/"].iter().any(|dir| path.starts_with(dir));
    let start = starts.iter().any(|word| word.rsplit('/').next() == Some(name));
    let key = secrets::is_key_file(path);
    let script = entry.size < (32 << 10) && (name.ends_with(".sh") || is_own_script(path, entry.mode & 0o111 != 0));
    if below || key || start || script { SCRIPT_MAX } else { 0 }
}

/// Where an image's own scripts lie, and what these go on with.
const OWN: [&str; 5] = ["usr/local/bin/", "usr/local/sbin/", "usr/local/lib/", "usr/local/libexec/", "opt/"];

/// How many directories are above such a script.
const OWN_DEPTH: usize = 5;

/// Tells whether a file may be a script of the image's author; what another script goes on with need not be executable.
fn is_own_script(path: &str, executable: bool) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let plain = !name.contains('.') || [".bash", ".inc", ".env"].iter().any(|end| name.ends_with(end));
    let own = OWN.iter().any(|dir| path.starts_with(dir)) && path.matches('/').count() <= OWN_DEPTH;
    plain && (own || executable && !path.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a member.
    fn entry(path: &str, kind: EntryKind, link: &str) -> Entry {
        Entry {
            path: path.into(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            link: link.into(),
            attributes: Vec::new(),
        }
    }

    #[test]
    fn later_layers_hide_what_is_below() {
        let mut image = Image::default();
        for path in ["a/x", "a/y", "b"] {
            image.apply(0, entry(path, EntryKind::File, ""), Some(b"0".to_vec()));
        }
        image.apply(1, entry("a/.wh..wh..opq", EntryKind::File, ""), None);
        image.apply(1, entry("a/z", EntryKind::File, ""), None);
        image.apply(1, entry(".wh.b", EntryKind::File, ""), None);
        assert_eq!(image.files.keys().collect::<Vec<_>>(), ["a/z"]);
        assert_eq!(image.removed.len(), 3);
        image.apply(1, entry("c", EntryKind::File, ""), Some(b"1".to_vec()));
        image.apply(2, entry("c", EntryKind::File, ""), Some(b"2".to_vec()));
        assert_eq!((image.removed.len(), image.files["c"].layer), (4, 2));
    }

    #[test]
    fn links_are_followed_inside_and_end() {
        let mut image = Image::default();
        image.apply(0, entry("bin", EntryKind::Symlink, "usr/bin"), None);
        image.apply(0, entry("usr/bin/sh", EntryKind::Symlink, "../../../../usr/bin/dash"), None);
        image.apply(0, entry("usr/bin/dash", EntryKind::File, ""), None);
        image.apply(0, entry("loop", EntryKind::Symlink, "/loop"), None);
        assert_eq!(image.find("/bin/sh").unwrap().0, "usr/bin/dash");
        assert_eq!(image.program("sh").unwrap().0, "usr/bin/dash");
        assert!(image.find("/loop").is_none() && image.find("/none/x").is_none());
    }
}
