// SPDX-License-Identifier: Apache-2.0
//! Who a container runs as: the choice between what the caller says, what the image says, and `nonroot`.
//!
//! Guarantees: digits are ids and never names (CVE-2016-3697), ids are below 2^32-1, and nobody becomes root inside
//! unless the word or the number was given. Faces account files of an image, in which every line may be a lie.

mod accounts;

use std::path::PathBuf;

use bryo_identity::InsideId;
use bryo_identity::map::RunIds;

pub use accounts::{Account, Accounts, FILE_MAX, Group};

use crate::error::{Error, Kind, Result};

/// The name of the user that containers run as when nobody says otherwise.
pub const NONROOT: &str = "nonroot";

/// A user or a group, by number or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A number inside.
    Id(InsideId),
    /// A name in the image's account files.
    Name(String),
}

impl Who {
    fn parse(text: &str, whole: &str) -> Result<Self> {
        let invalid = |why: &str| Err(Error::new(Kind::InvalidOption, format!("user {whole:?}: {why}")));
        if text.is_empty() {
            return invalid("write NAME, UID, NAME:GROUP or UID:GID");
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            let id = text.parse();
            return id.map(Self::Id).or_else(|_| invalid("ids are numbers from 0 to 4294967294"));
        }
        if text.len() > 256 || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == ':') {
            return invalid("this is no name of a user or group");
        }
        Ok(Self::Name(text.into()))
    }
}

/// `name|uid[:group|gid]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSpec {
    /// The user.
    pub user: Who,
    /// The group, if one was given.
    pub group: Option<Who>,
}

impl UserSpec {
    /// Parses a user as Docker writes one, but strictly.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for empty parts, numbers that are no ids, and names with blanks or control characters.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None => Ok(Self { user: Who::parse(text, text)?, group: None }),
            Some((user, group)) => Ok(Self { user: Who::parse(user, text)?, group: Some(Who::parse(group, text)?) }),
        }
    }

    /// Tells whether this is root before any file is looked at.
    fn is_root(&self) -> bool {
        self.user == Who::Id(InsideId::ROOT) || self.user == Who::Name("root".into())
    }
}

/// Where the word about the user came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Caller,
    Image,
}

/// Which user is wanted, before it is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    spec: Option<UserSpec>,
    origin: Origin,
    image_is_root: bool,
}

impl Wanted {
    /// Decides: what the caller says; else the image's user unless that is root or nothing; else `nonroot`. With
    /// `default_user_image` the image's word stands even then, as Docker has it.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for what is no user.
    pub fn decide(caller: Option<&str>, image: Option<&str>, default_user_image: bool) -> Result<Self> {
        let image = image.map(str::trim).filter(|text| !text.is_empty());
        // The image's word does not matter once there is another, so it may be wrong then.
        let parsed = image.map(UserSpec::parse).transpose();
        let image_is_root = matches!(&parsed, Ok(spec) if spec.as_ref().is_none_or(UserSpec::is_root));
        if let Some(text) = caller {
            let spec = UserSpec::parse(text)?;
            let plain = spec.group.is_none() && spec.user == Who::Name(NONROOT.into());
            return Ok(Self { spec: (!plain).then_some(spec), origin: Origin::Caller, image_is_root });
        }
        let spec = parsed.map_err(|e| Error::new(e.kind(), format!("the image's {e}; say another one with --user")))?;
        let root = UserSpec { user: Who::Id(InsideId::ROOT), group: None };
        let spec = match spec {
            None if default_user_image => Some(root),
            None => None,
            Some(spec) if spec.is_root() && !default_user_image => None,
            Some(spec) => Some(spec),
        };
        Ok(Self { spec, origin: Origin::Image, image_is_root })
    }

    /// Tells whether a group was given with the user: then it has no others but those that are asked for.
    pub fn names_group(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.group.is_some())
    }

    /// Tells whether the image itself asks for root.
    pub fn image_is_root(&self) -> bool {
        self.image_is_root
    }

    /// Returns the ids as far as they are known before the image is looked at, so that a map can be made that has
    /// them: numbers are what they are, and names are expected among the ids that every map has.
    pub fn expected(&self) -> RunIds {
        let Some(UserSpec { user: Who::Id(uid), group }) = &self.spec else { return RunIds::NONROOT };
        let gid = match group {
            Some(Who::Id(gid)) => *gid,
            _ => *uid,
        };
        RunIds { uid: *uid, gid }
    }
}

/// A user that was found, or made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: InsideId,
    /// Primary group id.
    pub gid: InsideId,
    /// Supplementary group ids, without the primary one.
    pub groups: Vec<InsideId>,
    /// Name.
    pub name: String,
    /// Home directory, absolute.
    pub home: PathBuf,
    /// Login shell, if the account has one.
    pub shell: Option<PathBuf>,
    /// Stands in for the root that the image expects, and so needs what that root would own.
    pub replaces_root: bool,
}

/// Looks the wanted user up.
///
/// Supplementary groups come from the group file when the user has an account and no group was given, as with Docker,
/// and from `more`. A number without an account is made up: its group has the same number. Docker would say 0, which
/// gives a user nobody knows whatever is meant for the group of root; that must not happen to somebody who asked for
/// *less*. Only where the *image* names a number without an account, group 0 is added as a supplementary group:
/// images made that way (OpenShift's guidelines) give that group the directories they write to.
///
/// # Errors
///
/// [`Kind::UnknownUser`] for names that the image does not have, [`Kind::InvalidOption`] for what is no group.
pub fn resolve(wanted: &Wanted, more: &[String], accounts: &Accounts) -> Result<User> {
    let mut user = match &wanted.spec {
        None => nonroot(wanted, accounts),
        Some(spec) => {
            let user = lookup(spec, wanted.origin, accounts)?;
            // A name of the image that turns out to be root is root all the same, and nobody asked for it.
            if user.uid == InsideId::ROOT && !spec.is_root() && wanted.origin == Origin::Image {
                nonroot(&Wanted { image_is_root: true, ..wanted.clone() }, accounts)
            } else {
                // What the image keeps for its root is no use to the one whom the caller puts there.
                let replaces_root =
                    wanted.origin == Origin::Caller && wanted.image_is_root && user.uid != InsideId::ROOT;
                User { replaces_root, ..user }
            }
        }
    };
    for text in more {
        user.groups.push(group(&Who::parse(text, text)?, accounts)?);
    }
    user.groups.sort_unstable();
    user.groups.dedup();
    user.groups.retain(|gid| *gid != user.gid);
    Ok(user)
}

fn nonroot(wanted: &Wanted, accounts: &Accounts) -> User {
    let replaces_root = wanted.image_is_root;
    // An account of that name that is root would make root the default.
    let own = accounts.by_name(NONROOT).filter(|account| account.uid != InsideId::ROOT);
    match own.or_else(|| accounts.by_uid(InsideId::NONROOT)) {
        Some(account) => User { replaces_root, ..of(account, accounts) },
        None => User { replaces_root, ..made_up(InsideId::NONROOT, InsideId::NONROOT, accounts) },
    }
}

fn lookup(spec: &UserSpec, origin: Origin, accounts: &Accounts) -> Result<User> {
    let given = spec.group.as_ref().map(|who| group(who, accounts)).transpose()?;
    let account = match &spec.user {
        // Root is a number everywhere, whatever the file says about its name.
        _ if spec.is_root() => accounts.by_uid(InsideId::ROOT),
        Who::Id(uid) => accounts.by_uid(*uid),
        Who::Name(name) => Some(accounts.by_name(name).ok_or_else(|| unknown("user", name))?),
    };
    let mut user = match (account, &spec.user) {
        (Some(account), _) => of(account, accounts),
        (None, Who::Id(uid)) => {
            let mut user = made_up(*uid, *uid, accounts);
            if origin == Origin::Image {
                user.groups.push(InsideId::ROOT);
            }
            user
        }
        (None, Who::Name(_)) => made_up(InsideId::ROOT, InsideId::ROOT, accounts),
    };
    if let Some(gid) = given {
        user.gid = gid;
        user.groups.clear();
    }
    Ok(user)
}

fn of(account: &Account, accounts: &Accounts) -> User {
    User {
        uid: account.uid,
        gid: account.gid,
        groups: accounts.groups_of(&account.name),
        name: account.name.clone(),
        home: account.home.clone(),
        shell: account.shell.clone(),
        replaces_root: false,
    }
}

fn made_up(uid: InsideId, gid: InsideId, accounts: &Accounts) -> User {
    let mut name = match uid {
        InsideId::ROOT => "root".to_owned(),
        InsideId::NONROOT => NONROOT.to_owned(),
        uid => format!("user{uid}"),
    };
    // Somebody else's name would make two users one for every program that looks at names. Each turn of the loop
    // passes one account, of which there is a limited number.
    while accounts.by_name(&name).is_some() {
        name.push('_');
    }
    let home = if uid == InsideId::ROOT { "/root".into() } else { PathBuf::from("/home").join(&name) };
    User { uid, gid, groups: Vec::new(), name, home, shell: None, replaces_root: false }
}

fn group(who: &Who, accounts: &Accounts) -> Result<InsideId> {
    match who {
        Who::Id(gid) => Ok(*gid),
        Who::Name(name) => {
            let gid = accounts.group_by_name(name).map(|group| group.gid);
            // As with users, root needs no file.
            let gid = gid.or_else(|| (name == "root").then_some(InsideId::ROOT));
            gid.ok_or_else(|| unknown("group", name))
        }
    }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(
        Kind::UnknownUser,
        format!("no {what} {name:?} in the image: use a number, or add the {what} in the image"),
    )
}

#[cfg(test)]
mod tests;
