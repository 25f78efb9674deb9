// SPDX-License-Identifier: Apache-2.0
//! The ladder: how a host lets this caller have ids of its own.

use std::fmt;
use std::path::Path;

use crate::HostId;
use crate::error::{Error, Kind, Result};
use crate::map::{Caller, IDS, IdMap, RunIds};
use crate::subid::{self, Owner, Range};
use crate::write::Helpers;

/// A rung of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// All ids are subordinate ids; the caller is not in the map.
    Subordinate,
    /// As `Subordinate`, but the run user is the caller, for shared host directories.
    Sharing,
    /// One id is mapped: the run user is the caller. An escapee would be the caller.
    Single,
    /// Invoked by root of the host, with a range that nobody else uses; root of the host is not in the map.
    Root,
}

impl Rung {
    /// Returns the word for this rung in records and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subordinate => "subordinate",
            Self::Sharing => "sharing",
            Self::Single => "single",
            Self::Root => "root",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The first host id of the range that root's containers use where `/etc/subuid` names none for `bryo` or `root`.
///
/// It lies above what `useradd` hands out (100000 to 600100000) and what systemd reserves for `nspawn` (0x80000 to
/// 0x6fffffff), and below 2^31, which some file systems and programs cannot count past.
pub const ROOT_BASE: u32 = 0x7000_0000;

/// How many containers of root can have a range of their own at one time, apart from the one that owns the store.
pub const ROOT_SLOTS: u32 = 3000;

/// What this host gives to the caller.
#[derive(Debug, Clone)]
pub struct Host {
    /// Who calls.
    pub caller: Caller,
    /// The caller's subordinate user ids.
    pub uids: Vec<Range>,
    /// The caller's subordinate group ids.
    pub gids: Vec<Range>,
    /// The helpers that write maps, if they are installed.
    pub helpers: Option<Helpers>,
}

impl Host {
    /// Looks at this host: who calls, which ranges it has, which helpers there are.
    pub fn probe() -> Self {
        let caller =
            Caller { uid: own(rustix::process::geteuid().as_raw()), gid: own(rustix::process::getegid().as_raw()) };
        if caller.uid == HostId::ROOT {
            return Self { caller, uids: root_ranges("/etc/subuid"), gids: root_ranges("/etc/subgid"), helpers: None };
        }
        let helpers = Helpers::find();
        let subuid = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
        let subgid = std::fs::read_to_string("/etc/subgid").unwrap_or_default();
        if helpers.is_none() || (subuid.is_empty() && subgid.is_empty()) {
            return Self { caller, uids: Vec::new(), gids: Vec::new(), helpers };
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let owner = Owner { name: subid::login_name(&passwd, caller.uid), uid: caller.uid };
        let uids = subid::ranges(&subuid, owner, &[caller.uid]);
        Self { caller, uids, gids: subid::ranges(&subgid, owner, &own_groups(caller)), helpers }
    }

    /// Tells which rung this host has for the caller.
    pub fn rung(&self) -> Rung {
        if self.caller.uid == HostId::ROOT {
            Rung::Root
        } else if self.helpers.is_some() && !self.uids.is_empty() && !self.gids.is_empty() {
            Rung::Subordinate
        } else {
            Rung::Single
        }
    }

    /// Makes the map for a run user on a rung; on the root rung, that of slot 0, which owns the store.
    ///
    /// # Errors
    ///
    /// [`Kind::NotMapped`] when the rung asks for ids that this host does not give.
    pub fn map(&self, rung: Rung, run: RunIds) -> Result<IdMap> {
        match rung {
            Rung::Subordinate => IdMap::subordinate(rung, &self.uids, &self.gids, run),
            Rung::Sharing if self.rung() == Rung::Single => Ok(IdMap::single(self.caller, run)),
            Rung::Sharing => Ok(self.map(self.rung(), run)?.sharing(self.caller, run)),
            Rung::Single => Ok(IdMap::single(self.caller, run)),
            Rung::Root => self.slot(0, run),
        }
    }

    /// Makes the map in which everything that containers of the caller have written has an owner. What they wrote as the
    /// caller has one only where `own` says so; never on the root rung, whose containers cannot share.
    pub fn everything(&self, own: bool) -> IdMap {
        match self.rung() {
            Rung::Single => IdMap::single(self.caller, RunIds::NONROOT),
            rung => {
                let caller = (own && rung != Rung::Root).then_some(self.caller);
                IdMap::everything(rung, &self.uids, &self.gids, caller)
            }
        }
    }

    /// Makes the map of a slot: one of the ranges that containers of root have each to themselves.
    ///
    /// # Errors
    ///
    /// [`Kind::NotMapped`] when there is no such slot.
    pub fn slot(&self, slot: u32, run: RunIds) -> Result<IdMap> {
        let part = |ranges: &[Range]| {
            let range = ranges.first()?;
            let skip = slot.checked_mul(IDS)?;
            let count = range.count.checked_sub(skip).filter(|n| *n >= IDS || (slot == 0 && *n > 0))?;
            Some([Range { start: range.start.offset(skip)?, count: count.min(IDS) }])
        };
        let (Some(uids), Some(gids)) = (part(&self.uids), part(&self.gids)) else {
            return Err(Error::new(Kind::NotMapped, format!("no range of ids is left for container range {slot}")));
        };
        IdMap::subordinate(Rung::Root, &uids, &gids, run)
    }

    /// Makes the map of a namespace in which the caller makes those of containers: all ids that they may have, and the
    /// caller's own, without which nobody may make one there.
    pub fn outer(&self) -> IdMap {
        match self.rung() {
            Rung::Single => IdMap::outer(Rung::Single, &[], &[], self.caller),
            rung => IdMap::outer(rung, &self.uids, &self.gids, self.caller),
        }
    }

    /// Returns how many slots there are, the store's own included.
    pub fn slots(&self) -> u32 {
        let of = |ranges: &[Range]| ranges.first().map_or(0, |r| (r.count / IDS).max(1));
        of(&self.uids).min(of(&self.gids))
    }
}

/// Finds the range of root's containers: that of the name `bryo`, else of `root`, else the documented default.
fn root_ranges(file: &str) -> Vec<Range> {
    let text = std::fs::read_to_string(Path::new(file)).unwrap_or_default();
    for name in ["bryo", "root"] {
        let ranges = subid::ranges(&text, Owner { name: Some(name), uid: HostId::ROOT }, &[HostId::ROOT]);
        // One slot owns the store; a range that has no second one could not keep containers apart.
        let enough = ranges.into_iter().filter(|r| r.count >= 2 * IDS);
        if let Some(first) = enough.max_by_key(|r| r.count) {
            return vec![first];
        }
    }
    let default = HostId::new(ROOT_BASE).map(|start| Range { start, count: IDS * ROOT_SLOTS });
    default.into_iter().collect()
}

/// Returns all groups of the caller: a container that had one of them would have what they may.
fn own_groups(caller: Caller) -> Vec<HostId> {
    let groups = rustix::process::getgroups().unwrap_or_default();
    groups.into_iter().map(|gid| own(gid.as_raw())).chain([caller.gid]).collect()
}

/// An id the kernel reported is never 2^32-1.
fn own(id: u32) -> HostId {
    HostId::new(id).unwrap_or(HostId::ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_root_do_not_overlap() {
        let range = Range { start: HostId::new(ROOT_BASE).unwrap(), count: IDS * ROOT_SLOTS };
        let caller = Caller { uid: HostId::ROOT, gid: HostId::ROOT };
        let host = Host { caller, uids: vec![range], gids: vec![range], helpers: None };
        assert_eq!(host.slots(), ROOT_SLOTS);
        let first = host.slot(0, RunIds::NONROOT).unwrap();
        let second = host.slot(1, RunIds::NONROOT).unwrap();
        assert_eq!(second.uids[0].host, first.uids[0].host.offset(IDS).unwrap());
        assert!(host.slot(ROOT_SLOTS, RunIds::NONROOT).is_err());
        assert!(range.start.offset(range.count).unwrap().get() < 0x7ffe_0000, "systemd's foreign range begins there");
    }
}
