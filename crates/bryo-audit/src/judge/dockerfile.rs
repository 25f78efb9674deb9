// SPDX-License-Identifier: Apache-2.0
//! A Dockerfile as what it builds: who runs, what starts, what it stands on.

use bryo_build::dockerfile::{Command, Instruction};

use super::startup::{self, By, Start};
use super::{Setting, resources, steps};
use crate::bases;
use crate::facts::dockerfile::{Base, Facts, Passwd, Said, Stage};
use crate::identity::{Accounts, Effective, Part, User, Verdict};
use crate::model::{Fact, Place, Severity, Sink};
use crate::rules::*;

/// What is around a Dockerfile.
pub struct Around<'a> {
    /// Returns the user of an image that is at hand.
    pub user_of: &'a dyn Fn(&str) -> Option<String>,
    /// Returns the accounts of an image that is at hand.
    pub accounts_of: &'a dyn Fn(&str) -> Option<Accounts>,
    /// Reads a small file of the context.
    pub context: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the context has a `.dockerignore`; nothing if there is no context.
    pub ignores: Option<bool>,
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("ignores", &self.ignores).finish_non_exhaustive()
    }
}

/// Judges a Dockerfile, and tells who runs what it builds.
pub fn judge(facts: &Facts, around: &Around<'_>, setting: &Setting, sink: &mut Sink) -> Verdict {
    let Some(stage) = facts.stages.get(facts.target) else { return Verdict::Unproven };
    let found = match &stage.user {
        Some(user) => said(facts, user, around, sink),
        None => unsaid(facts, stage, around, sink),
    };
    // What else is judged takes a name of which nothing is known for somebody who is not root.
    let named = |user: &Fact<Said>| matches!(User::parse(&user.value.text), Some(User { user: Part::Name(_), .. }));
    let is_name = stage.user.as_ref().is_none_or(|user| !user.value.unknown && named(user));
    let verdict = if found == Verdict::Unproven && is_name { Verdict::NotRoot } else { found };
    onbuild(stage, sink);
    starts(facts, stage, verdict, around, sink);
    ports(stage, verdict, sink);
    directories(stage, sink);
    if stage.healthcheck.as_ref().is_none_or(|check| check.value.is_none()) {
        let place = stage.healthcheck.as_ref().map_or(&stage.place, |check| &check.place);
        sink.add(&HEALTHCHECK, place, "no HEALTHCHECK");
    }
    sources(facts, verdict, setting, sink);
    form(facts, sink);
    frontend(facts, sink);
    steps::judge(facts, verdict, around, setting, sink);
    found
}

/// Tells whom a user setting makes of a process of what is built: by the accounts that its commands make, those that are
/// copied, and those of the base where they are at hand.
pub fn who(facts: &Facts, user: &User, around: &Around<'_>) -> Effective {
    let (image, base, made) = accounts(facts, facts.target, around, matches!(user.user, Part::Name(_)));
    user.resolved(&image, base.as_ref(), &made)
}

/// Returns the image below a stage, its accounts if they are at hand, and those that are made above it. An image is only
/// looked at for a name.
fn accounts(facts: &Facts, at: usize, around: &Around<'_>, named: bool) -> (String, Option<Accounts>, Accounts) {
    let image = facts.base_of(at).unwrap_or("scratch").to_owned();
    let Some(stage) = facts.stages.get(at) else { return (image, None, Accounts::default()) };
    let mut made = stage.accounts.clone();
    let look = |image: &str| (around.accounts_of)(image).filter(|_| named);
    match &stage.passwd {
        None => {
            let base = if named && facts.base_of(at).is_none() { Some(Accounts::default()) } else { look(&image) };
            (image, base, made)
        }
        Some(Passwd::File(path)) => match (around.context)(path) {
            Some(text) => (image, Some(Accounts::parse(text.as_bytes(), b"")), made),
            None => {
                made.touched = true;
                (image, None, made)
            }
        },
        Some(Passwd::Stage(from)) => match facts.find(from).filter(|other| *other < at) {
            Some(other) => {
                let (image, base, mut below) = accounts(facts, other, around, named);
                below.add(&made);
                (image, base, below)
            }
            None => (from.clone(), look(from), made),
        },
    }
}

/// A user that is set.
fn said(facts: &Facts, user: &Fact<Said>, around: &Around<'_>, sink: &mut Sink) -> Verdict {
    let (place, text) = (&user.place, &user.value.text);
    if user.value.unknown {
        let evidence = format!("USER {}: a variable has no value here, so nobody can say who it is", user.value.raw);
        sink.add(&USER_VARIABLE, place, evidence);
        return Verdict::Unproven;
    }
    let Some(parsed) = User::parse(text) else {
        sink.add(&USER_ROOT, place, "USER is empty");
        return Verdict::Root;
    };
    if let Some(why) = parsed.ambiguity() {
        sink.add(&USER_AMBIGUOUS, place, format!("USER {text}: {why}"));
        return Verdict::Unproven;
    }
    let who = who(facts, &parsed, around);
    match (&parsed.user, who.verdict) {
        (_, Verdict::Root) if user.value.variable => {
            sink.add(&USER_VARIABLE, place, format!("USER {} is {text}", user.value.raw));
        }
        (Part::Name(name), Verdict::Root) if name != "root" => {
            sink.add(&USER_ALIAS_OF_ROOT, place, format!("{name} has uid 0"));
        }
        (_, Verdict::Root) => sink.add(&USER_ROOT, place, format!("USER {text}")),
        (Part::Name(name), Verdict::Unproven) => {
            let base = facts.base().unwrap_or("scratch");
            let what = format!("USER {name}: made by no command here that can be read, and no known account of {base}");
            sink.add_as(&USER_ALIAS_OF_ROOT, Severity::Medium, place, what);
        }
        _ => {}
    }
    if who.verdict != Verdict::NotRoot {
        return who.verdict;
    }
    let unknown_number = matches!(parsed.user, Part::Id(_)) && parsed.group.is_none() && who.gid.is_none();
    if who.gid == Some(0) || unknown_number {
        sink.add(&GROUP_ZERO, place, format!("USER {text}: the group is 0"));
    }
    if let Some(uid) = who.uid.filter(|uid| (1..=10_000).contains(uid)) {
        sink.add(&LOW_UID, place, format!("uid {uid}"));
    }
    who.verdict
}

/// No user in the target or below it.
fn unsaid(facts: &Facts, stage: &Stage, around: &Around<'_>, sink: &mut Sink) -> Verdict {
    let place = &stage.place;
    let base = facts.base().unwrap_or("scratch");
    let known = (around.user_of)(base).or_else(|| bases::known_user(base).map(str::to_owned));
    if let Some(user) = &known
        && let Some(parsed) = User::parse(user)
    {
        let who = who(facts, &parsed, around).verdict;
        if who != Verdict::Root {
            sink.add(&USER_INHERITED, place, format!("{base} sets USER {user}"));
            return who;
        }
        if matches!(&parsed.user, Part::Name(name) if name != "root") {
            sink.add(&USER_ALIAS_OF_ROOT, place, format!("{base} sets USER {user}, who has uid 0"));
            return who;
        }
    }
    let other = facts.stages.iter().filter(|other| !std::ptr::eq(*other, stage)).find_map(|other| other.user.as_ref());
    match other.filter(|user| User::parse(&user.value.text).is_some_and(|user| !matches!(user.user, Part::Id(0)))) {
        Some(user) => {
            let evidence = format!("USER {} is of a stage that is not built upon", user.value.text);
            sink.add(&USER_ONLY_IN_BUILDER, &user.place, evidence);
        }
        None => {
            let why = if known.is_some() { "sets none either" } else { "is not known to set one" };
            sink.add(&NO_USER, place, format!("no USER, and {base} {why}"));
        }
    }
    Verdict::Root
}

fn onbuild(stage: &Stage, sink: &mut Sink) {
    for trigger in &stage.onbuild {
        let user = trigger.value.split_whitespace().collect::<Vec<_>>();
        if let [keyword, user, ..] = user[..]
            && keyword.eq_ignore_ascii_case("USER")
            && User::parse(user.trim_matches(['"', '\''])).is_none_or(|user| {
                matches!(user.user, Part::Id(0) | Part::Ambiguous(_)) || user.user == Part::Name("root".to_owned())
            })
        {
            sink.add(&ONBUILD_ROOT, &trigger.place, format!("ONBUILD {}", trigger.value));
        }
    }
}

fn words(command: &Command) -> Vec<String> {
    command.words(&["/bin/sh".to_owned(), "-c".to_owned()])
}

/// Entrypoint, command and health check.
fn starts(facts: &Facts, stage: &Stage, verdict: Verdict, around: &Around<'_>, sink: &mut Sink) {
    let scripts = |path: &str, by| script(facts, path, by, around);
    let all = [&stage.entrypoint, &stage.cmd];
    for command in all.into_iter().flatten() {
        let words = words(&command.value);
        unknown_script(facts, &words, &command.place, around, sink);
        let (words, place, root) = (&words[..], &command.place, verdict);
        startup::judge(&Start { words, place, root, scripts: &scripts, programs: &|_| None }, sink);
    }
    if let Some(Fact { value: Some(check), place }) = &stage.healthcheck {
        let words = words(check);
        let (words, root) = (&words[..], verdict);
        startup::judge(&Start { words, place, root, scripts: &scripts, programs: &|_| None }, sink);
    }
}

/// A script that is started, is copied from the context, and is not there to be read.
fn unknown_script(facts: &Facts, words: &[String], place: &Place, around: &Around<'_>, sink: &mut Sink) {
    let is_script = |word: &&String| word.ends_with(".sh") || word.ends_with("entrypoint");
    for word in words.iter().take(2).filter(is_script) {
        let name = word.rsplit('/').next().unwrap_or(word);
        let copies = facts.chain().into_iter().filter_map(|at| facts.stages.get(at));
        let own = copies.flat_map(crate::facts::dockerfile::copies).filter(|(copy, _)| copy.from.is_none());
        let paths = own.flat_map(|(copy, _)| &copy.sources).filter_map(|source| match source {
            bryo_build::dockerfile::Source::Path(path) => Some(path.as_str()),
            bryo_build::dockerfile::Source::Heredoc(_) => None,
        });
        let named = paths.into_iter().find(|path| path.rsplit('/').next() == Some(name));
        if let Some(path) = named.filter(|_| around.ignores.is_some() && copied(facts, name, around).is_none()) {
            let what = format!("{word} is {path} of the context, which is no file here: what it does is not known");
            sink.add(&UNRESOLVED, place, what);
        }
    }
}

/// Finds the file of the context that a path of the image was copied from.
fn script(facts: &Facts, path: &str, by: By, around: &Around<'_>) -> Option<String> {
    let name = path.rsplit('/').next()?;
    // A word alone may be any program; a script says what it is.
    let is_one = |text: &String| by == By::Source || path.contains('/') || startup::is_shell(text);
    copied(facts, name, around).filter(is_one)
}

fn copied(facts: &Facts, name: &str, around: &Around<'_>) -> Option<String> {
    for at in facts.chain() {
        for (copy, _) in crate::facts::dockerfile::copies(facts.stages.get(at)?).filter(|(copy, _)| copy.from.is_none())
        {
            for source in &copy.sources {
                let (file, content) = match source {
                    bryo_build::dockerfile::Source::Path(file) => (file.as_str(), None),
                    bryo_build::dockerfile::Source::Heredoc(heredoc) => (heredoc.name.as_str(), Some(heredoc.text())),
                };
                let directory = copy.destination.ends_with('/') || copy.sources.len() > 1 || copy.destination == ".";
                let becomes = if directory { file } else { copy.destination.as_str() };
                if becomes.rsplit('/').next() == Some(name) {
                    return content.or_else(|| (around.context)(file));
                }
                // A directory that has it.
                if let Some(text) = (around.context)(&format!("{}/{name}", file.trim_end_matches('/'))) {
                    return Some(text);
                }
            }
        }
    }
    None
}

fn ports(stage: &Stage, verdict: Verdict, sink: &mut Sink) {
    for exposed in &stage.exposed {
        let number = exposed.value.split(['/', '-']).next().and_then(|port| port.parse::<u16>().ok());
        match number {
            Some(22) => sink.add(&SSHD, &exposed.place, "EXPOSE 22"),
            Some(port @ 1..1024) if verdict == Verdict::NotRoot => {
                sink.add(&LOW_PORT, &exposed.place, format!("EXPOSE {port}"));
            }
            _ => {}
        }
    }
}

/// Tells whether a path is one of the system's.
pub fn is_system(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    ["/proc", "/sys", "/dev", "/etc", "/var/run", "/run/secrets"]
        .iter()
        .any(|dir| path == *dir || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')))
}

fn directories(stage: &Stage, sink: &mut Sink) {
    if let Some(dir) = &stage.workdir {
        let text = &dir.value.text;
        if !text.starts_with('/') && !dir.value.unknown && !text.contains(':') {
            sink.add(&WORKDIR_ODD, &dir.place, format!("WORKDIR {text} is relative"));
        }
        if is_system(text) {
            sink.add(&SYSTEM_DIRECTORY, &dir.place, format!("WORKDIR {text}"));
        }
    }
    for volume in stage.volumes.iter().filter(|volume| is_system(&volume.value)) {
        sink.add(&SYSTEM_DIRECTORY, &volume.place, format!("VOLUME {}", volume.value));
    }
}

/// The images that stages stand on.
fn sources(facts: &Facts, verdict: Verdict, setting: &Setting, sink: &mut Sink) {
    for (at, stage) in facts.stages.iter().enumerate() {
        let Base::Image(image) = &stage.base else { continue };
        if stage.from.unknown {
            sink.add(&MUTABLE_TAG, &stage.place, format!("FROM {} depends on an argument", stage.from.raw));
            continue;
        }
        if !bases::is_pinned(image) {
            let (_, tag) = bases::split(image);
            let what = if matches!(tag, "" | "latest") { "without a tag, or latest" } else { "by a tag that may move" };
            let severity = if matches!(tag, "" | "latest") { Severity::Medium } else { Severity::Low };
            sink.add_as(&MUTABLE_TAG, severity, &stage.place, format!("FROM {image}: {what}"));
        }
        resources::trusted(image, &stage.place, setting, sink);
        let final_chain = facts.chain().contains(&at);
        if let Some(twin) = bases::twin(image)
            && final_chain
            && verdict != Verdict::NotRoot
        {
            sink.add(&UNPRIVILEGED_TWIN, &stage.place, format!("{image}: there is {twin}"));
        }
    }
}

/// What hides what is run.
fn form(facts: &Facts, sink: &mut Sink) {
    for (at, stage) in facts.stages.iter().enumerate() {
        let named_before = facts.stages[..at].iter().any(|other| other.name == stage.name);
        if named_before {
            sink.add(&FORM, &stage.place, format!("two stages are called {}", stage.name));
        }
        let mut seen: Vec<&'static str> = Vec::new();
        for done in &stage.steps {
            let keyword = done.step.instruction.keyword();
            match &done.step.instruction {
                Instruction::Cmd(command) | Instruction::Entrypoint(command) => {
                    if seen.contains(&keyword) {
                        sink.add(&FORM, &done.place, format!("{keyword} is there twice; the last one counts"));
                    }
                    seen.push(keyword);
                    if matches!(command, Command::Shell(_)) {
                        sink.add(
                            &FORM,
                            &done.place,
                            format!("{keyword} for a shell: signals do not reach the program"),
                        );
                    }
                }
                Instruction::Maintainer(_) => sink.add(&FORM, &done.place, "MAINTAINER is a label today"),
                Instruction::Copy(copy)
                    if copy.from.as_deref().is_some_and(|from| from.eq_ignore_ascii_case(&stage.name)) =>
                {
                    sink.add(&FORM, &done.place, "a stage copies from itself");
                }
                _ => {}
            }
        }
    }
}

/// `# syntax=` names a program that reads the file with the builder's rights.
fn frontend(facts: &Facts, sink: &mut Sink) {
    let directives = facts.text.lines().enumerate().take_while(|(_, line)| line.trim_start().starts_with('#'));
    for (at, line) in directives {
        let Some((key, value)) = line.trim_start_matches(['#', ' ']).split_once('=') else { continue };
        let value = value.trim();
        if key.trim().eq_ignore_ascii_case("syntax") && !value.starts_with("docker/dockerfile") {
            let Some(stage) = facts.stages.first() else { return };
            let place = Place { line: at + 1, column: 1, ..stage.place.clone() };
            sink.add_as(&BUILD_PRIVILEGES, Severity::Medium, &place, format!("the frontend {value} reads this file"));
        }
    }
}
