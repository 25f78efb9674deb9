// SPDX-License-Identifier: Apache-2.0
//! `bryo ps`: the containers there are.

use std::process::ExitCode;

use bryo_engine::container::Record;
use clap::Args;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;
use crate::output;

/// Flags of `bryo ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Shows containers that have ended too
    #[arg(short, long)]
    all: bool,
    /// Shows ids only
    #[arg(short, long)]
    quiet: bool,
    /// Shows whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Prints the records as JSON
    #[arg(long)]
    json: bool,
}

impl Verb for Ps {
    const NAME: &'static str = "ps";
    const ABOUT: &'static str = "List containers";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        // What a killed run has left is no container; the list is a good moment to be rid of it.
        let _ = engine.collect();
        let mut records = engine.containers().all();
        records.retain(|r| self.all || r.state.status == "running");
        let text = if self.json {
            output::json(&records)? + "\n"
        } else if self.quiet {
            records.iter().map(|r| self.id(r).to_owned() + "\n").collect()
        } else {
            let titles = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "USER", "HOST UID", "NAMES"];
            output::table(&titles, records.iter().map(|r| self.row(r)))
        };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Ps {
    fn id<'a>(&self, record: &'a Record) -> &'a str {
        if self.no_trunc { record.id.as_str() } else { record.id.short() }
    }

    fn row(&self, record: &Record) -> Vec<String> {
        /// How much of a command is shown, as Docker does.
        const COMMAND: usize = 20;
        let mut command = record.command.join(" ");
        if !self.no_trunc && command.chars().count() > COMMAND {
            command = command.chars().take(COMMAND - 1).chain(['…']).collect();
        }
        let status = match (record.state.status.as_str(), record.state.exit_code) {
            ("running", _) => format!("Up {}", output::ago(record.state.started_at.as_deref()).replace(" ago", "")),
            (_, Some(code)) => format!("Exited ({code}) {}", output::ago(record.state.finished_at.as_deref())),
            (other, None) => other.to_owned(),
        };
        let identity = &record.identity;
        vec![
            self.id(record).to_owned(),
            record.image.clone(),
            format!("\"{command}\""),
            output::ago(Some(&record.created)),
            status,
            format!("{} ({})", identity.user, identity.uid),
            identity.host_uid.map_or_else(String::new, |id| id.to_string()),
            record.name.clone(),
        ]
    }
}
