// SPDX-License-Identifier: Apache-2.0
//! Units of systemd, made from Quadlet files: what a container is to be becomes the service that runs it.
//!
//! Guarantees: a unit says all that its Quadlet file says, or there is no unit; each reason is told with file, line and
//! key. Trusts: whoever may write to the unit directories, as systemd does. Faces: mistakes, and files for another
//! engine whose words have no equal here.
//!
//! From text to text: nothing is started, no store is opened, and the generator that a machine waits for when it boots
//! carries no engine. Which words bryo itself understands is asked of its command line ([`Generator::check`]), so that
//! no second list of flags can fall behind the first.

mod generate;
pub mod quadlet;
pub mod restart;
pub mod search;
pub mod unit;
pub mod words;

pub use generate::{Generated, Generator, Link, Problem, Unit};

/// Whose services are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The machine's.
    System,
    /// Those of one user.
    User,
}
