// SPDX-License-Identifier: Apache-2.0
//! Why an image wants root, as a page.

use bryo_audit::reasons::{Reason, Remedy};
use bryo_audit::report::html::{Choice, Page, Row};
use bryo_engine::observe::sentence::Sentence;

use super::{ROWS_MAX, choices};

/// Who has something to do about a reason, how it is told, and the class that colours it.
const BY: [(Remedy, &str, &str); 3] = [
    (Remedy::Author, "for the image's author", "high"),
    (Remedy::Harden, "for bryo run and bryo harden", "medium"),
    (Remedy::Nobody, "for nobody", "info"),
];

/// Writes the page.
pub fn page(target: &str, found: &[Reason]) -> String {
    let mut page = Page::new(&format!("Why {target} wants root"));
    let of = |by: Remedy| found.iter().filter(|reason| reason.by == by).count();
    page.numbers(&BY.map(|(by, label, class)| (label, of(by), class)));
    if found.is_empty() {
        page.paragraph("Nothing says that it wants root.");
        return page.finish();
    }
    page.section("Reasons");
    let classes: Vec<&str> = found.iter().map(class).collect();
    page.filter("row", &choices(&BY.map(|(_, label, class)| (label, class)), &classes));
    for reason in found.iter().take(ROWS_MAX) {
        page.row(&row(reason));
    }
    page.finish()
}

/// Writes the page of what a run was refused.
pub fn refused(target: &str, refused: &[Sentence]) -> String {
    let mut page = Page::new(&format!("What {target} was refused as it ran"));
    page.numbers(&[("refusals", refused.len(), if refused.is_empty() { "good" } else { "medium" })]);
    let of = |errno: &str| refused.iter().filter(|sentence| sentence.errno == errno).count();
    let errnos = ["EPERM", "EACCES", "EROFS", "EINVAL"].map(|errno| (errno, of(errno)));
    let all = Choice { label: "all", class: "", count: refused.len() };
    let each = errnos.iter().map(|(errno, count)| Choice { label: errno, class: errno, count: *count });
    page.filter("row", &std::iter::once(all).chain(each).collect::<Vec<_>>());
    for sentence in refused.iter().take(ROWS_MAX) {
        let mut row = Row::new(&format!("medium {}", sentence.errno), &sentence.errno);
        row.title(&format!("{} wanted to {}", sentence.program, sentence.wanted)).code(&sentence.calls.join(" "));
        row.line(&format!("as {}, {} times", sentence.as_user, sentence.count)).soft(&sentence.remedy);
        page.row(&row);
    }
    page.finish()
}

fn class(reason: &Reason) -> &'static str {
    BY.iter().find(|(by, ..)| *by == reason.by).map_or("info", |(_, _, class)| class)
}

fn row(reason: &Reason) -> Row {
    let mut row = Row::new(class(reason), reason.by.as_str());
    row.title(&reason.evidence).code(reason.cause.as_str());
    if let Some(file) = &reason.file {
        let place = reason.line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
        let about = [&reason.owner, &reason.mode, &reason.package].map(|text| text.as_deref().unwrap_or_default());
        row.place(&place, about.join(" ").trim());
    }
    row.soft(&reason.remedy);
    row
}
