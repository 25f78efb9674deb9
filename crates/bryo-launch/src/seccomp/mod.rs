// SPDX-License-Identifier: Apache-2.0
//! The OCI `linux.seccomp` section, compiled to a classic BPF program.
//!
//! **Guarantees.** The program decides every call of every ABI that the machine offers. What the profile does
//! not cover is refused: a foreign ABI answers `ENOSYS`, a rule that cannot be expressed is an error and no
//! program. Compiling is pure (no system call, no global state) and takes tens of microseconds.
//!
//! **Trusts** the author of the profile. **Faces** the payload, which chooses numbers, arguments and ABI freely:
//! 64-bit arguments are compared in both halves, and a rule with a mask compares exactly the masked bits, so a
//! profile can name what the kernel really reads of an `int` argument (CVE-2019-10063).
//!
//! # How a profile is read
//! The runtime specification (config-linux.md, "Seccomp") leaves room; the room is used like this:
//!
//! * Rules for one call are tried in the order of the profile, the first that matches decides. Conditions of
//!   one rule must all hold. A rule that names one argument twice is ambiguous (other runtimes take its
//!   conditions as alternatives): the reading that refuses more is taken, that is all of them for a permission,
//!   any of them for a refusal.
//! * A name that no table knows is skipped where skipping refuses (a permission, or a refusal under a default
//!   that refuses too), and is an error where skipping would permit.
//! * Under a default of `SCMP_ACT_ERRNO`, numbers without a name here, so those of future kernels, get `ENOSYS`
//!   and not the default's errno: a C library falls back on `ENOSYS` and gives up on `EPERM`. Every other
//!   default applies to them as it stands.
//! * The native ABI is always covered, `SCMP_ARCH_X86` on request. x32 is never opened, not even on request: its
//!   numbers share the native table's kernel code, and no stock distribution has it enabled.
//! * On i386 the multiplexers `socketcall(2)` and `ipc(2)` carry the calls of other rules. Each carried call
//!   gets the strictest action that the rules for its own name can give, and the multiplexer's own rules can
//!   only tighten that: their pointed-to arguments cannot be seen by a filter.
//! * `SCMP_ACT_NOTIFY` needs an agent to answer; without one each such call would hang, so it is refused.

mod assembler;
mod conditions;
mod emulated;
mod error;
#[cfg(test)]
mod machine;
mod multiplexer;
mod names;
mod rules;
#[cfg(test)]
mod tests;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompFilterFlag};

pub use bryo_sys::seccomp::SockFilter;
pub(crate) use emulated::emulated_ids;
pub use error::{Error, Kind};
pub use names::{exists, name_of};

use assembler::{Assembler, Label};
use names::Abi;
use rules::{Action, Profile, Rule};

/// A program ready for `seccomp(SECCOMP_SET_MODE_FILTER)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The instructions, at most [`MAX_INSTRUCTIONS`].
    pub filters: Vec<SockFilter>,
    /// The `SECCOMP_FILTER_FLAG_*` bits that the profile asked for; none when it named none.
    pub flags: u32,
}

/// The kernel's limit on the length of one program (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Compiles a profile for the architecture this program runs on.
///
/// # Errors
/// Every [`Kind`]: a profile that cannot be obeyed in full yields no program.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, Error> {
    compile_for(&abis(profile), profile)
}

/// Compiles a profile for the given ABIs.
fn compile_for(abis: &[Abi], profile: &LinuxSeccomp) -> Result<Program, Error> {
    let flags = flags(profile);
    let profile = Profile::parse(profile)?;
    let mut asm = Assembler::default();
    // The assembler works from the last instruction to the first, so the program reads upwards from here.
    let mut otherwise = asm.answer(Action::ENOSYS);
    for &abi in abis.iter().rev() {
        let table = dispatch(&mut asm, abi, &profile);
        otherwise = asm.equal(abi.audit_arch(), table, otherwise);
    }
    let start = asm.load(assembler::ARCH, otherwise);
    Ok(Program { filters: asm.finish(start)?, flags })
}

/// Lists the ABIs that the program covers, the most frequent first.
fn abis(profile: &LinuxSeccomp) -> Vec<Abi> {
    let mut abis = vec![Abi::NATIVE];
    let named = |arch| profile.architectures().as_ref().is_some_and(|all| all.contains(&arch));
    if Abi::NATIVE == Abi::X86_64 && named(Arch::ScmpArchX86) {
        abis.push(Abi::I386);
    }
    abis
}

/// Yields the kernel's bits for the profile's flags (`linux/seccomp.h`).
fn flags(profile: &LinuxSeccomp) -> u32 {
    let bit = |flag: &LinuxSeccompFilterFlag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 1,
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => 1 << 1,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 1 << 2,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 1 << 5,
    };
    profile.flags().iter().flatten().map(bit).fold(0, |all, one| all | one)
}

/// Emits the part of the program that decides the calls of one ABI.
fn dispatch(asm: &mut Assembler, abi: Abi, profile: &Profile) -> Label {
    let ranges = ranges(asm, abi, profile);
    let table = tree(asm, &ranges);
    let table = match abi.foreign_numbers() {
        Some(first) => {
            let refuse = asm.answer(Action::ENOSYS);
            asm.at_least(first, refuse, table)
        }
        None => table,
    };
    asm.load(assembler::NUMBER, table)
}

/// Splits the numbers of one ABI into ranges that share a decision: (first number, decision), from 0 upwards.
fn ranges(asm: &mut Assembler, abi: Abi, profile: &Profile) -> Vec<(u32, Label)> {
    let unnamed = asm.answer(profile.unnamed());
    let unlisted = asm.answer(profile.default);
    let mut ranges: Vec<(u32, Label)> = Vec::with_capacity(128);
    let mut push = |first: u32, label: Label| {
        if ranges.last().is_none_or(|&(_, last)| last != label) {
            ranges.push((first, label));
        }
    };
    let mut listed = profile.rules_by_number(abi).into_iter().peekable();
    for number in 0..=abi.highest() {
        if !abi.is_named(number) {
            push(number, unnamed);
        } else if let Some((_, rules)) = listed.next_if(|&(listed, _)| listed == number) {
            push(number, decide(asm, &rules, profile.default));
        } else {
            push(number, unlisted);
        }
    }
    push(abi.highest() + 1, unnamed);
    ranges
}

/// Emits the decision for one call: its rules in order, then the default.
fn decide(asm: &mut Assembler, rules: &[Rule], default: Action) -> Label {
    let unconditional = rules.iter().position(|rule| rule.conditions.is_empty());
    let (conditional, last) = match unconditional {
        Some(at) => (&rules[..at], rules[at].action),
        None => (rules, default),
    };
    let mut next = asm.answer(last);
    for rule in conditional.iter().rev() {
        let mut matched = asm.answer(rule.action);
        for condition in rule.conditions.iter().rev() {
            matched = condition.emit(asm, matched, next);
        }
        next = matched;
    }
    next
}

/// Emits a balanced tree of comparisons over the ranges; the number is in the accumulator.
fn tree(asm: &mut Assembler, ranges: &[(u32, Label)]) -> Label {
    if let [(_, only)] = ranges {
        return *only;
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let upper = tree(asm, high);
    let lower = tree(asm, low);
    asm.at_least(high[0].0, upper, lower)
}
