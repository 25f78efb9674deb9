// SPDX-License-Identifier: Apache-2.0
//! `bryo network ls`: which networks there are.

use std::collections::BTreeMap;
use std::process::ExitCode;

use bryo_engine::list::{LabelFilter, Pattern};
use bryo_engine::networks::Definition;
use clap::Args;
use serde_json::{Value, json};

use super::{describe, used};
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, template};

/// Flags of `bryo network ls`.
#[derive(Debug, Args)]
pub struct ListNetworks {
    /// Shows ids only
    #[arg(short, long)]
    quiet: bool,
    /// Shows whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Shows those that fit: name=, id=, label=KEY[=VALUE], driver=, scope=, type=custom|builtin, dangling=BOOL
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Format as json, table ..., or by a template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Prints JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl Verb for ListNetworks {
    const NAME: &'static str = "ls";
    const ABOUT: &'static str = "List networks";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let filters = self.filter.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>>>()?;
        let engine = context.engine()?;
        let used = used(&engine);
        let mut networks = engine.networks().all();
        networks.retain(|network| fits(network, used.contains(&network.name), &filters));
        let text = if self.json {
            output::json(&networks.iter().map(|network| describe(&engine, network)).collect::<Vec<_>>())? + "\n"
        } else if let Some(format) = &self.format {
            let rows: Vec<Value> = networks.iter().map(|network| self.row(network)).collect();
            template::list(format, &rows, &[("ID", "NETWORK ID")])?
        } else if self.quiet {
            networks.iter().map(|network| self.id(network).to_owned() + "\n").collect()
        } else {
            let cells = |network: &Definition| {
                let reach = if network.internal { "internal" } else { "private" };
                let cells = [self.id(network), &network.name, "bridge", &network.subnet, reach];
                cells.map(str::to_owned).to_vec()
            };
            output::table(&["NETWORK ID", "NAME", "DRIVER", "SUBNET", "OUTSIDE"], networks.iter().map(cells))
        };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ListNetworks {
    fn id<'a>(&self, network: &'a Definition) -> &'a str {
        if self.no_trunc { &network.id } else { network.id.get(..12).unwrap_or(&network.id) }
    }

    /// A row in the words of Docker's `--format`.
    fn row(&self, network: &Definition) -> Value {
        let labels: Vec<String> = network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        json!({
            "ID": self.id(network),
            "Name": network.name,
            "Driver": "bridge",
            "Scope": "local",
            "IPv6": "false",
            "Internal": network.internal.to_string(),
            "Labels": labels.join(","),
            "CreatedAt": network.created,
        })
    }
}

/// A condition that networks are listed for.
#[derive(Debug)]
enum Filter {
    Name(Pattern),
    Id(String),
    Label(LabelFilter),
    Driver(String),
    Scope(String),
    /// Made by the caller; there are no others.
    Custom(bool),
    Dangling(bool),
}

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::message(format!("invalid filter {text:?}: {why}"));
        let known = "dangling, driver, id, label, name, scope and type are known";
        let (key, value) = text.split_once('=').ok_or_else(|| bad(known))?;
        let owned = value.to_owned();
        Ok(match (key, value) {
            ("name", _) => Self::Name(Pattern::parse(value)?),
            ("id", _) => Self::Id(owned),
            ("label", _) => Self::Label(LabelFilter::new(value)),
            ("driver", _) => Self::Driver(owned),
            ("scope", _) => Self::Scope(owned),
            ("type", "custom" | "builtin") => Self::Custom(value == "custom"),
            ("type", _) => return Err(bad("it is custom or builtin")),
            ("dangling", "true" | "1") => Self::Dangling(true),
            ("dangling", "false" | "0") => Self::Dangling(false),
            ("dangling", _) => return Err(bad("it is true or false")),
            _ => return Err(bad(known)),
        })
    }

    /// Numbers the kinds, of each of which one must hold. Every label is a kind of its own.
    fn kind(&self, position: usize) -> usize {
        match self {
            Self::Name(_) => 0,
            Self::Id(_) => 1,
            Self::Driver(_) => 2,
            Self::Scope(_) => 3,
            Self::Custom(_) => 4,
            Self::Dangling(_) => 5,
            Self::Label(_) => 6 + position,
        }
    }

    fn holds(&self, network: &Definition, used: bool) -> bool {
        match self {
            Self::Name(pattern) => pattern.is_in(&network.name),
            Self::Id(part) => network.id.contains(part.as_str()),
            Self::Label(label) => label.holds(&network.labels),
            Self::Driver(driver) => driver == "bridge",
            Self::Scope(scope) => scope == "local",
            Self::Custom(custom) => *custom,
            Self::Dangling(dangling) => used != *dangling,
        }
    }
}

/// Tells whether a network fits: any condition of each kind, and every label. Source: Docker's `docker network ls`.
fn fits(network: &Definition, used: bool, filters: &[Filter]) -> bool {
    let mut kinds: BTreeMap<usize, bool> = BTreeMap::new();
    for (n, filter) in filters.iter().enumerate() {
        *kinds.entry(filter.kind(n)).or_default() |= filter.holds(network, used);
    }
    kinds.into_values().all(|holds| holds)
}
