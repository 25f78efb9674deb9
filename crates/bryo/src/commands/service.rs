// SPDX-License-Identifier: Apache-2.0
//! `bryo run` as the main process of a unit: who is told that the container runs.

use std::process::{Command, ExitCode, Stdio};

use bryo_engine::notify::Notifier;
use bryo_engine::options::{RunOptions, SdNotify};

use crate::commands::start::note;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::{output, paths};

/// Finds the service manager that started this process, if one did and is to hear of the container.
pub(super) fn notifier(options: &RunOptions) -> Result<Option<Notifier>> {
    let address = paths::notify_socket().filter(|_| options.sdnotify != SdNotify::Ignore);
    Ok(address.map(|address| Notifier::new(&address)).transpose()?)
}

/// Refuses a socket to a payload that runs below a monitor: it would find nobody behind it.
pub(super) fn foreground_only(options: &RunOptions, notifier: Option<&Notifier>) -> Result<()> {
    if notifier.is_none() || options.sdnotify != SdNotify::Container {
        return Ok(());
    }
    let why = "--sdnotify container needs the container in the foreground; nothing was started";
    let hint = "leave -d and --restart out: a service is in the background anyway, and Restart= is systemd's";
    Err(Error::message(why).hint(hint))
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
