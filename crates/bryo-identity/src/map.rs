// SPDX-License-Identifier: Apache-2.0
//! Id maps: which id inside is which id on the host. Source: `user_namespaces(7)`.

use std::fmt::Write as _;

use rustix::process::Pid;

use crate::error::{Error, Kind, Result};
use crate::rung::Rung;
use crate::subid::Range;
use crate::{HostId, InsideId};

/// How many ids a container has at most: the range that images are made for.
pub const IDS: u32 = 65536;

/// A run of ids inside and the run of host ids they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The first id inside.
    pub inside: InsideId,
    /// The host id that it is.
    pub host: HostId,
    /// How many follow one another.
    pub count: u32,
}

/// A user, or a group, and its number inside: what a container runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunIds {
    /// The user id inside.
    pub uid: InsideId,
    /// The group id inside.
    pub gid: InsideId,
}

impl RunIds {
    /// The user `nonroot`.
    pub const NONROOT: Self = Self { uid: InsideId::NONROOT, gid: InsideId::NONROOT };
    /// Root inside.
    pub const ROOT: Self = Self { uid: InsideId::ROOT, gid: InsideId::ROOT };
}

/// The host ids of whoever calls bryo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The user id on the host.
    pub uid: HostId,
    /// The group id on the host.
    pub gid: HostId,
}

/// The map of one user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    /// The rung of the ladder this map stands on.
    pub rung: Rung,
    /// User ids.
    pub uids: Vec<Mapping>,
    /// Group ids.
    pub gids: Vec<Mapping>,
    ownership: String,
}

impl IdMap {
    /// Maps ids from 0 on to subordinate ids, so that the run user is among them whatever its number.
    ///
    /// # Errors
    ///
    /// [`Kind::NotMapped`] when the ranges are empty.
    pub fn subordinate(rung: Rung, uids: &[Range], gids: &[Range], run: RunIds) -> Result<Self> {
        let (Some(first_uid), Some(first_gid)) = (uids.first(), gids.first()) else {
            return Err(Error::new(Kind::NotMapped, "no subordinate ids to map"));
        };
        let ids = uids.iter().map(|r| r.count).fold(0, u32::saturating_add).min(IDS);
        let ownership = format!("sub-{}-{}-{ids}", first_uid.start, first_gid.start);
        Ok(Self { rung, uids: spread(uids, run.uid), gids: spread(gids, run.gid), ownership })
    }

    /// Takes a map that was written down. It has no ownership key: it serves to act on files, not to find them.
    pub fn restored(rung: Rung, uids: Vec<Mapping>, gids: Vec<Mapping>) -> Self {
        Self { rung, uids, gids, ownership: String::new() }
    }

    /// Maps every id that a container of the caller can have, to act on files whosever they are: to count and to remove
    /// them. With the caller, that one's own too, which containers have where they share.
    pub fn everything(rung: Rung, uids: &[Range], gids: &[Range], caller: Option<Caller>) -> Self {
        let all = |ranges: &[Range], own: Option<HostId>| {
            let mut next = InsideId::ROOT;
            let own = own.map(|start| Range { start, count: 1 });
            let lay = |range: &Range| {
                let mapping = Mapping { inside: next, host: range.start, count: range.count };
                next = next.offset(range.count)?;
                Some(mapping)
            };
            ranges.iter().chain(&own).map_while(lay).collect()
        };
        let (uids, gids) = (all(uids, caller.map(|c| c.uid)), all(gids, caller.map(|c| c.gid)));
        Self { rung, uids, gids, ownership: String::new() }
    }

    /// Maps one id: the run user is the caller.
    pub fn single(caller: Caller, run: RunIds) -> Self {
        Self {
            rung: Rung::Single,
            uids: vec![Mapping { inside: run.uid, host: caller.uid, count: 1 }],
            gids: vec![Mapping { inside: run.gid, host: caller.gid, count: 1 }],
            ownership: format!("single-{}-{}", caller.uid, caller.gid),
        }
    }

    /// Makes the run user the caller, and leaves everybody else a subordinate id. For shared host directories.
    pub fn sharing(mut self, caller: Caller, run: RunIds) -> Self {
        if self.rung != Rung::Single {
            self.rung = Rung::Sharing;
            self.uids = punch(&self.uids, run.uid, caller.uid);
            self.gids = punch(&self.gids, run.gid, caller.gid);
        }
        self
    }

    /// Returns the map of an id-mapped mount that shows files owned through `self` as if they were owned through
    /// `to`. Source: `mount_setattr(2)`, ID-mapped mounts.
    pub fn translation(&self, to: &Self) -> Self {
        let pairs = |from: &[Mapping], to: &[Mapping]| {
            let pair = |m: &Mapping| {
                let t = to.iter().find(|t| t.inside == m.inside)?;
                // An id as the file system has it is the inside of such a map, and what it is shown as the outside.
                Some(Mapping { inside: InsideId::new(m.host.get())?, host: t.host, count: m.count.min(t.count) })
            };
            from.iter().filter_map(pair).collect()
        };
        Self {
            rung: Rung::Root,
            uids: pairs(&self.uids, &to.uids),
            gids: pairs(&self.gids, &to.gids),
            ownership: self.ownership.clone(),
        }
    }

    /// Maps every id of some ranges from 0 on, and behind them the caller: for a namespace that others are made in, by
    /// the caller and with any of these ids.
    pub fn outer(rung: Rung, uids: &[Range], gids: &[Range], caller: Caller) -> Self {
        Self {
            rung,
            uids: one_after_another(uids, caller.uid),
            gids: one_after_another(gids, caller.gid),
            ownership: String::new(),
        }
    }

    /// Returns the map as it is written from inside a namespace with the map `outer`, where host ids have that one's
    /// numbers; nothing when an id is not in it.
    pub fn seen_from(&self, outer: &Self) -> Option<Self> {
        let (uids, gids) = (seen(&self.uids, &outer.uids)?, seen(&self.gids, &outer.gids)?);
        Some(Self { rung: self.rung, uids, gids, ownership: self.ownership.clone() })
    }

    /// Checks that a process has this map, as this process sees it: another namespace around it may have been made when
    /// the caller had other ids.
    pub(crate) fn verify(&self, pid: Pid) -> Result<()> {
        for (file, mappings) in [("uid_map", &self.uids), ("gid_map", &self.gids)] {
            let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
            let text = std::fs::read_to_string(&path)
                .map_err(|e| Error::new(Kind::MapRefused, format!("cannot read {path}: {e}")))?;
            let numbers = |text: &str| text.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<u32>>();
            if numbers(&text) != numbers(&render(mappings)) {
                let why = format!("the ids that this user may have changed while networks are in use ({file})");
                return Err(Error::new(Kind::MapRefused, why));
            }
        }
        Ok(())
    }

    /// Names the directory that holds files owned through this map. Maps that differ only in the run user share it.
    pub fn ownership_key(&self) -> &str {
        &self.ownership
    }

    /// Tells whether all files belong to one host id, so that ownership inside cannot be kept.
    pub fn is_single(&self) -> bool {
        self.rung == Rung::Single
    }

    /// Returns the id inside that a worker under this map acts as: root, or the only id there is.
    pub fn acting(&self) -> RunIds {
        let first = |maps: &[Mapping]| match host_of(maps, InsideId::ROOT) {
            Some(_) => InsideId::ROOT,
            None => maps.first().map_or(InsideId::ROOT, |m| m.inside),
        };
        RunIds { uid: first(&self.uids), gid: first(&self.gids) }
    }

    /// Returns the user inside that a host id is.
    pub fn inside_uid(&self, host: HostId) -> Option<InsideId> {
        inside_of(&self.uids, host)
    }

    /// Returns the group inside that a host id is.
    pub fn inside_gid(&self, host: HostId) -> Option<InsideId> {
        inside_of(&self.gids, host)
    }

    /// Returns the host id of a user inside.
    pub fn host_uid(&self, inside: InsideId) -> Option<HostId> {
        host_of(&self.uids, inside)
    }

    /// Returns the host id of a group inside.
    pub fn host_gid(&self, inside: InsideId) -> Option<HostId> {
        host_of(&self.gids, inside)
    }
}

/// Renders mappings as the kernel reads them from `/proc/PID/uid_map`.
pub fn render(mappings: &[Mapping]) -> String {
    mappings.iter().fold(String::new(), |mut text, m| {
        let _ = writeln!(text, "{} {} {}", m.inside, m.host, m.count);
        text
    })
}

fn host_of(mappings: &[Mapping], inside: InsideId) -> Option<HostId> {
    mappings.iter().find_map(|m| {
        let n = inside.get().checked_sub(m.inside.get())?;
        if n < m.count { m.host.offset(n) } else { None }
    })
}

fn inside_of(mappings: &[Mapping], host: HostId) -> Option<InsideId> {
    mappings.iter().find_map(|m| {
        let n = host.get().checked_sub(m.host.get())?;
        if n < m.count { m.inside.offset(n) } else { None }
    })
}

/// Lays ids from 0 on over the ranges. A run id beyond them gets a host id of its own: a spare one behind the first
/// 65536 if there is one, so that no file changes its owner, else the last.
fn spread(ranges: &[Range], run: InsideId) -> Vec<Mapping> {
    let mut mappings = Vec::with_capacity(ranges.len() + 1);
    let mut next = 0;
    let mut spare = None;
    for range in ranges {
        let count = range.count.min(IDS - next);
        if count < range.count && spare.is_none() {
            spare = range.start.offset(count);
        }
        if count > 0 {
            // `next` is below 65536, so it is an id.
            let inside = InsideId::ROOT.offset(next).unwrap_or(InsideId::ROOT);
            mappings.push(Mapping { inside, host: range.start, count });
        }
        next += count;
    }
    if run.get() >= next {
        let host = spare.or_else(|| take_last(&mut mappings));
        mappings.extend(host.map(|host| Mapping { inside: run, host, count: 1 }));
    }
    mappings
}

/// Lays all ids of the ranges and one more over the ids from 0 on.
fn one_after_another(ranges: &[Range], last: HostId) -> Vec<Mapping> {
    let mut mappings = Vec::with_capacity(ranges.len() + 1);
    let mut next = Some(InsideId::ROOT);
    for (host, count) in ranges.iter().map(|r| (r.start, r.count)).chain([(last, 1)]) {
        let Some(inside) = next else { break };
        mappings.push(Mapping { inside, host, count });
        next = inside.offset(count);
    }
    mappings
}

/// Replaces host ids by those that they are inside another map.
fn seen(mappings: &[Mapping], outer: &[Mapping]) -> Option<Vec<Mapping>> {
    let mut result = Vec::with_capacity(mappings.len());
    for m in mappings {
        let mut done = 0;
        while done < m.count {
            let host = m.host.offset(done)?;
            let (o, skip) = outer.iter().find_map(|o| {
                let skip = host.get().checked_sub(o.host.get()).filter(|n| *n < o.count)?;
                Some((o, skip))
            })?;
            let count = (m.count - done).min(o.count - skip);
            // In such a map the outside is what the other one has inside.
            let seen = HostId::new(o.inside.offset(skip)?.get())?;
            result.push(Mapping { inside: m.inside.offset(done)?, host: seen, count });
            done += count;
        }
    }
    Some(result)
}

/// Takes the last host id out of the mappings, but never the one that is root inside.
fn take_last(mappings: &mut Vec<Mapping>) -> Option<HostId> {
    let last = mappings.last_mut()?;
    let host = last.host.offset(last.count - 1)?;
    last.count -= 1;
    if last.count == 0 {
        mappings.pop();
    }
    Some(host)
}

/// Replaces the host id of one inside id.
fn punch(mappings: &[Mapping], inside: InsideId, host: HostId) -> Vec<Mapping> {
    let mut result = Vec::with_capacity(mappings.len() + 2);
    for m in mappings {
        let Some(before) = inside.get().checked_sub(m.inside.get()).filter(|n| *n < m.count) else {
            result.push(*m);
            continue;
        };
        let after = m.count - before - 1;
        if before > 0 {
            result.push(Mapping { count: before, ..*m });
        }
        if let (true, Some(i), Some(h)) = (after > 0, inside.offset(1), m.host.offset(before + 1)) {
            result.push(Mapping { inside: i, host: h, count: after });
        }
    }
    result.push(Mapping { inside, host, count: 1 });
    result.sort_by_key(|m| m.inside);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u32, count: u32) -> Range {
        Range { start: HostId::new(start).unwrap(), count }
    }

    fn run(id: u32) -> RunIds {
        let id = InsideId::new(id).unwrap();
        RunIds { uid: id, gid: id }
    }

    fn subordinate(ranges: &[Range], id: u32) -> IdMap {
        IdMap::subordinate(Rung::Subordinate, ranges, ranges, run(id)).unwrap()
    }

    const CALLER: Caller = Caller { uid: HostId::new(1000).unwrap(), gid: HostId::new(1000).unwrap() };

    #[test]
    fn a_full_range_is_one_line() {
        let map = subordinate(&[range(100_000, 65536)], 65532);
        assert_eq!(render(&map.uids), "0 100000 65536\n");
        assert_eq!(map.host_uid(InsideId::NONROOT), HostId::new(165_532));
        assert_eq!(map.host_uid(InsideId::new(65536).unwrap()), None);
        assert_eq!(map.inside_uid(HostId::new(165_532).unwrap()), Some(InsideId::NONROOT));
        assert_eq!(map.inside_uid(HostId::new(165_536).unwrap()), None);
    }

    #[test]
    fn two_ranges_follow_one_another() {
        let map = subordinate(&[range(100_000, 1000), range(300_000, 100_000)], 65532);
        assert_eq!(render(&map.uids), "0 100000 1000\n1000 300000 64536\n");
    }

    #[test]
    fn a_run_user_beyond_the_range_takes_a_spare_id_or_the_last() {
        assert_eq!(render(&subordinate(&[range(100_000, 65536)], 70_000).uids), "0 100000 65535\n70000 165535 1\n");
        assert_eq!(render(&subordinate(&[range(100_000, 65600)], 70_000).uids), "0 100000 65536\n70000 165536 1\n");
        assert_eq!(render(&subordinate(&[range(100_000, 10)], 65532).uids), "0 100000 9\n65532 100009 1\n");
        assert_eq!(render(&subordinate(&[range(100_000, 1)], 65532).uids), "65532 100000 1\n");
    }

    #[test]
    fn sharing_makes_the_run_user_the_caller_and_nobody_else() {
        let map = subordinate(&[range(100_000, 65536)], 65532).sharing(CALLER, run(65532));
        assert_eq!(render(&map.uids), "0 100000 65532\n65532 1000 1\n65533 165533 3\n");
        let map = subordinate(&[range(100_000, 65536)], 0).sharing(CALLER, run(0));
        assert_eq!(render(&map.uids), "0 1000 1\n1 100001 65535\n");
        assert_eq!(map.rung, Rung::Sharing);
    }

    #[test]
    fn everything_has_every_range_and_the_caller_when_asked() {
        let (uids, gids) = ([range(100_000, 65536), range(300_000, 10)], [range(200_000, 5)]);
        let map = IdMap::everything(Rung::Subordinate, &uids, &gids, Some(CALLER));
        assert_eq!(render(&map.uids), "0 100000 65536\n65536 300000 10\n65546 1000 1\n");
        assert_eq!(render(&map.gids), "0 200000 5\n5 1000 1\n");
        assert_eq!(map.acting(), RunIds::ROOT);
        let map = IdMap::everything(Rung::Root, &uids, &gids, None);
        assert_eq!(render(&map.gids), "0 200000 5\n");
    }

    #[test]
    fn the_ownership_key_does_not_depend_on_the_run_user() {
        let ranges = [range(100_000, 65536)];
        assert_eq!(subordinate(&ranges, 5).ownership_key(), subordinate(&ranges, 70_000).ownership_key());
        assert_ne!(subordinate(&ranges, 5).ownership_key(), IdMap::single(CALLER, run(5)).ownership_key());
    }

    #[test]
    fn a_map_is_written_with_the_numbers_of_the_one_around_it() {
        let ranges = [range(100_000, 1000), range(300_000, 100_000)];
        let outer = IdMap::outer(Rung::Subordinate, &ranges, &ranges, CALLER);
        assert_eq!(render(&outer.uids), "0 100000 1000\n1000 300000 100000\n101000 1000 1\n");
        let seen = |map: IdMap| map.seen_from(&outer).map(|seen| render(&seen.uids));
        assert_eq!(seen(subordinate(&ranges, 65532)).unwrap(), "0 0 1000\n1000 1000 64536\n");
        let sharing = subordinate(&ranges, 5).sharing(CALLER, run(5));
        assert_eq!(seen(sharing).unwrap(), "0 0 5\n5 101000 1\n6 6 994\n1000 1000 64536\n");
        // One mapping that the other has in two pieces.
        let across = IdMap::outer(Rung::Subordinate, &[range(10, 5), range(15, 5)], &[range(10, 10)], CALLER);
        assert_eq!(render(&subordinate(&[range(12, 6)], 3).seen_from(&across).unwrap().uids), "0 2 3\n3 5 3\n");
        assert_eq!(seen(subordinate(&[range(7, 10)], 3)), None, "an id that the outer map has not");
    }

    #[test]
    fn a_single_id_is_root_around_its_container() {
        let outer = IdMap::outer(Rung::Single, &[], &[], CALLER);
        assert_eq!(render(&outer.uids), "0 1000 1\n");
        assert_eq!(render(&IdMap::single(CALLER, run(65532)).seen_from(&outer).unwrap().uids), "65532 0 1\n");
    }

    #[test]
    fn the_only_id_acts_on_the_single_rung() {
        assert_eq!(IdMap::single(CALLER, run(65532)).acting(), run(65532));
        assert_eq!(subordinate(&[range(100_000, 65536)], 65532).acting(), RunIds::ROOT);
    }
}
