// SPDX-License-Identifier: Apache-2.0
//! Stages that are made at the same time, each in a process of its own.
//!
//! ```text
//! the build                              a process for each stage that is needed
//! forks ───────────────────────────────> makes the stage, step by step
//!       <── what happens ───────────────   in numbers of its own
//!       <── which other stage it needs ─   and waits
//! that stage, when it is made ─────────>
//!       <── the stage, or what failed ──
//! ```
//!
//! | who | namespaces | ids and capabilities | may allocate | peer | exits |
//! |---|---|---|---|---|---|
//! | child of the build | the caller's | the caller's | yes: its parent had one thread | the build, by a socket | when its stage is made, has failed, or is not wanted any more |
//!
//! A stage is made by one thread, because a step is cloned from the process that makes it. Which stages are needed is read
//! from the Dockerfile where it says so without variables; the others are asked for.

mod needs;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bryo_engine::error::{Error as EngineError, Kind as EngineKind};
use bryo_identity::userns::Child;
use bryo_launch::relay;
use bryo_sys::clone::{Fork, Namespaces, fork_into};
use bryo_sys::exec::exit_now;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::Builder;
use crate::error::{Error, Kind, Result, wrong};
use crate::progress::Event;
use crate::state::State;

pub(super) use wire::Outside;
use wire::{Done, Frame};

/// How long a stage that is not wanted any more has to clean up.
const GRACE: Duration = Duration::from_secs(10);

/// How often it is shown that time passes, and looked whether a stage has had its time, in nanoseconds.
const TICK: i64 = 100_000_000;

/// How many stages are worked on at a time.
fn most() -> usize {
    std::thread::available_parallelism().map_or(4, |n| n.get().max(2) * 2)
}

/// A stage that is being made.
struct Running {
    child: Child,
    socket: UnixStream,
    /// The numbers that its steps have here.
    steps: BTreeMap<usize, usize>,
    /// The stage that it waits for.
    waits_for: Option<usize>,
}

struct Crew<'c, 'a> {
    builder: &'c mut Builder<'a>,
    running: BTreeMap<usize, Running>,
    /// Stages that are not begun.
    wanted: BTreeSet<usize>,
    /// Why there will be no result, and until when that may last.
    failed: Option<(Error, Instant)>,
}

impl Builder<'_> {
    /// Makes a stage and those that it needs, at the same time where they do not need each other.
    pub(super) fn make_all(&mut self, target: usize) -> Result<State> {
        let needed = self.needs(target);
        // Where time is shown while a step says nothing, this process is the one that shows it.
        if self.is_row(&needed) && !self.request.progress.follows_time() {
            return self.stage(target);
        }
        // One stage fetches an image, and the others have it.
        for index in &needed {
            self.begin_image(*index)?;
        }
        let before = relay::ending().replace().map_err(EngineError::from)?;
        let inbox = relay::ending().descriptor().map_err(EngineError::from)?;
        let mut crew = Crew { builder: self, running: BTreeMap::new(), wanted: needed, failed: None };
        let made = crew.work(target, &inbox);
        drop(crew);
        before.block().map_err(EngineError::from)?;
        made
    }
}

impl Crew<'_, '_> {
    fn work(&mut self, target: usize, inbox: &OwnedFd) -> Result<State> {
        loop {
            if self.failed.is_none() {
                self.begin_stages()?;
            }
            if self.running.is_empty() {
                return match (self.failed.take(), self.builder.stages.get(&target)) {
                    (Some((error, _)), _) => Err(error),
                    (None, Some(state)) => Ok(state.clone()),
                    (None, None) => Err(wrong("no stage can be made: each waits for another one")),
                };
            }
            let ready = self.wait(inbox)?;
            if let Some(number) = bryo_sys::signal::next(inbox).map_err(EngineError::from)? {
                let error =
                    EngineError::new(EngineKind::Interrupted(number), format!("signal {number} ended the build"));
                self.fail(error.into());
            }
            for index in ready {
                self.hear(index)?;
            }
            if self.failed.as_ref().is_some_and(|(_, until)| Instant::now() > *until) {
                self.running.clear();
            }
        }
    }

    /// Begins the stages that can go on, as many as there is room for.
    fn begin_stages(&mut self) -> Result<()> {
        let waiting: Vec<usize> = self.wanted.iter().copied().collect();
        for index in waiting {
            let busy = self.running.values().filter(|running| running.waits_for.is_none()).count();
            // What a stage stands on comes first; the process would only wait.
            let below = self.builder.stands_on(index);
            if busy >= most() || below.is_some_and(|below| !self.builder.stages.contains_key(&below)) {
                self.wanted.extend(below.filter(|below| !self.is_known(*below)));
                continue;
            }
            self.wanted.remove(&index);
            let running = self.begin(index)?;
            self.running.insert(index, running);
        }
        Ok(())
    }

    fn is_known(&self, index: usize) -> bool {
        self.running.contains_key(&index) || self.builder.stages.contains_key(&index)
    }

    fn begin(&self, index: usize) -> Result<Running> {
        let pair = UnixStream::pair().map_err(|e| EngineError::io("cannot make", "a pair of sockets".as_ref(), e))?;
        let (ours, theirs) = pair;
        match fork_into(Namespaces::empty()).map_err(EngineError::from)? {
            Fork::Child => {
                drop(ours);
                let code = i32::from(wire::serve(self.builder, index, theirs).is_err());
                exit_now(code)
            }
            Fork::Parent { pid, pidfd } => {
                let child = Child::adopt(pid, pidfd);
                Ok(Running { child, socket: ours, steps: BTreeMap::new(), waits_for: None })
            }
        }
    }

    /// Waits until a stage says something or a signal comes.
    fn wait(&self, inbox: &OwnedFd) -> Result<Vec<usize>> {
        let mut fds = vec![PollFd::from_borrowed_fd(inbox.as_fd(), PollFlags::IN)];
        fds.extend(
            self.running.values().map(|running| PollFd::from_borrowed_fd(running.socket.as_fd(), PollFlags::IN)),
        );
        let moment = Timespec { tv_sec: 0, tv_nsec: TICK };
        let progress = self.builder.request.progress;
        progress.tick();
        let timeout = (self.failed.is_some() || progress.follows_time()).then_some(&moment);
        let polled = rustix::io::retry_on_intr(|| poll(&mut fds, timeout));
        bryo_sys::check("poll", || format!("{} stages", self.running.len()), polled).map_err(EngineError::from)?;
        let ready = self.running.keys().zip(&fds[1..]).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(index, _)| *index).collect())
    }

    /// Hears what a stage says.
    fn hear(&mut self, index: usize) -> Result<()> {
        let Some(running) = self.running.get_mut(&index) else { return Ok(()) };
        match Frame::read(&mut running.socket) {
            Ok(Frame::Ask(other)) => {
                running.waits_for = Some(other);
                if !self.is_known(other) {
                    self.wanted.insert(other);
                }
                self.answer();
            }
            Ok(Frame::Done(done)) => {
                let Done { state, asked_for, steps, materials } = *done;
                self.builder.asked_for.borrow_mut().extend(asked_for);
                self.builder.steps.extend(steps);
                self.builder.materials.extend(materials);
                self.builder.stages.insert(index, state);
                self.ended(index)?;
                self.answer();
            }
            Ok(Frame::Failed(error)) => {
                self.ended(index)?;
                self.fail(error);
            }
            Ok(frame) => self.pass(index, &frame),
            Err(_) => {
                let code = self.ended(index)?;
                let why = format!("the process that makes stage {index} ended with {code}");
                self.fail(EngineError::new(EngineKind::Io, why).into());
            }
        }
        Ok(())
    }

    fn ended(&mut self, index: usize) -> Result<i32> {
        let Some(running) = self.running.remove(&index) else { return Ok(0) };
        Ok(running.child.wait().map_err(EngineError::from)?)
    }

    /// Gives the stages that are made to those that wait for them.
    fn answer(&mut self) {
        for running in self.running.values_mut() {
            let Some(state) = running.waits_for.and_then(|other| self.builder.stages.get(&other)) else { continue };
            running.waits_for = None;
            // One that is gone says so by the end of its socket.
            let _ = Frame::stage(state).and_then(|frame| frame.write(&mut running.socket));
        }
    }

    /// Tells what happens in a stage, with the numbers of the build.
    fn pass(&mut self, index: usize, frame: &Frame) {
        let Some(event) = frame.event() else { return };
        let Some(running) = self.running.get_mut(&index) else { return };
        let own = event.number();
        let number = match event {
            Event::Begin(_, name) => {
                let number = self.builder.begin(name);
                running.steps.insert(own, number);
                return;
            }
            _ => running.steps.get(&own).copied().unwrap_or(own),
        };
        self.builder.tell(match event {
            // What failed because it was ended has not failed.
            Event::Failed(..) if self.failed.is_some() => Event::Canceled(number),
            other => wire::numbered(other, number),
        });
    }

    /// Ends all stages because of one.
    fn fail(&mut self, error: Error) {
        if self.failed.is_some() {
            return;
        }
        for running in self.running.values_mut() {
            running.child.signal(Signal::TERM);
            if running.waits_for.is_some() {
                let _ =
                    Frame::Failed(Error::new(Kind::Dockerfile, "another stage has failed")).write(&mut running.socket);
            }
        }
        self.failed = Some((error, Instant::now() + GRACE));
    }
}
