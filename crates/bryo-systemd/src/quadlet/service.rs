// SPDX-License-Identifier: Apache-2.0
//! The sections that are systemd's own: passed on, with what a service of bryo needs.

use super::making::Making;
use super::reference;
use crate::unit::{Entry, boolean};
use crate::words::literal;

/// Keys of `[Unit]` that name other units.
const DEPENDENCIES: [&str; 12] = [
    "Wants",
    "Requires",
    "Requisite",
    "BindsTo",
    "PartOf",
    "Upholds",
    "Conflicts",
    "Before",
    "After",
    "OnFailure",
    "OnSuccess",
    "PropagatesStopTo",
];

/// Passes `[Unit]` and `[Service]` on, and refuses sections that mean nothing here. What systemd would run instead of
/// the container is refused as well.
pub(super) fn pass_on(making: &mut Making<'_>) {
    let own = making.section;
    for section in making.source.file.sections() {
        if !matches!(section, "Unit" | "Service" | "Install" | "Quadlet")
            && section != own
            && !section.starts_with("X-")
        {
            let entries = making.source.file.entries(section);
            let why = format!("[{section}] has no meaning in a .{} file", making.source.kind);
            match entries.first() {
                Some(first) => making.refuse(first, why),
                None => making.refuse_file(why),
            }
        }
    }
    making.output.push("Unit", "SourcePath", literal(&making.path().to_string_lossy()));
    online(making);
    for entry in making.source.file.entries("Unit") {
        let value = if DEPENDENCIES.contains(&entry.key.as_str()) {
            reference::services(making, entry)
        } else {
            entry.value.clone()
        };
        making.output.push("Unit", &entry.key, value);
    }
    for entry in making.source.file.entries("Service") {
        match entry.key.as_str() {
            "ExecStart" => making.refuse(entry, format!("what is started is said in [{own}]")),
            _ => making.output.push("Service", &entry.key, entry.value.clone()),
        }
    }
}

/// A service may have to pull an image before it starts. Users' managers do not know of the machine's network.
fn online(making: &mut Making<'_>) {
    let mut wanted = making.is_system() && making.source.kind == "container";
    for entry in making.source.file.entries("Quadlet") {
        match (entry.key.as_str(), boolean(&entry.value)) {
            ("DefaultDependencies", Some(yes)) => wanted &= yes,
            ("DefaultDependencies", None) => making.refuse(entry, "expected true or false"),
            _ => making.refuse(entry, "there is no such key in [Quadlet]"),
        }
    }
    if wanted {
        making.output.push("Unit", "Wants", "network-online.target");
        making.output.push("Unit", "After", "network-online.target");
    }
}

/// Says something about the service unless the file does.
pub(super) fn unless_said(making: &mut Making<'_>, key: &str, value: &str) {
    if making.service(key).is_none() {
        making.output.push("Service", key, value);
    }
}

/// Refuses a value that the service could not work with.
pub(super) fn only(making: &mut Making<'_>, key: &str, known: &[&str]) {
    let bad = |entry: &&Entry| !known.contains(&entry.value.as_str());
    if let Some(entry) = making.service(key).filter(bad) {
        making.refuse(entry, format!("a service of bryo can have {}", known.join(" or ")));
    }
}

/// What a unit that makes something once has in common with others of its kind.
pub(super) fn once(making: &mut Making<'_>) {
    only(making, "Type", &["oneshot"]);
    unless_said(making, "Type", "oneshot");
    unless_said(making, "RemainAfterExit", "yes");
    unless_said(making, "SyslogIdentifier", "%N");
}
