// SPDX-License-Identifier: Apache-2.0
//! Reading files beside the walk that finds them: a thread lists directories, and others look at what is in them.
//!
//! What waits is bounded, in names and in directories that stay open. Where no thread can be had, the walk reads itself.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::tree::{Entry, Later};

/// How many names are handed over at once, and how many such heaps wait. Each name may keep a directory open.
const HEAP: usize = 64;
const WAITING: usize = 2;
/// More readers than that wait for the disk.
const MOST: usize = 4;

/// Returns how many threads are of use here.
pub(super) fn helpers() -> usize {
    thread::available_parallelism().map_or(0, |n| if n.get() > 1 { n.get().min(MOST) } else { 0 })
}

type Heap = Vec<(usize, Later)>;

/// Those who read, as the walk sees them.
pub(super) struct Crew<'a, R> {
    to: Option<SyncSender<Heap>>,
    heap: Heap,
    found: Vec<R>,
    look: &'a (dyn Fn(usize, &Entry<'_>) -> Option<R> + Sync),
}

impl<R> Crew<'_, R> {
    /// Reads a file at once.
    pub fn read(&mut self, number: usize, entry: &Entry<'_>) {
        self.found.extend((self.look)(number, entry));
    }

    /// Leaves a file to whoever has time.
    pub fn leave(&mut self, number: usize, entry: &Entry<'_>) {
        if self.to.is_none() {
            return self.read(number, entry);
        }
        self.heap.push((number, entry.later()));
        if self.heap.len() >= HEAP {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let heap = std::mem::take(&mut self.heap);
        let left = match &self.to {
            Some(to) => to.send(heap).err().map(|unsent| unsent.0),
            None => Some(heap),
        };
        // Nobody is there any more.
        for (number, later) in left.into_iter().flatten() {
            self.read(number, &later.entry());
        }
    }
}

/// Walks, while up to `helpers` threads look at what the walk leaves to them. Returns what the walk does, and what was
/// found, in no order.
pub(super) fn with<R: Send, T>(
    helpers: usize,
    look: impl Fn(usize, &Entry<'_>) -> Option<R> + Sync,
    walk: impl FnOnce(&mut Crew<'_, R>) -> T,
) -> (T, Vec<R>) {
    let (to, from) = sync_channel(WAITING);
    let from = Arc::new(Mutex::new(from));
    let look = &look;
    // Only helpers have the other end: where none is left, nobody waits for them.
    let work = |from: Arc<Mutex<Receiver<Heap>>>| {
        move || {
            let mut found = Vec::new();
            while let Some(heap) = next(&from) {
                found.extend(heap.iter().filter_map(|(number, later)| look(*number, &later.entry())));
            }
            found
        }
    };
    thread::scope(|scope| {
        let hire = |_| thread::Builder::new().spawn_scoped(scope, work(Arc::clone(&from))).ok();
        let hired: Vec<_> = (0..helpers).map_while(hire).collect();
        drop(from);
        let to = (!hired.is_empty()).then_some(to);
        let mut crew = Crew { to, heap: Vec::new(), found: Vec::new(), look };
        let walked = walk(&mut crew);
        crew.hand_over();
        let Crew { to, mut found, .. } = crew;
        drop(to);
        for helper in hired {
            found.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        (walked, found)
    })
}

fn next(from: &Mutex<Receiver<Heap>>) -> Option<Heap> {
    from.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::tree::{Limits, Tree, Visit};

    /// How many of the names were read by the walk itself, if helpers fail or do not.
    fn walked(fail: bool) -> std::thread::Result<(usize, usize)> {
        let dir = tempfile::tempdir().unwrap();
        let many = HEAP * (WAITING + MOST + 4);
        (0..many).for_each(|n| std::fs::write(dir.path().join(n.to_string()), "").unwrap());
        let tree = Tree::open(dir.path(), Limits::default()).unwrap();
        let walker = thread::current().id();
        let look = |_: usize, _: &Entry<'_>| {
            assert!(!fail || thread::current().id() == walker, "a helper fails");
            Some(())
        };
        let walk = |crew: &mut Crew<'_, ()>| {
            tree.walk(&mut |entry| {
                crew.leave(0, entry);
                Visit::Enter
            })
        };
        let with = || with(2, look, walk);
        let (done, found) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(with))?;
        done.unwrap();
        Ok((found.len(), many))
    }

    #[test]
    fn nobody_waits_for_helpers_that_have_failed() {
        let (done, is_done) = channel();
        thread::spawn(move || done.send((walked(false).unwrap(), walked(true).is_err())));
        let ((found, many), failed) = is_done.recv_timeout(Duration::from_secs(60)).expect("the walk waits for nobody");
        assert_eq!(found, many, "the control: helpers that do not fail find all");
        assert!(failed, "their failure is not hidden");
    }
}
