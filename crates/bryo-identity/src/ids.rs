// SPDX-License-Identifier: Apache-2.0
//! The two kinds of user and group ids.

use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a number from 0 to 4294967294")
    }
}

impl std::error::Error for ParseIdError {}

/// Parses decimal digits, and nothing else, below 2^32-1, which is the kernel's "no id" (`setresuid(2)`).
fn parse(text: &str) -> Result<u32, ParseIdError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseIdError);
    }
    text.parse().ok().filter(|id| *id != u32::MAX).ok_or(ParseIdError)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// Takes a number; 2^32-1 is no id.
            pub const fn new(id: u32) -> Option<Self> {
                if id == u32::MAX { None } else { Some(Self(id)) }
            }

            /// Returns the number.
            pub const fn get(self) -> u32 {
                self.0
            }

            /// Returns the id `n` further on, if there is one.
            pub const fn offset(self, n: u32) -> Option<Self> {
                match self.0.checked_add(n) {
                    Some(id) => Self::new(id),
                    None => None,
                }
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A user or group id as processes in the container see it.
    InsideId
}

id! {
    /// A user or group id as the host sees it: the number that decides what an escaped process may touch.
    HostId
}

impl InsideId {
    /// Root inside a container.
    pub const ROOT: Self = Self(0);
    /// The user `nonroot` that a container runs as when nobody says otherwise.
    pub const NONROOT: Self = Self(65532);
}

impl HostId {
    /// Root of the host.
    pub const ROOT: Self = Self(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_below_the_kernels_no_id_are_ids() {
        assert_eq!("0".parse(), Ok(InsideId::ROOT));
        assert_eq!("4294967294".parse::<InsideId>().map(InsideId::get), Ok(4_294_967_294));
        for bad in ["", "-1", "+1", " 1", "1 ", "0x10", "4294967295", "4294967296", "99999999999999999999", "1e3", "١"]
        {
            assert_eq!(bad.parse::<InsideId>(), Err(ParseIdError), "{bad:?}");
        }
    }
}
