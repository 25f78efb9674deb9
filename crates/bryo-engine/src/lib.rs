// SPDX-License-Identifier: Apache-2.0
//! Containers: plans, records, life cycle, policy.

pub mod container;
pub mod error;
pub mod options;
pub mod profile;
