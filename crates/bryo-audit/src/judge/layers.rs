// SPDX-License-Identifier: Apache-2.0
//! Layers that look wrong: without an origin, very large, with what is taken away again, with a miner in them.

use bryo_image::members::EntryKind;

use super::files::{named, regular};
use crate::facts::image::Image;
use crate::model::{Place, Severity, Sink};
use crate::rules::ODD_LAYERS;

/// Names of miners and of what brings them.
const MINERS: [&str; 12] = [
    "xmrig",
    "cpuminer",
    "minerd",
    "ethminer",
    "cgminer",
    "bfgminer",
    "kinsing",
    "kdevtmpfsi",
    "xmr-stak",
    "t-rex",
    "nbminer",
    "lolMiner",
];

/// What only miners say: the schemes of their pools, and large pools.
const POOLS: [&str; 8] = [
    "stratum+tcp://",
    "stratum+ssl://",
    "stratum2+tcp://",
    "--donate-level",
    "supportxmr.com",
    "minexmr.com",
    "moneroocean.stream",
    "nanopool.org",
];

/// A layer above this is very large, in bytes.
const LARGE: u64 = 4 << 30;

/// What was taken away again is worth a word from here on, in bytes.
const REMOVED_LARGE: u64 = 10 << 20;

/// Judges the layers.
pub(super) fn judge(image: &Image, place: &Place, sink: &mut Sink) {
    origin(image, place, sink);
    for (path, _) in regular(image).filter(|(path, _)| MINERS.contains(&path.rsplit('/').next().unwrap_or_default())) {
        sink.add_as(&ODD_LAYERS, Severity::High, place, format!("/{path} has the name of a miner"));
    }
    let read =
        regular(image).filter_map(|(path, file)| Some((path, String::from_utf8_lossy(file.content.as_deref()?))));
    for (path, text) in read {
        if let Some(mark) = POOLS.iter().find(|mark| text.contains(*mark)) {
            sink.add_as(&ODD_LAYERS, Severity::High, place, format!("/{path} speaks of {mark}"));
        }
    }
    let words = image.starts().join(" ");
    if let Some(mark) = POOLS.iter().find(|mark| words.contains(*mark)) {
        sink.add_as(&ODD_LAYERS, Severity::High, place, format!("the start speaks of {mark}"));
    }
    let odd = |path: &str| ["tmp/", "var/tmp/", "dev/"].iter().any(|dir| path.starts_with(dir));
    let programs: Vec<&str> = regular(image)
        .filter(|(path, file)| odd(path) && file.mode & 0o111 != 0)
        .map(|(path, _)| path.as_str())
        .collect();
    if !programs.is_empty() {
        sink.add(&ODD_LAYERS, place, format!("programs where none belong: {}", named(&programs)));
    }
    let large: Vec<&str> = image
        .removed
        .iter()
        .filter(|(_, file)| file.kind == EntryKind::File && file.size > REMOVED_LARGE)
        .map(|(path, _)| path.as_str())
        .collect();
    if !large.is_empty() {
        sink.add_as(&ODD_LAYERS, Severity::Low, place, format!("added and taken away again: {}", named(&large)));
    }
}

/// Layers of which the history does not say what made them, and very large ones.
fn origin(image: &Image, place: &Place, sink: &mut Sink) {
    let layers = image.config["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
    let history: Vec<&serde_json::Value> = image.config["history"].as_array().into_iter().flatten().collect();
    let made: Vec<&&serde_json::Value> =
        history.iter().filter(|step| step["empty_layer"].as_bool() != Some(true)).collect();
    let text = |step: &serde_json::Value, key: &str| step[key].as_str().unwrap_or_default().trim().is_empty();
    let unknown = made.iter().filter(|step| text(step, "created_by") && text(step, "comment")).count();
    let unsaid = layers.saturating_sub(made.len()) + unknown;
    if unsaid > 0 {
        let what =
            format!("{unsaid} of {layers} layers are of an unknown origin: the history does not say what made them");
        sink.add_as(&ODD_LAYERS, Severity::Low, place, what);
    }
    let mut sizes: Vec<u64> = Vec::new();
    for file in image.files.values().chain(image.removed.iter().map(|(_, file)| file)) {
        if sizes.len() <= file.layer {
            sizes.resize(file.layer + 1, 0);
        }
        sizes[file.layer] = sizes[file.layer].saturating_add(file.size);
    }
    for (at, size) in sizes.iter().enumerate().filter(|(_, size)| **size > LARGE) {
        let what = format!("layer {} has {} GiB of files", at + 1, size >> 30);
        sink.add_as(&ODD_LAYERS, Severity::Low, place, what);
    }
}
