// SPDX-License-Identifier: Apache-2.0
//! Matching against advisories as they were published, with expectations that were worked out by hand: see
//! `advisories/README.md`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use bryo_packages::advisories::store::{Provenance, Store};
use bryo_packages::advisories::{Feed, Severity, alpine, debian, osv};
use bryo_packages::inventory::{Finding, Inventory, Scan, merge};
use bryo_packages::matching::{Knowledge, State};
use bryo_packages::package::{Distro, Package, Source, Type};

fn read(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/advisories").join(name)).unwrap()
}

fn store(dir: &Path) -> Store {
    let store = Store::new(dir);
    let mut records = Feed::default();
    for name in ["GO-2020-0015", "GO-2023-2102", "PYSEC-2021-66", "PYSEC-2023-212", "GHSA-35jh-r3h4-6jhm"] {
        osv::record(&read(&format!("osv/{name}.json")), name, &mut records);
    }
    let feeds = [
        ("debian", debian::parse(&read("debian.json")).unwrap()),
        ("alpine", alpine::parse(&read("alpine-v3.15-main.json")).unwrap()),
        ("osv", records),
    ];
    for (source, feed) in feeds {
        assert!(feed.problems.is_empty(), "{source}: {:?}", feed.problems);
        let text = |s: &str| s.to_owned();
        let from = Provenance { source: text(source), origin: text("x"), date: text("d"), fetched: text("f") };
        store.put(&feed, &from).unwrap();
    }
    store
}

fn with(release: &str, package: Package) -> Inventory {
    let finding = |path: &str, packages: Vec<Package>, distro: Option<Distro>| Finding {
        path: path.into(),
        packages,
        distro,
        owns: Vec::new(),
    };
    let os = finding("etc/os-release", Vec::new(), Distro::parse(release.as_bytes()));
    merge(&[Scan { findings: vec![os, finding("db", vec![package], None)], ..Scan::default() }])
}

const BOOKWORM: &str = "ID=debian\nVERSION_ID=12";
const BULLSEYE: &str = "ID=debian\nVERSION_ID=11";
const ALPINE: &str = "ID=alpine\nVERSION_ID=3.15.4";

/// Distribution, type, name, version; then each flaw with its state and the version without it.
type Case = (&'static str, Type, &'static str, &'static str, &'static [(&'static str, State, Option<&'static str>)]);

const CASES: &[Case] = &[
    // One mended long ago, one open, one that Debian never had.
    (
        BOOKWORM,
        Type::Deb,
        "apparmor",
        "3.0.8-3",
        &[
            ("CVE-2014-1424", State::NotAffected, None),
            ("CVE-2016-1585", State::Unfixed, None),
            ("CVE-2017-6507", State::NotAffected, Some("2.11.0-3")),
        ],
    ),
    (BULLSEYE, Type::Deb, "sope", "5.0.1-2", &[("CVE-2025-53603", State::Fixed, Some("5.0.1-2+deb11u1"))]),
    (
        BULLSEYE,
        Type::Deb,
        "sope",
        "5.0.1-2+deb11u1",
        &[("CVE-2025-53603", State::NotAffected, Some("5.0.1-2+deb11u1"))],
    ),
    // The same version is older than what another release has.
    (BOOKWORM, Type::Deb, "sope", "5.0.1-2+deb11u1", &[("CVE-2025-53603", State::Fixed, Some("5.8.0-1+deb12u1"))]),
    // Of a release that the tracker does not name, it says nothing.
    (BOOKWORM, Type::Deb, "backupninja", "0.7-1", &[]),
    (BOOKWORM, Type::Deb, "sop", "1", &[]),
    (
        ALPINE,
        Type::Apk,
        "zlib",
        "1.2.12-r1",
        &[
            ("CVE-2018-25032", State::NotAffected, Some("1.2.12-r0")),
            ("CVE-2022-37434", State::Fixed, Some("1.2.12-r2")),
        ],
    ),
    (
        ALPINE,
        Type::Apk,
        "zsh",
        "5.8-r1",
        &[
            ("CVE-2018-1071", State::NotAffected, Some("5.4.2-r1")),
            ("CVE-2018-1083", State::NotAffected, Some("5.4.2-r1")),
            ("CVE-2019-20044", State::NotAffected, Some("5.8-r0")),
            ("CVE-2021-45444", State::Fixed, Some("5.8.1-r0")),
        ],
    ),
    (BOOKWORM, Type::Golang, "golang.org/x/text", "v0.3.2", &[("CVE-2020-14040", State::Fixed, Some("0.3.3"))]),
    (BOOKWORM, Type::Golang, "golang.org/x/text", "v0.3.3", &[("CVE-2020-14040", State::NotAffected, Some("0.3.3"))]),
    // A version of a commit before the one that mends it.
    (
        BOOKWORM,
        Type::Golang,
        "golang.org/x/net",
        "v0.0.0-20220722155237-a158d28d115b",
        &[("CVE-2023-39325", State::Fixed, Some("0.17.0"))],
    ),
    (BOOKWORM, Type::Golang, "stdlib", "1.20.9", &[("CVE-2023-39325", State::Fixed, Some("1.20.10"))]),
    (BOOKWORM, Type::Golang, "stdlib", "1.20.10", &[("CVE-2023-39325", State::NotAffected, Some("1.20.10"))]),
    (BOOKWORM, Type::Golang, "stdlib", "1.21rc2", &[("CVE-2023-39325", State::Fixed, Some("1.21.3"))]),
    (BOOKWORM, Type::Golang, "stdlib", "1.21.3", &[("CVE-2023-39325", State::NotAffected, Some("1.21.3"))]),
    (BOOKWORM, Type::Pypi, "urllib3", "1.26.17", &[("CVE-2023-45803", State::Fixed, Some("1.26.18"))]),
    (BOOKWORM, Type::Pypi, "urllib3", "1.26.18", &[("CVE-2023-45803", State::NotAffected, Some("1.26.18"))]),
    (BOOKWORM, Type::Pypi, "urllib3", "2.0.6", &[("CVE-2023-45803", State::Fixed, Some("2.0.7"))]),
    (BOOKWORM, Type::Pypi, "urllib3", "2.0.7", &[("CVE-2023-45803", State::NotAffected, Some("1.26.18"))]),
    (BOOKWORM, Type::Pypi, "Jinja2", "2.11.2", &[("CVE-2020-28493", State::Fixed, Some("2.11.3"))]),
    (BOOKWORM, Type::Npm, "lodash", "4.17.20", &[("CVE-2021-23337", State::Fixed, Some("4.17.21"))]),
    (BOOKWORM, Type::Npm, "lodash", "4.17.21-pre", &[("CVE-2021-23337", State::Fixed, Some("4.17.21"))]),
    (BOOKWORM, Type::Npm, "lodash", "4.17.21", &[("CVE-2021-23337", State::NotAffected, Some("4.17.21"))]),
    (BOOKWORM, Type::Npm, "lodash.template", "4.0.0", &[]),
];

#[test]
fn published_advisories_say_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for (release, kind, name, version, expected) in CASES {
        let inventory = with(release, Package::new(*kind, *name, *version));
        let knowledge = Knowledge::open(&store, &[&inventory], Vec::new());
        let mut found: Vec<_> =
            knowledge.matches(&inventory, &[]).all.into_iter().map(|m| (m.id, m.state, m.fixed)).collect();
        found.sort();
        let found: Vec<_> = found.iter().map(|(id, state, fixed)| (id.as_str(), *state, fixed.as_deref())).collect();
        assert_eq!(found, *expected, "{name} {version}");
    }
}

#[test]
fn binaries_are_judged_by_what_they_are_built_from_and_words_of_severity_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut package = Package::new(Type::Deb, "libapparmor1", "3.0.8-3+b1");
    package.source = Some(Source { name: "apparmor".into(), version: "3.0.8-3".into() });
    let inventory = with(BOOKWORM, package);
    let found = Knowledge::open(&store, &[&inventory], Vec::new()).matches(&inventory, &[]);
    let open = found.all.iter().find(|m| m.id == "CVE-2016-1585").unwrap();
    assert_eq!((open.package.as_str(), open.severity), ("libapparmor1", Severity::Negligible));
    let inventory = with(BOOKWORM, Package::new(Type::Npm, "lodash", "4.17.20"));
    let found = Knowledge::open(&store, &[&inventory], Vec::new()).matches(&inventory, &[]);
    assert_eq!((found.all[0].severity, found.all[0].score), (Severity::High, Some(7.2)));
}
