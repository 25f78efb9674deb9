// SPDX-License-Identifier: Apache-2.0
//! The process above a container that runs by itself: it starts it, keeps its output and exit status, and starts it
//! again. There is one for each container, and no other: no daemon.
//!
//! ```text
//! bryo run -d ──fork──> monitor ──clone──> the container
//!      <─── "started" ─────┤                 its guardian, its network
//!   prints the id          │ output -> log and clients; the end -> state.json; once more?
//! ```
//!
//! | who | namespaces | ids | may allocate | ends by |
//! |---|---|---|---|---|
//! | monitor, child of the command | the caller's | the caller's | yes: one thread | the container's end, or a failed start, which it reports as the command itself would |
//!
//! It is forked, not executed: what the command has found out is there, and a start costs no second program. It holds
//! the container's lock as long as it lives, which is how everybody else knows that it does.

mod clients;
mod health;
pub mod log;
mod relay;
pub(crate) mod wire;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bryo_sys::check;
use bryo_sys::clone::{Fork, Namespaces, fork_into};
use bryo_sys::exec::exit_now;
use bryo_sys::signal::next;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::Engine;
use crate::container::{Health, Held, Record};
use crate::error::{Error, Kind, Result};
use crate::life::no_spec;
use crate::options::Network;
use crate::plan::Planned;
use crate::run::{Control, Live, Slot};
use crate::volumes::Claims;

use clients::Clients;
use health::Checker;
use log::Writer;
use relay::{Ears, Ending, Rounds};

/// How long a payload has to end when its container does not say. Source: Docker's `--stop-timeout`.
pub(crate) const GRACE: u64 = 10;

/// A container that is to be supervised.
pub(crate) struct Subject<'a> {
    pub held: Held,
    /// Without its spec, which is the plan's.
    pub record: Record,
    pub planned: Planned,
    pub network: Network,
    pub slot: Option<Slot>,
    /// Keep layers and volumes until the record names them.
    pub claims: Claims,
    /// One who sees all of the output.
    pub client: Option<OwnedFd>,
    /// Signals that were blocked, to be read.
    pub inbox: OwnedFd,
    /// Tells the caller something, until the container runs.
    pub note: &'a dyn Fn(&str),
    /// Nobody has been told that the container was made.
    pub is_new: bool,
    /// The process that the container ends with, and is removed then.
    pub tie: Option<OwnedFd>,
}

/// How a start has gone, for the process that asked for it.
#[derive(Debug)]
pub enum Started {
    /// The container runs.
    Running,
    /// It could not be started, and the reason has been told; this is the exit code.
    Failed(i32),
}

/// A start that failed, in the monitor: the reason, and the container.
#[derive(Debug)]
pub(crate) struct Unstarted {
    pub error: Error,
    pub held: Held,
}

/// Starts a container below a monitor. Returns in the calling process when it runs, or when the monitor has reported
/// why it does not; returns a failure in the monitor, which then has to be told and to end as the caller would.
pub(crate) fn start(engine: &Engine, subject: Subject<'_>) -> std::result::Result<Started, Box<Unstarted>> {
    let failed =
        |error: bryo_sys::Error, subject: Subject<'_>| Box::new(Unstarted { error: error.into(), held: subject.held });
    let pipe = check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC));
    let (told, tell) = match pipe {
        Ok(pipe) => pipe,
        Err(e) => return Err(failed(e, subject)),
    };
    match fork_into(Namespaces::empty()) {
        Ok(Fork::Child) => {
            drop(told);
            let code = Monitor::new(engine, subject)?.live(tell)?;
            exit_now(code)
        }
        Ok(Fork::Parent { pidfd, .. }) => {
            drop(tell);
            // The container is the monitor's now: only descriptors are let go here.
            outcome(&told, &pidfd, &subject.inbox).map_err(|error| failed(error, subject))
        }
        Err(e) => Err(failed(e, subject)),
    }
}

/// Waits until the container runs or the monitor has ended. A signal that ends the command is one that ends the start,
/// of which the monitor then tells.
fn outcome(told: &OwnedFd, monitor: &OwnedFd, inbox: &OwnedFd) -> bryo_sys::Result<Started> {
    loop {
        let mut fds = [PollFd::new(told, PollFlags::IN), PollFd::new(inbox, PollFlags::IN)];
        let polled = rustix::io::retry_on_intr(|| poll(&mut fds, None));
        check("poll", || "2 descriptors".into(), polled)?;
        if !fds[0].revents().is_empty() {
            break;
        }
        while let Some(signal) = next(inbox)? {
            if let Some(signal) = Signal::from_named_raw(signal).filter(|signal| asks_to_end(*signal)) {
                // The only failure left with a valid descriptor is that it has ended.
                let _ = rustix::process::pidfd_send_signal(monitor, signal);
            }
        }
    }
    if rustix::io::retry_on_intr(|| rustix::io::read(told, &mut [0; 1])) == Ok(1) {
        return Ok(Started::Running);
    }
    let ended = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(monitor)), WaitIdOptions::EXITED)
    });
    // One that was killed could not tell why.
    Ok(Started::Failed(ended.ok().flatten().and_then(|status| status.exit_status()).unwrap_or(125)))
}

/// Tells whether a signal to a command, or to a monitor, is one that asks it to end.
fn asks_to_end(signal: Signal) -> bool {
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT].contains(&signal)
}

/// A monitor at work.
struct Monitor<'a> {
    engine: &'a Engine,
    held: Held,
    record: Record,
    planned: Planned,
    network: Network,
    _slot: Option<Slot>,
    claims: Option<Claims>,
    clients: Clients,
    log: Option<Writer>,
    inbox: OwnedFd,
    listener: OwnedFd,
    /// Where changes of its networks are told; nowhere for a container that has none.
    control: Option<Control>,
    note: Option<&'a dyn Fn(&str)>,
    is_new: bool,
    /// Gone once that process has ended.
    tie: Option<OwnedFd>,
    /// It has ended.
    alone: bool,
}

impl<'a> Monitor<'a> {
    fn new(engine: &'a Engine, subject: Subject<'a>) -> std::result::Result<Self, Box<Unstarted>> {
        let Subject { held, record, planned, network, slot, claims, client, inbox, note, is_new, tie } = subject;
        let session = check("setsid", String::new, rustix::process::setsid()).map_err(Error::from);
        let log = &record.options.log;
        let opened = session.and_then(|_| {
            let connectable = record.options.is_connectable(network);
            let control = connectable.then(|| Control::listen(held.dir())).transpose()?;
            Ok((wire::listen(held.dir())?, control, Writer::for_container(held.dir(), log)?))
        });
        let (listener, control, log) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(Box::new(Unstarted { error, held })),
        };
        let clients = client.map(Clients::first).unwrap_or_default();
        let (claims, note) = (Some(claims), Some(note));
        let monitor = Self {
            engine,
            held,
            record,
            planned,
            network,
            _slot: slot,
            claims,
            clients,
            log,
            inbox,
            listener,
            control,
            note,
            is_new,
            tie,
            alone: false,
        };
        Ok(monitor)
    }

    /// Lives until the container is not to be started again, and ends as its last run did: a service manager may be
    /// who looks at it.
    fn live(mut self, tell: OwnedFd) -> std::result::Result<i32, Box<Unstarted>> {
        let live = match self.first(&tell) {
            Ok(live) => live,
            Err(error) => return Err(Box::new(Unstarted { error, held: self.held })),
        };
        drop(tell);
        // Nobody listens to a failure any more; what it leaves is a state that says so.
        match self.supervise(live) {
            Ok((code, namespace, told)) => {
                let _ = self.over(code, namespace, told);
                Ok(code)
            }
            Err(error) => {
                self.record.state.error = error.to_string();
                self.record.state.ended(255);
                let _ = self.held.write_state(&self.record.state);
                self.engine.tell_end(&self.record, 255);
                Ok(255)
            }
        }
    }

    /// Starts the payload for the first time, and tells the caller.
    fn first(&mut self, tell: &OwnedFd) -> Result<Live> {
        let note = self.note.take();
        let mut live = self.launch(note.unwrap_or(&|_| ()))?;
        live.describe(&mut self.record);
        self.held.clear_stopped();
        self.record.spec.clone_from(&self.planned.plan.spec);
        // Of one that is new nobody knows until it is written down.
        let known = !self.is_new;
        self.settle(&mut live, known, |held, record| held.write(record))?;
        self.engine.tell_start(&self.record, self.is_new);
        // Only whoever enters to look after its health needs it once more.
        if self.record.health_check.is_none() {
            self.record.spec = no_spec();
        }
        if let Some(claims) = self.claims.take() {
            claims.release();
        }
        bryo_sys::fd::let_go()?;
        check("write", || "started".into(), rustix::io::write(tell, b"s"))?;
        Ok(live)
    }

    fn launch(&self, note: &dyn Fn(&str)) -> Result<Live> {
        let record = &self.record;
        self.engine.launch(&self.planned, self.network, &record.options, (&record.id, &record.name), note)
    }

    /// Writes down that the payload runs, and follows what has become of its networks while it was being started: whoever
    /// changes them asks a supervisor of a container only where it is written down to run.
    fn settle(&mut self, live: &mut Live, known: bool, write: impl Fn(&Held, &Record) -> Result<()>) -> Result<()> {
        if !known || self.control.is_none() {
            return write(&self.held, &self.record);
        }
        let networks = self.engine.networks();
        if !networks.were_chosen() {
            write(&self.held, &self.record)?;
            // Somebody may have begun to since, for the first time.
            if !networks.were_chosen() {
                return Ok(());
            }
        }
        let choosing = networks.choose()?;
        let asked = self.engine.containers.options(&self.record.id)?;
        let changed = !asked.is_connected_as(&self.record.options);
        if changed {
            self.record.options = asked;
        }
        write(&self.held, &self.record)?;
        drop(choosing);
        if changed { self.follow(live) } else { Ok(()) }
    }

    fn follow(&mut self, live: &mut Live) -> Result<()> {
        match live.follow(self.engine, &mut self.record, &mut self.planned) {
            // Its next run finds what is written down.
            Err(error) if error.kind() == Kind::NotRunning => (),
            followed => self.network = followed?,
        }
        self.held.write_state(&self.record.state)
    }

    /// Sees the container to the end of its last run, and says whether that was told.
    fn supervise(&mut self, mut live: Live) -> Result<(i32, OwnedFd, bool)> {
        loop {
            let began = Instant::now();
            let (code, namespace, asked) = self.one_run(live)?;
            self.record.state.ended(code);
            let restart = self.record.options.restart;
            if asked
                || self.alone
                || self.engine.containers.is_stopped(&self.record.id)
                || !restart.again(code, self.record.state.restart_count)
                || self.is_unproven()
            {
                return Ok((code, namespace, false));
            }
            self.engine.tell_end(&self.record, code);
            self.record.state.restart_count += 1;
            match self.again(code, began.elapsed())? {
                Some(next) => live = next,
                None => return Ok((code, namespace, true)),
            }
        }
    }

    /// Tells whether the root should have stayed as it was, and did not, or nobody knows: it is not started on that again.
    fn is_unproven(&self) -> bool {
        let root = self.record.state.root.as_ref();
        self.record.options.immutable && root.is_none_or(|root| root.digest != root.image)
    }

    /// Sees one run of the payload to its end.
    fn one_run(&mut self, mut live: Live) -> Result<(i32, OwnedFd, bool)> {
        let streams = live.running.take_streams();
        let ending = ending(&self.record);
        let mut ears = Ears { inbox: &self.inbox, listener: &self.listener, clients: &mut self.clients };
        let checker = self.record.health_check.clone().map(Checker::new);
        self.record.state.health = checker.is_some().then(Health::starting);
        let pidfd = check("dup", String::new, rustix::io::fcntl_dupfd_cloexec(live.running.pidfd(), 3))?;
        let mut rounds = Upkeep {
            engine: self.engine,
            held: &self.held,
            record: &mut self.record,
            checker,
            control: self.control.as_ref(),
            tie: &mut self.tie,
            live: &mut live,
            planned: &mut self.planned,
            network: &mut self.network,
        };
        let tied = rounds.tie.is_some();
        let asked = relay::run(pidfd.as_fd(), streams, self.log.as_mut(), &mut ears, &mut rounds, ending)?;
        self.alone |= tied && self.tie.is_none();
        let (code, namespace) = live.wait(&mut self.record.state)?;
        let code = self.engine.prove_immutable(&mut self.record, code);
        Ok((code, namespace, asked))
    }

    /// Starts the payload again after a pause; nothing if the container was stopped meanwhile.
    fn again(&mut self, code: i32, lived: Duration) -> Result<Option<Live>> {
        let mut pause = self.record.restart_pause(lived);
        loop {
            self.record.state.status = "restarting".into();
            self.held.write_state(&self.record.state)?;
            self.clients.farewell(code);
            let (containers, id) = (&self.engine.containers, &self.record.id);
            let mut ears = Ears { inbox: &self.inbox, listener: &self.listener, clients: &mut self.clients };
            if relay::pause(&mut ears, pause, || containers.is_stopped(id))? || containers.is_stopped(id) {
                return Ok(None);
            }
            match self.adapt().and_then(|()| self.admit()).and_then(|()| self.relaunch()) {
                Ok(live) => {
                    self.engine.tell_start(&self.record, false);
                    return Ok(Some(live));
                }
                // What keeps it from starting now may be gone later, and counts as a run that failed.
                Err(error) => self.record.state.error = error.to_string(),
            }
            if !self.record.options.restart.again(125, self.record.state.restart_count) {
                return Ok(None);
            }
            self.record.state.restart_count += 1;
            pause = self.record.restart_pause(Duration::ZERO);
        }
    }

    /// Asks the policy whether it may go on.
    fn admit(&self) -> Result<()> {
        let record = Record { spec: self.planned.plan.spec.clone(), ..self.record.clone() };
        self.engine.admit_again(&record)
    }

    /// Starts the payload once more.
    fn relaunch(&mut self) -> Result<Live> {
        let mut live = self.launch(&|_| ())?;
        live.describe(&mut self.record);
        self.settle(&mut live, true, |held, record| held.write_state(&record.state))?;
        Ok(live)
    }

    /// Takes note of changes of the container's networks since it was started.
    fn adapt(&mut self) -> Result<()> {
        self.record.options = self.engine.containers.options(&self.record.id)?;
        self.network = self.engine.network(&self.record.options)?;
        self.planned.follow(&self.record.options, self.network, &crate::run::host_resolver());
        Ok(())
    }

    /// Writes down that the container has ended, or removes it, and then says so to who is attached: what they do next
    /// finds the container as it is.
    fn over(mut self, code: i32, namespace: OwnedFd, told: bool) -> Result<()> {
        let remove = self.record.options.remove || self.alone;
        if remove && !self.engine.containers.is_kept(&self.record.id) {
            self.held.tell_waiting(code);
            let remove = || self.engine.remove_ended(self.held, namespace, &self.planned);
            self.engine.tell_removed(&self.record, (!told).then_some(code), remove)?;
            self.engine.remove_anonymous_volumes(&self.record.options)?;
        } else {
            self.record.state.ended(code);
            self.held.write_state(&self.record.state)?;
            if !told {
                self.engine.tell_end(&self.record, code);
            }
            drop(self.held);
        }
        self.clients.farewell(code);
        Ok(())
    }
}

/// What is to be done for a container while it runs: its health is checked, and changes of its networks are followed.
struct Upkeep<'a> {
    engine: &'a Engine,
    held: &'a Held,
    record: &'a mut Record,
    checker: Option<Checker>,
    control: Option<&'a Control>,
    tie: &'a mut Option<OwnedFd>,
    live: &'a mut Live,
    planned: &'a mut Planned,
    network: &'a mut Network,
}

impl Rounds for Upkeep<'_> {
    fn deadline(&self) -> Option<Instant> {
        self.checker.as_ref().map(Checker::deadline)
    }

    fn waits_for(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let control = self.control.map(|control| (control.fd(), PollFlags::IN));
        let tie = self.tie.as_ref().map(|tie| (tie.as_fd(), PollFlags::IN));
        self.checker.iter().flat_map(Checker::waits_for).chain(control).chain(tie).collect()
    }

    fn step(&mut self) -> Result<()> {
        if let Some(control) = self.control {
            control.serve(|| self.follow());
        }
        if self.tie.as_ref().is_some_and(has_ended) {
            *self.tie = None;
            self.live.running.signal(Signal::KILL);
        }
        let Some(checker) = self.checker.as_mut().filter(|checker| checker.is_due()) else { return Ok(()) };
        // One that has just ended has no health, and its end is about to be noticed.
        let Ok(container) = self.engine.payload(self.record) else { return Ok(()) };
        let before = self.record.state.health.as_ref().map(|health| health.status.clone());
        if checker.step(self.record, container.as_fd()) {
            self.held.write_state(&self.record.state)?;
            if let Some(health) = self.record.state.health.as_ref().filter(|now| Some(&now.status) != before.as_ref()) {
                self.engine.tell(self.record, &format!("health_status: {}", health.status));
            }
        }
        Ok(())
    }
}

/// Tells whether a process has ended.
fn has_ended(process: &OwnedFd) -> bool {
    let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&at_once)) == Ok(1)
}

impl Upkeep<'_> {
    fn follow(&mut self) -> Result<()> {
        let followed = self.live.follow(self.engine, self.record, self.planned);
        self.held.write_state(&self.record.state)?;
        *self.network = followed?;
        Ok(())
    }
}

impl Record {
    /// Returns how long to wait before the payload is started once more: longer with every time, anew once it has run
    /// for a while. Source: Docker's restart policies.
    fn restart_pause(&mut self, lived: Duration) -> Duration {
        const FIRST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(60);
        const HEALTHY: Duration = Duration::from_secs(10);
        if lived >= HEALTHY {
            self.state.failures = 0;
        }
        let pause = FIRST * 2_u32.saturating_pow(self.state.failures.min(10));
        self.state.failures += 1;
        pause.min(LONGEST)
    }
}

/// How a container is asked to end: by the signal of its options, by that of its image, by `SIGTERM`.
fn ending(record: &Record) -> Ending {
    let signal = record.stop_signal();
    Ending { signal, grace: Duration::from_secs(record.options.stop_timeout.unwrap_or(GRACE)) }
}

impl Record {
    /// Returns the signal that asks the payload to end.
    pub fn stop_signal(&self) -> Signal {
        self.options.stop_signal.and_then(bryo_sys::signal::numbered).unwrap_or(Signal::TERM)
    }
}

/// Refuses what only makes sense for a container that ends by itself in the caller's sight.
pub(crate) fn check_options(record: &Record) -> Result<()> {
    if record.options.remove && record.options.restart != crate::options::Restart::No {
        let why = "--rm removes a container when it ends, --restart starts it again; leave one of them out";
        return Err(Error::new(Kind::InvalidOption, why));
    }
    Ok(())
}
