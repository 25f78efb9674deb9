// SPDX-License-Identifier: Apache-2.0
//! The container reaches what was asked, and never the host's loopback.
//!
//! A network namespace starts with nothing but its own loopback. [`pasta`] connects one to the outside without
//! privilege; [`resolver`] says what its resolver configuration must be. Trusts helper programs by absolute path.
//! Faces the payload's packets, which helpers parse, each in a process of its own.

mod error;
pub mod pasta;
pub mod resolver;
mod tun;

pub use error::{Error, Kind, Result};
