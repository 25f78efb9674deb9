// SPDX-License-Identifier: Apache-2.0
//! The files of an image: what they let its user do, and what should not be there.

use bryo_image::members::EntryKind;

use super::{Setting, secrets, startup};
use crate::facts::image::{File, Image};
use crate::identity::{Effective, Verdict};
use crate::model::{Place, Severity, Sink};
use crate::rules::*;

/// How many files of one kind are named.
const NAMED_MAX: usize = 20;

/// Judges the files.
pub fn judge(image: &Image, who: &Effective, place: &Place, setting: &Setting, sink: &mut Sink) {
    set_id(image, who, place, sink);
    accounts(image, place, sink);
    sudo(image, who, place, sink);
    super::startable::judge(image, who, place, sink);
    writable(image, who, place, sink);
    left(image, place, sink);
    keys(image, place, sink);
    repositories(image, place, sink);
    super::ends::judge(image, place, setting, sink);
    super::layers::judge(image, place, sink);
}

pub(super) fn regular(image: &Image) -> impl Iterator<Item = (&String, &File)> {
    image.files.iter().filter(|(_, file)| file.kind == EntryKind::File)
}

/// Names some of many.
pub(super) fn named(paths: &[&str]) -> String {
    let more = paths.len().saturating_sub(NAMED_MAX);
    let shown = paths[..paths.len().min(NAMED_MAX)].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn set_id(image: &Image, who: &Effective, place: &Place, sink: &mut Sink) {
    let files: Vec<_> = regular(image).filter(|(_, file)| file.mode & 0o6000 != 0 && file.mode & 0o111 != 0).collect();
    for (path, file) in &files {
        let mut severity = Severity::Medium;
        if file.uid == 0 && file.mode & 0o4000 != 0 && (file.mode & 0o002 != 0 || !is_usual(path)) {
            severity = Severity::High;
        }
        let evidence = format!("/{path} mode {:04o}, owner {}:{}", file.mode & 0o7777, file.uid, file.gid);
        sink.add_as(&SET_ID, severity, place, evidence);
    }
    let roots: Vec<&str> = files
        .iter()
        .filter(|(_, file)| file.uid == 0 && file.mode & 0o4001 == 0o4001)
        .map(|(path, _)| path.as_str())
        .collect();
    if who.verdict == Verdict::NotRoot && !roots.is_empty() {
        let known = roots.iter().all(|path| is_usual(path));
        let severity = if known { Severity::Medium } else { Severity::High };
        sink.add_as(&ROOT_IN_REACH, severity, place, format!("set-id root: {}", named(&roots)));
    }
    for (path, _) in regular(image).filter(|(_, file)| file.capable) {
        sink.add(&FILE_CAPABILITIES, place, format!("/{path}"));
    }
}

/// Set-id programs that distributions ship.
fn is_usual(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    [
        "su",
        "mount",
        "umount",
        "passwd",
        "chsh",
        "chfn",
        "gpasswd",
        "newgrp",
        "expiry",
        "chage",
        "unix_chkpwd",
        "ping",
        "ping6",
        "wall",
        "write",
        "ssh-keysign",
        "dbus-daemon-launch-helper",
        "bbsuid",
        "newuidmap",
        "newgidmap",
        "fusermount3",
        "fusermount",
        "pam_timestamp_check",
        "userhelper",
        "sg",
        "pkexec",
        "polkit-agent-helper-1",
        "ssh-agent",
        "crontab",
        "bsd-write",
        "unix_update",
        "pam_extrausers_chkpwd",
    ]
    .contains(&name)
}

/// Returns the text of a file that was read.
pub(super) fn content<'a>(image: &'a Image, path: &str) -> Option<std::borrow::Cow<'a, str>> {
    let (path, _) = image.find(path)?;
    Some(String::from_utf8_lossy(image.files.get(&path)?.content.as_deref()?))
}

fn accounts(image: &Image, place: &Place, sink: &mut Sink) {
    for path in ["etc/shadow", "etc/passwd"] {
        let Some(text) = content(image, path) else { continue };
        for line in text.lines() {
            let mut fields = line.split(':');
            let (name, password) = (fields.next().unwrap_or_default(), fields.next());
            match password {
                _ if name.is_empty() => {}
                Some("") => sink.add(&EMPTY_PASSWORD, place, format!("/{path}: {name} needs no password")),
                // Locked ones begin with a sign that no hash has.
                Some(hash) if hash.starts_with(['$', '_']) || hash.len() == 13 => {
                    let severity = if name == "root" { Severity::High } else { Severity::Medium };
                    let what = format!("/{path}: {name} has a password, the same wherever the image runs");
                    sink.add_as(&EMPTY_PASSWORD, severity, place, what);
                }
                _ => {}
            }
        }
    }
}

fn sudo(image: &Image, who: &Effective, place: &Place, sink: &mut Sink) {
    let severity = startup::escape_severity(who.verdict);
    for name in ["sudo", "doas"] {
        if let Some((path, file)) = image.program(name)
            && file.mode & 0o4000 != 0
        {
            sink.add_as(&SUDO, severity, place, format!("/{path} is there"));
        }
    }
    let rules = image.files.iter().filter(|(path, _)| path.starts_with("etc/sudoers") || *path == "etc/doas.conf");
    for (path, file) in rules {
        let text = String::from_utf8_lossy(file.content.as_deref().unwrap_or_default()).into_owned();
        let free = text
            .lines()
            .map(str::trim)
            .find(|line| !line.starts_with('#') && (line.contains("NOPASSWD") || line.contains("permit nopass")));
        if let Some(line) = free {
            sink.add_as(&SUDO, severity, place, format!("/{path}: {line}"));
        }
    }
}

/// Tells whether a user has a right on a file: 4 to read, 2 to write, 1 to execute.
pub(crate) fn may(who: &Effective, file: &File, right: u32) -> bool {
    let bits = match (who.uid, who.gid) {
        (Some(0), _) => return right != 1 || file.mode & 0o111 != 0,
        (Some(uid), _) if u64::from(uid) == file.uid => file.mode >> 6,
        (_, Some(gid)) if u64::from(gid) == file.gid => file.mode >> 3,
        _ => file.mode,
    };
    bits & right == right
}

fn writable(image: &Image, who: &Effective, place: &Place, sink: &mut Sink) {
    let code = ["bin/", "sbin/", "usr/bin/", "usr/sbin/", "usr/local/bin/", "usr/lib/", "lib/", "etc/"];
    let is_code = |path: &str| code.iter().any(|dir| path.starts_with(dir));
    let open: Vec<&str> = image
        .files
        .iter()
        .filter(|(path, file)| {
            let place_for_code = is_code(path) || file.mode & 0o111 != 0 && file.kind == EntryKind::File;
            let everybody = file.mode & 0o002 != 0 && file.mode & 0o1000 == 0;
            let own = who.verdict == Verdict::NotRoot && is_code(path) && may(who, file, 2);
            place_for_code && (everybody || own) && matches!(file.kind, EntryKind::File | EntryKind::Directory)
        })
        .map(|(path, _)| path.as_str())
        .collect();
    if !open.is_empty() {
        sink.add(&WRITABLE_CODE, place, format!("writable: {}", named(&open)));
    }
}

/// Package managers by program, and where their databases are.
const MANAGERS: [(&str, &[&str]); 5] = [
    ("dpkg", &["var/lib/dpkg/status", "var/lib/dpkg/status.d"]),
    ("apk", &["lib/apk/db/installed", "usr/lib/apk/db/installed"]),
    ("rpm", &["var/lib/rpm", "usr/lib/sysimage/rpm"]),
    ("pacman", &["var/lib/pacman"]),
    ("opkg", &["usr/lib/opkg"]),
];

fn left(image: &Image, place: &Place, sink: &mut Sink) {
    let tools =
        ["gcc", "cc", "g++", "clang", "make", "gdb", "apt-get", "apk", "dnf", "yum", "microdnf", "zypper", "git"];
    let there: Vec<&str> = tools.into_iter().filter(|name| image.program(name).is_some()).collect();
    if !there.is_empty() {
        sink.add(&TOOLS_LEFT, place, there.join(", "));
    }
    let caches = [
        "var/cache/apt/archives/",
        "var/lib/apt/lists/",
        "var/cache/apk/",
        "var/cache/dnf/",
        "var/cache/yum/",
        "root/.cache/",
    ];
    for dir in caches {
        let files: Vec<&File> =
            regular(image).filter(|(path, _)| path.starts_with(dir)).map(|(_, file)| file).collect();
        let size: u64 = files.iter().map(|file| file.size).sum();
        if size > 0 {
            sink.add(&CACHE_KEPT, place, format!("/{dir}: {size} bytes"));
        }
    }
    let programs = regular(image).filter(|(path, file)| file.mode & 0o111 != 0 && path.contains("bin/")).count();
    let has = |paths: &[&str]| {
        paths.iter().any(|path| {
            image.files.contains_key(*path)
                || image.files.range(format!("{path}/")..).next().is_some_and(|(p, _)| p.starts_with(*path))
        })
    };
    if programs > 0 && !MANAGERS.iter().any(|(_, paths)| has(paths)) {
        sink.add(&NO_PACKAGE_DATABASE, place, format!("{programs} programs, and no database of dpkg, apk or rpm"));
    }
    if image.program("sshd").is_some() {
        sink.add(&SSHD, place, "sshd is there");
    }
    let leftovers = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        path.starts_with(".git/")
            || path.contains("/.git/") && name == "HEAD"
            || matches!(name, "Dockerfile" | ".dockerignore" | ".env" | "docker-compose.yml" | "compose.yaml")
                && !path.starts_with("usr/")
    };
    let found: Vec<&str> = image.files.keys().map(String::as_str).filter(|path| leftovers(path)).collect();
    if !found.is_empty() {
        sink.add(&LEFTOVERS, place, named(&found));
    }
}

fn keys(image: &Image, place: &Place, sink: &mut Sink) {
    let removed = image.removed.iter().map(|(path, file)| (path, file, ", taken away in a later layer"));
    let all = image.files.iter().map(|(path, file)| (path, file, ""));
    for (path, file, state) in all.chain(removed) {
        // Keys that a package's own tests or documents have.
        if path.starts_with("usr/share/") || path.contains("/test") {
            continue;
        }
        let name = format!("/{path} in layer {}", file.layer + 1);
        if secrets::is_key_store(path) && file.kind == EntryKind::File {
            secrets::add(sink, Severity::Medium, place, &name, &format!("a store of keys{state}"));
        }
        let Some(content) = file.content.as_deref() else { continue };
        if let Some(why) = in_file(path, &String::from_utf8_lossy(content)) {
            secrets::add(sink, Severity::Critical, place, &name, &format!("{why}{state}"));
        }
    }
}

/// Tells what of a file is a secret.
fn in_file(path: &str, text: &str) -> Option<&'static str> {
    if let Some(why) = secrets::looks_secret(text) {
        return Some(why);
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    match name {
        ".env" | ".npmrc" | ".pypirc" | "credentials" | ".my.cnf" => {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find_map(|(name, value)| secrets::is_secret(name.trim(), value.trim()))
        }
        ".netrc" => text.split_whitespace().any(|word| word == "password").then_some("it has a password"),
        ".pgpass" => text.lines().any(|line| line.matches(':').count() >= 4).then_some("it has a password"),
        "config.json" => text.contains("\"auth\"").then_some("it has a login of a registry"),
        "config" | "kubeconfig" => {
            ["client-key-data:", "token:", "password:"].iter().any(|key| text.contains(key)).then_some("it has a login")
        }
        ".vault-token" => Some("it is a token"),
        _ => None,
    }
}

fn repositories(image: &Image, place: &Place, sink: &mut Sink) {
    let lists =
        image.files.iter().filter(|(path, _)| path.starts_with("etc/apt/") || path.starts_with("etc/yum.repos.d/"));
    for (path, file) in lists {
        let text = String::from_utf8_lossy(file.content.as_deref().unwrap_or_default()).into_owned();
        let bad = text.lines().map(str::trim).filter(|line| !line.starts_with('#')).find(|line| {
            line.contains("trusted=yes") || line.starts_with("Trusted: yes") || line.replace(' ', "") == "gpgcheck=0"
        });
        if let Some(line) = bad {
            sink.add(&UNVERIFIED, place, format!("/{path}: {line}"));
        }
    }
}
