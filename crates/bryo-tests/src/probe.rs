// SPDX-License-Identifier: Apache-2.0
//! What the probe program (`tests/probe`) reported.

use std::collections::BTreeMap;

use crate::home::Home;
use crate::images::PROBE;
use crate::program::Output;

/// Each attempt and fact by its name: `ok`, an errno, `killed-SIGNAL`, or a value.
#[derive(Debug)]
pub struct Report(BTreeMap<String, String>);

impl Report {
    /// Reads a report from what the probe printed.
    #[track_caller]
    pub fn read(output: &Output) -> Self {
        let text = output.ok();
        Self(text.lines().filter_map(|l| l.split_once(' ')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
    }

    /// Runs the probe in a container with further words for `run`.
    #[track_caller]
    pub fn inside(home: &Home, args: &[&str]) -> Self {
        Self::read(&home.run(&[args, &[PROBE]].concat()))
    }

    /// Runs the probe as the home's user with nothing around it: the control of everything.
    #[track_caller]
    pub fn outside(home: &Home) -> Self {
        Self::read(&home.tool(crate::images::probe_program().to_str().unwrap(), &[]))
    }

    /// Returns what came of an attempt.
    #[track_caller]
    pub fn of(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("the probe says nothing of {name}: {self:?}"))
    }

    /// Tells whether an attempt came through: it succeeded, or failed for a reason of its own and not by refusal.
    #[track_caller]
    pub fn came_through(&self, name: &str) -> bool {
        !["EPERM", "EACCES", "ENOSYS", "EROFS"].contains(&self.of(name))
    }

    /// Asserts that each attempt was refused with one of the words.
    #[track_caller]
    pub fn refused(&self, names: &[&str], words: &[&str]) {
        let wrong: Vec<String> =
            names.iter().filter(|n| !words.contains(&self.of(n))).map(|n| format!("{n}: {}", self.of(n))).collect();
        assert!(wrong.is_empty(), "expected one of {words:?}, found {wrong:#?}");
    }

    /// Lists what another report says differently, but for some names.
    pub fn difference(&self, other: &Self, but: &[&str]) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let wanted = names.into_iter().filter(|name| !but.contains(&name.as_str()));
        let different = wanted.filter(|name| self.0.get(*name) != other.0.get(*name));
        different.map(|name| format!("{name}: {:?}, {:?}", self.0.get(name), other.0.get(name))).collect()
    }

    /// Asserts that each attempt succeeded.
    #[track_caller]
    pub fn allowed(&self, names: &[&str]) {
        self.refused(names, &["ok"]);
    }
}

impl Report {
    /// As [`Report::outside`], but only for an ordinary user: the probe refuses to be root of the machine.
    pub fn outside_if_ordinary(home: &Home) -> Option<Self> {
        (home.user.uid != 0).then(|| Self::outside(home))
    }

    /// Tells whether this machine itself refuses an attempt to an ordinary user, so that it can prove nothing.
    #[track_caller]
    pub fn outside_refuses(home: &Home, name: &str) -> bool {
        Self::outside_if_ordinary(home).is_none_or(|r| !r.came_through(name))
    }
}
