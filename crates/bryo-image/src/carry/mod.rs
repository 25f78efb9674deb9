// SPDX-License-Identifier: Apache-2.0
//! Files carried from one tree into another, as a tar stream between two processes.
//!
//! ```text
//! a process with the rights of one side      a process with the rights of the other
//! pack(Thing) ── tar ───────────────────────> Arriving::begin ── the first member says what comes
//!                                              Arriving::place ── below one directory, and nowhere else
//! ```
//!
//! Guarantees: what arrives is made below the directory that was given, by descriptor; no link that is there is followed,
//! whoever changes either tree meanwhile. Trusts: neither tree, nor the stream. Faces: containers that
//! run while their files are carried, and archives from anyone.

mod arrive;
mod pack;

pub use arrive::{Arriving, Head, Owner, Placing, Top, beneath};
pub use pack::{Thing, attributes_of, is_made_up, pack};

use serde::{Deserialize, Serialize};

use crate::unpack::Limits;

/// What was carried.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Carried {
    /// Names that were made.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Devices that were left out: nobody but root of the host can make them.
    pub devices: u64,
}

/// What is carried is the caller's own choice, as large as it may be; what is bounded is what it costs to look at it.
const LIMITS: Limits = Limits {
    compressed: u64::MAX,
    uncompressed: u64::MAX >> 1,
    ratio: u64::MAX,
    ratio_floor: u64::MAX,
    entries: u64::MAX,
    path_len: 64 << 10,
    depth: 600,
    zstd_window_log: 27,
};
