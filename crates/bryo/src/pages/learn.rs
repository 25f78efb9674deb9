// SPDX-License-Identifier: Apache-2.0
//! What a program needs, as a page.

use bryo_audit::report::html::{Page, Row};
use bryo_engine::learned::Profile;

use super::{ROWS_MAX, choices};

/// The kinds of things, with the classes that colour them.
const KINDS: [(&str, &str); 6] = [
    ("capability", "high"),
    ("device", "medium"),
    ("write", "medium-write"),
    ("bind", "low"),
    ("connect", "low-connect"),
    ("system call", "info"),
];

/// Writes the page; `missed` is what was not seen of the run.
pub fn page(profile: &Profile, missed: &[String]) -> String {
    let mut page = Page::new(&format!("What {} needs", profile.image));
    let ports = profile.ports.as_ref();
    let [bind, connect] = [ports.map(|ports| &ports.bind), ports.map(|ports| &ports.connect)];
    let sets = [
        Some(&profile.capabilities),
        Some(&profile.devices),
        Some(&profile.writes),
        bind,
        connect,
        Some(&profile.syscalls),
    ];
    let things = KINDS.iter().zip(sets).flat_map(|(kind, set)| set.into_iter().flatten().map(move |it| (kind, it)));
    let things: Vec<_> = things.collect();
    let of = |kind: &str| things.iter().filter(|((other, _), _)| *other == kind).count();
    page.numbers(&KINDS.map(|(kind, class)| (kind, of(kind), tone(class))));
    page.paragraph(&format!("It was seen to run as {}. bryo run --profile takes everything else away.", profile.user));
    if ports.is_none() {
        page.paragraph("The profile names no ports: none is looked at.");
    }
    missed.iter().for_each(|line| page.paragraph(&format!("{line}; something may be missing here.")));
    let classes: Vec<&str> = things.iter().map(|((_, class), _)| *class).collect();
    page.filter("row", &choices(&KINDS, &classes));
    for ((kind, class), it) in things.iter().take(ROWS_MAX) {
        let mut row = Row::new(&format!("{} {class}", tone(class)), kind);
        row.title(it);
        page.row(&row);
    }
    page.finish()
}

/// Returns the class that colours a kind.
fn tone(class: &str) -> &str {
    class.split('-').next().unwrap_or(class)
}
