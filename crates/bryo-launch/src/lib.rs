// SPDX-License-Identifier: Apache-2.0
//! From an OCI runtime spec to a confined process, or to no process.

pub mod plan;
pub mod seccomp;
