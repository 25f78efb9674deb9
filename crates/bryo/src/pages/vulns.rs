// SPDX-License-Identifier: Apache-2.0
//! Known flaws, as a page.

use bryo_audit::report::html::{Page, Row};
use bryo_packages::advisories::Severity;
use bryo_packages::matching::{Match, State};

use super::{ROWS_MAX, choices};

/// The severities, the worst first, with the classes that colour them.
const SEVERITIES: [(Severity, &str); 6] = [
    (Severity::Critical, "critical"),
    (Severity::High, "high"),
    (Severity::Medium, "medium"),
    (Severity::Low, "low"),
    (Severity::Negligible, "info"),
    (Severity::Unknown, "is-unknown"),
];

/// Writes the page: what was found, and where.
pub fn page(found: &[(&str, &Match)]) -> String {
    let mut page = Page::new("Known vulnerabilities");
    let of = |severity: Severity| found.iter().filter(|(_, m)| m.severity == severity).count();
    page.numbers(&SEVERITIES.map(|(severity, class)| (severity.name(), of(severity), class)));
    page.section("Packages");
    let classes: Vec<&str> = found.iter().map(|(_, m)| class(m)).collect();
    page.filter("row", &choices(&SEVERITIES.map(|(severity, class)| (severity.name(), class)), &classes));
    let states: Vec<&str> = found.iter().map(|(_, m)| state(m)).collect();
    let known =
        [("a fixed version is there", "is-fixed"), ("no fixed version", "is-unfixed"), ("not affected", "is-safe")];
    page.filter("of", &choices(&known, &states));
    for (target, flaw) in found.iter().take(ROWS_MAX) {
        page.row(&row(target, flaw));
    }
    if found.len() > ROWS_MAX {
        page.paragraph(&format!("{} more are in the other formats.", found.len() - ROWS_MAX));
    }
    page.finish()
}

fn class(found: &Match) -> &'static str {
    SEVERITIES.iter().find(|(severity, _)| *severity == found.severity).map_or("info", |(_, class)| class)
}

fn state(found: &Match) -> &'static str {
    match found.state {
        State::Fixed => "is-fixed",
        State::Unfixed => "is-unfixed",
        State::NotAffected => "is-safe",
    }
}

fn row(target: &str, found: &Match) -> Row {
    let mut row = Row::new(&format!("of {} {}", class(found), state(found)), found.severity.name());
    row.title(&format!("{} {}", found.package, found.version)).code(&found.id);
    let paths = found.locations.iter().map(|path| format!("/{path}")).collect::<Vec<_>>().join(" ");
    row.place(target, &paths).line(&found.summary);
    row.line(&found.fixed.as_ref().map_or_else(String::new, |version| format!("fixed in {version}")));
    row.line(
        &found.exploited.as_ref().map_or_else(String::new, |since| format!("known to be exploited since {since}")),
    );
    row.line(&found.likelihood.map_or_else(String::new, |guess| {
        format!("exploited within thirty days with a likelihood of {:.1} %", guess * 100.0)
    }));
    row.soft(found.note.as_deref().unwrap_or_default()).soft(&found.source);
    row
}
