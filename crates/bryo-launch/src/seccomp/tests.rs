// SPDX-License-Identifier: Apache-2.0
//! Programs run in an interpreter and compared with what their profiles mean.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Verb, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompFilterFlag,
    LinuxSeccompOperator as Op, LinuxSyscall, LinuxSyscallBuilder,
};
use proptest::prelude::*;

use super::machine::{Call, meaning, run, verify};
use super::names::Abi;
use super::{Kind, Program, compile_for};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const X86_64: &[Abi] = &[Abi::X86_64];
const BOTH: &[Abi] = &[Abi::X86_64, Abi::I386];

fn rule(names: &[&str], action: Verb, args: &[LinuxSeccompArg]) -> LinuxSyscall {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    LinuxSyscallBuilder::default().names(names).action(action).args(args).build().unwrap()
}

fn rule_errno(names: &[&str], errno: u32) -> LinuxSyscall {
    let mut rule = rule(names, Verb::ScmpActErrno, &[]);
    rule.set_errno_ret(Some(errno));
    rule
}

fn arg(index: usize, op: Op, value: u64) -> LinuxSeccompArg {
    LinuxSeccompArgBuilder::default().index(index).op(op).value(value).build().unwrap()
}

fn masked(index: usize, mask: u64, value: u64) -> LinuxSeccompArg {
    let op = Op::ScmpCmpMaskedEq;
    LinuxSeccompArgBuilder::default().index(index).op(op).value(mask).value_two(value).build().unwrap()
}

fn profile(default: Verb, rules: Vec<LinuxSyscall>) -> LinuxSeccomp {
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(default).set_syscalls(Some(rules));
    profile
}

fn program(abis: &[Abi], profile: &LinuxSeccomp) -> Program {
    let program = compile_for(abis, profile).unwrap();
    verify(&program.filters);
    program
}

fn kind(profile: &LinuxSeccomp) -> Kind {
    compile_for(BOTH, profile).unwrap_err().kind()
}

#[track_caller]
fn answer(program: &Program, abi: Abi, name: &str, args: &[u64]) -> u32 {
    let number = abi.number(name).unwrap();
    answer_number(program, abi, number, args)
}

fn answer_number(program: &Program, abi: Abi, number: u32, args: &[u64]) -> u32 {
    let mut call = Call { arch: abi.audit_arch(), number, ..Call::default() };
    call.args[..args.len()].copy_from_slice(args);
    run(&program.filters, &call).0
}

#[test]
fn actions_become_the_kernels_words() {
    for (verb, word) in [
        (Verb::ScmpActKill, 0),
        (Verb::ScmpActKillThread, 0),
        (Verb::ScmpActKillProcess, 0x8000_0000),
        (Verb::ScmpActTrap, 0x0003_0000),
        (Verb::ScmpActErrno, EPERM),
        (Verb::ScmpActTrace, 0x7ff0_0001),
        (Verb::ScmpActLog, 0x7ffc_0000),
        (Verb::ScmpActAllow, ALLOW),
    ] {
        let program = program(X86_64, &profile(Verb::ScmpActAllow, vec![rule(&["mkdir"], verb, &[])]));
        assert_eq!(answer(&program, Abi::X86_64, "mkdir", &[]), word);
        assert_eq!(answer(&program, Abi::X86_64, "rmdir", &[]), ALLOW);
    }
}

#[test]
fn errnos_of_rule_and_default_are_returned() {
    let mut profile = profile(Verb::ScmpActErrno, vec![rule_errno(&["mkdir"], 30), rule_errno(&["rmdir"], 0)]);
    profile.set_default_errno_ret(Some(13));
    let program = program(X86_64, &profile);
    assert_eq!(answer(&program, Abi::X86_64, "mkdir", &[]), 0x0005_0000 | 30);
    assert_eq!(answer(&program, Abi::X86_64, "rmdir", &[]), 0x0005_0000);
    assert_eq!(answer(&program, Abi::X86_64, "getpid", &[]), 0x0005_0000 | 13);
}

#[test]
fn numbers_without_a_name_get_enosys_only_under_an_errno_default() {
    for (default, expected) in [
        (Verb::ScmpActErrno, ENOSYS),
        (Verb::ScmpActAllow, ALLOW),
        (Verb::ScmpActKillProcess, 0x8000_0000),
        (Verb::ScmpActTrap, 0x0003_0000),
    ] {
        let program = program(X86_64, &profile(default, vec![]));
        for number in [Abi::X86_64.highest() + 1, 600, 0x3fff_ffff, 400] {
            assert_eq!(answer_number(&program, Abi::X86_64, number, &[]), expected, "{number}");
        }
    }
}

#[test]
fn x32_numbers_get_enosys_whatever_the_profile_says() {
    for default in [Verb::ScmpActAllow, Verb::ScmpActErrno, Verb::ScmpActKill] {
        let mut profile = profile(default, vec![rule(&["read"], Verb::ScmpActAllow, &[])]);
        profile.set_architectures(Some(vec![Arch::ScmpArchX32, Arch::ScmpArchX86_64]));
        let program = super::compile(&profile).unwrap();
        for number in [0x4000_0000, 0x4000_0000 + 520, 0x8000_0000, u32::MAX] {
            let call = Call { arch: Abi::X86_64.audit_arch(), number, ..Call::default() };
            assert_eq!(run(&program.filters, &call).0, ENOSYS);
        }
    }
}

#[test]
fn a_foreign_abi_gets_enosys_even_under_a_permissive_default() {
    let program = program(X86_64, &profile(Verb::ScmpActAllow, vec![]));
    for arch in [Abi::I386.audit_arch(), Abi::Aarch64.audit_arch(), 0, u32::MAX] {
        for number in [0, 1, 11, 102, 435, u32::MAX] {
            let call = Call { arch, number, ..Call::default() };
            assert_eq!(run(&program.filters, &call).0, ENOSYS);
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn i386_has_its_own_numbers_when_the_profile_names_it() {
    let mut profile = profile(Verb::ScmpActErrno, vec![rule(&["getpid", "mmap2"], Verb::ScmpActAllow, &[])]);
    profile.set_architectures(Some(vec![Arch::ScmpArchX86]));
    let program = super::compile(&profile).unwrap();
    assert_eq!(answer_number(&program, Abi::I386, 20, &[]), ALLOW, "getpid");
    assert_eq!(answer_number(&program, Abi::I386, 192, &[]), ALLOW, "mmap2");
    assert_eq!(answer_number(&program, Abi::I386, 39, &[]), EPERM, "mkdir, where x86_64 has getpid");
    assert_eq!(answer_number(&program, Abi::X86_64, 39, &[]), ALLOW);
    assert_eq!(answer_number(&program, Abi::X86_64, 20, &[]), EPERM, "writev");
}

#[test]
fn aarch64_has_its_own_numbers() {
    let rules = vec![rule(&["newfstatat", "getpid", "open"], Verb::ScmpActAllow, &[])];
    let program = program(&[Abi::Aarch64], &profile(Verb::ScmpActErrno, rules));
    assert_eq!(answer_number(&program, Abi::Aarch64, 79, &[]), ALLOW);
    assert_eq!(answer_number(&program, Abi::Aarch64, 172, &[]), ALLOW);
    assert_eq!(answer_number(&program, Abi::Aarch64, 40, &[]), EPERM, "mount");
    assert_eq!(answer_number(&program, Abi::Aarch64, 300, &[]), ENOSYS);
    assert_eq!(answer_number(&program, Abi::X86_64, 39, &[]), ENOSYS);
}

#[test]
fn comparisons_use_both_halves() {
    let corners = [
        0,
        1,
        0x5412,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_5412,
        0x5412_0000_0000,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        u64::MAX,
    ];
    let ops = [Op::ScmpCmpNe, Op::ScmpCmpLt, Op::ScmpCmpLe, Op::ScmpCmpEq, Op::ScmpCmpGe, Op::ScmpCmpGt];
    for op in ops {
        for value in corners {
            for index in 0..6 {
                let rules = vec![rule(&["ioctl"], Verb::ScmpActAllow, &[arg(index, op, value)])];
                let profile = profile(Verb::ScmpActErrno, rules);
                let program = program(X86_64, &profile);
                for given in corners.iter().flat_map(|&c| [c.wrapping_sub(1), c, c.wrapping_add(1)]) {
                    let mut args = [0x5412; 6];
                    args[index] = given;
                    let expected = meaning(&profile, "ioctl", &args);
                    assert_eq!(answer(&program, Abi::X86_64, "ioctl", &args), expected, "{given:#x} {op} {value:#x}");
                }
            }
        }
    }
}

#[test]
fn a_mask_of_32_bits_refuses_whatever_the_high_half_is() {
    // CVE-2019-10063: the kernel truncates the request to 32 bits, a 64-bit comparison does not.
    let refused = rule(&["ioctl"], Verb::ScmpActErrno, &[masked(1, 0xffff_ffff, 0x5412)]);
    let program =
        program(X86_64, &profile(Verb::ScmpActErrno, vec![refused, rule(&["ioctl"], Verb::ScmpActAllow, &[])]));
    for high in [0_u64, 1, 0x8000_0000, 0xffff_ffff] {
        assert_eq!(answer(&program, Abi::X86_64, "ioctl", &[0, high << 32 | 0x5412]), EPERM);
        assert_eq!(answer(&program, Abi::X86_64, "ioctl", &[0, high << 32 | 0x5413]), ALLOW);
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = vec![
        rule(&["personality"], Verb::ScmpActLog, &[arg(0, Op::ScmpCmpEq, 8)]),
        rule(&["personality"], Verb::ScmpActTrap, &[arg(0, Op::ScmpCmpLt, 10), arg(1, Op::ScmpCmpEq, 1)]),
        rule(&["getpid", "personality"], Verb::ScmpActAllow, &[]),
        rule(&["personality"], Verb::ScmpActKill, &[]),
    ];
    let program = program(X86_64, &profile(Verb::ScmpActErrno, rules));
    assert_eq!(answer(&program, Abi::X86_64, "personality", &[8, 1]), 0x7ffc_0000);
    assert_eq!(answer(&program, Abi::X86_64, "personality", &[9, 1]), 0x0003_0000);
    assert_eq!(answer(&program, Abi::X86_64, "personality", &[9, 2]), ALLOW);
    assert_eq!(answer(&program, Abi::X86_64, "personality", &[10, 1]), ALLOW);
}

#[test]
fn an_argument_named_twice_is_read_as_refusing_more() {
    let between = [arg(0, Op::ScmpCmpGe, 3), arg(0, Op::ScmpCmpLe, 5)];
    let permits = program(X86_64, &profile(Verb::ScmpActErrno, vec![rule(&["dup"], Verb::ScmpActAllow, &between)]));
    for (value, expected) in [(2, EPERM), (3, ALLOW), (5, ALLOW), (6, EPERM)] {
        assert_eq!(answer(&permits, Abi::X86_64, "dup", &[value]), expected);
    }
    let either = [arg(0, Op::ScmpCmpEq, 3), arg(0, Op::ScmpCmpEq, 5)];
    let refuses = program(X86_64, &profile(Verb::ScmpActAllow, vec![rule(&["dup"], Verb::ScmpActErrno, &either)]));
    for (value, expected) in [(3, EPERM), (4, ALLOW), (5, EPERM)] {
        assert_eq!(answer(&refuses, Abi::X86_64, "dup", &[value]), expected);
    }
}

#[test]
fn unknown_names_are_skipped_only_where_that_refuses() {
    let unknown = |verb| rule(&["no_such_call"], verb, &[]);
    program(BOTH, &profile(Verb::ScmpActErrno, vec![unknown(Verb::ScmpActAllow)]));
    program(BOTH, &profile(Verb::ScmpActErrno, vec![unknown(Verb::ScmpActKill)]));
    program(BOTH, &profile(Verb::ScmpActAllow, vec![unknown(Verb::ScmpActLog)]));
    assert_eq!(kind(&profile(Verb::ScmpActAllow, vec![unknown(Verb::ScmpActErrno)])), Kind::UnknownSyscall);
    assert_eq!(kind(&profile(Verb::ScmpActLog, vec![unknown(Verb::ScmpActTrace)])), Kind::UnknownSyscall);
    // A call of another ABI is known, it just does not exist here.
    program(X86_64, &profile(Verb::ScmpActAllow, vec![rule(&["vm86", "socketcall"], Verb::ScmpActErrno, &[])]));
}

#[test]
fn what_has_no_meaning_is_an_error() {
    let allow = |args: &[LinuxSeccompArg]| profile(Verb::ScmpActErrno, vec![rule(&["dup"], Verb::ScmpActAllow, args)]);
    assert_eq!(kind(&allow(&[arg(6, Op::ScmpCmpEq, 0)])), Kind::InvalidArgument);
    assert_eq!(kind(&allow(&[masked(0, 0xff, 0x100)])), Kind::InvalidArgument);
    assert_eq!(kind(&profile(Verb::ScmpActNotify, vec![])), Kind::Unsupported);
    assert_eq!(kind(&profile(Verb::ScmpActErrno, vec![rule_errno(&["dup"], 4096)])), Kind::InvalidErrno);
    let mut errno_for_allow = profile(Verb::ScmpActAllow, vec![]);
    errno_for_allow.set_default_errno_ret(Some(1));
    assert_eq!(kind(&errno_for_allow), Kind::InvalidErrno);
}

#[test]
fn multiplexers_of_i386_cannot_reach_what_the_direct_call_could_not() {
    let inet = [arg(0, Op::ScmpCmpEq, 2)];
    let rules = vec![
        rule(&["socket"], Verb::ScmpActAllow, &inet),
        rule(&["connect", "semget"], Verb::ScmpActAllow, &[]),
        rule(&["bind"], Verb::ScmpActKill, &[]),
        rule(&["shmget"], Verb::ScmpActAllow, &[]),
    ];
    let without = program(BOTH, &profile(Verb::ScmpActErrno, rules.clone()));
    let named = [rules, vec![rule(&["socketcall"], Verb::ScmpActAllow, &[])]].concat();
    let with = program(BOTH, &profile(Verb::ScmpActErrno, named));
    for program in [&without, &with] {
        assert_eq!(answer(program, Abi::I386, "socketcall", &[1]), EPERM, "socket is not permitted for all families");
        assert_eq!(answer(program, Abi::I386, "socketcall", &[2]), 0, "bind");
        assert_eq!(answer(program, Abi::I386, "socketcall", &[3]), ALLOW, "connect");
        assert_eq!(answer(program, Abi::I386, "ipc", &[2]), ALLOW, "semget");
        assert_eq!(answer(program, Abi::I386, "ipc", &[1 << 16 | 2]), ALLOW, "semget, version 1");
        assert_eq!(answer(program, Abi::I386, "ipc", &[1 << 16 | 11]), EPERM, "msgsnd");
        assert_eq!(answer(program, Abi::I386, "socket", &[2]), ALLOW);
        assert_eq!(answer(program, Abi::I386, "socket", &[38]), EPERM);
    }
    assert_eq!(answer(&without, Abi::I386, "socketcall", &[21]), EPERM);
}

#[test]
fn flags_become_the_kernels_bits() {
    let mut profile = profile(Verb::ScmpActAllow, vec![]);
    assert_eq!(program(X86_64, &profile).flags, 0);
    profile.set_flags(Some(vec![
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync,
        LinuxSeccompFilterFlag::SeccompFilterFlagLog,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv,
    ]));
    assert_eq!(program(X86_64, &profile).flags, 0b10_0111);
}

#[test]
fn long_programs_jump_correctly_and_too_long_ones_are_refused() {
    let many = |count: u64| {
        let values = (0..count).map(|value| rule(&["dup"], Verb::ScmpActAllow, &[arg(0, Op::ScmpCmpEq, value << 20)]));
        let other = rule(&["zzz", "getpid", "exit_group", "read"], Verb::ScmpActTrap, &[]);
        profile(Verb::ScmpActErrno, values.chain([other]).collect())
    };
    let long = program(X86_64, &many(700));
    assert!(long.filters.len() > 2800);
    for value in 0..701_u64 {
        let expected = if value < 700 { ALLOW } else { EPERM };
        assert_eq!(answer(&long, Abi::X86_64, "dup", &[value << 20]), expected);
    }
    assert_eq!(answer(&long, Abi::X86_64, "getpid", &[]), 0x0003_0000);
    assert_eq!(answer(&long, Abi::X86_64, "read", &[]), 0x0003_0000);
    assert_eq!(answer(&long, Abi::X86_64, "write", &[]), EPERM);
    assert_eq!(answer_number(&long, Abi::X86_64, 5000, &[]), ENOSYS);
    assert_eq!(kind(&many(1500)), Kind::TooLong);
}

/// Calls with distinct numbers on both ABIs, at the ends and in the middle of the tables, no multiplexers.
const NAMES: [&str; 8] = ["read", "getpid", "mkdir", "clone", "personality", "ioctl", "openat2", "file_setattr"];

fn verbs() -> impl Strategy<Value = Verb> {
    prop::sample::select(vec![
        Verb::ScmpActAllow,
        Verb::ScmpActLog,
        Verb::ScmpActErrno,
        Verb::ScmpActTrap,
        Verb::ScmpActKillProcess,
        Verb::ScmpActTrace,
    ])
}

/// Few values, near each other in both halves, so that conditions are often just met or just missed.
fn words() -> impl Strategy<Value = u64> {
    let half = prop::sample::select(vec![0_u64, 1, 2, 0x8000_0000, 0xffff_ffff]);
    (half.clone(), half).prop_map(|(high, low)| high << 32 | low)
}

fn conditions() -> impl Strategy<Value = LinuxSeccompArg> {
    let ops = vec![Op::ScmpCmpNe, Op::ScmpCmpLt, Op::ScmpCmpLe, Op::ScmpCmpEq, Op::ScmpCmpGe, Op::ScmpCmpGt];
    prop_oneof![
        (0..3_usize, prop::sample::select(ops), words()).prop_map(|(index, op, value)| arg(index, op, value)),
        (0..3_usize, words(), words()).prop_map(|(index, mask, value)| masked(index, mask, value & mask)),
    ]
}

fn rules() -> impl Strategy<Value = LinuxSyscall> {
    let names = prop::sample::subsequence(NAMES.to_vec(), 1..4);
    let errno = prop::option::of(0..4096_u32);
    (names, verbs(), errno, prop::collection::vec(conditions(), 0..4)).prop_map(|(names, verb, errno, args)| {
        let mut rule = rule(&names, verb, &args);
        if matches!(verb, Verb::ScmpActErrno | Verb::ScmpActTrace) {
            rule.set_errno_ret(errno);
        }
        rule
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn programs_do_what_their_profiles_mean(
        default in verbs(),
        rules in prop::collection::vec(rules(), 0..24),
        calls in prop::collection::vec((prop::sample::select(NAMES.to_vec()), [words(), words(), words()]), 64),
    ) {
        let profile = profile(default, rules);
        for abis in [BOTH, &[Abi::Aarch64][..]] {
            let program = program(abis, &profile);
            for &abi in abis {
                for (name, [a, b, c]) in &calls {
                    let Some(number) = abi.number(name) else { continue };
                    let args = [*a, *b, *c, 0, 0, 0];
                    prop_assert_eq!(answer_number(&program, abi, number, &args), meaning(&profile, name, &args));
                }
            }
        }
    }
}
