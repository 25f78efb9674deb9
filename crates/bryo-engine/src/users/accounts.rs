// SPDX-License-Identifier: Apache-2.0
//! The account files of an image, `passwd` and `group`. Source: `passwd(5)`, `group(5)`.
//!
//! Guarantees: whatever the bytes are, parsing ends in time linear in their number, and what comes out has ids that are
//! ids, names and paths that are text without control characters. A line that is not understood is passed over, as the
//! C library does: one broken line must not lock everybody out.

use std::path::{Component, Path, PathBuf};

use bryo_identity::InsideId;

/// The size in bytes up to which an account file is read.
pub const FILE_MAX: usize = 1 << 20;

/// A line of `passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: InsideId,
    /// Primary group id.
    pub gid: InsideId,
    /// Home directory, absolute; `/` where the line has none.
    pub home: PathBuf,
    /// Login shell, absolute, if the line has one.
    pub shell: Option<PathBuf>,
}

/// A line of `group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Group id.
    pub gid: InsideId,
    /// Names of members.
    pub members: Vec<String>,
}

/// Both files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<Account>,
    groups: Vec<Group>,
}

impl Accounts {
    /// Parses the content of both files.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: lines(passwd).filter_map(account).collect(),
            groups: lines(group).filter_map(parse_group).collect(),
        }
    }

    /// Finds the first account of a name. A name of digits only is never found: digits are ids (CVE-2016-3697).
    pub fn by_name(&self, name: &str) -> Option<&Account> {
        if is_number(name) {
            return None;
        }
        self.users.iter().find(|account| account.name == name)
    }

    /// Lists all accounts.
    pub fn all(&self) -> impl Iterator<Item = &Account> {
        self.users.iter()
    }

    /// Finds the first account of an id.
    pub fn by_uid(&self, uid: InsideId) -> Option<&Account> {
        self.users.iter().find(|account| account.uid == uid)
    }

    /// Finds the first group of a name, with the same exception.
    pub fn group_by_name(&self, name: &str) -> Option<&Group> {
        if is_number(name) {
            return None;
        }
        self.groups.iter().find(|group| group.name == name)
    }

    /// Finds the first group of an id.
    pub fn group_by_gid(&self, gid: InsideId) -> Option<&Group> {
        self.groups.iter().find(|group| group.gid == gid)
    }

    /// Returns the ids of the groups that list a user as a member.
    pub fn groups_of(&self, name: &str) -> Vec<InsideId> {
        let lists = |group: &&Group| group.members.iter().any(|member| member == name);
        self.groups.iter().filter(lists).map(|group| group.gid).collect()
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    let usable = |line: &&str| !line.starts_with('#') && !line.chars().any(char::is_control);
    text.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).filter(usable)
}

fn account(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = name(fields.next()?)?;
    let _password = fields.next()?;
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let _comment = fields.next();
    let home = fields.next().and_then(absolute).unwrap_or_else(|| "/".into());
    Some(Account { name, uid, gid, home, shell: fields.next().and_then(absolute) })
}

fn parse_group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = name(fields.next()?)?;
    let _password = fields.next()?;
    let gid = fields.next()?.parse().ok()?;
    let members = fields.next().unwrap_or_default().split(',').map(str::trim).filter(|m| !m.is_empty());
    Some(Group { name, gid, members: members.map(str::to_owned).collect() })
}

/// Takes a name; `+` and `-` begin lines that mean other sources of accounts (`nsswitch.conf(5)`, "compat").
fn name(text: &str) -> Option<String> {
    (!text.is_empty() && !text.starts_with(['+', '-'])).then(|| text.to_owned())
}

fn absolute(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let plain = path.components().all(|part| !matches!(part, Component::ParentDir));
    (path.is_absolute() && plain).then(|| path.components().collect())
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit())
}
