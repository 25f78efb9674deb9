// SPDX-License-Identifier: Apache-2.0
//! A small assembler for the classic BPF that seccomp takes.
//!
//! Programs are emitted from the last instruction to the first. Classic BPF only jumps forward, so the target of
//! each jump exists before the jump does and its distance is known at once: no second pass, no fix-ups. A
//! conditional jump reaches 255 instructions; where a target is further away, an unlimited jump (or for an answer
//! a copy of it) is put in between.
//!
//! Only operations that the kernel can evaluate ahead are used on the way to an answer which depends on nothing
//! but the number (`seccomp_is_const_allow` in kernel/seccomp.c), so since Linux 5.11 a call that is always
//! permitted costs one bit test.

use super::error::{Error, Kind};
use super::rules::Action;
use super::{MAX_INSTRUCTIONS, SockFilter};

// linux/bpf_common.h
const LD_W_ABS: u16 = 0x20;
const ALU_AND_K: u16 = 0x54;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGT_K: u16 = 0x25;
const JMP_JGE_K: u16 = 0x35;
const JMP_JSET_K: u16 = 0x45;
const RET_K: u16 = 0x06;

/// Offset of the call's number in `struct seccomp_data`.
pub(super) const NUMBER: u32 = 0;
/// Offset of the `AUDIT_ARCH_*` value.
pub(super) const ARCH: u32 = 4;

#[cfg(target_endian = "big")]
compile_error!("the halves of system call arguments are located for little-endian machines only");

/// Yields the offset of the low half of an argument.
pub(super) const fn low_half(index: u32) -> u32 {
    16 + 8 * index
}

/// Yields the offset of the high half of an argument.
pub(super) const fn high_half(index: u32) -> u32 {
    low_half(index) + 4
}

/// A place in the program that a jump can lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// An instruction, counted from the end.
    At(usize),
    /// An answer; there may be several copies of it in the program.
    Answer(Action),
}

/// A program under construction, its last instruction first.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<SockFilter>,
    answers: Vec<(Action, usize)>,
}

impl Assembler {
    /// Names the end of the program with the given answer.
    #[expect(clippy::unused_self, reason = "an answer belongs to the program it ends")]
    pub(super) fn answer(&mut self, action: Action) -> Label {
        Label::Answer(action)
    }

    /// Loads a word of `struct seccomp_data`, then goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.sequential(LD_W_ABS, offset, next)
    }

    /// Masks the accumulator, then goes on at `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.sequential(ALU_AND_K, mask, next)
    }

    /// Branches on accumulator = value.
    pub(super) fn equal(&mut self, value: u32, yes: Label, no: Label) -> Label {
        self.branch(JMP_JEQ_K, value, yes, no)
    }

    /// Branches on accumulator > value, unsigned.
    pub(super) fn above(&mut self, value: u32, yes: Label, no: Label) -> Label {
        self.branch(JMP_JGT_K, value, yes, no)
    }

    /// Branches on accumulator >= value, unsigned.
    pub(super) fn at_least(&mut self, value: u32, yes: Label, no: Label) -> Label {
        self.branch(JMP_JGE_K, value, yes, no)
    }

    /// Branches on whether any bit of the mask is set in the accumulator.
    pub(super) fn any_bit(&mut self, mask: u32, yes: Label, no: Label) -> Label {
        self.branch(JMP_JSET_K, mask, yes, no)
    }

    /// Yields the program that begins at `start`, in the kernel's order.
    pub(super) fn finish(mut self, start: Label) -> Result<Vec<SockFilter>, Error> {
        self.fall_into(start);
        if self.reversed.len() > MAX_INSTRUCTIONS {
            let message = format!("{} instructions, the kernel takes {MAX_INSTRUCTIONS}", self.reversed.len());
            return Err(Error::new(Kind::TooLong, message));
        }
        self.reversed.reverse();
        Ok(self.reversed)
    }

    /// Emits an instruction that has one successor.
    fn sequential(&mut self, code: u16, k: u32, next: Label) -> Label {
        self.fall_into(next);
        self.push(code, 0, 0, k)
    }

    /// Emits a conditional jump.
    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        // Bringing `no` near can emit one instruction, hence the spare distance for `yes`.
        let yes = self.near(yes, 1);
        let no = self.near(no, 0);
        let (jt, jf) = (self.skip(yes), self.skip(no));
        self.push(code, jt, jf, k)
    }

    /// Makes the next instruction to be emitted run into `target`.
    fn fall_into(&mut self, target: Label) {
        match target {
            Label::At(at) if at + 1 == self.reversed.len() => {}
            Label::At(at) => {
                self.jump(at);
            }
            Label::Answer(action) => {
                self.push_answer(action);
            }
        }
    }

    /// Yields a position that leads to `target` and that a conditional jump, `spare` instructions later, reaches.
    fn near(&mut self, target: Label, spare: usize) -> usize {
        let reach = usize::from(u8::MAX) - spare;
        match target {
            Label::At(at) if self.distance(at) <= reach => at,
            Label::At(at) => self.jump(at),
            Label::Answer(action) => {
                let known = self.answers.iter().find(|(known, _)| *known == action);
                match known {
                    Some(&(_, at)) if self.distance(at) <= reach => at,
                    _ => self.push_answer(action),
                }
            }
        }
    }

    /// Counts the instructions between the next one to be emitted and a position.
    fn distance(&self, at: usize) -> usize {
        self.reversed.len() - at - 1
    }

    fn skip(&self, at: usize) -> u8 {
        u8::try_from(self.distance(at)).expect("near() keeps targets within reach")
    }

    fn jump(&mut self, at: usize) -> usize {
        let distance = u32::try_from(self.distance(at)).unwrap_or(u32::MAX);
        self.push_at(JMP_JA, 0, 0, distance)
    }

    fn push_answer(&mut self, action: Action) -> usize {
        let at = self.push_at(RET_K, 0, 0, action.word());
        self.answers.retain(|(known, _)| *known != action);
        self.answers.push((action, at));
        at
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        Label::At(self.push_at(code, jt, jf, k))
    }

    fn push_at(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.reversed.push(SockFilter { code, jt, jf, k });
        self.reversed.len() - 1
    }
}
