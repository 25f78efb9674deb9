// SPDX-License-Identifier: Apache-2.0
//! Advisories: which versions of which packages have which flaws, from those who publish it.
//!
//! ```text
//! OSV's exports ─┐
//! Debian's JSON ─┼─> advisories by ecosystem and package ──> store ──> matching
//! Alpine's secdb ┘
//! ```
//!
//! Trusts: whoever publishes them to be right, and nothing of the files' form.

pub mod alpine;
pub mod debian;
pub mod epss;
pub mod kev;
pub mod osv;
pub mod severity;
pub mod store;
pub mod vex;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use severity::Severity;

/// How long a summary is kept, in characters.
const SUMMARY: usize = 200;
/// The largest file that is read, in bytes.
pub const FILE_MAX: u64 = 2 << 30;

/// Versions that have a flaw: from one on, and before another.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Range {
    /// The first one; nothing for all from the beginning.
    #[serde(default, rename = "i", skip_serializing_if = "Option::is_none")]
    pub introduced: Option<String>,
    /// The first one that has it no more.
    #[serde(default, rename = "f", skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// The last one that has it, where nobody knows a better one.
    #[serde(default, rename = "l", skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// What is known of one flaw in one package.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Advisory {
    /// The publisher's name for it.
    pub id: String,
    /// Others' names for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What it is, in a few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// How bad it is.
    #[serde(default, skip_serializing_if = "Severity::is_unknown")]
    pub severity: Severity,
    /// The same as a number from 0 to 100, ten times that of CVSS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u8>,
    /// The versions that have it. None at all: the package does not have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
    /// More versions that have it, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// When it was published, RFC 3339, as far as that is known.
    #[serde(default, rename = "p", skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// What the publisher adds, such as that it will not be mended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Advisory {
    /// Returns the name that all publishers share: that of CVE, if there is one.
    pub fn common_id(&self) -> &str {
        let names = std::iter::once(&self.id).chain(&self.aliases);
        names.into_iter().find(|name| name.starts_with("CVE-")).unwrap_or(&self.id)
    }
}

/// Advisories by ecosystem and package.
pub type Collected = BTreeMap<String, BTreeMap<String, Vec<Advisory>>>;

/// What one source has.
#[derive(Debug, Default)]
pub struct Feed {
    /// The advisories.
    pub advisories: Collected,
    /// The time of the newest of them, if they say: RFC 3339.
    pub date: Option<String>,
    /// What was not understood, while the rest was.
    pub problems: Vec<String>,
}

impl Feed {
    fn add(&mut self, ecosystem: &str, package: &str, advisory: Advisory) {
        if !self.advisories.contains_key(ecosystem) {
            self.advisories.insert(ecosystem.to_owned(), BTreeMap::new());
        }
        if let Some(packages) = self.advisories.get_mut(ecosystem) {
            packages.entry(package.to_owned()).or_default().push(advisory);
        }
    }

    /// Notes the time of an advisory. Go's own repository has the year 1 where its export has a time.
    fn seen(&mut self, date: Option<&str>) {
        if let Some(date) = date
            .filter(|date| !date.starts_with("0001-"))
            .filter(|date| self.date.as_deref().is_none_or(|known| known < *date))
        {
            self.date = Some(date.to_owned());
        }
    }

    fn problem(&mut self, text: String) {
        /// How many are told.
        const TOLD: usize = 20;
        if self.problems.len() < TOLD {
            self.problems.push(text);
        }
    }

    /// Puts what another file of the same source has to it.
    pub fn extend(&mut self, other: Self) {
        self.seen(other.date.as_deref());
        self.problems.extend(other.problems);
        for (ecosystem, packages) in other.advisories {
            for (package, advisories) in packages {
                advisories.into_iter().for_each(|advisory| self.add(&ecosystem, &package, advisory));
            }
        }
    }

    /// Counts the advisories.
    pub fn len(&self) -> usize {
        self.advisories.values().flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.advisories.is_empty()
    }
}

/// Cuts a text to what a table has room for.
fn short(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    if line.chars().count() <= SUMMARY {
        line.to_owned()
    } else {
        line.chars().take(SUMMARY - 1).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests;
