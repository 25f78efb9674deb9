// SPDX-License-Identifier: Apache-2.0
//! What is known of an image and a user once the derived layer is made.

use std::path::PathBuf;

use bryo_identity::InsideId;
use bryo_identity::map::RunIds;
use serde::{Deserialize, Serialize};

/// The run user of a container and the places where it may write. Ids are those inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// User name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
    /// Directories that stay writable below a read-only root; no one of them lies in another.
    pub state: Vec<PathBuf>,
    /// Those of them in which the image has something that is executed, and in which it is.
    pub executable: Vec<PathBuf>,
    /// The layer that goes on top of the image's own, on the host. Set when the facts are read.
    #[serde(skip)]
    pub layer: Option<PathBuf>,
}

impl Facts {
    /// Returns the ids as the maps take them. What was read from a damaged file as "no id" is nobody.
    pub fn run_ids(&self) -> RunIds {
        let id = |n| InsideId::new(n).unwrap_or(InsideId::NONROOT);
        RunIds { uid: id(self.uid), gid: id(self.gid) }
    }
}
