// SPDX-License-Identifier: Apache-2.0
//! Debian's security tracker, as it publishes it in JSON. Source: security-tracker.debian.org, `/tracker/data/json`, and
//! security-team, "Security tracker", "Issue states".

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Advisory, Feed, Range, Severity, short};
use crate::error::{Error, Result};

/// The releases by their words. A word that is not here is a release of its own.
const RELEASES: [(&str, &str); 9] = [
    ("jessie", "8"),
    ("stretch", "9"),
    ("buster", "10"),
    ("bullseye", "11"),
    ("bookworm", "12"),
    ("trixie", "13"),
    ("forky", "14"),
    ("duke", "15"),
    ("sid", "sid"),
];

#[derive(Deserialize)]
struct Flaw {
    #[serde(default)]
    description: String,
    #[serde(default)]
    releases: BTreeMap<String, Release>,
}

#[derive(Deserialize)]
struct Release {
    #[serde(default)]
    status: String,
    #[serde(default)]
    fixed_version: Option<String>,
    #[serde(default)]
    urgency: String,
    #[serde(default)]
    nodsa: Option<String>,
}

/// Returns the ecosystem of a release, by its number or its word.
pub fn ecosystem(release: &str) -> String {
    let number = RELEASES.iter().find(|(word, _)| *word == release).map_or(release, |(_, number)| *number);
    format!("Debian:{number}")
}

/// Reads the tracker's file.
///
/// # Errors
///
/// [`Kind::Corrupt`](crate::Kind::Corrupt) when it is no such file.
pub fn parse(data: &[u8]) -> Result<Feed> {
    // What one package has wrong is its own matter.
    let packages: BTreeMap<String, BTreeMap<String, serde_json::Value>> =
        serde_json::from_slice(data).map_err(|e| Error::corrupt("it is no file of Debian's tracker").with_source(e))?;
    let mut feed = Feed::default();
    for (package, flaws) in packages {
        for (id, value) in flaws {
            match serde_json::from_value::<Flaw>(value) {
                Ok(flaw) => take(&package, &id, &flaw, &mut feed),
                Err(e) => feed.problem(format!("{package}, {id}: {e}")),
            }
        }
    }
    Ok(feed)
}

fn take(package: &str, id: &str, flaw: &Flaw, feed: &mut Feed) {
    for (word, release) in &flaw.releases {
        let fixed = release.fixed_version.as_deref();
        let ranges = match (release.status.as_str(), fixed) {
            // A release that was never open to it.
            ("resolved", Some("0")) => Vec::new(),
            ("resolved", Some(version)) => vec![Range { fixed: Some(version.to_owned()), ..Range::default() }],
            ("open" | "undetermined", _) => vec![Range::default()],
            _ => {
                feed.problem(format!("{package}, {id}: {word} is neither open nor resolved"));
                continue;
            }
        };
        let note = release.nodsa.clone().filter(|text| !text.is_empty());
        let undetermined = (release.status == "undetermined").then(|| "undetermined".to_owned());
        let advisory = Advisory {
            id: id.to_owned(),
            summary: short(&flaw.description),
            severity: Severity::from_word(&release.urgency),
            ranges,
            note: undetermined.or(note),
            ..Advisory::default()
        };
        feed.add(&ecosystem(word), package, advisory);
    }
}
