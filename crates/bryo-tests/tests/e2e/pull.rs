// SPDX-License-Identifier: Apache-2.0
//! Pulling from and pushing to a real registry: with and without a login, over a network that breaks, with wrong bytes.

use std::fs;
use std::process::Command;

use bryo_tests::images::{self, path};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::listing::Snapshot;
use bryo_tests::program::tool;
use bryo_tests::proxy::Proxy;
use bryo_tests::pty::Terminal;
use bryo_tests::registry::{LOGIN, Registry};
use bryo_tests::tar::Tar;
use bryo_tests::{Home, User};
use serde_json::json;

const INSECURE: &str = "--tls-verify=false";

/// The login of the tests' registry as auth files hold it: base64 of `user:password`.
fn auth_file(host: &str) -> String {
    let (user, password) = LOGIN;
    let script = format!("printf %s '{user}:{password}' | base64 -w0");
    let encoded = tool("sh", &["-c", &script]);
    json!({"auths": {host: {"auth": encoded}}}).to_string()
}

#[test]
fn an_image_is_pulled_and_runs() {
    for user in User::all() {
        let Some(registry) = Registry::start(false) else { return };
        let name = registry.put(&images::busybox(), "library/busybox:1");
        let home = Home::new(&user);
        let output = home.bryo(&["pull", INSECURE, &name]);
        output.ok();
        // Not a terminal: whole lines, no control characters.
        assert!(!output.stderr.contains('\u{1b}') && !output.stderr.contains('\r'), "{output}");
        assert_eq!(home.run(&[&name, "echo", "here"]).ok(), "here");
        assert!(home.bryo(&["images"]).ok().contains(&registry.host));
        // A second pull finds everything there.
        home.bryo(&["pull", INSECURE, &name]).ok();
    }
}

#[test]
fn quiet_prints_the_image_and_nothing_else() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    let name = registry.put(&images::busybox(), "busybox:1");
    let home = Home::new(&user);
    let output = home.bryo(&["pull", "-q", INSECURE, &name]);
    assert_eq!(output.ok().lines().count(), 1, "{output}");
    assert_eq!(output.stderr, "");
}

#[test]
fn run_pulls_what_is_missing() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    let name = registry.put(&images::busybox(), "busybox:1");
    let home = Home::new(&user);
    home.run(&["--pull", "never", &name, "true"]).fails(125, &[&name]);
    home.write(".config/bryo/config.toml", format!("[registries]\ninsecure = [\"{}\"]\n", registry.host));
    assert_eq!(home.run(&[&name, "echo", "pulled"]).ok(), "pulled");
}

#[test]
fn plain_http_needs_the_exact_word() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    let name = registry.put(&images::busybox(), "busybox:1");
    let home = Home::new(&user);
    home.bryo(&["pull", &name]).fails(125, &[&registry.host, "tls"]);
}

#[test]
fn a_terminal_gets_a_bar_for_each_layer() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    let name = registry.put(&images::probe(), "probe:1");
    let home = Home::new(&user);
    let mut tty = Terminal::start(&home.command(&["pull", INSECURE, &name]));
    assert_eq!(tty.wait().code(), Some(0), "{}", tty.screen());
    assert!(tty.screen().contains('\u{1b}'), "{}", tty.screen());
}

#[test]
fn a_login_is_taken_from_dockers_and_podmans_files() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(true)) else { return };
    let name = registry.put(&images::busybox(), "private/busybox:1");
    for file in [".docker/config.json", "run/containers/auth.json", ".config/containers/auth.json"] {
        let home = Home::new(&user);
        let refused = home.bryo(&["pull", INSECURE, &name]);
        refused.fails(125, &[&registry.host]);
        home.write(file, auth_file(&registry.host));
        home.bryo(&["pull", INSECURE, &name]).ok();
        assert_eq!(home.run(&[&name, "echo", "in"]).ok(), "in", "{file}");
    }
}

#[test]
fn a_wrong_password_is_an_error_that_does_not_show_it() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(true)) else { return };
    let name = registry.put(&images::busybox(), "private/busybox:1");
    let home = Home::new(&user);
    let wrong = json!({"auths": {registry.host.as_str(): {"username": "alice", "password": "wr0ng-secret"}}});
    home.write(".docker/config.json", wrong.to_string());
    let output = home.bryo(&["pull", INSECURE, &name]);
    assert!(!output.fails(125, &[&registry.host]).contains("wr0ng-secret"), "{output}");
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    // Noise does not compress, so the layer is as long on the wire as it is here.
    let noise: Vec<u8> =
        (0_u64..1 << 20).flat_map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).to_le_bytes()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    let layers = vec![busybox_layer(), Tar::default().file("noise", 0o644, &noise).finish()];
    Image::new("big", layers, json!({"Env": [path()]})).archive(file.path());
    registry.put(file.path(), "big:1");
    let proxy = Proxy::start(&registry.host, 2, 1 << 20);
    let home = Home::new(&user);
    home.bryo(&["pull", INSECURE, &format!("{}/big:1", proxy.host)]).ok();
    assert_eq!(proxy.cuts_left(), 0, "the connection was never cut");
    assert!(proxy.requests().contains("range: bytes="), "it began again from the start");
    let seen = home.run(&[&format!("{}/big:1", proxy.host), "sha256sum", "/noise"]).ok();
    assert!(seen.starts_with(&bryo_tests::listing::digest_of(&noise)), "{seen}");
}

#[test]
fn a_wrong_digest_is_an_error_and_nothing_stays() {
    for user in User::all() {
        let Some(registry) = Registry::start(false) else { return };
        let name = registry.put(&images::busybox(), "busybox:1");
        let digest = registry.manifest(&name)["layers"][0]["digest"].as_str().unwrap().to_owned();
        let blob = registry.blob(&digest);
        let mut bytes = fs::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&blob, &bytes).unwrap();
        let home = Home::alone(&user);
        home.make_store();
        let before = Snapshot::take(&home);
        home.bryo(&["pull", INSECURE, &name]).fails(125, &["digest", &digest[7..19]]);
        assert!(!home.bryo(&["images"]).ok().contains(&registry.host));
        before.assert_nothing_left(&home);
    }
}

#[test]
fn a_digest_in_the_name_pins_the_manifest() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    let name = registry.put(&images::busybox(), "busybox:1");
    let bare = name.strip_suffix(":1").unwrap();
    let raw =
        tool("skopeo", &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{name}")]);
    let home = Home::new(&user);
    home.bryo(&["pull", INSECURE, &format!("{bare}@{raw}")]).ok();
    let other = format!("{bare}@sha256:{}", "0".repeat(64));
    home.bryo(&["pull", INSECURE, &other]).fails(125, &["000000"]);
}

#[test]
fn the_platform_is_chosen_from_an_index() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut manifests = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let marker = Tar::default().file("which", 0o644, architecture.as_bytes()).finish();
        let mut image = Image::new("multi", vec![busybox_layer(), marker], json!({"Env": [path()]}));
        image.architecture = architecture.to_owned();
        image.write(dir.path());
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.path().join("index.json")).unwrap()).unwrap();
        let mut manifest = index["manifests"][0].clone();
        manifest["annotations"] = json!({});
        manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
        manifests.push(manifest);
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let inner = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).to_string();
    let digest = bryo_tests::listing::digest_of(inner.as_bytes());
    fs::write(dir.path().join("blobs/sha256").join(&digest), &inner).unwrap();
    let outer = json!({"schemaVersion": 2, "manifests": [{"mediaType": kind, "digest": format!("sha256:{digest}"),
        "size": inner.len(), "annotations": {"org.opencontainers.image.ref.name": "multi"}}]});
    fs::write(dir.path().join("index.json"), outer.to_string()).unwrap();
    let (source, target) = (format!("oci:{}:multi", dir.path().display()), format!("{}/multi:1", registry.host));
    let docker = format!("docker://{target}");
    tool("skopeo", &["copy", "-q", "--all", "--insecure-policy", "--dest-tls-verify=false", &source, &docker]);
    let home = Home::new(&user);
    home.bryo(&["pull", INSECURE, "--platform", "linux/arm64", &target]).ok();
    let exported = home.path.join("arm.tar");
    home.bryo(&["export", "-o", &exported.display().to_string(), &target]).ok();
    assert_eq!(tool("tar", &["-xOf", exported.to_str().unwrap(), "which"]), "arm64");
    if cfg!(target_arch = "x86_64") {
        home.run(&[&target, "true"]).fails(125, &["arm64", "amd64"]);
        home.bryo(&["pull", INSECURE, &target]).ok();
        assert_eq!(home.run(&[&target, "cat", "/which"]).ok(), "amd64");
    }
    home.bryo(&["pull", INSECURE, "--platform", "linux/s390x", &target]).fails(125, &["s390x"]);
}

#[test]
fn what_was_pushed_is_what_was_pulled() {
    for auth in [false, true] {
        let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(auth)) else { return };
        let name = registry.put(&images::busybox(), "busybox:1");
        let home = Home::new(&user);
        home.write(".docker/config.json", auth_file(&registry.host));
        home.bryo(&["pull", INSECURE, &name]).ok();
        let again = format!("{}/copies/busybox:2", registry.host);
        home.bryo(&["tag", &name, &again]).ok();
        home.bryo(&["push", INSECURE, &again]).ok();
        assert_eq!(registry.manifest(&again), registry.manifest(&name));
    }
}

#[test]
fn every_compression_is_understood() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    let source = format!("oci-archive:{}", images::busybox().display());
    let home = Home::new(&user);
    for format in ["gzip", "zstd"] {
        let target = format!("{}/busybox:{format}", registry.host);
        let docker = format!("docker://{target}");
        let mut command = Command::new("skopeo");
        command.args(["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--dest-compress-format", format]);
        command.args([&source, &docker]);
        bryo_tests::Running::start(command, false).wait().ok();
        home.bryo(&["pull", INSECURE, &target]).ok();
        assert_eq!(home.run(&[&target, "echo", format]).ok(), format);
    }
}

#[test]
fn a_mirror_is_asked_first() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    registry.put(&images::busybox(), "library/busybox:1");
    let home = Home::new(&user);
    let config =
        format!("[registries]\ninsecure = [\"{0}\"]\n[registries.mirrors]\n\"docker.io\" = [\"{0}\"]\n", registry.host);
    home.write(".config/bryo/config.toml", config);
    home.bryo(&["pull", "busybox:1"]).ok();
    assert!(home.bryo(&["images"]).ok().contains("busybox"));
    assert_eq!(home.run(&["busybox:1", "echo", "mirrored"]).ok(), "mirrored");
}
