// SPDX-License-Identifier: Apache-2.0
use std::path::Path;

use super::*;

fn read(text: &str) -> Result<Vec<Rule>> {
    read::rules(Path::new("p.toml"), text)
}

fn uncommented() -> String {
    let lines = Rules::template().lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_template_asks_for_nothing_and_names_every_rule() {
    assert!(read(Rules::template()).unwrap().is_empty());
    let rules = read(&uncommented()).unwrap();
    let names: Vec<&str> = rules.iter().map(|rule| rule.demand.name()).collect();
    let all = ["non-root", "read-only", "no-drift", "sbom-present", "pod-security", "vulnerabilities", "signed"];
    assert_eq!(names, all);
}

#[test]
fn rules_have_their_lines() {
    let rules = read("# x\nread-only = true\nnon-root = false\n\nno-drift = true\n").unwrap();
    let lines: Vec<_> = rules.iter().map(|rule| (rule.demand.name(), rule.line)).collect();
    assert_eq!(lines, [("read-only", 2), ("no-drift", 5)]);
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, message) in [
        ("non-rot = true", "p.toml:1:1: unknown key \"non-rot\"; did you mean \"non-root\"?"),
        ("non-root = 1", "p.toml:1:12: expected true or false"),
        ("pod-security = \"strict\"", "p.toml:1:16: \"strict\" is not known here"),
        ("[vulnerabilities]\n", "p.toml:1:1: severity is missing"),
        ("[vulnerabilities]\nseverity = \"bad\"", "p.toml:2:12: \"bad\" is none of unknown"),
        ("[vulnerabilities]\nseverity = \"low\"\ngrace = 3", "p.toml:3:1: unknown key \"grace\" in [vulnerabilities]"),
        ("[vulnerabilities]\nseverity = \"low\"\ngrace-days = -1", "p.toml:3:14: expected a number of days"),
        ("[vulnerabilities]\nseverity = \"low\"\nvex = [\"a\"]", "p.toml:3:8: expected a path that begins with /"),
        ("[signed]\n", "p.toml:1:1: no scope is named"),
        ("[signed.default]\naccept = false", "p.toml:2:10: expected either accept"),
        ("[signed.default]\n", "p.toml:1:1: expected accept = true, or"),
        ("[signed.default]\nidentity = \"a\"\nissuer = \"b\"", "p.toml:1:1: expected accept = true, or"),
        ("[signed.default]\nkeys = []", "p.toml:2:8: expected a list of files"),
        ("[signed.\"a/\"]\naccept = true", "p.toml:1:9: \"a/\" is no scope"),
        ("non-root = true\nnon-root = true", "p.toml:2:1: "),
    ] {
        let error = read(text).expect_err(text);
        assert_eq!(error.kind(), Kind::InvalidPolicy);
        let shown = error.to_string();
        assert!(shown.starts_with(message), "{shown}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_one_that_is_not_there_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, required| PolicyFile { path: dir.path().join(name), required };
    assert!(Rules::load(&[file("none", false), file("none/below", false)]).unwrap().is_empty());
    assert_eq!(Rules::load(&[file("none", true)]).unwrap_err().kind(), Kind::Io);
    assert_eq!(Rules::load(&[file("", false)]).unwrap_err().kind(), Kind::Io);
    std::fs::write(dir.path().join("a"), "non-root = true").unwrap();
    std::fs::write(dir.path().join("b"), "read-only = true\nnon-root = false").unwrap();
    let rules = Rules::load(&[file("a", false), file("b", true)]).unwrap();
    assert_eq!(rules.all.len(), 2, "no file takes back what another one asks for");
    std::fs::write(dir.path().join("b"), vec![b'#'; 2 << 20]).unwrap();
    assert_eq!(Rules::load(&[file("b", false)]).unwrap_err().kind(), Kind::Io);
}

#[test]
fn the_first_broken_rule_is_told_with_its_place_and_remedy() {
    let verdict = |rule, line, answer| Verdict {
        rule,
        file: "/etc/p.toml".into(),
        line,
        answer,
        why: "why".into(),
        remedy: "do".into(),
    };
    let verdicts = vec![
        verdict("non-root", 1, Answer::Holds),
        verdict("signed", 4, Answer::Unchecked),
        verdict("read-only", 5, Answer::Broken),
    ];
    let mut report = Report { target: "web".into(), verdicts };
    let error = report.admit().unwrap_err();
    assert_eq!(error.kind(), Kind::Policy);
    let text = "the policy does not let web start: /etc/p.toml:4: signed: why; do (and 1 more)";
    assert_eq!(error.to_string(), text);
    report.verdicts.truncate(1);
    assert!(report.admit().is_ok() && report.holds());
}
