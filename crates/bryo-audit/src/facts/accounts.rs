// SPDX-License-Identifier: Apache-2.0
//! The accounts that the commands of a Dockerfile make, as far as their words say.

use super::dockerfile::Said;
use crate::bases;
use crate::identity::Accounts;
use crate::shell::Simple;

/// Remembers the accounts of lines that are written to `/etc/passwd`. The first line of a name counts.
pub(super) fn add_lines(accounts: &mut Accounts, text: &str) {
    for (name, ids) in Accounts::parse(text.as_bytes(), b"").users {
        accounts.users.entry(name).or_insert(ids);
    }
}

/// Remembers the accounts that commands make.
pub(super) fn make_accounts(accounts: &mut Accounts, commands: &[Simple], say: &dyn Fn(&str) -> Said) {
    for command in commands {
        let text = |word: &str| say(word).text;
        if command.outputs.iter().any(|path| path == "/etc/passwd") {
            let words: Vec<String> = command.arguments().iter().map(|word| text(word).replace("\\n", "\n")).collect();
            let before = accounts.users.len();
            add_lines(accounts, &words.join("\n"));
            accounts.touched |= accounts.users.len() == before;
        } else if edits_passwd(command) {
            accounts.touched = true;
        }
        let number = command.value(&["-u", "--uid"]);
        let id = |flags: &[&str]| command.value(flags).and_then(|word| text(word).parse::<u32>().ok());
        let Some(last) = command.arguments().last().map(|word| text(word)) else { continue };
        let names: Vec<String> = account_words(command).map(text).collect();
        let name = names.last().cloned().unwrap_or_else(|| last.clone());
        match command.program() {
            // `adduser USER GROUP` adds to a group.
            "adduser" if names.len() == 2 && command.operands().count() == 2 => {
                accounts.members.push((names[1].clone(), names[0].clone()));
            }
            "useradd" | "adduser" => match (id(&["-u", "--uid"]), number) {
                (Some(uid), _) => {
                    let group = command.value(&["-g", "--gid", "-G", "--ingroup"]).map(text);
                    let gid =
                        group.and_then(|group| group.parse().ok().or_else(|| accounts.groups.get(&group).copied()));
                    // By default a user has a group of its own, with the same number if it is free.
                    accounts.users.insert(name, (uid, gid.or(Some(uid))));
                }
                // Without a number it is given one that is not root's.
                (None, None) => drop(accounts.made.insert(name)),
                (None, Some(_)) => {}
            },
            "usermod" => {
                if let Some(new) = command.value(&["-l", "--login"]).map(text) {
                    accounts.made.insert(new);
                }
                if let Some(uid) = id(&["-u", "--uid"]) {
                    accounts.users.insert(name, (uid, None));
                } else if let Some(groups) = command.value(&["-aG", "-Ga", "-G", "--groups"]).map(text) {
                    let each = groups.split(',').map(|group| (group.to_owned(), name.clone()));
                    accounts.members.extend(each);
                }
            }
            "groupadd" | "addgroup" => {
                if let Some(gid) = id(&["-g", "--gid"]) {
                    accounts.groups.insert(last, gid);
                }
            }
            _ if installs(command) => {
                let packages = command.operands().skip(1).map(text);
                accounts.made.extend(packages.flat_map(|package| bases::accounts_of_package(&package)));
            }
            _ => {}
        }
    }
}

/// Lists the words of a command for accounts that are neither flags nor their values.
fn account_words(command: &Simple) -> impl Iterator<Item = &str> {
    const VALUED: &str = "bcdefgGhkKpsuZ";
    let long = [
        "--uid",
        "--gid",
        "--home",
        "--shell",
        "--ingroup",
        "--gecos",
        "--comment",
        "--home-dir",
        "--groups",
        "--password",
        "--base-dir",
        "--skel",
        "--expiredate",
        "--inactive",
        "--key",
        "--conf",
        "--firstuid",
        "--lastuid",
        "--login",
    ];
    let mut value = false;
    command.arguments().iter().map(String::as_str).filter(move |word| {
        if std::mem::take(&mut value) {
            return false;
        }
        let short = word.starts_with('-') && !word.starts_with("--");
        value = long.contains(word) || short && word.len() > 1 && word.ends_with(|c| VALUED.contains(c));
        !word.starts_with('-')
    })
}

fn installs(command: &Simple) -> bool {
    let verb = command.operands().next().unwrap_or_default();
    matches!(
        (command.program(), verb),
        ("apt" | "apt-get" | "aptitude" | "dnf" | "yum" | "microdnf" | "tdnf" | "zypper", "install")
            | ("apk", "add")
            | ("zypper", "in")
    )
}

/// Tells whether a command changes `/etc/passwd` in a way that its words do not say.
fn edits_passwd(command: &Simple) -> bool {
    let is = |word: &str| word == "/etc/passwd";
    match command.program() {
        "sed" | "perl" | "awk" => command.operands().any(is) && command.short('i'),
        "tee" => command.operands().any(is),
        "cp" | "mv" | "ln" | "install" => command.operands().last().is_some_and(is),
        "newusers" | "vipw" => true,
        _ => false,
    }
}
