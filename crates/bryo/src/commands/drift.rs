// SPDX-License-Identifier: Apache-2.0
//! `bryo drift`: what of a container is not as its image has it.

use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::container::Record;
use bryo_engine::drift::{Drift as Found, Finding};
use bryo_engine::error::Kind;
use bryo_engine::list::Listing;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, template};

/// The exit code when something is not as in the image.
const FOUND: u8 = 1;
/// The exit code when that could not be found out.
const FAILED: u8 = 125;

/// Flags of `bryo drift`.
#[derive(Debug, Args)]
pub struct Drift {
    /// Looks at every container, whether it runs or not
    #[arg(short, long, conflicts_with = "names", required_unless_present = "names")]
    all: bool,
    /// Formats as json, by a template such as '{{.Kind}} {{.What}}', or as a table by 'table TEMPLATE'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name, id, or beginning of an id
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
}

impl Verb for Drift {
    const NAME: &'static str = "drift";
    const ABOUT: &'static str = "Show what of containers is not as in their images: packages, programs, processes";
    const FAILURE: u8 = FAILED;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let looked = self.look(&engine)?;
        let rows: Vec<Value> = looked.found.iter().flat_map(rows).collect();
        output::print(&self.written(&rows)?)?;
        Ok(looked.code())
    }
}

/// What was found out of containers.
struct Looked {
    found: Vec<(Named, Found)>,
    failed: bool,
}

/// A container, as it is called.
struct Named {
    id: String,
    name: String,
    image: String,
}

impl Looked {
    /// Not to know is worse than to know of something.
    fn code(&self) -> ExitCode {
        match (self.failed, self.found.iter().all(|(_, found)| found.is_none())) {
            (true, _) => ExitCode::from(FAILED),
            (false, true) => ExitCode::SUCCESS,
            (false, false) => ExitCode::from(FOUND),
        }
    }
}

impl Drift {
    fn look(&self, engine: &Engine) -> Result<Looked> {
        let records = if self.all {
            engine.list(&Listing { all: true, ..Listing::default() })?
        } else {
            self.names.iter().map(|name| engine.containers().find(name)).collect::<std::result::Result<_, _>>()?
        };
        let mut looked = Looked { found: Vec::new(), failed: false };
        for (record, found) in records.iter().zip(engine.drift(&records)) {
            match found {
                Ok(found) => {
                    tell(&record.name, &found);
                    looked.found.push((Named::of(record), found));
                }
                // Gone meanwhile, or never had files of its own: nothing that could be otherwise.
                Err(_) if self.all && engine.containers().find(record.id.as_str()).is_err() => (),
                Err(error) => {
                    looked.failed |= !(self.all && error.kind() == Kind::Unsupported);
                    let text = Error::from(error).text().unwrap_or_default();
                    output::complain(&format!("{}\n", output::line(&format!("bryo: {}: {text}", record.name))));
                }
            }
        }
        Ok(looked)
    }

    fn written(&self, rows: &[Value]) -> Result<String> {
        if let Some(format) = self.format.as_deref().filter(|format| *format != "table") {
            return template::list(format, rows, &[]);
        }
        if rows.is_empty() {
            return Ok(String::new());
        }
        let container = if self.all || self.names.len() > 1 { "{{.Container}}\t" } else { "" };
        let table = format!("table {container}{{{{.Kind}}}}\t{{{{.Change}}}}\t{{{{.What}}}}\t{{{{.Detail}}}}");
        template::list(&table, rows, &[])
    }
}

impl Named {
    fn of(record: &Record) -> Self {
        Self { id: record.id.short().to_owned(), name: record.name.clone(), image: record.image.clone() }
    }

    fn row(&self, finding: &Finding) -> Value {
        let package = finding.package.as_ref();
        let version = |version: Option<&String>| version.cloned().unwrap_or_default();
        json!({
            "Container": self.name,
            "ID": self.id,
            "Image": self.image,
            "Kind": finding.meaning.name(),
            "Change": finding.happened.name(),
            "What": finding.what,
            "Detail": finding.detail,
            "Type": package.map_or("", |package| package.kind.as_str()),
            "Before": version(package.and_then(|package| package.before.as_ref())),
            "Now": version(package.and_then(|package| package.now.as_ref())),
            "PID": finding.process.map_or(0, |(pid, _)| pid),
        })
    }
}

fn rows((named, found): &(Named, Found)) -> Vec<Value> {
    let unread = found.unread.iter().map(|unread| {
        json!({
            "Container": named.name, "ID": named.id, "Image": named.image, "Kind": "unreadable", "Change": "",
            "What": unread.what, "Detail": unread.why, "Type": "", "Before": "", "Now": "", "PID": 0,
        })
    });
    found.findings.iter().map(|finding| named.row(finding)).chain(unread).collect()
}

/// Says what was left out.
fn tell(name: &str, found: &Found) {
    if found.left_out > 0 {
        let text = format!("bryo: {name}: there are {} more that are not shown", found.left_out);
        output::complain(&format!("{}\n", output::line(&text)));
    }
}
