// SPDX-License-Identifier: Apache-2.0
//! `bryo run` as the main process of a unit: who is told that the container runs.

use std::process::{Command, ExitCode, Stdio};
use std::thread::Scope;
use std::time::Duration;

use bryo_engine::Engine;
use bryo_engine::container::{Containers, Record};
use bryo_engine::notify::Notifier;
use bryo_engine::options::{Restart, RunOptions, SdNotify};

use crate::commands::start::note;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::{output, paths};

/// Finds the service manager that started this process, if one did and is to hear of the container.
pub(super) fn notifier(options: &RunOptions) -> Result<Option<Notifier>> {
    let address = paths::notify_socket().filter(|_| options.sdnotify != SdNotify::Ignore);
    Ok(address.map(|address| Notifier::new(&address)).transpose()?)
}

/// Refuses what cannot be told of a container below a monitor: what its payload says itself, since nobody is behind its
/// socket, and with `-d` that it has become healthy, since nobody is left to tell.
pub(super) fn check(options: &RunOptions, notifier: Option<&Notifier>, detach: bool, monitored: bool) -> Result<()> {
    let (mode, hint) = match options.sdnotify {
        SdNotify::Container if monitored => ("container", "leave -d, --restart and --health-cmd out"),
        SdNotify::Healthy if detach => ("healthy", "leave -d out"),
        _ => return Ok(()),
    };
    if notifier.is_none() {
        return Ok(());
    }
    let why = format!("--sdnotify {mode} needs the container in the foreground; nothing was started");
    let hint = format!("{hint}: a service is in the background anyway, and Restart= is systemd's");
    Err(Error::message(why).hint(hint))
}

/// Tells whether a container needs a monitor although it is in the foreground: who checks its health, starts it again,
/// or keeps it when its keys let go of it.
pub(super) fn is_monitored(options: &RunOptions) -> bool {
    let checked = options.health.command.is_some() && !options.health.disabled;
    options.restart != Restart::No || (options.tty && options.interactive) || checked
}

/// Tells the manager that a container below a monitor runs, with this process before it, and that it is healthy when
/// that is what the service waits for.
pub(super) fn started<'a>(scope: &'a Scope<'a, '_>, engine: &Engine, record: &Record, notifier: &'a Notifier) {
    let waits = record.options.sdnotify == SdNotify::Healthy;
    if let Err(error) = notifier.started(std::process::id(), record, !waits) {
        note(&error.to_string());
    }
    if waits {
        let (containers, record) = (engine.containers().clone(), record.clone());
        // No process is made after this.
        scope.spawn(move || {
            if healthy(&containers, &record) {
                let _ = notifier.started(std::process::id(), &record, true);
            }
        });
    }
}

/// Waits until a container is healthy; false when it ends before it is.
fn healthy(containers: &Containers, record: &Record) -> bool {
    /// Checks are seconds apart.
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        match containers.find(record.id.as_str()) {
            Ok(now) if now.state.health.as_ref().is_some_and(|health| health.status == "healthy") => return true,
            Ok(now) if now.state.is_active() => std::thread::sleep(PAUSE),
            _ => return false,
        }
    }
}

/// Starts a container in the background, and hands the service over to its monitor.
///
/// A manager waits for nobody but its own children, and those of processes that have ended. So this process stays, the
/// one that starts the monitor ends, and only then the manager is told.
pub(super) fn background(context: &Context, notifier: &Notifier) -> Result<ExitCode> {
    let failed = |e| Error::io("start bryo once more", &e);
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env_remove(paths::NOTIFY_SOCKET).stdin(Stdio::null());
    let ended = command.stderr(Stdio::inherit()).output().map_err(failed)?;
    if !ended.status.success() {
        let code = ended.status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(ExitCode::from(code.unwrap_or(u8::MAX)));
    }
    let id = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    let engine = context.engine()?;
    match engine.containers().find(&id).and_then(|record| engine.hand_over(&record, notifier)) {
        Ok(()) => (),
        // It may have ended by now, or the manager may be gone.
        Err(error) => note(&error.to_string()),
    }
    output::print(&format!("{id}\n"))?;
    Ok(ExitCode::SUCCESS)
}
