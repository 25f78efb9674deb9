// SPDX-License-Identifier: Apache-2.0
//! `bryo volume`: directories that outlive containers.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::error::Kind;
use bryo_engine::list::{LabelFilter, Pattern};
use bryo_engine::options::key_value;
use bryo_engine::volumes::Volume;
use bryo_image::unpack::TreeUsage;
use clap::Args;
use serde_json::{Value, json};

use super::gc::confirm;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, human, template};

/// Flags of `bryo volume create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The driver: local
    #[arg(short, long, value_name = "DRIVER", default_value = "local", hide_default_value = true)]
    driver: String,
    /// Label: NAME[=VALUE]
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// Option of the driver: none is known
    #[arg(short, long, value_name = "OPTION", hide = true)]
    opt: Vec<String>,
    /// The name; without one it gets one that nobody has
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Flags of `bryo volume ls`.
#[derive(Debug, Args)]
pub struct List {
    /// Shows only volumes that fit: dangling=BOOL, driver=, label=KEY[=VALUE], name=
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Formats as json, by a template such as '{{.Name}}', or as a table by 'table TEMPLATE'
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<String>,
    /// Shows names only
    #[arg(short, long)]
    quiet: bool,
    /// Prints the whole descriptions as JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `bryo volume rm`.
#[derive(Debug, Args)]
pub struct Remove {
    /// Names
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
    /// Passes over volumes that do not exist
    #[arg(short, long)]
    force: bool,
}

/// Flags of `bryo volume prune`.
#[derive(Debug, Args)]
pub struct Prune {
    /// Removes volumes with a name of somebody's as well
    #[arg(short, long)]
    all: bool,
    /// Removes only volumes that fit: label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Verb for Create {
    const NAME: &'static str = "create";
    const ABOUT: &'static str = "Make a volume";

    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.driver != "local" {
            return Err(Error::message(format!("unknown volume driver {:?}: local is known", self.driver)));
        }
        if let Some(option) = self.opt.first() {
            return Err(Error::message(format!("unknown option {option:?} of a volume: none is known")));
        }
        let labels = self.label.iter().map(|text| key_value("label", text));
        let labels = labels.collect::<std::result::Result<BTreeMap<_, _>, _>>()?;
        let volume = context.engine()?.create_volume(self.name.as_deref().filter(|name| !name.is_empty()), labels)?;
        output::print(&format!("{}\n", volume.name))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Verb for List {
    const NAME: &'static str = "ls";
    const ABOUT: &'static str = "List volumes";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let filters = self.filter.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>>>()?;
        let engine = context.engine()?;
        let mut volumes = engine.volumes();
        if filters.iter().any(|filter| matches!(filter, Filter::Dangling(_))) {
            let used: BTreeSet<String> = engine.volume_users().into_keys().collect();
            volumes.retain(|v| filters.iter().all(|filter| filter.holds(v, used.contains(&v.name))));
        } else {
            volumes.retain(|v| filters.iter().all(|filter| filter.holds(v, false)));
        }
        output::print(&self.show(&engine, &volumes)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn show(&self, engine: &Engine, volumes: &[Volume]) -> Result<String> {
        let format = self.format.as_deref().filter(|format| *format != "table");
        if self.json {
            return output::json(&volumes);
        }
        if self.quiet && format.is_none() {
            return Ok(volumes.iter().map(|volume| volume.name.clone() + "\n").collect());
        }
        let asks = |field: &str| format.is_some_and(|format| format.contains(field));
        let sizes = if asks(".Size") { engine.volume_sizes(volumes)? } else { Vec::new() };
        let users = if asks(".Links") { engine.volume_users() } else { BTreeMap::new() };
        let rows = volumes.iter().enumerate().map(|(n, volume)| {
            let links = asks(".Links").then(|| users.get(&volume.name).map_or(0, Vec::len).to_string());
            row(volume, sizes.get(n), links)
        });
        let rows: Vec<Value> = rows.collect();
        let format = format.unwrap_or("table {{.Driver}}\t{{.Name}}");
        template::list(format, &rows, &[("Name", "VOLUME NAME")])
    }
}

/// Describes a volume in the words of Docker's `--format`.
pub fn row(volume: &Volume, size: Option<&TreeUsage>, links: Option<String>) -> Value {
    let labels: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "Driver": volume.driver,
        "Name": volume.name,
        "Scope": volume.scope,
        "Mountpoint": volume.mountpoint,
        "Labels": labels.join(","),
        "Label": volume.labels,
        "Links": links.unwrap_or_else(|| "N/A".to_owned()),
        "Size": size.map_or_else(|| "N/A".to_owned(), |size| human::size(size.disk)),
    })
}

impl Verb for Remove {
    const NAME: &'static str = "rm";
    const ABOUT: &'static str = "Remove volumes that no container names";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut failed = false;
        for name in &self.volumes {
            match engine.remove_volume(name) {
                Err(error) if self.force && error.kind() == Kind::NoSuchVolume => {}
                Err(error) => {
                    Error::from(error).print();
                    failed = true;
                    continue;
                }
                Ok(()) => {}
            }
            output::print(&format!("{}\n", output::line(name)))?;
        }
        if failed { Err(Error::Reported) } else { Ok(ExitCode::SUCCESS) }
    }
}

impl Verb for Prune {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove volumes that no container names";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let (labels, all) = prune_filters(&self.filter)?;
        let all = all || self.all;
        let what = if all { "all volumes" } else { "all anonymous volumes" };
        confirm(self.force, &format!("{what} that no container names"))?;
        let (names, freed) = prune(&context.engine()?, &labels, all)?;
        output::print(&deleted("Volumes", &names))?;
        output::print(&format!("Total reclaimed space: {}\n", human::size(freed)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Removes volumes that no container names: their names, and the bytes on disk that are free again.
pub fn prune(engine: &Engine, labels: &[LabelFilter], all: bool) -> Result<(Vec<String>, u64)> {
    let wanted =
        |volume: &Volume| (all || volume.is_anonymous()) && labels.iter().all(|label| label.holds(&volume.labels));
    let pruned = engine.prune_volumes(wanted)?;
    let freed = pruned.iter().map(|(_, size)| size.disk).sum();
    Ok((pruned.into_iter().map(|(volume, _)| volume.name).collect(), freed))
}

/// Lists what was removed, as Docker does: nothing for nothing.
pub fn deleted(what: &str, names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let names: String = names.iter().map(|name| format!("{}\n", output::line(name))).collect();
    format!("Deleted {what}:\n{names}\n")
}

/// Reads filters of a prune of volumes: labels, and whether all are meant.
fn prune_filters(texts: &[String]) -> Result<(Vec<LabelFilter>, bool)> {
    let (mut labels, mut all) = (Vec::new(), false);
    for text in texts {
        match text.split_once('=') {
            Some(("label", value)) => labels.push(LabelFilter::new(value)),
            Some(("label!", value)) => labels.push(LabelFilter::not(value)),
            Some(("all", value)) => all = truth("all", value)?,
            _ => return Err(Error::message(format!("invalid filter {text:?}: label and label! are known"))),
        }
    }
    Ok((labels, all))
}

fn truth(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::message(format!("invalid filter {key}={value}: it is true or false"))),
    }
}

/// A condition that volumes are listed for.
#[derive(Debug)]
enum Filter {
    Dangling(bool),
    Driver(String),
    Label(LabelFilter),
    Name(Pattern),
}

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some(("dangling", value)) => Ok(Self::Dangling(truth("dangling", value)?)),
            Some(("driver", value)) => Ok(Self::Driver(value.to_owned())),
            Some(("label", value)) => Ok(Self::Label(LabelFilter::new(value))),
            Some(("name", value)) => Ok(Self::Name(Pattern::parse(value)?)),
            _ => Err(Error::message(format!("invalid filter {text:?}: dangling, driver, label and name are known"))),
        }
    }

    fn holds(&self, volume: &Volume, used: bool) -> bool {
        match self {
            Self::Dangling(dangling) => used != *dangling,
            Self::Driver(driver) => volume.driver == *driver,
            Self::Label(label) => label.holds(&volume.labels),
            Self::Name(pattern) => pattern.is_in(&volume.name),
        }
    }
}
