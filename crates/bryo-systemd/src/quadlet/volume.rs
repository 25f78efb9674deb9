// SPDX-License-Identifier: Apache-2.0
//! `.volume` files: a service that makes a volume, once.

use super::making::{Keys, Making, Way};
use super::service;

const DIRECTORY: &str =
    "a volume is a directory of bryo's store; leave it out, or share a mount of your own with Volume=PATH:...";
const OWNER: &str = "what is in a volume belongs to the container's own users; leave it out";

const KEYS: &Keys = &[
    ("VolumeName", Way::Elsewhere),
    ("ServiceName", Way::Elsewhere),
    ("Driver", Way::Last("--driver")),
    ("Label", Way::Words("--label")),
    // A volume that holds nothing gets what the image has at its place in any case.
    (
        "Copy",
        Way::Own(|making, values| {
            let last = values[values.len() - 1];
            if making.boolean(last) == Some(false) {
                making.refuse(last, "an empty volume always begins with what the image has there; leave it out");
            }
        }),
    ),
    ("Device", Way::Never(DIRECTORY)),
    ("Type", Way::Never(DIRECTORY)),
    ("Options", Way::Never(DIRECTORY)),
    ("Image", Way::Never(DIRECTORY)),
    ("User", Way::Never(OWNER)),
    ("Group", Way::Never(OWNER)),
    ("ContainersConfModule", Way::Never("there is no containers.conf to read; leave it out")),
    ("PodmanArgs", Way::Elsewhere),
    ("GlobalArgs", Way::Elsewhere),
];

pub(super) fn make(making: &mut Making<'_>) {
    making.command = (&["volume", "create"], &["name"]);
    let name = making.source.describe().name;
    service::pass_on(making);
    making.keys(KEYS);
    once(making, &["volume", "create"], &name);
}

/// Runs a command of bryo once, with the flags so far, those that were passed on, and a name.
pub(super) fn once(making: &mut Making<'_>, command: &[&str], name: &str) {
    service::once(making);
    for (entry, words) in making.passed_on("PodmanArgs") {
        making.add(entry, &words);
    }
    if making.source.stem.contains('@') {
        making.refuse_file(format!("a .{} file cannot be a template: all would have one name", making.source.kind));
    }
    let (before, behind) = making.command;
    if let Err(why) = (making.generator.check)(&[before, behind].concat()) {
        making.refuse_file(why);
    }
    let words: Vec<String> = command.iter().map(|w| (*w).to_owned()).chain(making.words.clone()).collect();
    let line = making.command_line(&[words, vec![name.to_owned()]].concat());
    making.output.push("Service", "ExecStart", line);
}
