// SPDX-License-Identifier: Apache-2.0
//! Connects a container's network before its payload runs.
//!
//! What was asked for is had, or the container does not start. What is only the default may be missing on a host: the
//! container starts with its own loopback then, and one line says why and what mends it.

use std::os::fd::AsFd;

use bryo_launch::Starting;
use bryo_net::pasta::{self, Attached, Pasta};

use super::Request;
use crate::doctor;
use crate::error::Result;
use crate::options::Network;
use crate::plan::Planned;

/// A container's connection. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Connected {
    /// What the record says: `private`, `none`, `host`, or `loopback` where a private one could not be had.
    pub word: &'static str,
    _pasta: Option<Attached>,
}

impl Connected {
    fn without_pasta(word: &'static str) -> Self {
        Self { word, _pasta: None }
    }
}

/// Gives a container its network.
pub(super) fn connect(
    starting: &mut Starting,
    network: Network,
    planned: &Planned,
    request: &Request<'_>,
) -> Result<Connected> {
    match network {
        Network::None => return Ok(Connected::without_pasta("none")),
        Network::Host => return Ok(Connected::without_pasta("host")),
        Network::Private => (),
    }
    match private(starting, planned) {
        Ok(pasta) => Ok(Connected { word: "private", _pasta: Some(pasta) }),
        Err(Failed::Network(error)) if request.options.network.is_none() => {
            (request.note)(&unconnected(&error));
            Ok(Connected::without_pasta("loopback"))
        }
        Err(Failed::Network(error)) => Err(error.into()),
        Err(Failed::Container(error)) => Err(error.into()),
    }
}

/// Why there is no private network: there could be a container without it, or not.
enum Failed {
    Network(bryo_net::Error),
    Container(bryo_launch::Error),
}

fn private(starting: &mut Starting, planned: &Planned) -> std::result::Result<Attached, Failed> {
    let map = &planned.plan.ids;
    let pasta = Pasta::find(map).map_err(Failed::Network)?;
    let network = starting.take_network_namespace().map_err(Failed::Container)?;
    let user = starting.user_namespace();
    let request = pasta::Request { user, network: network.as_fd(), map, forward_dns: planned.forward_dns };
    pasta.attach(request).and_then(pasta::Starting::ready).map_err(Failed::Network)
}

/// The one line on a network that is missing.
fn unconnected(error: &bryo_net::Error) -> String {
    let remedy = doctor::explain(error).map_or_else(String::new, |advice| format!("; try: {}", advice.remedy));
    format!("the container has no network but loopback: {error}{remedy}")
}
