// SPDX-License-Identifier: Apache-2.0
//! `bryo stats`: what containers use.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use bryo_engine::Engine;
use bryo_engine::container::Record;
use bryo_engine::error::Kind;
use bryo_engine::list::Listing;
use bryo_engine::processes::{Meter, Usage};
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;
use crate::output::{self, human, template};

/// Flags of `bryo stats`.
#[derive(Debug, Args)]
pub struct Stats {
    /// Shows containers that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Formats as json, by a template such as '{{.Name}} {{.CPUPerc}}', or as a table by 'table TEMPLATE'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Prints JSON, a container a line
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Measures once
    #[arg(long)]
    no_stream: bool,
    /// Shows whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Names, ids, or beginnings of ids; without any all that run
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Docker's titles.
const TITLES: template::Titles<'_> = &[
    ("ID", "CONTAINER ID"),
    ("Container", "CONTAINER"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

const TABLE: &str =
    "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// What stands for what cannot be known.
const UNKNOWN: &str = "--";

/// How long is measured. Source: Docker.
const INTERVAL: Duration = Duration::from_secs(1);

/// Makes room for a table where the last one was.
const CLEAR: &str = "\x1b[H\x1b[J";

impl Verb for Stats {
    const NAME: &'static str = "stats";
    const ABOUT: &'static str = "Show what containers use";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut meters: BTreeMap<String, Meter> = BTreeMap::new();
        let named = self.containers.iter().map(|name| engine.containers().find(name));
        let named = named.collect::<std::result::Result<Vec<_>, _>>()?;
        let mut records = if named.is_empty() { self.all(&engine)? } else { named };
        // Processor time is measured from one moment to the next.
        for record in &records {
            if let Ok(usage) = engine.usage(record) {
                meters.entry(record.id.to_string()).or_default().share(&usage);
            }
        }
        loop {
            std::thread::sleep(INTERVAL);
            records = if self.containers.is_empty() { self.all(&engine)? } else { left(&engine, &records)? };
            let mut rows = Vec::new();
            for record in &records {
                let usage = match engine.usage(record) {
                    Err(error) if error.kind() == Kind::NotRunning => Usage::default(),
                    other => other?,
                };
                let share = meters.entry(record.id.to_string()).or_default().share(&usage);
                rows.push(self.row(record, &usage, share));
            }
            let format = self.format.as_deref().filter(|format| *format != "table").unwrap_or(TABLE);
            let format = if self.json { "json" } else { format };
            let text = template::list(format, &rows, TITLES)?;
            let again = !self.no_stream && output::stdout_is_terminal();
            output::print(&if again { format!("{CLEAR}{text}") } else { text })?;
            if self.no_stream || (records.is_empty() && !self.containers.is_empty()) {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

impl Stats {
    fn all(&self, engine: &Engine) -> Result<Vec<Record>> {
        Ok(engine.list(&Listing { all: self.all, ..Listing::default() })?)
    }

    fn row(&self, record: &Record, usage: &Usage, share: Option<f64>) -> Value {
        let unknown = || UNKNOWN.to_owned();
        let size = |bytes: Option<u64>| bytes.map_or_else(unknown, human::binary);
        let pair = |pair: Option<(u64, u64)>| match pair {
            Some((one, other)) => format!("{} / {}", human::size(one), human::size(other)),
            None => unknown(),
        };
        let id = if self.no_trunc { record.id.as_str() } else { record.id.short() };
        json!({
            "Container": id,
            "ID": id,
            "Name": record.name,
            "CPUPerc": share.map_or_else(unknown, |share| format!("{share:.2}%")),
            "MemUsage": format!("{} / {}", size(usage.memory), size(usage.memory_limit)),
            "MemPerc": part(usage).map_or_else(unknown, |part| format!("{part:.2}%")),
            "NetIO": pair(usage.network),
            "BlockIO": pair(usage.block),
            "PIDs": usage.pids.map_or_else(unknown, |pids| pids.to_string()),
        })
    }
}

/// Looks again at containers. One that was removed does not end what is shown of the others.
fn left(engine: &Engine, records: &[Record]) -> Result<Vec<Record>> {
    let mut left = Vec::new();
    for record in records {
        match engine.containers().find(record.id.as_str()) {
            Err(error) if error.kind() == Kind::NoSuchContainer => {}
            other => left.push(other?),
        }
    }
    Ok(left)
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn part(usage: &Usage) -> Option<f64> {
    let (memory, limit) = (usage.memory?, usage.memory_limit?);
    (limit > 0).then(|| memory as f64 * 100.0 / limit as f64)
}
