// SPDX-License-Identifier: Apache-2.0
//! `bryo diff`: what a container has changed.

use std::process::ExitCode;

use bryo_image::changes::{Change, ChangeKind};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;
use crate::output;

/// Flags of `bryo diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Prints the list as JSON, in the words of Docker's API
    #[arg(long)]
    json: bool,
    /// Name, id, or beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Verb for Diff {
    const NAME: &'static str = "diff";
    const ABOUT: &'static str = "Show which files of a container are added (A), changed (C) or deleted (D)";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let record = engine.containers().find(&self.container)?;
        let changes = engine.changes(&record)?;
        let text = if self.json {
            output::json(&changes.iter().map(described).collect::<Vec<_>>())?
        } else {
            changes.iter().map(line).collect()
        };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn line(change: &Change) -> String {
    let letter = match change.kind {
        ChangeKind::Added => 'A',
        ChangeKind::Changed => 'C',
        ChangeKind::Deleted => 'D',
    };
    format!("{letter} {}\n", output::line(&change.path.to_string_lossy()))
}

/// Docker's API numbers the kinds.
fn described(change: &Change) -> Value {
    let kind = match change.kind {
        ChangeKind::Changed => 0,
        ChangeKind::Added => 1,
        ChangeKind::Deleted => 2,
    };
    json!({"Path": change.path.to_string_lossy(), "Kind": kind})
}
