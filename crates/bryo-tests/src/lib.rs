// SPDX-License-Identifier: Apache-2.0
//! What the end-to-end tests stand on: users, homes, images, a registry, a terminal, and a look at the host's `/proc`.
//!
//! bryo is only ever started as a program, as a person starts it: as an ordinary user in a home of its own with a
//! built environment. When the tests run as root they become the users that `scripts/test` makes; when they run as an
//! ordinary user they stay that user, and what needs root is skipped and counted ([`skip`]).
#![allow(clippy::unwrap_used, reason = "a test's support fails a test by panicking")]

pub mod cases;
pub mod detached;
pub mod device;
pub mod dirs;
pub mod disk;
pub mod flat;
pub mod forward;
pub mod home;
pub mod host;
pub mod images;
pub mod layout;
pub mod listing;
pub mod machine;
pub mod outside;
pub mod presence;
pub mod probe;
pub mod program;
pub mod proxy;
pub mod pty;
pub mod registry;
pub mod services;
pub mod skip;
pub mod tar;
pub mod user;

pub use detached::Detached;
pub use home::Home;
pub use machine::Machine;
pub use probe::Report;
pub use program::{Output, Running};
pub use user::User;
