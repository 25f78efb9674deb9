// SPDX-License-Identifier: Apache-2.0
//! Databases, binaries and advisories that somebody has damaged on purpose: none makes a reader fail, wait or grow.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::time::{Duration, Instant};

use bryo_fuzz::seeds::{bdb, executable, ndb, packages, sqlite};
use bryo_packages::advisories::{Feed, alpine, debian, epss, kev, osv, vex};
use bryo_packages::package::Distro;
use bryo_packages::readers::{apk, cargo, dpkg, elf, gem, npm, pip, rpm};
use bryo_packages::tree::Bytes;
use proptest::prelude::*;

fn bytes(data: &[u8]) -> Bytes {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(data).unwrap();
    Bytes::of(file, "hostile")
}

/// Reads something as everything that it could be said to be.
fn read_all(data: &[u8]) {
    let _ = rpm::sqlite::packages(data, Some(data), true);
    let _ = rpm::ndb::packages(data, true);
    let _ = rpm::bdb::packages(data, true);
    let _ = rpm::header::package(data, true);
    let _ = elf::packages(bytes(data));
    let _ = cargo::parse(data);
    let _ = (dpkg::parse(data, false), dpkg::parse(data, true), apk::parse(data, true));
    let _ = (pip::parse(data), npm::module(data), npm::lock(data), gem::parse(data), Distro::parse(data));
    let mut feed = Feed::default();
    osv::record(data, "hostile", &mut feed);
    let _ = (osv::export(std::io::Cursor::new(data)), debian::parse(data), alpine::parse(data));
    let _ = (vex::parse(data), kev::parse(data), epss::parse(data));
}

#[test]
fn what_is_made_here_is_read_whole() {
    let names = |packages: Vec<bryo_packages::package::Package>| -> Vec<String> {
        packages.into_iter().map(|p| format!("{} {}", p.name, p.version)).collect()
    };
    for said in [
        rpm::sqlite::packages(&sqlite(), None, false),
        rpm::ndb::packages(&ndb(), false),
        rpm::bdb::packages(&bdb(), false),
    ] {
        let said = said.unwrap();
        assert!(said.problems.is_empty(), "{:?}", said.problems);
        assert_eq!(names(said.packages), ["hello 1.2-3"]);
    }
    let said = elf::packages(bytes(&executable())).unwrap();
    assert!(said.problems.is_empty(), "{:?}", said.problems);
    assert_eq!(names(said.packages), ["libc 0.2.1", "stdlib 1.21.3", "x v1.0.0", "github.com/a/b v1.0.0"]);
}

/// Seeds that are whole, of every form.
fn seed() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(packages())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn damage_of_any_sort_is_survived(
        mut data in seed(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24),
        words in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec![0u32, 1, 0xffff, 0x7fff_ffff, 0xffff_ffff])), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        for (at, word) in words {
            let at = at.index(data.len());
            let end = data.len().min(at + 4);
            let length = end - at;
            data[at..end].copy_from_slice(&word.to_be_bytes()[..length]);
        }
        if let Some(cut) = cut {
            data.truncate(cut.index(data.len() + 1));
        }
        let begun = Instant::now();
        read_all(&data);
        prop_assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn noise_is_survived(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        read_all(&data);
    }
}
