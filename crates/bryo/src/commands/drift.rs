// SPDX-License-Identifier: Apache-2.0
//! `bryo drift`: what of a container is not as its image has it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bryo_audit::engines;
use bryo_engine::Engine;
use bryo_engine::container::Record;
use bryo_engine::drift::{Drift as Found, Finding, Foreign, Watch};
use bryo_engine::error::Kind;
use bryo_engine::list::Listing;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, template};
use crate::pages;

/// The exit code when something is not as in the image.
const FOUND: u8 = 1;
/// The exit code when that could not be found out.
const FAILED: u8 = 125;

/// How long `--watch` waits for a change of files before it looks at the processes again.
const PAUSE: Duration = Duration::from_secs(2);

/// Show what of containers is not as in their images: packages, programs, configuration, processes
///
/// Without a format there is a line for each finding: what it is about (package, executable, configuration, setuid, file,
/// process, unreadable), what happened, the object and more of it. Logs, caches and other data are no drift.
///
/// Ends with 0 if there is nothing, with 1 if there is something, and with 125 if a container could not be looked at.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Drift {
    /// Looks at every container, whether it runs or not, and at those of Docker and Podman that run
    #[arg(short, long, group = "what")]
    all: bool,
    /// Formats as json, by a template such as '{{.Kind}} {{.What}}', or as a table by 'table TEMPLATE'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Writes a page of HTML to FILE too, which needs nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "watch")]
    html: Option<PathBuf>,
    /// The address of Docker's or Podman's socket
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    socket: Option<PathBuf>,
    /// Goes on, and prints what is new as it comes, until it is interrupted; with --format json a line for each
    #[arg(short, long)]
    watch: bool,
    /// Name, id, or beginning of an id; docker:NAME or podman:NAME for one of another engine
    #[arg(group = "what", value_name = "CONTAINER")]
    names: Vec<String>,
}

impl Verb for Drift {
    const NAME: &'static str = "drift";
    const ABOUT: &'static str = "Show what of containers is not as in their images: packages, programs, processes";
    const FAILURE: u8 = FAILED;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.watch {
            return self.follow(&engine);
        }
        let looked = self.look(&engine, &mut |text| output::complain(text))?;
        let rows: Vec<Value> = looked.found.iter().flat_map(rows).collect();
        pages::write(self.html.as_deref(), || pages::drift::page(looked.found.len(), &rows))?;
        output::print(&self.written(&rows)?)?;
        Ok(looked.code())
    }
}

/// What was found out of containers.
#[derive(Default)]
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
    fn look(&self, engine: &Engine, complain: &mut dyn FnMut(&str)) -> Result<Looked> {
        let mut looked = Looked::default();
        let (others, own): (Vec<_>, Vec<_>) = self.names.iter().partition(|name| other(name).is_some());
        let records = if self.all {
            engine.list(&Listing { all: true, ..Listing::default() })?
        } else {
            own.into_iter().map(|name| engine.containers().find(name)).collect::<std::result::Result<_, _>>()?
        };
        for (record, found) in records.iter().zip(engine.drift(&records)) {
            match found {
                Ok(found) => {
                    if found.left_out > 0 {
                        let more = format!("there are {} more that are not shown", found.left_out);
                        complain(&told(&record.name, &more));
                    }
                    looked.found.push((Named::of(record), found));
                }
                // Gone meanwhile, or never had files of its own: nothing that could be otherwise.
                Err(_) if self.all && engine.containers().find(record.id.as_str()).is_err() => (),
                Err(error) => {
                    looked.failed |= !(self.all && error.kind() == Kind::Unsupported);
                    complain(&told(&record.name, &Error::from(error).text().unwrap_or_default()));
                }
            }
        }
        let mut others: Vec<(&str, &str)> = others.into_iter().filter_map(|name| other(name)).collect();
        if self.all {
            others.extend(ENGINES.iter().filter(|name| self.socket_of(name).is_some()).map(|name| (*name, "")));
        }
        for (name, container) in others {
            if let Err(error) = self.look_elsewhere(engine, name, container, &mut looked, complain) {
                looked.failed = true;
                complain(&told(name, &error.text().unwrap_or_default()));
            }
        }
        Ok(looked)
    }

    fn socket_of(&self, engine: &str) -> Option<PathBuf> {
        self.socket.clone().or_else(|| crate::paths::engine_socket(engine))
    }

    /// Looks at one container of another engine, or at all of its that run.
    fn look_elsewhere(
        &self,
        engine: &Engine,
        name: &'static str,
        container: &str,
        looked: &mut Looked,
        complain: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let none = || Error::message("it has no socket here").hint("podman system service, or --socket PATH");
        let asked = engines::Engine { name, socket: self.socket_of(name).ok_or_else(none)? };
        let all = match container {
            "" => asked.containers().map_err(Error::message)?,
            one => vec![(one.to_owned(), one.to_owned())],
        };
        for (id, shown) in all {
            let inspected = asked.inspect(&id).map_err(Error::message)?;
            let value: Value = serde_json::from_str(&inspected).unwrap_or_default();
            let shown = format!("{name}:{shown}");
            let found = Foreign::parse(&value).and_then(|one| engine.drift_of_others(&[one]).remove(0));
            match found {
                Ok(found) => looked.found.push((Named::elsewhere(&shown, &value), found)),
                Err(error) => {
                    looked.failed = true;
                    complain(&told(&shown, &Error::from(error).text().unwrap_or_default()));
                }
            }
        }
        Ok(())
    }

    /// Prints what is new, as it comes.
    fn follow(&self, engine: &Engine) -> Result<ExitCode> {
        let watch = Watch::new()?;
        let mut known = BTreeSet::new();
        let mut told = BTreeSet::new();
        loop {
            for record in self.watched(engine) {
                // Without watches it is looked at after the pause.
                let _ = engine.watch_layer(&record, &watch);
            }
            let looked = self.look(engine, &mut |text| {
                if told.insert(text.to_owned()) {
                    output::complain(text);
                }
            })?;
            let rows: Vec<Value> = looked.found.iter().flat_map(rows).collect();
            let now: BTreeSet<String> = rows.iter().map(Value::to_string).collect();
            let fresh: Vec<Value> = rows.into_iter().filter(|row| !known.contains(&row.to_string())).collect();
            let line = "{{.Container}} {{.Kind}} {{.Change}} {{.What}} {{.Detail}}";
            output::print(&template::list(self.format.as_deref().unwrap_or(line), &fresh, &[])?)?;
            known = now;
            watch.wait(PAUSE)?;
        }
    }

    fn watched(&self, engine: &Engine) -> Vec<Record> {
        if self.all {
            return engine.list(&Listing { all: true, ..Listing::default() }).unwrap_or_default();
        }
        self.names.iter().filter_map(|name| engine.containers().find(name).ok()).collect()
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

/// The engines whose containers are looked at besides one's own.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// Takes a name of a container of another engine apart.
fn other(name: &str) -> Option<(&'static str, &str)> {
    let (engine, container) = name.split_once(':')?;
    ENGINES.iter().find(|known| **known == engine).map(|known| (*known, container))
}

fn told(name: &str, text: &str) -> String {
    format!("{}\n", output::line(&format!("bryo: {name}: {text}")))
}

impl Named {
    fn elsewhere(name: &str, inspected: &Value) -> Self {
        let id: String = inspected["Id"].as_str().unwrap_or_default().chars().take(12).collect();
        let image = inspected["Config"]["Image"].as_str().unwrap_or_default().to_owned();
        Self { id, name: name.to_owned(), image }
    }

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
