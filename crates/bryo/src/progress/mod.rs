// SPDX-License-Identifier: Apache-2.0
//! Progress of transfers, on standard error: bars on a terminal, whole lines elsewhere, nothing when it was asked for.

mod bars;
mod lines;
mod manager;
pub mod steps;

use bryo_engine::notify::Notifier;
use bryo_image::Digest;
use bryo_image::progress::{Progress, Silent};

use crate::{output, paths};

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a registry.
    Pull,
    /// To a registry.
    Push,
}

/// Chooses how progress is shown. Starts no thread.
pub fn reporter(quiet: bool, way: Way) -> Box<dyn Progress> {
    let shown: Box<dyn Progress> = if quiet {
        Box::new(Silent)
    } else if output::draws() {
        Box::new(bars::Bars::new(way))
    } else {
        Box::new(lines::Lines::new(way))
    };
    // An address that is none is told when the container starts.
    match paths::notify_socket().and_then(|address| Notifier::new(&address).ok()) {
        Some(notifier) if way == Way::Pull => Box::new(manager::Manager::new(notifier, shown)),
        _ => shown,
    }
}

/// The beginning of a digest that people tell layers apart by.
fn short(digest: &Digest) -> &str {
    &digest.hex()[..12]
}
