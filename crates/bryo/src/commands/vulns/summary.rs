// SPDX-License-Identifier: Apache-2.0
//! How many flaws each container has, of its image and of what was installed since.

use std::collections::{BTreeSet, HashSet};

use bryo_engine::Engine;
use bryo_engine::container::Record;
use bryo_engine::packages::Contained;
use bryo_packages::advisories::Severity;
use bryo_packages::advisories::vex::Statement;
use bryo_packages::inventory::Inventory;
use bryo_packages::matching::{Knowledge, Match, State};
use serde_json::{Value, json};

use super::know;
use crate::errors::{Error, Result};

/// What is known of one container.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many flaws there are of each severity, the unknown first.
    counts: [usize; 6],
    /// How many of them a later version does not have.
    fixable: usize,
    /// How many of them are known to be exploited.
    exploited: usize,
    /// How many of them are in packages that were installed at run time.
    at_run_time: usize,
    /// How bad the worst is.
    pub worst: Option<Severity>,
    /// Why it was not looked at, or not wholly.
    unscanned: Option<Gap>,
    /// Whether nothing at all is known.
    blind: bool,
}

/// Why something of a container is not known.
#[derive(Debug)]
struct Gap {
    why: String,
    /// Whether there is just nobody who speaks of it, and nothing has failed.
    is_unknown: bool,
}

/// Looks at containers, one after the other. One that cannot be looked at is told as such, and which
/// advisories are stale.
pub fn summaries(
    engine: &Engine,
    records: &[Record],
    vex: Vec<Statement>,
    max_age: u32,
) -> Result<(Vec<Summary>, Vec<String>)> {
    let looked: Vec<_> = records.iter().map(|record| engine.packages_of_container(record, false)).collect();
    let inventories: Vec<&Inventory> = looked.iter().flatten().map(|contained| &contained.inventory).collect();
    let (knowledge, stale) = know(engine, &inventories, vex, max_age)?;
    let sum = |(record, looked): (&Record, bryo_engine::error::Result<Contained>)| match looked {
        Ok(contained) => Summary::look(record, &contained, &knowledge),
        Err(error) => Summary::blind(Error::from(error).text().unwrap_or_default(), false),
    };
    Ok((records.iter().zip(looked).map(sum).collect(), stale))
}

impl Summary {
    fn blind(why: String, is_unknown: bool) -> Self {
        Self { unscanned: Some(Gap { why, is_unknown }), blind: true, ..Self::default() }
    }

    fn look(record: &Record, contained: &Contained, knowledge: &Knowledge) -> Self {
        if contained.inventory.is_unscannable() {
            return match contained.inventory.problems.first() {
                Some(problem) => Self::blind(format!("/{}: {}", problem.path, problem.why), false),
                None => Self::blind("no package database".to_owned(), true),
            };
        }
        let names = [record.name.clone(), record.image.clone()].into_iter().chain(record.image_id.clone());
        let found = knowledge.matches(&contained.inventory, &names.collect::<Vec<_>>());
        let mut summary = Self::of(&found.all, contained);
        let judged = contained.inventory.items.iter().filter(|item| !item.owned).count();
        let unread = contained.inventory.problems.len();
        let unknown = found.unknown_packages();
        summary.blind = judged > 0 && unknown == judged;
        let mut gaps = Vec::new();
        gaps.extend(found.problems.first().map(|problem| format!("advisories not read: {problem}")));
        gaps.extend((unread > 0).then(|| format!("{unread} {} not read", if unread == 1 { "file" } else { "files" })));
        let is_unknown = gaps.is_empty();
        if unknown > 0 && unknown == judged {
            gaps.push("no advisories for its packages".to_owned());
        } else if unknown > 0 {
            let kinds: Vec<String> = found.unknown.iter().map(ToString::to_string).collect();
            gaps.push(format!("no advisories for {}", kinds.join(", ")));
        }
        summary.unscanned = (!gaps.is_empty()).then(|| Gap { why: gaps.join(", "), is_unknown });
        summary
    }

    /// Counts each flaw once, however many packages have it.
    fn of(all: &[Match], contained: &Contained) -> Self {
        let added: HashSet<(&str, &str)> = contained
            .added
            .iter()
            .filter_map(|n| contained.inventory.items.get(*n))
            .map(|item| (item.package.name.as_str(), item.package.version.as_str()))
            .collect();
        let mut summary = Self::default();
        let mut seen = BTreeSet::new();
        let mut late = BTreeSet::new();
        for found in all.iter().filter(|found| found.state != State::NotAffected) {
            if added.contains(&(found.package.as_str(), found.version.as_str())) {
                late.insert(&found.id);
            }
            if !seen.insert(&found.id) {
                continue;
            }
            summary.counts[found.severity as usize] += 1;
            summary.fixable += usize::from(found.state == State::Fixed);
            summary.exploited += usize::from(found.exploited.is_some());
            summary.worst = summary.worst.max(Some(found.severity));
        }
        summary.at_run_time = late.len();
        summary
    }

    /// Says why there may be more flaws than are known; `accept_unknown` says that what nobody speaks of is no reason.
    pub fn doubt(&self, accept_unknown: bool) -> Option<&str> {
        let counts = |gap: &&Gap| !(accept_unknown && gap.is_unknown);
        self.unscanned.as_ref().filter(counts).map(|gap| gap.why.as_str())
    }

    fn count(&self, severity: Severity) -> String {
        if self.blind { "-".to_owned() } else { self.counts[severity as usize].to_string() }
    }

    /// Says in a few letters what there is: critical, high, medium, low, and those that nobody has judged.
    pub fn short(&self) -> String {
        if self.blind {
            return format!("unscanned: {}", self.doubt(false).unwrap_or_default());
        }
        let of = |severity: Severity| self.counts[severity as usize];
        let rest = of(Severity::Unknown) + of(Severity::Negligible);
        let (critical, high) = (of(Severity::Critical), of(Severity::High));
        let mut text = format!("{critical}C {high}H {}M {}L {rest}?", of(Severity::Medium), of(Severity::Low));
        if self.at_run_time > 0 {
            text += &format!(", {} installed at run time", self.at_run_time);
        }
        if let Some(why) = self.doubt(false) {
            text += &format!(", {why}");
        }
        text
    }

    /// Describes it for a table.
    pub fn row(&self, record: &Record) -> Value {
        let number = |n: usize| if self.blind { "-".to_owned() } else { n.to_string() };
        let scan = match (self.doubt(false), self.blind) {
            (None, _) => "complete".to_owned(),
            (Some(why), true) => format!("unscanned: {why}"),
            (Some(why), false) => format!("partial: {why}"),
        };
        json!({
            "ID": record.id.short(),
            "Names": record.name,
            "Image": record.image,
            "Critical": self.count(Severity::Critical),
            "High": self.count(Severity::High),
            "Medium": self.count(Severity::Medium),
            "Low": self.count(Severity::Low),
            "Negligible": self.count(Severity::Negligible),
            "Unknown": self.count(Severity::Unknown),
            "Fixable": number(self.fixable),
            "Exploited": number(self.exploited),
            "AtRunTime": number(self.at_run_time),
            "Scan": scan,
        })
    }
}
