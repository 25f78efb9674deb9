// SPDX-License-Identifier: Apache-2.0
//! Services of an image: the accounts that its packages made for them, and the groups that are theirs alone.
//!
//! Start scripts and programs name them: `chown -R redis:redis /data`, `setgid` to the group of `named`. Where the run
//! user stands in for root, these names are other names of the user and of its group. What they ask for is then what
//! there is already, which the kernel allows to everybody.

use std::collections::BTreeSet;

use bryo_identity::InsideId;

use crate::users::Accounts;

/// Ids of accounts that belong to services. Source: Debian Policy 9.2.2; others begin at 1000 as well.
pub(super) const IDS: std::ops::Range<u32> = 1..1000;

/// Those of them that a package gets when it is installed, so that whoever has one is a service.
const INSTALLED: std::ops::Range<u32> = 100..1000;

/// Groups that no service gets for the run user: they stand for the whole machine, or for everybody.
const POWERFUL: [&str; 12] =
    ["root", "shadow", "sudo", "wheel", "disk", "kmem", "docker", "lxd", "systemd-journal", "adm", "users", "nogroup"];

/// The services, by their ids inside.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// Users.
    pub uids: BTreeSet<u32>,
    /// Groups.
    pub gids: BTreeSet<u32>,
}

impl Services {
    /// Finds them: accounts that a package got when it was installed, and those that own state.
    pub fn of(accounts: &Accounts, owners: &BTreeSet<u32>) -> Self {
        let installed = accounts.all().map(|account| account.uid.get()).filter(|uid| INSTALLED.contains(uid));
        let uids: BTreeSet<u32> = owners.iter().copied().chain(installed).filter(|uid| IDS.contains(uid)).collect();
        let primary = |own: bool| -> BTreeSet<u32> {
            let whose = accounts.all().filter(|account| uids.contains(&account.uid.get()) == own);
            whose.map(|account| account.gid.get()).collect()
        };
        // One that somebody else begins with as well is not theirs.
        let others = primary(false);
        let powerful = powerful(accounts);
        let is_own = |gid: &u32| {
            let plain = InsideId::new(*gid).is_some_and(|gid| !powerful.contains(&gid));
            IDS.contains(gid) && plain && !others.contains(gid)
        };
        let gids = primary(true).into_iter().filter(is_own).collect();
        Self { uids, gids }
    }
}

/// Lists the ids of the groups that stand for more than a service.
pub(super) fn powerful(accounts: &Accounts) -> Vec<InsideId> {
    POWERFUL.iter().filter_map(|name| Some(accounts.group_by_name(name)?.gid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_whoever_owns_state_or_came_with_a_package() {
        let passwd = b"root:x:0:0::/:\nman:x:6:12::/:\nwww-data:x:33:33::/:\nlist:x:38:38::/:\n_apt:x:100:65534::/:\n\
            bind:x:101:103::/:\nvcache:x:102:104::/:\nvlog:x:103:104::/:\nmail:x:8:105::/:\nshared:x:104:105::/:\n\
            log:x:105:4::/:\nme:x:1000:106::/:\n";
        let accounts = Accounts::parse(passwd, b"root:x:0:\nadm:x:4:\nnogroup:x:65534:\n");
        let found = Services::of(&accounts, &BTreeSet::from([0, 33, 1000]));
        assert_eq!(found.uids, BTreeSet::from([33, 100, 101, 102, 103, 104, 105]));
        // Not that of somebody who is none, not that of everybody, not that of the machine.
        assert_eq!(found.gids, BTreeSet::from([33, 103, 104]));
    }
}
