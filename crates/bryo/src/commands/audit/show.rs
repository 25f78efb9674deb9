// SPDX-License-Identifier: Apache-2.0
//! What people read: a table for each target, and the table of rules.

use bryo_audit::report::{self, Counts};
use bryo_audit::{Outcome, Severity, rules};

use super::Format;
use crate::errors::Result;
use crate::output;

/// Shows what was found.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        if outcome.findings.is_empty() && outcome.problems.is_empty() && outcome.not_judged.is_empty() {
            continue;
        }
        text.push_str(&format!("{} ({})\n", output::line(&outcome.target), outcome.kind.as_str()));
        for card in &outcome.subjects {
            let level = card.level.map_or_else(String::new, |level| format!("; Pod Security Standards: {level}"));
            let line =
                format!("{}: {}; inside {}; on the host {}{level}", card.name, card.verdict, card.inside, card.host);
            text.push_str(&format!("  {}\n", output::line(&line)));
        }
        for (what, all) in [("not read", &outcome.problems), ("not judged", &outcome.not_judged)] {
            for problem in all {
                let line = format!("{}: {}", problem.place, problem.message);
                text.push_str(&format!("  {what}: {}\n", output::line(&line)));
            }
        }
        if !outcome.findings.is_empty() {
            let rows = outcome.findings.iter().map(|finding| {
                let severity = match &finding.accepted {
                    Some(_) => "accepted",
                    None => finding.severity.as_str(),
                };
                let place = if finding.place.line > 0 { finding.place.line.to_string() } else { String::new() };
                let what = match &finding.accepted {
                    Some(reason) => format!("{} (accepted: {reason})", finding.evidence),
                    None => finding.evidence.clone(),
                };
                let title = finding.rule.title.to_owned();
                vec![severity.to_owned(), finding.rule.id.to_owned(), place, title, what, finding.fix.to_owned()]
            });
            text.push_str(&output::table(&["SEVERITY", "RULE", "LINE", "WHAT", "EVIDENCE", "FIX"], rows));
        }
        text.push('\n');
    }
    text + &summary(outcomes)
}

fn summary(outcomes: &[Outcome]) -> String {
    let counts = Counts::of(outcomes);
    let mut parts: Vec<String> = Severity::ALL
        .iter()
        .filter(|severity| counts.get(**severity) > 0)
        .map(|severity| format!("{} {}", counts.get(*severity), severity.as_str()))
        .collect();
    if parts.is_empty() {
        parts.push("nothing found".to_owned());
    }
    for (count, word) in
        [(counts.accepted, "accepted"), (counts.problems, "not read"), (counts.not_judged, "not judged")]
    {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    let targets = outcomes.len();
    format!("{targets} target{}: {}\n", if targets == 1 { "" } else { "s" }, parts.join(", "))
}

/// Shows the rules.
pub fn rules(format: Format) -> Result<String> {
    match format {
        Format::Markdown => Ok(report::rules_markdown()),
        Format::Table => {
            let rows = rules::all().into_iter().map(|rule| {
                let level = rule.level.map_or("", bryo_audit::Level::as_str);
                let cells = [rule.id, rule.severity.as_str(), rule.inputs, level, rule.title, rule.others, rule.fix];
                cells.map(str::to_owned).to_vec()
            });
            Ok(output::table(&["RULE", "SEVERITY", "IN", "LEVEL", "WHAT", "OTHERS", "FIX"], rows))
        }
        Format::Json | Format::Sarif | Format::Junit => output::json(&rules::all()),
    }
}
