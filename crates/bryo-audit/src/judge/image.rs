// SPDX-License-Identifier: Apache-2.0
//! An image's configuration and history; its files are judged beside it.

use std::sync::Arc;

use bryo_engine::harden;

use super::dockerfile::is_system;
use super::startup::{self, By, Program, Start};
use super::{Setting, files, resources, secrets, steps};
use crate::bases;
use crate::facts::image::{File, Image};
use crate::identity::{Effective, POWERFUL_GROUPS, Part, User, Verdict};
use crate::model::{Place, Severity, Sink};
use crate::rules::*;

/// Judges an image, and tells who runs it.
pub fn judge(image: &Image, file: &Arc<str>, setting: &Setting, sink: &mut Sink) -> Effective {
    let place = Place::whole(file);
    let who = user(image, &place, sink);
    configuration(image, &who, &place, sink);
    let words = image.starts();
    let (scripts, programs) = (|path: &str, by| Some(script(image, path, by)?.1), |name: &str| program(image, name));
    let start = |words| Start { words, place: &place, root: who.verdict, scripts: &scripts, programs: &programs };
    startup::judge(&start(&words), sink);
    if let Some(test) = image.config["config"]["Healthcheck"]["Test"].as_array() {
        let words: Vec<String> = test.iter().skip(1).filter_map(|word| word.as_str().map(str::to_owned)).collect();
        let shell = test.first().and_then(|kind| kind.as_str()) == Some("CMD-SHELL");
        let words = if shell { vec!["sh".to_owned(), "-c".to_owned(), words.join(" ")] } else { words };
        startup::judge(&start(&words), sink);
    } else {
        sink.add(&HEALTHCHECK, &place, "no health check");
    }
    history(image, file, sink);
    origin(image, &who, &place, setting, sink);
    if image.has_files {
        files::judge(image, &who, &place, setting, sink);
    }
    who
}

/// Where a distribution's own programs lie.
const SYSTEM_PROGRAMS: [&str; 4] = ["bin/", "sbin/", "usr/bin/", "usr/sbin/"];

/// Reads a script of the image by the name that it is called by: its path, and its text.
pub(crate) fn script(image: &Image, name: &str, by: By) -> Option<(String, String)> {
    let (path, file) = image.program(name)?;
    // What scripts call without saying where is as a rule the distribution's.
    let system = by == By::Script && !name.contains('/') && SYSTEM_PROGRAMS.iter().any(|dir| path.starts_with(dir));
    if system || is_shim(&path, file) {
        return None;
    }
    let text = std::str::from_utf8(file.content.as_deref()?).ok()?;
    (by == By::Source || startup::is_shell(text)).then(|| (path, text.to_owned()))
}

/// Looks a program up.
pub(super) fn program(image: &Image, name: &str) -> Option<Program> {
    let (path, file) = image.program(name)?;
    Some(Program { harmless: is_shim(&path, file), set_id: file.mode & 0o4000 != 0 && file.uid == 0 })
}

/// Tells whether a file is one of the programs that hardened images have before others of their names: where it lies says
/// nothing, what is in it does.
fn is_shim(path: &str, file: &File) -> bool {
    let name = path.strip_prefix(harden::SHIMS.trim_start_matches('/')).and_then(|rest| rest.strip_prefix('/'));
    let content = file.content.as_deref().unwrap_or_default();
    name.is_some_and(|name| harden::is_shim(name, content))
}

fn user(image: &Image, place: &Place, sink: &mut Sink) -> Effective {
    let text = image.text("User");
    let root = Effective { verdict: Verdict::Root, uid: Some(0), gid: Some(0), groups: Vec::new() };
    let Some(user) = User::parse(text) else {
        sink.add(&NO_USER, place, "the configuration has no User");
        return root;
    };
    if let Some(why) = user.ambiguity() {
        sink.add(&USER_AMBIGUOUS, place, format!("User {text:?}: {why}"));
        return Effective { verdict: Verdict::Unproven, uid: None, gid: None, ..root };
    }
    let accounts = image.accounts();
    let who = user.effective(&accounts, image.has_files);
    match (&user.user, who.verdict) {
        (Part::Name(name), Verdict::Root) if name != "root" => {
            sink.add(&USER_ALIAS_OF_ROOT, place, format!("{name} has uid 0 in etc/passwd"));
        }
        (_, Verdict::Root) => sink.add(&USER_ROOT, place, format!("User {text:?}")),
        (Part::Name(name), Verdict::Unproven) => {
            sink.add(&USER_ALIAS_OF_ROOT, place, format!("{name} is not in etc/passwd: it does not start"));
        }
        _ => {}
    }
    for (name, (uid, _)) in accounts.users.iter().filter(|(name, (uid, _))| *uid == 0 && *name != "root") {
        sink.add_as(&USER_ALIAS_OF_ROOT, Severity::Medium, place, format!("etc/passwd: {name} has uid {uid}"));
    }
    if who.verdict == Verdict::NotRoot {
        if who.gid == Some(0) {
            sink.add(&GROUP_ZERO, place, format!("User {text:?}: the group is 0"));
        }
        for group in who.groups.iter().filter(|group| POWERFUL_GROUPS.contains(&group.as_str())) {
            sink.add(&EXTRA_GROUPS, place, format!("etc/group: the user is in {group}"));
        }
    }
    who
}

/// Where the image comes from, by its name and by the label for what it stands on.
fn origin(image: &Image, who: &Effective, place: &Place, setting: &Setting, sink: &mut Sink) {
    if let Some(name) = &image.reference {
        resources::trusted(name, place, setting, sink);
        if let Some(twin) = bases::twin(name).filter(|_| who.verdict != Verdict::NotRoot) {
            sink.add(&UNPRIVILEGED_TWIN, place, format!("{name}: there is {twin}"));
        }
    }
    let base = image.config["config"]["Labels"]["org.opencontainers.image.base.name"].as_str();
    if let Some(base) = base.filter(|base| !base.is_empty() && *base != "scratch") {
        let digest = image.config["config"]["Labels"]["org.opencontainers.image.base.digest"].as_str();
        if digest.is_none_or(str::is_empty) && !bases::is_pinned(base) {
            let what = format!("it stands on {base}, and no digest says which one that was");
            sink.add_as(&MUTABLE_TAG, Severity::Low, place, what);
        }
        resources::trusted(base, place, setting, sink);
    }
}

/// Tells whom a user setting makes of a process of an image.
pub fn effective(image: &Image, text: &str) -> Effective {
    let unproven = Effective { verdict: Verdict::Unproven, uid: None, gid: None, groups: Vec::new() };
    match User::parse(text) {
        None => Effective { verdict: Verdict::Root, uid: Some(0), gid: Some(0), groups: Vec::new() },
        Some(user) if user.ambiguity().is_some() => unproven,
        Some(user) => user.effective(&image.accounts(), image.has_files),
    }
}

fn configuration(image: &Image, who: &Effective, place: &Place, sink: &mut Sink) {
    for port in image.names("ExposedPorts") {
        match port.split('/').next().and_then(|port| port.parse::<u16>().ok()) {
            Some(22) => sink.add(&SSHD, place, "port 22 is exposed"),
            Some(number @ 1..1024) if who.verdict == Verdict::NotRoot => {
                sink.add(&LOW_PORT, place, format!("port {number} is exposed"));
            }
            _ => {}
        }
    }
    for volume in image.names("Volumes").into_iter().filter(|volume| is_system(volume)) {
        sink.add(&SYSTEM_DIRECTORY, place, format!("a volume on {volume}"));
    }
    let dir = image.text("WorkingDir");
    if is_system(dir) {
        sink.add(&SYSTEM_DIRECTORY, place, format!("working directory {dir}"));
    } else if !dir.is_empty() && !dir.starts_with('/') {
        sink.add(&WORKDIR_ODD, place, format!("working directory {dir} is relative"));
    }
    for trigger in image.list("OnBuild") {
        let mut words = trigger.split_whitespace();
        let is_user = words.next().is_some_and(|word| word.eq_ignore_ascii_case("USER"));
        let root = words.next().and_then(User::parse).is_none_or(|user| {
            matches!(user.user, Part::Id(0) | Part::Ambiguous(_)) || user.user == Part::Name("root".to_owned())
        });
        if is_user && root {
            sink.add(&ONBUILD_ROOT, place, format!("ONBUILD {trigger}"));
        }
    }
    for pair in image.list("Env") {
        let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
        if let Some(why) = secrets::is_secret(name, value) {
            secrets::add(sink, Severity::Critical, place, &format!("Env {name}"), why);
        }
        if startup::unverified_variable(name, value) {
            sink.add(&UNVERIFIED, place, format!("Env {pair}"));
        }
    }
    let labels = image.config["config"]["Labels"].as_object();
    for (name, value) in labels.into_iter().flatten() {
        if let Some(why) = secrets::is_secret(name, value.as_str().unwrap_or_default()) {
            secrets::add(sink, Severity::Critical, place, &format!("label {name}"), why);
        }
    }
}

/// What the commands that made it give away.
fn history(image: &Image, file: &Arc<str>, sink: &mut Sink) {
    let steps = image.config["history"].as_array();
    for (at, step) in steps.into_iter().flatten().enumerate() {
        let place = Place { file: Arc::clone(file), line: 0, column: 0 };
        let by = step["created_by"].as_str().unwrap_or_default();
        // What stands behind the shell is the script, without quotes.
        let script = by.split_once("/bin/sh -c ").map_or(by, |(_, script)| script);
        let commands = crate::shell::commands(script);
        if let Some(command) = commands.iter().find(|command| steps::updates_alone(command, &commands)) {
            sink.add(&UPDATE_ALONE, &place, format!("history step {}: {}", at + 1, command.shown()));
        }
        // Builders write `|n NAME=value ... command` for arguments.
        let arguments = by.split_whitespace().filter_map(|word| word.split_once('='));
        let named =
            arguments.into_iter().find_map(|(name, value)| secrets::is_secret(name, value).map(|why| (name, why)));
        let plain = name_of(by);
        if let Some((name, why)) =
            named.filter(|(name, _)| plain && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        {
            secrets::add(sink, Severity::Critical, &place, &format!("history step {} {name}", at + 1), why);
        } else if let Some(why) = secrets::looks_secret(by) {
            secrets::add(sink, Severity::Critical, &place, &format!("history step {}", at + 1), why);
        }
    }
}

/// Tells whether a step of the history has arguments or variables in it, and is no script.
fn name_of(by: &str) -> bool {
    let by = by.trim_start();
    by.starts_with('|')
        || by.starts_with("RUN |")
        || by.starts_with("ENV")
        || by.starts_with("ARG")
        || by.contains("#(nop)")
}
