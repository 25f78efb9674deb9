// SPDX-License-Identifier: Apache-2.0
//! Waiting for what is written in a directory, for those who follow a log or the journal.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use bryo_sys::check;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::error::Result;

/// Watches a directory. Source: `inotify(7)`.
pub(crate) fn watch(dir: &Path) -> Result<OwnedFd> {
    let watch = check("inotify_init1", String::new, inotify::init(CreateFlags::CLOEXEC))?;
    let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
    check("inotify_add_watch", || dir.display().to_string(), inotify::add_watch(&watch, dir, flags))?;
    Ok(watch)
}

/// Waits for a change, or until the time is over.
pub(crate) fn wait(watch: &OwnedFd, left: Option<Duration>) -> Result<()> {
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    let mut fds = [PollFd::new(watch, PollFlags::IN)];
    match rustix::event::poll(&mut fds, left.as_ref()) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(()),
        // What changed is found by looking; one change or a hundred.
        Ok(_) => {
            let _ = rustix::io::read(watch, &mut [0_u8; 4096]);
            Ok(())
        }
        Err(e) => Ok(check("poll", String::new, Err(e))?),
    }
}
