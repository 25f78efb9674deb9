// SPDX-License-Identifier: Apache-2.0
//! The life of a container after it was made: started, asked to end, killed, waited for.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bryo_launch::relay;
use bryo_sys::check;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use crate::Engine;
use crate::container::{Held, Id, ProcessId, Record, Status, generated_name};
use crate::error::{Error, Kind, Result};
use crate::monitor::{self, STOPPED, Started, Subject, Unstarted, wire};
use crate::options::RunOptions;
use crate::run::{Image, Prepared, record};

/// A container that was made and does not run.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub id: Id,
    held: Held,
    record: Record,
    prepared: Prepared,
    pin: bryo_image::store::Pin,
}

impl Created {
    /// Returns what is known of it.
    pub fn record(&self) -> &Record {
        &self.record
    }
}

impl Engine {
    /// Makes a container and does not start it.
    ///
    /// # Errors
    ///
    /// What is wrong with the options, and what stands in the way of the image; nothing is left behind then.
    pub fn create(
        &self,
        options: &RunOptions,
        image: Image,
        terminal: Option<(u16, u16)>,
        note: &dyn Fn(&str),
    ) -> Result<Created> {
        let id = Id::random();
        let name = options.name.clone().unwrap_or_else(generated_name);
        // No collection of garbage between the look at the layers and the record that names them.
        let pin = self.store.pin()?;
        let prepared = self.prepare(options, image, terminal)?;
        let (planned, _) = self.plan(options, &prepared, &id, None)?;
        planned.notes.iter().for_each(|line| note(line));
        let mut record = record(&id, &name, options, &prepared, &planned);
        record.state = Status::created();
        monitor::check_options(&record)?;
        record.health_check = options.health.check(prepared.image.healthcheck())?;
        let held = self.containers.create(&id, &name)?;
        let written = match &prepared.image {
            Image::Stored(image) => held.write_image(image),
            Image::Rootfs(_) | Image::Host => Ok(()),
        };
        let written = written.and_then(|()| held.write(&record)).and_then(|()| match &options.cidfile {
            Some(path) => crate::run::write_cidfile(path, &id),
            None => Ok(()),
        });
        match written {
            Ok(()) => Ok(Created { id, held, record, prepared, pin }),
            Err(e) => {
                held.discard();
                Err(e)
            }
        }
    }

    /// Starts a container that was just made below a monitor of its own; `client` sees all of its output. One that
    /// cannot be started is removed.
    ///
    /// # Errors
    ///
    /// What keeps it from running. This may be the monitor, which is then to end as the caller would.
    pub fn start_created(&self, created: Created, client: Option<OwnedFd>, note: &dyn Fn(&str)) -> Result<Started> {
        let record = created.record.clone();
        self.launch_apart(created, client, note).map_err(|failed| {
            let Unstarted { error, held } = *failed;
            if let Some(path) = &record.options.cidfile {
                // It is of a container that is none.
                let _ = std::fs::remove_file(path);
            }
            // What cannot be removed now is found by the next collection.
            let _ = self.discard(held, Some(&record));
            error
        })
    }

    /// Starts a container that has ended, or that was made and never started.
    ///
    /// # Errors
    ///
    /// [`Kind::Running`]; what keeps it from running, which is also written down. This may be the monitor, which is then
    /// to end as the caller would.
    pub fn start(
        &self,
        record: &Record,
        client: Option<OwnedFd>,
        terminal: Option<(u16, u16)>,
        note: &dyn Fn(&str),
    ) -> Result<Started> {
        let held = self.containers.hold(record)?;
        let pin = self.store.pin()?;
        let image = match self.containers.image(&record.id)? {
            Some(image) => Image::Stored(Box::new(image)),
            None => Image::of_host(&record.image)?,
        };
        let prepared = self.prepare(&record.options, image, terminal)?;
        let created = Created { id: record.id.clone(), held, record: record.clone(), prepared, pin };
        self.launch_apart(created, client, note).map_err(|failed| {
            let Unstarted { error, held } = *failed;
            let mut state = Status { error: error.to_string(), ..record.state.clone() };
            state.exit_code = state.exit_code.or(Some(128));
            // The reason is told in any case.
            let _ = held.write_state(&state);
            error
        })
    }

    fn launch_apart(
        &self,
        created: Created,
        client: Option<OwnedFd>,
        note: &dyn Fn(&str),
    ) -> std::result::Result<Started, Box<Unstarted>> {
        let Created { id, held, record: old, prepared, pin } = created;
        let (planned, slot) = match self.plan(&old.options, &prepared, &id, Some(&held)) {
            Ok(planned) => planned,
            Err(error) => return Err(Box::new(Unstarted { error, held })),
        };
        let signals = relay::signals();
        let inbox = signals.block().and_then(|()| signals.descriptor());
        let inbox = match inbox {
            Ok(inbox) => inbox,
            Err(error) => return Err(Box::new(Unstarted { error: error.into(), held })),
        };
        let mut record = record(&id, &old.name, &old.options, &prepared, &planned);
        record.created.clone_from(&old.created);
        record.health_check.clone_from(&old.health_check);
        let network = prepared.network;
        monitor::start(self, Subject { held, record, planned, network, slot, pin, client, inbox, note })
    }

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

    /// Sends a signal to a container as `kill` does: one that was killed is not started again.
    ///
    /// # Errors
    ///
    /// As [`Engine::signal`].
    pub fn kill(&self, record: &Record, signal: Signal) -> Result<()> {
        self.process(record)?;
        if signal == Signal::KILL {
            self.stay_stopped(record)?;
        }
        self.signal(record, signal)?;
        if signal == Signal::KILL { self.wait_supervisor(record) } else { Ok(()) }
    }

    /// Asks a container to end, and kills it when it has not after a while; one that does not run is left as it is.
    /// It is not started again by its policy.
    ///
    /// # Errors
    ///
    /// When the signals cannot be sent, or the container does not end.
    pub fn stop(&self, record: &Record, signal: Option<Signal>, grace: Option<u64>) -> Result<()> {
        let process = self.process(record).ok();
        if process.is_none() && !self.containers.is_held(&record.id) {
            return Ok(());
        }
        self.stay_stopped(record)?;
        let grace = grace.or(record.options.stop_timeout).unwrap_or(monitor::GRACE);
        let Some(process) = process else { return self.wait_supervisor(record) };
        let _ = rustix::process::pidfd_send_signal(&process, signal.unwrap_or_else(|| record.stop_signal()));
        if !ended_within(&process, Some(Duration::from_secs(grace)))? {
            let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
        }
        self.wait_supervisor(record)
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

    /// Writes down that a container is to stay stopped, and lets its monitor know.
    fn stay_stopped(&self, record: &Record) -> Result<()> {
        let dir = self.containers.dir(&record.id);
        let flag = dir.join(STOPPED);
        std::fs::write(&flag, []).map_err(|e| Error::io("cannot write", &flag, e))?;
        // One without a socket is in the foreground, and is never started again.
        if let Ok(socket) = wire::connect(&dir) {
            let _ = wire::send(&socket, &wire::Message::Look.encode());
        }
        Ok(())
    }

    /// Waits until whoever supervises a container has written down its end.
    fn wait_supervisor(&self, record: &Record) -> Result<()> {
        /// The payload has ended: what is left to do takes milliseconds.
        const PATIENCE: Duration = Duration::from_secs(30);
        let start = Instant::now();
        while self.containers.is_held(&record.id) {
            if start.elapsed() > PATIENCE {
                return Err(Error::new(Kind::Running, format!("container {} does not end", record.name)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until a container does not run any more, and returns its exit code.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchContainer`] when it was removed meanwhile without an exit code to be read.
    pub fn wait(&self, record: &Record) -> Result<i32> {
        let mut last = record.clone();
        loop {
            if let Ok(process) = self.process(&last) {
                ended_within(&process, None)?;
            }
            // The supervisor has it from the kernel, and writes it down a moment later.
            let before = last.state.started_at.clone();
            loop {
                match self.containers.find(record.id.as_str()) {
                    Ok(now) => last = now,
                    Err(e) if last.options.remove => return last.state.exit_code.ok_or(e),
                    Err(e) => return Err(e),
                }
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
