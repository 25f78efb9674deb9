// SPDX-License-Identifier: Apache-2.0
//! Notices when a payload tells a person at a terminal that it was refused something.

/// What was noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The words for `EROFS`.
    pub read_only: bool,
    /// The words for `EPERM` or `EACCES`.
    pub not_permitted: bool,
    /// The words of the dynamic loader for a library that may not be executed.
    pub unloaded: bool,
    /// Whose words were seen that could not install something.
    pub installer: Option<Installer>,
    /// The signal with which somebody has ended the command, and with it the payload.
    pub ended_by: Option<i32>,
}

impl Seen {
    /// Joins what two streams showed.
    pub fn or(self, other: Self) -> Self {
        Self {
            read_only: self.read_only || other.read_only,
            not_permitted: self.not_permitted || other.not_permitted,
            unloaded: self.unloaded || other.unloaded,
            installer: self.installer.or(other.installer),
            ended_by: self.ended_by.or(other.ended_by),
        }
    }
}

/// The words, as `strerror(3)` has them in every C library, without their first letter: programs differ in its case.
const READ_ONLY: &[u8] = b"ead-only file system";
const NOT_PERMITTED: [&[u8]; 2] = [b"peration not permitted", b"ermission denied"];

/// The words of glibc's loader.
const UNLOADED: &[u8] = b"failed to map segment from shared object";

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installer {
    /// Debian's `apt` and `dpkg`.
    Apt,
    /// Alpine's `apk`.
    Apk,
    /// Red Hat's `dnf`, `microdnf`, `yum` and `rpm`.
    Dnf,
    /// SUSE's `zypper`.
    Zypper,
    /// Python's `pip`.
    Pip,
    /// JavaScript's `npm`.
    Npm,
    /// Ruby's `gem`.
    Gem,
}

/// What each says when it may not install, and says of nothing else. Sources: the programs' own messages.
const INSTALLERS: [(&[u8], Installer); 11] = [
    (b"/var/lib/dpkg/lock", Installer::Apt),
    (b"/var/lib/apt/lists/", Installer::Apt),
    (b"requested operation requires superuser privilege", Installer::Apt),
    (b"Unable to lock database", Installer::Apk),
    (b"has to be run with superuser privileges", Installer::Dnf),
    (b"You need to be root to perform this command", Installer::Dnf),
    (b"can't create transaction lock", Installer::Dnf),
    (b"Root privileges are required", Installer::Zypper),
    (b"Could not install packages due to an", Installer::Pip),
    (b"npm error code E", Installer::Npm),
    (b"You don't have write permissions for the", Installer::Gem),
];

/// How much of a piece is kept, so that words are found that go on in the next: one byte less than the longest.
const KEPT: usize = 48;

/// Looks for the words in a stream that comes in pieces.
#[derive(Debug, Default)]
pub struct Watch {
    /// What was found so far.
    pub seen: Seen,
    /// The end of the last piece, in which words may have begun.
    tail: Vec<u8>,
}

impl Watch {
    /// Looks at the next piece.
    pub fn look(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        self.seen.read_only |= contains(&self.tail, READ_ONLY);
        self.seen.not_permitted |= NOT_PERMITTED.iter().any(|words| contains(&self.tail, words));
        self.seen.unloaded |= contains(&self.tail, UNLOADED);
        if self.seen.installer.is_none() {
            let said = INSTALLERS.iter().find(|(words, _)| contains(&self.tail, words));
            self.seen.installer = said.map(|(_, installer)| *installer);
        }
        let keep = self.tail.len().min(KEPT);
        self.tail.drain(..self.tail.len() - keep);
    }
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|w| w.eq_ignore_ascii_case(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_seen_across_pieces() {
        let mut watch = Watch::default();
        for piece in ["touch: /x: Read-on", "ly file sys", "tem\n"] {
            watch.look(piece.as_bytes());
        }
        assert_eq!(watch.seen, Seen { read_only: true, ..Seen::default() });
        watch.look(b"mount: permission DENIED (are you root?)");
        assert!(watch.seen.not_permitted);
        let mut watch = Watch::default();
        for piece in ["E: Could not open lock file /var/lib/dp", "kg/lock-frontend - open (13: Permission denied)"] {
            watch.look(piece.as_bytes());
        }
        assert_eq!(watch.seen.installer, Some(Installer::Apt));
        assert!(INSTALLERS.iter().all(|(words, _)| words.len() <= KEPT + 1));
        let mut watch = Watch::default();
        watch.look(b"all is well");
        assert_eq!(watch.seen, Seen::default());
    }
}
