// SPDX-License-Identifier: Apache-2.0
//! What the start does that root alone can do, line by line.

use super::{Cause, Reason, Remedy};
use crate::facts::image::Image;
use crate::identity::Verdict;
use crate::judge::image::script;
use crate::judge::startup::{self, Ran, Start};
use crate::model::Place;
use crate::shell::Simple;

/// Programs that become another user and run a command as that one.
const DROPPERS: [&str; 7] = ["gosu", "su-exec", "setpriv", "runuser", "s6-setuidgid", "chpst", "su"];

/// Directories that stay writable when the root is read-only.
const STATE: [&str; 8] = ["/var/", "/run/", "/srv/", "/tmp/", "/dev/", "/proc/", "/home/", "/root/"];

/// Places where the scripts of a start lie.
const PLACES: [&str; 5] = ["usr/local/bin/", "usr/local/sbin/", "usr/bin/", "usr/sbin/", "opt/"];

pub(super) fn is_script_place(path: &str) -> bool {
    !path.contains('/') || path.ends_with(".sh") || PLACES.iter().any(|place| path.starts_with(place))
}

/// One command of the start.
#[derive(Debug)]
pub(super) struct Step {
    /// The script, as a path without a leading slash, and the line in it.
    pub at: Option<(String, usize)>,
    /// The command.
    pub command: Simple,
    /// Root alone comes there.
    pub guarded: bool,
}

/// The start, as far as it can be read.
#[derive(Debug)]
pub(super) struct Started {
    /// Its commands.
    pub steps: Vec<Step>,
}

impl Started {
    pub fn read(image: &Image, words: &[String]) -> Self {
        let place = Place::whole(&"".into());
        let scripts = |path: &str, by| Some(script(image, path, by)?.1);
        let start = Start { words, place: &place, root: Verdict::Root, scripts: &scripts, programs: &|_| None };
        let step = |ran: Ran| {
            let path = ran.script.and_then(|name| image.program(&name)).map(|(path, _)| path);
            let at = path.map(|path| (path, ran.line.unwrap_or(1)));
            Step { at, command: ran.command, guarded: ran.guarded }
        };
        Self { steps: startup::commands(&start).into_iter().map(step).collect() }
    }

    /// Tells whether a program is named.
    pub fn names(&self, program: &str) -> bool {
        self.steps.iter().any(|step| step.command.words.iter().any(|w| w.rsplit('/').next() == Some(program)))
    }
}

/// A call of a program that changes the user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// The program, as it is called.
    pub program: String,
    /// The script, absolute, and the line in it.
    pub at: Option<(String, usize)>,
    /// Root alone comes there.
    pub guarded: bool,
}

/// Lists the calls of programs that change the user in an image's start.
pub fn drops(image: &Image) -> Vec<Call> {
    let started = Started::read(image, &image.starts());
    let calls =
        started.steps.iter().filter(|step| DROPPERS.contains(&step.command.program()) || is_sudo(&step.command));
    calls
        .map(|step| Call {
            program: step.command.words[0].clone(),
            at: step.at.as_ref().map(|(path, line)| (format!("/{path}"), *line)),
            guarded: step.guarded,
        })
        .collect()
}

fn is_sudo(command: &Simple) -> bool {
    matches!(command.program(), "sudo" | "doas")
}

pub(super) fn reasons(image: &Image, started: &Started) -> Vec<Reason> {
    let mut found: Vec<Reason> = Vec::new();
    for step in &started.steps {
        for reason in of_step(image, step) {
            let reason = match &step.at {
                Some((path, line)) => reason.at(image, path, Some(*line)),
                None => reason,
            };
            if !found.contains(&reason) {
                found.push(reason);
            }
        }
    }
    found
}

fn of_step(image: &Image, step: &Step) -> Vec<Reason> {
    let command = &step.command;
    let text = command.shown();
    let mut found = Vec::new();
    let mut add = |cause, what: &str, by, remedy: &str| {
        found.push(Reason::new(cause, format!("{what}: {text}"), by, remedy));
    };
    let spared = |otherwise| if step.guarded { Remedy::Nobody } else { otherwise };
    const GUARDED: &str = "nothing: the script asks for uid 0 first";
    let or_guarded = |remedy| if step.guarded { GUARDED } else { remedy };
    match command.program() {
        program if DROPPERS.contains(&program) => {
            let remedy = or_guarded("a program of that name on PATH that runs its command as who it is");
            // What is called by its path cannot be put in another's way.
            let by = if command.words[0].contains('/') { Remedy::Author } else { Remedy::Harden };
            add(Cause::DropsPrivileges, "becomes another user", spared(by), remedy);
        }
        "chroot" if command.has(&["--userspec"]) => {
            add(Cause::DropsPrivileges, "becomes another user", spared(Remedy::Author), or_guarded("start as USER"));
        }
        "sudo" | "doas" => {
            let remedy = or_guarded("do what it does in the build");
            add(Cause::GainsPrivileges, "becomes root", spared(Remedy::Author), remedy);
        }
        "chown" | "chgrp" => {
            let remedy =
                or_guarded("give the files away in the build; a change to the owner that they have is allowed");
            add(Cause::ChangesOwner, "changes owners", spared(Remedy::Harden), remedy);
        }
        "find" if command.words.iter().any(|word| word == "chown") => {
            let remedy = or_guarded("give the files away in the build");
            add(Cause::ChangesOwner, "changes owners", spared(Remedy::Harden), remedy);
        }
        _ => {
            if let Some(what) = startup::needs_root(command).filter(|what| *what != "writes below /etc") {
                add(Cause::Privileged, what, spared(Remedy::Author), or_guarded("do it in the build"));
            }
        }
    }
    if let Some(what) = startup::installs(command) {
        let remedy = or_guarded("install it in the build");
        add(Cause::Installs, what, spared(Remedy::Author), remedy);
    }
    if let Some(path) = outside(command).into_iter().find(|path| !is_state(image, path)) {
        let what = format!("writes to {path}");
        let remedy = or_guarded("write it in the build, or to a volume");
        add(Cause::WritesOutside, &what, spared(Remedy::Author), remedy);
    }
    found
}

/// Lists the absolute paths that a command writes to, as far as its words say.
fn outside(command: &Simple) -> Vec<&str> {
    let mut paths: Vec<&str> = command.outputs.iter().map(String::as_str).collect();
    let last = || command.operands().last();
    match command.program() {
        "cp" | "mv" | "ln" | "install" if command.operands().count() > 1 => paths.extend(last()),
        "mkdir" | "touch" | "rm" | "tee" | "truncate" | "rmdir" => paths.extend(command.operands()),
        "sed" if command.short('i') || command.has(&["--in-place"]) => paths.extend(last()),
        _ => {}
    }
    paths.retain(|path| path.starts_with('/'));
    paths
}

/// Tells whether a path stays writable: by where it is, or since the image says so.
fn is_state(image: &Image, path: &str) -> bool {
    let own = image.names("Volumes").into_iter().chain([image.text("WorkingDir")]).filter(|dir| dir.len() > 1);
    let below = |dir: &str| path == dir || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
    STATE.iter().any(|dir| path.starts_with(dir)) || own.into_iter().any(below)
}
