// SPDX-License-Identifier: Apache-2.0
//! Containers on disk: one directory an object, and no database.
//!
//! `containers/<id>/` holds `container.json` (what it is and how it ended), `lock` (held by whoever supervises it, so
//! that the kernel itself says whether it lives), and `layer/` (what it wrote). `names/<name>` holds an id, and is what
//! gives a container its name: the one in the record is that of the start. Every file is written under another name and
//! moved or linked, so that a reader sees a whole one or none, and reads take no lock.

mod id;
mod marks;
mod names;
mod ports;
mod process;
mod record;
mod registry;
mod remove;

pub use id::{Id, generated_name};
pub use marks::Waiting;
pub use ports::{Bindings, HostBinding};
pub use process::ProcessId;
pub use record::{
    Confinement, EndpointState, Health, HealthResult, Identity, MappingRecord, Record, RootDigest, Status,
};
pub use registry::{Containers, Held};
pub use remove::{Namespace, remove_layer, remove_trees};
