// SPDX-License-Identifier: Apache-2.0
//! SARIF 2.1.0, as code hosts read it. Source: OASIS, "Static Analysis Results Interchange Format".

use serde_json::{Value, json};

use super::used;
use crate::audit::{Outcome, Problem};
use crate::model::{Finding, Place, Rule, Severity};

/// The report as SARIF.
///
/// # Errors
///
/// None in fact: all of it can be written.
pub fn sarif(outcomes: &[Outcome]) -> serde_json::Result<String> {
    let rules = used(outcomes);
    let results: Vec<Value> = outcomes.iter().flat_map(|o| &o.findings).map(|f| result(f, &rules)).collect();
    let told = |level: &str, problem: &Problem| json!({"level": level, "message": {"text": problem.message}, "locations": [location(&problem.place)]});
    let problems = outcomes.iter().flat_map(|outcome| &outcome.problems).map(|problem| told("error", problem));
    let notes = outcomes.iter().flat_map(|outcome| &outcome.not_judged).map(|note| told("note", note));
    let successful = outcomes.iter().all(|outcome| outcome.problems.is_empty());
    let problems: Vec<Value> = problems.chain(notes).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "bryo",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| descriptor(rule)).collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": successful,
                "toolExecutionNotifications": problems,
            }],
            "results": results,
        }],
    });
    serde_json::to_string_pretty(&log).map(|text| text + "\n")
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

fn descriptor(rule: &Rule) -> Value {
    let others: Vec<String> = rule.mappings().map(|(by, id)| format!("{by} {id}")).collect();
    // The number that code hosts sort by.
    let score = match rule.severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "3.0",
        Severity::Info => "0.0",
    };
    json!({
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "help": {"text": rule.fix},
        "defaultConfiguration": {"level": level(rule.severity)},
        "properties": {"security-severity": score, "tags": others},
    })
}

fn result(finding: &Finding, rules: &[&'static Rule]) -> Value {
    let mut result = json!({
        "ruleId": finding.rule.id,
        "ruleIndex": rules.iter().position(|rule| rule.id == finding.rule.id),
        "level": level(finding.severity),
        "message": {"text": format!("{}: {}. Fix: {}.", finding.rule.title, finding.evidence, finding.fix)},
        "locations": [location(&finding.place)],
        "properties": {"subject": &*finding.subject},
    });
    if let Some(reason) = &finding.accepted {
        result["suppressions"] = json!([{"kind": "inSource", "justification": reason}]);
    }
    result
}

fn location(place: &Place) -> Value {
    let uri: String = place.file.bytes().map(encoded).collect();
    let mut physical = json!({"artifactLocation": {"uri": uri}});
    if place.line > 0 {
        physical["region"] = json!({"startLine": place.line, "startColumn": place.column.max(1)});
    }
    json!({"physicalLocation": physical})
}

/// Writes a byte of a path as addresses have it.
fn encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}
