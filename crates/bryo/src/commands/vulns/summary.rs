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
    unscanned: Option<String>,
    /// Whether nothing at all is known.
    blind: bool,
}

/// Looks at containers, one after the other. One that cannot be looked at is told as such.
pub fn summaries(engine: &Engine, records: &[Record], vex: Vec<Statement>, max_age: u32) -> Result<Vec<Summary>> {
    let looked: Vec<_> = records.iter().map(|record| engine.packages_of_container(record, false)).collect();
    let inventories: Vec<&Inventory> = looked.iter().flatten().map(|contained| &contained.inventory).collect();
    let knowledge = know(engine, &inventories, vex, max_age)?;
    let sum = |(record, looked): (&Record, bryo_engine::error::Result<Contained>)| match looked {
        Ok(contained) => Summary::look(record, &contained, &knowledge),
        Err(error) => Summary::blind(Error::from(error).text().unwrap_or_default()),
    };
    Ok(records.iter().zip(looked).map(sum).collect())
}

impl Summary {
    fn blind(why: String) -> Self {
        Self { unscanned: Some(why), blind: true, ..Self::default() }
    }

    fn look(record: &Record, contained: &Contained, knowledge: &Knowledge) -> Self {
        if contained.inventory.is_unscannable() {
            return Self::blind("no package database".to_owned());
        }
        let names = [record.name.clone(), record.image.clone()].into_iter().chain(record.image_id.clone());
        let found = knowledge.matches(&contained.inventory, &names.collect::<Vec<_>>());
        let mut summary = Self::of(&found.all, contained);
        let judged = contained.inventory.items.iter().filter(|item| !item.owned).count();
        let unread = contained.inventory.problems.len();
        summary.blind = found.unknown == judged;
        summary.unscanned = match (found.unknown, unread) {
            (0, 0) => None,
            (0, unread) => Some(format!("{unread} files not read")),
            (unknown, _) if unknown == judged => Some("no advisories for its packages".to_owned()),
            (unknown, _) => Some(format!("no advisories for {unknown} packages")),
        };
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

    fn count(&self, severity: Severity) -> String {
        if self.blind { "-".to_owned() } else { self.counts[severity as usize].to_string() }
    }

    /// Says in a few letters what there is: critical, high, medium, low, and those that nobody has judged.
    pub fn short(&self) -> String {
        if self.blind {
            return format!("unscanned: {}", self.unscanned.as_deref().unwrap_or_default());
        }
        let of = |severity: Severity| self.counts[severity as usize];
        let rest = of(Severity::Unknown) + of(Severity::Negligible);
        let (critical, high) = (of(Severity::Critical), of(Severity::High));
        let mut text = format!("{critical}C {high}H {}M {}L {rest}?", of(Severity::Medium), of(Severity::Low));
        if self.at_run_time > 0 {
            text += &format!(", {} installed at run time", self.at_run_time);
        }
        if let Some(why) = &self.unscanned {
            text += &format!(", {why}");
        }
        text
    }

    /// Describes it for a table.
    pub fn row(&self, record: &Record) -> Value {
        let number = |n: usize| if self.blind { "-".to_owned() } else { n.to_string() };
        let scan = match (&self.unscanned, self.blind) {
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
