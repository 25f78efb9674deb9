// SPDX-License-Identifier: Apache-2.0
//! Reading files beside the walk that finds them: a thread lists directories, and others look at what is in them.
//!
//! What waits is bounded, in names and in directories that stay open. Where no thread can be had, the walk reads itself.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
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
    let from = Mutex::new(from);
    let work = || {
        let mut found = Vec::new();
        while let Some(heap) = next(&from) {
            found.extend(heap.iter().filter_map(|(number, later)| look(*number, &later.entry())));
        }
        found
    };
    thread::scope(|scope| {
        let hired: Vec<_> = (0..helpers).map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let to = (!hired.is_empty()).then_some(to);
        let mut crew = Crew { to, heap: Vec::new(), found: Vec::new(), look: &look };
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
