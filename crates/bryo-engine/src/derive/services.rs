// SPDX-License-Identifier: Apache-2.0
//! Services of an image: their accounts, and the groups that are theirs alone.
//!
//! Start scripts and programs name them: `chown -R redis:redis /data`, `setgid` to the group of `named`. Where the run
//! user stands in for root, these names are other names of the user and of its group. What they ask for is then what
//! there is already, which the kernel allows to everybody.

use std::collections::BTreeSet;

use bryo_identity::InsideId;

use crate::users::Accounts;

/// Ids of accounts that belong to services. Source: Debian Policy 9.2.2; others begin at 1000 as well.
pub(super) const IDS: std::ops::Range<u32> = 1..1000;

/// The account of services that have none of their own, and its group.
const NOBODY: u32 = 65534;

/// Groups that no service gets for the run user: they stand for the whole machine, or for everybody.
const POWERFUL: [&str; 11] =
    ["root", "shadow", "sudo", "wheel", "disk", "kmem", "docker", "lxd", "systemd-journal", "adm", "users"];

/// The services, by their ids inside.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// Users.
    pub uids: BTreeSet<u32>,
    /// Groups.
    pub gids: BTreeSet<u32>,
}

impl Services {
    /// Finds them.
    pub fn of(accounts: &Accounts) -> Self {
        let uids: BTreeSet<u32> = accounts.all().map(|it| it.uid.get()).filter(is_service).collect();
        let primary = |own: bool| -> BTreeSet<u32> {
            let whose = accounts.all().filter(|account| uids.contains(&account.uid.get()) == own);
            whose.map(|account| account.gid.get()).collect()
        };
        // One that somebody else begins with as well is not theirs.
        let others = primary(false);
        let powerful = powerful(accounts);
        let is_own = |gid: &u32| {
            let plain = InsideId::new(*gid).is_some_and(|gid| !powerful.contains(&gid));
            is_service(gid) && plain && !others.contains(gid)
        };
        let gids = primary(true).into_iter().filter(is_own).collect();
        Self { uids, gids }
    }
}

impl Services {
    /// Tells whether what belongs to a user is a service's: of one that has an account, or whose id is one of theirs.
    pub fn owns(&self, uid: u32) -> bool {
        self.uids.contains(&uid) || IDS.contains(&uid)
    }
}

fn is_service(id: &u32) -> bool {
    IDS.contains(id) || *id == NOBODY
}

/// Lists the ids of the groups that stand for more than a service.
pub(super) fn powerful(accounts: &Accounts) -> Vec<InsideId> {
    POWERFUL.iter().filter_map(|name| Some(accounts.group_by_name(name)?.gid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_members_decide_whether_it_is_a_services() {
        let passwd = b"root:x:0:0::/:\nwww-data:x:33:33::/:\n_apt:x:100:65534::/:\nvcache:x:102:104::/:\n\
            vlog:x:103:104::/:\nshared:x:104:105::/:\nlog:x:105:4::/:\nnobody:x:65534:65534::/:\nme:x:1000:105::/:\n";
        let accounts = Accounts::parse(passwd, b"root:x:0:\nadm:x:4:\nnogroup:x:65534:\n");
        let found = Services::of(&accounts);
        assert_eq!(found.uids, BTreeSet::from([33, 100, 102, 103, 104, 105, 65534]));
        // Neither that of somebody who is none, nor that of the machine.
        assert_eq!(found.gids, BTreeSet::from([33, 104, 65534]));
    }
}
