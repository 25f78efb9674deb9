// SPDX-License-Identifier: Apache-2.0
//! What of containers is not as in their images, as a page.

use bryo_audit::report::html::{Page, Row};
use serde_json::Value;

use super::{ROWS_MAX, choices};

/// What findings are about, and the class that colours and finds each.
const KINDS: [(&str, &str); 7] = [
    ("package", "is-package high"),
    ("executable", "is-executable high"),
    ("setuid", "is-setuid critical"),
    ("process", "is-process high"),
    ("configuration", "is-configuration medium"),
    ("file", "is-file medium"),
    ("unreadable", "is-unreadable info"),
];

/// Writes the page, from the rows that templates see.
pub fn page(containers: usize, rows: &[Value]) -> String {
    let mut page = Page::new("What is not as in its image");
    page.numbers(&[
        ("containers", containers, ""),
        ("findings", rows.len(), if rows.is_empty() { "good" } else { "high" }),
    ]);
    page.section("Findings");
    if rows.is_empty() {
        page.paragraph("Everything is as in the images.");
        return page.finish();
    }
    let classes: Vec<&str> = rows.iter().map(|row| first(class(row))).collect();
    page.filter("row", &choices(&KINDS.map(|(kind, class)| (kind, first(class))), &classes));
    for row in rows.iter().take(ROWS_MAX) {
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        let mut shown = Row::new(class(row), text("Kind"));
        shown.title(&format!("{} {}", text("What"), text("Change"))).code(text("Container"));
        shown.line(text("Detail")).soft(text("Image"));
        page.row(&shown);
    }
    page.finish()
}

fn class(row: &Value) -> &'static str {
    KINDS.iter().find(|(kind, _)| row["Kind"] == *kind).map_or("info", |(_, class)| class)
}

/// Returns the class that rows are found by.
fn first(classes: &'static str) -> &'static str {
    classes.split(' ').next().unwrap_or_default()
}
