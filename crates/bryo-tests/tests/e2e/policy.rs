// SPDX-License-Identifier: Apache-2.0
//! The policy: what must hold for a container to start, and to go on, from the site's, the user's and any other file.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bryo_tests::images::BUSYBOX;
use bryo_tests::layout::{busybox_layer, debian_layer};
use bryo_tests::registry::Registry;
use bryo_tests::{Detached, Home, User, images};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::sbom::load;

const MINE: &str = ".config/bryo/policy.toml";

fn home(user: &User) -> Home {
    let home = Home::new(user);
    home.load(&images::busybox());
    home
}

/// Answers by rule.
fn answers(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    report["Verdicts"].as_array().unwrap().iter().map(|v| (text(&v["Rule"]), text(&v["Answer"]))).collect()
}

fn check(home: &Home, args: &[&str]) -> Value {
    serde_json::from_str(&home.bryo(&[&["policy", "check", "--format", "json"], args].concat()).text()).unwrap()
}

#[test]
fn init_writes_a_file_that_asks_for_nothing() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.bryo(&["policy", "check", BUSYBOX]).ok();
    home.bryo(&["policy", "init"]).ok();
    assert!(home.bryo(&["policy", "check", BUSYBOX]).ok().ends_with("there is no policy"));
    home.bryo(&["policy", "init"]).fails(1, &["policy.toml", "exists already"]);
    home.bryo(&["run", "--rm", BUSYBOX, "true"]).ok();
}

#[test]
fn what_breaks_a_rule_does_not_start_in_any_way() {
    for user in User::all() {
        let home = home(&user);
        home.bryo(&["create", "--name", "old", "--writable", "--user", "root", BUSYBOX, "true"]).ok();
        home.write(MINE, "\nnon-root = true\nread-only = true\n");
        home.bryo(&["run", "--rm", BUSYBOX, "true"]).ok();
        let refused = ["policy.toml:2: non-root: the program is root inside (id 0)", "leave --user out", "try: "];
        for start in [&["run", "--rm"][..], &["run", "-d"], &["create"]] {
            home.bryo(&[start, &["--user", "root", BUSYBOX, "true"]].concat()).fails(125, &refused);
            home.bryo(&[start, &["--writable", BUSYBOX, "true"]].concat()).fails(125, &["policy.toml:3: read-only"]);
        }
        home.bryo(&["start", "old"]).fails(1, &["policy.toml:2: non-root", "(and 1 more)"]);
        // Nothing is left behind but what was there.
        assert_eq!(home.bryo(&["ps", "-aq"]).ok().lines().count(), 1);
        std::fs::remove_file(home.path.join(MINE)).unwrap();
        home.bryo(&["start", "-a", "old"]).ok();
    }
}

#[test]
fn another_file_asks_for_more_and_never_for_less() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.write(MINE, "non-root = true\n");
    let more = home.write("more.toml", "read-only = true\nnon-root = false\n").display().to_string();
    home.bryo(&["run", "--rm", "--writable", BUSYBOX, "true"]).ok();
    home.bryo(&["--policy", &more, "run", "--rm", "--writable", BUSYBOX, "true"]).fails(125, &["more.toml:1"]);
    home.bryo(&["run", "--policy", &more, "--rm", "--user", "0", BUSYBOX, "true"]).fails(125, &["policy.toml:1"]);
    home.bryo(&["--policy", "/nonexistent/p", "run", "--rm", BUSYBOX, "true"]).fails(125, &["/nonexistent/p"]);
}

#[test]
fn a_policy_that_cannot_be_understood_starts_nothing() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let id = home.bryo(&["run", "-d", BUSYBOX, "sleep", "300"]).ok();
    home.write(MINE, "non-rot = true\n");
    let refused = ["policy.toml:1:1: unknown key \"non-rot\"", "did you mean \"non-root\"?"];
    home.bryo(&["run", "--rm", BUSYBOX, "true"]).fails(125, &refused);
    home.bryo(&["policy", "check", BUSYBOX]).fails(125, &refused);
    // What ends a container needs no policy.
    home.bryo(&["rm", "-f", &id]).ok();
    std::fs::remove_file(home.path.join(MINE)).unwrap();
    home.mkdir(MINE);
    home.bryo(&["run", "--rm", BUSYBOX, "true"]).fails(125, &["policy.toml"]);
}

#[test]
fn explain_says_what_every_rule_says_and_starts_nothing() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.write(MINE, "non-root = true\npod-security = \"restricted\"\nsbom-present = true\n");
    let output = home.bryo(&["run", "--explain", "--name", "x", BUSYBOX, "true"]);
    output.code(125);
    for part in
        ["non-root", "holds", "the program is nonroot (65532)", "sbom-present", "broken", "build it with --sbom"]
    {
        assert!(output.text().contains(part), "no {part:?} in {}", output.text());
    }
    assert_eq!(home.bryo(&["ps", "-aq"]).ok(), "");
    let found = check(&home, &[BUSYBOX]);
    let expected = [("non-root", "holds"), ("pod-security", "holds"), ("sbom-present", "broken")];
    assert_eq!(answers(&found[0]), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    home.bryo(&["policy", "check", BUSYBOX]).code(1);
    let relaxed = home.bryo(&["run", "--explain", "--cap-add", "sys_admin", "--user", "root", BUSYBOX, "true"]).text();
    assert!(relaxed.contains("restricted: BRYO-"), "{relaxed}");
}

#[test]
fn running_containers_are_told_that_no_longer_hold() {
    for user in User::all() {
        let home = home(&user);
        let flags = ["--writable", "--user", "root", BUSYBOX, "sleep", "300"];
        let (good, bad) = (Detached::run(&home, "policy-good", &flags), Detached::run(&home, "policy-bad", &flags));
        let file = home.write("drift.toml", "no-drift = true\n").display().to_string();
        home.bryo(&["--policy", &file, "policy", "check", "--all"]).ok();
        good.exec(&["sh", "-c", "echo data > /var/data"]).ok();
        bad.exec(&["sh", "-c", "echo '#!/bin/sh' > /usr/bin/evil; chmod 755 /usr/bin/evil"]).ok();
        let output = home.bryo(&["--policy", &file, "policy", "check", "--all", "--explain"]);
        output.code(1);
        let line = |name: &str| output.text().lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("policy-good").contains("holds"), "{}", output.text());
        assert!(line("policy-bad").contains("executable /usr/bin/evil added"), "{}", output.text());
        // A container that ended does not go on either.
        home.bryo(&["stop", "-t", "0", "policy-bad"]).ok();
        home.bryo(&["--policy", &file, "start", "policy-bad"]).fails(1, &["no-drift: executable /usr/bin/evil"]);
    }
}

#[test]
fn a_container_is_not_started_again_once_a_rule_forbids_it() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let flags = ["--restart", "on-failure:3", "--user", "root", BUSYBOX, "sh", "-c", "sleep 2; exit 3"];
    let container = Detached::run(&home, "policy-again", &flags);
    home.write(MINE, "non-root = true\n");
    let state = || home.bryo(&["inspect", "policy-again"]).json()[0]["State"].clone();
    let begun = Instant::now();
    while state()["Status"] != "exited" && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let state = state();
    assert!(state["Error"].as_str().unwrap().contains("non-root"), "{state}");
    drop(container);
}

const STATUS: &str = "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.11-1\n\
    Source: openssl\n";
const OSV: &str = r#"{"id":"DSA-1","modified":"@DATE@","published":"@DATE@","aliases":["CVE-2024-1"],"summary":"bad",
    "database_specific":{"severity":"HIGH"},"affected":[{"package":{"ecosystem":"Debian:12","name":"openssl"},
    "ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.0.11-2"}]}]}]}"#;

#[test]
fn flaws_count_by_severity_age_and_knowledge() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    load(&home, "localhost/app:1", vec![busybox_layer(), debian_layer(STATUS)]);
    let rule = |more: &str| home.write(MINE, format!("[vulnerabilities]\nseverity = \"high\"\n{more}"));
    let run = || home.bryo(&["run", "--rm", "localhost/app:1", "true"]);
    let advise = |date: &str| {
        let from = format!("osv:Debian:12={}", home.write("osv.json", OSV.replace("@DATE@", date)).display());
        home.bryo(&["advisories", "update", "--from", &from]).ok();
    };
    rule("");
    run().fails(125, &["policy.toml:1: vulnerabilities: there are no advisories for 1 package of deb (libssl3)"]);
    rule("unknown-packages = \"accept\"\n");
    run().ok();
    rule("");
    advise("2020-01-01T00:00:00Z");
    run().fails(125, &["vulnerabilities: the advisories for Debian:12 are", "days old", "bryo advisories update"]);
    rule("stale = \"accept\"\n");
    run().fails(125, &["libssl3 3.0.11-1 has CVE-2024-1 (high)", "3.0.11-2"]);
    // Known for a day: within the grace.
    let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(30);
    advise(&jiff::Timestamp::from_second(yesterday.as_second()).unwrap().to_string());
    rule("grace-days = 14\n");
    run().ok();
    rule("grace-days = 1\n");
    run().fails(125, &["CVE-2024-1"]);
    home.write(MINE, "[vulnerabilities]\nseverity = \"critical\"\n");
    run().ok();
}

#[test]
fn an_image_with_a_bill_of_materials_may_start() {
    let Some(user) = User::with_range() else { return };
    let home = home(&user);
    let dockerfile = home.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN true\n"));
    let context = dockerfile.parent().unwrap().to_str().unwrap().to_owned();
    home.bryo(&["build", "-q", "--sbom", "--provenance", "-t", "localhost/listed", &context]).ok();
    home.write(MINE, "sbom-present = true\n");
    home.bryo(&["run", "--rm", "localhost/listed", "true"]).ok();
    home.bryo(&["run", "--rm", BUSYBOX, "true"]).fails(125, &["sbom-present: no bill of materials"]);
    home.bryo(&["run", "--rm", "host:", "true"]).fails(125, &["sbom-present"]);
    // The collection keeps it.
    home.bryo(&["system", "prune", "-f"]).ok();
    home.bryo(&["run", "--rm", "localhost/listed", "true"]).ok();
    let explained = home.bryo(&["policy", "check", "--explain", "localhost/listed"]).ok();
    assert!(explained.contains("a bill of materials (SPDX) is attached"), "{explained}");

    // A registry has it beside the image, and who is asked for it fetches it.
    let Some(registry) = Registry::start(false) else { return };
    let (target, other) = (format!("{}/listed:1", registry.host), Home::new(&user));
    home.bryo(&["push", "-q", "--tls-verify=false", "localhost/listed", &target]).ok();
    let pull = || other.bryo(&["pull", "-q", "--tls-verify=false", &target]).ok();
    let run = || other.bryo(&["run", "--rm", &target, "true"]);
    pull();
    other.write(MINE, "sbom-present = true\n");
    run().fails(125, &["sbom-present: no bill of materials", "pull it anew"]);
    pull();
    run().ok();
    // One that has none has none anew either.
    let bare = format!("{}/bare:1", registry.host);
    home.bryo(&["push", "-q", "--tls-verify=false", BUSYBOX, &bare]).ok();
    other.bryo(&["pull", "-q", "--tls-verify=false", &bare]).ok();
    other.bryo(&["run", "--rm", &bare, "true"]).fails(125, &["sbom-present: no bill of materials"]);
}

/// A key on P-256, as `cosign generate-key-pair` makes it, and what it signs.
struct Owner<'h> {
    home: &'h Home,
    name: &'static str,
}

impl<'h> Owner<'h> {
    fn new(home: &'h Home, name: &'static str) -> Self {
        let owner = Self { home, name };
        let (key, public) = (owner.path("key"), owner.path("pub"));
        home.tool_as_owner("openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key]);
        home.tool_as_owner("openssl", &["ec", "-in", &key, "-pubout", "-out", &public]);
        owner
    }

    fn path(&self, end: &str) -> String {
        self.home.path.join(format!("{}.{end}", self.name)).display().to_string()
    }

    /// Returns what is signed, and the signature in base64.
    fn sign(&self, repository: &str, digest: &str) -> (String, String) {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": repository},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let file = self.home.write("payload.json", payload.to_string()).display().to_string();
        let out = self.path("sig");
        self.home.tool_as_owner("openssl", &["dgst", "-sha256", "-sign", &self.path("key"), "-out", &out, &file]);
        self.home.tool_as_owner("chmod", &["a+r", &out]);
        (payload.to_string(), STANDARD.encode(std::fs::read(out).unwrap()))
    }

    /// Writes what `cosign download signature` prints.
    fn document(&self, repository: &str, digest: &str) -> String {
        let (payload, signature) = self.sign(repository, digest);
        let line =
            json!({"Base64Signature": signature, "Payload": STANDARD.encode(payload), "Cert": null, "Chain": null});
        self.home.write(&format!("{}.sig.json", self.name), line.to_string()).display().to_string()
    }
}

fn demand(home: &Home, scope: &str, owner: &Owner<'_>) {
    home.write(MINE, format!("[signed.\"{scope}\"]\nkeys = [\"{}\"]\n", owner.path("pub")));
}

#[test]
fn an_image_starts_only_if_the_right_key_has_signed_it() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let (owner, other) = (Owner::new(&home, "owner"), Owner::new(&home, "other"));
    demand(&home, "default", &owner);
    let run = || home.bryo(&["run", "--rm", BUSYBOX, "true"]);
    run().fails(125, &["policy.toml:1: signed: there is no signature here", "owner.pub should have signed it"]);
    let file = home.path.join("image.tar").display().to_string();
    home.bryo(&["save", "--format", "oci-archive", "-o", &file, BUSYBOX]).ok();
    let digest = home.bryo(&["images", "--digests", "--no-trunc", "--format", "{{.Digest}}", BUSYBOX]).ok();
    let source = format!("oci-archive:{file}");
    let keep = |document: &str| home.bryo(&["pull", "-q", "--signature", document, &source]).ok();
    let repository = BUSYBOX.split(':').next().unwrap();

    keep(&other.document(repository, &digest));
    run().fails(125, &["signed: no signature here is good: not by the owner of"]);
    keep(&owner.document("localhost/other", &digest));
    run().fails(125, &["signed: no signature here is good"]);
    keep(&owner.document(repository, &format!("sha256:{}", "0".repeat(64))));
    run().fails(125, &["signed: no signature here is good"]);
    keep(&owner.document(repository, &digest));
    run().ok();
    let explained = home.bryo(&["policy", "check", "--explain", BUSYBOX]).ok();
    assert!(explained.contains("signed by the owner of"), "{explained}");
    // Another key is asked for, or none can be read.
    demand(&home, "localhost", &other);
    run().ok();
    std::fs::remove_file(other.path("sig.json")).unwrap();
    home.write(MINE, "[signed.default]\nkeys = [\"/nonexistent/key.pub\"]\n");
    run().fails(125, &["/nonexistent/key.pub"]);
    // A scope that says more decides.
    home.write(MINE, format!("[signed.default]\nrefuse = true\n[signed.\"{repository}\"]\naccept = true\n"));
    run().ok();
    home.write(MINE, "[signed.default]\nrefuse = true\n");
    run().fails(125, &["\"default\" is refused"]);
    home.bryo(&["run", "--rm", "host:", "true"]).fails(125, &["nobody can have signed it"]);
}

/// A bundle that somebody has published, without a key, and who that was.
const BUNDLE: &str = include_str!("../../../bryo-signature/tests/data/blob.sigstore.json");
const ROOT: &str = include_str!("../../../bryo-signature/tests/data/trusted_root.json");

/// That a bundle of the right thing is good, tests of the engine show by the same file.
#[test]
fn a_keyless_bundle_of_something_else_lets_no_image_start() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let (root, bundle) = (home.write("root.json", ROOT), home.write("bundle.json", BUNDLE).display().to_string());
    let file = home.path.join("image.tar").display().to_string();
    home.bryo(&["save", "--format", "oci-archive", "-o", &file, BUSYBOX]).ok();
    let demand = |root: &Path| {
        let root = root.display();
        let who = "identity = \"w.vollprecht@gmail.com\"\nissuer = \"https://github.com/login/oauth\"";
        home.write(MINE, format!("[signed.default]\n{who}\ntrusted-root = \"{root}\"\n"));
    };
    demand(&root);
    let run = || home.bryo(&["run", "--rm", BUSYBOX, "true"]);
    run().fails(125, &["signed: there is no signature here", "w.vollprecht@gmail.com", "should have signed it"]);
    home.bryo(&["pull", "-q", "--signature", &bundle, &format!("oci-archive:{file}")]).ok();
    run().fails(125, &["signed: no signature here is good: not by w.vollprecht@gmail.com"]);
    demand(Path::new("/nonexistent/root.json"));
    run().fails(125, &["signed: ", "/nonexistent/root.json"]);
}

/// Writes a signature as Cosign stores it: an image whose layer is what is signed.
fn signature_layout(dir: &Path, payload: &str, signature: &str) {
    let put = |text: &str| {
        let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(dir.join("blobs/sha256").join(&hex), text).unwrap();
        (format!("sha256:{hex}"), text.len())
    };
    std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let (layer, layer_size) = put(payload);
    let config = json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer]}});
    let (config, config_size) = put(&config.to_string());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": layer, "size": layer_size,
            "annotations": {"dev.cosignproject.cosign/signature": signature},
        }],
    });
    let (manifest, size) = put(&manifest.to_string());
    let entry = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": size});
    std::fs::write(dir.join("index.json"), json!({"schemaVersion": 2, "manifests": [entry]}).to_string()).unwrap();
}

#[test]
fn a_pull_brings_the_signatures_that_the_policy_asks_for() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    let home = home(&user);
    let owner = Owner::new(&home, "owner");
    let repository = format!("{}/signed", registry.host);
    let target = format!("{repository}:1");
    let digest = home.bryo(&["push", "-q", "--tls-verify=false", BUSYBOX, &target]).ok();
    let other = Home::new(&user);
    other.write(MINE, format!("[signed.default]\nkeys = [\"{}\"]\n", owner.path("pub")));
    home.tool_as_owner("chmod", &["-R", "a+rX", &home.path.display().to_string()]);
    other.bryo(&["pull", "-q", "--tls-verify=false", &target]).ok();
    other.bryo(&["run", "--rm", &target, "true"]).fails(125, &["there is no signature here"]);

    let (payload, signature) = owner.sign(&repository, &digest);
    let layout = tempfile::tempdir().unwrap();
    signature_layout(layout.path(), &payload, &signature);
    let tag = format!("docker://{repository}:{}.sig", digest.replace(':', "-"));
    let source = format!("oci:{}", layout.path().display());
    let copied = std::process::Command::new("skopeo").args(["copy", "--dest-tls-verify=false", &source, &tag]).output();
    let copied = copied.unwrap();
    assert!(copied.status.success(), "{copied:?}");
    other.bryo(&["pull", "-q", "--tls-verify=false", &target]).ok();
    other.bryo(&["run", "--rm", &target, "true"]).ok();
    // Under another name it is not what was signed.
    other.bryo(&["tag", &target, "localhost/else:1"]).ok();
    other.bryo(&["run", "--rm", "localhost/else:1", "true"]).fails(125, &["signed as"]);
}
