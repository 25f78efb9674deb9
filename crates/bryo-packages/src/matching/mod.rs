// SPDX-License-Identifier: Apache-2.0
//! Which flaws an inventory has: advisories for its packages, by each world's own order of versions.
//!
//! What a distribution says of its own packages comes before what others have made of it: of a flaw that it has judged,
//! only how bad it is is taken from elsewhere. A package of a language that the distribution has brought is judged as the
//! distribution's.

mod ecosystem;
mod judge;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

use crate::advisories::epss::Epss;
use crate::advisories::kev::Kev;
use crate::advisories::store::{Book, Header, Store};
use crate::advisories::vex::{Statement, Status};
use crate::advisories::{Advisory, Severity};
use crate::inventory::{Inventory, Item};
use crate::package::{Distro, Type};

pub use judge::{Verdict, judge};

/// What a flaw is to an installed package.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The package has it, and a version without it is there.
    Fixed,
    /// The package has it, and there is no version without it.
    Unfixed,
    /// The package does not have it.
    NotAffected,
}

impl State {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Unfixed => "unfixed",
            Self::NotAffected => "not-affected",
        }
    }
}

/// A flaw and a package.
#[derive(Clone, Debug, Serialize)]
pub struct Match {
    /// The name of the flaw that all share, if there is one.
    pub id: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// The package's name.
    pub package: String,
    /// The version that is installed.
    pub version: String,
    /// The package's name for the rest of the world.
    pub purl: String,
    /// Whose package it is.
    #[serde(rename = "type")]
    pub kind: Type,
    /// The files that tell of the package.
    pub locations: Vec<String>,
    /// What it is to the package.
    pub state: State,
    /// The first version without it.
    pub fixed: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// The same as a number of CVSS.
    pub score: Option<f64>,
    /// What it is.
    pub summary: String,
    /// Who says so.
    pub source: String,
    /// What they add, or why it does not matter.
    pub note: Option<String>,
    /// When it was published, RFC 3339, as far as that is known.
    pub published: Option<String>,
    /// When it was added to CISA's catalogue of what is exploited.
    pub exploited: Option<String>,
    /// How likely it is to be exploited within thirty days, from 0 to 1.
    pub likelihood: Option<f64>,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Knowledge {
    books: Vec<Book>,
    kev: Option<Kev>,
    epss: Option<Epss>,
    vex: Vec<Statement>,
    /// Files of advisories that could not be read, and why.
    pub problems: Vec<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Matches {
    /// Flaws and packages; the worst first.
    pub all: Vec<Match>,
    /// Packages that there are no advisories for at all, of another distribution or never fetched, by type.
    pub unknown: Vec<Unknown>,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// Packages of one type that there are no advisories for at all.
#[derive(Clone, Debug)]
pub struct Unknown {
    /// Whose they are.
    pub kind: Type,
    /// How many there are.
    pub packages: usize,
    /// The name of the first.
    pub first: String,
    /// The source that would have advisories for them, as it is fetched by.
    pub source: Option<String>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, first) = (self.kind.name(), &self.first);
        match self.packages {
            1 => write!(f, "1 package of {kind} ({first})"),
            many => write!(f, "{many} packages of {kind} ({first}, ...)"),
        }
    }
}

impl Matches {
    /// Counts the packages that there are no advisories for.
    pub fn unknown_packages(&self) -> usize {
        self.unknown.iter().map(|unknown| unknown.packages).sum()
    }

    /// Says which packages there are no advisories for, and what would fetch some; nothing if there are for all.
    pub fn unjudged(&self) -> Option<(String, String)> {
        if self.unknown.is_empty() {
            return None;
        }
        let all: Vec<String> = self.unknown.iter().map(ToString::to_string).collect();
        let sources: Vec<&str> = self.unknown.iter().filter_map(|unknown| unknown.source.as_deref()).collect();
        let remedy = match sources.as_slice() {
            [] => "bryo advisories ls".to_owned(),
            some => format!("bryo advisories update {}", some.join(" ")),
        };
        Some((format!("there are no advisories for {}", all.join(", ")), remedy))
    }

    fn unknown(&mut self, item: &Item, distro: Option<&Distro>) {
        let kind = item.package.kind;
        if let Some(known) = self.unknown.iter_mut().find(|unknown| unknown.kind == kind) {
            known.packages += 1;
            return;
        }
        let (first, source) = (item.package.name.clone(), ecosystem::source(kind, distro));
        self.unknown.push(Unknown { kind, packages: 1, first, source });
    }
}

impl Knowledge {
    /// Opens what there is of an inventory's ecosystems.
    pub fn open(store: &Store, inventories: &[&Inventory], vex: Vec<Statement>) -> Self {
        let wanted = |ecosystem: &str| {
            inventories.iter().any(|inventory| {
                let kinds: std::collections::BTreeSet<Type> = inventory.items.iter().map(|i| i.package.kind).collect();
                kinds.iter().any(|kind| ecosystem::fits(ecosystem, *kind, inventory.distro.as_ref()))
            })
        };
        let (books, problems) = store.open(wanted);
        let problems = problems.iter().map(crate::Error::chain).collect();
        Self { books, kev: store.kev(), epss: store.epss(), vex, problems }
    }

    /// Returns what its files say of themselves.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        self.books.iter().map(|book| &book.header)
    }

    /// Tells whether it has what is exploited, and guesses of what will be.
    pub fn has_exploits(&self) -> (bool, bool) {
        (self.kev.is_some(), self.epss.is_some())
    }

    /// Finds what an inventory has; `subject` are the names of what it is of, for those who speak of it.
    pub fn matches(&self, inventory: &Inventory, subject: &[String]) -> Matches {
        let mut found = Matches { problems: self.problems.clone(), ..Matches::default() };
        let distro = inventory.distro.as_ref();
        let mut fitting: HashMap<Type, Vec<&Book>> = HashMap::new();
        for item in inventory.items.iter().filter(|item| !item.owned) {
            let kind = item.package.kind;
            let books = fitting.entry(kind).or_insert_with(|| {
                self.books.iter().filter(|book| ecosystem::fits(&book.header.ecosystem, kind, distro)).collect()
            });
            if books.is_empty() {
                found.unknown(item, distro);
                continue;
            }
            let flaws = self.of(item, books, &mut found.problems);
            found.all.extend(flaws.into_iter().map(|(id, flaw)| self.matched(item, id, flaw, distro, subject)));
        }
        found.all.sort_by(worst_first);
        found.problems.sort();
        found.problems.dedup();
        found
    }

    /// Judges what all books have on a package, by the flaw's common name. The first that knows a flaw decides.
    fn of(&self, item: &Item, books: &[&Book], problems: &mut Vec<String>) -> BTreeMap<String, Flaw> {
        let (names, version) = ecosystem::lookup(&item.package);
        let mut flaws: BTreeMap<String, Flaw> = BTreeMap::new();
        for book in books {
            let advisories = match book.find(&names) {
                Ok(advisories) => advisories,
                Err(e) => {
                    problems.push(e.chain());
                    continue;
                }
            };
            for advisory in advisories {
                let verdict = judge(&advisory, item.package.kind, &version);
                let id = advisory.common_id().to_owned();
                let source = &book.header.source;
                match flaws.get_mut(&id) {
                    None => drop(flaws.insert(id, Flaw { verdict, source: source.clone(), advisory })),
                    Some(flaw) => flaw.join(advisory, verdict, source),
                }
            }
        }
        flaws
    }

    fn matched(&self, item: &Item, id: String, flaw: Flaw, distro: Option<&Distro>, subject: &[String]) -> Match {
        let Flaw { verdict, source, advisory } = flaw;
        let purl = item.package.purl(distro);
        let mut aliases: Vec<String> = std::iter::once(advisory.id).chain(advisory.aliases).collect();
        aliases.retain(|alias| *alias != id);
        aliases.sort();
        aliases.dedup();
        let (mut state, fixed) = match verdict {
            Verdict::Affected(Some(fixed)) => (State::Fixed, Some(fixed)),
            Verdict::Affected(None) => (State::Unfixed, None),
            Verdict::Mended(fixed) => (State::NotAffected, fixed),
        };
        let mut note = advisory.note;
        let names: Vec<&str> = std::iter::once(id.as_str()).chain(aliases.iter().map(String::as_str)).collect();
        // A later word replaces an earlier one.
        let said = self.vex.iter().rev().find(|s| s.is_about(&names) && s.applies(&purl, subject));
        if let Some(said) = said.filter(|said| matches!(said.status, Status::NotAffected | Status::Fixed)) {
            state = State::NotAffected;
            let why = said.justification.clone().or_else(|| said.impact_statement.clone());
            note = Some(format!("VEX: {}", why.unwrap_or_else(|| "fixed".to_owned())));
        }
        let package = &item.package;
        Match {
            exploited: self.kev.as_ref().and_then(|kev| kev.added.get(&id).cloned()),
            likelihood: self.epss.as_ref().and_then(|epss| epss.get(&id)),
            id,
            aliases,
            package: package.name.clone(),
            version: package.version.clone(),
            purl,
            kind: package.kind,
            locations: item.locations.clone(),
            state,
            fixed,
            severity: advisory.severity,
            score: advisory.score.map(|tenths| f64::from(tenths) / 10.0),
            summary: advisory.summary,
            source,
            note,
            published: advisory.published,
        }
    }
}

fn worst_first(a: &Match, b: &Match) -> Ordering {
    let rank = |m: &Match| (m.exploited.is_some(), m.severity);
    let score = |m: &Match| m.score.unwrap_or_default();
    let worse = rank(b).cmp(&rank(a)).then_with(|| score(b).total_cmp(&score(a)));
    worse.then_with(|| (&a.package, &a.id, &a.version).cmp(&(&b.package, &b.id, &b.version)))
}

struct Flaw {
    verdict: Verdict,
    source: String,
    advisory: Advisory,
}

impl Flaw {
    /// Takes from another advisory on the same flaw what is not known yet; one of the same source can make it worse.
    fn join(&mut self, other: Advisory, verdict: Verdict, source: &str) {
        if *source == self.source && matches!(self.verdict, Verdict::Mended(_)) {
            self.verdict = verdict;
        }
        let own = &mut self.advisory;
        if own.severity.is_unknown() {
            own.severity = other.severity;
        }
        own.score = own.score.or(other.score);
        // Known since the first of them has said so.
        own.published = match (own.published.take(), other.published) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if own.summary.is_empty() {
            own.summary = other.summary;
        }
        own.aliases.push(other.id);
        own.aliases.extend(other.aliases);
    }
}

#[cfg(test)]
mod tests;
