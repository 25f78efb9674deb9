// SPDX-License-Identifier: Apache-2.0
//! Subordinate ids: which host ids the system has handed to a user. Source: `subuid(5)`, `subgid(5)`.

use crate::{HostId, InsideId};

/// A run of host ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id.
    pub start: HostId,
    /// How many there are.
    pub count: u32,
}

/// The users and ids that a line of `/etc/subuid` can name its owner by.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The login name, if the user has one.
    pub name: Option<&'a str>,
    /// The user id on the host. Lines of `/etc/subgid` are by user, too.
    pub uid: HostId,
}

/// Reads the ranges of one owner from the text of `/etc/subuid` or `/etc/subgid`.
///
/// Lines that do not parse are passed over, as the helpers do. Ranges that contain root or one of the caller's `own` ids
/// (users for the one file, groups for the other) are dropped: the one rule of this crate is that such an id is never in
/// a map by accident.
pub fn ranges(text: &str, owner: Owner<'_>, own: &[HostId]) -> Vec<Range> {
    text.lines().filter_map(|line| parse_line(line, owner, own)).collect()
}

fn parse_line(line: &str, owner: Owner<'_>, own: &[HostId]) -> Option<Range> {
    let mut fields = line.trim().split(':');
    let (who, start, count) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let by_name = owner.name == Some(who);
    let by_id = who.parse::<HostId>().is_ok_and(|id| id == owner.uid);
    let (start, count) = (start.parse::<HostId>().ok()?, count.parse::<InsideId>().ok()?.get());
    let last = start.offset(count.checked_sub(1)?)?;
    let harmless = start > HostId::ROOT && !own.iter().any(|id| (start..=last).contains(id));
    ((by_name || by_id) && harmless).then_some(Range { start, count })
}

/// Finds the login name of a host user in the text of `/etc/passwd`.
pub fn login_name(passwd: &str, uid: HostId) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<(u32, u32)> {
        let owner = Owner { name: Some("alice"), uid: HostId::new(1000).unwrap() };
        ranges(text, owner, &[owner.uid]).iter().map(|r| (r.start.get(), r.count)).collect()
    }

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        assert_eq!(of("bob:1:5\nalice:100000:65536\n1000:300000:10\n"), [(100_000, 65536), (300_000, 10)]);
    }

    #[test]
    fn lines_that_would_map_root_the_owner_or_nothing_are_dropped() {
        for line in [
            "alice:0:10",
            "alice:900:200",
            "alice:1000:1",
            "alice:5:0",
            "alice:4294967290:10",
            "alice:1",
            "alice:1:2:3",
            "alice:x:1",
        ] {
            assert_eq!(of(line), [], "{line}");
        }
    }

    #[test]
    fn ranges_with_any_of_the_callers_groups_are_dropped() {
        let id = |n| HostId::new(n).unwrap();
        let owner = Owner { name: Some("alice"), uid: id(1000) };
        let text = "alice:100000:65536\nalice:300000:65536\nalice:900:200\n";
        let starts = |own: &[HostId]| -> Vec<u32> { ranges(text, owner, own).iter().map(|r| r.start.get()).collect() };
        // A directory service may hand out groups like these.
        assert_eq!(starts(&[id(100_513), id(20)]), [300_000, 900]);
        assert_eq!(starts(&[id(165_536), id(365_535)]), [100_000, 900]);
        // The user's number is no group's.
        assert_eq!(starts(&[id(20)]), [100_000, 300_000, 900]);
    }

    #[test]
    fn the_login_name_is_the_first_with_the_id() {
        let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(login_name(passwd, HostId::new(1000).unwrap()), Some("alice"));
        assert_eq!(login_name(passwd, HostId::new(1001).unwrap()), None);
    }
}
