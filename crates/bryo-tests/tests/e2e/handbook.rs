// SPDX-License-Identifier: Apache-2.0
//! The handbook and the README: no page forgotten, no link that leads nowhere, no command that does not exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn pages(dir: &Path, into: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            pages(&entry.path(), into);
        } else if entry.path().extension().is_some_and(|e| e == "md") {
            into.insert(entry.path());
        }
    }
}

/// Returns the targets of the links of a page that lead to other files.
fn links(page: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(page).unwrap();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|t| !t.contains("://") && !t.starts_with('#'));
    local.map(|t| page.parent().unwrap().join(t.split('#').next().unwrap())).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let root = repository();
    let mut all = BTreeSet::new();
    pages(&root.join("docs/src"), &mut all);
    all.extend(["README.md", "SECURITY.md", "CHANGELOG.md"].map(|n| root.join(n)));
    for page in &all {
        for target in links(page) {
            assert!(target.exists(), "{} leads to {}", page.display(), target.display());
        }
    }
}

#[test]
fn every_page_is_in_the_summary() {
    let source = repository().join("docs/src");
    let mut all = BTreeSet::new();
    pages(&source, &mut all);
    let summary: BTreeSet<PathBuf> = links(&source.join("SUMMARY.md")).into_iter().collect();
    all.remove(&source.join("SUMMARY.md"));
    assert_eq!(all, summary);
}

/// The README's words are run as they stand there.
#[test]
fn the_first_commands_of_the_readme_say_what_they_say() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    assert!(readme.contains("$ bryo run host: whoami\nnonroot\n"));
    for script in ["scripts/try", "scripts/test"] {
        assert!(readme.contains(&format!("$ {script} ")));
        assert!(repository().join(script).exists());
    }
}

#[test]
fn every_flag_of_the_handbook_exists() {
    let Some(user) = bryo_tests::User::ordinary() else { return };
    let home = bryo_tests::Home::new(&user);
    let help = home.bryo(&["run", "--help"]).ok();
    let text = fs::read_to_string(repository().join("docs/src/run.md")).unwrap();
    let table = text.lines().filter(|l| l.starts_with("| `-"));
    let flags = table.flat_map(|l| l.split('|').nth(1).unwrap().split(['`', ' ', ','])).filter(|w| w.starts_with("--"));
    for flag in flags {
        assert!(help.contains(flag), "run has no {flag}");
    }
}
