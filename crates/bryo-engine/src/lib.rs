// SPDX-License-Identifier: Apache-2.0
//! Containers: plans, records, life cycle, policy.

mod agent;
mod aside;
pub mod attach;
pub mod changes;
pub mod check;
mod commit;
pub mod config;
pub mod container;
pub mod copy;
pub mod demo;
pub mod derive;
pub mod doctor;
pub mod drift;
mod ending;
mod engine;
pub mod error;
pub mod events;
pub mod exec;
mod freeze;
pub mod harden;
pub mod info;
mod inspect;
pub mod learned;
mod life;
pub mod list;
pub mod logs;
pub mod monitor;
pub mod networks;
pub mod notify;
pub mod observe;
pub mod options;
pub mod packages;
pub mod plan;
pub mod policy;
pub mod processes;
pub mod profile;
pub mod radius;
pub mod run;
pub mod sizes;
pub mod step;
mod time;
pub mod users;
pub mod volumes;
mod watch;

pub use engine::{Dirs, Engine, Policy};
