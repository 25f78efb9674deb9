// SPDX-License-Identifier: Apache-2.0
//! A limit is what the kernel says, or an error.
//!
//! A container with limits has a control group (version 2) of its own. Whoever supervises it stands beside it:
//!
//! ```text
//! a place that is delegated to the caller        bryo-0a1b2c3d4e5f.scope, or the caller's own group
//! ├── bryo-supervisor      bryo, its guardian, its network: no limit of the container's
//! └── bryo-0a1b2c3d4e5f    the container, born in it, with its limits
//! ```
//!
//! Guarantees: what was asked for was written and read back before anything runs; nothing is made where it cannot be
//! had. Trusts the kernel, and systemd, which is asked for a place where the caller has none. No descriptor, process
//! or thread is needed by those who ask for no limit.

mod base;
mod bus;
mod cgroup;
mod error;
mod handle;
mod resources;
mod systemd;
mod tree;
mod wire;

pub use base::{Place, survey};
pub use cgroup::{Cgroup, Request, enter, remove, sweep};
pub use error::{Error, Kind, Result};
pub use handle::{Handle, Stats};
pub use resources::{Controller, Enforced};
