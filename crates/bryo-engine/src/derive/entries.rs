// SPDX-License-Identifier: Apache-2.0
//! The account files: what the image has, and the lines that the run user needs.
//!
//! A file that has the user is left alone. Else it gets one more line. The accounts of services become other names of
//! the user, and their groups of its group: a start script that gives a directory to its service gives it to whom it
//! belongs already, which the kernel allows, and every other byte stays.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use bryo_identity::InsideId;
use bryo_sys::Errno;

use super::layer::{Attributes, Layer};
use super::services::Services;
use super::tree::Tree;
use crate::error::{Error, Result};
use crate::users::{Accounts, FILE_MAX, User};

/// Both files as the image has them.
#[derive(Debug)]
pub(super) struct Files {
    passwd: File,
    group: File,
}

#[derive(Debug)]
struct File {
    place: &'static str,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// What it says, where it really is, and its owner and mode.
    Text(Vec<u8>, PathBuf, Attributes),
    /// Nothing, or nothing that can be read: a link to nothing, a directory, a pipe.
    None,
    /// More than any account file is. Nobody in it is known, and it stays what it is.
    TooLarge,
}

impl Files {
    /// Reads both.
    pub fn read(tree: &Tree) -> Self {
        Self { passwd: File::read(tree, "/etc/passwd"), group: File::read(tree, "/etc/group") }
    }

    /// Parses both.
    pub fn accounts(&self) -> Accounts {
        Accounts::parse(self.passwd.text(), self.group.text())
    }

    /// Adds the user and its group where they are missing, and makes the services names of them. With `members` the
    /// user stands in the lines of its groups too, for engines that look for them there.
    pub fn complete(
        &self,
        tree: &Tree,
        layer: &mut Layer,
        (user, services): (&User, &Services),
        (accounts, members): (&Accounts, bool),
    ) -> Result<()> {
        let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
        if accounts.by_uid(user.uid).is_none() {
            let shell = user.shell.as_deref().unwrap_or(Path::new("/bin/sh")).display();
            let line = format!("{}:x:{uid}:{gid}::{}:{shell}\n", user.name, user.home.display());
            let others = aliased(self.passwd.text(), &services.uids, &[&uid, &gid]);
            self.passwd.complete(tree, layer, &line, others)?;
        }
        let group = if members { joined(self.group.text(), user) } else { self.group.text().to_vec() };
        if accounts.group_by_gid(user.gid).is_none() {
            let others = aliased(&group, &services.gids, &[&gid]);
            self.group.complete(tree, layer, &own_group(user, accounts), others.or(members.then_some(group)))?;
        } else if members {
            self.group.write(tree, layer, &group)?;
        }
        Ok(())
    }
}

impl File {
    fn read(tree: &Tree, place: &'static str) -> Self {
        let text = || -> bryo_sys::Result<Content> {
            let real = tree.real(Path::new(place))?;
            let Some(stat) = real.stat else { return Ok(Content::None) };
            let text = tree.read(&real.path, FILE_MAX)?;
            Ok(Content::Text(text, real.path, Attributes::of(tree, &stat)))
        };
        let content = text().unwrap_or_else(|e| match e.errno() {
            Errno::FBIG => Content::TooLarge,
            _ => Content::None,
        });
        Self { place, content }
    }

    fn text(&self) -> &[u8] {
        match &self.content {
            Content::Text(text, ..) => text,
            _ => b"",
        }
    }

    /// Adds a line: before others that have changed, since the first line with an id is the one that names it, or else
    /// at the end.
    fn complete(&self, tree: &Tree, layer: &mut Layer, line: &str, changed: Option<Vec<u8>>) -> Result<()> {
        if let Some(others) = changed {
            return self.write(tree, layer, &[line.as_bytes(), &others].concat());
        }
        let mut text = self.text().to_vec();
        if text.last().is_some_and(|last| *last != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(line.as_bytes());
        self.write(tree, layer, &text)
    }

    fn write(&self, tree: &Tree, layer: &mut Layer, text: &[u8]) -> Result<()> {
        let (path, attributes) = match &self.content {
            Content::Text(_, path, attributes) => (path.clone(), *attributes),
            Content::None => match tree.real(Path::new("/etc")) {
                Ok(etc) if etc.stat.is_none() || etc.is_dir() => {
                    let name = Path::new(self.place).file_name().unwrap_or_default();
                    (etc.path.join(name), Attributes::root(0o644))
                }
                // Without a directory /etc there is no place for accounts, and nobody who would read them.
                _ => return Ok(()),
            },
            Content::TooLarge => return Ok(()),
        };
        let mut file = layer.file(tree, &path, attributes)?;
        file.write_all(text).map_err(|e| Error::io("write", Path::new(self.place), e))
    }
}

/// Returns the line of the user's own group.
fn own_group(user: &User, accounts: &Accounts) -> String {
    let mut name = user.name.clone();
    while accounts.group_by_name(&name).is_some() {
        name.push('_');
    }
    format!("{name}:x:{}:\n", user.gid)
}

/// Adds the user to the lines of its groups; the result ends with a line end.
fn joined(group: &[u8], user: &User) -> Vec<u8> {
    let mut text = String::new();
    for line in String::from_utf8_lossy(group).lines() {
        text.push_str(line);
        let fields: Vec<&str> = line.split(':').collect();
        let gid = fields.get(2).and_then(|gid| InsideId::new(gid.parse().ok()?));
        if let (4, Some(gid)) = (fields.len(), gid)
            && user.groups.contains(&gid)
            && !fields[3].split(',').any(|member| member == user.name)
        {
            text.push_str(if fields[3].is_empty() { "" } else { "," });
            text.push_str(&user.name);
        }
        text.push('\n');
    }
    text.into_bytes()
}

/// Gives the lines whose third field is one of some numbers others, from that field on; nothing when there are none.
fn aliased(file: &[u8], numbers: &BTreeSet<u32>, by: &[&str]) -> Option<Vec<u8>> {
    let mut found = false;
    let mut text = Vec::with_capacity(file.len() + 1);
    for line in file.split_inclusive(|b| *b == b'\n') {
        let mut fields: Vec<&[u8]> = line.splitn(5, |b| *b == b':').collect();
        let number = fields.get(2).and_then(|f| std::str::from_utf8(f).ok()?.parse::<u32>().ok());
        if fields.len() > 3 && number.is_some_and(|n| n != 0 && numbers.contains(&n)) {
            for (field, by) in fields[2..].iter_mut().zip(by) {
                *field = by.as_bytes();
            }
            found = true;
        }
        text.extend(fields.join(&b':'));
    }
    found.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_joins_its_groups_once() {
        let group = b"root:x:0:\nssl-cert:x:101:\ndb:x:102:pg\nown:x:103:nonroot\nbad:x:101";
        let groups = [101, 102, 103].map(|gid| InsideId::new(gid).unwrap()).to_vec();
        let user = User {
            uid: InsideId::NONROOT,
            gid: InsideId::NONROOT,
            groups,
            name: "nonroot".into(),
            home: "/".into(),
            shell: None,
            replaces_root: true,
        };
        let expected = "root:x:0:\nssl-cert:x:101:nonroot\ndb:x:102:pg,nonroot\nown:x:103:nonroot\nbad:x:101\n";
        assert_eq!(String::from_utf8(joined(group, &user)).unwrap(), expected);
    }

    #[test]
    fn accounts_of_services_become_names_of_the_user() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www:/var/www:/sbin/nologin\nirc:x:39:39::/:\nbad:x:33\nme:x:1000:33::/:";
        let text = aliased(passwd, &BTreeSet::from([33, 39, 0]), &["65532", "5"]).unwrap();
        let expected = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:65532:5:www:/var/www:/sbin/nologin\n\
            irc:x:65532:5::/:\nbad:x:33\nme:x:1000:33::/:";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(aliased(passwd, &BTreeSet::from([0, 7]), &["65532"]), None);
        let group = aliased(b"www-data:x:33:me\nirc:x:39:\n", &BTreeSet::from([33]), &["5"]).unwrap();
        assert_eq!(String::from_utf8(group).unwrap(), "www-data:x:5:me\nirc:x:39:\n");
    }
}
