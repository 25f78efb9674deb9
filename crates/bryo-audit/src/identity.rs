// SPDX-License-Identifier: Apache-2.0
//! Whom a user setting makes of a process: one reading for Dockerfiles, images, containers and manifests.
//!
//! Digits are ids and never names; an id is below 4294967295. What engines read differently is ambiguous, and is never
//! taken for harmless: CVE-2024-40635 and its kin are numbers that overflow to 0.

use std::collections::{BTreeMap, BTreeSet};

use crate::bases;

/// The largest account file that is read, in bytes.
pub const ACCOUNTS_MAX: u64 = 4 << 20;

/// One half of a user setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// A number.
    Id(u32),
    /// A name.
    Name(String),
    /// What engines read differently, and why.
    Ambiguous(&'static str),
}

/// A user setting: `user[:group]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// Before the colon.
    pub user: Part,
    /// Behind it.
    pub group: Option<Part>,
}

/// Accounts of an image, or those that a Dockerfile makes.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Ids by name: the user's, and its group's if that is known.
    pub users: BTreeMap<String, (u32, Option<u32>)>,
    /// Group ids by name.
    pub groups: BTreeMap<String, u32>,
    /// The members of groups.
    pub members: Vec<(String, String)>,
    /// Names that are there twice with different ids, or whose line is no line of such a file.
    pub odd: Vec<String>,
    /// Names of accounts that are made with a number that nobody says: never root's.
    pub made: BTreeSet<String>,
    /// Names of which nobody can say what number they have: it was changed to one that is not known, or set twice.
    pub unsure: BTreeSet<String>,
    /// Names whose line was put at the end of the file: where one was there before, that one counts.
    pub appended: BTreeSet<String>,
    /// Whether the file was written to by what cannot be read: no name is certain then.
    pub touched: bool,
}

/// What is known about who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Root.
    Root,
    /// Somebody else.
    NotRoot,
    /// Nobody can say from what is there.
    Unproven,
}

/// Who a process is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Effective {
    /// Whether that is root.
    pub verdict: Verdict,
    /// The user's id inside.
    pub uid: Option<u32>,
    /// The primary group's id inside.
    pub gid: Option<u32>,
    /// The names of further groups.
    pub groups: Vec<String>,
}

impl Part {
    fn parse(text: &str) -> Self {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits {
            return match text.parse::<u32>() {
                Ok(id) if id != u32::MAX && text.len() <= 10 => Self::Id(id),
                _ => Self::Ambiguous("the number is too large, and may become 0"),
            };
        }
        let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
        if rest.len() < text.len() && rest.bytes().all(|b| b.is_ascii_digit()) {
            return Self::Ambiguous("a number with a sign");
        }
        if text.starts_with("0x") && text[2..].bytes().all(|b| b.is_ascii_hexdigit()) {
            return Self::Ambiguous("a number in another base");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@');
        let body = text.strip_suffix('$').unwrap_or(text);
        let first = body.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        if first && body.chars().all(plain) && text.len() <= 64 {
            return Self::Name(text.to_owned());
        }
        Self::Ambiguous("no number and no portable name")
    }
}

impl User {
    /// Reads a setting; nothing for an empty one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (text, None),
        };
        if user.is_empty() && group.is_none() {
            return None;
        }
        // Without a user it is root's.
        let user = if user.is_empty() { Part::Id(0) } else { Part::parse(user) };
        Some(Self { user, group: group.map(Part::parse) })
    }

    /// Returns why engines do not agree on it.
    pub fn ambiguity(&self) -> Option<&'static str> {
        [Some(&self.user), self.group.as_ref()].into_iter().flatten().find_map(|part| match part {
            Part::Ambiguous(why) => Some(*why),
            _ => None,
        })
    }

    /// Tells whom it makes of a process. With `complete` the accounts are all there are.
    pub fn effective(&self, accounts: &Accounts, complete: bool) -> Effective {
        let known = match &self.user {
            Part::Id(id) => accounts.users.iter().find(|(_, (uid, _))| uid == id),
            Part::Name(name) => accounts.users.get_key_value(name),
            Part::Ambiguous(_) => None,
        };
        let uid = match &self.user {
            Part::Id(id) => Some(*id),
            Part::Name(name) => known.map(|(_, (uid, _))| *uid).or((name == "root").then_some(0)),
            Part::Ambiguous(_) => None,
        };
        let unsure = matches!(&self.user, Part::Name(name) if accounts.touched || accounts.unsure.contains(name));
        let uid = uid.filter(|uid| *uid == 0 || !unsure);
        let gid = match &self.group {
            Some(Part::Id(id)) => Some(*id),
            Some(Part::Name(name)) => accounts.groups.get(name).copied().or((name == "root").then_some(0)),
            Some(Part::Ambiguous(_)) => None,
            None => match known {
                Some((_, (_, gid))) => *gid,
                // A number without an account has root's group.
                None if matches!(self.user, Part::Id(_)) && (complete || uid == Some(0)) => Some(0),
                None => None,
            },
        };
        let verdict = match (&self.user, uid) {
            (_, Some(0)) => Verdict::Root,
            (_, Some(_)) => Verdict::NotRoot,
            (Part::Name(name), None) if !unsure && accounts.made.contains(name) => Verdict::NotRoot,
            // A name that nobody is known to have made may be root's.
            _ => Verdict::Unproven,
        };
        let groups = known.map(|(name, _)| {
            let own = accounts.members.iter().filter(|(_, member)| member == name);
            own.map(|(group, _)| group.clone()).collect()
        });
        Effective { verdict, uid, gid, groups: groups.unwrap_or_default() }
    }

    /// Tells whom it makes of a process of an image: by the image's own accounts where they are at hand, by those that are
    /// made above it, and by what is known of the image and of names that every system has.
    pub fn resolved(&self, image: &str, base: Option<&Accounts>, made: &Accounts) -> Effective {
        let mut accounts = base.cloned().unwrap_or_default();
        accounts.add(made);
        let mut who = self.effective(&accounts, base.is_some() && !accounts.touched);
        if let Part::Name(name) = &self.user
            && who.verdict == Verdict::Unproven
            && base.is_none()
            && !accounts.touched
            && !accounts.unsure.contains(name)
            && bases::has_account(image, name)
        {
            who.verdict = Verdict::NotRoot;
        }
        who
    }
}

impl Accounts {
    /// Adds those that were made later.
    pub fn add(&mut self, later: &Self) {
        let other = |name: &&String| {
            let before = self.users.get(*name).map(|(uid, _)| *uid);
            before.is_some() && before != later.users.get(*name).map(|(uid, _)| *uid)
        };
        let twice: Vec<String> = later.appended.iter().filter(other).cloned().collect();
        self.unsure.retain(|name| !later.users.contains_key(name));
        self.unsure.extend(twice);
        self.unsure.extend(later.unsure.iter().cloned());
        self.appended.extend(later.appended.iter().cloned());
        self.users.extend(later.users.iter().map(|(name, ids)| (name.clone(), *ids)));
        self.groups.extend(later.groups.iter().map(|(name, id)| (name.clone(), *id)));
        self.members.extend(later.members.iter().cloned());
        self.made.extend(later.made.iter().cloned());
        self.touched |= later.touched;
    }

    /// Reads `passwd` and `group` files, whatever is in them.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let mut accounts = Self::default();
        for line in String::from_utf8_lossy(passwd).lines().take(100_000) {
            let fields: Vec<&str> = line.split(':').collect();
            let (Some(name), Some(uid)) = (fields.first(), fields.get(2).and_then(|id| id.parse().ok())) else {
                if !line.trim().is_empty() && !line.starts_with('#') {
                    accounts.odd.push(line.chars().take(40).collect());
                }
                continue;
            };
            let gid = fields.get(3).and_then(|id| id.parse().ok());
            // The first line of a name counts, for all who read such files.
            match accounts.users.get(*name) {
                Some((known, _)) if *known != uid => accounts.odd.push((*name).to_owned()),
                Some(_) => {}
                None => drop(accounts.users.insert((*name).to_owned(), (uid, gid))),
            }
        }
        for line in String::from_utf8_lossy(group).lines().take(100_000) {
            let fields: Vec<&str> = line.split(':').collect();
            let (Some(name), Some(gid)) = (fields.first(), fields.get(2).and_then(|id| id.parse().ok())) else {
                continue;
            };
            accounts.groups.entry((*name).to_owned()).or_insert(gid);
            for member in fields.get(3).unwrap_or(&"").split(',').filter(|member| !member.is_empty()) {
                accounts.members.push(((*name).to_owned(), member.to_owned()));
            }
        }
        accounts
    }
}

/// Groups whose members have root's power, or nearly.
pub const POWERFUL_GROUPS: [&str; 8] = ["root", "docker", "disk", "sudo", "wheel", "shadow", "kmem", "podman"];

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Verdict {
        let accounts = Accounts::parse(b"root:x:0:0::/:\nalias:x:0:0::/:\napp:x:1000:1000::/:\n", b"root:x:0:\n");
        User::parse(text).map_or(Verdict::Root, |user| user.effective(&accounts, true).verdict)
    }

    #[test]
    fn every_writing_of_root_is_root() {
        for text in ["", "root", "0", "00", "0:0", "0:1000", "root:app", "alias", " 0 ", ":5", "alias:1000"] {
            assert_eq!(verdict(text), Verdict::Root, "{text:?}");
        }
        for text in ["1000", "app", "1000:0", "app:root", "4294967294"] {
            assert_eq!(verdict(text), Verdict::NotRoot, "{text:?}");
        }
        for text in ["+0", "-1", "4294967295", "4294967296", "18446744073709551616", "0x0", "a b", "nobody2", "é"] {
            assert_eq!(verdict(text), Verdict::Unproven, "{text:?}");
        }
    }

    #[test]
    fn a_number_without_an_account_has_the_group_of_root() {
        let accounts = Accounts::parse(b"app:x:1000:1000::/:\n", b"docker:x:5:app\nstaff:x:50:\n");
        let gid = |text| User::parse(text).and_then(|user| user.effective(&accounts, true).gid);
        assert_eq!(gid("5000"), Some(0));
        assert_eq!(gid("1000"), Some(1000));
        assert_eq!(gid("5000:staff"), Some(50));
        assert_eq!(User::parse("app").unwrap().effective(&accounts, true).groups, ["docker"]);
    }

    #[test]
    fn account_files_may_be_anything() {
        for text in [&b""[..], b":::", b"\xff\xfe:x:0:0\n", b"a:b:c:d\n", &[b':'; 10_000]] {
            Accounts::parse(text, text);
        }
        let twice = Accounts::parse(b"a:x:1:1\na:x:0:0\n", b"");
        assert_eq!((twice.users["a"].0, twice.odd.len()), (1, 1));
    }

    #[test]
    fn a_name_counts_for_what_is_known_of_it() {
        let who = |text: &str, image: &str, base: Option<&Accounts>, made: &Accounts| {
            User::parse(text).unwrap().resolved(image, base, made).verdict
        };
        let none = Accounts::default();
        let made = Accounts { made: ["app".to_owned()].into(), ..Accounts::default() };
        let touched = Accounts { touched: true, ..Accounts::default() };
        let base = Accounts::parse(b"root:x:0:0::/:\napp:x:0:0::/:\nweb:x:5:5::/:\n", b"");
        let unread = Accounts { touched: true, ..made.clone() };
        let unsure = Accounts { unsure: ["web".to_owned()].into(), ..Accounts::default() };
        let twice = Accounts { appended: ["web".to_owned()].into(), ..Accounts::parse(b"web:x:6:6::/:\n", b"") };
        for (text, image, base, made, expected) in [
            ("app", "a", None, &none, Verdict::Unproven),
            ("app", "a", None, &made, Verdict::NotRoot),
            ("app", "a", Some(&base), &none, Verdict::Root),
            ("web", "a", Some(&base), &none, Verdict::NotRoot),
            ("nobody", "a", Some(&base), &none, Verdict::Unproven),
            ("nobody", "a", None, &none, Verdict::NotRoot),
            ("nobody", "a", None, &touched, Verdict::Unproven),
            ("node", "docker.io/library/node:22-alpine", None, &none, Verdict::NotRoot),
            ("node", "evil.example/node:22", None, &none, Verdict::Unproven),
            ("5", "a", None, &touched, Verdict::NotRoot),
            ("web", "a", Some(&base), &touched, Verdict::Unproven),
            ("app", "a", Some(&base), &touched, Verdict::Root),
            ("app", "a", None, &unread, Verdict::Unproven),
            ("web", "a", Some(&base), &unsure, Verdict::Unproven),
            ("web", "a", Some(&base), &twice, Verdict::Unproven),
            ("web", "a", None, &twice, Verdict::NotRoot),
        ] {
            assert_eq!(who(text, image, base, made), expected, "{text} on {image}");
        }
    }
}
