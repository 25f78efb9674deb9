// SPDX-License-Identifier: Apache-2.0
//! From facts to findings: a function a rule, or a few that look at the same fact.

pub mod cluster;
pub mod confinement;
pub mod dockerfile;
mod ends;
pub mod files;
pub mod identity;
pub mod image;
mod layers;
mod modes;
pub mod pods;
pub mod resources;
mod running;
pub mod secrets;
mod startable;
pub mod startup;
pub mod steps;
mod versions;

/// What the judges are told besides the facts.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The minor version of Kubernetes whose policy counts: 37 for 1.37.
    pub kubernetes: u32,
    /// The registries that are trusted; all if there is none.
    pub registries: Vec<String>,
    /// Today, as `YYYY-MM-DD`.
    pub today: String,
}

impl Default for Setting {
    fn default() -> Self {
        let today = jiff::Timestamp::now().to_string().chars().take(10).collect();
        Self { kubernetes: 37, registries: Vec::new(), today }
    }
}

/// Judges one container, or a pod.
pub fn workload(workload: &crate::facts::workload::Workload, setting: &Setting, sink: &mut crate::model::Sink) {
    identity::judge(workload, sink);
    confinement::judge(workload, sink);
    resources::judge(workload, setting, sink);
    if workload.platform == crate::facts::workload::Platform::Kubernetes {
        pods::judge(workload, setting, sink);
    }
}
