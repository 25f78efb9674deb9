// SPDX-License-Identifier: Apache-2.0
//! While the payload runs.

use std::os::fd::OwnedFd;

use bryo_launch::relay::{self, Aside, Seen, Source};
use bryo_launch::{Running, Streams};

use super::Request;
use crate::error::Result;
use crate::monitor::log::{Stream, Writer};
use crate::notify::Door;

/// What the payload said on the terminal about having been refused something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints {
    /// It wrote to what is read-only.
    pub read_only: bool,
    /// It was not permitted something.
    pub not_permitted: bool,
}

impl From<Seen> for Hints {
    fn from(Seen { read_only, not_permitted, .. }: Seen) -> Self {
        Self { read_only, not_permitted }
    }
}

/// Relays; what the payload says is kept if there is a log.
pub(super) fn relay(
    running: &Running,
    streams: Streams,
    request: &Request<'_>,
    inbox: &OwnedFd,
    door: Option<&Door>,
    log: Option<Writer>,
) -> Result<Hints> {
    let spoken = door.zip(request.notifier);
    let pass = || spoken.iter().for_each(|(door, notifier)| door.pass(notifier));
    let options = relay::Options {
        caller: request.caller,
        interactive: request.options.interactive,
        proxy_signals: !request.options.no_signal_proxy,
        inbox,
        aside: door.map(|door| Aside { fd: door.fd(), act: &pass }),
    };
    let mut log = log;
    let mut tap = log.as_mut().map(|log| {
        |source: Source, bytes: &[u8]| match source {
            Source::Stdout => log.write(Stream::Stdout, bytes),
            Source::Stderr => log.write(Stream::Stderr, bytes),
        }
    });
    let tap = tap.as_mut().map(|tap| tap as relay::Tap<'_>);
    Ok(relay::run(running.pidfd(), streams, &options, tap)?.into())
}
