// SPDX-License-Identifier: Apache-2.0
//! How containers end that run, whoever supervises them: asked to, killed, waited for, removed.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bryo_sys::check;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use crate::Engine;
use crate::container::{ProcessId, Record};
use crate::error::{Error, Kind, Result};
use crate::events::Event;
use crate::monitor::{self, wire};

/// How long a container may take to be written down as ended, or to come into being. It is a matter of milliseconds
/// but for the network, which may take ten seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a container is to end.
#[derive(Debug, Clone, Copy)]
struct Ending {
    signal: Signal,
    /// After so many seconds it is killed.
    grace: u64,
    /// It stays when it has ended, even if it was to be removed.
    kept: bool,
}

impl Engine {
    /// Sends a signal to process 1 of a container.
    ///
    /// # Errors
    ///
    /// [`Kind::NotRunning`].
    pub fn signal(&self, record: &Record, signal: Signal) -> Result<()> {
        let process = self.process(record)?;
        let sent = rustix::process::pidfd_send_signal(&process, signal);
        Ok(check("pidfd_send_signal", || format!("{}, {signal:?}", record.name), sent)?)
    }

    /// Sends a signal to a container as `kill` does: one that is killed, or asked to end in its own way, is not started
    /// again by its policy.
    ///
    /// # Errors
    ///
    /// As [`Engine::signal`].
    pub fn kill(&self, record: &Record, signal: Signal) -> Result<()> {
        self.process(record)?;
        if signal == Signal::KILL {
            return self.end(record, Ending { signal, grace: 0, kept: false });
        }
        if signal == record.stop_signal() {
            self.stay_stopped(record, false)?;
            self.signal(record, signal)?;
            self.wake(record);
        } else {
            self.signal(record, signal)?;
        }
        self.tell_kill(record, signal);
        Ok(())
    }

    /// Asks a container to end, and kills it when it has not after a while; one that does not run is left as it is.
    /// It is not started again by its policy.
    ///
    /// # Errors
    ///
    /// When the signals cannot be sent, or the container does not end.
    pub fn stop(&self, record: &Record, signal: Option<Signal>, grace: Option<u64>) -> Result<()> {
        self.end_asked(record, asked(record, signal, grace, false))
    }

    /// Stops a container that is started again at once, and so stays when it ends even if it was to be removed.
    ///
    /// # Errors
    ///
    /// As [`Engine::stop`].
    pub fn stop_to_start(&self, record: &Record, signal: Option<Signal>, grace: Option<u64>) -> Result<()> {
        self.end_asked(record, asked(record, signal, grace, true))
    }

    /// Ends a container that is asked to, which is told of one that has run.
    fn end_asked(&self, record: &Record, ending: Ending) -> Result<()> {
        self.end(record, ending)?;
        if record.state.is_active() {
            self.tell(record, "stop");
        }
        Ok(())
    }

    fn tell_kill(&self, record: &Record, signal: Signal) {
        self.journal().write(&[Event::of(record, "kill").with("signal", signal.as_raw().to_string())]);
    }

    /// Removes a container by name or id; with `force` one that runs is ended first, and one that does not exist is no
    /// failure.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchContainer`], [`Kind::Running`] without `force`.
    pub fn remove_by_name(&self, name: &str, force: bool) -> Result<()> {
        let record = match self.containers.find(name) {
            Err(e) if force && e.kind() == Kind::NoSuchContainer => return Ok(()),
            other => other?,
        };
        let begin = Instant::now();
        loop {
            if force {
                self.end(&record, Ending { signal: Signal::KILL, grace: 0, kept: false })?;
            }
            match self.remove(&record) {
                // One that goes away when it ends has done so.
                Err(e) if force && e.kind() == Kind::NoSuchContainer => return Ok(()),
                // Somebody has started it in between.
                Err(e) if force && e.kind() == Kind::Running && begin.elapsed() < PATIENCE => (),
                other => return other,
            }
        }
    }

    /// Sees to it that no container has a name: one that has it is asked to end if it runs, and removed.
    ///
    /// # Errors
    ///
    /// When it does not end, or cannot be removed.
    pub fn make_way(&self, name: &str) -> Result<()> {
        let other = self.containers.find(name).ok();
        // What was found by the beginning of its id has another name.
        let Some(other) = other.filter(|other| other.name == name) else { return Ok(()) };
        self.stop(&other, None, None)?;
        self.remove_by_name(other.id.as_str(), true)
    }

    /// Ends the run that a container is in, or about to be in, and waits until its supervisor has written that down.
    fn end(&self, record: &Record, ending: Ending) -> Result<()> {
        let mut begin = Instant::now();
        let mut ended = None;
        loop {
            let now = match self.containers.find(record.id.as_str()) {
                Err(e) if e.kind() == Kind::NoSuchContainer => return Ok(()),
                other => other?,
            };
            match self.process(&now) {
                // Somebody has started it again, who came later.
                Ok(_) if ended.is_some() && ended != now.state.process => return Ok(()),
                Ok(process) => {
                    self.stay_stopped(&now, ending.kept)?;
                    self.wake(&now);
                    self.tell_kill(&now, ending.signal);
                    end_process(&process, ending)?;
                    if ended.is_none() {
                        (begin, ended) = (Instant::now(), now.state.process);
                    }
                }
                Err(_) if !self.containers.is_held(&now.id) => return Ok(()),
                // Between two runs: its monitor looks whether there is to be another.
                Err(_) if now.state.is_active() => self.stay_stopped(&now, ending.kept)?,
                // Between the start and the first run, or between the end and what is written down about it.
                Err(_) => (),
            }
            if begin.elapsed() > PATIENCE {
                return Err(Error::new(Kind::Running, format!("container {} does not end", record.name)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Writes down that a container is to stay stopped, and lets its monitor know.
    fn stay_stopped(&self, record: &Record, kept: bool) -> Result<()> {
        match self.containers.set_stopped(record, kept) {
            Err(e) if e.kind() == Kind::NoSuchContainer => return Ok(()),
            other => other?,
        }
        // One without a socket is in the foreground, and is never started again.
        if let Ok(socket) = wire::connect(&self.containers.dir(&record.id)) {
            let _ = wire::send(&socket, &wire::Message::Look.encode());
        }
        Ok(())
    }

    /// Waits until a container does not run any more, and returns its exit code.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchContainer`] when it is gone, and how it ended was not to be learned.
    pub fn wait(&self, record: &Record) -> Result<i32> {
        // First of all: who is there when it ends is told.
        let waiting = if record.auto_remove { Some(self.containers.waiting(record)?) } else { None };
        let mut last = record.clone();
        loop {
            if let Ok(process) = self.process(&last) {
                ended_within(&process, None)?;
            }
            // The supervisor has it from the kernel, and writes it down a moment later.
            let before = last.state.started_at.clone();
            loop {
                last = match self.containers.find(record.id.as_str()) {
                    Err(e) => return waiting.and_then(|waiting| waiting.told()).ok_or(e),
                    Ok(now) => now,
                };
                match (last.state.exit_code, last.state.status.as_str()) {
                    (Some(code), _) => return Ok(code),
                    // Nothing has run; Docker waits until something has.
                    (None, "created") => std::thread::sleep(Duration::from_millis(20)),
                    _ if last.state.started_at != before => break,
                    _ => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        }
    }

    /// Opens process 1 of a container.
    pub(crate) fn process(&self, record: &Record) -> Result<OwnedFd> {
        let not = || Error::new(Kind::NotRunning, format!("container {} is not running", record.name));
        record.state.process.as_ref().and_then(ProcessId::open).ok_or_else(not)
    }
}

/// How a container ends that is asked to.
fn asked(record: &Record, signal: Option<Signal>, grace: Option<u64>, kept: bool) -> Ending {
    let grace = grace.or(record.options.stop_timeout).unwrap_or(monitor::GRACE);
    Ending { signal: signal.unwrap_or_else(|| record.stop_signal()), grace, kept }
}

/// Sends the signal, and kills the process if it has not ended after a while.
fn end_process(process: &OwnedFd, ending: Ending) -> Result<()> {
    // The only failure left with a valid descriptor is that the process has ended.
    let _ = rustix::process::pidfd_send_signal(process, ending.signal);
    if ending.signal != Signal::KILL && !ended_within(process, Some(Duration::from_secs(ending.grace)))? {
        let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
    }
    ended_within(process, Some(PATIENCE)).map(drop)
}

/// Waits for the end of a process; without a length, for as long as it takes.
fn ended_within(process: &OwnedFd, length: Option<Duration>) -> Result<bool> {
    let until = length.map(|length| Instant::now() + length);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(n) => return Ok(n > 0),
            Err(rustix::io::Errno::INTR) => (),
            Err(e) => return check("poll", String::new, Err(e)).map_err(Into::into),
        }
    }
}
