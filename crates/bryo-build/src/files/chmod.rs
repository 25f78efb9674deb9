// SPDX-License-Identifier: Apache-2.0
//! `--chmod`: a number, or changes as `chmod(1)` takes them.

/// What becomes of a mode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Chmod {
    /// It is this one.
    Mode(u32),
    /// It is changed.
    Changes(Vec<Change>),
}

/// One change: whose bits, how, and which.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change {
    who: u32,
    operator: Operator,
    bits: u32,
    /// `X`: execution, for directories and what can be executed by somebody.
    conditional: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operator {
    Add,
    Remove,
    Set,
}

impl Chmod {
    /// Reads a mode.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("--chmod={text}: a mode is a number such as 0644, or a change such as u=rwX,go=rX");
        if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Self::Mode).ok_or_else(wrong);
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let who_len = clause.find(['+', '-', '=']).ok_or_else(wrong)?;
            let who = who(&clause[..who_len]).ok_or_else(wrong)?;
            let mut rest = &clause[who_len..];
            while let Some(c) = rest.chars().next() {
                let operator = operator(c).ok_or_else(wrong)?;
                rest = &rest[1..];
                let len = rest.find(['+', '-', '=']).unwrap_or(rest.len());
                changes.push(change(who, operator, &rest[..len]).ok_or_else(wrong)?);
                rest = &rest[len..];
            }
        }
        Ok(Self::Changes(changes))
    }

    /// Returns what a mode becomes.
    pub fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Mode(mode) => *mode,
            Self::Changes(changes) => changes.iter().fold(mode & 0o7777, |mode, change| change.apply(mode, directory)),
        }
    }
}

impl Change {
    fn apply(self, mode: u32, directory: bool) -> u32 {
        let may_execute = directory || mode & 0o111 != 0;
        let execute = if self.conditional && may_execute { 0o111 } else { 0 };
        let bits = (self.bits | execute) & self.who;
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => (mode & !(self.who & !0o1000)) | bits,
        }
    }
}

/// Returns the bits of whom a clause is about.
fn who(text: &str) -> Option<u32> {
    if text.is_empty() {
        return Some(0o7777);
    }
    text.chars().try_fold(0, |bits, c| {
        Some(
            bits | match c {
                'u' => 0o4700,
                'g' => 0o2070,
                'o' => 0o1007,
                'a' => 0o7777,
                _ => return None,
            },
        )
    })
}

fn operator(c: char) -> Option<Operator> {
    Some(match c {
        '+' => Operator::Add,
        '-' => Operator::Remove,
        '=' => Operator::Set,
        _ => return None,
    })
}

fn change(who: u32, operator: Operator, letters: &str) -> Option<Change> {
    let mut change = Change { who, operator, bits: 0, conditional: false };
    for c in letters.chars() {
        change.bits |= match c {
            'r' => 0o444,
            'w' => 0o222,
            'x' => 0o111,
            's' => 0o6000,
            't' => 0o1000,
            'X' => {
                change.conditional = true;
                0
            }
            _ => return None,
        };
    }
    Some(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_become_what_chmod_makes_of_them() {
        for (text, mode, directory, expected) in [
            ("644", 0o755, false, 0o644),
            ("4755", 0, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("go-rwx", 0o755, true, 0o700),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rw,g+r-x,o=", 0o777, false, 0o660),
            ("u+s,g+s", 0o755, false, 0o6755),
            ("+t", 0o777, true, 0o1777),
            ("o+s", 0o755, false, 0o755),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(mode, directory), expected, "{text}");
        }
        for text in ["", "u", "u+y", "8", "10000", "q+x", "u+x,", "0x1"] {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
