// SPDX-License-Identifier: Apache-2.0
//! What people and programs read: text, tables, JSON and templates.
//!
//! Guarantees: text of images, registries and containers cannot drive a terminal, whether or not there is one: what a
//! pipe carries is seen on a terminal in the end.

pub mod escape;
pub mod human;
mod json;
pub mod table;
pub mod template;

use std::io::{self, IsTerminal, Write};

pub use escape::{line, text};
pub use json::json;
pub use table::table;

use crate::errors::{Error, Result};

/// Writes to standard output as it is. What is not the program's own words must have been escaped.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)
}

/// Writes to standard error. There is nobody left to tell when that fails.
pub fn complain(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes());
}

/// Tells whether progress is drawn: standard error is a terminal that understands control sequences.
pub fn draws() -> bool {
    io::stderr().is_terminal() && crate::paths::terminal_draws()
}

/// Tells whether standard output is a terminal, which must not get archives.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}
