// SPDX-License-Identifier: Apache-2.0
//! The published flaws of what is installed, by the advisories that are here.

use std::collections::BTreeSet;

use bryo_audit::{Flaw, Severity};
use bryo_engine::Engine;
use bryo_packages::advisories;
use bryo_packages::inventory::Inventory;
use bryo_packages::matching::{Knowledge, Match, Matches, State};

use crate::commands::sbom::Target;
use crate::errors::Result;

/// What is known of the flaws of a target, and why there may be more.
#[derive(Debug, Default)]
pub struct Flaws {
    /// Those come first that are known to be exploited, then those that a later version does not have.
    pub all: Vec<Flaw>,
    /// What of the target or of the advisories could not be read.
    pub unread: Vec<String>,
    /// What nobody here knows flaws of.
    pub not_judged: Vec<String>,
}

/// Lists the flaws of a container or an image of bryo; none where there are no advisories.
pub fn of(engine: &Engine, name: &str) -> Result<Flaws> {
    let store = engine.advisories();
    let (books, problems) = store.list();
    if books.is_empty() {
        let unread = problems.iter().map(|e| format!("look for vulnerabilities: {}", e.chain())).collect();
        return Ok(Flaws { unread, ..Flaws::default() });
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
    let matches = knowledge.matches(&inventory, &target.names());
    let (unread, not_judged) = gaps(&inventory, &matches);
    let mut found: Vec<Match> = matches.all;
    found.retain(|found| found.state != State::NotAffected);
    found.sort_by_key(|found| (found.exploited.is_none(), found.fixed.is_none(), found.id.clone()));
    // One flaw may be told of by several sources.
    let mut seen = BTreeSet::new();
    found.retain(|found| seen.insert((found.id.clone(), found.package.clone(), found.version.clone())));
    let all = found.iter().map(|found| flaw(found, &inventory, &added)).collect();
    Ok(Flaws { all, unread, not_judged })
}

/// Says what could not be read, and what is not judged by any advisory.
fn gaps(inventory: &Inventory, matches: &Matches) -> (Vec<String>, Vec<String>) {
    let files = inventory.problems.iter().map(|problem| format!("packages: {}: {}", problem.path, problem.why));
    let unread = files.chain(matches.problems.iter().map(|problem| format!("advisories: {problem}"))).collect();
    let blind = inventory.is_unscannable().then(|| "vulnerabilities: what is in it is unknown".to_owned());
    let unknown = matches.unjudged().map(|(what, remedy)| format!("vulnerabilities: {what}: {remedy}"));
    (unread, blind.into_iter().chain(unknown).collect())
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

#[cfg(test)]
mod tests {
    use bryo_packages::inventory::Problem;

    use super::*;

    #[test]
    fn what_is_not_known_is_said() {
        let problem = Problem { path: "var/lib/dpkg/status".to_owned(), why: "too long".to_owned() };
        let inventory = Inventory { problems: vec![problem], ..Inventory::default() };
        let matches = Matches { problems: vec!["debian: cut off".to_owned()], ..Matches::default() };
        let (unread, not_judged) = gaps(&inventory, &matches);
        assert_eq!(unread, ["packages: var/lib/dpkg/status: too long", "advisories: debian: cut off"]);
        assert_eq!(not_judged, ["vulnerabilities: what is in it is unknown"]);
    }
}
