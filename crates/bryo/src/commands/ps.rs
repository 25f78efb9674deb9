// SPDX-License-Identifier: Apache-2.0
//! `bryo ps`: the containers there are.

use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::container::Record;
use bryo_engine::list::{Filter, Listing};
use bryo_engine::options::Source;
use bryo_engine::sizes::Sizes;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Verb;
use crate::commands::{advisories, port, vulns};
use crate::context::Context;
use crate::errors::Result;
use crate::output::{self, human, template};

/// Flags of `bryo ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Shows containers that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Shows only containers that fit: id=, name=, label=KEY[=VALUE], status=, ancestor=IMAGE, exited=CODE, before=,
    /// since=CONTAINER, volume=, network=, health=
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Formats as json, by a template such as '{{.ID}} {{.Names}}', or as a table by 'table TEMPLATE'
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<String>,
    /// Shows the last containers that were made, so many, whether they run or not
    #[arg(short = 'n', long, value_name = "NUMBER", allow_hyphen_values = true)]
    last: Option<i64>,
    /// Shows the last container that was made, whether it runs or not
    #[arg(short, long, conflicts_with = "last")]
    latest: bool,
    /// Shows whole ids, commands and names of mounts
    #[arg(long)]
    no_trunc: bool,
    /// Shows ids only
    #[arg(short, long)]
    quiet: bool,
    /// Shows what the containers take on disk, and what with their layers
    #[arg(short, long)]
    size: bool,
    /// Shows which known vulnerabilities the containers have that run: critical, high, medium, low, not judged
    #[arg(long)]
    vulns: bool,
    /// Prints the whole records as JSON
    #[arg(long)]
    json: bool,
}

/// Docker's titles.
const TITLES: template::Titles<'_> = &[("ID", "CONTAINER ID"), ("RunningFor", "CREATED"), ("HostUid", "HOST UID")];

/// The columns of the table, by their fields.
const COLUMNS: [&str; 9] = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "User", "HostUid", "Names"];

impl Verb for Ps {
    const NAME: &'static str = "ps";
    const ABOUT: &'static str = "List containers";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let records = engine.list(&self.listing()?)?;
        let text = if self.json {
            output::json(&records)?
        } else if self.quiet && self.format.is_none() {
            records.iter().map(|r| self.id(r).to_owned() + "\n").collect()
        } else {
            self.show(&engine, &records)?
        };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Ps {
    fn listing(&self) -> Result<Listing> {
        let filters = self.filter.iter().map(|text| text.parse()).collect::<std::result::Result<Vec<Filter>, _>>()?;
        // A negative number, Docker's default, is no limit.
        let last = self.last.and_then(|n| usize::try_from(n).ok());
        Ok(Listing { all: self.all, last: if self.latest { Some(1) } else { last }, filters })
    }

    fn show(&self, engine: &Engine, records: &[Record]) -> Result<String> {
        let format = self.format.as_deref().filter(|format| *format != "table");
        let counts = self.size || format.is_some_and(|format| format.contains(".Size"));
        let sizes = if counts { engine.sizes(records, true)? } else { Vec::new() };
        let mut rows: Vec<Value> =
            records.iter().enumerate().map(|(n, record)| self.row(engine, record, sizes.get(n))).collect();
        let judges = self.vulns || format.is_some_and(|format| format.contains(".Vulns"));
        if judges {
            add_vulns(engine, records, &mut rows)?;
        }
        if let Some(format) = format {
            return template::list(format, &rows, TITLES);
        }
        let columns = COLUMNS.iter().chain(self.size.then_some(&"Size")).chain(judges.then_some(&"Vulns"));
        let fields: Vec<String> = columns.map(|name| format!("{{{{.{name}}}}}")).collect();
        template::list(&format!("table {}", fields.join("\t")), &rows, TITLES)
    }

    fn id<'a>(&self, record: &'a Record) -> &'a str {
        if self.no_trunc { record.id.as_str() } else { record.id.short() }
    }

    fn cut(&self, text: &str, length: usize) -> String {
        if self.no_trunc || text.chars().count() <= length {
            return text.to_owned();
        }
        text.chars().take(length - 1).chain(['…']).collect()
    }

    /// Describes a container in the words of Docker's `--format`.
    fn row(&self, engine: &Engine, record: &Record, sizes: Option<&Sizes>) -> Value {
        /// How much of a command is shown, as Docker does.
        const COMMAND: usize = 20;
        let identity = &record.identity;
        let labels: Vec<String> = record.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let volumes = record.options.mounts.iter().filter(|m| m.source.volume().is_some()).count();
        json!({
            "ID": self.id(record),
            "Image": record.image,
            "Command": format!("\"{}\"", self.cut(&record.command.join(" "), COMMAND)),
            "CreatedAt": human::time(&record.created),
            "RunningFor": human::ago(Some(&record.created)),
            "Ports": port::column(&record.state.ports),
            "State": record.state.status,
            "Status": status(record),
            "Size": sizes.map_or_else(String::new, size),
            "Names": record.name,
            "Labels": labels.join(","),
            "Label": record.labels,
            "Mounts": self.mounts(record),
            "LocalVolumes": volumes.to_string(),
            "Networks": engine.networks_of(record).join(","),
            "User": format!("{} ({})", identity.user, identity.uid),
            "HostUid": identity.host_uid.map_or_else(String::new, |id| id.to_string()),
        })
    }

    fn mounts(&self, record: &Record) -> String {
        /// How much of a name is shown, as Docker does.
        const NAME: usize = 15;
        let names = record.options.mounts.iter().filter_map(|mount| match &mount.source {
            Source::Volume(name) | Source::Anonymous(name) => Some(self.cut(name, NAME)),
            Source::Bind(path) => Some(self.cut(&path.to_string_lossy(), NAME)),
            Source::Tmpfs { .. } => None,
        });
        names.collect::<Vec<_>>().join(",")
    }
}

/// Adds to the rows of containers that run what their packages have.
fn add_vulns(engine: &Engine, records: &[Record], rows: &mut [Value]) -> Result<()> {
    let runs = |record: &Record| matches!(record.state.status.as_str(), "running" | "paused");
    let running: Vec<Record> = records.iter().filter(|record| runs(record)).cloned().collect();
    let mut found = vulns::summaries(engine, &running, Vec::new(), advisories::MAX_AGE)?.0.into_iter();
    for (record, row) in records.iter().zip(rows) {
        let summary = if runs(record) { found.next() } else { None };
        row["Vulns"] = Value::String(summary.map_or_else(String::new, |summary| summary.short()));
    }
    Ok(())
}

/// What a container has written, and what that is with all layers.
fn size(sizes: &Sizes) -> String {
    let own = sizes.own.content;
    format!("{} (virtual {})", human::size(own), human::size(own + sizes.shared.content))
}

/// Says in Docker's words how a container is.
fn status(record: &Record) -> String {
    let state = &record.state;
    let up = || format!("Up {}", human::ago(state.started_at.as_deref()).replace(" ago", ""));
    let ended = |word: &str, code: i32| format!("{word} ({code}) {}", human::ago(state.finished_at.as_deref()));
    match (state.status.as_str(), state.exit_code) {
        ("running", _) => match state.health.as_ref().map(|health| health.status.as_str()) {
            None => up(),
            Some("starting") => up() + " (health: starting)",
            Some(word) => format!("{} ({word})", up()),
        },
        ("paused", _) => up() + " (Paused)",
        ("restarting", code) => ended("Restarting", code.unwrap_or_default()),
        ("created", None) => "Created".to_owned(),
        (_, Some(code)) => ended("Exited", code),
        (other, None) => other.to_owned(),
    }
}
