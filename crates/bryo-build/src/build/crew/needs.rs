// SPDX-License-Identifier: Apache-2.0
//! Which stages a stage needs, as far as the Dockerfile says so without variables.

use std::collections::BTreeSet;

use crate::build::Builder;
use crate::dockerfile::Instruction;
use crate::dockerfile::mount::{Mount, MountKind};

impl Builder<'_> {
    /// Lists a stage and all that it needs. What is wrong is for the stage itself to say.
    pub(super) fn needs(&self, target: usize) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut waiting = vec![target];
        while let Some(index) = waiting.pop() {
            if needed.insert(index) {
                waiting.extend(self.stands_on(index));
                waiting.extend(self.takes_from(index));
            }
        }
        needed
    }

    /// Tells whether each stage only waits for the one before it.
    pub(super) fn is_row(&self, needed: &BTreeSet<usize>) -> bool {
        let stages: Vec<usize> = needed.iter().copied().collect();
        stages.windows(2).all(|pair| self.stands_on(pair[1]) == Some(pair[0]))
    }

    /// Returns the stage that a stage stands on.
    pub(in crate::build) fn stands_on(&self, index: usize) -> Option<usize> {
        let base = self.expand_global(&self.request.dockerfile.stages[index].base).ok()?;
        self.base_stage(index, &base).ok().flatten()
    }

    /// Lists the stages that a stage copies from, or mounts.
    fn takes_from(&self, index: usize) -> Vec<usize> {
        let mut names = Vec::new();
        for step in &self.request.dockerfile.stages[index].steps {
            match &step.instruction {
                Instruction::Copy(copy) => names.extend(copy.from.clone()),
                Instruction::Run(run) => {
                    let mounts = run.mounts.iter().filter(|text| !text.contains('$'));
                    names.extend(mounts.filter_map(|text| from(Mount::parse(text).ok()?)));
                }
                _ => (),
            }
        }
        let plain = names.into_iter().filter(|name| !name.contains(['$', '\\', '"', '\'']));
        let stage = |name: String| {
            let numbered = || name.parse().ok().filter(|number| *number < index);
            self.find_stage(index, &name).ok()?.or_else(numbered)
        };
        plain.filter_map(stage).collect()
    }
}

fn from(mount: Mount) -> Option<String> {
    match mount.kind {
        MountKind::Bind { from, .. } | MountKind::Cache { from, .. } => from,
        _ => None,
    }
}
