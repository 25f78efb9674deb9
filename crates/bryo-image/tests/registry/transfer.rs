// SPDX-License-Identifier: Apache-2.0
//! Pull and push as they should go.

use std::process::Command;

use bryo_image::Kind;
use bryo_image::push::{PushOptions, push};
use bryo_image::reference::Reference;
use serde_json::Value;

use super::fixture::{Fixture, archive, host_arch, image, index, index_entry, nested_index, three_layers};
use super::servers::{Registry, Reply, Server, Setup};

crate::common::tests![
    a_pulled_image_is_whole_and_not_fetched_twice,
    a_missing_tree_is_unpacked_from_the_stored_blob,
    a_platform_is_chosen_from_an_index,
    an_image_for_another_platform_is_refused,
    an_image_is_found_by_digest,
    a_pushed_image_is_the_same_image,
    mirrors_are_asked_first,
    a_bad_mirror_does_not_matter,
];

fn a_pulled_image_is_whole_and_not_fetched_twice() {
    let mut fixture = Fixture::new();
    let registry = Registry::start(fixture.dir.path(), &Setup::default());
    fixture.allow(&registry.authority);
    let made = three_layers();
    registry.put(&made, "some/app:v1", None);
    let name = format!("{}/some/app:v1", registry.authority);
    let image = fixture.pull(&name).unwrap();
    fixture.assert_whole(&image, &made);
    assert_eq!(image.reference.as_deref(), Some(name.as_str()));
    let mut log = fixture.log.take();
    assert_eq!(log.remove(0), "resolved 3");
    assert_eq!(log.pop().unwrap(), "finished");
    log.sort();
    assert_eq!(log, ["done", "done", "done", "start 0", "start 0", "start 0", "verified", "verified", "verified"]);

    let again = fixture.pull(&name).unwrap();
    fixture.assert_whole(&again, &made);
    assert_eq!(fixture.log.take(), ["resolved 3", "exists", "exists", "exists", "finished"]);
    assert_eq!(fixture.store.images().unwrap().len(), 1);
}

fn a_missing_tree_is_unpacked_from_the_stored_blob() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let server = Server::of(&made, vec![], |_, _, reply| reply);
    fixture.allow(&server.authority);
    let name = format!("{}/app", server.authority);
    let image = fixture.pull(&name).unwrap();
    let tree = fixture.store.layer_dir(fixture.worker.ownership_key(), &image.layers[0].diff_id);
    std::fs::rename(&tree, fixture.path("away")).unwrap();
    let image = fixture.pull(&name).unwrap();
    fixture.assert_whole(&image, &made);
    assert_eq!(server.ranges(&format!("blobs/{}", made.layers[0].digest)), ["all"]);
}

fn a_platform_is_chosen_from_an_index() {
    let mut fixture = Fixture::new();
    let (ours, other) =
        (image(&[archive("a", "first", 10)], host_arch()), image(&[archive("a", "first", 11)], "s390x"));
    let inner = index(&[(&other, "s390x"), (&ours, host_arch())]);
    let outer = nested_index(&[index_entry(&inner)]);
    let more: Vec<_> = ours.blobs().cloned().chain([inner, outer.clone()]).collect();
    let server = Server::of(&other, more, |_, _, reply| reply);
    fixture.allow(&server.authority);
    let name = format!("{}/app", server.authority);
    let image = fixture.pull(&name).unwrap();
    fixture.assert_whole(&image, &ours);
    // Found by the digest that the registry shows, too.
    assert!(fixture.store.find(&format!("{}@{}", name, outer.digest)).is_ok());

    fixture.options.platform = Some("linux/s390x".parse().unwrap());
    let image = fixture.pull(&name).unwrap();
    assert_eq!(image.manifest_digest, other.manifest.digest);

    fixture.options.platform = Some("linux/riscv64".parse().unwrap());
    assert_eq!(fixture.pull(&name).unwrap_err().kind(), Kind::Platform);
}

fn an_image_for_another_platform_is_refused() {
    let mut fixture = Fixture::new();
    let server = Server::of(&image(&[archive("a", "first", 10)], "s390x"), vec![], |_, _, reply| reply);
    fixture.allow(&server.authority);
    let error = fixture.pull(&format!("{}/app", server.authority)).unwrap_err();
    assert_eq!(error.kind(), Kind::Platform);
    fixture.assert_nothing_left();
    assert!(fixture.blobs().is_empty());
}

fn an_image_is_found_by_digest() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let server = Server::of(&made, vec![], |_, _, reply| reply);
    fixture.allow(&server.authority);
    let image = fixture.pull(&format!("{}/app:v1@{}", server.authority, made.manifest.digest)).unwrap();
    fixture.assert_whole(&image, &made);
    assert!(server.seen().iter().all(|seen| !seen.path.ends_with("/v1")));
}

fn a_pushed_image_is_the_same_image() {
    let mut fixture = Fixture::new();
    let registry = Registry::start(fixture.dir.path(), &Setup { login: Some(("u", "p:w")), ..Setup::default() });
    fixture.allow(&registry.authority);
    let made = three_layers();
    let source = Server::of(&made, vec![], |_, _, reply| reply);
    fixture.allow(&source.authority);
    let image = fixture.pull(&format!("{}/app", source.authority)).unwrap();
    let record = fixture.store.find(image.reference.as_deref().unwrap()).unwrap();
    let target: Reference = format!("{}/copy/of:it", registry.authority).parse().unwrap();
    let mut options = PushOptions { registry: fixture.options.registry.clone(), ..PushOptions::default() };
    let refused = push(&fixture.store, &record, &target, &options, &fixture.log).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unauthorized);

    let auth = fixture.path("auth.json");
    std::fs::write(&auth, format!(r#"{{"auths":{{"{}":{{"auth":"dTpwOnc="}}}}}}"#, registry.authority)).unwrap();
    options.registry.auth.files = vec![auth];
    fixture.log.take();
    let digest = push(&fixture.store, &record, &target, &options, &fixture.log).unwrap();
    assert_eq!(digest, made.manifest.digest);
    assert_eq!(fixture.log.take().iter().filter(|line| *line == "done").count(), 3);
    push(&fixture.store, &record, &target, &options, &fixture.log).unwrap();
    assert_eq!(fixture.log.take().iter().filter(|line| *line == "exists").count(), 3);

    let output = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--creds", "u:p:w"])
        .arg(format!("docker://{target}"))
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["Digest"], made.manifest.digest.to_string());
}

fn mirrors_are_asked_first() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let server = Server::of(&made, vec![], |_, _, reply| reply);
    fixture.allow(&server.authority);
    let mirror = format!("{}/cache", server.authority);
    fixture.options.registry.mirrors.insert("registry.invalid".into(), vec![mirror]);
    let image = fixture.pull("registry.invalid/app").unwrap();
    fixture.assert_whole(&image, &made);
    assert_eq!(image.reference.as_deref(), Some("registry.invalid/app:latest"));
    assert!(server.seen().iter().any(|seen| seen.path == "/v2/cache/app/manifests/latest"));
}

fn a_bad_mirror_does_not_matter() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let origin = Server::of(&made, vec![], |_, _, reply| reply);
    let broken = Server::start(|_, _| Reply::new(500));
    // Right manifest, wrong layers of the right size.
    let liar = Server::of(&made, vec![], |seen, _, mut reply| {
        if seen.path.contains("/blobs/") && reply.body.len() > 2000 {
            reply.body.fill(0);
        }
        reply
    });
    for server in [&origin, &broken, &liar] {
        fixture.allow(&server.authority);
    }
    let mirrors = vec![broken.authority.clone(), liar.authority.clone()];
    fixture.options.registry.mirrors.insert(origin.authority.clone(), mirrors);
    let image = fixture.pull(&format!("{}/app", origin.authority)).unwrap();
    fixture.assert_whole(&image, &made);
    assert!(!origin.ranges("/blobs/").is_empty());
}
