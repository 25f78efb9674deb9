// SPDX-License-Identifier: Apache-2.0
//! `bryo audit`: what it says of files, images and containers, and how it ends.

use bryo_tests::host::mark;
use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::{Detached, Home, User};
use serde_json::Value;

/// A pod that keeps the level "restricted", and has no finding of any weight.
const GOOD: &str = "apiVersion: v1
kind: Pod
metadata: {name: good}
spec:
  hostUsers: false
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: c
    image: a@sha256:0000000000000000000000000000000000000000000000000000000000000000
    resources: {limits: {memory: 1Gi, cpu: 1}}
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
";

fn ids(report: &Value) -> Vec<String> {
    let all = report["outcomes"].as_array().unwrap().iter().flat_map(|outcome| outcome["findings"].as_array().unwrap());
    all.map(|finding| finding["rule"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_verdict_is_an_exit_code() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    home.write("good.yaml", GOOD);
    home.write("bad.yaml", GOOD.replace("hostUsers: false", "hostPID: true"));
    let path = |name: &str| home.path.join(name).display().to_string();
    home.bryo(&["audit", &path("good.yaml")]).ok();
    home.bryo(&["audit", "--level", "restricted", &path("good.yaml")]).ok();
    let bad = home.bryo(&["audit", &path("bad.yaml")]).code(1);
    assert!(bad.contains("BRYO-069"), "{bad}");
    home.bryo(&["audit", "--fail-on", "critical", &path("bad.yaml")]).ok();
    home.bryo(&["audit", "--level", "baseline", &path("bad.yaml")]).code(1);
    home.bryo(&["audit", "no-such-thing"]).code(125);
    home.bryo(&["audit"]).fails(125, &["required"]);
}

#[test]
fn what_cannot_be_read_stops_nothing_else() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    let dir = home.mkdir("files");
    home.write("files/Dockerfile", "FROM a\nNOSUCH \u{1b}[2J\n");
    home.write("files/b.Dockerfile", "FROM a\nUSER root\n");
    let shown = home.bryo(&["audit", &dir.display().to_string()]).code(125);
    assert!(shown.contains("Dockerfile:2") && shown.contains("BRYO-002") && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn standard_input_remarks_and_reports() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    let text = b"FROM a@sha256:0000000000000000000000000000000000000000000000000000000000000000\nUSER root\n";
    home.bryo_fed(&["audit", "-"], text).code(1);
    let accepted = b"FROM a@sha256:0000000000000000000000000000000000000000000000000000000000000000\n# bryo: allow BRYO-002 a test\nUSER root\n";
    let shown = home.bryo_fed(&["audit", "-"], accepted).ok();
    assert!(shown.contains("accepted: a test"), "{shown}");
    let allows = home.write("allow.toml", "[[allow]]\nrule = \"BRYO-002\"\nreason = \"why\"\n").display().to_string();
    let page = home.path.join("report.html").display().to_string();
    home.bryo_fed(&["audit", "--allow", &allows, "--html", &page, "-"], text).ok();
    assert!(std::fs::read_to_string(&page).unwrap().contains("accepted: why"));
    home.write("bad.toml", "[[allow]]\nrule = \"BRYO-002\"\n");
    let bad = home.path.join("bad.toml").display().to_string();
    home.bryo_fed(&["audit", "--allow", &bad, "-"], text).fails(125, &["reason"]);
    let sarif = home.bryo_fed(&["audit", "-f", "sarif", "-"], text).code(1);
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "BRYO-002");
    let junit = home.bryo_fed(&["audit", "-f", "junit", "-"], text).code(1);
    assert!(junit.contains("<failure"), "{junit}");
}

/// A page can be looked at where there is no network, and by somebody who lets nothing run.
#[test]
fn every_report_is_a_page_that_needs_nothing() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let page = home.path.join("w/page.html");
    let file = page.display().to_string();
    for (words, says) in [
        (&["audit", "--fail-on", "critical", BUSYBOX][..], "Findings"),
        (&["why-root", BUSYBOX], "the image sets no USER"),
        (&["blast-radius", "--entries", "100", "host:"], "on the host"),
        (&["why-root", "--run", "--network", "none", "-q", BUSYBOX, "mkdir", "/x"], "wanted to make /x"),
        (&["policy", "check", BUSYBOX], "What the policy says"),
        (&["harden", "-t", "localhost/paged", BUSYBOX, "true"], "Stays writable"),
        (&["learn", "-o", "/dev/null", "--", "run", "--rm", "--network", "none", BUSYBOX, "true"], "exit_group"),
    ] {
        let verb = if words[0] == "policy" { 2 } else { 1 };
        home.bryo(&[&words[..verb], &["--html", &file], &words[verb..]].concat()).ok();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains(says), "{words:?}: {text}");
        assert!(text.contains("default-src 'none'") && text.contains("prefers-color-scheme: dark"));
        for needs in ["<script", " src=", "<link", "@import", "url("] {
            assert!(!text.contains(needs), "{words:?} needs {needs}");
        }
        std::fs::remove_file(&page).unwrap();
    }
    home.bryo(&["why-root", "--html", "/none/page.html", BUSYBOX]).fails(125, &["/none/page.html"]);
}

#[test]
fn an_image_is_the_same_by_every_way() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    let archive = images::busybox().display().to_string();
    let report =
        |target: &str| -> Value { serde_json::from_str(&home.bryo(&["audit", "-f", "json", target]).text()).unwrap() };
    let by_file = ids(&report(&archive));
    assert!(by_file.contains(&"BRYO-001".to_owned()), "{by_file:?}");
    assert_eq!(ids(&report(&format!("oci-archive:{archive}"))), by_file);
    home.load(&images::busybox());
    assert_eq!(ids(&report(BUSYBOX)), by_file);
    let layout = home.path.join("layout").display().to_string();
    home.bryo(&["save", "--format", "oci-dir", "-o", &layout, BUSYBOX]).ok();
    assert_eq!(ids(&report(&format!("oci:{layout}"))), by_file);
}

#[test]
fn a_container_of_bryo_is_judged_as_it_runs() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    home.load(&images::busybox());
    let judged = |flags: &[&str], how: &[&str], inside: &[&str]| {
        let name = mark();
        let container = Detached::run(&home, &name, &[flags, &["--network", "none", BUSYBOX, "sleep", "300"]].concat());
        if !inside.is_empty() {
            home.bryo(&[&["exec"], how, &["--user", "root", &name], inside].concat()).ok();
        }
        let text = home.bryo(&["audit", "-f", "json", &name]).text();
        drop(container);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let report = judged(&[], &[], &[]);
    let found = ids(&report);
    for absent in [
        "BRYO-001", "BRYO-002", "BRYO-008", "BRYO-019", "BRYO-021", "BRYO-039", "BRYO-040", "BRYO-059", "BRYO-060",
        "BRYO-063", "BRYO-064",
    ] {
        assert!(!found.contains(&absent.to_owned()), "{absent}: {report}");
    }
    let card = &report["outcomes"][0]["subjects"][0];
    assert_eq!(card["verdict"], "not root", "{card}");
    let host: u32 = card["host"].as_str().unwrap().strip_prefix("uid ").unwrap().parse().unwrap();
    assert!(user.may_own(host) && host != 0, "{card}");
    // What is in the container now counts, and not what was asked for.
    let root = judged(&["--user", "root", "--writable"], &[], &["cp", "/bin/busybox", "/usr/bin/tool"]);
    let found = ids(&root);
    for there in ["BRYO-002", "BRYO-039", "BRYO-040"] {
        assert!(found.contains(&there.to_owned()), "{there}: {root}");
    }
    let entered = judged(&[], &["-d"], &["sleep", "200"]);
    assert!(ids(&entered).contains(&"BRYO-019".to_owned()), "{entered}");
    // A rule of this site's policy that it does not keep, and one that it does.
    let container = Detached::run(&home, "c", &["--network", "none", "--writable", BUSYBOX, "sleep", "300"]);
    let audit = || home.bryo(&["audit", "-f", "json", &container.name]).text();
    let broken = |text: &str| ids(&serde_json::from_str(text).unwrap()).iter().filter(|id| *id == "BRYO-106").count();
    assert_eq!(broken(&audit()), 0, "the control: there is no policy");
    home.write(".config/bryo/policy.toml", "non-root = true\nread-only = true\n");
    let report = audit();
    assert_eq!(broken(&report), 1, "{report}");
    assert!(report.contains("policy.toml:2") && report.contains("the root is writable"), "{report}");
}
