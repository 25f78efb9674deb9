// SPDX-License-Identifier: Apache-2.0
//! Conditions on the arguments of a call: 64-bit comparisons made of 32-bit ones.
//!
//! A filter sees arguments as two 32-bit words each. Both are compared, always: a comparison of the low word alone
//! is what a profile asks for with a mask, never what it gets by accident.

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Op};

use super::assembler::{Assembler, Label, high_half, low_half};
use super::error::{Error, Kind};

/// A test of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) index: u32,
    pub(super) test: Test,
}

/// What must hold of the argument, as an unsigned number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    NotEqual(u64),
    Below(u64),
    AtMost(u64),
    AtLeast(u64),
    Above(u64),
    /// The bits under the mask are exactly those of the value, which has no others.
    Masked {
        mask: u64,
        value: u64,
    },
}

impl Condition {
    /// Reads a condition of the OCI specification.
    pub(super) fn parse(arg: &LinuxSeccompArg) -> Result<Self, Error> {
        let index = match u32::try_from(arg.index()) {
            Ok(index) if index < 6 => index,
            _ => {
                let message = format!("argument {} does not exist, calls have 0 to 5", arg.index());
                return Err(Error::new(Kind::InvalidArgument, message));
            }
        };
        let value = arg.value();
        let test = match arg.op() {
            Op::ScmpCmpNe => Test::NotEqual(value),
            Op::ScmpCmpLt => Test::Below(value),
            Op::ScmpCmpLe => Test::AtMost(value),
            Op::ScmpCmpEq => Test::Masked { mask: u64::MAX, value },
            Op::ScmpCmpGe => Test::AtLeast(value),
            Op::ScmpCmpGt => Test::Above(value),
            Op::ScmpCmpMaskedEq => {
                let (mask, value) = (value, arg.value_two().unwrap_or(0));
                // Such a rule can never match: a refusal written this way would silently permit.
                if value & !mask != 0 {
                    let message = format!("value {value:#x} has bits outside its mask {mask:#x}");
                    return Err(Error::new(Kind::InvalidArgument, message));
                }
                Test::Masked { mask, value }
            }
        };
        Ok(Self { index, test })
    }

    /// Emits the test, leading to `yes` or `no`.
    pub(super) fn emit(&self, asm: &mut Assembler, yes: Label, no: Label) -> Label {
        match self.test {
            Test::NotEqual(value) => self.masked(asm, u64::MAX, value, no, yes),
            Test::Masked { mask, value } => self.masked(asm, mask, value, yes, no),
            Test::Above(value) => self.ordered(asm, value, Assembler::above, yes, no),
            Test::AtLeast(value) => self.ordered(asm, value, Assembler::at_least, yes, no),
            Test::AtMost(value) => self.ordered(asm, value, Assembler::above, no, yes),
            Test::Below(value) => self.ordered(asm, value, Assembler::at_least, no, yes),
        }
    }

    /// Emits a comparison of order; equal high words leave the decision to `low_test`.
    fn ordered(
        &self,
        asm: &mut Assembler,
        value: u64,
        low_test: fn(&mut Assembler, u32, Label, Label) -> Label,
        yes: Label,
        no: Label,
    ) -> Label {
        let (high, low) = halves(value);
        let next = low_test(asm, low, yes, no);
        let next = asm.load(low_half(self.index), next);
        let next = asm.equal(high, next, no);
        let next = asm.above(high, yes, next);
        asm.load(high_half(self.index), next)
    }

    fn masked(&self, asm: &mut Assembler, mask: u64, value: u64, yes: Label, no: Label) -> Label {
        let (mask_high, mask_low) = halves(mask);
        let (high, low) = halves(value);
        let next = masked_word(asm, low_half(self.index), mask_low, low, yes, no);
        masked_word(asm, high_half(self.index), mask_high, high, next, no)
    }
}

/// Emits a test of one word; a word without mask bits is not even loaded.
fn masked_word(asm: &mut Assembler, offset: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
    let test = match (mask, value) {
        (0, _) => return yes,
        (u32::MAX, _) => asm.equal(value, yes, no),
        (_, 0) => asm.any_bit(mask, no, yes),
        _ => {
            let next = asm.equal(value, yes, no);
            asm.and(mask, next)
        }
    };
    asm.load(offset, test)
}

#[expect(clippy::cast_possible_truncation, reason = "the low word is what is meant")]
fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}
