// SPDX-License-Identifier: Apache-2.0
//! `bryo network`: networks that containers find each other in.

mod ends;
mod list;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::error::Kind;
use bryo_engine::networks::{Definition, Wanted};
use bryo_engine::options::key_value;
use bryo_net::subnet::Subnet;
use clap::Args;
use serde_json::{Value, json};

use super::gc::confirm;
use super::prune::Filters;
use super::volume::deleted;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, template};

pub use ends::{ConnectNetwork, DisconnectNetwork};
pub use list::ListNetworks;

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
    /// The addresses among these that containers get, such as 10.20.30.128/25; all without
    #[arg(long, value_name = "RANGE")]
    ip_range: Option<Subnet>,
    /// Leads nowhere but to its containers
    #[arg(long)]
    internal: bool,
    /// Label: NAME[=VALUE]
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// Driver: bridge is the only one
    #[arg(long, short, value_name = "DRIVER", default_value = "bridge", hide_default_value = true)]
    driver: String,
    /// Option of the driver: those of Docker that say what is so in any case are accepted
    #[arg(short, long, value_name = "OPTION")]
    opt: Vec<String>,
    /// Accepted: who chooses addresses
    #[arg(long, hide = true, default_value = "default")]
    ipam_driver: String,
    /// Accepted: networks are this machine's
    #[arg(long, hide = true, default_value = "local")]
    scope: String,
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
        for (flag, value, only) in [
            ("--driver", &self.driver, "bridge"),
            ("--ipam-driver", &self.ipam_driver, "default"),
            ("--scope", &self.scope, "local"),
        ] {
            if value != only {
                return Err(Error::message(format!("{flag} {value}: {only} is the only one")));
            }
        }
        self.opt.iter().try_for_each(|option| check_option(option))?;
        let labels = self.label.iter().map(|text| key_value("label", text)).collect::<std::result::Result<_, _>>()?;
        let Self { name, subnet, gateway, ip_range, internal, ignore, .. } = self;
        let engine = context.engine()?;
        let wanted = Wanted { name: name.clone(), subnet, gateway, ip_range, internal, labels };
        let id = match engine.networks().create(wanted) {
            Err(error) if ignore && error.kind() == Kind::NameInUse => engine.networks().find(&name)?.id,
            made => made?.id,
        };
        output::print(&format!("{id}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Accepts an option of Docker's driver where it says what is so without it. What cannot be had is not passed over.
fn check_option(option: &str) -> Result<()> {
    const TRUE: [&str; 3] = [
        "com.docker.network.bridge.enable_icc=true",
        "com.docker.network.bridge.enable_ip_masquerade=true",
        "com.docker.network.bridge.host_binding_ipv4=0.0.0.0",
    ];
    if TRUE.contains(&option) {
        return Ok(());
    }
    let hint = match option.split_once('=').map_or(option, |(key, _)| key) {
        "com.docker.network.bridge.name" => {
            "leave it out: the bridge is in a namespace, and nobody on the host sees it"
        }
        "com.docker.network.bridge.enable_ip_masquerade" => "--internal, for a network that leads nowhere outside",
        "com.docker.network.bridge.enable_icc" => "a network for each container that others are not to reach",
        "com.docker.network.bridge.host_binding_ipv4" => "-p ADDRESS:HOST:CONTAINER, when a container is started",
        _ => "leave it out",
    };
    Err(Error::message(format!("--opt {option}: a network of bryo has no such option")).hint(hint))
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
    let mut config = json!({"Subnet": network.subnet, "Gateway": network.gateway});
    if let Some(range) = &network.ip_range {
        config["IPRange"] = json!(range);
    }
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Config": [config]},
        "Internal": network.internal,
        "Attachable": true,
        "Containers": containers,
        "Options": {},
        "Labels": network.labels,
    })
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
    /// Removes only networks that fit: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Does not ask
    #[arg(short, long)]
    force: bool,
}

impl Verb for PruneNetworks {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove networks that no container uses";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let filters = Filters::parse(&self.filter)?;
        confirm(self.force, "all networks that no container uses")?;
        output::print(&deleted("Networks", &prune(&context.engine()?, &filters)?))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Removes the networks that no container uses and that fit, and returns their names.
pub(super) fn prune(engine: &Engine, filters: &Filters) -> Result<Vec<String>> {
    let (used, networks) = (used(engine), engine.networks());
    let mut removed = Vec::new();
    let fits = |network: &&Definition| {
        !used.contains(&network.name) && filters.hold_for(&network.labels, Some(&network.created))
    };
    for network in networks.all().iter().filter(fits) {
        match networks.remove(&network.name) {
            // Somebody has come to use it, or has removed it.
            Err(error) if matches!(error.kind(), Kind::NetworkInUse | Kind::NoSuchNetwork) => (),
            other => removed.push(other?.name),
        }
    }
    Ok(removed)
}

/// Returns the names of networks that containers use, whether they run or not.
fn used(engine: &Engine) -> BTreeSet<String> {
    let given = engine.containers().all().into_iter().flat_map(|record| record.options.networks);
    // It may have been given by its id.
    given.filter_map(|endpoint| engine.networks().find(&endpoint.network).ok()).map(|network| network.name).collect()
}
