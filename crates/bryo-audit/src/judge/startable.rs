// SPDX-License-Identifier: Apache-2.0
//! Whether an image's user can start what the image starts, and write where that writes; whether any other user could.

use bryo_image::members::EntryKind;

use super::dockerfile::is_system;
use super::files::{may, named};
use super::startup::{self, Start};
use crate::facts::image::{File, Image};
use crate::identity::{Effective, Verdict};
use crate::model::{Place, Severity, Sink};
use crate::reasons::is_state;
use crate::rules::*;

/// Judges the start and the directories.
pub(super) fn judge(image: &Image, who: &Effective, place: &Place, sink: &mut Sink) {
    let words = image.starts();
    if let Some(program) = words.first() {
        executable(image, who, program, place, sink);
    }
    let scripts = |path: &str, by| Some(super::image::script(image, path, by)?.1);
    let start = Start { words: &words, place, root: who.verdict, scripts: &scripts, programs: &|_| None };
    let commands = startup::commands(&start);
    let mut read: Vec<&str> = Vec::new();
    for script in commands.iter().filter_map(|ran| ran.script.as_deref()) {
        let found = image.program(script).filter(|_| !read.contains(&script));
        read.push(script);
        if let Some((path, file)) = found.filter(|(_, file)| !may(who, file, 4)) {
            sink.add(&START_UNREADABLE, place, format!("the user may not read the script {}", shown(&path, file)));
        }
    }
    let programs: Vec<&str> = commands.iter().map(|ran| ran.command.program()).collect();
    state(image, who, &programs, place, sink);
    working(image, who, place, sink);
    anybody(image, place, sink);
}

fn shown(path: &str, file: &File) -> String {
    format!("/{path} mode {:04o}, owner {}:{}", file.mode & 0o7777, file.uid, file.gid)
}

/// The first directory on the way to a path that the user may not enter.
fn closed(image: &Image, who: &Effective, path: &str) -> Option<String> {
    let ends = path.match_indices('/').map(|(at, _)| at);
    let dirs = ends.filter_map(|end| Some((&path[..end], image.files.get(&path[..end])?)));
    let mut closed = dirs.filter(|(_, dir)| dir.kind == EntryKind::Directory && !may(who, dir, 1));
    closed.next().map(|(path, dir)| shown(path, dir))
}

fn executable(image: &Image, who: &Effective, program: &str, place: &Place, sink: &mut Sink) {
    let Some((path, file)) = image.program(program).filter(|(_, file)| file.kind == EntryKind::File) else { return };
    let script = file.content.as_deref().is_some_and(|content| content.starts_with(b"#!"));
    if !may(who, file, 1) {
        sink.add(&START_UNREADABLE, place, shown(&path, file));
    } else if script && !may(who, file, 4) {
        sink.add(&START_UNREADABLE, place, format!("the user may not read the script {}", shown(&path, file)));
    }
    if let Some(dir) = closed(image, who, &path) {
        sink.add(&START_UNREADABLE, place, format!("the user may not enter {dir}"));
    }
    let interpreter = file.content.as_deref().filter(|_| script).and_then(|content| {
        let line = content.split(|b| *b == b'\n').next()?;
        std::str::from_utf8(line.get(2..)?).ok()?.split_whitespace().next()
    });
    if let Some(interpreter) = interpreter {
        match image.find(interpreter) {
            None => sink.add(&START_UNREADABLE, place, format!("/{path} wants {interpreter}, which is not there")),
            Some((path, file)) if file.kind == EntryKind::File && !may(who, file, 1) => {
                sink.add(&START_UNREADABLE, place, format!("the interpreter {}", shown(&path, file)));
            }
            Some(_) => {}
        }
    }
    if who.verdict != Verdict::NotRoot {
        return;
    }
    let parent = path.rsplit_once('/').and_then(|(dir, _)| image.files.get(dir));
    let changed = if may(who, file, 2) || who.uid.is_some_and(|uid| u64::from(uid) == file.uid) {
        "changed"
    } else if parent.is_some_and(|dir| may(who, dir, 2) && dir.mode & 0o1000 == 0) {
        "replaced"
    } else {
        return;
    };
    let what = format!("/{path}, which is started, can be {changed} by its user");
    sink.add_as(&WRITABLE_CODE, Severity::High, place, what);
}

/// What the directories of a service are called where they have not the program's name.
const CALLED: [(&str, &[&str]); 11] = [
    ("httpd", &["httpd", "apache2"]),
    ("apache2ctl", &["apache2"]),
    ("apachectl", &["apache2", "httpd"]),
    ("mysqld", &["mysqld", "mysql"]),
    ("mariadbd", &["mysqld", "mysql", "mariadb"]),
    ("postgres", &["postgres", "postgresql"]),
    ("redis-server", &["redis"]),
    ("valkey-server", &["valkey"]),
    ("named", &["named", "bind"]),
    ("slapd", &["slapd", "ldap", "openldap"]),
    ("varnishd", &["varnish"]),
];

/// The directories for the state of what is started, that exist and that its user cannot write to.
fn state(image: &Image, who: &Effective, programs: &[&str], place: &Place, sink: &mut Sink) {
    if who.verdict != Verdict::NotRoot {
        return;
    }
    let parents = ["var/log", "var/cache", "var/lib", "var/spool", "var/run", "run"];
    let mut found: Vec<String> = Vec::new();
    for program in programs {
        let own = [*program];
        let names = CALLED.iter().find(|(known, _)| known == program).map_or(&own[..], |(_, names)| names);
        for (parent, name) in parents.iter().flat_map(|parent| names.iter().map(move |name| (parent, name))) {
            let Some((path, dir)) = image.find(&format!("{parent}/{name}")) else { continue };
            let path = format!("/{path}");
            if dir.kind == EntryKind::Directory && !may(who, dir, 2) && !found.contains(&path) {
                found.push(path);
            }
        }
    }
    if !found.is_empty() {
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        sink.add(&START_UNREADABLE, place, format!("the user may not write to {}", named(&found)));
    }
}

/// The directories that the image names, and who may use them.
fn working(image: &Image, who: &Effective, place: &Place, sink: &mut Sink) {
    let dir = image.text("WorkingDir");
    if !dir.is_empty()
        && let Some((path, file)) = image.find(dir)
    {
        if file.kind == EntryKind::Directory && !may(who, file, 1) {
            sink.add(&WORKDIR_ODD, place, format!("the user may not enter /{path}"));
        }
        if path != dir.trim_matches('/') {
            sink.add(&WORKDIR_ODD, place, format!("working directory {dir} is a link to /{path}"));
        }
    }
    for named in image.names("Volumes").into_iter().chain([dir]) {
        // The name alone is judged with the configuration.
        let real = image.find(named).map(|(path, _)| format!("/{path}")).filter(|path| is_system(path));
        if let Some(path) = real.filter(|_| !is_system(named)) {
            sink.add(&SYSTEM_DIRECTORY, place, format!("{named} is a link to {path}"));
        }
    }
    if who.verdict != Verdict::NotRoot {
        return;
    }
    for volume in image.names("Volumes") {
        if image.find(volume).is_some_and(|(_, file)| file.kind == EntryKind::Directory && !may(who, file, 2)) {
            sink.add(&WORKDIR_ODD, place, format!("the user may not write to the volume {volume}"));
        }
    }
    let env = image.list("Env");
    let home = env.iter().find_map(|pair| pair.strip_prefix("HOME=")).filter(|home| home.len() > 1);
    if let Some((path, file)) = home.and_then(|home| image.find(home))
        && !(may(who, file, 1) && may(who, file, 2))
    {
        sink.add(&WORKDIR_ODD, place, format!("HOME is {}, where the user may not write", shown(&path, file)));
    }
}

/// Where the image writes, and a user with any other number could not: volumes, and state that belongs to its own user.
fn anybody(image: &Image, place: &Place, sink: &mut Sink) {
    let open = |file: &File| file.gid == 0 && file.mode & 0o020 != 0 || file.mode & 0o002 != 0;
    let volumes = image.names("Volumes").into_iter().filter_map(|volume| image.find(volume));
    let state = image.files.iter().filter(|(path, file)| is_state(path) && file.uid != 0);
    let mut found: Vec<String> = volumes
        .chain(state.map(|(path, file)| (path.clone(), file)))
        .filter(|(_, file)| file.kind == EntryKind::Directory && !open(file))
        .map(|(path, _)| format!("/{path}"))
        .collect();
    found.sort();
    found.dedup();
    if !found.is_empty() {
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        sink.add(&ANY_UID, place, named(&found));
    }
}
