// SPDX-License-Identifier: Apache-2.0
//! The built program's outside: help, exit codes, mistakes, completion. Needs no image and no namespace.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A home of its own and nothing else of the environment.
struct Caller {
    home: TempDir,
}

impl Caller {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bryo"));
        command.args(words).env_clear().env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin");
        command.env("XDG_DATA_HOME", self.home.path().join("data")).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {:?} {stderr}", output.status);
        assert_eq!(stderr, "", "{words:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, words: &[&str], code: i32, named: &[&str]) -> String {
        let output = self.run(words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        for name in named {
            assert!(stderr.contains(name), "{words:?} does not name {name:?}: {stderr}");
        }
        assert!(!stderr.contains("panicked"), "{words:?}: {stderr}");
        stderr
    }
}

/// The commands that the help of a command lists.
fn commands_in(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    list.take_while(|line| line.starts_with("  ")).map(|l| l.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn every_command_has_help_and_the_list_is_as_it_was() {
    let caller = Caller::new();
    let commands = commands_in(&caller.ok(&["--help"]));
    let expected = [
        "run",
        "create",
        "start",
        "stop",
        "restart",
        "kill",
        "wait",
        "pause",
        "unpause",
        "exec",
        "attach",
        "logs",
        "ps",
        "port",
        "top",
        "stats",
        "events",
        "cp",
        "diff",
        "drift",
        "commit",
        "rename",
        "rm",
        "build",
        "pull",
        "push",
        "images",
        "inspect",
        "history",
        "audit",
        "why-root",
        "harden",
        "learn",
        "tag",
        "rmi",
        "login",
        "logout",
        "load",
        "save",
        "import",
        "export",
        "sbom",
        "vulns",
        "gc",
        "df",
        "info",
        "doctor",
        "demo",
        "blast-radius",
        "quadlet",
        "config",
        "version",
        "completion",
        "advisories",
        "image",
        "builder",
        "container",
        "network",
        "policy",
        "systemd",
        "volume",
        "system",
        "help",
    ];
    assert_eq!(commands, expected);
    for command in commands.iter().filter(|command| *command != "help") {
        let help = caller.ok(&[command, "--help"]);
        assert!(help.contains("Usage: bryo "), "{command}: {help}");
        assert!(help.lines().next().is_some_and(|line| line.len() > 10), "{command} does not say what it does");
        for inner in commands_in(&help).iter().filter(|inner| *inner != "help") {
            let help = caller.ok(&[command, inner, "--help"]);
            assert!(help.contains("Usage: bryo "), "{command} {inner}: {help}");
        }
    }
}

#[test]
fn help_goes_to_standard_output_and_mistakes_to_standard_error() {
    let caller = Caller::new();
    assert!(caller.ok(&["--help"]).contains("Usage: bryo"));
    assert!(caller.ok(&["--version"]).starts_with("bryo "));
    assert!(caller.ok(&["version"]).starts_with("bryo "));
    assert_eq!(caller.ok(&["version", "--format", "{{.Os}}"]), "linux\n");
    for words in [&["no-such-command"][..], &["run", "--no-such-flag", "x"], &["images", "--no-such-flag"], &["pull"]] {
        let output = caller.run(words);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{words:?}");
    }
    let stderr = caller.fails(&["no-such-command"], 125, &["no-such-command", "try: bryo --help"]);
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    caller.fails(&["images", "--filter", "nosuch=1"], 125, &["nosuch"]);
    caller.fails(&["inspect", "--type", "network", "x"], 125, &["network"]);
}

#[test]
fn failures_name_their_object_and_have_dockers_codes() {
    let caller = Caller::new();
    for (words, code, named) in [
        (&["rmi", "localhost/no:1"][..], 1, "localhost/no:1"),
        (&["inspect", "localhost/no:1"], 1, "localhost/no:1"),
        (&["history", "localhost/no:1"], 1, "localhost/no:1"),
        (&["tag", "Not A Name", "x"], 1, "Not A Name"),
        (&["tag", "x", "Not A Name"], 1, "Not A Name"),
        (&["push", "localhost/no:1"], 1, "localhost/no:1"),
        (&["save", "localhost/no:1"], 1, "localhost/no:1"),
        (&["export", "localhost/no:1"], 1, "localhost/no:1"),
        (&["commit", "no-such-container"], 1, "no-such-container"),
        (&["diff", "no-such-container"], 1, "no-such-container"),
        (&["load", "-i", "/no/such/archive"], 1, "/no/such/archive"),
        (&["import", "/no/such/archive"], 1, "/no/such/archive"),
        (&["pull", "UPPER/case"], 125, "UPPER/case"),
        (&["pull", "host:"], 125, "host:"),
        (&["rm", "no-such-container"], 1, "no-such-container"),
        (&["volume", "rm", "no-such-volume"], 1, "no-such-volume"),
        (&["volume", "inspect", "no-such-volume"], 1, "no-such-volume"),
        (&["volume", "create", "not/a/name"], 1, "not/a/name"),
    ] {
        let stderr = caller.fails(words, code, &[named]);
        assert!(stderr.starts_with("bryo: ") && stderr.lines().count() <= 2, "{words:?}: {stderr}");
    }
}

#[test]
fn what_a_caller_types_cannot_drive_the_terminal_either() {
    let caller = Caller::new();
    for words in [["inspect", "a\u{1b}[2J\u{202e}"], ["rmi", "a\u{1b}[2J"], ["pull", "a\u{9b}31m"]] {
        let output = caller.run(&words);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text:?}");
    }
}

#[test]
fn an_empty_store_is_an_empty_list() {
    let caller = Caller::new();
    assert_eq!(caller.ok(&["images"]), "REPOSITORY   TAG   IMAGE ID   CREATED   SIZE\n");
    assert_eq!(caller.ok(&["image", "ls"]), caller.ok(&["images"]));
    assert_eq!(caller.ok(&["images", "-q"]), "");
    assert_eq!(caller.ok(&["images", "--format", "json"]), "");
    assert!(caller.home.path().join("data/bryo/images/oci-layout").exists());
    let root = caller.home.path().join("elsewhere");
    assert_eq!(caller.ok(&["--root", root.to_str().unwrap(), "images", "-q"]), "");
    assert!(root.join("images/oci-layout").exists());
}

#[test]
fn the_configuration_is_made_once_and_shown() {
    let caller = Caller::new();
    let file = caller.home.path().join(".config/bryo/config.toml");
    assert!(caller.ok(&["config", "path"]).ends_with(&format!("{}\n", file.display())));
    let before = caller.ok(&["config", "show"]);
    assert_eq!(caller.ok(&["config", "init"]), format!("{}\n", file.display()));
    assert_eq!(caller.ok(&["config", "show"]), before);
    caller.fails(&["config", "init"], 1, &["config.toml"]);
    std::fs::write(&file, "default-usre = 1\n").unwrap();
    caller.fails(&["config", "show"], 1, &["config.toml", "default-usre"]);
    caller.fails(&["--config", "/no/such/file", "config", "show"], 1, &["/no/such/file"]);
}

#[test]
fn completion_scripts_are_understood_by_their_shells() {
    let caller = Caller::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = caller.ok(&["completion", shell]);
        assert!(script.contains("bryo") && script.contains("images"), "{shell}");
        assert!(!script.contains("__probe"), "{shell} completes what is hidden");
    }
    let file = caller.home.path().join("bryo.bash");
    std::fs::write(&file, caller.ok(&["completion", "bash"])).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&file).status().unwrap().success());
    caller.fails(&["completion", "no-such-shell"], 125, &["no-such-shell"]);
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let caller = Caller::new();
    let dir = caller.home.path().join("man");
    std::fs::create_dir(&dir).unwrap();
    caller.ok(&["man", dir.to_str().unwrap()]);
    for page in ["bryo.1", "bryo-pull.1", "bryo-run.1", "bryo-image-ls.1"] {
        let text = std::fs::read_to_string(dir.join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        assert!(text.contains(".TH "), "{page}");
    }
    caller.fails(&["man", "/no/such/directory"], 1, &["/no/such/directory"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let caller = Caller::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = caller.command(&["images"]).stdout(writer).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn a_full_output_is_an_error() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let caller = Caller::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = caller.command(&["images"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}

#[test]
fn without_a_home_the_error_says_what_is_missing() {
    let caller = Caller::new();
    let mut command = caller.command(&["config", "init"]);
    let output = command.env_remove("HOME").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("HOME"));
}

#[test]
fn prune_asks_and_takes_silence_for_no() {
    let caller = Caller::new();
    caller.fails(&["system", "prune"], 1, &["--force"]);
    caller.fails(&["image", "prune", "--all"], 1, &["--force"]);
    caller.fails(&["container", "prune"], 1, &["--force"]);
    caller.fails(&["container", "prune", "--filter", "name=x"], 1, &["name=x"]);
}
