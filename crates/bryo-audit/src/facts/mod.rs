// SPDX-License-Identifier: Apache-2.0
//! What is read, and what it says: from texts, images and engines to facts with places.

mod accounts;
pub mod compose;
pub mod container;
pub mod dockerfile;
pub mod image;
pub mod kinds;
pub mod kubernetes;
pub mod network;
pub mod project;
pub mod workload;
pub mod yaml;
