// SPDX-License-Identifier: Apache-2.0
//! The audit as a page: who runs and who that is on the host, what an escapee reaches, and the findings.

use super::Counts;
use super::html::{Choice, Page, escape};
use crate::audit::{Card, Outcome};
use crate::model::{Finding, Severity};

/// How many cards are drawn.
const CARDS_MAX: usize = 200;

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
    page.numbers(&numbers);
    problems(&mut page, outcomes);
    cards(&mut page, outcomes);
    findings(&mut page, outcomes, &counts);
    page.finish()
}

fn problems(page: &mut Page, outcomes: &[Outcome]) {
    let all: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.problems).collect();
    if all.is_empty() {
        return;
    }
    page.section("What could not be read");
    for problem in all {
        page.raw(&format!(
            "<div class=\"note high\"><span class=\"tag\">not read</span><span class=\"place\">{}</span><span class=\"wide\">{}</span></div>\n",
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

/// Cuts a text to what fits into a drawing.
fn fitting(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return escape(text);
    }
    escape(&text.chars().take(chars - 1).chain(['…']).collect::<String>())
}

/// Draws the ids inside and outside, and rings of what is reached around them: the worse, the further out.
fn drawn(outcome: &Outcome, card: &Card) -> String {
    let tone = tone(card.verdict);
    let worst = card.reach.first().map_or("good", |reach| reach.severity.as_str());
    let mut svg = String::from("<svg viewBox=\"0 0 520 150\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">");
    let label = format!("{}: {} inside, {} on the host", card.verdict, card.inside, card.host);
    svg += &format!("<title>{}</title>", escape(&label));
    svg += "<rect class=\"frame\" x=\"4\" y=\"30\" width=\"150\" height=\"66\" rx=\"8\"/><text x=\"14\" y=\"22\" class=\"small\">inside</text>";
    svg += &format!("<g class=\"{tone}\"><circle class=\"dot\" cx=\"20\" cy=\"54\" r=\"6\"/></g>");
    svg += &format!("<text x=\"34\" y=\"58\">{}</text>", fitting(card.verdict, 16));
    svg += &format!("<text x=\"14\" y=\"82\" class=\"small\">{}</text>", fitting(&card.inside, 24));
    svg += "<path class=\"arrow\" d=\"M158 63h32m-7-5 7 5-7 5\"/>";
    svg += "<rect class=\"frame\" x=\"196\" y=\"30\" width=\"150\" height=\"66\" rx=\"8\"/><text x=\"206\" y=\"22\" class=\"small\">on the host</text>";
    svg += &format!("<text x=\"206\" y=\"67\" class=\"small\">{}</text>", fitting(&card.host, 25));
    svg += "<path class=\"arrow\" d=\"M350 63h32m-7-5 7 5-7 5\"/>";
    for (radius, severity) in
        [(16, Severity::Low), (30, Severity::Medium), (44, Severity::High), (58, Severity::Critical)]
    {
        let count = card.reach.iter().filter(|reach| reach.severity == severity).count();
        let faint = if count == 0 { " opacity=\"0.15\"" } else { "" };
        let class = severity.as_str();
        svg += &format!("<g class=\"{class}\"{faint}><circle class=\"ring\" cx=\"450\" cy=\"76\" r=\"{radius}\"/></g>");
        if count > 0 {
            svg +=
                &format!("<g class=\"{class}\"><circle class=\"dot\" cx=\"{}\" cy=\"76\" r=\"4\"/></g>", 450 + radius);
        }
    }
    svg += &format!("<g class=\"{worst}\"><circle class=\"dot\" cx=\"450\" cy=\"76\" r=\"6\"/></g>");
    svg += &format!("<text x=\"14\" y=\"130\" class=\"small\">{} within reach</text></svg>", card.reach.len());
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
        page.raw(&row(outcome, finding));
    }
    if all.len() > ROWS_MAX {
        page.paragraph(&format!("{} more are in the other formats.", all.len() - ROWS_MAX));
    }
}

fn row(outcome: &Outcome, finding: &Finding) -> String {
    let severity = finding.severity.as_str();
    let others: Vec<&str> = finding.rule.mappings().map(|(_, id)| id).collect();
    // An accepted finding is of its own class, not of its severity's.
    let (class, accepted) = match &finding.accepted {
        Some(reason) => ("accepted", format!("<span class=\"wide\">accepted: {}</span>", escape(reason))),
        None => (severity, String::new()),
    };
    format!(
        "<div class=\"row of {class} is-{}\"><span class=\"tag\">{severity}</span><b>{}</b>\
         <code class=\"soft\">{}</code><span class=\"place\">{} <span class=\"soft\">{}</span></span>\
         <span class=\"wide\">{}</span>{accepted}<span class=\"wide soft\">Fix: {}</span><span class=\"wide soft\">{}</span></div>\n",
        outcome.kind.as_str().replace(' ', "-"),
        escape(finding.rule.title),
        finding.rule.id,
        escape(&finding.place.to_string()),
        escape(&finding.subject),
        escape(&finding.evidence),
        escape(finding.rule.fix),
        escape(&others.join(" ")),
    )
}
