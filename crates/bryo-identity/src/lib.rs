// SPDX-License-Identifier: Apache-2.0
//! Who a container is: ids inside, ids on the host, and the maps between them.
//!
//! Two numbers describe every process: the id inside its user namespace and the id on the host. They have types of
//! their own here ([`InsideId`], [`HostId`]), so that no function takes the one for the other. A [`map::IdMap`] says
//! which inside id is which host id; a [`rung::Rung`] says how such a map comes about on this host; [`userns`] makes
//! processes that live under one.
//!
//! Guarantees: the caller's own id is in a map only on the rungs that say so. Trusts `/etc/subuid`, `/etc/subgid` and
//! the set-user-id helpers `newuidmap` and `newgidmap`, which check every range again.

mod error;
mod ids;
pub mod map;
pub mod rung;
pub mod subid;
pub mod userns;
mod write;

pub use error::{Error, Kind, Result};
pub use ids::{HostId, InsideId, ParseIdError};
pub use write::{Helpers, Writer};
