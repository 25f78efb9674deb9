// SPDX-License-Identifier: Apache-2.0
//! What happens when a container starts: entrypoint, command, the scripts they are, probes and hooks.

use crate::identity::Verdict;
use crate::model::{Place, Severity, Sink};
use crate::reasons::guard;
use crate::rules::*;
use crate::shell::{self, Simple};

/// How many scripts call each other.
const SCRIPTS_MAX: usize = 8;

/// How a script is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// By a word of the start, which is found as the start finds it.
    Start,
    /// By another script.
    Script,
    /// By a shell that goes on with it: it needs no first line that says what it is.
    Source,
}

/// What is known of a program.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Program {
    /// It is put before another one, and changes nobody's user.
    pub harmless: bool,
    /// It runs as its owner, who is root.
    pub set_id: bool,
}

/// A start.
pub struct Start<'a> {
    /// The words.
    pub words: &'a [String],
    /// Where they are said.
    pub place: &'a Place,
    /// Who runs them.
    pub root: Verdict,
    /// Reads a script of the image.
    pub scripts: &'a dyn Fn(&str, By) -> Option<String>,
    /// Looks a program up, where there are files.
    pub programs: &'a dyn Fn(&str) -> Option<Program>,
}

impl std::fmt::Debug for Start<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("words", &self.words).field("root", &self.root).finish_non_exhaustive()
    }
}

/// A command of a start.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The script that it is in, by the name that it is called by.
    pub script: Option<String>,
    /// Its line there, from 1.
    pub line: Option<usize>,
    /// The command.
    pub command: Simple,
    /// Root alone comes there.
    pub guarded: bool,
}

/// Lists the commands of a start, each with the script that it is in.
pub fn commands(start: &Start<'_>) -> Vec<Ran> {
    let own = shell::commands_of(start.words).into_iter();
    let mut found: Vec<Ran> = own.map(|command| Ran { script: None, line: None, command, guarded: false }).collect();
    let mut read: Vec<String> = Vec::new();
    let mut at = 0;
    while at < found.len() && read.len() < SCRIPTS_MAX {
        let (caller, guarded) = (found[at].script.is_some(), found[at].guarded);
        let words = found[at].command.words.clone();
        at += 1;
        for (path, by) in called(&words, caller) {
            if read.contains(path) {
                continue;
            }
            if let Some(text) = (start.scripts)(path, by) {
                read.push(path.clone());
                found.extend(commands_of_script(path, &text, guarded));
            }
        }
    }
    found
}

/// Lists the words of a command that may be scripts.
fn called(words: &[String], caller: bool) -> Vec<(&String, By)> {
    let by = if caller { By::Script } else { By::Start };
    match words {
        [source, path, ..] if source == "." || source == "source" => vec![(path, By::Source)],
        [program, rest @ ..] => {
            // A shell's first operand is a script.
            let second = rest.first().filter(|word| word.contains('/') || word.ends_with(".sh"));
            [Some(program), second].into_iter().flatten().map(|word| (word, by)).collect()
        }
        [] => Vec::new(),
    }
}

fn commands_of_script(name: &str, text: &str, guarded: bool) -> Vec<Ran> {
    let mut last = 0;
    let one = |command: Simple| {
        let line = line_of(text, &command, last);
        last = line.unwrap_or(last);
        let guarded = guarded || line.is_some_and(|line| guard::guarded(text, line));
        Ran { script: Some(name.to_owned()), line, command, guarded }
    };
    shell::commands(text).into_iter().map(one).collect()
}

/// Finds the line of a command, from 1: commands come in the order of their lines.
fn line_of(text: &str, command: &Simple, last: usize) -> Option<usize> {
    let first = command.words.first().or(command.outputs.first())?;
    let second = command.words.get(1).filter(|word| !word.is_empty() && !word.contains('$'));
    let fits = |line: &str| {
        let named = line.split(|c: char| c.is_whitespace() || "'\"`;&|()".contains(c)).any(|word| word == first);
        named && !line.trim_start().starts_with('#') && second.is_none_or(|second| line.contains(second.as_str()))
    };
    let lines = || text.lines().enumerate().filter(|(_, line)| fits(line)).map(|(at, _)| at + 1);
    lines().find(|at| *at >= last).or_else(|| lines().next())
}

/// Tells whether a text is a script of a shell, by its first line.
pub fn is_shell(text: &str) -> bool {
    let Some(first) = text.strip_prefix("#!").and_then(|text| text.lines().next()) else { return false };
    let words = first.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    let mut words = words.filter(|word| !matches!(*word, "env" | "busybox") && !word.starts_with('-'));
    matches!(words.next(), Some("sh" | "bash" | "ash" | "dash" | "ksh" | "zsh" | "mksh" | "with-contenv" | "execlineb"))
}

/// Judges a start.
pub fn judge(start: &Start<'_>, sink: &mut Sink) {
    for Ran { script, command, guarded, .. } in commands(start) {
        let shown = |what: &str| match &script {
            Some(script) => format!("{script}: {what}"),
            None => what.to_owned(),
        };
        let text = command.shown();
        if let Some(what) = installs(&command) {
            sink.add(&INSTALLS_AT_START, start.place, shown(&format!("{what}: {text}")));
        }
        if let Some((name, why)) = super::secrets::of_command(&command) {
            super::secrets::add(sink, Severity::Critical, start.place, &shown(&name), why);
        }
        if let Some(what) = unverified(&command) {
            sink.add(&UNVERIFIED, start.place, shown(&format!("{what}: {text}")));
        }
        let known = command.words.first().and_then(|program| (start.programs)(program)).unwrap_or_default();
        if known.harmless || guarded && start.root == Verdict::NotRoot {
            continue;
        }
        let who = start.root;
        match command.program() {
            "gosu" | "su-exec" | "setpriv" | "runuser" | "s6-setuidgid" | "chpst" | "su" => {
                let to_root = su_user(&command).is_none_or(|user| user == "root");
                let program = command.program();
                if who != Verdict::NotRoot {
                    if command.operands().next() != Some("root") {
                        sink.add(&DROPS_LATER, start.place, shown(&format!("root until {text}")));
                    }
                } else if known.set_id && program != "su" || program == "su" && to_root {
                    sink.add(&ROOT_IN_REACH, start.place, shown(&format!("the start changes the user: {text}")));
                } else {
                    // Nobody but root can become another one.
                    sink.add(&ROOT_AT_START, start.place, shown(&format!("changes the user: {text}")));
                }
            }
            "chroot" if command.has(&["--userspec"]) && who != Verdict::NotRoot => {
                sink.add(&DROPS_LATER, start.place, shown(&format!("root until {text}")));
            }
            "sudo" | "doas" => sink.add(&ROOT_IN_REACH, start.place, shown(&format!("the start becomes root: {text}"))),
            "sshd" | "dropbear" => sink.add(&SSHD, start.place, shown(&text)),
            "supervisord" | "s6-svscan" | "runsvdir" | "systemd" | "init" | "circusd" | "pm2-runtime" => {
                sink.add(&SUPERVISOR, start.place, shown(&text));
            }
            _ => {}
        }
        if let Some(what) = needs_root(&command) {
            sink.add(&ROOT_AT_START, start.place, shown(&format!("{what}: {text}")));
        }
    }
}

/// Whom `su` is asked for: the first word that is neither a flag nor a flag's value.
fn su_user(command: &Simple) -> Option<&str> {
    let mut value = false;
    let mut operands = command.arguments().iter().map(String::as_str).filter(move |word| {
        let was_value = std::mem::take(&mut value);
        value = !was_value && matches!(*word, "-c" | "--command" | "-s" | "--shell" | "-g" | "-G" | "-w");
        !was_value && !word.starts_with('-')
    });
    operands.next()
}

/// Tells what only root can do of what a command does.
pub(crate) fn needs_root(command: &Simple) -> Option<&'static str> {
    let recursive = command.short('R') || command.has(&["--recursive"]);
    match command.program() {
        "chown" | "chgrp" => Some("changes owners"),
        "chmod" if recursive => Some("changes modes"),
        "useradd" | "adduser" | "usermod" | "groupadd" | "addgroup" | "groupmod" => Some("makes accounts"),
        "mknod" => Some("makes devices"),
        "mount" | "umount" => Some("mounts"),
        "iptables" | "ip6tables" | "nft" => Some("changes the packet filter"),
        "sysctl" if command.short('w') || command.shown().contains('=') => Some("changes kernel parameters"),
        _ if command.outputs.iter().any(|path| path.starts_with("/etc/")) => Some("writes below /etc"),
        _ => None,
    }
}

/// Tells whether a command installs or fetches software.
pub fn installs(command: &Simple) -> Option<&'static str> {
    let verb = command.operands().next().unwrap_or_default();
    let is = |verbs: &[&str]| verbs.contains(&verb);
    match command.program() {
        "apt" | "apt-get" | "aptitude" if is(&["install", "upgrade", "dist-upgrade", "full-upgrade"]) => {
            Some("installs packages")
        }
        "apk" if is(&["add", "upgrade"]) => Some("installs packages"),
        "dnf" | "yum" | "microdnf" | "tdnf" | "zypper" if is(&["install", "in", "update", "upgrade"]) => {
            Some("installs packages")
        }
        "pacman" if command.short('S') => Some("installs packages"),
        "pip" | "pip3" | "pipx" | "uv" | "poetry" | "conda" if is(&["install", "sync", "add", "pip"]) => {
            Some("installs packages")
        }
        "python" | "python3"
            if command.short('m')
                && command.operands().any(|word| word == "pip")
                && command.operands().any(|word| word == "install") =>
        {
            Some("installs packages")
        }
        "npm" | "pnpm" | "yarn" if is(&["install", "i", "ci", "add"]) => Some("installs packages"),
        "yarn" if verb.is_empty() => Some("installs packages"),
        "npx" | "bunx" => Some("fetches and runs a package"),
        "gem" | "bundle" | "cargo" if is(&["install"]) => Some("installs packages"),
        "composer" if is(&["install", "update", "require"]) => Some("installs packages"),
        "go" if is(&["run", "install", "get"]) => Some("builds from sources"),
        "git" if is(&["clone", "pull"]) => Some("fetches sources"),
        "curl" | "wget" if command.piped => Some("fetches what is run"),
        "helm" | "ansible-galaxy" if is(&["install", "upgrade"]) => Some("installs"),
        _ => None,
    }
}

/// Tells whether a command does not check what it gets.
pub fn unverified(command: &Simple) -> Option<&'static str> {
    let has = |flags: &[&str]| command.has(flags);
    match command.program() {
        "apt" | "apt-get" if has(&["--allow-unauthenticated", "--force-yes"]) => Some("signatures are not checked"),
        "apt" | "apt-get" if command.shown().contains("AllowUnauthenticated=") => Some("signatures are not checked"),
        "apk" if has(&["--allow-untrusted"]) => Some("signatures are not checked"),
        "yum" | "dnf" | "microdnf" | "tdnf" if has(&["--nogpgcheck"]) => Some("signatures are not checked"),
        "zypper" if has(&["--no-gpg-checks", "--allow-unsigned-rpm"]) => Some("signatures are not checked"),
        "rpm" if has(&["--nosignature", "--nodigest"]) => Some("signatures are not checked"),
        "pip" | "pip3" if has(&["--trusted-host"]) => Some("certificates are not checked"),
        "pip" | "pip3" if plain_index(command, &["-i", "--index-url", "--extra-index-url", "--find-links"]) => {
            Some("packages come over HTTP, and nobody checks them")
        }
        "npm" | "pnpm" | "yarn" if plain_index(command, &["--registry"]) => {
            Some("packages come over HTTP, and nobody checks them")
        }
        "npm" if command.shown().contains("strict-ssl false") => Some("certificates are not checked"),
        "curl" if has(&["--insecure", "-k"]) || command.short('k') && !has(&["--key"]) => {
            Some("certificates are not checked")
        }
        "wget" if has(&["--no-check-certificate"]) => Some("certificates are not checked"),
        "git" if command.shown().contains("http.sslVerify") && command.shown().contains("false") => {
            Some("certificates are not checked")
        }
        "echo" | "printf" if command.shown().contains("trusted=yes") || command.shown().contains("gpgcheck=0") => {
            Some("signatures are not checked")
        }
        "gpg" if command.shown().contains("--trust-model always") => Some("keys are not checked"),
        _ => None,
    }
}

/// Tells whether packages come from an address that nobody vouches for.
fn plain_index(command: &Simple, flags: &[&str]) -> bool {
    let host = |address: &str| address.split(['/', ':']).next().unwrap_or_default().to_owned();
    let plain = command.value(flags).and_then(|address| address.strip_prefix("http://")).map(host);
    plain.is_some_and(|host| !matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]"))
}

/// Tells whether a variable of the environment switches checks off.
pub fn unverified_variable(name: &str, value: &str) -> bool {
    match name {
        "NODE_TLS_REJECT_UNAUTHORIZED" | "PYTHONHTTPSVERIFY" => value == "0",
        "GIT_SSL_NO_VERIFY" | "GONOSUMCHECK" | "GOINSECURE" => !matches!(value, "" | "0" | "false"),
        "npm_config_strict_ssl" | "NPM_CONFIG_STRICT_SSL" => value == "false",
        "GOFLAGS" => value.contains("-insecure"),
        "GONOSUMDB" | "GOSUMDB" => value == "off",
        _ => false,
    }
}

/// Grades a set-id program or a rule of sudo by who can use it.
pub fn escape_severity(root: Verdict) -> Severity {
    if root == Verdict::Root { Severity::Medium } else { Severity::High }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &[&str], root: Verdict, script: &str) -> Vec<&'static str> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let place = Place::whole(&"f".into());
        let mut sink = Sink::new("x");
        let read = |path: &str, _: By| matches!(path, "/entry.sh" | "entry").then(|| script.to_owned());
        let programs = |name: &str| match name {
            "gosu-s" | "/suid/gosu" => Some(Program { set_id: true, harmless: false }),
            "/shim/gosu" => Some(Program { set_id: false, harmless: true }),
            _ => None,
        };
        judge(&Start { words: &words, place: &place, root, scripts: &read, programs: &programs }, &mut sink);
        sink.findings.iter().map(|finding| finding.rule.id).collect()
    }

    #[test]
    fn scripts_are_followed() {
        let script = "#!/bin/sh\nset -e\nchown -R app /data\nexec gosu app \"$@\"\n";
        assert_eq!(found(&["/entry.sh"], Verdict::Root, script), ["BRYO-025", "BRYO-024"]);
        assert_eq!(found(&["sh", "/entry.sh"], Verdict::NotRoot, "sudo x\n"), ["BRYO-013"]);
        assert_eq!(found(&["/entry.sh"], Verdict::Root, "exec /entry.sh\n"), [""; 0]);
        assert_eq!(found(&["entry", "x"], Verdict::Root, script), ["BRYO-025", "BRYO-024"]);
        assert_eq!(found(&["sh", "-c", ". /entry.sh; x"], Verdict::Root, "pip install y\n"), ["BRYO-037"]);
    }

    #[test]
    fn who_is_not_root_has_no_way_back_by_what_root_alone_can_use() {
        let nobody = Verdict::NotRoot;
        for script in [
            "if [ \"$(id -u)\" = 0 ]; then\n chown -R app /data\n exec gosu app \"$0\"\nfi\nexec x\n",
            "exec /shim/gosu app x\n",
        ] {
            assert_eq!(found(&["/entry.sh"], nobody, script), [""; 0], "{script}");
        }
        assert_eq!(found(&["/entry.sh"], nobody, "exec gosu app x\n"), ["BRYO-025"]);
        assert_eq!(found(&["/entry.sh"], nobody, "exec setpriv --reuid=app x\n"), ["BRYO-025"]);
        assert_eq!(found(&["/entry.sh"], nobody, "exec /suid/gosu app x\n"), ["BRYO-013"]);
        assert_eq!(found(&["/entry.sh"], nobody, "exec su -c x\n"), ["BRYO-013"]);
        assert_eq!(found(&["/entry.sh"], nobody, "sudo x\n"), ["BRYO-013"]);
        assert_eq!(found(&["/entry.sh"], Verdict::Root, "exec gosu app x\n"), ["BRYO-024"]);
    }

    #[test]
    fn shells_are_told_by_the_first_line() {
        for text in ["#!/bin/sh\n", "#! /usr/bin/env bash\n", "#!/bin/busybox sh\n", "#!/usr/bin/env -S bash -e\n"] {
            assert!(is_shell(text), "{text}");
        }
        for text in ["#!/usr/bin/perl\n", "#!/usr/bin/env python3\n", "x\n", "\u{7f}ELF"] {
            assert!(!is_shell(text), "{text}");
        }
    }

    #[test]
    fn what_installs_is_found_in_every_form() {
        for words in [
            &["sh", "-c", "apk add curl && app"][..],
            &["npx", "serve"],
            &["bash", "-c", "curl -s https://x | bash"],
            &["python3", "-m", "pip", "install", "x"],
            &["/bin/sh", "-c", "timeout 5 apt-get install -y x"],
        ] {
            assert!(found(words, Verdict::Root, "").contains(&"BRYO-037"), "{words:?}");
        }
        for words in [&["npm", "start"][..], &["pip", "list"], &["sh", "-c", "curl -f http://localhost/"]] {
            assert!(found(words, Verdict::Root, "").is_empty(), "{words:?}");
        }
    }
}
