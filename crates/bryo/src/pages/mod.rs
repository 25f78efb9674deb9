// SPDX-License-Identifier: Apache-2.0
//! Reports as pages of HTML that need nothing else. What all pages share is in `bryo_audit::report::html`.

pub mod blast_radius;
pub mod drift;
pub mod harden;
pub mod learn;
pub mod policy;
pub mod sbom;
pub mod vulns;
pub mod why_root;

use std::path::Path;

use bryo_audit::report::html::Choice;

use crate::errors::{Error, Result};

/// How many rows a page has at most: a browser must be able to show it.
const ROWS_MAX: usize = 20_000;

/// Writes a page to a file, if one was asked for.
pub fn write(file: Option<&Path>, page: impl FnOnce() -> String) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, page()).map_err(|error| Error::io(format!("write {}", file.display()), &error))
}

/// Makes the choices of a filter: all, and each class with how many rows there are of it.
fn choices<'a>(classes: &[(&'a str, &'a str)], rows: &[&str]) -> Vec<Choice<'a>> {
    let all = Choice { label: "all", class: "", count: rows.len() };
    let each = classes.iter().map(|(label, class)| Choice {
        label,
        class,
        count: rows.iter().filter(|row| *row == class).count(),
    });
    std::iter::once(all).chain(each).collect()
}
