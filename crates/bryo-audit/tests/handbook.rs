// SPDX-License-Identifier: Apache-2.0
//! The handbook's table of rules is the table that there is.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use bryo_audit::report::rules_markdown;

const MARK: &str = "<!-- rules -->\n";

/// With `BRYO_UPDATE=1` the page is written anew.
#[test]
fn the_handbook_has_the_rules() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/audit.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (before, table) = text.split_once(MARK).unwrap();
    let expected = format!("\n{}", rules_markdown());
    if std::env::var_os("BRYO_UPDATE").is_some() {
        std::fs::write(page, format!("{before}{MARK}{expected}")).unwrap();
        return;
    }
    assert_eq!(table, expected, "BRYO_UPDATE=1 cargo test -p bryo-audit --test handbook");
}
