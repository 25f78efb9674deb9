// SPDX-License-Identifier: Apache-2.0
//! Containers of Docker and Podman, whose storage the caller can read: overlay directories, as their engine names them.

use std::path::{Path, PathBuf};

use bryo_identity::rung::Rung;
use bryo_image::changes::Inodes;
use bryo_packages::tree::{Limits, Tree, Visit};
use rustix::fs::FileType;
use serde_json::Value;

use super::{Bases, Drift, Meaning, Subject, Unread, programs};
use crate::Engine;
use crate::changes::Paths;
use crate::error::{Error, Kind, Result};
use crate::processes::Everybody;

/// Files that these engines make in every container.
const MADE: [&str; 7] = [
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/mtab",
    "/.dockerenv",
    "/run/.containerenv",
    "/run/secrets",
];

/// A container of another engine.
#[derive(Debug, Clone)]
pub struct Foreign {
    own: PathBuf,
    lowers: Vec<PathBuf>,
    mounted: Vec<PathBuf>,
    pid: Option<i32>,
}

impl Foreign {
    /// Reads what an engine says of a container (`GET /containers/NAME/json`).
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for one whose storage is of another kind, or that names none.
    pub fn parse(inspected: &Value) -> Result<Self> {
        let driver = &inspected["GraphDriver"];
        let data = |key: &str| driver["Data"][key].as_str().filter(|text| text.starts_with('/'));
        let (Some(own), Some(lowers)) = (data("UpperDir"), data("LowerDir")) else {
            let kind = driver["Name"].as_str().unwrap_or("unknown");
            let why =
                format!("its engine keeps it by the driver {kind}, and names no directories: only overlay is read");
            return Err(Error::new(Kind::Unsupported, why));
        };
        let mounts = inspected["Mounts"].as_array().into_iter().flatten();
        let targets = mounts.filter_map(|mount| mount["Destination"].as_str().map(PathBuf::from));
        let pid = inspected["State"]["Pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        Ok(Self {
            own: own.into(),
            lowers: lowers.split(':').map(PathBuf::from).collect(),
            mounted: targets.chain(["/proc", "/sys", "/dev", "/run"].map(PathBuf::from)).chain(made()).collect(),
            pid: pid.filter(|pid| *pid > 0),
        })
    }
}

fn made() -> impl Iterator<Item = PathBuf> {
    MADE.iter().map(PathBuf::from)
}

impl Engine {
    /// Looks at containers of other engines, as [`Engine::drift`] does at one's own.
    pub fn drift_of_others(&self, others: &[Foreign]) -> Vec<Result<Drift>> {
        let everybody = Everybody::look();
        let mut bases = Bases::default();
        let subjects = others.iter().map(|other| self.foreign(other, &everybody, &mut bases).map(Some)).collect();
        let mut looked = self.looked(subjects, &bases);
        for drift in looked.iter_mut().flatten() {
            let of_engine = |path: &str| MADE.iter().any(|made| Path::new(made) == Path::new(path));
            drift.findings.retain(|f| f.meaning != Meaning::Configuration || !of_engine(&f.what));
        }
        looked
    }

    fn foreign(&self, other: &Foreign, everybody: &Everybody, bases: &mut Bases) -> Result<Subject> {
        // What another engine has unpacked has no digest that is known here, and is looked at anew.
        let base = bases.place(&other.lowers, || Ok(Vec::new()))?;
        let looked = other.pid.map(|first| programs::of(&everybody.with(first), first));
        let (programs, mut unread) = looked.unwrap_or_default();
        let mut opaque = Inodes::new();
        // For anybody else the storage has marks that everybody sees.
        if self.host.rung() == Rung::Root {
            for layer in [&other.own].into_iter().chain(&other.lowers) {
                unread.extend(marks(layer, &mut opaque)?);
            }
        }
        let paths = Paths { own: other.own.clone(), lowers: other.lowers.clone(), mounted: other.mounted.clone() };
        Ok(Subject { map: self.map_of_everybody()?, paths, base, programs, unread, opaque })
    }
}

/// Finds the directories of a layer that hide what those below it have: root of the machine may read that, and an agent,
/// which is root of its own namespace, may not. Only names and this mark are looked at. Says what could not be.
fn marks(layer: &Path, opaque: &mut Inodes) -> Result<Vec<Unread>> {
    let fail = |what: &str, why: String| Unread { what: format!("{}{what}", layer.display()), why };
    let tree = Tree::open(layer, Limits::default())?;
    let walked = tree.walk(&mut |entry| {
        if entry.kind == FileType::Directory && entry.hides() {
            let found = entry.directory().ok().and_then(|dir| rustix::fs::fstat(dir).ok());
            opaque.extend(found.map(|found| (found.st_dev, found.st_ino)));
        }
        Visit::Enter
    });
    let told = match walked {
        Ok(walked) => walked.problems.into_iter().map(|(path, e)| fail(&format!("/{path}"), e.chain())).collect(),
        Err(e) => vec![fail("", e.chain())],
    };
    Ok(told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_overlay_directories_are_read() {
        let overlay = json!({"GraphDriver": {"Name": "overlay", "Data": {"LowerDir": "/a:/b", "UpperDir": "/u"}},
            "State": {"Pid": 0}, "Mounts": [{"Destination": "/data"}]});
        let found = Foreign::parse(&overlay).unwrap();
        assert_eq!(found.lowers, ["/a", "/b"].map(PathBuf::from));
        assert!(found.pid.is_none() && found.mounted.contains(&PathBuf::from("/data")));
        for other in [json!({"GraphDriver": {"Name": "vfs", "Data": null}}), json!({})] {
            assert_eq!(Foreign::parse(&other).unwrap_err().kind(), Kind::Unsupported);
        }
    }

    /// Both kinds of marks are found; that of root of the machine only by root.
    #[test]
    fn directories_that_hide_lower_layers_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = Inodes::new();
        for (name, mark) in [("a/b", c"user.overlay.opaque"), ("c", c"trusted.overlay.opaque"), ("d", c"user.other")] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            let opened = std::fs::File::open(dir.path().join(name)).unwrap();
            let set = rustix::fs::fsetxattr(&opened, mark, b"y", rustix::fs::XattrFlags::empty());
            let found = rustix::fs::fstat(&opened).unwrap();
            if set.is_ok() && name != "d" {
                expected.insert((found.st_dev, found.st_ino));
            }
        }
        let mut found = Inodes::new();
        assert!(marks(dir.path(), &mut found).unwrap().is_empty());
        assert_eq!(found, expected);
        let root = rustix::process::geteuid().is_root();
        assert!(found.len() == 2 || (found.len() == 1 && !root), "{found:?}");
    }
}
