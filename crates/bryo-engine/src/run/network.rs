// SPDX-License-Identifier: Apache-2.0
//! Connects a container's network before its payload runs.
//!
//! What was asked for is had, or the container does not start. What is only the default may be missing on a host: the
//! container starts with its own loopback then, and one line says why and what mends it.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use bryo_launch::{Starting, relay};
use bryo_net::pasta::{self, Attached, Pasta};
use bryo_net::publish::{Forward, reserve};
use bryo_net::switch::Place;

use crate::container::Bindings;
use crate::doctor;
use crate::error::{Error, Kind, Result};
use crate::options::{Network, RunOptions};
use crate::plan::Planned;

/// How long `pasta` may take: a hundred times what it needs on a small machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often ports are chosen anew when somebody else has taken one in the moment between the choice and its use.
const ATTEMPTS: u32 = 3;

/// A container's connection. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Connected {
    /// What the record says: `private`, `none`, `host`, or `loopback` where a private one could not be had.
    pub word: &'static str,
    /// The container's ports, and what leads to them from the host.
    pub ports: Bindings,
    pasta: Option<Attached>,
}

/// The container that is connected.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub place: Place<'a>,
    /// Process 1.
    pub process: BorrowedFd<'a>,
    /// Whether a signal to this process ends the attempt.
    pub interruptible: bool,
}

impl Connected {
    fn without_pasta(word: &'static str) -> Self {
        Self { word, ports: Bindings::default(), pasta: None }
    }

    /// Opens the way out of a container that runs, or closes it.
    pub fn follow(&mut self, network: Network, target: Target<'_>, planned: &Planned) -> Result<()> {
        match (network, &self.pasta) {
            (Network::Private, None) => *self = private(target, planned).map_err(Error::from)?,
            (Network::None, Some(_)) => *self = Self::without_pasta("none"),
            _ => (),
        }
        Ok(())
    }
}

/// Gives a container its network.
pub(super) fn connect(
    starting: &mut Starting,
    network: Network,
    planned: &Planned,
    options: &RunOptions,
    note: &dyn Fn(&str),
) -> Result<Connected> {
    match network {
        Network::None => return Ok(Connected::without_pasta("none")),
        Network::Host => return Ok(Connected::without_pasta("host")),
        Network::Container => return Ok(Connected::without_pasta("container")),
        Network::Private => (),
    }
    let asked = options.network.is_some() || !options.networks.is_empty() || !planned.ports.published.is_empty();
    let network = starting.take_network_namespace().map_err(Error::from)?;
    let place = Place { user: starting.user_namespace(), network: network.as_fd() };
    match private(Target { place, process: starting.pidfd(), interruptible: true }, planned) {
        Ok(connected) => Ok(connected),
        Err(Failed::Network(error)) if !asked => {
            note(&unconnected(&error));
            Ok(Connected::without_pasta("loopback"))
        }
        Err(failed) => Err(failed.into()),
    }
}

/// Why there is no private network.
enum Failed {
    /// There could be a container without one.
    Network(bryo_net::Error),
    /// There is no container either.
    Start(Error),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Network(error) => error.into(),
            Failed::Start(error) => error,
        }
    }
}

impl From<bryo_net::Error> for Failed {
    fn from(error: bryo_net::Error) -> Self {
        Self::Network(error)
    }
}

fn private(target: Target<'_>, planned: &Planned) -> std::result::Result<Connected, Failed> {
    let pasta = Pasta::find(&planned.plan.ids)?;
    let mut attempt = 1;
    loop {
        // A port that is in use, and not only was for a moment, fails here.
        let reserved = reserve(&planned.ports.published, pasta.families())?;
        match attach(&pasta, target, planned, &reserved.forwards) {
            Err(Failed::Network(e)) if e.kind() == bryo_net::Kind::PortInUse && attempt < ATTEMPTS => attempt += 1,
            attached => {
                let ports = Bindings::of(&planned.ports.exposed, &reserved.forwards, pasta.families());
                return Ok(Connected { word: "private", ports, pasta: attached? });
            }
        }
    }
}

/// Attaches `pasta`; there is none when process 1 has ended meanwhile, of which its release tells the reason.
fn attach(
    pasta: &Pasta,
    target: Target<'_>,
    planned: &Planned,
    forwards: &[Forward],
) -> std::result::Result<Option<Attached>, Failed> {
    let Place { user, network } = target.place;
    let (map, forward_dns) = (&planned.plan.ids, planned.forward_dns);
    let attaching = pasta.attach(pasta::Request { user, network, map, forward_dns, forwards })?;
    if !target.interruptible {
        return Ok(attaching.ready(&[target.process], PATIENCE)?);
    }
    // Others wait for the payload, as all signals do that are sent before it runs.
    let ending = relay::ending().descriptor().map_err(|e| Failed::Start(e.into()))?;
    let attached = attaching.ready(&[ending.as_fd(), target.process], PATIENCE)?;
    if attached.is_none()
        && let Some(signal) = bryo_sys::signal::next(&ending).map_err(|e| Failed::Start(e.into()))?
    {
        let why = format!("signal {signal} ended the start, before the program ran");
        return Err(Failed::Start(Error::new(Kind::Interrupted(signal), why)));
    }
    Ok(attached)
}

/// The one line on a network that is missing.
fn unconnected(error: &bryo_net::Error) -> String {
    let remedy = doctor::explain(error).map_or_else(String::new, |advice| format!("; try: {}", advice.remedy));
    format!("the container has no network but loopback: {error}{remedy}")
}
