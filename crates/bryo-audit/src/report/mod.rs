// SPDX-License-Identifier: Apache-2.0
//! Reports for machines (JSON, SARIF, JUnit) and as a page of HTML.

pub mod audit_page;
pub mod drawing;
pub mod html;
mod junit;
mod sarif;

use serde::Serialize;

use crate::audit::Outcome;
use crate::model::{Finding, Rule, Severity};
use crate::rules;

pub use junit::junit;
pub use sarif::sarif;

/// Counts by severity, the worst first; accepted findings are apart.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Critical ones.
    pub critical: usize,
    /// High ones.
    pub high: usize,
    /// Medium ones.
    pub medium: usize,
    /// Low ones.
    pub low: usize,
    /// Those to know.
    pub info: usize,
    /// Those that are accepted.
    pub accepted: usize,
    /// What could not be read.
    pub problems: usize,
    /// What is of a kind of which nothing is known.
    pub not_judged: usize,
}

impl Counts {
    /// Counts what was found.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            counts.problems += outcome.problems.len();
            counts.not_judged += outcome.not_judged.len();
            for finding in &outcome.findings {
                *counts.slot(finding) += 1;
            }
        }
        counts
    }

    fn slot(&mut self, finding: &Finding) -> &mut usize {
        match finding.severity {
            _ if finding.accepted.is_some() => &mut self.accepted,
            Severity::Critical => &mut self.critical,
            Severity::High => &mut self.high,
            Severity::Medium => &mut self.medium,
            Severity::Low => &mut self.low,
            Severity::Info => &mut self.info,
        }
    }

    /// Returns the number of a severity.
    pub fn get(&self, severity: Severity) -> usize {
        match severity {
            Severity::Critical => self.critical,
            Severity::High => self.high,
            Severity::Medium => self.medium,
            Severity::Low => self.low,
            Severity::Info => self.info,
        }
    }
}

/// Lists the rules that have findings.
fn used(outcomes: &[Outcome]) -> Vec<&'static Rule> {
    let has =
        |rule: &&'static Rule| outcomes.iter().flat_map(|o| &o.findings).any(|finding| finding.rule.id == rule.id);
    rules::all().into_iter().filter(has).collect()
}

/// The whole report as JSON.
///
/// # Errors
///
/// None in fact: all of it can be written.
pub fn json(outcomes: &[Outcome]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        version: u32,
        counts: Counts,
        outcomes: &'a [Outcome],
        rules: Vec<&'static Rule>,
    }
    let report = Report { version: 1, counts: Counts::of(outcomes), outcomes, rules: used(outcomes) };
    serde_json::to_string_pretty(&report).map(|text| text + "\n")
}

/// The table of rules as Markdown.
pub fn rules_markdown() -> String {
    let mut text = String::from("| id | severity | in | level | what | others | what to do |\n|-|-|-|-|-|-|-|\n");
    for rule in rules::all() {
        let level = rule.level.map_or("", crate::model::Level::as_str);
        let others: Vec<&str> = rule.others.split_whitespace().collect();
        let cells = [
            rule.id.to_owned(),
            rule.severity.as_str().to_owned(),
            rule.inputs.to_owned(),
            level.to_owned(),
            rule.title.replace('|', "\\|"),
            others.join(", "),
            rule.fix.replace('|', "\\|"),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Auditor;

    fn outcomes() -> Vec<Outcome> {
        let text = "FROM a<b>\nENV X=\"<script>&'\\x01\"\nUSER root\n";
        let auditor = Auditor::default();
        vec![
            auditor.text("a/<Dockerfile>", text, Some(crate::Kind::Dockerfile), None),
            auditor.text("b/Dockerfile", "FROM a\nNOSUCH\n", Some(crate::Kind::Dockerfile), None),
        ]
    }

    #[test]
    fn every_form_can_be_read_by_machines() {
        let outcomes = outcomes();
        let report: serde_json::Value = serde_json::from_str(&json(&outcomes).unwrap()).unwrap();
        assert_eq!(report["outcomes"][1]["problems"][0]["place"]["line"], 2);
        assert_eq!(report["counts"]["problems"], 1);
        let log: serde_json::Value = serde_json::from_str(&sarif(&outcomes).unwrap()).unwrap();
        assert_eq!(log["version"], "2.1.0");
        let results = log["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), outcomes[0].findings.len());
        let xml = junit(&outcomes, Severity::High);
        assert!(!xml.contains("<Dockerfile>") && !xml.contains('\u{1}'));
        assert!(xml.contains("<error") && xml.contains("<failure"));
    }

    #[test]
    fn the_page_is_complete_in_itself() {
        let page = audit_page::page(&outcomes());
        for forbidden in ["http://", "src=", "<script", "@import", "url(", "<Dockerfile>", "a<b>"] {
            let rest = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!rest.contains(forbidden), "{forbidden}");
        }
        for wanted in ["prefers-color-scheme: dark", "max-width", "<svg", "BRYO-002", "name=\"viewport\"", ":checked"] {
            assert!(page.contains(wanted), "{wanted}");
        }
    }
}
