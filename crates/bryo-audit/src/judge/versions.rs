// SPDX-License-Identifier: Apache-2.0
//! Whether what is installed says its version.

use crate::model::{Place, Sink};
use crate::rules::UNPINNED;
use crate::shell::Simple;

/// The flags of pip whose value is no package.
const PIP_VALUED: &[&str] = &[
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-e",
    "--editable",
    "-i",
    "--index-url",
    "--extra-index-url",
    "-t",
    "--target",
    "--prefix",
    "--root",
    "--src",
    "-f",
    "--find-links",
    "--trusted-host",
    "--proxy",
    "--timeout",
    "--retries",
    "--cert",
    "--client-cert",
    "--cache-dir",
    "--log",
    "--platform",
    "--python-version",
    "--implementation",
    "--abi",
    "--no-binary",
    "--only-binary",
    "--progress-bar",
    "--report",
    "--upgrade-strategy",
    "--config-settings",
    "-C",
    "--global-option",
    "--exists-action",
    "--python",
    "--use-feature",
    "--group",
];

/// Package managers, what says a version, and the flags whose value is no package.
type Manager = (&'static [&'static str], &'static [&'static str], &'static [&'static str], &'static [&'static str]);
const MANAGERS: &[Manager] = &[
    (
        &["apt", "apt-get", "aptitude"],
        &["install"],
        &["="],
        &["-t", "--target-release", "-o", "--option", "-c", "--config-file"],
    ),
    (
        &["apk"],
        &["add"],
        &["=", "~", "<", ">"],
        &[
            "-t",
            "--virtual",
            "-X",
            "--repository",
            "-p",
            "--root",
            "--keys-dir",
            "--repositories-file",
            "--arch",
            "--cache-dir",
        ],
    ),
    (
        &["yum", "dnf", "microdnf", "tdnf"],
        &["install"],
        &["-", "="],
        &[
            "--setopt",
            "--enablerepo",
            "--disablerepo",
            "--repo",
            "--repoid",
            "--installroot",
            "--releasever",
            "-c",
            "-x",
            "--exclude",
        ],
    ),
    (&["zypper"], &["install", "in"], &["=", ">", "<"], &["-t", "--type", "-r", "--repo", "--from"]),
    (&["pip", "pip3"], &["install"], &["==", "@", "~="], PIP_VALUED),
    (
        &["npm"],
        &["install", "i", "add"],
        &["@"],
        &["--prefix", "--registry", "--cache", "--loglevel", "-w", "--workspace", "--omit", "--include"],
    ),
    (
        &["gem"],
        &["install"],
        &[":"],
        &[
            "-v",
            "--version",
            "-i",
            "--install-dir",
            "-n",
            "--bindir",
            "-s",
            "--source",
            "-P",
            "-p",
            "--http-proxy",
            "--platform",
        ],
    ),
    (&["go"], &["install"], &["@"], &["-ldflags", "-tags", "-gcflags", "-asmflags", "-mod", "-modfile", "-p"]),
    (
        &["cargo"],
        &["install"],
        &["@"],
        &[
            "--version",
            "--path",
            "--git",
            "--branch",
            "--tag",
            "--rev",
            "--root",
            "--features",
            "-F",
            "--target",
            "--target-dir",
            "--profile",
            "--registry",
            "--index",
            "--bin",
            "-j",
            "--jobs",
            "--config",
            "-Z",
        ],
    ),
];

/// Judges what is installed by its words.
pub(super) fn judge(command: &Simple, verb: &str, place: &dyn Fn() -> Place, sink: &mut Sink) {
    let known =
        MANAGERS.iter().find(|(names, verbs, _, _)| names.contains(&command.program()) && verbs.contains(&verb));
    let Some((_, _, marks, valued)) = known else { return };
    let lock = command.has(&["-r", "--requirement", "-v", "--version", "--path", "--locked", "--require-hashes"]);
    if lock && command.program() != "apk" {
        return;
    }
    let mut words = command.arguments().iter().skip_while(|word| *word != verb).skip(1);
    while let Some(word) = words.next() {
        if valued.contains(&word.as_str()) {
            words.next();
            continue;
        }
        let elsewhere = word.starts_with(['-', '.', '/', '$']) || word.contains("://") || word.ends_with(".txt");
        // `@scope/name` has its version behind the second sign.
        let name = word.strip_prefix('@').unwrap_or(word);
        let versioned = marks.iter().any(|mark| match *mark {
            "-" => name.rsplit_once('-').is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit())),
            mark => name.contains(mark),
        });
        let latest = name.ends_with("@latest");
        if !elsewhere && (!versioned || latest) {
            sink.add(&UNPINNED, &place(), format!("{word} of {}", command.program()));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_flags_are_no_packages() {
        for (line, expected) in [
            ("pip install --trusted-host x -i http://y flask", Some("flask of pip")),
            ("pip install --proxy x flask==1", None),
            ("apk add --virtual build curl", Some("curl of apk")),
            ("cargo install --git https://x --branch main", None),
            ("npm install --omit dev", None),
        ] {
            let command = crate::shell::commands(line).remove(0);
            let verb = command.operands().next().unwrap().to_owned();
            let mut sink = Sink::new("x");
            judge(&command, &verb, &|| Place::whole(&"f".into()), &mut sink);
            assert_eq!(sink.findings.first().map(|finding| finding.evidence.as_str()), expected, "{line}");
        }
    }
}
