// SPDX-License-Identifier: Apache-2.0
//! Packages: what is installed in a tree of files, as a list, as a bill of materials, and against advisories.
//!
//! ```text
//! tree ──> readers ──> inventory ──> sbom
//!                          └───────> matching <── advisories
//! ```
//!
//! Guarantees: bounded memory and time whatever is read; one error names the file, and the rest is still told; no link
//! is followed, nothing is executed. Trusts nothing it reads: package databases, binaries, advisories, documents.
//! This crate prints nothing and reads no environment.

pub mod advisories;
pub mod cache;
pub mod error;
pub mod inventory;
pub mod matching;
pub mod package;
pub mod readers;
pub mod sbom;
pub mod tree;
pub mod version;

pub use error::{Error, Kind, Result};
