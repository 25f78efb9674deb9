// SPDX-License-Identifier: Apache-2.0
//! What is wrong with images, containers and the files that describe them: verdicts with their evidence.
//!
//! Guarantees: whatever is read, nothing of it is executed, no link of it leads out of what was named, and what cannot
//! be read is one problem with its place and stops nothing else. Trusts nothing it reads. Faces: Dockerfiles, manifests,
//! archives and images made by anyone. Dockerfiles and layers are read by the parsers that build and unpack them.

pub mod audit;
pub mod bases;
pub mod engines;
pub mod facts;
pub mod identity;
pub mod judge;
pub mod kernel;
pub mod model;
pub mod reasons;
pub mod report;
pub mod rules;
pub mod shell;
pub mod suppress;
mod walk;

pub use audit::{Auditor, Card, Flaw, Kind, Near, Outcome, Problem, Reach, settle};
pub use judge::Setting;
pub use model::{Finding, Level, Place, Rule, Severity};
