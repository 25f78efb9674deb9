// SPDX-License-Identifier: Apache-2.0
//! Containers on disk: one directory an object, and no database.
//!
//! `containers/<id>/` holds `container.json` (what it is and how it ended), `lock` (held by whoever supervises it, so
//! that the kernel itself says whether it lives), and `layer/` (what it wrote). `names/<name>` holds an id. Every file
//! is written under another name and renamed, so that a reader sees a whole one or none, and reads take no lock.

mod id;
mod record;
mod registry;
mod remove;

pub use id::{Id, generated_name};
pub use record::{Confinement, Identity, MappingRecord, Record, Status};
pub use registry::{Containers, Held};
pub use remove::{Namespace, remove_layer};
