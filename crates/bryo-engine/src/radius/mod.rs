// SPDX-License-Identifier: Apache-2.0
//! The blast radius: what an escaped process of a container could do on this host, found by looking.
//!
//! A probe is made with all that the container's process has, its ids, capabilities, filter and Landlock, but among the
//! host's files, processes and networks ([`bryo_launch::outside`]). It looks twice: first with the ids and capabilities
//! alone, which is what is left when the kernel itself was tricked, then with the filter and Landlock in force, which is
//! what an escape from the namespaces leaves.
//!
//! Guarantees: it only looks. Permissions are asked for (`faccessat2(2)`), not used; what is opened is opened for
//! reading and not read; no socket is connected, no process gets a signal; the host's mounts are read-only for it.

mod answer;
mod authority;
mod probe;
mod report;

pub use authority::{Authority, Rival, Who};
pub use probe::Bounds;
pub use report::{Category, Example, Findings, Group, Reach};

use std::os::fd::OwnedFd;
use std::path::Path;

use bryo_launch::outside::{Outsider, look};

use crate::Engine;
use crate::error::{Error, Result};

impl Engine {
    /// Sends a probe with an authority out and returns what it found. The calling process must have one thread.
    ///
    /// # Errors
    ///
    /// When the host does not let the process have these ids, or it ended before it had looked.
    pub fn radius(&self, authority: &Authority, bounds: &Bounds) -> Result<Findings> {
        let outsider = Outsider {
            spec: &authority.spec,
            ids: authority.ids.as_ref(),
            helpers: self.host.helpers.as_ref(),
            landlock: authority.landlock,
        };
        let begun = std::time::Instant::now();
        let (child, pipe) =
            look(outsider, |outside, pipe: OwnedFd| probe::run(outside, bounds, authority.rival, pipe))?;
        let heard = answer::hear(&pipe, bounds);
        // One that hangs in a file system that does not answer is ended.
        drop((child, pipe));
        let mut findings = heard.map_err(|e| Error::io("cannot hear", Path::new("the probe"), e))??;
        findings.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(findings)
    }
}
