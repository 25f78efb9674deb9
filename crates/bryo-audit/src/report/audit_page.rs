// SPDX-License-Identifier: Apache-2.0
//! The audit as a page: who runs and who that is on the host, what an escapee reaches, and the findings.

use super::Counts;
use super::drawing::Drawing;
use super::html::{Choice, Page, Row, escape};
use crate::audit::{Card, Outcome, Problem};
use crate::model::{Finding, Severity};

/// How many cards are drawn.
const CARDS_MAX: usize = 200;

/// What the rings are, from within.
const RINGS: [Severity; 4] = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

/// How many findings are on the page.
const ROWS_MAX: usize = 20_000;

/// Writes the page.
pub fn page(outcomes: &[Outcome]) -> String {
    let counts = Counts::of(outcomes);
    let mut page = Page::new("bryo audit");
    let mut numbers: Vec<(&str, usize, &str)> =
        Severity::ALL.iter().map(|severity| (severity.as_str(), counts.get(*severity), severity.as_str())).collect();
    numbers.push(("accepted", counts.accepted, ""));
    numbers.push(("not read", counts.problems, if counts.problems > 0 { "high" } else { "" }));
    numbers.push(("not judged", counts.not_judged, ""));
    page.numbers(&numbers);
    problems(&mut page, "What could not be read", "not read", outcomes.iter().flat_map(|o| &o.problems));
    problems(
        &mut page,
        "What is of a kind that is not known",
        "not judged",
        outcomes.iter().flat_map(|o| &o.not_judged),
    );
    cards(&mut page, outcomes);
    findings(&mut page, outcomes, &counts);
    page.finish()
}

fn problems<'a>(page: &mut Page, title: &str, tag: &str, all: impl Iterator<Item = &'a Problem>) {
    let mut all = all.peekable();
    if all.peek().is_none() {
        return;
    }
    page.section(title);
    let class = if tag == "not read" { "note high" } else { "note" };
    for problem in all {
        page.raw(&format!(
            "<div class=\"{class}\"><span class=\"tag\">{tag}</span><span class=\"place\">{}</span><span class=\"wide\">{}</span></div>\n",
            escape(&problem.place.to_string()),
            escape(&problem.message)
        ));
    }
}

fn cards(page: &mut Page, outcomes: &[Outcome]) {
    let all: Vec<(&Outcome, &Card)> =
        outcomes.iter().flat_map(|o| o.subjects.iter().map(move |card| (o, card))).collect();
    if all.is_empty() {
        return;
    }
    page.section("Who runs, and what an escapee would reach");
    page.raw("<div class=\"cards\">\n");
    for (outcome, card) in all.iter().take(CARDS_MAX) {
        page.raw(&drawn(outcome, card));
    }
    page.raw("</div>\n");
    if all.len() > CARDS_MAX {
        page.paragraph(&format!("{} more are in the list below.", all.len() - CARDS_MAX));
    }
}

fn tone(verdict: &str) -> &'static str {
    match verdict {
        "root" => "high",
        "not root" => "good",
        _ => "medium",
    }
}

/// Draws one that runs, with the worst of what it reaches.
fn drawn(outcome: &Outcome, card: &Card) -> String {
    let count = |severity| card.reach.iter().filter(|reach| reach.severity == severity).count();
    let svg = Drawing {
        tone: tone(card.verdict),
        verdict: card.verdict,
        inside: &card.inside,
        host: &card.host,
        rings: Some(RINGS.map(|severity| (severity.as_str(), count(severity)))),
        note: &format!("{} within reach", card.reach.len()),
    }
    .svg();
    let level = card
        .level
        .map_or_else(String::new, |level| format!(" <span class=\"soft\">Pod Security Standards: {level}</span>"));
    let items: String = card
        .reach
        .iter()
        .take(8)
        .map(|reach| {
            let class = reach.severity.as_str();
            format!("<li class=\"{class}\"><span class=\"tag\">{class}</span> {}</li>", escape(&reach.what))
        })
        .collect();
    format!(
        "<figure class=\"card\"><figcaption>{} <span class=\"soft\">{}</span>{level}</figcaption>{svg}<ul>{items}</ul></figure>\n",
        escape(&card.name),
        escape(&outcome.target)
    )
}

fn findings(page: &mut Page, outcomes: &[Outcome], counts: &Counts) {
    page.section("Findings");
    let all: Vec<&Finding> = outcomes.iter().flat_map(|outcome| &outcome.findings).collect();
    let mut choices = vec![Choice { label: "all", class: "", count: all.len() }];
    for severity in Severity::ALL {
        choices.push(Choice { label: severity.as_str(), class: severity.as_str(), count: counts.get(severity) });
    }
    choices.push(Choice { label: "accepted", class: "accepted", count: counts.accepted });
    page.filter("row", &choices);
    let mut kinds: Vec<&str> = outcomes.iter().map(|outcome| outcome.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.len() > 1 {
        let class = |kind: &str| format!("is-{}", kind.replace(' ', "-"));
        let classes: Vec<String> = kinds.iter().map(|kind| class(kind)).collect();
        let mut choices = vec![Choice { label: "everything", class: "", count: outcomes.len() }];
        for (kind, class) in kinds.iter().zip(&classes) {
            let count = outcomes.iter().filter(|outcome| outcome.kind.as_str() == *kind).count();
            choices.push(Choice { label: kind, class, count });
        }
        page.filter("of", &choices);
    }
    let rows = outcomes.iter().flat_map(|o| o.findings.iter().map(move |finding| (o, finding)));
    for (outcome, finding) in rows.take(ROWS_MAX) {
        page.row(&row(outcome, finding));
    }
    if all.len() > ROWS_MAX {
        page.paragraph(&format!("{} more are in the other formats.", all.len() - ROWS_MAX));
    }
}

fn row(outcome: &Outcome, finding: &Finding) -> Row {
    let severity = finding.severity.as_str();
    let others: Vec<&str> = finding.rule.mappings().map(|(_, id)| id).collect();
    // An accepted finding is of its own class, not of its severity's.
    let class = if finding.accepted.is_some() { "accepted" } else { severity };
    let mut row = Row::new(&format!("of {class} is-{}", outcome.kind.as_str().replace(' ', "-")), severity);
    row.title(finding.rule.title).code(finding.rule.id);
    row.place(&finding.place.to_string(), &finding.subject).line(&finding.evidence);
    if let Some(reason) = &finding.accepted {
        row.line(&format!("accepted: {reason}"));
    }
    row.soft(&format!("Fix: {}", finding.fix)).soft(&others.join(" "));
    row
}
