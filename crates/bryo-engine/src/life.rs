// SPDX-License-Identifier: Apache-2.0
//! The life of a container that runs by itself: made, and started below a monitor.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bryo_launch::relay;
use bryo_sys::check;
use oci_spec::runtime::Spec;

use crate::Engine;
use crate::container::{Held, Id, Record, Status, generated_name};
use crate::error::{Error, Kind, Result};
use crate::monitor::{self, Started, Subject, Unstarted};
use crate::options::RunOptions;
use crate::run::{Image, Prepared, record};
use crate::volumes::Claims;

/// A container that was made and does not run.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub id: Id,
    held: Held,
    record: Record,
    prepared: Prepared,
    claims: Claims,
    /// Nobody has been told that it was made.
    is_new: bool,
    /// It ends with the process that starts it, and is removed then.
    tied: bool,
}

impl Created {
    /// Returns what is known of it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Ties it to this process: once that is gone, whatever ended it, the container is ended and removed.
    #[must_use]
    pub fn tied(self) -> Self {
        Self { tied: true, ..self }
    }
}

impl Engine {
    /// Makes a container and does not start it.
    ///
    /// # Errors
    ///
    /// As [`Engine::create_to_start`].
    pub fn create(&self, options: &RunOptions, image: Image, note: &dyn Fn(&str)) -> Result<Created> {
        let created = self.create_to_start(options, image, None, note)?;
        match created.held.write(&created.record) {
            Ok(()) => {
                self.tell(&created.record, "create");
                Ok(Created { is_new: false, ..created })
            }
            Err(error) => {
                let Created { held, record, claims, .. } = created;
                drop(claims);
                Err(self.undo(held, &record, error))
            }
        }
    }

    /// Makes a container that is started at once: it is written down when it runs, so that a command that is killed
    /// before leaves none.
    ///
    /// # Errors
    ///
    /// What is wrong with the options, and what stands in the way of the image; nothing is left behind then.
    pub fn create_to_start(
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
        self.admit(&record, &prepared.image, false)?;
        record.health_check = options.health.check(prepared.image.healthcheck())?;
        let held = self.create_named(&id, &name)?;
        if let Some(path) = &options.cidfile
            && let Err(error) = crate::run::write_cidfile(path, &id)
        {
            // Whose file it is, it is not this container's.
            held.discard();
            return Err(error);
        }
        let written = match &prepared.image {
            Image::Stored(image) => held.write_image(image),
            Image::Rootfs(_) | Image::Host => Ok(()),
        };
        match written.and_then(|()| self.make_volumes(options)) {
            Ok(volumes) => {
                Ok(Created { id, held, record, prepared, claims: Claims { pin, volumes }, is_new: true, tied: false })
            }
            Err(error) => Err(self.undo(held, &record, error)),
        }
    }

    /// Removes a container that is none after all, and returns why.
    fn undo(&self, held: Held, record: &Record, error: Error) -> Error {
        if let Some(path) = &record.options.cidfile {
            // It is of a container that is none.
            let _ = std::fs::remove_file(path);
        }
        // What cannot be removed now is found by the next collection.
        let _ = self.discard(held, Some(record));
        let _ = self.remove_anonymous_volumes(&record.options);
        error
    }

    /// Starts a container that was just made below a monitor of its own; `client` sees all of its output. One that
    /// cannot be started is removed.
    ///
    /// # Errors
    ///
    /// What keeps it from running. This may be the monitor, which is then to end as the caller would.
    pub fn start_created(&self, created: Created, client: Option<OwnedFd>, note: &dyn Fn(&str)) -> Result<Started> {
        // The monitor is in the midst of this, and keeps what this holds.
        let record = Record { spec: no_spec(), ..created.record.clone() };
        self.launch_apart(created, client, note).map_err(|failed| {
            let Unstarted { error, held } = *failed;
            self.undo(held, &record, error)
        })
    }

    /// Starts a container that has ended, or that was made and never started.
    ///
    /// # Errors
    ///
    /// [`Kind::Running`], [`Kind::Paused`]; what keeps it from running, which is also written down. This may be the monitor, which is then
    /// to end as the caller would.
    pub fn start(
        &self,
        record: &Record,
        client: Option<OwnedFd>,
        terminal: Option<(u16, u16)>,
        note: &dyn Fn(&str),
    ) -> Result<Started> {
        let (held, record) = self.hold_to_start(record)?;
        let state = record.state.clone();
        let prepared = self.store.pin().map_err(Error::from).and_then(|pin| {
            let image = match self.containers.image(&record.id)? {
                Some(image) => Image::Stored(Box::new(image)),
                None => Image::of_host(&record.image)?,
            };
            // The record says already that its volumes are in use; one that is gone all the same is made anew.
            let volumes = self.make_volumes(&record.options)?;
            Ok((Claims { pin, volumes }, self.prepare(&record.options, image, terminal)?))
        });
        let started = match prepared {
            Ok((claims, prepared)) => {
                let id = record.id.clone();
                self.launch_apart(
                    Created { id, held, record, prepared, claims, is_new: false, tied: false },
                    client,
                    note,
                )
            }
            Err(error) => Err(Box::new(Unstarted { error, held })),
        };
        started.map_err(|failed| {
            let Unstarted { error, held } = *failed;
            // The reason is told in any case.
            let _ = held.write_state(&Status { error: error.to_string(), exit_code: Some(unstarted(&error)), ..state });
            error
        })
    }

    /// Takes hold of a container that does not run, and reads what it is then. Where somebody else is about to start or
    /// to remove it, what comes of that is waited for.
    fn hold_to_start(&self, record: &Record) -> Result<(Held, Record)> {
        /// Longer than any part of a start takes.
        const PATIENCE: Duration = Duration::from_secs(30);
        let begin = Instant::now();
        loop {
            let now = self.containers.find(record.id.as_str())?;
            now.refuse_paused()?;
            // Where it is said to run and does not, that is about to be written down.
            let runs = now.state.status == "restarting" || self.process(&now).is_ok();
            match self.containers.hold(&now) {
                Err(e) if e.kind() == Kind::Running && !runs && begin.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => return Err(e),
                // Read again: nobody else writes it now.
                Ok(held) => return Ok((held, self.containers.find(record.id.as_str())?)),
            }
        }
    }

    fn launch_apart(
        &self,
        created: Created,
        client: Option<OwnedFd>,
        note: &dyn Fn(&str),
    ) -> std::result::Result<Started, Box<Unstarted>> {
        let Created { id, held, record: old, prepared, claims, is_new, tied } = created;
        let (planned, slot) = match self.plan(&old.options, &prepared, &id, Some(&held)) {
            Ok(planned) => planned,
            Err(error) => return Err(Box::new(Unstarted { error, held })),
        };
        let mut record = record(&id, &old.name, &old.options, &prepared, &planned);
        record.created.clone_from(&old.created);
        record.health_check.clone_from(&old.health_check);
        // One that is new was judged when it was made.
        let has_lived = old.state.status != "created";
        // A signal ends this process while it is judged; nothing runs yet, and what is written down stays as it is.
        if !is_new && let Err(error) = self.admit(&record, &prepared.image, has_lived) {
            return Err(Box::new(Unstarted { error, held }));
        }
        let signals = relay::signals();
        let inbox = signals.block().and_then(|()| signals.descriptor());
        let inbox = match inbox {
            Ok(inbox) => inbox,
            Err(error) => return Err(Box::new(Unstarted { error: error.into(), held })),
        };
        let tie = match tied.then(own_process).transpose() {
            Ok(tie) => tie,
            Err(error) => return Err(Box::new(Unstarted { error, held })),
        };
        let network = prepared.network;
        // What a start needs and a monitor does not, it would keep for as long as the container runs.
        drop((prepared, old));
        record.spec = no_spec();
        let subject = Subject { held, record, planned, network, slot, claims, client, inbox, note, is_new, tie };
        monitor::start(self, subject)
    }
}

/// Returns a descriptor that is readable once this process has ended. Unlike the end of a pipe, no other child of it
/// keeps that from being seen.
fn own_process() -> Result<OwnedFd> {
    let (pid, flags) = (rustix::process::getpid(), rustix::process::PidfdFlags::empty());
    Ok(check("pidfd_open", || "self".into(), rustix::process::pidfd_open(pid, flags))?)
}

/// A monitor has the spec in its plan, and no need for another.
pub(crate) fn no_spec() -> Spec {
    let mut spec = Spec::default();
    spec.set_process(None).set_root(None).set_hostname(None).set_mounts(None).set_hooks(None).set_linux(None);
    spec
}

/// Returns the exit code of a container whose program could not be started. Source: Docker's `docker run` reference,
/// "Exit status".
pub(crate) fn unstarted(error: &Error) -> i32 {
    match error.kind() {
        Kind::Launch(bryo_launch::Kind::NotFound) => 127,
        Kind::Launch(bryo_launch::Kind::NotExecutable) => 126,
        _ => 128,
    }
}
