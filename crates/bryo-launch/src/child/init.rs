// SPDX-License-Identifier: Apache-2.0
//! The small init of `--init`: reaps orphans, passes signals on, and ends with the payload's status.
//!
//! It is this very process, confined like the payload, with nothing of the caller's open and undumpable, so that
//! nothing in the container can look into it or through its `/proc` entries.

use std::os::fd::OwnedFd;

use bryo_sys::check;
use bryo_sys::clone::{Fork, Namespaces, fork_into};
use bryo_sys::signal::{SignalSet, next};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::child::{NOT_STARTED, confine, exec};
use crate::error::Result;
use crate::prepare::PreparedProcess;
use crate::sync::ChildEnd;

/// Starts the payload and stays above it; returns its exit code.
pub(super) fn run(process: &PreparedProcess, sync: ChildEnd) -> i32 {
    // Everybody inside can read the command line.
    let hidden = bryo_sys::process::forget_command_line(c"bryo init").and_then(|()| SignalSet::full().block());
    let forked = hidden.and_then(|()| fork_into(Namespaces::empty()));
    let main = match forked {
        Ok(Fork::Child) => {
            sync.failed(&exec::confined(process, &sync));
            return NOT_STARTED;
        }
        Ok(Fork::Parent { pid, pidfd }) => {
            drop(pidfd);
            pid
        }
        Err(error) => {
            sync.failed(&error.into());
            return NOT_STARTED;
        }
    };
    match confine_self(process, &sync) {
        Ok(inbox) => {
            // From here the payload alone holds the socket, and its execve is what closes it.
            drop(sync);
            supervise(main, &inbox).unwrap_or(NOT_STARTED)
        }
        Err(error) => {
            sync.failed(&error);
            NOT_STARTED
        }
    }
}

fn confine_self(process: &PreparedProcess, sync: &ChildEnd) -> Result<OwnedFd> {
    // The payload closing its output must be seen as the end of it.
    bryo_sys::fd::null_streams()?;
    confine::close_others(sync)?;
    confine::apply(process)?;
    confine::undumpable()?;
    // Confinement opened all signals again, for payloads. A signal that came in between had no effect on the first
    // process of a pid namespace.
    SignalSet::full().block()?;
    Ok(SignalSet::full().descriptor()?)
}

fn supervise(main: Pid, inbox: &OwnedFd) -> Result<i32> {
    loop {
        // Before waiting for signals: the payload may have ended before they were blocked.
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == main {
                return Ok(status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0)));
            }
        }
        let mut ready = [rustix::event::PollFd::new(inbox, rustix::event::PollFlags::IN)];
        let polled = rustix::io::retry_on_intr(|| rustix::event::poll(&mut ready, None));
        check("poll", String::new, polled)?;
        while let Some(number) = next(inbox)? {
            match Signal::from_named_raw(number) {
                Some(Signal::CHILD) | None => (),
                Some(signal) => {
                    // The payload may have ended a moment ago; then the loop ends above.
                    let _ = rustix::process::kill_process(main, signal);
                }
            }
        }
    }
}
