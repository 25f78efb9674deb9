// SPDX-License-Identifier: Apache-2.0
//! What happens when a container starts: entrypoint, command, the scripts they are, probes and hooks.

use crate::identity::Verdict;
use crate::model::{Place, Severity, Sink};
use crate::rules::*;
use crate::shell::{self, Simple};

/// How many scripts call each other.
const SCRIPTS_MAX: usize = 8;

/// A start.
pub struct Start<'a> {
    /// The words.
    pub words: &'a [String],
    /// Where they are said.
    pub place: &'a Place,
    /// Who runs them.
    pub root: Verdict,
    /// Reads a script of the image.
    pub scripts: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Start<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("words", &self.words).field("root", &self.root).finish_non_exhaustive()
    }
}

/// Lists the commands of a start, each with the script that it is in.
pub fn commands(start: &Start<'_>) -> Vec<(Option<String>, Simple)> {
    let mut found: Vec<(Option<String>, Simple)> =
        shell::commands_of(start.words).into_iter().map(|c| (None, c)).collect();
    let mut read: Vec<String> = Vec::new();
    let mut at = 0;
    while at < found.len() && read.len() < SCRIPTS_MAX {
        let words = found[at].1.words.clone();
        at += 1;
        // A shell's first operand is a script.
        for path in words.iter().take(2).filter(|word| word.contains('/') || word.ends_with(".sh")) {
            if read.contains(path) {
                continue;
            }
            if let Some(text) = (start.scripts)(path) {
                read.push(path.clone());
                let script = shell::commands(&text);
                found.extend(script.into_iter().map(|command| (Some(path.clone()), command)));
            }
        }
    }
    found
}

/// Judges a start.
pub fn judge(start: &Start<'_>, sink: &mut Sink) {
    for (script, command) in commands(start) {
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
        let who = start.root;
        match command.program() {
            "gosu" | "su-exec" | "setpriv" | "runuser" | "s6-setuidgid" | "chpst" | "su" => {
                let to_root = command.operands().next() == Some("root");
                if who == Verdict::NotRoot {
                    sink.add(&ROOT_IN_REACH, start.place, shown(&format!("the start changes the user: {text}")));
                } else if !to_root {
                    sink.add(&DROPS_LATER, start.place, shown(&format!("root until {text}")));
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
        let read = |path: &str| (path == "/entry.sh").then(|| script.to_owned());
        judge(&Start { words: &words, place: &place, root, scripts: &read }, &mut sink);
        sink.findings.iter().map(|finding| finding.rule.id).collect()
    }

    #[test]
    fn scripts_are_followed() {
        let script = "#!/bin/sh\nset -e\nchown -R app /data\nexec gosu app \"$@\"\n";
        assert_eq!(found(&["/entry.sh"], Verdict::Root, script), ["BRYO-025", "BRYO-024"]);
        assert_eq!(found(&["sh", "/entry.sh"], Verdict::NotRoot, "sudo x\n"), ["BRYO-013"]);
        assert_eq!(found(&["/entry.sh"], Verdict::Root, "exec /entry.sh\n"), [""; 0]);
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
