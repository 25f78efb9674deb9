// SPDX-License-Identifier: Apache-2.0
//! `run`: from a request to an exit code, with nothing left behind.
//!
//! Single-threaded from here to the moment the payload runs: the child is cloned from this very process.

mod change;
mod group;
mod guardian;
mod network;
mod prepare;
mod slot;
mod supervise;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bryo_cgroup::Enforced;
use bryo_image::store::Pin;
use bryo_launch::overlay::forget_volatile;
use bryo_launch::plan::RootFs;
use bryo_launch::relay::Caller;

use crate::Engine;
use crate::agent::Agent;
use crate::container::{
    Confinement, Held, Id, Identity, Namespace, Record, RootDigest, Status, generated_name, remove_layer,
};
use crate::error::{Error, Kind, Result};
use crate::learned::Profile;
use crate::monitor::log::Writer;
use crate::networks::{self, Membership};
use crate::notify::{Door, Notifier};
use crate::observe::{self, Observation, Observe, Observed};
use crate::options::{Network, RunOptions, SdNotify};
use crate::plan::Planned;
use crate::time::now;
use crate::volumes::Claims;

pub(crate) use change::{Control, ask};
use group::Group;
use guardian::Guardian;
pub(crate) use prepare::host_resolver;
pub use prepare::{Image, Prepared, check_architecture};
pub(crate) use slot::Slot;
pub use supervise::Hints;

/// What `run` needs from its caller.
pub struct Request<'a> {
    /// What was asked for.
    pub options: &'a RunOptions,
    /// The caller's standard streams.
    pub caller: Caller<'a>,
    /// Who wants to know when the payload runs.
    pub notifier: Option<&'a Notifier>,
    /// Has the run observed.
    pub observe: Option<Observe>,
    /// Tells the caller something worth knowing, one line at a time.
    pub note: &'a dyn Fn(&str),
}

impl Request<'_> {
    /// Tells whether the payload says itself that it is ready.
    fn speaks_for_itself(&self) -> bool {
        self.notifier.is_some() && self.options.sdnotify == SdNotify::Container
    }

    /// Tells the service manager something, if there is one. One that does not hear it is no reason to end.
    fn tell(&self, message: impl FnOnce(&Notifier) -> Result<()>) {
        let listening = self.notifier.filter(|_| self.options.sdnotify != SdNotify::Ignore);
        if let Some(Err(error)) = listening.map(message) {
            (self.note)(&error.to_string());
        }
    }
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
    /// What the root of an immutable container was at the end.
    pub root: Option<RootDigest>,
    /// What was seen of it, if it was observed.
    pub observed: Option<Observed>,
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
        // Before anything is made: the judgement may take a while, and who is tired of it can interrupt it.
        self.admit_planned(options, &prepared, &id, &name)?;
        // Until here a signal ends this process as it should; from here on they wait to be read, so that none leaves
        // something half-way.
        let signals = bryo_launch::relay::signals();
        signals.block()?;
        let inbox = signals.descriptor()?;
        let held = self.create_named(&id, &name)?;
        let mut made = Made::default();
        let result = self.run_held(&mut made, request, (&id, &name), prepared, (&held, pin), &inbox);
        match result {
            Ok(ended) => self.finish(held, ended, options.remove),
            Err(error) => {
                self.clean_failed(held, made);
                // What cannot be removed now is found by the next prune.
                let _ = self.remove_anonymous_volumes(options);
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
        inbox: &OwnedFd,
    ) -> Result<Ended> {
        let volumes = self.make_volumes(request.options)?;
        let (mut planned, slot) = self.plan(request.options, &prepared, id, Some(held))?;
        let door = request.speaks_for_itself().then(|| Door::open(held.dir())).transpose()?;
        door.iter().try_for_each(|door| door.show(&mut planned))?;
        planned.notes.iter().for_each(|line| (request.note)(line));
        if let Some(path) = &request.options.cidfile {
            write_cidfile(path, id)?;
            made.cidfile = Some(path.clone());
        }
        made.ids = Some(planned.files_map().clone());
        let mut record = record(id, name, request.options, &prepared, &planned);
        if let (Image::Stored(image), false) = (&prepared.image, request.options.remove) {
            held.write_image(image)?;
        }
        // What nobody could ask for afterwards is not kept, and goes through without a copy.
        let log = if request.options.remove { None } else { Writer::for_container(held.dir(), &request.options.log)? };
        planned.plan.observed = request.observe.is_some();
        let mut live = self.launch(&planned, prepared.network, request.options, (id, name), request.note)?;
        let observer = request.observe.map(|_| live.observe(&planned)).transpose()?;
        let connectable = request.options.is_connectable(prepared.network);
        let control = connectable.then(|| Control::listen(held.dir())).transpose()?;
        live.describe(&mut record);
        held.write(&record)?;
        self.tell_start(&record, true);
        Claims { pin, volumes }.release();
        request.tell(|notifier| notifier.started(std::process::id(), &record, door.is_none()));
        let streams = live.running.take_streams();
        let mut life = Life { engine: self, held, live, record, planned };
        let hints = supervise::relay(&mut life, streams, request, inbox, (door.as_ref(), control.as_ref()), log)?;
        let Life { live, mut record, planned, .. } = life;
        let (code, namespace) = live.wait(&mut record.state)?;
        // It has seen the end of all processes, and lets go of the mounts.
        let seen = observer.map(Agent::answer).transpose()?;
        let observed = seen.map(|seen| Observed { seen, spec: record.spec.clone(), network: prepared.network });
        let code = self.prove_immutable(&mut record, code);
        if !record.state.error.is_empty() {
            (request.note)(&record.state.error);
        }
        drop(slot);
        request.tell(Notifier::stopping);
        Ok(Ended { code, hints, observed, namespace, record, planned })
    }

    /// Starts what was planned, in its control group, with its network and its guardian.
    pub(crate) fn launch(
        &self,
        planned: &Planned,
        network: Network,
        options: &RunOptions,
        who: (&Id, &str),
        note: &dyn Fn(&str),
    ) -> Result<Live> {
        let mut networks = networks::join(self, options, who, &planned.upstreams)?;
        let group = Group::make(planned, options)?;
        let around = networks.as_ref().and_then(Membership::around);
        let mut guardian = None;
        let mut starting = bryo_launch::start(&planned.plan, around, group.directory(), |container| {
            guardian = Some(Guardian::watch(container, group.path().as_deref()));
        })?;
        let network = network::connect(&mut starting, network, planned, options, note)?;
        if let Some(networks) = &mut networks {
            networks.connect(&mut starting, &planned.plan.ids)?;
        }
        let guardian = guardian.transpose()?;
        let running = starting.release()?;
        // One that ended before it could be watched has told why.
        let unwatched = || Error::new(Kind::NotRunning, "the container ended before it was watched");
        let guardian = guardian.ok_or_else(unwatched)?;
        if let RootFs::Overlay { scratch, volatile: true, .. } = &planned.plan.root {
            forget_volatile(rustix::fs::CWD, &scratch.join("work"));
        }
        let limits = group.enforced(&planned.plan.spec);
        Ok(Live { running, guardian, network, networks, group, limits })
    }

    /// Writes down how a container ended, or removes it.
    fn finish(&self, held: Held, ended: Ended, remove: bool) -> Result<Outcome> {
        let Ended { code, hints, observed, namespace, mut record, planned } = ended;
        let root = record.state.root.clone();
        if remove && !self.containers.is_kept(&record.id) {
            held.tell_waiting(code);
            self.tell_removed(&record, Some(code), || self.remove_ended(held, namespace, &planned))?;
            self.remove_anonymous_volumes(&record.options)?;
        } else {
            record.state.ended(code);
            held.write_state(&record.state)?;
            self.tell_end(&record, code);
        }
        Ok(Outcome { code, hints, root, observed })
    }

    /// Removes a container whose run has just ended, with the help of its own namespace where its files are its ids'.
    pub(crate) fn remove_ended(&self, held: Held, namespace: OwnedFd, planned: &Planned) -> Result<()> {
        let layer = held.dir().join("layer");
        if layer.exists() {
            let namespace = match &planned.plan.stored_as {
                None => Namespace::Kept(namespace, &planned.plan.ids),
                Some(map) => Namespace::New(map, self.host.helpers.as_ref()),
            };
            remove_layer(&layer, namespace)?;
        }
        held.discard();
        Ok(())
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
    observed: Option<Observed>,
    namespace: OwnedFd,
    record: Record,
    planned: Planned,
}

/// A container in the foreground, whose networks may change.
struct Life<'a> {
    engine: &'a Engine,
    held: &'a Held,
    live: Live,
    record: Record,
    planned: Planned,
}

impl Life<'_> {
    fn follow(&mut self) -> Result<()> {
        let followed = self.live.follow(self.engine, &mut self.record, &mut self.planned);
        self.held.write_state(&self.record.state)?;
        followed.map(drop)
    }
}

/// A payload that runs, and what stands beside it. Dropping it ends all of it.
#[derive(Debug)]
pub(crate) struct Live {
    pub running: bryo_launch::Running,
    guardian: Guardian,
    network: network::Connected,
    networks: Option<Membership>,
    group: Group,
    limits: Enforced,
}

impl Live {
    /// Has an observer watch it, and lets it go on.
    fn observe(&self, planned: &Planned) -> Result<Agent<Observation>> {
        observe::start(&planned.plan.ids, self.running.pidfd(), self.running.pid())
    }

    /// Writes down what was enforced, and that the payload runs.
    pub fn describe(&self, record: &mut Record) {
        record.confinement.landlock = self.running.enforced().landlock_abi;
        self.describe_networks(record);
        record.limits.clone_from(&self.limits);
        record.state.started(self.running.pid(), self.running.pidfd());
    }

    /// Writes down what it has in its networks.
    fn describe_networks(&self, record: &mut Record) {
        record.confinement.network = self.network.word.into();
        record.state.ports.clone_from(&self.network.ports);
        record.state.networks = self.networks.as_ref().map(Membership::describe).unwrap_or_default();
    }

    /// Waits for the payload's end and ends what stands beside it; returns the exit code and the user namespace, and
    /// writes down whether memory ran out.
    pub fn wait(self, state: &mut Status) -> Result<(i32, OwnedFd)> {
        let Self { running, guardian, network, networks, group, limits: _ } = self;
        let ended = running.wait()?;
        state.oom_killed = group.oom_killed();
        drop((guardian, network, networks, group));
        Ok(ended)
    }
}

pub(crate) fn record(id: &Id, name: &str, options: &RunOptions, prepared: &Prepared, planned: &Planned) -> Record {
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
            profile: options.profile.as_ref().map(Profile::enforcement),
            ..Confinement::default()
        },
        state: Status::default(),
        limits: Enforced::default(),
        layers: prepared.layer_names(),
        health_check: None,
        options: remembered(options, &prepared.image),
        spec: plan.spec.clone(),
    }
}

/// Completes what was asked for with what only the image says and is needed when the container lives.
fn remembered(options: &RunOptions, image: &Image) -> RunOptions {
    let of_image = || image.config()?.config().as_ref()?.stop_signal().as_deref().map(crate::options::stop_signal);
    // An image's word that is no signal is none.
    let stop_signal = options.stop_signal.or_else(|| of_image()?.ok());
    RunOptions { stop_signal, ..options.clone() }
}

pub(crate) fn write_cidfile(path: &Path, id: &Id) -> Result<()> {
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
