// SPDX-License-Identifier: Apache-2.0
//! What lies beside a file, within the target that was named: scripts of a context, files of a Compose project.
//!
//! Guarantees: no path and no link leads out of the target; a path that would is not there.

use std::path::{Path, PathBuf};

use bryo_sys::root::Root;

use crate::facts::project::overrides;
use crate::facts::yaml::{self, Node};

/// The largest file that is read, in bytes.
const FILE_MAX: usize = 256 << 10;

/// The directory of a file.
#[derive(Clone, Debug)]
pub struct Near {
    /// The directory that nothing leads out of.
    root: PathBuf,
    /// The file's own directory, from the root.
    dir: PathBuf,
}

impl Near {
    /// What lies beside a file that was named, and below.
    pub fn beside(path: &Path) -> Self {
        let root = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { root: root.to_owned(), dir: PathBuf::new() }
    }

    /// What lies beside a file that was found below a directory, and anywhere below that.
    pub fn below(root: &Path, path: &Path) -> Self {
        let dir = path.parent().and_then(|dir| dir.strip_prefix(root).ok()).unwrap_or(Path::new(""));
        Self { root: root.to_owned(), dir: dir.to_owned() }
    }

    /// Joins a path to the file's directory; nothing if it leads out, or is one of the host.
    fn path(&self, path: &str) -> Option<PathBuf> {
        if path.starts_with(['/', '~']) || path.contains("://") {
            return None;
        }
        let mut parts: Vec<&std::ffi::OsStr> = self.dir.iter().collect();
        for part in Path::new(path) {
            match part.to_str() {
                Some(".") => {}
                Some("..") => drop(parts.pop()?),
                _ => parts.push(part),
            }
        }
        Some(parts.iter().collect())
    }

    /// Reads a text.
    pub fn read(&self, path: &str) -> Option<String> {
        let path = self.path(path)?;
        let bytes = Root::open(&self.root).ok()?.read(path, FILE_MAX).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Tells whether there is something by a name.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).is_some_and(|path| Root::open(&self.root).is_ok_and(|root| root.kind(path).is_ok()))
    }

    /// Returns what a file beside the one of this name is called in reports.
    pub fn shown(&self, file: &str, path: &str) -> String {
        match file.rsplit_once('/') {
            Some((dir, _)) => format!("{dir}/{path}"),
            None => path.to_owned(),
        }
    }

    /// Tells whether a Kustomization beside a file, or above, has it as a patch.
    pub fn is_patch(&self, file: &str) -> bool {
        let names = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
        let own = file.rsplit('/').next().unwrap_or(file);
        let dir = file.rsplit('/').nth(1).unwrap_or_default();
        [("", own.to_owned()), ("../", format!("{dir}/{own}"))].iter().any(|(up, wanted)| {
            let text = names.iter().find_map(|name| self.read(&format!("{up}{name}")));
            text.is_some_and(|text| patches(&text).iter().any(|path| path.trim_start_matches("./") == wanted))
        })
    }

    /// Tells whether a file is put on top of another one that is there: of several overrides the first one is.
    pub fn is_override(&self, file: &str) -> bool {
        let name = file.rsplit('/').next().unwrap_or(file);
        let stem = name.strip_suffix(".override.yaml").or_else(|| name.strip_suffix(".override.yml"));
        let bases = stem.into_iter().flat_map(|stem| ["yaml", "yml"].map(|end| format!("{stem}.{end}")));
        bases.filter(|base| self.has(base)).any(|base| {
            let taken = overrides(&base).into_iter().find(|over| self.has(over));
            taken.is_some_and(|taken| taken == name)
        })
    }
}

/// Lists the files that a Kustomization has as patches.
fn patches(text: &str) -> Vec<String> {
    let documents = yaml::parse(text).unwrap_or_default();
    let keys = ["patches", "patchesStrategicMerge", "patchesJson6902"];
    let all = documents.iter().flat_map(|node| keys.iter().filter_map(|key| node.get(key))).flat_map(Node::items);
    all.filter_map(|patch| patch.get("path").unwrap_or(patch).text().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(dir.path().join(name), name).unwrap();
        std::fs::create_dir_all(dir.path().join("target/sub")).unwrap();
        ["secret", "target/common", "target/sub/own"].into_iter().for_each(write);
        std::os::unix::fs::symlink("../../secret", dir.path().join("target/sub/link")).unwrap();
        let target = dir.path().join("target");
        let near = Near::below(&target, &target.join("sub/compose.yaml"));
        for (path, there) in [
            ("own", true),
            ("./own", true),
            ("../common", true),
            ("../../secret", false),
            ("link", false),
            ("/etc/passwd", false),
            ("~/x", false),
        ] {
            assert_eq!(near.read(path).is_some(), there, "{path}");
        }
        // A file that was named has its own directory and no other.
        assert!(Near::beside(&target.join("sub/compose.yaml")).read("../common").is_none());
    }

    #[test]
    fn an_override_belongs_to_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let near = Near::beside(&dir.path().join("compose.override.yaml"));
        assert!(!near.is_override("x/compose.override.yaml"));
        for name in ["compose.yml", "compose.override.yml", "compose.dev.yml", "compose.dev.override.yml"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert!(near.is_override("x/compose.override.yml") && !near.is_override("x/compose.yml"));
        // Nothing takes it.
        assert!(!near.is_override("x/compose.dev.override.yml"));
        // The first one is taken, and no other.
        std::fs::write(dir.path().join("compose.override.yaml"), "").unwrap();
        assert!(near.is_override("x/compose.override.yaml") && !near.is_override("x/compose.override.yml"));
    }

    #[test]
    fn patches_are_what_a_kustomization_says() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let text =
            "patches:\n- path: a.yaml\n- {path: sub/b.yaml}\npatchesStrategicMerge: [./c.yaml]\nresources: [d.yaml]\n";
        std::fs::write(dir.path().join("kustomization.yaml"), text).unwrap();
        for (file, patch) in [("a", true), ("sub/b", true), ("c", true), ("d", false), ("sub/a", false)] {
            let path = dir.path().join(format!("{file}.yaml"));
            let near = Near::below(dir.path(), &path);
            assert_eq!(near.is_patch(&path.display().to_string()), patch, "{file}");
        }
    }
}
