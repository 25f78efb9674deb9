// SPDX-License-Identifier: Apache-2.0
//! Images: references, registries, archives, the store, and layers unpacked safely.
//!
//! Guarantees: bytes are what their digest says, and nothing is ever written outside the root it
//! belongs to. Trusts nothing it reads. Faces: registries, archives and layers made by anyone.
//! This crate prints nothing and reads no environment; its caller passes every path in.

pub mod archive;
pub mod carry;
pub mod changes;
mod compress;
mod copy;
pub mod digest;
pub mod error;
mod jobs;
pub mod members;
pub mod progress;
pub mod pull;
pub mod push;
pub mod record;
pub mod reference;
pub mod registry;
pub mod squash;
pub mod store;
pub mod temporary;
pub mod unpack;

pub use digest::Digest;
pub use error::{Error, Kind, Result};
