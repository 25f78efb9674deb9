// SPDX-License-Identifier: Apache-2.0
//! Debian's security tracker, as it publishes it in JSON. Source: security-tracker.debian.org, `/tracker/data/json`, and
//! security-team, "Security tracker", "Issue states".

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

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
    let mut feed = Feed::default();
    let mut reader = serde_json::Deserializer::from_slice(data);
    let read = reader.deserialize_map(Packages(&mut feed)).and_then(|()| reader.end());
    read.map_err(|e| Error::corrupt("it is no file of Debian's tracker").with_source(e))?;
    Ok(feed)
}

/// Takes one package after the other: the whole file would need many times its length.
struct Packages<'f>(&'f mut Feed);

impl<'de> Visitor<'de> for Packages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("packages with their flaws")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<(), M::Error> {
        while let Some((package, flaws)) = map.next_entry::<String, Value>()? {
            let Value::Object(flaws) = flaws else {
                self.0.problem(format!("{package}: it has no list of flaws"));
                continue;
            };
            for (id, value) in flaws {
                match serde_json::from_value::<Flaw>(value) {
                    Ok(flaw) => take(&package, &id, &flaw, self.0),
                    Err(e) => self.0.problem(format!("{package}, {id}: {e}")),
                }
            }
        }
        Ok(())
    }
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
        let ended = (release.urgency == "end-of-life").then(|| "no longer mended in this release".to_owned());
        let advisory = Advisory {
            id: id.to_owned(),
            summary: short(&flaw.description),
            // Old entries have stars behind the word.
            severity: Severity::from_word(release.urgency.trim_end_matches('*')),
            ranges,
            note: undetermined.or(ended).or(note),
            ..Advisory::default()
        };
        feed.add(&ecosystem(word), package, advisory);
    }
}
