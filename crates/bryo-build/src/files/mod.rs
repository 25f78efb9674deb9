// SPDX-License-Identifier: Apache-2.0
//! Files of a context or a stage, chosen by patterns and carried to where they go.
//!
//! ```text
//! a process with the rights of the source       a process with the rights of the stage
//! pack(Selection) ── tar ─────────────────────> place(Destination)
//! ```
//!
//! Guarantees: a source is looked for below its root and nowhere else, whatever links are on the way, and so is the
//! destination. Faces: contexts and stages that are made to lead out of themselves.

mod chmod;
mod place;
mod select;

pub use chmod::Chmod;
pub use place::{Destination, Placed, make_directory, place};
pub use select::{Selection, exists, pack};
