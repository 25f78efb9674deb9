// SPDX-License-Identifier: Apache-2.0
//! A profile in the shape the compiler works on: validated, with plain conditions and the kernel's return words.

use std::borrow::Cow;
use std::collections::HashMap;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Verb, LinuxSyscall};

use super::conditions::Condition;
use super::error::{Error, Kind};
use super::multiplexer::{self, Multiplexer};
use super::names::{self, Abi};

/// The word that a program returns: action and data (linux/seccomp.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action(u32);

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// The kernel caps an errno here (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;

impl Action {
    pub(super) const ENOSYS: Self = Self(0x0005_0000 | ENOSYS);

    /// Reads an action and its errno of the OCI specification.
    fn parse(verb: Verb, errno: Option<u32>) -> Result<Self, Error> {
        let plain = |word| match errno {
            None => Ok(Self(word)),
            Some(errno) => {
                let message = format!("errno {errno} given for {verb}, which returns none");
                Err(Error::new(Kind::InvalidErrno, message))
            }
        };
        let with_errno = |word| match errno.unwrap_or(EPERM) {
            errno @ 0..=MAX_ERRNO => Ok(Self(word | errno)),
            errno => Err(Error::new(Kind::InvalidErrno, format!("errno {errno} is above {MAX_ERRNO}"))),
        };
        match verb {
            Verb::ScmpActKill | Verb::ScmpActKillThread => plain(0),
            Verb::ScmpActKillProcess => plain(0x8000_0000),
            Verb::ScmpActTrap => plain(0x0003_0000),
            Verb::ScmpActErrno => with_errno(0x0005_0000),
            Verb::ScmpActTrace => with_errno(0x7ff0_0000),
            Verb::ScmpActLog => plain(0x7ffc_0000),
            Verb::ScmpActAllow => plain(0x7fff_0000),
            Verb::ScmpActNotify => Err(Error::new(Kind::Unsupported, "SCMP_ACT_NOTIFY has no agent to answer it")),
        }
    }

    /// Yields the word that the program returns.
    pub(super) fn word(self) -> u32 {
        self.0
    }

    /// Tells whether the call goes ahead.
    fn permits(self) -> bool {
        matches!(self.0 >> 16, 0x7ffc | 0x7fff)
    }

    fn is_errno(self) -> bool {
        self.0 >> 16 == 5
    }

    /// Yields the one that the kernel would prefer if two filters disagreed: the lower, as a signed number.
    pub(super) fn strictest(self, other: Self) -> Self {
        let rank = |action: Self| (action.0 & 0xffff_0000).cast_signed();
        if rank(other) < rank(self) { other } else { self }
    }
}

/// One rule for one call: the action if all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
}

/// A call's number and its rules, in the order of the profile.
pub(super) type Call<'a> = (u32, Cow<'a, [Rule]>);

/// A validated profile.
#[derive(Debug)]
pub(super) struct Profile<'a> {
    pub(super) default: Action,
    entries: Vec<Entry<'a>>,
}

/// The rules of one entry of the profile, for each of its names.
#[derive(Debug)]
struct Entry<'a> {
    names: &'a [String],
    rules: Vec<Rule>,
}

impl<'a> Profile<'a> {
    /// Validates a profile.
    pub(super) fn parse(profile: &'a LinuxSeccomp) -> Result<Self, Error> {
        let default = Action::parse(profile.default_action(), profile.default_errno_ret())?;
        let entries = profile.syscalls().iter().flatten();
        let entries = entries.map(|entry| Entry::parse(entry, default)).collect::<Result<_, _>>()?;
        Ok(Self { default, entries })
    }

    /// Yields the answer for numbers without a name.
    pub(super) fn unnamed(&self) -> Action {
        if self.default.is_errno() { Action::ENOSYS } else { self.default }
    }

    /// Yields the rules of each listed call of an ABI in the order of the profile, the calls by number.
    pub(super) fn rules_by_number(&self, abi: Abi) -> Vec<Call<'_>> {
        let mut found: Vec<(u32, &Entry)> = Vec::with_capacity(512);
        for entry in &self.entries {
            let numbers = entry.names.iter().filter_map(|name| abi.number(name));
            found.extend(numbers.map(|number| (number, entry)));
        }
        // Stable, so that the order of the profile stays within one number.
        found.sort_by_key(|&(number, _)| number);
        let mut calls: Vec<Call> = found.chunk_by(|a, b| a.0 == b.0).map(|same| (same[0].0, rules_of(same))).collect();
        if abi == Abi::I386 {
            for multiplexer in &multiplexer::I386 {
                self.demultiplex(abi, multiplexer, &mut calls);
            }
        }
        calls
    }

    /// Replaces the rules of a multiplexer by rules for each call that it carries.
    fn demultiplex(&self, abi: Abi, multiplexer: &Multiplexer, calls: &mut Vec<Call>) {
        let Some(number) = abi.number(multiplexer.name) else { return };
        let rules = self.rules_by_name();
        let carried = |name: &str| {
            let rules = rules.get(name).map_or(&[][..], Vec::as_slice);
            strictest_outcome(rules, self.default)
        };
        match calls.binary_search_by_key(&number, |call| call.0) {
            Ok(at) => calls[at].1 = multiplexer.rules(&calls[at].1, carried).into(),
            Err(at) => calls.insert(at, (number, multiplexer.rules(&[], carried).into())),
        }
    }

    fn rules_by_name(&self) -> HashMap<&str, Vec<&Rule>> {
        let mut rules: HashMap<&str, Vec<&Rule>> = HashMap::new();
        for entry in &self.entries {
            for name in entry.names {
                rules.entry(name).or_default().extend(&entry.rules);
            }
        }
        rules
    }
}

/// Yields the rules of all entries that name one call.
fn rules_of<'p>(same: &[(u32, &'p Entry<'p>)]) -> Cow<'p, [Rule]> {
    match same {
        // Nearly every call; its rules are not worth a copy each.
        [(_, entry)] => Cow::Borrowed(&entry.rules),
        _ => same.iter().flat_map(|(_, entry)| &entry.rules).cloned().collect(),
    }
}

/// Yields the strictest action that a call can meet, whatever its arguments.
fn strictest_outcome(rules: &[&Rule], default: Action) -> Action {
    let unconditional = rules.iter().position(|rule| rule.conditions.is_empty());
    let (reachable, last) = match unconditional {
        Some(at) => (&rules[..at], rules[at].action),
        None => (rules, default),
    };
    reachable.iter().fold(last, |strictest, rule| strictest.strictest(rule.action))
}

impl<'a> Entry<'a> {
    fn parse(entry: &'a LinuxSyscall, default: Action) -> Result<Self, Error> {
        let action = Action::parse(entry.action(), entry.errno_ret())?;
        let would_permit = default.permits() && !action.permits();
        if would_permit && let Some(unknown) = entry.names().iter().find(|name| !names::exists(name)) {
            let message = format!("cannot refuse {unknown:?}: no such system call is known");
            return Err(Error::new(Kind::UnknownSyscall, message));
        }
        let conditions = entry.args().iter().flatten().map(Condition::parse);
        let conditions: Vec<_> = conditions.collect::<Result<_, _>>()?;
        let rules = if !action.permits() && names_an_argument_twice(&conditions) {
            let alone = |condition| Rule { conditions: vec![condition], action };
            conditions.into_iter().map(alone).collect()
        } else {
            vec![Rule { conditions, action }]
        };
        Ok(Self { names: entry.names(), rules })
    }
}

fn names_an_argument_twice(conditions: &[Condition]) -> bool {
    let seen = |i: usize, index| conditions[..i].iter().any(|earlier| earlier.index == index);
    conditions.iter().enumerate().any(|(i, condition)| seen(i, condition.index))
}
