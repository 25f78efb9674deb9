// SPDX-License-Identifier: Apache-2.0
//! Names under contention: never two holders of a name, and no holder loses its name.
//!
//! Threads stand in for processes: every step opens its files anew, and locks belong to the open file.

#![allow(clippy::unwrap_used, reason = "the helpers of a test panic like the test")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bryo_engine::container::{Containers, Held, Id};
use bryo_engine::error::Kind;

const NAMES: [&str; 3] = ["moss", "fern", "horsetail"];
const ROUNDS: u32 = 1000;
const MAKERS: u32 = 6;

/// Who believes to hold which name: what the threads tell one another, beside what is on disk.
#[derive(Default)]
struct Believed(Mutex<HashMap<String, Id>>);

impl Believed {
    fn holds(&self, name: &str, id: &Id) {
        let before = self.0.lock().unwrap().insert(name.to_owned(), id.clone());
        assert_eq!(before, None, "{name} was given to {id} as well");
    }

    fn lets_go(&self, name: &str, id: &Id) {
        let before = self.0.lock().unwrap().remove(name);
        assert_eq!(before.as_ref(), Some(id), "{name} was lost");
    }
}

/// What is on disk must lead to the holder.
fn leads_to(data: &Path, name: &str, id: &Id) {
    let found = std::fs::read_to_string(data.join("names").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(found, id.as_str(), "{name} leads to another container");
}

/// Takes a name, keeps it for a moment, and gives it back properly or as somebody who was killed would.
fn make(containers: &Containers, data: &Path, believed: &Believed, round: u32) {
    let name = NAMES[round as usize % NAMES.len()];
    let id = Id::random();
    let held = match containers.create(&id, name) {
        Ok(held) => held,
        Err(e) if e.kind() == Kind::NameInUse => return,
        Err(e) => panic!("{e}"),
    };
    believed.holds(name, &id);
    std::thread::yield_now();
    leads_to(data, name, &id);
    believed.lets_go(name, &id);
    let name = renamed(containers, name, &id, round);
    believed.holds(name, &id);
    std::thread::yield_now();
    leads_to(data, name, &id);
    believed.lets_go(name, &id);
    give_back(held, round);
}

/// Tries another name, which somebody else may have; returns the one that the container has then.
fn renamed(containers: &Containers, name: &'static str, id: &Id, round: u32) -> &'static str {
    let other = NAMES[(round as usize + 1) % NAMES.len()];
    match containers.rename(id, other) {
        Ok(()) => other,
        Err(e) if e.kind() == Kind::NameInUse => name,
        Err(e) => panic!("{e}"),
    }
}

fn give_back(held: Held, round: u32) {
    if round.is_multiple_of(4) {
        // Killed between the two: the name is stale.
        std::fs::remove_dir_all(held.dir()).unwrap();
    } else {
        held.discard();
    }
}

#[test]
fn a_name_has_one_holder_and_no_holder_loses_it() {
    let data = tempfile::tempdir().unwrap();
    let containers = Containers::new(data.path());
    let (believed, done) = (Believed::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                containers.sweep_names();
            }
        });
        let makers: Vec<_> = (0..MAKERS)
            .map(|n| {
                let (containers, believed, data) = (&containers, &believed, data.path());
                scope.spawn(move || (0..ROUNDS).for_each(|round| make(containers, data, believed, round + n)))
            })
            .collect();
        let ended: Vec<_> = makers.into_iter().map(|maker| maker.join()).collect();
        done.store(true, Ordering::Relaxed);
        sweeper.join().unwrap();
        assert!(ended.into_iter().all(|e| e.is_ok()));
    });
    containers.sweep_names();
    assert_eq!(std::fs::read_dir(data.path().join("names")).unwrap().count(), 0);
}

#[test]
fn a_container_keeps_its_name_until_it_has_the_new_one() {
    let data = tempfile::tempdir().unwrap();
    let containers = Containers::new(data.path());
    let (moss, fern) = (Id::random(), Id::random());
    let first = containers.create(&moss, "moss").unwrap();
    let second = containers.create(&fern, "fern").unwrap();
    assert_eq!(containers.rename(&moss, "fern").unwrap_err().kind(), Kind::NameInUse);
    assert_eq!(containers.rename(&moss, "no name").unwrap_err().kind(), Kind::InvalidOption);
    leads_to(data.path(), "moss", &moss);
    containers.rename(&moss, "moss").unwrap();
    containers.rename(&moss, "lichen").unwrap();
    leads_to(data.path(), "lichen", &moss);
    containers.rename(&fern, "moss").unwrap();
    // Whoever holds a container that was renamed meanwhile takes the name away that it has now, and no other.
    first.discard();
    leads_to(data.path(), "moss", &fern);
    assert_eq!(containers.rename(&moss, "gone").unwrap_err().kind(), Kind::NoSuchContainer);
    second.discard();
    assert_eq!(std::fs::read_dir(data.path().join("names")).unwrap().count(), 0);
}

#[test]
fn a_name_that_a_dead_process_left_or_a_power_failure_damaged_is_free() {
    let data = tempfile::tempdir().unwrap();
    let containers = Containers::new(data.path());
    let stale = containers.create(&Id::random(), "stale").unwrap();
    std::fs::remove_dir_all(stale.dir()).unwrap();
    std::fs::write(data.path().join("names/damaged"), "").unwrap();
    for name in ["stale", "damaged"] {
        let id = Id::random();
        let _held = containers.create(&id, name).unwrap();
        leads_to(data.path(), name, &id);
    }
}
