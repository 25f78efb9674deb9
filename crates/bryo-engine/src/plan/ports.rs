// SPDX-License-Identifier: Apache-2.0
//! Which ports of the container are published. Source: Docker's `docker run` reference, `-p`, `-P` and `--expose`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bryo_net::publish::{Protocol, Wanted};

use super::Input;
use crate::error::{Error, Kind, Result};
use crate::options::{self, Network, Port};

/// The ports of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// Those that are to be reached from outside.
    pub published: Vec<Wanted>,
    /// Those that the image or the caller names, and all that are published.
    pub exposed: BTreeSet<Port>,
}

/// Decides about the ports, and says when what was asked for has no effect.
pub(super) fn of(input: &Input<'_>, notes: &mut Vec<String>) -> Result<Ports> {
    let options = input.options;
    let asked = !options.publish.is_empty() || options.publish_all;
    match input.network {
        Network::Private => (),
        Network::Host => {
            if asked {
                notes.push("published ports are discarded: with --network host every port is the host's".into());
            }
            return Ok(Ports::default());
        }
        Network::None | Network::Container if asked && !options.disconnected => {
            let why = match input.network {
                Network::Container => "a container with the network of another one publishes no ports; that one can",
                _ if options.networks.is_empty() => "with --network none no port can be published",
                _ => "a container whose networks are all internal publishes no ports",
            };
            return Err(Error::new(Kind::InvalidOption, format!("{why}; leave -p and -P out")));
        }
        Network::None | Network::Container => return Ok(Ports::default()),
    }
    let mut exposed: BTreeSet<Port> = options.expose.iter().copied().collect();
    for text in input.image.and_then(|i| i.config().as_ref()?.exposed_ports().as_ref()).into_iter().flatten() {
        match options::expose(text) {
            Ok(ports) => exposed.extend(ports),
            Err(error) if options.publish_all => {
                return Err(Error::new(error.kind(), format!("the image exposes what cannot be published: {error}")));
            }
            // It is no more than a remark of the image's author.
            Err(_) => (),
        }
    }
    let mut published: Vec<Wanted> = options.publish.iter().map(|publish| publish.0.clone()).collect();
    let named: BTreeSet<Port> = published.iter().map(container_port).collect();
    if options.publish_all {
        published.extend(exposed.difference(&named).map(|port| Wanted {
            address: None,
            host: None,
            container: port.number,
            protocol: port.protocol,
        }));
    }
    exposed.extend(named);
    contradictions(&published)?;
    Ok(Ports { published, exposed })
}

fn container_port(wanted: &Wanted) -> Port {
    Port { number: wanted.container, protocol: wanted.protocol }
}

/// Refuses what would be taken and not be done: `pasta` knows for each port of the host one port of the container, and
/// for each of the container that takes datagrams one port of the host to answer from.
fn contradictions(published: &[Wanted]) -> Result<()> {
    let mut hosts: BTreeMap<(Protocol, u16), Vec<&Wanted>> = BTreeMap::new();
    let mut answers: BTreeMap<u16, &Wanted> = BTreeMap::new();
    for wanted in published {
        let protocol = wanted.protocol;
        if let Some(range) = wanted.host.as_ref().filter(|range| range.start() == range.end()) {
            let port = *range.start();
            let others = hosts.entry((protocol, port)).or_default();
            if others.iter().any(|other| overlap(other.address, wanted.address)) {
                return Err(Error::new(Kind::InvalidOption, format!("host port {port}/{protocol} is published twice")));
            }
            if let Some(other) = others.iter().find(|other| other.container != wanted.container) {
                let (one, two) = (other.container, wanted.container);
                let why = format!(
                    "host port {port}/{protocol} cannot lead to {one} on one address and to {two} on another; \
                     nothing was started"
                );
                return Err(Error::new(Kind::Unsupported, why));
            }
            others.push(wanted);
        }
        if protocol == Protocol::Udp
            && let Some(other) = answers.insert(wanted.container, wanted)
            && (other.host.is_none() || other.host != wanted.host)
        {
            let why = format!(
                "container port {}/udp cannot be published as more than one host port; nothing was started",
                wanted.container
            );
            return Err(Error::new(Kind::Unsupported, why));
        }
    }
    Ok(())
}

/// Tells whether two addresses of the host cannot have one port each.
fn overlap(one: Option<IpAddr>, two: Option<IpAddr>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => {
            one == two || one.is_ipv4() == two.is_ipv4() && (one.is_unspecified() || two.is_unspecified())
        }
        _ => true,
    }
}
