// SPDX-License-Identifier: Apache-2.0
//! The kernel's side, for tests: checks a program as the kernel does, runs it, and reads profiles the slow way.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Verb, LinuxSeccompArg, LinuxSeccompOperator as Op};

use super::{MAX_INSTRUCTIONS, SockFilter};

/// `struct seccomp_data`, without the instruction pointer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call {
    pub(super) arch: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            16..64 => {
                let arg = self.args[(offset as usize - 16) / 8];
                u32::from_le_bytes(arg.to_le_bytes()[offset as usize % 8..][..4].try_into().unwrap())
            }
            _ => panic!("load at {offset}"),
        }
    }
}

/// Runs a program: the returned word, and how many instructions it took.
pub(super) fn run(program: &[SockFilter], call: &Call) -> (u32, usize) {
    let (mut pc, mut accumulator) = (0, 0);
    for steps in 1..=program.len() {
        let SockFilter { code, jt, jf, k } = program[pc];
        let branch = |holds| usize::from(if holds { jt } else { jf });
        pc += 1 + match code {
            0x20 => {
                accumulator = call.word(k);
                0
            }
            0x54 => {
                accumulator &= k;
                0
            }
            0x05 => k as usize,
            0x15 => branch(accumulator == k),
            0x25 => branch(accumulator > k),
            0x35 => branch(accumulator >= k),
            0x45 => branch(accumulator & k != 0),
            0x06 => return (k, steps),
            _ => panic!("code {code:#x} at {pc}"),
        };
    }
    panic!("no end")
}

/// Checks what `bpf_check_classic()` and `seccomp_check_filter()` check.
pub(super) fn verify(program: &[SockFilter]) {
    assert!((1..=MAX_INSTRUCTIONS).contains(&program.len()));
    assert_eq!(program.last().unwrap().code, 0x06);
    for (pc, filter) in program.iter().enumerate() {
        let furthest = match filter.code {
            0x05 => filter.k as usize,
            0x15 | 0x25 | 0x35 | 0x45 => usize::from(filter.jt.max(filter.jf)),
            0x20 => {
                assert!(filter.k % 4 == 0 && filter.k < 64);
                0
            }
            0x06 | 0x54 => continue,
            code => panic!("code {code:#x}"),
        };
        assert!(pc + 1 + furthest < program.len(), "jump out of the program at {pc}");
    }
}

/// Yields the word that a profile means for a call of the given name, read as documented, in the plainest way.
pub(super) fn meaning(profile: &LinuxSeccomp, name: &str, args: &[u64; 6]) -> u32 {
    for entry in profile.syscalls().iter().flatten().filter(|entry| entry.names().iter().any(|n| n == name)) {
        let args_of_rule = entry.args().as_deref().unwrap_or_default();
        let mut seen = [false; 6];
        let ambiguous = args_of_rule.iter().any(|arg| std::mem::replace(&mut seen[arg.index()], true));
        let permits = matches!(entry.action(), Verb::ScmpActAllow | Verb::ScmpActLog);
        let matches = if ambiguous && !permits {
            args_of_rule.iter().any(|arg| holds(arg, args))
        } else {
            args_of_rule.iter().all(|arg| holds(arg, args))
        };
        if matches {
            return entry.action().as_u32(entry.errno_ret());
        }
    }
    profile.default_action().as_u32(profile.default_errno_ret())
}

fn holds(condition: &LinuxSeccompArg, args: &[u64; 6]) -> bool {
    let (arg, value) = (args[condition.index()], condition.value());
    match condition.op() {
        Op::ScmpCmpNe => arg != value,
        Op::ScmpCmpLt => arg < value,
        Op::ScmpCmpLe => arg <= value,
        Op::ScmpCmpEq => arg == value,
        Op::ScmpCmpGe => arg >= value,
        Op::ScmpCmpGt => arg > value,
        Op::ScmpCmpMaskedEq => arg & value == condition.value_two().unwrap_or(0),
    }
}
