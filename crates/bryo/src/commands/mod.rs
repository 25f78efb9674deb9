// SPDX-License-Identifier: Apache-2.0
//! The commands, a module each: flags, a call of a library, output.

pub mod completion;
pub mod config;
pub mod demo;
pub mod df;
pub mod doctor;
pub mod export;
pub mod gc;
pub mod history;
pub mod images;
pub mod import;
pub mod inspect;
pub mod load;
pub mod man;
pub mod ps;
pub mod pull;
pub mod push;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod save;
pub mod tag;
pub mod version;
