// SPDX-License-Identifier: Apache-2.0
//! What is reported: categories with counts, and the worst of each.

use serde::{Deserialize, Serialize};

/// What could be reached, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Files that are known to hold secrets, container stores, and homes.
    Secrets,
    /// Other files that not everybody on this host may read.
    PrivateFiles,
    /// Files that may be written.
    WritableFiles,
    /// Directories in which files may be made.
    WritableDirectories,
    /// Programs that give another user's rights, where these ids let them.
    SetIdPrograms,
    /// Processes that may get a signal.
    Signals,
    /// Processes whose memory may be read.
    Traces,
    /// Processes whose environment may be read.
    Environments,
    /// Sockets in the file system that may be connected to.
    Sockets,
    /// Abstract sockets of the host's network, which have no permissions.
    AbstractSockets,
    /// TCP ports that listen in the host's network, its loopback included.
    Ports,
    /// Devices beyond those that do no harm.
    Devices,
    /// Files of `/proc/sys`, `/sys` and control groups that may be written.
    Kernel,
}

/// What a check of continuous integration can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Programs with other rights.
    SetId,
    /// Signals.
    Signal,
    /// Memory and environment of processes.
    Trace,
    /// Sockets.
    Connect,
    /// Devices.
    Device,
    /// Interfaces of the kernel.
    Kernel,
}

impl Group {
    /// All of them with their words.
    pub const ALL: [(&'static str, Self); 8] = [
        ("read", Self::Read),
        ("write", Self::Write),
        ("setid", Self::SetId),
        ("signal", Self::Signal),
        ("trace", Self::Trace),
        ("connect", Self::Connect),
        ("device", Self::Device),
        ("kernel", Self::Kernel),
    ];

    /// Returns its word.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, group)| *group == self).map_or("", |(word, _)| word)
    }
}

impl Reach {
    /// All kinds, in the order of the report.
    pub const ALL: [Self; 13] = [
        Self::Secrets,
        Self::PrivateFiles,
        Self::WritableFiles,
        Self::WritableDirectories,
        Self::SetIdPrograms,
        Self::Signals,
        Self::Traces,
        Self::Environments,
        Self::Sockets,
        Self::AbstractSockets,
        Self::Ports,
        Self::Devices,
        Self::Kernel,
    ];

    /// Says in words what it is.
    pub fn title(self) -> &'static str {
        match self {
            Self::Secrets => "read: keys, passwords, stores, homes",
            Self::PrivateFiles => "read: other files not for everybody",
            Self::WritableFiles => "write: files",
            Self::WritableDirectories => "write: directories",
            Self::SetIdPrograms => "run: set-user-id programs with effect",
            Self::Signals => "signal: processes",
            Self::Traces => "trace: memory of processes",
            Self::Environments => "trace: environment of processes",
            Self::Sockets => "connect: sockets with a path",
            Self::AbstractSockets => "connect: abstract sockets",
            Self::Ports => "connect: TCP ports that listen",
            Self::Devices => "open: devices",
            Self::Kernel => "change: kernel and control groups",
        }
    }

    /// Returns what it belongs to.
    pub fn group(self) -> Group {
        match self {
            Self::Secrets | Self::PrivateFiles => Group::Read,
            Self::WritableFiles | Self::WritableDirectories => Group::Write,
            Self::SetIdPrograms => Group::SetId,
            Self::Signals => Group::Signal,
            Self::Traces | Self::Environments => Group::Trace,
            Self::Sockets | Self::AbstractSockets | Self::Ports => Group::Connect,
            Self::Devices => Group::Device,
            Self::Kernel => Group::Kernel,
        }
    }
}

/// What was found of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// The kind.
    pub kind: Reach,
    /// The kind in words.
    pub title: String,
    /// How many, with the ids and capabilities alone.
    pub count: u64,
    /// How many of these anybody on this host could reach.
    pub everybody: u64,
    /// How many of these belong to the very user id that the process has on the host.
    pub own: u64,
    /// How many are left with the filter and Landlock in force; nothing where that was not measured.
    pub confined: Option<u64>,
    /// The worst.
    pub worst: Vec<Example>,
}

impl Category {
    /// Returns how many could be reached that not everybody on this host can.
    pub fn gained(&self) -> u64 {
        self.count.saturating_sub(self.everybody)
    }
}

/// One thing that could be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// A path, a process, an address.
    pub what: String,
    /// Why it matters; empty where the kind says it.
    pub why: String,
    /// Whether anybody on this host could reach it.
    pub everybody: bool,
    /// Whether it belongs to the very user id that the process has on the host.
    pub own: bool,
}

/// What a probe found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The kinds, in the order of [`Reach`].
    pub categories: Vec<Category>,
    /// How many files and directories were looked at.
    pub entries: u64,
    /// Whether everything was looked at in the time and number of entries that there was.
    pub complete: bool,
    /// What was left out: file systems of other machines and of programs, by mount point.
    pub skipped: Vec<String>,
    /// Whether the filter and Landlock were measured; not where the filter ended the probe.
    pub confined: bool,
    /// Whether Landlock was seen to refuse.
    pub landlock: bool,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

impl Findings {
    /// Returns the findings of one kind.
    pub fn of(&self, kind: Reach) -> Option<&Category> {
        self.categories.iter().find(|category| category.kind == kind)
    }

    /// Returns how many could be reached of a group that not everybody on this host can.
    pub fn gained(&self, group: Group) -> u64 {
        let of_group = self.categories.iter().filter(|category| category.kind.group() == group);
        of_group.map(Category::gained).sum()
    }

    /// Adds what is left under the filter and Landlock.
    pub(super) fn confine(&mut self, landlock: bool, counts: &[(Reach, u64)]) {
        (self.confined, self.landlock) = (true, landlock);
        for category in &mut self.categories {
            category.confined = counts.iter().find(|(kind, _)| *kind == category.kind).map(|(_, count)| *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_can_reach_is_no_gain() {
        let category = |kind, count, everybody| Category {
            kind,
            title: String::new(),
            count,
            everybody,
            own: 0,
            confined: None,
            worst: Vec::new(),
        };
        let categories = vec![category(Reach::WritableFiles, 5, 5), category(Reach::WritableDirectories, 3, 2)];
        let findings = Findings { categories, ..Findings::default() };
        assert_eq!(findings.gained(Group::Write), 1);
        assert_eq!(findings.gained(Group::Read), 0);
    }

    #[test]
    fn every_kind_is_listed_and_belongs_to_a_group_with_a_word() {
        for pair in Reach::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for kind in Reach::ALL {
            assert!(Group::ALL.iter().any(|(_, group)| *group == kind.group()));
        }
    }
}
