// SPDX-License-Identifier: Apache-2.0
//! The ledger: counts of what was found, and the worst of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::report::{Category, Example, Reach};

/// How many findings of one kind are kept, to be looked at a second time.
const KEPT: usize = 50_000;

/// Where something was found.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// In the file system.
    Path(PathBuf),
    /// Among the processes.
    Process(i32),
    /// In a list of the kernel.
    Listed,
}

/// One thing that could be reached.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub target: Target,
    pub what: String,
    pub why: &'static str,
    /// How bad it is, 0 to 100.
    pub weight: u8,
    pub everybody: bool,
    pub own: bool,
}

#[derive(Debug, Default)]
struct Bucket {
    count: u64,
    everybody: u64,
    own: u64,
    kept: Vec<Found>,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    buckets: BTreeMap<Reach, Bucket>,
}

impl Ledger {
    pub fn add(&mut self, kind: Reach, found: Found) {
        let bucket = self.buckets.entry(kind).or_default();
        bucket.count += 1;
        bucket.everybody += u64::from(found.everybody);
        bucket.own += u64::from(found.own);
        if bucket.kept.len() >= 2 * KEPT {
            sort(&mut bucket.kept);
            bucket.kept.truncate(KEPT);
        }
        bucket.kept.push(found);
    }

    /// Makes the report, with so many examples of each kind.
    pub fn categories(&mut self, examples: usize) -> Vec<Category> {
        let category = |kind: Reach| {
            let bucket = self.buckets.entry(kind).or_default();
            sort(&mut bucket.kept);
            bucket.kept.truncate(KEPT);
            let example = |found: &Found| Example {
                what: found.what.clone(),
                why: found.why.to_owned(),
                everybody: found.everybody,
                own: found.own,
            };
            Category {
                kind,
                title: kind.title().to_owned(),
                count: bucket.count,
                everybody: bucket.everybody,
                own: bucket.own,
                confined: None,
                worst: bucket.kept.iter().take(examples).map(example).collect(),
            }
        };
        Reach::ALL.into_iter().map(category).collect()
    }

    /// Gives what was kept of one kind away.
    pub fn take(&mut self, kind: Reach) -> Vec<Target> {
        let bucket = self.buckets.remove(&kind).unwrap_or_default();
        bucket.kept.into_iter().map(|found| found.target).collect()
    }
}

/// What not everybody has before what everybody has; of each the worst first.
fn sort(kept: &mut [Found]) {
    kept.sort_by(|a, b| (a.everybody, b.weight, &a.what).cmp(&(b.everybody, a.weight, &b.what)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gained_comes_first_and_counts_are_of_all() {
        let mut ledger = Ledger::default();
        let found = |what: &str, weight, everybody| Found {
            target: Target::Listed,
            what: what.into(),
            why: "",
            weight,
            everybody,
            own: false,
        };
        ledger.add(Reach::Ports, found("b", 10, false));
        ledger.add(Reach::Ports, found("a", 10, true));
        ledger.add(Reach::Ports, found("c", 90, true));
        ledger.add(Reach::Ports, found("d", 50, false));
        let categories = ledger.categories(2);
        let ports = categories.iter().find(|c| c.kind == Reach::Ports).unwrap();
        assert_eq!((ports.count, ports.everybody), (4, 2));
        assert_eq!(ports.worst.iter().map(|e| e.what.as_str()).collect::<Vec<_>>(), ["d", "b"]);
        assert_eq!(categories.len(), Reach::ALL.len());
        assert_eq!(ledger.take(Reach::Ports).len(), 4);
    }
}
