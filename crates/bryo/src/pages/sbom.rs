// SPDX-License-Identifier: Apache-2.0
//! What is installed, as a page.

use bryo_audit::report::html::{Page, Row};
use bryo_packages::inventory::{Inventory, Item};
use bryo_packages::package::Type;

use super::{ROWS_MAX, choices};

/// The types, each with the class that rows are found by.
const TYPES: [(Type, &str); 8] = [
    (Type::Deb, "is-deb"),
    (Type::Apk, "is-apk"),
    (Type::Rpm, "is-rpm"),
    (Type::Pypi, "is-pypi"),
    (Type::Npm, "is-npm"),
    (Type::Gem, "is-gem"),
    (Type::Cargo, "is-cargo"),
    (Type::Golang, "is-golang"),
];

/// Writes the page: the packages, where each was found, and what could not be read.
pub fn page(name: &str, inventory: &Inventory) -> String {
    let mut page = Page::new(&format!("Packages of {name}"));
    let unread = inventory.problems.len();
    page.numbers(&[
        ("packages", inventory.items.len(), ""),
        ("could not be read", unread, if unread == 0 { "good" } else { "high" }),
    ]);
    if let Some(distro) = &inventory.distro {
        page.paragraph(if distro.pretty.is_empty() { &distro.id } else { &distro.pretty });
    }
    if inventory.is_unscannable() {
        page.paragraph("No package database and no list of modules: what is in it is unknown.");
    }
    if unread > 0 {
        page.section("Could not be read");
        let lines = inventory.problems.iter().map(|problem| vec![format!("/{}", problem.path), problem.why.clone()]);
        page.table(&["file", "why"], lines);
    }
    page.section("Packages");
    let there: Vec<&str> = inventory.items.iter().map(|item| class(item.package.kind)).collect();
    let types: Vec<(&str, &str)> =
        TYPES.iter().filter(|(_, class)| there.contains(class)).map(|(kind, class)| (kind.name(), *class)).collect();
    page.filter("row", &choices(&types, &there));
    for item in inventory.items.iter().take(ROWS_MAX) {
        page.row(&row(item, inventory));
    }
    if inventory.items.len() > ROWS_MAX {
        page.paragraph(&format!("{} more are in the other formats.", inventory.items.len() - ROWS_MAX));
    }
    page.finish()
}

fn class(kind: Type) -> &'static str {
    TYPES.iter().find(|(known, _)| *known == kind).map_or("", |(_, class)| class)
}

fn row(item: &Item, inventory: &Inventory) -> Row {
    let package = &item.package;
    let mut row = Row::new(class(package.kind), package.kind.name());
    row.title(&format!("{} {}", package.name, package.version));
    row.code(package.arch.as_deref().unwrap_or_default());
    let places: Vec<String> = item.locations.iter().map(|path| format!("/{path}")).collect();
    row.place(&package.purl(inventory.distro.as_ref()), &places.join(" "));
    row.line(&package.licenses.join(", ")).soft(package.supplier.as_deref().unwrap_or_default());
    row
}

#[cfg(test)]
mod tests {
    use bryo_packages::inventory::Problem;
    use bryo_packages::package::Package;

    use super::*;

    #[test]
    fn packages_and_what_could_not_be_read_are_on_the_page() {
        let item = |kind, name: &str| Item {
            package: Package::new(kind, name, "1<b>"),
            locations: vec![format!("opt/{name}")],
            owned: false,
        };
        let problems = vec![Problem { path: "var/lib/dpkg/status".into(), why: "it is a pipe".into() }];
        let items = vec![item(Type::Npm, "a"), item(Type::Golang, "<script>")];
        let page = page("app", &Inventory { items, problems, ..Inventory::default() });
        for text in ["Packages of app", "/opt/a", "pkg:npm/a@1", "/var/lib/dpkg/status", "it is a pipe", "is-golang"] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("<script") && !page.contains("1<b>") && !page.contains(">deb<"), "{page}");
    }
}
