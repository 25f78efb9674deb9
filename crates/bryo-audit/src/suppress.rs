// SPDX-License-Identifier: Apache-2.0
//! What is accepted, and why: remarks in the files, and a file of its own.
//!
//! Nothing is accepted without a reason, and nothing disappears: an accepted finding is shown with the reason.

use std::sync::Arc;

use serde::Deserialize;

use crate::model::{Finding, Place, Sink};
use crate::rules;

/// The longest file of acceptances, in bytes.
const LENGTH_MAX: usize = 1 << 20;

/// How many remarks of one file count.
const REMARKS_MAX: usize = 1000;

/// One acceptance of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// The rule's id.
    pub rule: String,
    /// Which files, images and containers: a pattern with `*` and `?`; all without it.
    #[serde(default)]
    pub target: Option<String>,
    /// Which subjects: a pattern as for targets; all without it.
    #[serde(default)]
    pub subject: Option<String>,
    /// Why.
    pub reason: String,
    /// Until which day, as `YYYY-MM-DD`.
    #[serde(default)]
    pub until: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    allow: Vec<Allow>,
}

/// Reads a file of acceptances.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Allow>, String> {
    if text.len() > LENGTH_MAX {
        return Err("the file is too long".to_owned());
    }
    let document: Document = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    for allow in &document.allow {
        if rules::find(&allow.rule).is_none() {
            return Err(format!("there is no rule {:?}", allow.rule));
        }
        if allow.reason.trim().is_empty() {
            return Err(format!("{} is accepted without a reason", allow.rule));
        }
        if let Some(day) = allow.until.as_ref().filter(|day| !is_day(day)) {
            return Err(format!("{day:?} is no day, such as 2027-01-31"));
        }
    }
    Ok(document.allow)
}

fn is_day(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok()
}

/// A remark in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Remark {
    rules: Vec<String>,
    reason: String,
    until: Option<String>,
    /// The lines that it is about; the whole file without them.
    lines: Option<(usize, usize)>,
}

/// The marks by which other tools are told to be quiet.
const OTHERS: [&str; 6] =
    ["hadolint ignore=", "hadolint global ignore=", "checkov:skip=", "trivy:ignore:", "kics-scan ignore", "nosec"];

/// Applies the remarks of a file, and says those that are wrong or for other tools.
pub fn remarks(file: &Arc<str>, text: &str, today: &str, findings: &mut Vec<Finding>) -> Vec<(Place, String)> {
    let mut problems = Vec::new();
    if !text.contains("bryo:") && !OTHERS.iter().any(|mark| text.contains(mark)) {
        return problems;
    }
    let mut sink = Sink::new("remarks");
    let lines: Vec<&str> = text.lines().collect();
    let mut all = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((before, comment)) = line.split_once('#') else { continue };
        let place = Place { file: Arc::clone(file), line: at + 1, column: before.len() + 1 };
        if let Some(mark) = OTHERS.iter().find(|mark| comment.contains(*mark)) {
            sink.add(&rules::IGNORED, &place, format!("{}: {}", mark.trim_end_matches(['=', ':']), comment.trim()));
        }
        let Some(rest) = comment.trim().strip_prefix("bryo:") else { continue };
        match remark(rest.trim()) {
            Ok((whole, mut remark)) => {
                remark.lines = (!whole).then(|| about(&lines, at, before.trim().is_empty()));
                all.push((place, remark));
            }
            Err(why) => problems.push((place, why)),
        }
    }
    if all.len() > REMARKS_MAX {
        let place = Place { file: Arc::clone(file), line: all[REMARKS_MAX].0.line, column: 1 };
        problems.push((
            place,
            format!("bryo: more than {REMARKS_MAX} remarks in a file: this and the following do not count"),
        ));
        all.truncate(REMARKS_MAX);
    }
    for (place, remark) in all {
        if let Some(day) = remark.until.as_ref().filter(|day| day.as_str() < today) {
            sink.add(&rules::IGNORED, &place, format!("accepted until {day} only"));
            continue;
        }
        for finding in findings.iter_mut() {
            let here = remark.lines.is_none_or(|(from, to)| (from..=to).contains(&finding.place.line));
            if here && remark.rules.iter().any(|id| id.eq_ignore_ascii_case(finding.rule.id)) {
                finding.accepted = Some(remark.reason.clone());
            }
        }
    }
    findings.append(&mut sink.findings);
    problems
}

/// Returns the lines that a remark is about: its own, or those of what follows.
fn about(lines: &[&str], at: usize, alone: bool) -> (usize, usize) {
    if !alone {
        return (at + 1, at + 1);
    }
    let skipped = |line: &&&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let first = at + 1 + lines[at + 1..].iter().take_while(skipped).count();
    let goes_on = |line: &&&str| line.trim_end().ends_with('\\') || line.trim_start().starts_with('#');
    let last = first + lines.get(first..).unwrap_or_default().iter().take_while(goes_on).count();
    (first + 1, last + 1)
}

/// Reads `allow[-file] RULE[,RULE] [until=DAY] REASON`.
fn remark(text: &str) -> Result<(bool, Remark), String> {
    let mut words = text.split_whitespace();
    let whole = match words.next() {
        Some("allow") => false,
        Some("allow-file") => true,
        other => {
            return Err(format!("bryo: {:?} is not understood; allow and allow-file are", other.unwrap_or_default()));
        }
    };
    let ids: Vec<String> = words.next().unwrap_or_default().split(',').map(str::to_owned).collect();
    if let Some(id) = ids.iter().find(|id| rules::find(id).is_none()) {
        return Err(format!("bryo: there is no rule {id:?}"));
    }
    let mut rest: Vec<&str> = words.collect();
    let mut until = None;
    if let Some(day) = rest.first().and_then(|word| word.strip_prefix("until=")) {
        if !is_day(day) {
            return Err(format!("bryo: {day:?} is no day, such as 2027-01-31"));
        }
        until = Some(day.to_owned());
        rest.remove(0);
    }
    if rest.is_empty() {
        return Err("bryo: nothing is accepted without a reason; write it behind the rule".to_owned());
    }
    Ok((whole, Remark { rules: ids, reason: rest.join(" "), until, lines: None }))
}

/// Applies the acceptances of the file.
pub fn allows(allows: &[Allow], target: &str, today: &str, findings: &mut [Finding]) {
    for allow in allows {
        let expired = allow.until.as_ref().is_some_and(|day| day.as_str() < today);
        if expired || !allow.target.as_ref().is_none_or(|pattern| matches(pattern, target)) {
            continue;
        }
        for finding in findings.iter_mut() {
            let subject = allow.subject.as_ref().is_none_or(|pattern| matches(pattern, &finding.subject));
            if subject && allow.rule.eq_ignore_ascii_case(finding.rule.id) {
                finding.accepted = Some(allow.reason.clone());
            }
        }
    }
}

/// Tells whether a text fits a pattern with `*` and `?`. Only the last star is ever gone back to.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut piece) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(piece) {
            Some('*') => {
                star = Some((piece, at));
                piece += 1;
                continue;
            }
            Some(c) if *c == '?' || *c == text[at] => {}
            _ => {
                let Some((place, taken)) = star else { return false };
                star = Some((place, taken + 1));
                (piece, at) = (place + 1, taken + 1);
                continue;
            }
        }
        piece += 1;
        at += 1;
    }
    pattern[piece..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: usize) -> Finding {
        let mut sink = Sink::new("web");
        sink.add(&rules::NO_USER, &Place { file: "f".into(), line, column: 1 }, "x");
        sink.findings.remove(0)
    }

    fn accepted(text: &str, line: usize) -> Option<String> {
        let mut findings = vec![finding(line)];
        remarks(&"f".into(), text, "2026-06-01", &mut findings);
        findings.remove(0).accepted
    }

    #[test]
    fn a_remark_is_about_what_follows_or_its_own_line() {
        let text = "FROM a\n# bryo: allow BRYO-001 it is a test\n\nRUN a \\\n  b\nRUN c\n";
        for (line, is) in [(4, true), (5, true), (6, false), (1, false)] {
            assert_eq!(accepted(text, line).is_some(), is, "{line}");
        }
        assert_eq!(accepted("a: b # bryo: allow BRYO-001,BRYO-002 why\n", 1).as_deref(), Some("why"));
        assert_eq!(accepted("x\n# bryo: allow-file BRYO-001 why\n", 1).as_deref(), Some("why"));
        assert_eq!(accepted("# bryo: allow BRYO-002 why\nx\n", 2), None);
    }

    #[test]
    fn days_and_reasons_count() {
        assert!(accepted("# bryo: allow BRYO-001 until=2026-06-01 why\nx\n", 2).is_some());
        assert!(accepted("# bryo: allow BRYO-001 until=2026-05-31 why\nx\n", 2).is_none());
        for text in ["allow BRYO-001", "allow BRYO-999 why", "deny BRYO-001 why", "allow BRYO-001 until=x why", ""] {
            let mut findings = vec![finding(2)];
            let problems = remarks(&"f".into(), &format!("# bryo: {text}\nx\n"), "2026-06-01", &mut findings);
            assert_eq!((problems.len(), &findings[0].accepted), (1, &None), "{text}");
        }
        let mut findings = Vec::new();
        remarks(&"f".into(), "# hadolint ignore=DL3008\nx\n", "2026-06-01", &mut findings);
        assert_eq!(findings[0].rule.id, "BRYO-100");
    }

    #[test]
    fn a_file_of_acceptances_is_checked() {
        let all =
            parse("[[allow]]\nrule = \"BRYO-001\"\ntarget = \"a/*\"\nsubject = \"w?b\"\nreason = \"why\"\n").unwrap();
        for (target, is) in [("a/Dockerfile", true), ("b/Dockerfile", false)] {
            let mut findings = vec![finding(1)];
            allows(&all, target, "2026-06-01", &mut findings);
            assert_eq!(findings[0].accepted.is_some(), is);
        }
        for text in [
            "[[allow]]\nrule = \"BRYO-001\"\n",
            "[[allow]]\nrule = \"BRYO-001\"\nreason = \" \"\n",
            "[[allow]]\nrule = \"X\"\nreason = \"why\"\n",
            "[[allow]]\nrule = \"BRYO-001\"\nreason = \"why\"\nuntil = \"soon\"\n",
            "[[allow]]\nrule = \"BRYO-001\"\nreason = \"why\"\nx = 1\n",
            "x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(!matches("a*b", "ac") && matches("*", "") && matches("a*b*c", "axxbyyc"));
    }
}
