// SPDX-License-Identifier: Apache-2.0
//! The published flaws of what is installed, by the advisories that are here.

use std::collections::BTreeSet;

use bryo_audit::{Flaw, Severity};
use bryo_engine::Engine;
use bryo_packages::advisories;
use bryo_packages::inventory::Inventory;
use bryo_packages::matching::{Knowledge, Match, State};

use crate::commands::sbom::Target;
use crate::errors::Result;

/// Lists the flaws of a container or an image of bryo; none where there are no advisories. Those come first that are
/// known to be exploited, then those that a later version does not have.
pub fn of(engine: &Engine, name: &str) -> Result<Vec<Flaw>> {
    let store = engine.advisories();
    if store.list().0.is_empty() {
        return Ok(Vec::new());
    }
    let target = Target::find(engine, name)?;
    let (inventory, added) = match engine.containers().find(name) {
        Ok(record) => {
            let contained = engine.packages_of_container(&record, false)?;
            (contained.inventory, contained.added)
        }
        Err(_) => (target.inventory(engine, false)?, BTreeSet::new()),
    };
    let knowledge = Knowledge::open(&store, &[&inventory], Vec::new());
    let mut found: Vec<Match> = knowledge.matches(&inventory, &target.names()).all;
    found.retain(|found| found.state != State::NotAffected);
    found.sort_by_key(|found| (found.exploited.is_none(), found.fixed.is_none(), found.id.clone()));
    // One flaw may be told of by several sources.
    let mut seen = BTreeSet::new();
    found.retain(|found| seen.insert((found.id.clone(), found.package.clone(), found.version.clone())));
    Ok(found.iter().map(|found| flaw(found, &inventory, &added)).collect())
}

fn flaw(found: &Match, inventory: &Inventory, added: &BTreeSet<usize>) -> Flaw {
    let same = |at: &usize| {
        let item = inventory.items.get(*at);
        item.is_some_and(|item| item.package.name == found.package && item.package.version == found.version)
    };
    Flaw {
        id: found.id.clone(),
        package: format!("{} {}", found.package, found.version),
        fixed: found.fixed.clone(),
        severity: match found.severity {
            advisories::Severity::Critical => Severity::Critical,
            advisories::Severity::High => Severity::High,
            advisories::Severity::Medium => Severity::Medium,
            advisories::Severity::Low => Severity::Low,
            // Nobody has said how bad it is.
            advisories::Severity::Unknown => Severity::Medium,
            advisories::Severity::Negligible => Severity::Info,
        },
        late: added.iter().any(same),
    }
}
