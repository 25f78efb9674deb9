// SPDX-License-Identifier: Apache-2.0
//! Containers: plans, records, life cycle, policy.

pub mod attach;
pub mod config;
pub mod container;
pub mod demo;
pub mod derive;
pub mod doctor;
mod engine;
pub mod error;
pub mod exec;
mod life;
pub mod logs;
pub mod monitor;
pub mod notify;
pub mod options;
pub mod plan;
pub mod profile;
pub mod run;
mod time;
pub mod users;

pub use engine::{Dirs, Engine, Policy};
