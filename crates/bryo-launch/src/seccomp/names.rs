// SPDX-License-Identifier: Apache-2.0
//! Names and numbers of system calls, per ABI.
//!
//! The numbers come from the `syscalls` crate, generated from the kernel's own tables. Its look-up by name compares
//! with one name after the other, too slow for the start of a container; here the names are hashed at compile time.

use syscalls::{aarch64, x86, x86_64};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("seccomp profiles are compiled for x86_64 and aarch64 only");

/// A system call ABI that a filter can cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    I386,
    Aarch64,
}

/// A compile-time hash table of one ABI: open addressing, number + 1, 0 for a free slot.
type Table = [u16; SLOTS];

const SLOTS: usize = 2048;

macro_rules! table {
    ($abi:ident) => {{
        let mut table: Table = [0; SLOTS];
        let mut number = 0;
        while number <= $abi::Sysno::last().id() as u16 {
            if let Some(call) = $abi::Sysno::new(number as usize) {
                let mut slot = hash(call.name()) % SLOTS;
                while table[slot] != 0 {
                    slot = (slot + 1) % SLOTS;
                }
                table[slot] = number + 1;
            }
            number += 1;
        }
        table
    }};
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers are below 512")]
static X86_64: Table = table!(x86_64);
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers are below 512")]
static I386: Table = table!(x86);
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers are below 512")]
static AARCH64: Table = table!(aarch64);

/// FNV-1a.
const fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let mut hash: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    (hash ^ (hash >> 15)) as usize
}

impl Abi {
    /// The ABI of this program itself.
    #[cfg(target_arch = "x86_64")]
    pub(super) const NATIVE: Self = Self::X86_64;
    /// The ABI of this program itself.
    #[cfg(target_arch = "aarch64")]
    pub(super) const NATIVE: Self = Self::Aarch64;

    const ALL: [Self; 3] = [Self::X86_64, Self::I386, Self::Aarch64];

    /// Yields what the kernel reports in `seccomp_data.arch` (linux/audit.h).
    pub(super) fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Yields the first number that belongs to another ABI under the same architecture value, if any.
    ///
    /// x32 calls report x86_64 and carry bit 30; all numbers from there on, -1 included, are no native calls.
    pub(super) fn foreign_numbers(self) -> Option<u32> {
        (self == Self::X86_64).then_some(0x4000_0000)
    }

    /// Yields the highest number that has a name.
    pub(super) fn highest(self) -> u32 {
        let last = match self {
            Self::X86_64 => x86_64::Sysno::last().id(),
            Self::I386 => x86::Sysno::last().id(),
            Self::Aarch64 => aarch64::Sysno::last().id(),
        };
        last.unsigned_abs()
    }

    /// Tells whether a number has a name.
    pub(super) fn is_named(self, number: u32) -> bool {
        self.name(number).is_some()
    }

    fn name(self, number: u32) -> Option<&'static str> {
        let number = number as usize;
        match self {
            Self::X86_64 => x86_64::Sysno::new(number).map(|call| call.name()),
            Self::I386 => x86::Sysno::new(number).map(|call| call.name()),
            Self::Aarch64 => aarch64::Sysno::new(number).map(|call| call.name()),
        }
    }

    /// Finds the number of a name.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let (table, name) = match self {
            Self::X86_64 => (&X86_64, name),
            // Named by a Rust keyword, the crate's table has it in escaped form.
            Self::I386 if name == "break" => (&I386, "r#break"),
            Self::I386 => (&I386, name),
            // The kernel's generic table and every profile say `newfstatat`.
            Self::Aarch64 if name == "newfstatat" => (&AARCH64, "fstatat"),
            Self::Aarch64 => (&AARCH64, name),
        };
        let mut slot = hash(name) % SLOTS;
        loop {
            let number = u32::from(table[slot]).checked_sub(1)?;
            if self.name(number) == Some(name) {
                return Some(number);
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

/// Names a call as profiles do, by its ABI (`linux/audit.h`) and its number there.
pub fn name_of(audit_arch: u32, number: u64) -> Option<&'static str> {
    let abi = Abi::ALL.into_iter().find(|abi| abi.audit_arch() == audit_arch)?;
    Some(match abi.name(u32::try_from(number).ok()?)? {
        "r#break" => "break",
        "fstatat" if abi == Abi::Aarch64 => "newfstatat",
        name => name,
    })
}

/// Tells whether any ABI known here has a call of that name.
pub fn exists(name: &str) -> bool {
    Abi::ALL.iter().any(|abi| abi.number(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_found_by_its_name() {
        for abi in Abi::ALL {
            for number in 0..=abi.highest() {
                if let Some(name) = abi.name(number) {
                    assert_eq!(abi.number(name), Some(number), "{abi:?} {name}");
                }
            }
            assert_eq!(abi.number("no_such_call"), None);
            assert_eq!(abi.number(""), None);
        }
    }

    #[test]
    fn a_call_is_named_as_in_profiles() {
        let named = |abi: Abi, number| name_of(abi.audit_arch(), number);
        assert_eq!((named(Abi::X86_64, 257), named(Abi::I386, 17)), (Some("openat"), Some("break")));
        assert_eq!(named(Abi::Aarch64, 79), Some("newfstatat"));
        assert_eq!((named(Abi::X86_64, 1 << 30), name_of(0, 1)), (None, None));
    }

    #[test]
    fn numbers_are_those_of_the_kernel_headers() {
        let expected = [
            ("read", 0, 3, 63),
            ("clone3", 435, 435, 435),
            ("mount_setattr", 442, 442, 442),
            ("landlock_restrict_self", 446, 446, 446),
            ("futex_waitv", 449, 449, 449),
            ("map_shadow_stack", 453, 453, 453),
            ("mseal", 462, 462, 462),
            ("setxattrat", 463, 463, 463),
            ("open_tree_attr", 467, 467, 467),
            ("file_setattr", 469, 469, 469),
            ("newfstatat", 262, u32::MAX, 79),
            ("socketcall", u32::MAX, 102, u32::MAX),
            ("break", u32::MAX, 17, u32::MAX),
        ];
        for (name, x86_64, i386, aarch64) in expected {
            let numbers = [(Abi::X86_64, x86_64), (Abi::I386, i386), (Abi::Aarch64, aarch64)];
            for (abi, number) in numbers {
                assert_eq!(abi.number(name).unwrap_or(u32::MAX), number, "{abi:?} {name}");
            }
        }
    }
}
