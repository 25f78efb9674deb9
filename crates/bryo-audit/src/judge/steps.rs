// SPDX-License-Identifier: Apache-2.0
//! The instructions of a Dockerfile, one by one: what is installed, fetched, copied, made and left.

use bryo_build::dockerfile::{Copy, Instruction, Source};

use super::dockerfile::Around;
use super::modes::{self, SetId};
use super::{Setting, resources, secrets, startup, versions};
use crate::bases;
use crate::facts::dockerfile::{Base, Done, Facts, Stage};
use crate::identity::Verdict;
use crate::model::{Place, Severity, Sink};
use crate::rules::*;
use crate::shell::Simple;

/// Judges the instructions of all stages; what only the result has, of those that it stands on.
pub fn judge(facts: &Facts, verdict: Verdict, around: &Around<'_>, setting: &Setting, sink: &mut Sink) {
    let chain = facts.chain();
    for (at, stage) in facts.stages.iter().enumerate() {
        let in_result = chain.contains(&at);
        for done in &stage.steps {
            match &done.step.instruction {
                Instruction::Run(made) => {
                    run(facts, done, in_result.then_some(verdict), sink);
                    for from in
                        made.mounts.iter().filter_map(|mount| mount.split(',').find_map(|w| w.strip_prefix("from=")))
                    {
                        elsewhere(facts, from, &format!("RUN --mount=from={from}"), &done.place, setting, sink);
                    }
                }
                Instruction::Copy(copy) => {
                    self::copy(stage, copy, done, in_result.then_some(verdict), around, sink);
                    if let Some(from) = &copy.from {
                        elsewhere(facts, from, &format!("COPY --from={from}"), &done.place, setting, sink);
                    }
                    let nowhere = stage.workdir.is_none() && !matches!(stage.base, Base::Stage(_));
                    if nowhere && !copy.destination.starts_with(['/', '$']) && in_result {
                        let what = format!("COPY to {}, which is relative, and no WORKDIR is set", copy.destination);
                        sink.add(&WORKDIR_ODD, &done.place, what);
                    }
                }
                Instruction::Env(pairs) => {
                    for (name, value) in pairs {
                        secret(name, value, in_result, &done.place, sink);
                        let plain = value.trim_matches(['"', '\'']);
                        if startup::unverified_variable(name, plain) {
                            sink.add(&UNVERIFIED, &done.place, format!("ENV {name}={plain}"));
                        }
                    }
                }
                Instruction::Arg(arguments) => {
                    for argument in arguments {
                        let value = argument.default.as_deref().unwrap_or_default();
                        secret(&argument.name, value, in_result, &done.place, sink);
                    }
                }
                Instruction::Label(pairs) => {
                    for (name, value) in pairs {
                        secret(name, value, in_result, &done.place, sink);
                    }
                }
                _ => {}
            }
        }
    }
}

/// What is taken from an image that is no stage.
fn elsewhere(facts: &Facts, from: &str, what: &str, place: &Place, setting: &Setting, sink: &mut Sink) {
    if facts.find(from).is_some() || from.contains('$') {
        return;
    }
    if !bases::is_pinned(from) {
        sink.add(&UNTRUSTED_REGISTRY, place, format!("{what}: an image, and not by its digest"));
    }
    resources::trusted(from, place, setting, sink);
}

/// A secret of a stage that is thrown away is still in the builder's cache.
fn secret(name: &str, value: &str, in_result: bool, place: &Place, sink: &mut Sink) {
    if let Some(why) = secrets::is_secret(name, value) {
        let severity = if in_result { Severity::Critical } else { Severity::High };
        secrets::add(sink, severity, place, name, why);
    }
}

/// `result` is who runs the result, if this step is in it.
fn run(facts: &Facts, done: &Done, result: Option<Verdict>, sink: &mut Sink) {
    let text = &done.step.text;
    for (flag, what) in [
        ("--security=insecure", "the step runs with all privileges"),
        ("--network=host", "the step has the host's network"),
        ("--device", "the step has a device"),
    ] {
        if text
            .split_whitespace()
            .take_while(|word| word.starts_with("--") || *word == "RUN")
            .any(|word| word.starts_with(flag))
        {
            sink.add(&BUILD_PRIVILEGES, &done.place, what);
        }
    }
    if text.contains("docker.sock") {
        sink.add(&BUILD_PRIVILEGES, &done.place, "the step wants an engine's socket");
    }
    if secrets::looks_secret(&done.script).is_some() {
        secrets::add(sink, Severity::Critical, &done.place, "RUN", "a secret is in the command");
    }
    let all = &done.commands;
    for (at, command) in all.iter().enumerate() {
        let at_line = || {
            let needle = match command.arguments().first() {
                Some(next) => format!("{} {next}", command.words[0]),
                None => command.words.first().cloned().unwrap_or_default(),
            };
            facts.line_of(done, &needle)
        };
        if let Some(why) = startup::unverified(command) {
            sink.add(&UNVERIFIED, &at_line(), format!("{why}: {}", command.shown()));
        }
        if let Some((name, why)) = secrets::of_command(command) {
            secrets::add(sink, Severity::Critical, &at_line(), &name, why);
        }
        if command
            .assignments
            .iter()
            .any(|pair| pair.split_once('=').is_some_and(|(n, v)| startup::unverified_variable(n, v)))
        {
            sink.add(&UNVERIFIED, &done.place, command.assignments.join(" "));
        }
        if matches!(command.program(), "curl" | "wget") && command.piped {
            let next = all.get(at + 1).map(Simple::program).unwrap_or_default();
            if matches!(next, "sh" | "bash" | "ash" | "zsh" | "python" | "python3" | "perl" | "ruby" | "node" | "sudo")
            {
                sink.add(&REMOTE_CODE, &at_line(), format!("{} is run by {next}", command.shown()));
            }
        }
        packages(command, all, done, &at_line, sink);
        if let Some(who) = result {
            permissions(command, all, who, &at_line, sink);
        }
    }
    if result.is_some() {
        caches(facts, done, sink);
    }
}

/// Tells whether a command fetches lists of packages, and none of its step installs from them.
pub(super) fn updates_alone(command: &Simple, all: &[Simple]) -> bool {
    let manager = |of: &Simple| matches!(of.program(), "apt" | "apt-get" | "aptitude" | "apk");
    let verb = |of: &Simple| of.operands().next().unwrap_or_default().to_owned();
    let installs = |other: &Simple| manager(other) && !matches!(&*verb(other), "update" | "clean" | "autoremove");
    manager(command) && verb(command) == "update" && !all.iter().any(installs)
}

/// What package managers are told.
fn packages(command: &Simple, all: &[Simple], done: &Done, place: &dyn Fn() -> Place, sink: &mut Sink) {
    let program = command.program();
    let verb = command.operands().next().unwrap_or_default();
    let upgrades = match program {
        "apt" | "apt-get" | "aptitude" => matches!(verb, "upgrade" | "dist-upgrade" | "full-upgrade"),
        "apk" | "yum" | "dnf" | "microdnf" => {
            verb == "upgrade" || verb == "update" && program != "apk" && command.operands().count() == 1
        }
        "zypper" => matches!(verb, "update" | "up" | "dist-upgrade" | "dup"),
        _ => false,
    };
    if upgrades {
        sink.add(&DIST_UPGRADE, &place(), command.shown());
    }
    if updates_alone(command, all) {
        sink.add(&UPDATE_ALONE, &place(), command.shown());
    }
    let from_lists = matches!(program, "apt" | "apt-get") && verb == "install";
    if from_lists && !command.has(&["--no-install-recommends"]) && !done.script.contains("Install-Recommends") {
        sink.add(&RECOMMENDED, &place(), command.shown());
    }
    versions::judge(command, verb, place, sink);
}

/// What stays in the layer.
fn caches(facts: &Facts, done: &Done, sink: &mut Sink) {
    let mounted = |dir: &str| done.step.text.contains("type=cache") && done.step.text.contains(dir);
    let cleaned = |what: &[&str]| what.iter().any(|word| done.script.contains(word));
    for command in &done.commands {
        let verb = command.operands().next().unwrap_or_default();
        let kept = match command.program() {
            "apt" | "apt-get" => verb == "update" && !cleaned(&["/var/lib/apt/lists"]) && !mounted("/var/lib/apt"),
            "apk" => {
                verb == "add"
                    && !command.has(&["--no-cache"])
                    && !cleaned(&["/var/cache/apk"])
                    && !mounted("/var/cache/apk")
            }
            "yum" => verb == "install" && !cleaned(&["yum clean all", "/var/cache/yum"]) && !mounted("/var/cache"),
            "dnf" | "microdnf" => verb == "install" && !cleaned(&["clean all", "/var/cache"]) && !mounted("/var/cache"),
            "zypper" => matches!(verb, "install" | "in") && !cleaned(&["zypper clean", "zypper cc", "/var/cache/zypp"]),
            "pip" | "pip3" => {
                verb == "install"
                    && !command.has(&["--no-cache-dir"])
                    && !cleaned(&["PIP_NO_CACHE_DIR", "pip cache purge", ".cache/pip", "/root/.cache"])
                    && !mounted(".cache")
                    && !facts.text.contains("PIP_NO_CACHE_DIR")
            }
            "yarn" => matches!(verb, "install" | "add") && !cleaned(&["yarn cache clean"]) && !mounted("yarn"),
            _ => false,
        };
        if kept {
            let place = facts.line_of(done, &format!("{} {verb}", command.program()));
            sink.add(&CACHE_KEPT, &place, format!("the cache of {}", command.program()));
        }
    }
}

/// Who may do what in the result.
fn permissions(command: &Simple, all: &[Simple], who: Verdict, place: &dyn Fn() -> Place, sink: &mut Sink) {
    let severity = startup::escape_severity(who);
    let text = command.shown();
    match command.program() {
        "chmod" if modes::set_id(command, all) == SetId::Program => sink.add_as(&SET_ID, severity, &place(), text),
        "chmod" if modes::set_id(command, all) == SetId::Maybe => sink.add_as(&SET_ID, Severity::Low, &place(), text),
        "chmod" if modes::all_write(command) => sink.add(&WRITABLE_CODE, &place(), text),
        "setcap" if !command.has(&["-r"]) => sink.add(&FILE_CAPABILITIES, &place(), text),
        "sudo" | "doas" => sink.add_as(&SUDO, Severity::Medium, &place(), text),
        "visudo" => sink.add_as(&SUDO, severity, &place(), text),
        "chpasswd" => sink.add(&EMPTY_PASSWORD, &place(), "chpasswd: the password is the same wherever the image runs"),
        "usermod" | "useradd" if command.has(&["-p", "--password"]) => {
            sink.add(&EMPTY_PASSWORD, &place(), format!("{}: a password that the image has", command.program()));
        }
        "passwd" if command.has(&["-d", "--delete"]) => sink.add(&EMPTY_PASSWORD, &place(), text),
        "usermod" | "adduser" | "addgroup" if powerful(command) => sink.add_as(&SUDO, severity, &place(), text),
        _ if command.outputs.iter().any(|path| path.starts_with("/etc/sudoers")) => {
            sink.add_as(&SUDO, severity, &place(), text);
        }
        "apt" | "apt-get" | "apk" | "dnf" | "yum" | "microdnf" | "zypper" => {
            if matches!(command.operands().next(), Some("install" | "add" | "in")) {
                installed(command, severity, place, sink);
            }
        }
        _ => {}
    }
    let to_sudoers = matches!(command.program(), "tee" | "cp" | "mv" | "install" | "sed")
        && command.operands().any(|word| word.starts_with("/etc/sudoers"));
    if to_sudoers {
        sink.add_as(&SUDO, severity, &place(), command.shown());
    }
}

fn installed(command: &Simple, severity: Severity, place: &dyn Fn() -> Place, sink: &mut Sink) {
    for word in command.operands().skip(1) {
        let name = word.split(['=', '~', ':']).next().unwrap_or_default();
        match name {
            "sudo" | "doas" | "opendoas" => {
                sink.add_as(&SUDO, severity, &place(), format!("{name} is installed"));
                if severity == Severity::High {
                    sink.add(&ROOT_IN_REACH, &place(), format!("{name} is installed, and the user is not root"));
                }
            }
            "openssh-server" | "dropbear" => sink.add(&SSHD, &place(), format!("{name} is installed")),
            "gcc" | "g++" | "build-essential" | "make" | "clang" | "build-base" | "gdb" | "git" | "cmake"
                if !command.has(&["-t", "--virtual"]) =>
            {
                sink.add(&TOOLS_LEFT, &place(), format!("{name} is installed in what is built"));
            }
            "supervisor" => sink.add(&SUPERVISOR, &place(), "supervisor is installed"),
            _ => {}
        }
    }
}

/// Membership of groups that have root's power.
fn powerful(command: &Simple) -> bool {
    let groups = crate::identity::POWERFUL_GROUPS;
    let word = |text: &str| text.split(',').any(|group| groups.contains(&group));
    let joins = command.program() != "usermod" || command.short('G') || command.has(&["--groups"]);
    joins
        && command
            .arguments()
            .iter()
            .skip(1)
            .any(|text| word(text) && text != "root" || word(text) && joins && command.program() == "usermod")
}

fn copy(stage: &Stage, copy: &Copy, done: &Done, result: Option<Verdict>, around: &Around<'_>, sink: &mut Sink) {
    let place = &done.place;
    for source in &copy.sources {
        let Source::Path(path) = source else { continue };
        let remote = path.contains("://") || path.starts_with("git@");
        if copy.add && remote && copy.checksum.is_none() {
            sink.add(&REMOTE_CODE, place, format!("ADD {path} without --checksum"));
        } else if copy.add && !remote {
            let archive = [".tar", ".tgz", ".gz", ".xz", ".bz2", ".zst"].iter().any(|end| path.ends_with(end));
            let what = if archive { "is unpacked" } else { "could be copied" };
            sink.add(&ADD_ARCHIVE, place, format!("ADD {path} {what}"));
        }
        if copy.from.is_none() {
            local(path, place, result.is_some(), around, sink);
        }
    }
    if let Some(from) = &copy.from {
        let root = copy.sources == [Source::Path("/".to_owned())] && copy.destination == "/";
        if root && result.is_some() {
            sink.add(&WHOLE_STAGE, place, format!("COPY --from={from} / /"));
        }
    }
    let Some(who) = result else { return };
    let mode = copy.chmod.as_deref().unwrap_or_default();
    let simple = Simple { words: vec!["chmod".to_owned(), mode.to_owned()], ..Simple::default() };
    if modes::set_id(&simple, &[]) == SetId::Program {
        sink.add_as(&SET_ID, startup::escape_severity(who), place, format!("--chmod={mode}"));
    } else if modes::all_write(&simple) {
        sink.add(&WRITABLE_CODE, place, format!("--chmod={mode}"));
    }
    owned(stage, copy, who, place, sink);
}

/// Code that belongs to whoever runs it.
fn owned(stage: &Stage, copy: &Copy, who: Verdict, place: &Place, sink: &mut Sink) {
    let (Some(owner), Some(user)) = (&copy.chown, &stage.user) else { return };
    let first = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    let code = ["/app", "/bin", "/usr", "/opt", "/srv", "/lib", "/sbin", "/entrypoint"];
    let target = &copy.destination;
    let is_code = target.starts_with('.') || code.iter().any(|dir| target.starts_with(dir)) || target.ends_with(".sh");
    if who == Verdict::NotRoot && is_code && first(owner) == first(&user.value.text) && copy.chmod.is_none() {
        sink.add(&WRITABLE_CODE, place, format!("{target} belongs to {owner}, who runs it"));
    }
}

/// Files of the context that do not belong into an image.
fn local(path: &str, place: &Place, in_result: bool, around: &Around<'_>, sink: &mut Sink) {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    // A certificate has this ending too.
    let certificate = name.ends_with(".pem") && !name.contains("key");
    if secrets::is_key_file(path) && name != ".env" && !certificate {
        let severity = if in_result { Severity::Critical } else { Severity::High };
        secrets::add(sink, severity, place, path, "a file that keys are in is copied");
    }
    let leftover = matches!(name, ".git" | ".env" | ".svn" | "Dockerfile" | ".dockerignore");
    if leftover && in_result {
        sink.add(&LEFTOVERS, place, format!("{path} is copied"));
    }
    if matches!(path, "." | "./" | "*") && around.ignores == Some(false) && in_result {
        sink.add(&LEFTOVERS, place, "all of the context is copied, and there is no .dockerignore");
    }
}
