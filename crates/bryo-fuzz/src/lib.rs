// SPDX-License-Identifier: Apache-2.0
//! What is fed at random to everything that reads what others have written: one target for each reader.
//!
//! The targets are run by `cargo fuzz` (see `fuzz/`), which needs a nightly compiler, and by the test of this crate, which
//! changes whole examples deterministically and needs none.

pub mod mutate;
pub mod seeds;

use std::io::{Cursor, Write};
use std::path::Path;

use bryo_audit::Auditor;
use bryo_build::dockerfile;
use bryo_build::ignore::Ignore;
use bryo_engine::policy::Rules;
use bryo_packages::advisories::{Feed, alpine, debian, epss, kev, osv, vex};
use bryo_packages::package::Distro;
use bryo_packages::readers::{apk, cargo, dpkg, elf, gem, npm, pip, rpm};
use bryo_packages::tree::Bytes;
use bryo_signature::{Image, Manifest, Trust};

/// A reader, and whole examples of what it reads.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Has it read something. It may say what it likes, and has to come back.
    pub read: fn(&[u8]),
    /// Examples.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:literal $seeds:ident |$data:ident| $read:expr;)*) => {
        /// Lists all targets.
        pub const TARGETS: &[Target] = &[$(Target {
            name: $name,
            read: |$data| { let _ = $read; },
            seeds: seeds::$seeds,
        }),*];
    };
}

targets! {
    "dpkg" packages |data| (dpkg::parse(data, false), dpkg::parse(data, true));
    "apk" packages |data| apk::parse(data, true);
    "rpm-sqlite" packages |data| rpm::sqlite::packages(data, Some(data), true);
    "rpm-ndb" packages |data| rpm::ndb::packages(data, true);
    "rpm-bdb" packages |data| rpm::bdb::packages(data, true);
    "rpm-header" packages |data| rpm::header::package(data, true);
    "pip" packages |data| pip::parse(data);
    "npm" packages |data| (npm::module(data), npm::lock(data));
    "gem" packages |data| gem::parse(data);
    "cargo" packages |data| cargo::parse(data);
    "elf" packages |data| file(data).map(elf::packages);
    "os-release" packages |data| Distro::parse(data);
    "osv-record" packages |data| osv::record(data, "fuzz", &mut Feed::default());
    "osv-export" packages |data| osv::export(Cursor::new(data));
    "debian-tracker" packages |data| debian::parse(data);
    "alpine-secdb" packages |data| alpine::parse(data);
    "vex" packages |data| vex::parse(data);
    "kev" packages |data| kev::parse(data);
    "epss" packages |data| epss::parse(data);
    "dockerfile" descriptions |data| text(data).map(dockerfile::parse);
    "dockerignore" descriptions |data| text(data).map(Ignore::parse);
    "audit" descriptions |data| text(data).map(|text| Auditor::default().text("fuzz", text, None, None));
    "audit-dockerfile" descriptions |data| text(data).map(|text| {
        Auditor::default().text("fuzz", text, Some(bryo_audit::Kind::Dockerfile), None)
    });
    "audit-container" descriptions |data| text(data).map(|text| Auditor::default().container("fuzz", text, |_| ()));
    "policy" trust |data| text(data).map(|text| Rules::default().add(Path::new("fuzz"), text));
    "signature" trust |data| signature(data);
    "trusted-root" trust |data| text(data).map(|text| Trust::identity("a", "b", text).is_ok());
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// Puts data into a file, which some readers want.
fn file(data: &[u8]) -> Option<Bytes> {
    let mut file = tempfile::tempfile().ok()?;
    file.write_all(data).ok()?;
    Some(Bytes::of(file, "fuzz"))
}

/// Has a signature verified that nobody can have made: a bundle that says it is good would be a finding.
fn signature(data: &[u8]) {
    const KEY: &str = include_str!("../../bryo-signature/tests/data/key.pub");
    let manifest = Manifest { sha256: "0".repeat(64), bytes: b"{}".to_vec() };
    let image = Image { repository: "localhost/fuzz".into(), manifests: vec![manifest] };
    if let Ok(trust) = Trust::key("fuzz", KEY, None) {
        assert!(trust.verify(data, &image).is_err(), "a signature that nobody has made");
    }
}

/// Has one target read something.
///
/// # Panics
///
/// If there is no such target, or if it has found something.
#[allow(clippy::panic, reason = "it is how a finding is told")]
pub fn run(name: &str, data: &[u8]) {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => (target.read)(data),
        None => panic!("no target {name}"),
    }
}
