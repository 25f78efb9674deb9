// SPDX-License-Identifier: Apache-2.0
//! From an OCI runtime spec to a confined process, or to no process.
//!
//! Guarantees: the process is confined exactly as the [`plan::Plan`] says, or it never runs. Trusts the plan's
//! author. Faces the root file system's content before the payload runs, and the payload after.
//!
//! The path through the crate: `prepare` refuses what cannot be done, [`start()`] clones the child, `child` builds and
//! confines it while `sync` carries the conversation, and [`relay`] moves bytes and signals while it runs. [`enter`]
//! brings another process into a container that runs, by the same last stages; [`outside`] makes one that stands where
//! an escaped process would stand.

mod caps;
mod child;
pub mod enter;
mod error;
mod idmap;
mod observe;
pub mod outside;
pub mod overlay;
pub mod plan;
mod prepare;
pub mod relay;
pub mod rewrite;
pub mod seccomp;
mod start;
mod sync;

use std::os::fd::OwnedFd;

pub use error::{Error, Kind, Result};
pub use start::{Running, Starting, start};

/// The caller's ends of the payload's standard streams.
#[derive(Debug, Default)]
pub struct Streams {
    /// Feeds the payload's standard input.
    pub stdin: Option<OwnedFd>,
    /// Delivers its standard output.
    pub stdout: Option<OwnedFd>,
    /// Delivers its standard error.
    pub stderr: Option<OwnedFd>,
    /// The terminal instead of all three.
    pub console: Option<OwnedFd>,
}

/// What was enforced beyond what a start without error already guarantees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enforced {
    /// The Landlock ABI that confines the payload, 0 for none.
    pub landlock_abi: u8,
}
