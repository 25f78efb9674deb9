// SPDX-License-Identifier: Apache-2.0
//! Quadlet files through the built program: what becomes of good ones, and what is said of bad ones.
//!
//! `BRYO_TEST_BLESS=1` writes down what comes of them now, to be read before it is committed.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quadlet").join(name)
}

fn quadlet(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bryo"));
    command.arg("quadlet").args(words).env_clear().env("QUADLET_UNIT_DIRS", dir);
    command.output().unwrap()
}

/// Puts fixed paths in the place of those of this machine.
fn fixed(bytes: &[u8], dir: &Path) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.replace(env!("CARGO_BIN_EXE_bryo"), "/usr/bin/bryo").replace(dir.to_str().unwrap(), "/q")
}

/// Compares with what was written down.
#[track_caller]
fn is_as_it_was(name: &str, now: &str) {
    let path = corpus(name);
    if std::env::var_os("BRYO_TEST_BLESS").is_some() {
        std::fs::write(&path, now).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    for (n, (now, was)) in now.lines().zip(was.lines()).enumerate() {
        assert_eq!(now, was, "{name}:{}", n + 1);
    }
    assert_eq!(now.lines().count(), was.lines().count());
}

#[test]
fn good_files_become_units() {
    let dir = corpus("good");
    let output = quadlet(&dir, &["--dryrun"]);
    assert_eq!(fixed(&output.stderr, &dir), "");
    assert!(output.status.success());
    is_as_it_was("good.txt", &fixed(&output.stdout, &dir));
}

#[test]
fn each_mistake_is_told_with_its_line_and_nothing_is_made() {
    let dir = corpus("bad");
    let output = quadlet(&dir, &["--dryrun"]);
    assert_eq!(output.status.code(), Some(1));
    is_as_it_was("bad.txt", &fixed(&output.stderr, &dir));
    // Of two that want one name, the first has it.
    let made = String::from_utf8(output.stdout).unwrap();
    let made: Vec<&str> = made.lines().filter(|line| line.starts_with("---")).collect();
    assert_eq!(made, ["---taken.service---"]);
}

#[test]
fn units_and_links_are_written_where_systemd_wants_them() {
    let out = tempfile::tempdir().unwrap();
    let normal = out.path().join("normal");
    let output = quadlet(&corpus("good"), &["--system", normal.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let link = |path: &str| std::fs::read_link(normal.join(path)).unwrap().to_str().unwrap().to_owned();
    assert_eq!(link("multi-user.target.wants/full.service"), "../full.service");
    assert_eq!(link("default.target.wants/full.service"), "../full.service");
    assert_eq!(link("other.service.requires/full.service"), "../full.service");
    assert_eq!(link("application.service"), "full.service");
    assert_eq!(link("multi-user.target.wants/each@100.service"), "../each@.service");
    assert_eq!(link("multi-user.target.wants/each@7.service"), "../each@7.service");
    assert!(!normal.join("multi-user.target.wants/each@.service").exists());
    let mut texts = std::fs::read_dir(&normal).unwrap().flatten().map(|e| e.path()).filter(|p| p.is_file());
    assert!(texts.all(|path| std::fs::read_to_string(path).unwrap().starts_with("# Made by bryo from ")));
    // Somebody else's units are not written over.
    let again = quadlet(&corpus("good"), &["--no-kmsg-log", normal.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr).unwrap().contains("cannot write full.service: File exists"));
}
