// SPDX-License-Identifier: Apache-2.0
//! Registries that lie: each time there is one clear error, and nothing is left.

use bryo_image::{Digest, Kind};
use serde_json::{Value, json};

use super::fixture::{
    Blob, Fixture, INDEX, MANIFEST, Made, archive, host_arch, image, index_entry, nested_index, three_layers,
};
use super::servers::{Registry, Reply, Server, Setup};

crate::common::tests![
    an_unknown_image_is_not_found,
    wrong_bytes_are_refused,
    a_shorter_blob_is_refused,
    a_longer_blob_is_refused,
    a_wrong_manifest_is_refused,
    a_wrong_configuration_is_refused,
    a_wrong_diff_id_is_refused,
    a_document_with_two_meanings_is_refused,
    odd_media_types_are_refused,
    malformed_digests_are_refused,
    endless_documents_are_refused,
    a_deep_index_is_refused,
    a_layer_over_the_limit_is_not_fetched,
    a_truncated_archive_is_refused,
];

/// Pulls, expects an error of this kind, and that nothing is left.
fn refused(fixture: &mut Fixture, server: &Server, kind: Kind) -> String {
    fixture.allow(&server.authority);
    let error = fixture.pull(&format!("{}/app", server.authority)).unwrap_err();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    assert_eq!(error.kind(), kind, "{text}");
    assert!(fixture.store.images().unwrap().is_empty());
    assert!(fixture.layers().iter().all(|name| !name.starts_with('.')), "{:?}", fixture.layers());
    assert_eq!(fixture.partials(), Vec::<String>::new());
    text
}

fn an_unknown_image_is_not_found() {
    let mut fixture = Fixture::new();
    let registry = Registry::start(fixture.dir.path(), &Setup::default());
    fixture.allow(&registry.authority);
    let error = fixture.pull(&format!("{}/no/such:image", registry.authority)).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    fixture.assert_nothing_left();
    assert!(fixture.blobs().is_empty());
}

fn wrong_bytes_are_refused() {
    let mut fixture = Fixture::new();
    let made = image(&[archive("a", "first", 600_000)], host_arch());
    let server = Server::of(&made, vec![], |_, _, mut reply| {
        if reply.body.len() > 10_000 {
            let last = reply.body.len() - 1;
            reply.body[last / 2] ^= 1;
        }
        reply
    });
    let text = refused(&mut fixture, &server, Kind::DigestMismatch);
    assert!(text.contains(made.layers[0].digest.as_str()), "{text}");
    fixture.assert_nothing_left();
    assert!(fixture.blobs().is_empty());
}

fn a_shorter_blob_is_refused() {
    wrong_length(-1);
}

fn a_longer_blob_is_refused() {
    wrong_length(1);
}

fn wrong_length(change: isize) {
    let mut fixture = Fixture::new();
    let made = image(&[archive("a", "first", 60_000)], host_arch());
    let server = Server::of(&made, vec![], move |_, _, mut reply| {
        if reply.body.len() > 10_000 {
            let len = reply.body.len().checked_add_signed(change).unwrap();
            reply.body.resize(len, 0);
        }
        reply
    });
    refused(&mut fixture, &server, Kind::DigestMismatch);
    fixture.assert_nothing_left();
}

fn a_wrong_manifest_is_refused() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let claimed = Digest::sha256_of(b"other");
    let server = Server::of(&made, vec![], move |seen, _, reply| match seen.path.contains("/manifests/") {
        true => reply.with("Docker-Content-Digest", claimed.as_str()),
        false => reply,
    });
    refused(&mut fixture, &server, Kind::DigestMismatch);
}

fn a_wrong_configuration_is_refused() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let digest = made.config.digest.to_string();
    let server = Server::of(&made, vec![], move |seen, _, mut reply| {
        if seen.path.ends_with(&digest) {
            reply.body[0] = b' ';
        }
        reply
    });
    refused(&mut fixture, &server, Kind::DigestMismatch);
    assert!(fixture.blobs().is_empty());
}

fn a_wrong_diff_id_is_refused() {
    let mut fixture = Fixture::new();
    let mut made = image(&[archive("a", "first", 1000)], host_arch());
    let mut config: Value = serde_json::from_slice(&made.config.bytes).unwrap();
    config["rootfs"]["diff_ids"][0] = json!(Digest::sha256_of(b"a victim's layer"));
    replace_config(&mut made, &config);
    let server = Server::of(&made, vec![], |_, _, reply| reply);
    refused(&mut fixture, &server, Kind::DigestMismatch);
    fixture.assert_nothing_left();
}

fn replace_config(made: &mut Made, config: &Value) {
    made.config = Blob::new(serde_json::to_vec(config).unwrap());
    change_manifest(made, |manifest, config| {
        manifest["config"]["digest"] = json!(config.digest);
        manifest["config"]["size"] = json!(config.bytes.len());
    });
}

fn change_manifest(made: &mut Made, change: impl FnOnce(&mut Value, &Blob)) {
    let mut manifest: Value = serde_json::from_slice(&made.manifest.bytes).unwrap();
    change(&mut manifest, &made.config);
    made.manifest = Blob::new(serde_json::to_vec(&manifest).unwrap());
}

fn a_document_with_two_meanings_is_refused() {
    let mut fixture = Fixture::new();
    let mut made = three_layers();
    change_manifest(&mut made, |manifest, _| manifest["manifests"] = json!([]));
    for media_type in [MANIFEST, INDEX] {
        let bytes = made.manifest.bytes.clone();
        let server = Server::start(move |seen, _| match seen.path.contains("/manifests/") {
            true => Reply::new(200).body(media_type, &bytes),
            false => Reply::new(200),
        });
        refused(&mut fixture, &server, Kind::Corrupt);
    }
}

fn odd_media_types_are_refused() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    for media_type in ["application/json", "application/vnd.docker.distribution.manifest.v1+prettyjws", "text/html"] {
        let bytes = made.manifest.bytes.clone();
        let server = Server::start(move |_, _| Reply::new(200).body(media_type, &bytes));
        refused(&mut fixture, &server, Kind::UnsupportedMedia);
    }
    let mut artifact = made.clone();
    change_manifest(&mut artifact, |manifest, _| {
        manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    });
    refused(&mut fixture, &Server::of(&artifact, vec![], |_, _, reply| reply), Kind::UnsupportedMedia);
    let mut layer = made;
    change_manifest(&mut layer, |manifest, _| manifest["layers"][0]["mediaType"] = json!("text/plain"));
    refused(&mut fixture, &Server::of(&layer, vec![], |_, _, reply| reply), Kind::UnsupportedMedia);
    assert!(fixture.blobs().is_empty());
}

fn malformed_digests_are_refused() {
    let mut fixture = Fixture::new();
    for digest in ["sha256:../../../../x", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:ABC", ""] {
        let mut made = three_layers();
        change_manifest(&mut made, |manifest, _| manifest["layers"][0]["digest"] = json!(digest));
        let server = Server::of(&made, vec![], |_, _, reply| reply);
        fixture.allow(&server.authority);
        let error = fixture.pull(&format!("{}/app", server.authority)).unwrap_err();
        assert!(matches!(error.kind(), Kind::InvalidDigest | Kind::Corrupt), "{digest:?}: {error:?}");
    }
    fixture.assert_nothing_left();
    assert!(fixture.blobs().is_empty());
}

fn endless_documents_are_refused() {
    let mut fixture = Fixture::new();
    let huge = vec![b' '; 5 << 20];
    let server = Server::start(move |_, _| Reply::new(200).body(MANIFEST, &huge));
    refused(&mut fixture, &server, Kind::Limit);
    let mut made = three_layers();
    change_manifest(&mut made, |manifest, _| manifest["config"]["size"] = json!(1_u64 << 40));
    refused(&mut fixture, &Server::of(&made, vec![], |_, _, reply| reply), Kind::Limit);
    let mut many = three_layers();
    change_manifest(&mut many, |manifest, _| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"] = json!(vec![layer; 501]);
    });
    refused(&mut fixture, &Server::of(&many, vec![], |_, _, reply| reply), Kind::Limit);
}

fn a_deep_index_is_refused() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let mut levels = vec![super::fixture::index(&[(&made, host_arch())])];
    for _ in 0..4 {
        let inner = index_entry(levels.last().unwrap());
        levels.push(nested_index(&[inner]));
    }
    refused(&mut fixture, &Server::of(&made, levels, |_, _, reply| reply), Kind::Limit);
}

fn a_layer_over_the_limit_is_not_fetched() {
    let mut fixture = Fixture::new();
    fixture.options.limits.compressed = 100_000;
    let made = three_layers();
    let server = Server::of(&made, vec![], |_, _, reply| reply);
    refused(&mut fixture, &server, Kind::Limit);
    assert!(server.ranges(made.layers[0].digest.as_str()).is_empty());
}

fn a_truncated_archive_is_refused() {
    let mut fixture = Fixture::new();
    let mut tar = archive("a", "first", 100_000);
    tar.truncate(60_000);
    let made = image(&[tar], host_arch());
    let server = Server::of(&made, vec![], |_, _, reply| reply);
    refused(&mut fixture, &server, Kind::Corrupt);
    fixture.assert_nothing_left();
}
