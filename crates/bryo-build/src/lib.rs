// SPDX-License-Identifier: Apache-2.0
//! Images from a Dockerfile.
//!
//! Guarantees: a build reads nothing of the host but its context, its Dockerfile and the secrets that it was given, and
//! what it makes is an image of the store, or nothing. Trusts the Dockerfile's author no more than an image. Faces:
//! Dockerfiles, contexts and stages made by anyone.

pub mod build;
pub mod context;
pub mod dockerfile;
mod environment;
pub mod error;
pub mod files;
pub mod git;
pub mod ignore;
pub mod pattern;
pub mod progress;
mod state;
