// SPDX-License-Identifier: Apache-2.0
//! Whether a hardened image does what its base does: both run side by side, and what can be seen from outside is compared.
//!
//! The base runs as its author meant it, root inside and with a writable root; the new one as its own user, with a
//! read-only root. Neither has a network but its own loopback, so that nothing of a trial reaches anybody.
//!
//! What it proves is what it compares, no more: a service that answers a greeting may fail at what was not asked.

mod dialogue;
mod logs;
mod ports;
mod probe;
mod rsync;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bryo_image::changes::ChangeKind;
use bryo_image::store::Image as Stored;
use bryo_launch::relay;
use bryo_sys::exec::exit_now;
use oci_spec::runtime::Capability;
use serde::Serialize;

use crate::Engine;
use crate::agent::{self, Place};
use crate::container::Record;
use crate::derive::Base;
use crate::error::{Error, Kind, Result};
use crate::life::unstarted;
use crate::monitor::Started;
use crate::options::{HealthOptions, Network, RunOptions};
use crate::run::Image;
use crate::users::Wanted;

use ports::Listener;

/// How often is looked, while things settle.
const PACE: Duration = Duration::from_millis(200);

/// Nothing has changed for so long: things have settled.
const CALM: Duration = Duration::from_secs(2);

/// The name of the machine, for both: some say it in their greeting.
const HOST: &str = "bryo-proof";

/// What became of one comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The same.
    Equal,
    /// Not the same, in a way that is known to do no harm.
    Noted,
    /// Not the same.
    Different,
    /// The base itself does not work here, so that nothing is proven.
    Unproven,
}

impl Verdict {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Noted => "noted",
            Self::Different => "different",
            Self::Unproven => "unproven",
        }
    }
}

/// One comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// What was compared.
    pub what: String,
    /// What the base did.
    pub old: String,
    /// What the hardened image did.
    pub new: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// All comparisons.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Proof {
    /// The comparisons.
    pub items: Vec<Item>,
    /// What the hardened image wrote to, outside of volumes.
    pub written: Vec<PathBuf>,
    /// What the hardened image listened on, but for ports that the kernel chose.
    pub listens: Vec<Port>,
}

/// A port that is listened on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Whether it is one of UDP, and not of TCP.
    pub udp: bool,
    /// Whether it is one of the loopback alone.
    pub loopback: bool,
}

impl Proof {
    /// Tells whether nothing is different or unproven.
    pub fn holds(&self) -> bool {
        !self.items.is_empty() && self.items.iter().all(|i| matches!(i.verdict, Verdict::Equal | Verdict::Noted))
    }

    fn add(&mut self, what: &str, old: impl Into<String>, new: impl Into<String>) {
        let (old, new) = (old.into(), new.into());
        let verdict = if old == new { Verdict::Equal } else { Verdict::Different };
        self.items.push(Item { what: what.to_owned(), old, new, verdict });
    }
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct ProofOptions {
    /// How long things may take to settle.
    pub settle: Duration,
    /// `NAME=VALUE`, for both.
    pub env: Vec<String>,
    /// Arguments in place of the images' command, for both.
    pub command: Vec<String>,
}

/// One of the two, at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Sight {
    /// `running`, or `exited` and its code.
    state: String,
    health: Option<String>,
    listeners: Vec<Listener>,
}

impl Sight {
    fn runs(&self) -> bool {
        self.state == "running"
    }
}

impl Engine {
    /// Runs both images and compares them; nothing is left of it, also when a signal asks this process to end.
    ///
    /// # Errors
    ///
    /// What keeps a trial from being made; a container that does not start is an item of the proof.
    /// [`Kind::Interrupted`] for a signal.
    pub fn prove(&self, old: &Stored, new: &Stored, options: &ProofOptions) -> Result<Proof> {
        let inbox = relay::ending().descriptor()?;
        let before = relay::signals().replace()?;
        let proof = self.tried(old, new, options, &inbox);
        let asked = interrupted(&inbox);
        before.block()?;
        asked.and(proof)
    }

    fn tried(&self, old: &Stored, new: &Stored, options: &ProofOptions, inbox: &OwnedFd) -> Result<Proof> {
        let meant = Wanted::decide(None, Base::Image(old).user(), false).is_ok_and(|wanted| wanted.image_is_root());
        // Services shut themselves up where they are root, and other engines' root may.
        let cap_add = if meant { vec![Capability::SysChroot] } else { Vec::new() };
        let user = meant.then(|| "root".to_owned());
        let as_meant = RunOptions { user, cap_add, writable: true, ..asked(old, options) };
        let first = self.trial(old, as_meant)?;
        let second = match self.trial(new, asked(new, options)) {
            Ok(second) => second,
            Err(error) => {
                self.over(first.as_ref().ok());
                return Err(error);
            }
        };
        let proof = self.compared(&first, &second, (options, inbox), exposed(old));
        self.over(first.as_ref().ok());
        self.over(second.as_ref().ok());
        proof
    }

    /// Starts one of both; what keeps its program from running is no failure of the trial.
    fn trial(&self, image: &Stored, options: RunOptions) -> Result<std::result::Result<Record, String>> {
        let made = self.create_to_start(&options, Image::Stored(Box::new(image.clone())), None, &|_| ());
        let created = match made {
            Err(error) if is_of_image(&error) => return Ok(Err(error.to_string())),
            // Nothing is left of it either where this process is killed.
            made => made?.tied(),
        };
        let record = created.record().clone();
        let here = std::process::id();
        match self.start_created(created, None, &|_| ()) {
            Ok(Started::Running) => Ok(Ok(record)),
            Ok(Started::Failed(code)) => Ok(Err(format!("does not start: code {code}"))),
            // A failure comes back in the monitor, whose end tells this process of it.
            Err(error) if std::process::id() != here => exit_now(unstarted(&error)),
            Err(error) => Err(error),
        }
    }

    fn over(&self, record: Option<&Record>) {
        if let Some(record) = record {
            // What cannot be removed now is found by the next collection.
            let _ = self.remove_by_name(record.id.as_str(), true);
            let _ = self.remove_anonymous_volumes(&record.options);
        }
    }

    fn compared(
        &self,
        old: &std::result::Result<Record, String>,
        new: &std::result::Result<Record, String>,
        (options, inbox): (&ProofOptions, &OwnedFd),
        exposed: Vec<u16>,
    ) -> Result<Proof> {
        let mut proof = Proof::default();
        let (Ok(old), Ok(new)) = (old, new) else {
            let shown = |one: &std::result::Result<Record, String>| {
                one.as_ref().map_or_else(|error| error.clone(), |_| "starts".to_owned())
            };
            proof.add("start", shown(old), shown(new));
            if old.is_err() {
                proof.items.iter_mut().for_each(|item| item.verdict = Verdict::Unproven);
            }
            return Ok(proof);
        };
        let (before, after) = self.settled((old, new), (options, inbox), &exposed)?;
        proof.add("state", before.state.clone(), after.state.clone());
        if !before.runs() && before.state != "exited with 0" {
            proof.items.iter_mut().for_each(|item| item.verdict = Verdict::Unproven);
        }
        if let (Some(old), new) = (&before.health, &after.health) {
            proof.add("health", old.clone(), new.clone().unwrap_or_else(|| "unknown".to_owned()));
        }
        let fixed = |own: &Sight, other: &Sight| ports::fixed(&own.listeners, &other.listeners, &exposed);
        let listens = fixed(&after, &before);
        proof.add("listens on", ports::shown(&fixed(&before, &after)), ports::shown(&listens));
        proof.listens = listens.iter().map(Listener::port).collect();
        if before.runs() && after.runs() {
            self.answers(&mut proof, (old, &before), (new, &after))?;
        }
        // What the questions have made them say.
        std::thread::sleep(PACE * 2);
        let shapes = [old, new].map(|record| logs::Shape::read(self, record));
        proof.items.extend(logs::compare(&shapes[0], &shapes[1]));
        let changes = self.changes(new)?;
        let written = changes.into_iter().filter(|change| change.kind != ChangeKind::Deleted);
        proof.written = written.map(|change| change.path).collect();
        Ok(proof)
    }

    /// Waits until both have settled, and returns what they are then.
    fn settled(
        &self,
        (old, new): (&Record, &Record),
        (options, inbox): (&ProofOptions, &OwnedFd),
        exposed: &[u16],
    ) -> Result<(Sight, Sight)> {
        let begin = Instant::now();
        let mut seen = (self.sight(old), self.sight(new));
        let mut since = Instant::now();
        loop {
            std::thread::sleep(PACE);
            interrupted(inbox)?;
            let now = (self.sight(old), self.sight(new));
            if now != seen {
                seen = now;
                since = Instant::now();
            }
            let done = |sight: &Sight| {
                let serves = exposed.iter().all(|port| sight.listeners.iter().any(|listener| listener.port == *port));
                !sight.runs() || serves && sight.health.as_deref() != Some("starting")
            };
            let calm = since.elapsed() >= CALM;
            if calm && done(&seen.0) && done(&seen.1) || begin.elapsed() >= options.settle {
                return Ok(seen);
            }
        }
    }

    fn sight(&self, record: &Record) -> Sight {
        let Ok(record) = self.containers.find(record.id.as_str()) else {
            return Sight { state: "gone".to_owned(), health: None, listeners: Vec::new() };
        };
        let state = &record.state;
        let shown = match state.exit_code {
            Some(code) if !state.is_active() => format!("exited with {code}"),
            _ => "running".to_owned(),
        };
        let listeners = if shown == "running" { ports::listeners(state.pid) } else { Vec::new() };
        Sight { state: shown, health: state.health.as_ref().map(|health| health.status.clone()), listeners }
    }

    /// Asks both what their ports answer.
    fn answers(&self, proof: &mut Proof, old: (&Record, &Sight), new: (&Record, &Sight)) -> Result<()> {
        let common: Vec<&Listener> = old.1.listeners.iter().filter(|port| new.1.listeners.contains(port)).collect();
        let ask = |record: &Record| -> Result<Vec<String>> {
            let record = self.containers.find(record.id.as_str())?;
            let (process, map) = (self.process(&record)?, record.identity.map()?);
            let place = Place::Network(&map, std::os::fd::AsFd::as_fd(&process));
            agent::run(place, || Ok(()), |()| Ok(common.iter().map(|port| probe::ask(port)).collect()))
        };
        let (before, after) = (ask(old.0)?, ask(new.0)?);
        for ((port, before), after) in common.into_iter().zip(before).zip(after) {
            proof.add(&format!("answer on {}", port.shown()), before, after);
        }
        Ok(())
    }
}

/// Tells of a signal that asks this process to end.
fn interrupted(inbox: &OwnedFd) -> Result<()> {
    match bryo_sys::signal::next(inbox)? {
        Some(signal) => Err(Error::new(Kind::Interrupted(signal), format!("signal {signal} ended the proof"))),
        None => Ok(()),
    }
}

/// What both are asked alike.
fn asked(image: &Stored, options: &ProofOptions) -> RunOptions {
    let checked = HealthOptions::default().check(image.healthcheck.as_ref()).is_ok_and(|check| check.is_some());
    let second = Some(Duration::from_secs(1)).filter(|_| checked);
    RunOptions {
        image: image.manifest_digest.to_string(),
        network: Some(Network::None),
        hostname: Some(HOST.to_owned()),
        env: options.env.clone(),
        command: options.command.clone(),
        health: HealthOptions { interval: second, start_interval: second, ..HealthOptions::default() },
        ..RunOptions::default()
    }
}

fn exposed(image: &Stored) -> Vec<u16> {
    let ports = image.config.config().as_ref().and_then(|config| config.exposed_ports().clone());
    let tcp = |text: &String| text.strip_suffix("/tcp").unwrap_or(text).parse().ok();
    ports.unwrap_or_default().iter().filter_map(tcp).collect()
}

/// Tells whether a failure is one of what the image wants to run, and not of this host.
fn is_of_image(error: &Error) -> bool {
    use bryo_launch::Kind as Launch;
    matches!(error.kind(), Kind::NoCommand | Kind::Launch(Launch::NotFound | Launch::NotExecutable))
}
