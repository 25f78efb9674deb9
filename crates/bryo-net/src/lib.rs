// SPDX-License-Identifier: Apache-2.0
//! The container reaches what was asked, and never the host's loopback.
//!
//! A network namespace starts with nothing but its own loopback. [`pasta`] connects one to the outside without
//! privilege; [`publish`] opens ports of the host that lead into it. [`switch`] connects those of several containers with
//! one another, and [`names`] lets them find each other; [`resolver`] says what a container's resolver configuration must
//! be. Trusts helper programs by absolute path. Faces the payload's packets, which helpers parse, each in a process of
//! its own.

mod dns;
mod error;
pub mod members;
pub mod names;
mod netlink;
pub mod pasta;
pub mod publish;
pub mod resolver;
pub mod subnet;
pub mod switch;
mod tun;

pub use error::{Error, Kind, Result};
