// SPDX-License-Identifier: Apache-2.0
//! Waiting until a container's own layer changes: inotify on its directories. Source: `inotify(7)`.
//!
//! The directories belong to ids that the caller may not enter, so that an agent, which may, puts the watches on a
//! descriptor of the caller's. Watches stay when the agent is gone. Where there are more directories than watches, and for
//! processes, which leave no trace in a directory, the caller looks again after a while in any case.
//!
//! A container that writes on and on is looked at five times a second and not more often, and what is read for that has
//! limits. Why not fanotify: see `docs/src/design/decisions.md`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use bryo_packages::tree::{Limits, Tree, Visit};
use bryo_sys::check;
use rustix::fs::FileType;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::Engine;
use crate::agent::{self, Place};
use crate::changes::directory;
use crate::container::Record;
use crate::error::Result;
use crate::packages::readable;

/// How many directories of one container are watched. Source: some distributions give a user 8192 in all.
const WATCHED: usize = 4096;

/// How many names are looked at to find them.
const NAMES: u64 = 500_000;

/// The least time between two looks.
const REST: Duration = Duration::from_millis(200);

/// How often the queue is read at one time, 64 KiB each: more than it holds. Source: `max_queued_events` is 16,384, and an
/// event has at most 272 bytes.
const READS: usize = 80;

/// Changes of containers' layers.
#[derive(Debug)]
pub struct Watch {
    queue: OwnedFd,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    ///
    /// When the caller has too many already.
    pub fn new() -> Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        Ok(Self { queue: check("inotify_init1", String::new, queue)? })
    }

    /// Waits for a change, or until the time is over. Many changes at once, and all within a moment, are one.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::Io`].
    pub fn wait(&self, time: Duration) -> Result<()> {
        crate::watch::wait(&self.queue, Some(time))?;
        std::thread::sleep(REST);
        // All that is there, and not what comes while it is read: what has changed is found by looking.
        let mut piece = [0u8; 64 << 10];
        let mut more = || rustix::io::read(&self.queue, &mut piece).is_ok_and(|read| read > 0);
        (0..READS).all(|_| more());
        Ok(())
    }
}

impl Engine {
    /// Watches the directories that a container's layer has by now. Says whether all of them are watched.
    ///
    /// # Errors
    ///
    /// As [`Engine::changes`].
    pub fn watch_layer(&self, record: &Record, watch: &Watch) -> Result<bool> {
        let Some(paths) = self.layer_paths_of(record)? else { return Ok(false) };
        let map = self.map_of_files(Some(record))?;
        let place = Place::Own(&map, self.host.helpers.as_ref());
        let queue = check("dup", String::new, rustix::io::fcntl_dupfd_cloexec(&watch.queue, 3))?;
        let own = paths.own;
        agent::start(place, [queue], || directory(&own), |own, [queue]| all(&own, &queue))?.answer()
    }
}

/// Adds a watch for every directory, in the agent.
fn all(own: &OwnedFd, queue: &OwnedFd) -> Result<bool> {
    let top = readable(own.as_fd())?;
    let mut complete = add(queue, &top);
    let mut count = 1;
    let tree = Tree::new(vec![top], Limits { entries: NAMES, ..Limits::default() });
    let walked = tree.walk(&mut |entry| {
        if entry.kind != FileType::Directory {
            return Visit::Skip;
        }
        count += 1;
        let opened = entry.directory();
        complete &= count <= WATCHED && opened.is_ok_and(|dir| add(queue, &dir));
        if complete { Visit::Enter } else { Visit::Skip }
    });
    match walked {
        Err(e) if e.kind() == bryo_packages::Kind::Limit => Ok(false),
        walked => Ok(walked.map(|_| complete)?),
    }
}

/// Adds a directory by descriptor, whatever has its name by now.
fn add(queue: &OwnedFd, dir: &OwnedFd) -> bool {
    let flags = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::ATTRIB
        | WatchFlags::ONLYDIR;
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    inotify::add_watch(queue, path, flags).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn whoever_writes_on_and_on_does_not_keep_it_from_looking_nor_looking_all_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::new().unwrap();
        let opened = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        assert!(all(&opened, &watch.queue).unwrap());
        let goes_on = AtomicBool::new(true);
        let took = std::thread::scope(|scope| {
            let write = || {
                while goes_on.load(Ordering::Relaxed) {
                    std::fs::write(dir.path().join("x"), "x").unwrap();
                }
            };
            scope.spawn(write);
            let took: Vec<Duration> = (0..3)
                .map(|_| {
                    let begun = Instant::now();
                    watch.wait(Duration::from_secs(60)).unwrap();
                    begun.elapsed()
                })
                .collect();
            goes_on.store(false, Ordering::Relaxed);
            took
        });
        assert!(took.iter().all(|took| *took >= REST && *took < Duration::from_secs(30)), "{took:?}");
        // The control: nobody writes, and the time passes.
        let idle = Watch::new().unwrap();
        let begun = Instant::now();
        idle.wait(Duration::from_millis(300)).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }
}
