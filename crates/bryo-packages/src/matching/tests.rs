// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::advisories::store::Provenance;
use crate::advisories::{Feed, debian, epss, kev, osv, vex};
use crate::inventory::{Finding, Scan, merge};
use crate::package::{Package, Source};

fn inventory() -> Inventory {
    let mut libssl = Package::new(Type::Deb, "libssl3", "3.0.11-1~deb12u1");
    libssl.source = Some(Source { name: "openssl".into(), version: "3.0.11-1~deb12u1".into() });
    let curl = Package::new(Type::Deb, "curl", "7.88.1-10");
    let six = Package::new(Type::Pypi, "Six", "1.0");
    let npm = Package::new(Type::Npm, "left-pad", "1.0.0");
    let finding = |path: &str, packages: Vec<Package>, distro: Option<Distro>| Finding {
        path: path.into(),
        packages,
        distro,
        owns: vec![],
    };
    let findings = vec![
        finding("var/lib/dpkg/status", vec![libssl, curl], None),
        finding("six.dist-info/METADATA", vec![six], None),
        finding("node_modules/left-pad/package.json", vec![npm], None),
        finding("usr/lib/os-release", vec![], Distro::parse(b"ID=debian\nVERSION_ID=12")),
    ];
    merge(&[Scan { findings, ..Scan::default() }])
}

fn put(store: &Store, feed: &Feed, source: &str) {
    let text = |s: &str| s.to_owned();
    let from = Provenance { source: text(source), origin: text("x"), date: text("d"), fetched: text("f") };
    assert!(feed.problems.is_empty(), "{:?}", feed.problems);
    store.put(feed, &from).unwrap();
}

fn store(dir: &std::path::Path) -> Store {
    let store = Store::new(dir);
    let tracker = br#"{"openssl":{
        "CVE-1":{"releases":{"bookworm":{"status":"resolved","fixed_version":"3.0.11-1~deb12u2"}}},
        "CVE-2":{"releases":{"bookworm":{"status":"open","urgency":"low"}}},
        "CVE-3":{"releases":{"bookworm":{"status":"resolved","fixed_version":"0"}}},
        "CVE-4":{"releases":{"bookworm":{"status":"resolved","fixed_version":"3.0.9-1"}}},
        "CVE-5":{"releases":{"bullseye":{"status":"open"}}}}}"#;
    put(&store, &debian::parse(tracker).unwrap(), "debian");
    let mut feed = Feed::default();
    // What others have made of it: worse, and of a flaw that the distribution says it does not have.
    osv::record(
        br#"[{"id":"DSA-1","upstream":["CVE-1"],"summary":"boom","severity":[{"type":"CVSS_V3",
        "score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],"affected":[{"package":{"ecosystem":"Debian:12",
        "name":"openssl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}]},
        {"id":"DEBIAN-CVE-3","upstream":["CVE-3"],"affected":[{"package":{"ecosystem":"Debian:12","name":"openssl"},
        "ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}]},
        {"id":"PYSEC-1","aliases":["CVE-9"],"affected":[{"package":{"ecosystem":"PyPI","name":"six"},
        "ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.1"}]}]}]}]"#,
        "x",
        &mut feed,
    );
    put(&store, &feed, "osv");
    store
}

fn states(found: &Matches) -> Vec<(&str, &str, State, Option<&str>)> {
    let mut all: Vec<_> =
        found.all.iter().map(|m| (m.id.as_str(), m.package.as_str(), m.state, m.fixed.as_deref())).collect();
    all.sort();
    all
}

#[test]
fn fixed_unfixed_and_not_affected_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = inventory();
    let knowledge = Knowledge::open(&store(dir.path()), &[&inventory], Vec::new());
    let found = knowledge.matches(&inventory, &[]);
    assert_eq!(
        states(&found),
        [
            ("CVE-1", "libssl3", State::Fixed, Some("3.0.11-1~deb12u2")),
            ("CVE-2", "libssl3", State::Unfixed, None),
            ("CVE-3", "libssl3", State::NotAffected, None),
            ("CVE-4", "libssl3", State::NotAffected, Some("3.0.9-1")),
            ("CVE-9", "Six", State::Fixed, Some("1.1")),
        ]
    );
    // How bad it is comes from elsewhere.
    let worst = &found.all[0];
    assert_eq!((worst.id.as_str(), worst.severity, worst.score), ("CVE-1", Severity::Critical, Some(9.8)));
    assert_eq!((worst.source.as_str(), worst.summary.as_str()), ("debian", "boom"));
    assert_eq!(worst.aliases, ["DSA-1"]);
    // Nothing is known of npm's packages, which is not the same as nothing to be said against them.
    let (what, remedy) = found.unjudged().unwrap();
    assert_eq!((found.unknown_packages(), remedy.as_str()), (1, "bryo advisories update osv:npm"));
    assert!(what.starts_with("there are no advisories for 1 package of npm ("), "{what}");
}

#[test]
fn what_is_said_of_the_product_is_respected_and_exploits_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (inventory, store) = (inventory(), store(dir.path()));
    let said = br#"{"@context":"https://openvex.dev/ns/v0.2.0","timestamp":"2026-01-01T00:00:00Z","statements":[
        {"vulnerability":{"name":"CVE-1"},"products":[{"@id":"pkg:deb/debian/libssl3"}],"status":"not_affected",
        "justification":"vulnerable_code_not_in_execute_path"},
        {"vulnerability":{"name":"CVE-2"},"products":[{"@id":"other-image"}],"status":"not_affected"},
        {"vulnerability":{"name":"CVE-9"},"products":[{"@id":"my-image"}],"status":"fixed"},
        {"vulnerability":{"name":"CVE-9"},"products":[{"@id":"my-image"}],"status":"affected",
        "timestamp":"2026-01-02T00:00:00Z"}]}"#;
    let kev = br#"{"vulnerabilities":[{"cveID":"CVE-2","dateAdded":"2025-05-05"}]}"#;
    store.put_kev(&kev::parse(kev).unwrap()).unwrap();
    store.put_epss(&epss::parse(b"cve,epss,percentile\nCVE-2,0.97,0.99\n").unwrap()).unwrap();
    let knowledge = Knowledge::open(&store, &[&inventory], vex::parse(said).unwrap());
    let found = knowledge.matches(&inventory, &["my-image".to_owned()]);
    let of = |id: &str| found.all.iter().find(|m| m.id == id).unwrap();
    assert_eq!(of("CVE-1").state, State::NotAffected);
    assert_eq!(of("CVE-1").note.as_deref(), Some("VEX: vulnerable_code_not_in_execute_path"));
    assert_eq!(of("CVE-2").state, State::Unfixed);
    // The later word counts.
    assert_eq!(of("CVE-9").state, State::Fixed);
    assert_eq!((of("CVE-2").exploited.as_deref(), of("CVE-2").likelihood), (Some("2025-05-05"), Some(0.97)));
    assert_eq!(found.all[0].id, "CVE-2", "what is exploited comes first");
}
