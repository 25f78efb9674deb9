// SPDX-License-Identifier: Apache-2.0
//! Progress of transfers, on standard error: bars on a terminal, whole lines elsewhere, nothing when it was asked for.

mod bars;
mod lines;

use bryo_image::Digest;
use bryo_image::progress::{Progress, Silent};

use crate::output;

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
    if quiet {
        Box::new(Silent)
    } else if output::draws() {
        Box::new(bars::Bars::new(way))
    } else {
        Box::new(lines::Lines::new(way))
    }
}

/// The beginning of a digest that people tell layers apart by.
fn short(digest: &Digest) -> &str {
    &digest.hex()[..12]
}
