// SPDX-License-Identifier: Apache-2.0
//! Keys of `.container` files that name something outside: paths of the host, volumes, networks.

use super::super::making::Making;
use super::super::reference;
use crate::unit::{Entry, absolute};
use crate::words::{is_open, quote};

/// A path that is always there, to ask about what stands beside a path that may come later.
const ANY: &str = "/";

pub(super) fn environment_files(making: &mut Making<'_>, values: &[&Entry]) {
    for entry in values {
        if entry.value.starts_with('-') {
            making.refuse(entry, "a file that may be missing cannot be passed on; leave the \"-\" out");
            continue;
        }
        let path = absolute(&entry.value, &entry.place.file);
        making.words.extend(["--env-file".into(), path]);
    }
}

pub(super) fn seccomp(making: &mut Making<'_>, values: &[&Entry]) {
    let last = values[values.len() - 1];
    let profile = match last.value.as_str() {
        "unconfined" => "unconfined".to_owned(),
        path => absolute(path, &last.place.file),
    };
    making.words.extend(["--security-opt".into(), format!("seccomp={profile}")]);
}

/// Shows the host's file for a zone where programs look for the local one.
pub(super) fn timezone(making: &mut Making<'_>, values: &[&Entry]) {
    let last = values[values.len() - 1];
    let zone = last.value.as_str();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'+' | b'-');
    let source = match zone {
        "local" => "/etc/localtime".to_owned(),
        _ if is_open(zone) || (zone.bytes().all(plain) && !zone.starts_with('/')) => {
            format!("/usr/share/zoneinfo/{zone}")
        }
        _ => return making.refuse(last, "expected local, or a zone such as Europe/Berlin"),
    };
    making.words.extend(["--volume".into(), format!("{source}:/etc/localtime:ro")]);
}

/// `Volume=SOURCE:TARGET[:OPTIONS]`, where the source may be a path or a `.volume` file.
pub(super) fn volumes(making: &mut Making<'_>, values: &[&Entry]) {
    for entry in values {
        let (source, rest) = entry.value.split_once(':').unwrap_or(("", &entry.value));
        let Some(source) = source_of(making, entry, source) else { continue };
        match source {
            Source::Path(path) => {
                making.ask(entry, &["--volume", &format!("{ANY}:{rest}")]);
                making.words.extend(["--volume".into(), format!("{path}:{rest}")]);
            }
            Source::Name(name) if name.is_empty() => making.add(entry, &["--volume", rest]),
            Source::Name(name) => making.add(entry, &["--volume", &format!("{name}:{rest}")]),
        }
    }
}

/// `Mount=type=TYPE,FIELDS`, whose source may be a path or a `.volume` file.
pub(super) fn mounts(making: &mut Making<'_>, values: &[&Entry]) {
    'mounts: for entry in values {
        let (mut asked, mut said) = (Vec::new(), Vec::new());
        let binds = entry.value.split(',').any(|field| field == "type=bind");
        for field in entry.value.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            if !matches!(key, "source" | "src") {
                asked.push(field.to_owned());
                said.push(field.to_owned());
                continue;
            }
            let source = if binds { Some(bound(making, entry, value)) } else { source_of(making, entry, value) };
            match source {
                Some(Source::Path(path)) => {
                    asked.push(format!("{key}={ANY}"));
                    said.push(format!("{key}={path}"));
                }
                Some(Source::Name(name)) => {
                    asked.push(format!("{key}={name}"));
                    said.push(format!("{key}={name}"));
                }
                None => continue 'mounts,
            }
        }
        making.ask(entry, &["--mount", &asked.join(",")]);
        making.words.extend(["--mount".into(), said.join(",")]);
    }
}

/// What a share comes from.
enum Source {
    Path(String),
    Name(String),
}

/// Resolves a source: a path against the unit's directory, a `.volume` file to its volume, which the service needs then.
fn source_of(making: &mut Making<'_>, entry: &Entry, text: &str) -> Option<Source> {
    if text.starts_with(['/', '.', '%']) || text.contains('/') {
        return Some(bound(making, entry, text));
    }
    if !text.ends_with(".volume") {
        return Some(Source::Name(text.to_owned()));
    }
    let known = reference::find(making, entry, text)?;
    reference::need(making, known);
    Some(Source::Name(known.name.clone()))
}

/// A path of the host, which has to be mounted before the service starts.
fn bound(making: &mut Making<'_>, entry: &Entry, text: &str) -> Source {
    let path = absolute(text, &entry.place.file);
    if path.starts_with('/') {
        making.output.push("Unit", "RequiresMountsFor", quote(&path));
    }
    Source::Path(path)
}

/// The flag that gives a container its network.
const NETWORK: &str = "--network";

/// `IP=`, `IP6=` and `NetworkAlias=`, which are the container's in its network.
pub(super) fn in_network(making: &mut Making<'_>, values: &[&Entry], flag: &str) {
    for entry in values {
        making.add_beside(entry, NETWORK, &[flag, &entry.value]);
    }
}

/// `Network=`: a word of bryo's, a `.network` file, or the network of another container.
pub(super) fn networks(making: &mut Making<'_>, values: &[&Entry]) {
    for entry in values {
        let (name, options) = entry.value.split_once(':').unwrap_or((&entry.value, ""));
        let of_container = name.ends_with(".container");
        if !of_container && !name.ends_with(".network") {
            making.add(entry, &["--network", &entry.value]);
            continue;
        }
        let Some(known) = reference::find(making, entry, name) else { continue };
        reference::need(making, known);
        if of_container {
            let other = known.name.replace("%N", known.service.trim_end_matches(".service"));
            if is_open(&other) {
                making.refuse(entry, format!("{name} has no name of its own; give it one with ContainerName="));
            }
            making.words.extend(["--network".into(), format!("container:{other}")]);
            continue;
        }
        making.add(entry, &["--network", &known.name]);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("ip", address)) => making.add_beside(entry, NETWORK, &["--ip", address]),
                Some(("alias", alias)) => making.add_beside(entry, NETWORK, &["--network-alias", alias]),
                _ => making
                    .refuse(entry, format!("of a network's options only ip= and alias= are known, not {option:?}")),
            }
        }
    }
}
