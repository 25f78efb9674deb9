// SPDX-License-Identifier: Apache-2.0
//! An image without root and its proof, as a page.

use bryo_audit::report::drawing::Drawing;
use bryo_audit::report::html::{Page, Row};
use bryo_engine::harden::proof::{Item, Proof, Verdict};

use super::choices;

/// The verdicts, with the classes that colour them.
const VERDICTS: [(Verdict, &str); 4] =
    [(Verdict::Equal, "good"), (Verdict::Noted, "info"), (Verdict::Different, "high"), (Verdict::Unproven, "medium")];

/// What the page says of the image.
#[derive(Debug)]
pub struct Told<'a> {
    /// The new image's name.
    pub name: &'a str,
    /// The old image's name.
    pub base: &'a str,
    /// `USER`.
    pub user: &'a str,
    /// The paths that must stay writable.
    pub writable: Vec<String>,
    /// What was taken out, and what is left to do.
    pub notes: &'a [String],
}

/// Writes the page.
pub fn page(told: &Told<'_>, proof: &Proof) -> String {
    let mut page = Page::new(&format!("{} in place of {}", told.name, told.base));
    let of = |verdict: Verdict| proof.items.iter().filter(|item| item.verdict == verdict).count();
    page.numbers(&VERDICTS.map(|(verdict, class)| (verdict.as_str(), of(verdict), class)));
    page.section("Who runs");
    page.raw("<div class=\"cards\">\n");
    let before = Drawing {
        tone: "high",
        verdict: "root",
        inside: "USER root",
        host: "as the engine maps it",
        rings: None,
        note: "",
    };
    let inside = format!("USER {}", told.user);
    let after = Drawing { tone: "good", verdict: "not root", inside: &inside, ..before };
    for (title, drawing) in [("As it was", before), ("Hardened", after)] {
        page.raw(&format!("<figure class=\"card\"><figcaption>{title}</figcaption>{}</figure>\n", drawing.svg()));
    }
    page.raw("</div>\n");
    page.section(if proof.holds() { "It does the same" } else { "Not proven: the image got no name" });
    let classes: Vec<&str> = proof.items.iter().map(class).collect();
    page.filter("row", &choices(&VERDICTS.map(|(verdict, class)| (verdict.as_str(), class)), &classes));
    for item in &proof.items {
        let mut row = Row::new(class(item), item.verdict.as_str());
        row.title(&item.what).line(&format!("as it was: {}", item.old)).line(&format!("hardened: {}", item.new));
        page.row(&row);
    }
    page.section("Stays writable");
    page.table(&["Path"], told.writable.iter().map(|path| vec![path.clone()]));
    for note in told.notes {
        page.paragraph(note);
    }
    page.finish()
}

fn class(item: &Item) -> &'static str {
    VERDICTS.iter().find(|(verdict, _)| *verdict == item.verdict).map_or("info", |(_, class)| class)
}
