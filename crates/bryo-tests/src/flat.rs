// SPDX-License-Identifier: Apache-2.0
//! An OCI archive as its files and its configuration, read independently of bryo. Source: OCI image-spec, "Layers".

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use tar::EntryType;

/// An image as one tree.
#[derive(Debug, Default)]
pub struct Flat {
    files: BTreeMap<String, Node>,
    config: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    kind: char,
    mode: u32,
    ids: (u64, u64),
    content: Vec<u8>,
}

impl Flat {
    /// Nothing: what `FROM scratch` begins with.
    pub fn scratch() -> Self {
        let path = crate::images::path();
        Self { files: BTreeMap::new(), config: serde_json::json!({"Env": [path], "WorkingDir": "/"}) }
    }

    /// Reads an OCI archive with one image.
    pub fn read(file: &Path) -> Self {
        let blobs = blobs(file);
        let json = |name: &str| serde_json::from_slice::<Value>(&blobs[name]).unwrap();
        let blob = |descriptor: &Value| format!("blobs/{}", descriptor["digest"].as_str().unwrap().replace(':', "/"));
        Self::of(&json(&blob(&json("index.json")["manifests"][0])), |descriptor| blobs[&blob(descriptor)].clone())
    }

    /// Reads a directory with an image's manifest and blobs side by side.
    pub fn read_plain(dir: &Path) -> Self {
        let manifest: Value = serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
        let hex = |descriptor: &Value| descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        Self::of(&manifest, |descriptor| std::fs::read(dir.join(hex(descriptor))).unwrap())
    }

    fn of(manifest: &Value, blob: impl Fn(&Value) -> Vec<u8>) -> Self {
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let mut flat = Self { config: config["config"].clone(), ..Self::default() };
        for layer in manifest["layers"].as_array().unwrap() {
            let bytes = &blob(layer);
            let mut archive = Vec::new();
            match bytes.starts_with(&[0x1f, 0x8b]) {
                true => drop(flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut archive).unwrap()),
                false => archive.clone_from(bytes),
            }
            flat.apply(&archive);
        }
        flat
    }

    fn apply(&mut self, archive: &[u8]) {
        let mut own: BTreeMap<String, Node> = BTreeMap::new();
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = absolute(&String::from_utf8_lossy(&entry.path_bytes()));
            let (dir, name) = path.rsplit_once('/').unwrap();
            if name == ".wh..wh..opq" {
                self.remove_below(dir);
            } else if let Some(gone) = name.strip_prefix(".wh.") {
                let gone = format!("{dir}/{gone}");
                self.files.remove(&gone);
                self.remove_below(&gone);
            } else {
                let node = self.node(&mut entry, &own);
                own.insert(path, node);
            }
        }
        for (path, node) in own {
            if node.kind != '/' {
                self.remove_below(&path);
            }
            self.files.insert(path, node);
        }
    }

    fn node(&self, entry: &mut tar::Entry<'_, &[u8]>, own: &BTreeMap<String, Node>) -> Node {
        let link = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
        if entry.header().entry_type() == EntryType::Link {
            let target = absolute(&link.unwrap());
            return own.get(&target).or_else(|| self.files.get(&target)).unwrap().clone();
        }
        let mut content = Vec::new();
        let kind = match entry.header().entry_type() {
            EntryType::Directory => '/',
            EntryType::Symlink => '>',
            EntryType::Regular | EntryType::Continuous => '=',
            EntryType::Fifo => '|',
            _ => '?',
        };
        match kind {
            '>' => content = link.unwrap().into_bytes(),
            _ => drop(entry.read_to_end(&mut content).unwrap()),
        }
        let header = entry.header();
        let mode = if kind == '>' { 0o777 } else { header.mode().unwrap() & 0o7777 };
        Node { kind, mode, ids: (header.uid().unwrap(), header.gid().unwrap()), content }
    }

    fn remove_below(&mut self, dir: &str) {
        let prefix = format!("{dir}/");
        self.files.retain(|path, _| !path.starts_with(&prefix));
    }

    /// Takes away what buildah leaves in every image: its version, a host name, and the
    /// places of files that it mounts for commands.
    pub fn without_buildahs_own(mut self) -> Self {
        if let Some(labels) = self.config.get_mut("Labels").and_then(Value::as_object_mut) {
            labels.remove("io.buildah.version");
        }
        let empty = |value: &Value| {
            value.is_null() || value == &serde_json::json!({}) || value == "" || value == &serde_json::json!([])
        };
        if let Some(config) = self.config.as_object_mut() {
            // Docker's form has a word for what is not there.
            config.retain(|key, value| !empty(value) && value != false && key != "Hostname");
        }
        for path in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
            if self.files.get(path).is_some_and(|node| node.content.is_empty()) {
                self.files.remove(path);
            }
        }
        self
    }

    /// Lists what this image has and the base has not, or has otherwise; `- ` is before what is gone.
    pub fn files_beyond(&self, base: &Self) -> Vec<String> {
        let changed = self.files.iter().filter(|(path, node)| base.files.get(*path) != Some(node));
        let mut lines: Vec<String> = changed.map(|(path, node)| node.line(path)).collect();
        let gone = base.files.keys().filter(|path| !self.files.contains_key(*path));
        lines.extend(gone.map(|path| format!("- {path}")));
        lines.sort();
        lines
    }

    /// Lists the keys of the configuration that are not the base's.
    pub fn config_beyond(&self, base: &Self) -> Vec<String> {
        let empty = serde_json::Map::new();
        let (own, other) = (self.config.as_object().unwrap_or(&empty), base.config.as_object().unwrap_or(&empty));
        let search = crate::images::path().trim_start_matches("PATH=");
        let mut lines = Vec::new();
        for key in own.keys().chain(other.keys().filter(|key| !own.contains_key(*key))) {
            let value = own.get(key).unwrap_or(&Value::Null);
            if value != other.get(key).unwrap_or(&Value::Null) {
                lines.push(format!("{key} {}", value.to_string().replace(search, "$PATH")));
            }
        }
        lines.sort();
        lines
    }
}

impl Node {
    fn line(&self, path: &str) -> String {
        let text = String::from_utf8_lossy(&self.content);
        let rest = match self.kind {
            '/' => "/".to_owned(),
            '>' => format!(" -> {text}"),
            '=' if self.content.len() > 200 => format!(" = {} bytes", self.content.len()),
            '=' => format!(" = {}", text.escape_default()),
            other => other.to_string(),
        };
        format!("{:o} {}:{} {path}{rest}", self.mode, self.ids.0, self.ids.1)
    }
}

fn absolute(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    format!("/{}", parts.collect::<Vec<_>>().join("/"))
}

/// Returns the files of an archive.
fn blobs(file: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(File::open(file).unwrap());
    let read = |entry: std::io::Result<tar::Entry<'_, File>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (absolute(&entry.path().unwrap().to_string_lossy()).trim_start_matches('/').to_owned(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}
