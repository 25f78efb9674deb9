// SPDX-License-Identifier: Apache-2.0
use super::store::{Provenance, Store};
use super::*;

fn from() -> Provenance {
    let text = |s: &str| s.to_owned();
    Provenance {
        source: text("debian"),
        origin: text("file:x"),
        date: text("2026-01-01T00:00:00Z"),
        fetched: text("2026-01-02T00:00:00Z"),
    }
}

const TRACKER: &[u8] = br#"{"openssl":{"CVE-1":{"description":"bad\nworse","releases":{
    "bookworm":{"status":"resolved","fixed_version":"3.0.11-1~deb12u2","urgency":"not yet assigned"},
    "bullseye":{"status":"open","urgency":"unimportant","nodsa":"Minor issue"},
    "trixie":{"status":"resolved","fixed_version":"0","urgency":"high"}}},
    "CVE-2":{"releases":7}},"curl":{"CVE-3":{"releases":{"bookworm":{"status":"undetermined","urgency":"low"}}}}}"#;

#[test]
fn debians_tracker_is_kept_and_found_again() {
    let feed = debian::parse(TRACKER).unwrap();
    assert_eq!((feed.len(), feed.problems.len()), (4, 1));
    assert!(feed.problems[0].starts_with("openssl, CVE-2: "), "{:?}", feed.problems);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("made"));
    store.put(&feed, &from()).unwrap();
    let (books, problems) = store.open(|ecosystem| ecosystem == "Debian:12");
    assert!(problems.is_empty());
    let [book] = books.as_slice() else { panic!("{books:?}") };
    assert_eq!((book.header.advisories, book.header.date.as_str()), (2, "2026-01-01T00:00:00Z"));
    let found = book.find("openssl").unwrap();
    assert_eq!(found[0].ranges[0].fixed.as_deref(), Some("3.0.11-1~deb12u2"));
    assert_eq!(found[0].summary, "bad");
    assert_eq!(book.find("curl").unwrap()[0].note.as_deref(), Some("undetermined"));
    assert!(book.find("open").unwrap().is_empty() && book.find("zlib").unwrap().is_empty());
    let trixie = store.open(|ecosystem| ecosystem == "Debian:13").0;
    assert!(trixie[0].find("openssl").unwrap()[0].ranges.is_empty());
    assert_eq!(store.remove("Debian:11").unwrap(), 1);
    assert_eq!(store.list().0.len(), 2);
}

#[test]
fn a_damaged_file_is_named_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    store.put(&debian::parse(TRACKER).unwrap(), &from()).unwrap();
    let path = dir.path().join("Debian:12@debian.advisories");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (books, problems) = store.open(|_| true);
        let readable = books.iter().filter(|book| book.find("openssl").is_ok() && book.find("curl").is_ok()).count();
        assert_eq!(readable, 2, "{length}");
        assert!(problems.iter().all(|e| e.chain().contains("Debian:12@debian")), "{problems:?}");
    }
}

#[test]
fn alpines_names_and_never_affected() {
    let text = br#"{"distroversion":"v3.19","packages":[{"pkg":{"name":"xen","secfixes":{
        "4.17-r1":["CVE-1 XSA-1","CVE-2"],"0":["CVE-3"],"1-r0":{}}}},{"pkg":{}}]}"#;
    let feed = alpine::parse(text).unwrap();
    let found = &feed.advisories["Alpine:v3.19"]["xen"];
    assert_eq!((found.len(), feed.problems.len()), (3, 1));
    let of = |id: &str| found.iter().find(|a| a.id == id).unwrap();
    assert_eq!(of("CVE-1").aliases, ["XSA-1"]);
    assert!(of("CVE-3").ranges.is_empty());
    assert_eq!(of("CVE-2").ranges[0].fixed.as_deref(), Some("4.17-r1"));
}

#[test]
fn events_make_ranges_and_a_broken_record_is_told() {
    let text = br#"{"id":"GHSA-1","modified":"2026-01-03T00:00:00Z","aliases":["CVE-1"],"summary":"s",
        "severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
        "affected":[{"package":{"ecosystem":"PyPI","name":"Foo_Bar"},"ranges":[
        {"type":"GIT","events":[{"introduced":"abc"}]},
        {"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.2"},{"introduced":"2.0"},{"last_affected":"2.5"},
        {"introduced":"3.0"}]}]}]}"#;
    let mut feed = Feed::default();
    osv::record(text, "GHSA-1.json", &mut feed);
    osv::record(br#"{"id":"GO-1","modified":"0001-01-01T00:00:00Z"}"#, "GO-1.json", &mut feed);
    osv::record(b"{", "broken.json", &mut feed);
    osv::record(
        br#"{"id":"X","withdrawn":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"PyPI",
        "name":"y"},"versions":["1"]}]}"#,
        "X.json",
        &mut feed,
    );
    assert_eq!(feed.problems.len(), 1);
    assert_eq!(feed.date.as_deref(), Some("2026-01-03T00:00:00Z"));
    let found = &feed.advisories["PyPI"]["foo-bar"][0];
    assert_eq!((found.severity, found.score, found.common_id()), (Severity::Critical, Some(98), "CVE-1"));
    let shown: Vec<_> =
        found.ranges.iter().map(|r| (r.introduced.as_deref(), r.fixed.as_deref(), r.last.as_deref())).collect();
    assert_eq!(shown, [(None, Some("1.2"), None), (Some("2.0"), None, Some("2.5")), (Some("3.0"), None, None)]);
    assert_eq!(feed.len(), 1);
}

#[test]
fn exploited_and_likely_to_be() {
    let kev = kev::parse(
        br#"{"dateReleased":"2026-01-01T00:00:00Z","vulnerabilities":[{"cveID":"CVE-1",
        "dateAdded":"2025-01-01"}]}"#,
    );
    assert_eq!(kev.unwrap().added["CVE-1"], "2025-01-01");
    let text = b"#model_version:v2025.03.14,score_date:2026-01-01T00:00:00Z\ncve,epss,percentile\n\
        CVE-2024-2,0.5,0.9\nCVE-2024-1,0.00043,0.1\nCVE-2024-10,1,1\nnonsense\nCVE-2024-3,7,1\n";
    let epss = epss::parse(text).unwrap();
    let epss = epss::Epss::from_bytes(epss.to_bytes());
    assert_eq!(epss.date.as_deref(), Some("2026-01-01T00:00:00Z"));
    let found = ["CVE-2024-1", "CVE-2024-10", "CVE-2024-2", "CVE-2024-3", "CVE-2024-0", "CVE-9"].map(|id| epss.get(id));
    assert_eq!(found, [Some(0.00043), Some(1.0), Some(0.5), None, None, None]);
    assert!(epss::parse(b"<html>").is_err());
}
