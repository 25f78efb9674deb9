// SPDX-License-Identifier: Apache-2.0
//! While the payload runs.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bryo_launch::relay::{self, Aside, Installer, Seen, Source};
use bryo_launch::{Running, Streams};
use bryo_sys::check;
use rustix::event::Timespec;
use rustix::process::Signal;

use super::{Control, Life, Request};
use crate::error::Result;
use crate::monitor::log::{Stream, Writer};
use crate::notify::Door;
use crate::observe::Observe;

/// What the payload said on the terminal about having been refused something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints {
    /// It wrote to what is read-only.
    pub read_only: bool,
    /// It was not permitted something.
    pub not_permitted: bool,
    /// A library may not be executed.
    pub unloaded: bool,
    /// The package manager that could not install something.
    pub installer: Option<Installer>,
}

impl From<Seen> for Hints {
    fn from(Seen { read_only, not_permitted, unloaded, installer, .. }: Seen) -> Self {
        Self { read_only, not_permitted, unloaded, installer }
    }
}

/// Makes a clock that strikes after a time, and once more.
fn clock(limit: Duration) -> Result<OwnedFd> {
    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
    let spec = |time: Duration| Timespec::try_from(time).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
    let made = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK);
    let clock = check("timerfd_create", || "CLOCK_MONOTONIC".into(), made)?;
    // A time of nothing would stop it.
    let times = Itimerspec { it_interval: spec(Observe::GRACE), it_value: spec(limit.max(Duration::from_millis(1))) };
    let set = rustix::time::timerfd_settime(&clock, TimerfdTimerFlags::empty(), &times);
    check("timerfd_settime", || format!("{limit:?}"), set)?;
    Ok(clock)
}

/// Asks the payload to end when its time is over, and ends it the next time.
fn end(running: &Running, clock: &OwnedFd, asked: &Cell<bool>) {
    if rustix::io::read(clock, &mut [0; 8]) == Ok(8) {
        running.signal(if asked.replace(true) { Signal::KILL } else { Signal::TERM });
    }
}

/// Relays, and follows changes of the networks; what the payload says is kept if there is a log.
pub(super) fn relay(
    life: &mut Life<'_>,
    streams: Streams,
    request: &Request<'_>,
    inbox: &OwnedFd,
    (door, control): (Option<&Door>, Option<&Control>),
    log: Option<Writer>,
) -> Result<Hints> {
    let spoken = door.zip(request.notifier);
    let pass = || spoken.iter().for_each(|(door, notifier)| door.pass(notifier));
    let payload = check("dup", String::new, rustix::io::fcntl_dupfd_cloexec(life.live.running.pidfd(), 3))?;
    let life = RefCell::new(life);
    let follow = || control.iter().for_each(|control| control.serve(|| life.borrow_mut().follow()));
    let door = door.map(|door| Aside { fd: door.fd(), act: &pass });
    let control = control.map(|control| Aside { fd: control.fd(), act: &follow });
    let clock = request.observe.and_then(|observe| observe.limit).map(clock).transpose()?;
    let asked = Cell::new(false);
    let end = || clock.iter().for_each(|clock| end(&life.borrow().live.running, clock, &asked));
    let clock = clock.as_ref().map(|clock| Aside { fd: clock.as_fd(), act: &end });
    let asides: Vec<Aside<'_>> = door.into_iter().chain(control).chain(clock).collect();
    let options = relay::Options {
        caller: request.caller,
        interactive: request.options.interactive,
        proxy_signals: !request.options.no_signal_proxy,
        inbox,
        asides: &asides,
    };
    let mut log = log;
    let mut tap = log.as_mut().map(|log| {
        |source: Source, bytes: &[u8]| match source {
            Source::Stdout => log.write(Stream::Stdout, bytes),
            Source::Stderr => log.write(Stream::Stderr, bytes),
        }
    });
    let tap = tap.as_mut().map(|tap| tap as relay::Tap<'_>);
    Ok(relay::run(payload.as_fd(), streams, &options, tap)?.into())
}
