// SPDX-License-Identifier: Apache-2.0
//! Typed Linux system calls: the only unsafe code of bryo.
//!
//! Guarantees: each wrapper is one kernel operation, typed, and fails with the call, its arguments and errno, so that
//! an error reads like a line of strace. Trusts nothing and decides nothing. What `rustix` already offers in a safe
//! form is called from there; this crate holds what it lacks, and the one error type for both.

pub mod attempt;
pub mod clone;
mod error;
pub mod exec;
pub mod fd;
pub mod listener;
pub mod lock;
pub mod lookup;
pub mod memory;
pub mod mount;
pub mod net;
pub mod process;
pub mod root;
pub mod seccomp;
pub mod signal;
pub mod trace;
pub mod trampoline;
pub mod tree;

pub use error::{Error, Result, check};
pub use rustix::io::Errno;
