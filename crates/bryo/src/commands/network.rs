// SPDX-License-Identifier: Apache-2.0
//! `bryo network`: networks that containers find each other in.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::error::Kind;
use bryo_engine::networks::{Definition, Wanted};
use bryo_engine::options::{Endpoint, key_value};
use bryo_net::subnet::Subnet;
use clap::Args;
use serde_json::{Value, json};

use super::gc::confirm;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, template};

/// Flags of `bryo network create`.
#[derive(Debug, Args)]
pub struct CreateNetwork {
    /// Name
    #[arg(value_name = "NETWORK")]
    name: String,
    /// Its addresses, such as 10.20.30.0/24; one is chosen without
    #[arg(long, value_name = "SUBNET")]
    subnet: Option<Subnet>,
    /// The address that no container gets; the first without
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,
    /// Leads nowhere but to its containers
    #[arg(long)]
    internal: bool,
    /// Label: NAME[=VALUE]
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// Driver: bridge is the only one
    #[arg(long, short, value_name = "DRIVER", default_value = "bridge", hide_default_value = true)]
    driver: String,
    /// Leaves a network that is there already as it is
    #[arg(long)]
    ignore: bool,
    /// Accepted: every container may be connected
    #[arg(long, hide = true)]
    attachable: bool,
    /// Refused: networks have IPv4 addresses
    #[arg(long, hide = true)]
    ipv6: bool,
}

impl Verb for CreateNetwork {
    const NAME: &'static str = "create";
    const ABOUT: &'static str = "Make a network";

    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.ipv6 {
            let why = "--ipv6: networks have IPv4 addresses in this version; leave it out";
            return Err(Error::message(why));
        }
        if self.driver != "bridge" {
            return Err(Error::message(format!("--driver {}: bridge is the only driver", self.driver)));
        }
        let labels = self.label.iter().map(|text| key_value("label", text)).collect::<std::result::Result<_, _>>()?;
        let Self { name, subnet, gateway, internal, ignore, .. } = self;
        let engine = context.engine()?;
        let wanted = Wanted { name: name.clone(), subnet, gateway, internal, labels };
        let id = match engine.networks().create(wanted) {
            Err(error) if ignore && error.kind() == Kind::NameInUse => engine.networks().find(&name)?.id,
            made => made?.id,
        };
        output::print(&format!("{id}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `bryo network ls`.
#[derive(Debug, Args)]
pub struct ListNetworks {
    /// Shows ids only
    #[arg(short, long)]
    quiet: bool,
    /// Shows whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Shows those that fit: name=, id=, label=, driver=, dangling=
    #[arg(short, long, value_name = "FILTER", value_parser = Filter::parse)]
    filter: Vec<Filter>,
    /// Format as json, table ..., or by a template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Prints JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// A condition of `--filter`.
#[derive(Debug, Clone)]
enum Filter {
    Name(String),
    Id(String),
    Label(String, Option<String>),
    Driver(String),
    Dangling(bool),
}

impl Filter {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("a filter is KEY=VALUE")?;
        let value = value.to_owned();
        match key {
            "name" => Ok(Self::Name(value)),
            "id" => Ok(Self::Id(value)),
            "driver" => Ok(Self::Driver(value)),
            "dangling" => value.parse().map(Self::Dangling).map_err(|_| "dangling is true or false".to_owned()),
            "label" => Ok(match value.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(value, None),
            }),
            _ => Err(format!("there is no filter {key:?}")),
        }
    }

    fn fits(&self, network: &Definition, used: &BTreeSet<String>) -> bool {
        match self {
            Self::Name(part) => network.name.contains(part.as_str()),
            Self::Id(part) => network.id.starts_with(part.as_str()),
            Self::Label(key, value) => {
                network.labels.get(key).is_some_and(|has| value.as_ref().is_none_or(|value| has == value))
            }
            Self::Driver(driver) => driver == "bridge",
            Self::Dangling(dangling) => used.contains(&network.name) != *dangling,
        }
    }
}

impl Verb for ListNetworks {
    const NAME: &'static str = "ls";
    const ABOUT: &'static str = "List networks";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let used = used(&engine);
        let mut networks = engine.networks().all();
        networks.retain(|network| self.filter.iter().all(|filter| filter.fits(network, &used)));
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

/// Flags of `bryo network inspect`.
#[derive(Debug, Args)]
pub struct InspectNetwork {
    /// Format as json, or by a template such as '{{.Id}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Networks, by name or id
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
}

impl Verb for InspectNetwork {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Show everything about networks";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let (mut found, mut failure) = (Vec::new(), None);
        for name in &self.names {
            match engine.networks().find(name) {
                Ok(network) => found.push(describe(&engine, &network)),
                Err(error) => {
                    failure.replace(Error::from(error)).inspect(Error::print);
                }
            }
        }
        let text = match &self.format {
            Some(format) => found.iter().map(|value| template::one(format, value)).collect::<Result<String>>()?,
            None => output::json(&found)?,
        };
        output::print(&text)?;
        failure.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}

/// Describes a network in the words of Docker's API.
fn describe(engine: &Engine, network: &Definition) -> Value {
    let prefix = network.subnet.rsplit('/').next().unwrap_or_default();
    let members = engine.networks().members(&network.name);
    let member = |member: &bryo_net::members::Member| {
        let value = json!({
            "Name": member.names.first().cloned().unwrap_or_default(),
            "IPv4Address": format!("{}/{prefix}", member.address),
            "IPv6Address": "",
        });
        (member.id.clone(), value)
    };
    let containers: serde_json::Map<String, Value> = members.iter().map(member).collect();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": network.subnet, "Gateway": network.gateway}]},
        "Internal": network.internal,
        "Attachable": true,
        "Containers": containers,
        "Options": {},
        "Labels": network.labels,
    })
}

/// Flags of `bryo network connect`.
#[derive(Debug, Args)]
pub struct ConnectNetwork {
    /// Another name by which the container is found there
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// The container's address there
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Network, by name or id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Verb for ConnectNetwork {
    const NAME: &'static str = "connect";
    const ABOUT: &'static str = "Connect a container to a network";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let endpoint = Endpoint::new(&self.network, &self.alias, self.ip.as_deref())?;
        let engine = context.engine()?;
        let record = engine.containers().find(&self.container)?;
        engine.connect_network(&record, &endpoint)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `bryo network disconnect`.
#[derive(Debug, Args)]
pub struct DisconnectNetwork {
    /// Is content with one that is not connected
    #[arg(short, long)]
    force: bool,
    /// Network, by name or id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Verb for DisconnectNetwork {
    const NAME: &'static str = "disconnect";
    const ABOUT: &'static str = "Disconnect a container from a network";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let record = engine.containers().find(&self.container)?;
        engine.disconnect_network(&record, &self.network, self.force)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `bryo network rm`.
#[derive(Debug, Args)]
pub struct RemoveNetwork {
    /// Passes over those that do not exist
    #[arg(short, long)]
    force: bool,
    /// Networks, by name or id
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
}

impl Verb for RemoveNetwork {
    const NAME: &'static str = "rm";
    const ABOUT: &'static str = "Remove networks";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let networks = context.engine()?.networks();
        let mut failed = false;
        for name in &self.names {
            match networks.remove(name) {
                Ok(_) => output::print(&format!("{}\n", output::line(name)))?,
                Err(error) if self.force && error.kind() == Kind::NoSuchNetwork => (),
                Err(error) => {
                    Error::from(error).print();
                    failed = true;
                }
            }
        }
        if failed { Err(Error::Reported) } else { Ok(ExitCode::SUCCESS) }
    }
}

/// Flags of `bryo network prune`.
#[derive(Debug, Args)]
pub struct PruneNetworks {
    /// Does not ask
    #[arg(short, long)]
    force: bool,
}

impl Verb for PruneNetworks {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove networks that no container uses";

    fn run(self, context: &Context) -> Result<ExitCode> {
        confirm(self.force, "all networks that no container uses")?;
        let engine = context.engine()?;
        let (used, networks) = (used(&engine), engine.networks());
        for network in networks.all().iter().filter(|network| !used.contains(&network.name)) {
            match networks.remove(&network.name) {
                // Somebody has come to use it, or has removed it.
                Err(error) if matches!(error.kind(), Kind::NetworkInUse | Kind::NoSuchNetwork) => (),
                removed => output::print(&format!("{}\n", removed?.name))?,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns the names of networks that containers use, whether they run or not.
fn used(engine: &Engine) -> BTreeSet<String> {
    let given = engine.containers().all().into_iter().flat_map(|record| record.options.networks);
    // It may have been given by its id.
    given.filter_map(|endpoint| engine.networks().find(&endpoint.network).ok()).map(|network| network.name).collect()
}
