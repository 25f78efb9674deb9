// SPDX-License-Identifier: Apache-2.0
//! `run`: from a request to an exit code, with nothing left behind.
//!
//! Single-threaded from here to the moment the payload runs: the child is cloned from this very process.

mod guardian;
mod prepare;
mod slot;
mod supervise;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use bryo_image::store::Pin;
use bryo_launch::relay::Caller;
use bryo_net::pasta;

use crate::Engine;
use crate::container::{
    Confinement, Held, Id, Identity, Namespace, ProcessId, Record, Status, generated_name, remove_layer,
};
use crate::error::{Error, Kind, Result};
use crate::options::{Network, RunOptions};
use crate::plan::Planned;
use crate::time::now;

use guardian::Guardian;
pub use prepare::{Image, Prepared, check_architecture};
pub use supervise::Hints;

/// What `run` needs from its caller.
pub struct Request<'a> {
    /// What was asked for.
    pub options: &'a RunOptions,
    /// The caller's standard streams.
    pub caller: Caller<'a>,
    /// Tells the caller something worth knowing, one line at a time.
    pub note: &'a dyn Fn(&str),
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("options", self.options).finish_non_exhaustive()
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The payload's exit code, or 128 and the number of the signal that ended it.
    pub code: i32,
    /// What the payload was refused, as far as its words on the terminal tell.
    pub hints: Hints,
}

impl Engine {
    /// Runs a container in the foreground.
    ///
    /// # Errors
    ///
    /// Whatever kept the payload from running; nothing is left behind then. Once it ran, its exit code is the result.
    pub fn run(&self, request: &Request<'_>, image: Image) -> Result<Outcome> {
        let options = request.options;
        let id = Id::random();
        let name = options.name.clone().unwrap_or_else(generated_name);
        // No collection of garbage between the look at the layers and the record that names them.
        let pin = self.store.pin()?;
        let prepared = self.prepare(options, image, terminal_size(request.caller))?;
        // Until here a signal ends this process as it should; from here on they wait to be read, so that none leaves
        // something half-way.
        let signals = bryo_launch::relay::signals();
        signals.block()?;
        let inbox = signals.descriptor()?;
        let held = self.containers.create(&id, &name)?;
        let mut made = Made::default();
        let result = self.run_held(&mut made, request, (&id, &name), prepared, (&held, pin), &inbox);
        match result {
            Ok(ended) => self.finish(held, ended, options.remove),
            Err(error) => {
                self.clean_failed(held, made);
                Err(error)
            }
        }
    }

    fn run_held(
        &self,
        made: &mut Made,
        request: &Request<'_>,
        (id, name): (&Id, &str),
        prepared: Prepared,
        (held, pin): (&Held, Pin),
        inbox: &std::os::fd::OwnedFd,
    ) -> Result<Ended> {
        let (planned, slot) = self.plan(request.options, &prepared, id, Some(held))?;
        planned.notes.iter().for_each(|line| (request.note)(line));
        if let Some(path) = &request.options.cidfile {
            write_cidfile(path, id)?;
            made.cidfile = Some(path.clone());
        }
        let network = prepared.network;
        made.ids = Some(planned.plan.ids.clone());
        let mut starting = bryo_launch::start(&planned.plan)?;
        let attached = match network {
            Network::Private => connect(&mut starting, &planned, request.note)?,
            Network::None | Network::Host => None,
        };
        let guardian = Guardian::watch(starting.pidfd())?;
        let mut running = starting.release()?;
        let connected = match (network, &attached) {
            (Network::Host, _) => "host",
            (Network::None, _) => "none",
            (Network::Private, Some(_)) => "private",
            (Network::Private, None) => "loopback",
        };
        let mut record = record(id, name, request.options, &prepared, &planned);
        record.confinement.network = connected.into();
        record.confinement.landlock = running.enforced().landlock_abi;
        record.state = Status {
            status: "running".into(),
            pid: running.pid().as_raw_nonzero().get(),
            process: ProcessId::of(running.pid(), running.pidfd()),
            started_at: Some(now()),
            ..Status::default()
        };
        held.write(&record)?;
        drop(pin);
        let streams = running.take_streams();
        let hints = supervise::relay(&running, streams, request, inbox)?;
        let (code, namespace) = running.wait()?;
        drop((guardian, attached, slot));
        Ok(Ended { code, hints, namespace, record, map: planned.plan.ids })
    }

    /// Writes down how a container ended, or removes it.
    fn finish(&self, held: Held, ended: Ended, remove: bool) -> Result<Outcome> {
        let Ended { code, hints, namespace, mut record, map } = ended;
        if remove {
            let layer = held.dir().join("layer");
            if layer.exists() {
                remove_layer(&layer, Namespace::Kept(namespace, &map))?;
            }
            held.discard();
        } else {
            record.state.status = "exited".into();
            record.state.pid = 0;
            record.state.process = None;
            record.state.exit_code = Some(code);
            record.state.finished_at = Some(now());
            held.write(&record)?;
        }
        Ok(Outcome { code, hints })
    }

    /// Removes what a start that failed has made.
    fn clean_failed(&self, held: Held, made: Made) {
        if let Some(path) = made.cidfile {
            // It is of a container that is none.
            let _ = std::fs::remove_file(path);
        }
        let layer = held.dir().join("layer");
        if layer.exists() {
            let map = made.ids.map_or_else(|| self.store_map(), Ok);
            // What cannot be removed now is found by the next collection: the directory has no record.
            let removed = map.and_then(|m| remove_layer(&layer, Namespace::New(&m, self.host.helpers.as_ref())));
            if removed.is_err() {
                return;
            }
        }
        held.discard();
    }

    /// Makes the plan of a container without making the container.
    ///
    /// # Errors
    ///
    /// As [`Engine::run`].
    pub fn dry_run(&self, options: &RunOptions, image: Image) -> Result<Planned> {
        let id = Id::random();
        let prepared = self.prepare(options, image, None)?;
        Ok(self.plan(options, &prepared, &id, None)?.0)
    }
}

/// What a start has made besides the container's directory, to be undone when it fails.
#[derive(Default)]
struct Made {
    cidfile: Option<PathBuf>,
    ids: Option<bryo_identity::map::IdMap>,
}

/// A container that has run.
struct Ended {
    code: i32,
    hints: Hints,
    namespace: std::os::fd::OwnedFd,
    record: Record,
    map: bryo_identity::map::IdMap,
}

/// Connects the container's network, or says in one line why it has none.
fn connect(
    starting: &mut bryo_launch::Starting,
    planned: &Planned,
    note: &dyn Fn(&str),
) -> Result<Option<pasta::Attached>> {
    let pasta = match pasta::Pasta::find() {
        Ok(pasta) => pasta,
        Err(e) => {
            note(&format!("the container has no network but loopback: {e}; see \"bryo doctor\""));
            return Ok(None);
        }
    };
    let Some(network) = starting.take_network_namespace()? else { return Ok(None) };
    let (user, map, network) = (starting.user_namespace(), &planned.plan.ids, network.as_fd());
    let request = pasta::Request { user, network, map, forward_dns: planned.forward_dns };
    Ok(Some(pasta.attach(request)?.ready()?))
}

fn record(id: &Id, name: &str, options: &RunOptions, prepared: &Prepared, planned: &Planned) -> Record {
    let plan = &planned.plan;
    let process = plan.spec.process().as_ref();
    let capabilities = process.and_then(|p| p.capabilities().as_ref()).and_then(|c| c.bounding().as_ref());
    let mut capabilities: Vec<String> = capabilities.into_iter().flatten().map(|c| format!("CAP_{c}")).collect();
    capabilities.sort();
    Record {
        id: id.clone(),
        name: name.to_owned(),
        image: options.image.clone(),
        image_id: prepared.image.id(),
        created: now(),
        command: process.and_then(|p| p.args().clone()).unwrap_or_default(),
        auto_remove: options.remove,
        labels: options.labels.clone(),
        identity: Identity::of(&prepared.facts, &plan.ids),
        confinement: Confinement {
            read_only: !options.writable,
            no_new_privileges: !options.security.new_privileges,
            seccomp: plan.spec.linux().as_ref().is_some_and(|l| l.seccomp().is_some()),
            capabilities,
            relaxed: planned.relaxed.clone(),
            ..Confinement::default()
        },
        state: Status::default(),
        layers: prepared.layer_names(),
        spec: plan.spec.clone(),
    }
}

fn write_cidfile(path: &Path, id: &Id) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut f| std::io::Write::write_all(&mut f, id.as_str().as_bytes()));
    written.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(Kind::InvalidOption, format!("the container id file {} exists already", path.display()))
        }
        _ => Error::io("cannot write", path, e),
    })
}

fn terminal_size(caller: Caller<'_>) -> Option<(u16, u16)> {
    bryo_launch::relay::size_of(caller.stdin).or_else(|| bryo_launch::relay::size_of(caller.stdout))
}
