// SPDX-License-Identifier: Apache-2.0
//! JUnit's XML, as CI servers show it: a suite for each target, a case for each rule that found something.

use super::html::escape;
use crate::audit::Outcome;
use crate::model::Severity;

/// The report as JUnit's XML. What is below the severity, or accepted, is a case that was skipped.
pub fn junit(outcomes: &[Outcome], fail_on: Severity) -> String {
    let mut suites = String::new();
    let (mut tests, mut failures, mut errors) = (0, 0, 0);
    for outcome in outcomes {
        let mut cases = String::new();
        let (mut failed, mut skipped) = (0, 0);
        for finding in &outcome.findings {
            let name = format!("{} {}", finding.rule.id, finding.rule.title);
            let what = format!("{}: {} (fix: {})", finding.place, finding.evidence, finding.fix);
            let inner = match &finding.accepted {
                Some(reason) => {
                    skipped += 1;
                    format!("<skipped message=\"{}\"/>", text(&format!("accepted: {reason}")))
                }
                None if finding.severity < fail_on => {
                    skipped += 1;
                    format!("<skipped message=\"{}\"/>", text(&what))
                }
                None => {
                    failed += 1;
                    let kind = finding.severity.as_str();
                    format!(
                        "<failure type=\"{kind}\" message=\"{}\">{}</failure>",
                        text(&finding.evidence),
                        text(&what)
                    )
                }
            };
            let class = text(&finding.subject);
            cases += &format!("    <testcase classname=\"{class}\" name=\"{}\">{inner}</testcase>\n", text(&name));
        }
        for problem in &outcome.problems {
            let what = format!("{}: {}", problem.place, problem.message);
            let what = text(&what);
            cases +=
                &format!("    <testcase classname=\"read\" name=\"read\"><error message=\"{what}\"/></testcase>\n");
        }
        for note in &outcome.not_judged {
            skipped += 1;
            let what = text(&format!("not judged: {}: {}", note.place, note.message));
            cases +=
                &format!("    <testcase classname=\"read\" name=\"judge\"><skipped message=\"{what}\"/></testcase>\n");
        }
        if cases.is_empty() {
            cases = "    <testcase classname=\"audit\" name=\"nothing found\"/>\n".to_owned();
        }
        let (count, broken) = (cases.matches("<testcase").count(), outcome.problems.len());
        let name = text(&outcome.target);
        suites += &format!(
            "  <testsuite name=\"{name}\" tests=\"{count}\" failures=\"{failed}\" errors=\"{broken}\" skipped=\"{skipped}\">\n{cases}  </testsuite>\n"
        );
        (tests, failures, errors) = (tests + count, failures + failed, errors + broken);
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"bryo audit\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\">\n{suites}</testsuites>\n"
    )
}

/// Escapes, and leaves out what XML cannot say at all.
fn text(text: &str) -> String {
    let sayable =
        |c: &char| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    escape(&text.chars().filter(sayable).collect::<String>())
}
