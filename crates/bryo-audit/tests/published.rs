// SPDX-License-Identifier: Apache-2.0
//! The Pod Security Standards' own published fixtures: every one gets the verdict that its directory says.
//!
//! They are others' files and not in this repository. `BRYO_PSS_FIXTURES` names the directory `test/testdata` of
//! `kubernetes/pod-security-admission`; `just published` runs the test.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};

use bryo_audit::{Auditor, Level, Setting};

/// The oldest version whose policy is known.
const OLDEST: u32 = 25;

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
#[ignore = "wants the published fixtures, which are not in this repository"]
fn every_published_fixture_gets_its_verdict() {
    let root = std::env::var_os("BRYO_PSS_FIXTURES").unwrap();
    let (mut right, mut wrong) = (0, Vec::new());
    for (word, level) in [("baseline", Level::Baseline), ("restricted", Level::Restricted)] {
        for version in files(&Path::new(&root).join(word)) {
            let name = version.file_name().unwrap().to_str().unwrap().to_owned();
            let minor: u32 = name.strip_prefix("v1.").unwrap().parse().unwrap();
            if minor < OLDEST {
                continue;
            }
            let setting = Setting { kubernetes: minor, ..Setting::default() };
            let auditor = Auditor { setting, level: Some(level), ..Auditor::default() };
            for expected in ["pass", "fail"] {
                for file in files(&version.join(expected)) {
                    let outcome = auditor.path(&file).remove(0);
                    assert!(outcome.problems.is_empty(), "{outcome:?}");
                    let verdict = if outcome.findings.is_empty() { "pass" } else { "fail" };
                    if verdict == expected {
                        right += 1;
                    } else {
                        wrong.push(format!("{} {:?}", file.display(), outcome.findings.first()));
                    }
                }
            }
        }
    }
    eprintln!("{right} fixtures have the verdict that was published, {} another one", wrong.len());
    assert!(right > 1000, "only {right} fixtures were found");
    assert_eq!(wrong, [""; 0]);
}
