// SPDX-License-Identifier: Apache-2.0
//! Lines that break and servers that have a bad day.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bryo_image::Kind;
use bryo_image::store::BlobSlot;

use super::fixture::{Fixture, three_layers};
use super::servers::{Reply, Server};

crate::common::tests![
    a_cut_connection_is_continued,
    a_server_without_ranges_is_good_enough,
    a_server_that_refuses_the_range_is_asked_for_all,
    the_next_pull_continues_an_interrupted_one,
    a_rotten_partial_blob_is_fetched_anew,
    busy_servers_are_given_time,
    a_server_that_stays_broken_is_told,
    a_killed_pull_is_continued,
];

/// Where the process to be killed finds its store and its image.
const VICTIM: &str = "BRYO_REGISTRY_VICTIM";

fn a_cut_connection_is_continued() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let server = Server::of(&made, vec![], |seen, before, reply| match seen.path.contains("/blobs/") {
        true if reply.body.len() > 2000 && before < 3 => reply.cut_after(150_000),
        _ => reply,
    });
    fixture.allow(&server.authority);
    let image = fixture.pull(&format!("{}/app", server.authority)).unwrap();
    fixture.assert_whole(&image, &made);
    let ranges = server.ranges(made.layers[0].digest.as_str());
    assert_eq!(ranges, ["all", "bytes=150000-", "bytes=300000-", "bytes=450000-"]);
    let retries = fixture.log.take().into_iter().filter(|line| line.starts_with("retry")).count();
    assert_eq!(retries, 3);
}

fn a_server_without_ranges_is_good_enough() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let all = made.clone();
    let server = Server::of(&made, vec![], move |seen, before, reply| {
        let large = &all.layers[0];
        if !seen.path.ends_with(large.digest.as_str()) {
            return reply;
        }
        let whole = Reply::new(200).body("application/octet-stream", &large.bytes);
        if before == 0 { whole.cut_after(200_000) } else { whole }
    });
    fixture.allow(&server.authority);
    let image = fixture.pull(&format!("{}/app", server.authority)).unwrap();
    fixture.assert_whole(&image, &made);
    assert_eq!(server.ranges(made.layers[0].digest.as_str()), ["all", "bytes=200000-"]);
}

fn a_server_that_refuses_the_range_is_asked_for_all() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let server = Server::of(&made, vec![], |seen, before, reply| match seen.header("range") {
        Some(_) => Reply::new(416),
        None if reply.body.len() > 10_000 && before == 0 => reply.cut_after(100_000),
        None => reply,
    });
    fixture.allow(&server.authority);
    let image = fixture.pull(&format!("{}/app", server.authority)).unwrap();
    fixture.assert_whole(&image, &made);
    assert_eq!(server.ranges(made.layers[0].digest.as_str()), ["all", "bytes=100000-", "all"]);
}

fn the_next_pull_continues_an_interrupted_one() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let server = Server::of(&made, vec![], |_, before, reply| match reply.body.len() > 10_000 {
        true if before == 0 => reply.cut_after(250_000),
        _ => reply,
    });
    fixture.allow(&server.authority);
    fixture.options.registry.retry.attempts = 1;
    let name = format!("{}/app", server.authority);
    assert_eq!(fixture.pull(&name).unwrap_err().kind(), Kind::Unreachable);
    assert!(fixture.store.images().unwrap().is_empty());
    assert_eq!(fixture.partials().len(), 1);
    assert!(fixture.layers().iter().all(|name| !name.starts_with('.')));
    let image = fixture.pull(&name).unwrap();
    fixture.assert_whole(&image, &made);
    assert_eq!(server.ranges(made.layers[0].digest.as_str()), ["all", "bytes=250000-"]);
}

fn a_rotten_partial_blob_is_fetched_anew() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let layer = &made.layers[0];
    let BlobSlot::Write(mut writer) = fixture.store.begin_blob(&layer.digest, Some(layer.bytes.len() as u64)).unwrap()
    else {
        panic!("the store is empty");
    };
    writer.write_all(&[7; 1000]).unwrap();
    drop(writer);
    let server = Server::of(&made, vec![], |_, _, reply| reply);
    fixture.allow(&server.authority);
    let image = fixture.pull(&format!("{}/app", server.authority)).unwrap();
    fixture.assert_whole(&image, &made);
    assert_eq!(server.ranges(layer.digest.as_str()), ["bytes=1000-", "all"]);
}

fn busy_servers_are_given_time() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let server = Server::of(&made, vec![], |seen, before, reply| match before {
        0 if seen.path.contains("/manifests/") => Reply::new(429).with("Retry-After", "1"),
        0 if reply.body.len() > 10_000 => Reply::new(503),
        1 if reply.body.len() > 10_000 => Reply::new(500),
        _ => reply,
    });
    fixture.allow(&server.authority);
    let started = Instant::now();
    let image = fixture.pull(&format!("{}/app", server.authority)).unwrap();
    fixture.assert_whole(&image, &made);
    assert!(started.elapsed() >= Duration::from_secs(1));
    let mut retries: Vec<_> = fixture.log.take().into_iter().filter(|line| line.starts_with("retry")).collect();
    retries.sort();
    assert_eq!(retries, ["retry 2 10", "retry 2 1000", "retry 3 20"]);
}

fn a_server_that_stays_broken_is_told() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let server = Server::of(&made, vec![], |_, _, reply| match reply.body.len() > 10_000 {
        true => Reply::new(502),
        false => reply,
    });
    fixture.allow(&server.authority);
    let error = fixture.pull(&format!("{}/app", server.authority)).unwrap_err();
    assert_eq!(error.kind(), Kind::Registry);
    assert_eq!(server.ranges(made.layers[0].digest.as_str()).len(), 4);
    assert!(fixture.store.images().unwrap().is_empty());
    assert!(fixture.partials().is_empty());
}

/// Pulls until it is killed: the other process of the test below, not a test by itself.
pub fn victim() {
    let arguments = std::env::var(VICTIM).unwrap();
    let (root, authority) = arguments.split_once(' ').unwrap();
    let mut fixture = Fixture::at(Path::new(root));
    fixture.allow(authority);
    fixture.pull(&format!("{authority}/app")).unwrap();
}

fn a_killed_pull_is_continued() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let server = Server::of(&made, vec![], |_, before, mut reply| {
        if reply.body.len() > 10_000 && before == 0 {
            reply.stall = Duration::from_secs(60);
            return reply.cut_after(350_000);
        }
        reply
    });
    fixture.allow(&server.authority);
    let large = made.layers[0].digest.hex();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(super::CHOSEN, "victim")
        .env(VICTIM, format!("{} {}", fixture.store.root().display(), server.authority))
        .spawn()
        .unwrap();
    let partial = fixture.store.root().join(format!("partial/sha256-{large}"));
    let end = Instant::now() + Duration::from_secs(20);
    let trees = || fixture.layers().iter().filter(|name| !name.starts_with('.')).count();
    while std::fs::metadata(&partial).map_or(0, |meta| meta.len()) < 350_000 || trees() < 2 {
        assert!(Instant::now() < end && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(fixture.store.images().unwrap().is_empty());
    let image = fixture.pull(&format!("{}/app", server.authority)).unwrap();
    fixture.assert_whole(&image, &made);
    assert_eq!(server.ranges(large), ["all", "bytes=350000-"]);
    assert_eq!(fixture.log.take().iter().filter(|line| *line == "exists").count(), 2);
}
