// SPDX-License-Identifier: Apache-2.0
//! The accounts that the commands of a Dockerfile make, as far as their words say.

use super::dockerfile::Said;
use crate::bases;
use crate::identity::Accounts;
use crate::shell::Simple;

/// Remembers the accounts of lines that are added to `/etc/passwd`. The first line of a name counts, wherever it is from.
fn add_lines(accounts: &mut Accounts, text: &str) {
    for (name, ids) in Accounts::parse(text.as_bytes(), b"").users {
        match accounts.users.get(&name) {
            Some((uid, _)) if *uid == ids.0 => {}
            None if !accounts.made.contains(&name) => {
                accounts.appended.insert(name.clone());
                accounts.users.insert(name, ids);
            }
            _ => drop(accounts.unsure.insert(name)),
        }
    }
}

/// Forgets what was known: `/etc/passwd` is another file from here on, with these lines.
pub(super) fn replace_lines(accounts: &mut Accounts, text: &str) {
    let Accounts { groups, members, .. } = std::mem::take(accounts);
    let users = Accounts::parse(text.as_bytes(), b"").users;
    *accounts = Accounts { users, groups, members, ..Accounts::default() };
}

/// What a command says of a number of an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Number<'a> {
    /// Nothing.
    Unsaid,
    /// The word of a flag.
    Word(&'a str),
    /// There is a flag without a word.
    Lost,
}

/// Finds the flag for the uid: alone, among other short flags, and as the beginning of its long name.
fn number(command: &Simple) -> Number<'_> {
    let arguments = command.arguments();
    let next = |at: usize| arguments.get(at + 1).map_or(Number::Lost, |word| Number::Word(word));
    // The short flags before it that take the rest of the word.
    let valued = if command.program() == "usermod" { "cdefgGklpRPsZ" } else { "bcdefgGhkKpRPsZ" };
    for (at, word) in arguments.iter().enumerate() {
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            if !name.is_empty() && "uid".starts_with(&name.to_ascii_lowercase()) {
                return value.map_or_else(|| next(at), Number::Word);
            }
        } else if let Some(short) = word.strip_prefix('-')
            && let Some((before, rest)) = short.split_once('u')
            && !before.contains(|c| valued.contains(c))
        {
            return if rest.is_empty() { next(at) } else { Number::Word(rest) };
        }
    }
    Number::Unsaid
}

/// Remembers the accounts that commands make.
pub(super) fn make_accounts(accounts: &mut Accounts, commands: &[Simple], say: &dyn Fn(&str) -> Said) {
    for command in commands {
        let text = |word: &str| say(word).text;
        if command.outputs.iter().any(|path| path == "/etc/passwd") {
            let words: Vec<String> = command.arguments().iter().map(|word| text(word).replace("\\n", "\n")).collect();
            let lines = words.join("\n");
            let appends = command.appended.iter().any(|path| path == "/etc/passwd");
            if appends {
                add_lines(accounts, &lines)
            } else {
                replace_lines(accounts, &lines)
            }
            accounts.touched |= Accounts::parse(lines.as_bytes(), b"").users.is_empty();
        } else if edits_passwd(command) {
            accounts.touched = true;
        }
        let number = number(command);
        let uid = match number {
            Number::Word(word) => text(word).parse::<u32>().ok(),
            _ => None,
        };
        let id = |flags: &[&str]| command.value(flags).and_then(|word| text(word).parse::<u32>().ok());
        let Some(last) = command.arguments().last().map(|word| text(word)) else { continue };
        let names: Vec<String> = account_words(command).map(text).collect();
        let name = names.last().cloned().unwrap_or_else(|| last.clone());
        match command.program() {
            // `adduser USER GROUP` adds to a group.
            "adduser" if names.len() == 2 && command.operands().count() == 2 => {
                accounts.members.push((names[1].clone(), names[0].clone()));
            }
            "useradd" | "adduser" => match (uid, number) {
                (Some(uid), _) => {
                    let group = command.value(&["-g", "--gid", "-G", "--ingroup"]).map(text);
                    let gid =
                        group.and_then(|group| group.parse().ok().or_else(|| accounts.groups.get(&group).copied()));
                    // By default a user has a group of its own, with the same number if it is free.
                    set(accounts, name, (uid, gid.or(Some(uid))));
                }
                // Without a number it is given one that is not root's.
                (None, Number::Unsaid) => drop(accounts.made.insert(name)),
                (None, _) => drop(accounts.unsure.insert(name)),
            },
            "usermod" => {
                let new = command.value(&["-l", "--login"]).map(text);
                let is_root = name == "root" || accounts.users.get(&name).is_some_and(|(uid, _)| *uid == 0);
                if let Some(uid) = uid {
                    set(accounts, new.unwrap_or(name), (uid, None));
                } else if number != Number::Unsaid {
                    accounts.unsure.insert(new.unwrap_or(name));
                } else if let Some(new) = new {
                    // Another name for root is root's all the same.
                    if is_root {
                        set(accounts, new, (0, Some(0)));
                    } else {
                        accounts.made.insert(new);
                    }
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

/// Remembers an account that a command has given a number.
fn set(accounts: &mut Accounts, name: String, ids: (u32, Option<u32>)) {
    accounts.unsure.remove(&name);
    accounts.appended.remove(&name);
    accounts.users.insert(name, ids);
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
        value = long.contains(word)
            || matches!(*word, "--u" | "--ui")
            || short && word.len() > 1 && word.ends_with(|c| VALUED.contains(c));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writing_of_a_number_is_found() {
        for (line, found) in [
            ("useradd app", Number::Unsaid),
            ("useradd -m -s /usr/bin/sh --user-group app", Number::Unsaid),
            ("useradd -u 0 app", Number::Word("0")),
            ("useradd -ou 0 app", Number::Word("0")),
            ("useradd -lou0 app", Number::Word("0")),
            ("useradd --ui 0 app", Number::Word("0")),
            ("useradd --u=0 app", Number::Word("0")),
            ("usermod -ou 0 app", Number::Word("0")),
            ("usermod app -u", Number::Lost),
        ] {
            assert_eq!(number(&crate::shell::commands(line)[0]), found, "{line}");
        }
    }
}
