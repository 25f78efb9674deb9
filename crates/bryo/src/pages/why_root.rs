// SPDX-License-Identifier: Apache-2.0
//! Why an image wants root, as a page.

use bryo_audit::reasons::{Reason, Remedy};
use bryo_audit::report::html::{Page, Row};

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
