// SPDX-License-Identifier: Apache-2.0
//! What the modes of `chmod` give away.

use crate::shell::Simple;

/// Whether a mode makes set-id programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SetId {
    /// It has no such bit, or is a directory's, where the bit says whose group new files have.
    No,
    /// The group's bit, of what may be a directory.
    Maybe,
    /// A program.
    Program,
}

/// Tells what `chmod` makes of what it changes; `all` are the commands of its step.
pub(super) fn set_id(command: &Simple, all: &[Simple]) -> SetId {
    let Some(mode) = command.operands().next() else { return SetId::No };
    let (user, group) = bits(mode);
    if user {
        return SetId::Program;
    }
    if !group {
        return SetId::No;
    }
    let targets: Vec<&str> = command.operands().skip(1).collect();
    if !targets.is_empty() && targets.iter().all(|target| is_directory(target, all)) {
        return SetId::No;
    }
    // All below a directory, or what another command has found.
    let many = command.short('R') || command.has(&["--recursive"]) || targets.is_empty() && !all.is_empty();
    let unknown = targets.iter().any(|target| target.contains('$'));
    if many || unknown { SetId::Maybe } else { SetId::Program }
}

/// Returns whether a mode sets the user's and the group's bit.
fn bits(mode: &str) -> (bool, bool) {
    if !mode.is_empty() && mode.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        let mode = u32::from_str_radix(mode, 8).unwrap_or_default();
        return (mode & 0o4000 != 0, mode & 0o2000 != 0);
    }
    let mut found = (false, false);
    for part in mode.split(',') {
        let Some((who, what)) = part.split_once(['+', '=']) else { continue };
        if what.contains('s') {
            let all = who.is_empty() || who.contains('a');
            found.0 |= all || who.contains('u');
            found.1 |= all || who.contains('g');
        }
    }
    found
}

/// Tells whether a word names a directory: by its end, or since the step makes one of it.
fn is_directory(word: &str, all: &[Simple]) -> bool {
    let plain = word.trim_end_matches('/');
    let makes = |command: &Simple| match command.program() {
        "mkdir" => true,
        "install" => command.short('d') || command.has(&["--directory"]),
        _ => false,
    };
    plain.len() < word.len()
        || all
            .iter()
            .any(|command| makes(command) && command.operands().any(|made| made.trim_end_matches('/') == plain))
}

/// Tells whether a mode lets everybody write.
pub(super) fn all_write(command: &Simple) -> bool {
    command.operands().next().is_some_and(|mode| {
        let octal = mode.len() >= 3 && mode.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let others = mode.bytes().last().is_some_and(|b| matches!(b, b'2' | b'3' | b'6' | b'7'));
        let sticky = mode.len() == 4 && mode.starts_with('1');
        let letters = ["a+w", "o+w", "a+rwx", "a+rw", "o+rwx", "ugo+rwx", "+rwx", "a=rwx"].contains(&mode);
        octal && others && !sticky || letters
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_no_programs() {
        for (line, expected) in [
            ("chmod 4755 /bin/x", SetId::Program),
            ("chmod 2755 /bin/x", SetId::Program),
            ("chmod u+s /bin/x", SetId::Program),
            ("chmod +s /bin/x", SetId::Program),
            ("chmod 755 /bin/x", SetId::No),
            ("chmod u+x,g-s /bin/x", SetId::No),
            ("chmod 2775 /data/", SetId::No),
            ("mkdir -p /data && chmod 2775 /data", SetId::No),
            ("mkdir -p /data && chmod 4775 /data", SetId::Program),
            ("mkdir -p /data && chmod g+s /data /bin/x", SetId::Program),
            ("install -d -m 755 /data; chmod g+s /data", SetId::No),
            ("for d in a b; do mkdir -p \"$d\"; chown 1:1 \"$d\"; chmod 2775 \"$d\"; done", SetId::No),
            ("for f in /bin/*; do chmod 2755 \"$f\"; done", SetId::Maybe),
            ("chmod -R 2775 /opt/app", SetId::Maybe),
            ("find /x -type d | xargs chmod g+s", SetId::Maybe),
        ] {
            let all = crate::shell::commands(line);
            let chmod = all.iter().find(|command| command.program() == "chmod").unwrap();
            assert_eq!(set_id(chmod, &all), expected, "{line}");
        }
    }
}
