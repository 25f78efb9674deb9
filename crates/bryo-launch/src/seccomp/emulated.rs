// SPDX-License-Identifier: Apache-2.0
//! The filter for payloads that believe to have more ids than the one that there is.

use super::SockFilter;
use super::names::Abi;

/// Calls that a listener answers: it knows whose a file is to be, and who a process believes to be.
const LISTENED: [&str; 16] = [
    "chown",
    "lchown",
    "fchown",
    "fchownat",
    "getuid",
    "geteuid",
    "getresuid",
    "getgid",
    "getegid",
    "getresgid",
    "setuid",
    "setreuid",
    "setresuid",
    "setgid",
    "setregid",
    "setresgid",
];

/// A call that is answered with success and changes nothing: there are no groups to be had.
const IGNORED: [&str; 1] = ["setgroups"];

/// Operations of classic BPF. Source: `linux/bpf_common.h`.
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// What a filter answers. Source: `linux/seccomp.h`.
const ALLOW: u32 = 0x7fff_0000;
const LISTENER: u32 = 0x7fc0_0000;
const ERRNO_0: u32 = 0x0005_0000;

/// Where the ABI and the number of a call are. Source: `struct seccomp_data` of `linux/seccomp.h`.
const ARCH: u32 = 4;
const NUMBER: u32 = 0;

/// Makes the filter, for the native ABI; calls of others are what they are.
pub(crate) fn emulated_ids() -> Vec<SockFilter> {
    let word = |code, k| SockFilter { code, jt: 0, jf: 0, k };
    let equal = |k, jt, jf| SockFilter { code: JUMP_EQUAL, jt, jf, k };
    let mut program =
        vec![word(LOAD, ARCH), equal(Abi::NATIVE.audit_arch(), 1, 0), word(RETURN, ALLOW), word(LOAD, NUMBER)];
    for (names, answer) in [(&LISTENED[..], LISTENER), (&IGNORED[..], ERRNO_0)] {
        for number in names.iter().filter_map(|name| Abi::NATIVE.number(name)) {
            program.extend([equal(number, 0, 1), word(RETURN, answer)]);
        }
    }
    program.push(word(RETURN, ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use super::super::machine::{Call, run, verify};
    use super::*;

    #[test]
    fn owners_are_listened_to_ids_ignored_and_the_rest_let_through() {
        let program = emulated_ids();
        verify(&program);
        let answer = |arch, name: &str| {
            let number = Abi::NATIVE.number(name).unwrap();
            run(&program, &Call { arch, number, args: [0; 6] }).0
        };
        let native = Abi::NATIVE.audit_arch();
        assert_eq!((answer(native, "fchownat"), answer(native, "fchown")), (LISTENER, LISTENER));
        assert_eq!((answer(native, "setgroups"), answer(native, "setresuid")), (ERRNO_0, LISTENER));
        for other in ["openat", "fchmodat", "getgroups", "setxattr", "capset"] {
            assert_eq!(answer(native, other), ALLOW, "{other}");
        }
        assert_eq!(answer(native ^ 1, "fchown"), ALLOW);
    }
}
