// SPDX-License-Identifier: Apache-2.0
//! `vulns` and `advisories`: which flaws packages have, and how old what is known of them is.

use std::io::Write;
use std::net::TcpListener;

use bryo_tests::layout::{busybox_layer, debian_layer};
use bryo_tests::tar::Tar;
use bryo_tests::{Detached, Home, User};
use serde_json::Value;

use super::sbom::load;

const STATUS: &str = "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.11-1\n\
    Source: openssl\n";

const TRACKER: &str = r#"{"openssl":{
    "CVE-2024-1":{"description":"bad","releases":{"bookworm":{"status":"resolved","fixed_version":"3.0.11-2"}}},
    "CVE-2024-2":{"releases":{"bookworm":{"status":"open","urgency":"low"}}},
    "CVE-2024-3":{"releases":{"bookworm":{"status":"resolved","fixed_version":"3.0.9-1"}}}}}"#;

const NPM: &str = r#"{"id":"GHSA-x","modified":"2026-01-01T00:00:00Z","aliases":["CVE-2024-9"],"summary":"boom",
    "database_specific":{"severity":"CRITICAL"},"affected":[{"package":{"ecosystem":"npm","name":"evil"},
    "ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.0.1"}]}]}]}"#;

const KEV: &str = r#"{"dateReleased":"2026-01-01T00:00:00Z",
    "vulnerabilities":[{"cveID":"CVE-2024-2","dateAdded":"2025-05-05"}]}"#;

const EPSS: &str = "#model_version:v1,score_date:2026-01-01T00:00:00Z\ncve,epss,percentile\nCVE-2024-2,0.97,0.99\n";

/// A home with an image of Debian 12 and one package, and with what is known of it.
fn home(user: &User) -> Home {
    let home = Home::new(user);
    load(&home, "localhost/app:1", vec![busybox_layer(), debian_layer(STATUS)]);
    home
}

fn update(home: &Home) {
    let file = |name: &str, text: &str| home.write(name, text).display().to_string();
    let from = [format!("debian={}", file("debian.json", TRACKER)), format!("osv:npm={}", file("npm.json", NPM))];
    let args: Vec<&str> = from.iter().flat_map(|from| ["--from", from]).collect();
    let said = home.bryo(&[&["advisories", "update"], args.as_slice()].concat()).ok();
    assert!(said.contains("Debian:12: 3 advisories of ") && said.contains("npm: 1 advisories of "), "{said}");
}

fn rows(home: &Home, args: &[&str]) -> Vec<Value> {
    let text = home.bryo(&[&["vulns", "--format", "json"], args].concat()).ok();
    let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    if let [Value::Array(all)] = rows.as_slice() {
        rows = all.clone();
    }
    rows
}

fn states(rows: &[Value]) -> Vec<(String, String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let mut all: Vec<_> = rows.iter().map(|r| (text(r, "ID"), text(r, "State"), text(r, "Fixed"))).collect();
    all.sort();
    all
}

fn own(rows: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    rows.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect()
}

#[test]
fn an_image_is_judged_and_the_exit_code_says_how() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let image = "localhost/app:1";
    home.bryo(&["vulns", image]).fails(125, &["there are no advisories here", "bryo advisories update"]);
    update(&home);
    let affected = own(&[("CVE-2024-1", "fixed", "3.0.11-2"), ("CVE-2024-2", "unfixed", "")]);
    assert_eq!(states(&rows(&home, &[image])), affected);
    let not = own(&[("CVE-2024-3", "not-affected", "3.0.9-1")]);
    assert_eq!(states(&rows(&home, &["--state", "not-affected", image])), not);
    home.bryo(&["vulns", "--fail-on", "low", image]).code(1);
    home.bryo(&["vulns", "--fail-on", "high", image]).code(0);
    home.bryo(&["vulns", "no-such"]).fails(125, &["no such container or image"]);
    home.bryo(&["vulns", "--fail-on", "bad", image]).fails(125, &["critical"]);

    let vex = r#"{"@context":"https://openvex.dev/ns/v0.2.0","statements":[{"vulnerability":{"name":"CVE-2024-2"},
        "products":[{"@id":"pkg:deb/debian/libssl3@3.0.11-1"}],"status":"not_affected",
        "justification":"inline_mitigations_already_exist"}]}"#;
    let vex = home.write("app.vex.json", vex).display().to_string();
    assert_eq!(states(&rows(&home, &["--vex", &vex, image])), affected[..1]);
    let broken = home.write("broken.vex.json", "{}").display().to_string();
    home.bryo(&["vulns", "--vex", &broken, image]).fails(125, &["broken.vex.json", "no OpenVEX document"]);
}

#[test]
fn what_is_exploited_has_columns_when_its_files_are_given() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    update(&home);
    let table = home.bryo(&["vulns", "localhost/app:1"]).ok();
    assert!(!table.contains("KEV") && !table.contains("EPSS"), "{table}");
    let file = |name: &str, text: &str| home.write(name, text).display().to_string();
    let (kev, epss) = (format!("kev={}", file("kev.json", KEV)), format!("epss={}", file("epss.csv", EPSS)));
    home.bryo(&["advisories", "update", "--from", &kev, "--from", &epss]).ok();
    let table = home.bryo(&["vulns", "localhost/app:1"]).ok();
    assert!(table.contains("KEV") && table.contains("EPSS"), "{table}");
    let second = table.lines().nth(1).unwrap();
    assert!(second.contains("CVE-2024-2") && second.contains("2025-05-05") && second.contains("0.97"), "{table}");
}

#[test]
fn running_containers_are_in_one_table_with_what_was_installed_since() {
    for user in User::all() {
        let home = home(&user);
        load(&home, "localhost/bare:1", vec![busybox_layer()]);
        update(&home);
        let app =
            Detached::run(&home, "vulns-app", &["--writable", "--user", "root", "localhost/app:1", "sleep", "300"]);
        let _bare = Detached::run(&home, "vulns-bare", &["localhost/bare:1", "sleep", "300"]);
        let of = |name: &str| -> Value {
            let all = rows(&home, &["--all"]);
            all.into_iter().find(|row| row["Names"] == name).unwrap()
        };
        let before = of("vulns-app");
        assert_eq!((before["Unknown"].as_str(), before["Low"].as_str()), (Some("1"), Some("1")), "{before}");
        assert_eq!((before["Critical"].as_str(), before["AtRunTime"].as_str()), (Some("0"), Some("0")));
        assert_eq!(before["Scan"], "complete");
        let bare = of("vulns-bare");
        assert_eq!(
            (bare["Critical"].as_str(), bare["Scan"].as_str()),
            (Some("-"), Some("unscanned: no package database"))
        );
        let script = "mkdir -p /app/node_modules/evil; \
            echo '{\"name\":\"evil\",\"version\":\"1.0.0\"}' > /app/node_modules/evil/package.json";
        app.exec(&["sh", "-c", script]).ok();
        let after = of("vulns-app");
        assert_eq!((after["Critical"].as_str(), after["AtRunTime"].as_str()), (Some("1"), Some("1")), "{after}");
        let table = home.bryo(&["ps", "--vulns"]).ok();
        assert!(table.contains("1C 0H 0M 1L 1?, 1 installed at run time"), "{table}");
        assert!(table.contains("unscanned: no package database"), "{table}");
        home.bryo(&["vulns", "--all", "--fail-on", "critical"]).code(1);
        app.exec(&["rm", "-r", "/app"]).ok();
        // Nothing as bad is known, but of one container nothing is.
        let unsaid = home.bryo(&["vulns", "--all", "--fail-on", "critical"]);
        unsaid.fails(125, &["it cannot be said: vulns-bare: no package database"]);
        home.bryo(&["vulns", "--all", "--fail-on", "critical", "--accept-unknown"]).code(0);
    }
}

/// The image has the very same version at another place.
#[test]
fn a_second_copy_is_installed_at_run_time() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    update(&home);
    let module = Tar::default()
        .dir("app/", 0o755)
        .dir("app/node_modules/", 0o755)
        .dir("app/node_modules/evil/", 0o755)
        .file("app/node_modules/evil/package.json", 0o644, br#"{"name":"evil","version":"1.0.0"}"#)
        .file("app/node_modules/evil/cli.js", 0o755, b"#!/usr/bin/env node\n");
    load(&home, "localhost/evil:1", vec![busybox_layer(), debian_layer(STATUS), module.finish()]);
    let evil =
        Detached::run(&home, "vulns-evil", &["--writable", "--user", "root", "localhost/evil:1", "sleep", "300"]);
    let late = || rows(&home, &["--all"])[0]["AtRunTime"].as_str().unwrap().to_owned();
    assert_eq!(late(), "0");
    evil.exec(&["sh", "-c", "mkdir -p /opt/node_modules && cp -a /app/node_modules/evil /opt/node_modules/"]).ok();
    assert_eq!(late(), "1");
    let drift = home.bryo(&["drift", "--format", "{{.Kind}} {{.Change}} {{.What}} {{.Detail}}", "vulns-evil"]);
    assert_eq!(drift.code(1), "package added evil npm, 1.0.0, /opt/node_modules/evil/package.json");
}

#[test]
fn stale_data_says_so_and_broken_data_leaves_the_rest() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    update(&home);
    let fresh = home.bryo(&["vulns", "localhost/app:1"]);
    assert!(!fresh.stderr.contains("days old"), "{}", fresh.stderr);
    // What a mirror has may be older than the day on which it is read.
    let file = home.write("old.json", TRACKER);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 24 * 60 * 60);
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(old).unwrap();
    let from = format!("debian={}", file.display());
    home.bryo(&["advisories", "update", "--from", &from]).ok();
    let stale = home.bryo(&["vulns", "localhost/app:1"]);
    assert!(stale.stderr.contains("the advisories for Debian:12 (debian) are of "), "{}", stale.stderr);
    assert!(stale.stderr.contains("30 days old"), "{}", stale.stderr);
    assert!(!home.bryo(&["vulns", "--max-age", "40", "localhost/app:1"]).stderr.contains("days old"));
    let judged = |age: &str| home.bryo(&["vulns", "--fail-on", "critical", "--max-age", age, "localhost/app:1"]);
    judged("7").fails(125, &["it cannot be said: the advisories for Debian:12"]);
    judged("40").code(0);
    let list = home.bryo(&["advisories", "ls", "--format", "{{.Ecosystem}} {{.Source}} {{.Stale}}"]).ok();
    assert!(list.contains("Debian:12 debian true"), "{list}");

    let broken = home.write("broken.json", "{");
    let from = format!("debian={}", broken.display());
    let good = format!("osv:npm={}", home.write("npm.json", NPM).display());
    let output = home.bryo(&["advisories", "update", "--from", &from, "--from", &good]);
    output.fails(125, &["broken.json", "no file of Debian's tracker"]);
    assert!(output.text().contains("npm: 1 advisories"), "{}", output.text());
    // One record of many is enough.
    let cut = home.write("cut.json", format!("[{NPM},{{}}]").replace("GHSA-x", "GHSA-y"));
    let cut = home.bryo(&["advisories", "update", "--from", &format!("osv:npm={}", cut.display())]);
    cut.fails(125, &["cut.json: missing field", "what was there before is left as it is"]);
    assert!(!cut.text().contains("npm: 1 advisories"), "{}", cut.text());
    // What was there is still there.
    assert_eq!(rows(&home, &["localhost/app:1"]).len(), 2);
    home.bryo(&["advisories", "rm", "Debian:12"]).ok();
    home.bryo(&["advisories", "rm", "Debian:12"]).fails(1, &["there are none"]);
}

/// A mirror for closed networks, in the layout that the handbook gives.
#[test]
fn a_mirror_is_read_by_its_address_or_as_a_directory() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.write("mirror/debian/json", TRACKER);
    home.write("mirror/kev.json", KEV);
    let mirror = home.path.join("mirror").display().to_string();
    home.bryo(&["advisories", "update", "--mirror", &mirror, "debian", "kev"]).ok();
    assert_eq!(rows(&home, &["localhost/app:1"]).len(), 2);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0u8; 4096];
        let read = std::io::Read::read(&mut stream, &mut head).unwrap();
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        let body = TRACKER.replace("3.0.11-2", "3.0.11-3");
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).unwrap();
        head
    });
    home.bryo(&["advisories", "update", "--mirror", &address, "debian"]).fails(125, &["http is not allowed"]);
    home.bryo(&["advisories", "update", "--tls-verify=false", "--mirror", &address, "debian"]).ok();
    assert!(server.join().unwrap().starts_with("GET /debian/json "));
    let found = states(&rows(&home, &["localhost/app:1"]));
    assert_eq!(found[0], ("CVE-2024-1".to_owned(), "fixed".to_owned(), "3.0.11-3".to_owned()));
}
