// SPDX-License-Identifier: Apache-2.0
//! OSV's records, one by one or as an export of an ecosystem (`all.zip`). Source: ossf.github.io, "Open Source
//! Vulnerability format", 1.7.

use std::io::{Read, Seek};

use serde::Deserialize;
use serde_json::Value;

use super::{Advisory, Feed, Range, Severity, severity, short};
use crate::error::{Error, Kind, Result};
use crate::readers::pip;

/// The largest record, in bytes.
const RECORD_MAX: u64 = 16 << 20;
/// How many records an export may have, and how long they may be together, in bytes.
const RECORDS_MAX: usize = 3_000_000;
const TOTAL_MAX: u64 = 16 << 30;
/// How many versions are kept one by one, where ranges are there as well.
const VERSIONS_MAX: usize = 20_000;

#[derive(Deserialize)]
struct Record {
    id: String,
    #[serde(default)]
    modified: Option<String>,
    #[serde(default)]
    published: Option<String>,
    #[serde(default)]
    withdrawn: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    upstream: Vec<String>,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    details: String,
    #[serde(default)]
    severity: Vec<Score>,
    #[serde(default)]
    affected: Vec<Affected>,
    #[serde(default)]
    database_specific: Value,
}

#[derive(Deserialize)]
struct Score {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    score: String,
}

#[derive(Deserialize)]
struct Affected {
    #[serde(default)]
    package: Option<PackageName>,
    #[serde(default)]
    severity: Vec<Score>,
    #[serde(default)]
    ranges: Vec<Events>,
    #[serde(default)]
    versions: Vec<String>,
    #[serde(default)]
    ecosystem_specific: Value,
    #[serde(default)]
    database_specific: Value,
}

#[derive(Deserialize)]
struct PackageName {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct Events {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
}

/// Reads an export. A record that is damaged is told, and the others are read.
///
/// # Errors
///
/// [`Kind::Corrupt`] when it is no archive; [`Kind::Limit`].
pub fn export(archive: impl Read + Seek) -> Result<Feed> {
    let damaged = |e: zip::result::ZipError| Error::corrupt("it is no archive that can be read").with_source(e);
    let mut archive = zip::ZipArchive::new(archive).map_err(damaged)?;
    if archive.len() > RECORDS_MAX {
        return Err(Error::new(Kind::Limit, format!("it has more than {RECORDS_MAX} records")));
    }
    let mut feed = Feed::default();
    let mut total = 0;
    for n in 0..archive.len() {
        let (name, read) = match archive.by_index(n) {
            Ok(mut entry) => {
                let name = entry.name().map_or_else(|_| format!("entry {n}"), |name| name.into_owned());
                if !name.ends_with(".json") {
                    continue;
                }
                let mut data = Vec::new();
                let read = entry.by_ref().take(RECORD_MAX + 1).read_to_end(&mut data).map(|_| data);
                (name, read.map_err(|e| e.to_string()))
            }
            Err(e) => (format!("entry {n}"), Err(e.to_string())),
        };
        match read {
            Ok(data) if data.len() as u64 > RECORD_MAX => feed.problem(format!("{name}: it is too long")),
            Ok(data) => {
                total += data.len() as u64;
                if total > TOTAL_MAX {
                    return Err(Error::new(Kind::Limit, format!("its records are longer than {TOTAL_MAX} bytes")));
                }
                record(&data, &name, &mut feed);
            }
            Err(why) => feed.problem(format!("{name}: {why}")),
        }
    }
    Ok(feed)
}

/// Reads one record, or a list of records.
pub fn record(data: &[u8], name: &str, feed: &mut Feed) {
    let first = data.iter().find(|b| !b.is_ascii_whitespace());
    let records = if first == Some(&b'[') {
        serde_json::from_slice::<Vec<Value>>(data)
            .map(|all| all.into_iter().map(serde_json::from_value::<Record>).collect::<Vec<_>>())
    } else {
        serde_json::from_slice::<Record>(data).map(|one| vec![Ok(one)])
    };
    match records {
        Ok(records) => {
            for one in records {
                match one {
                    Ok(record) => take(record, feed),
                    Err(e) => feed.problem(format!("{name}: {e}")),
                }
            }
        }
        Err(e) => feed.problem(format!("{name}: {e}")),
    }
}

fn take(record: Record, feed: &mut Feed) {
    feed.seen(record.modified.as_deref());
    feed.seen(record.published.as_deref());
    if record.withdrawn.is_some() {
        return;
    }
    let mut aliases = record.aliases;
    aliases.extend(record.upstream);
    let summary = short(if record.summary.is_empty() { &record.details } else { &record.summary });
    for affected in record.affected {
        let Some(package) = &affected.package else { continue };
        let (ranges, versions) = (ranges(&affected.ranges), affected.versions.clone());
        if ranges.is_empty() && versions.is_empty() {
            // It names a package and no version of it: nothing can be said.
            continue;
        }
        let words = [
            &affected.ecosystem_specific["urgency"],
            &affected.ecosystem_specific["severity"],
            &affected.database_specific["severity"],
            &record.database_specific["severity"],
        ];
        let word = words.iter().filter_map(|word| word.as_str()).map(Severity::from_word).find(|s| !s.is_unknown());
        let score = best(&affected.severity).or_else(|| best(&record.severity));
        let advisory = Advisory {
            id: record.id.clone(),
            aliases: aliases.clone(),
            summary: summary.clone(),
            severity: word.or(score.map(Severity::from_score)).or_else(|| spoken(&record.severity)).unwrap_or_default(),
            score,
            // Ranges say the same as long lists, and of newer versions as well.
            versions: if ranges.is_empty() || versions.len() <= VERSIONS_MAX { versions } else { Vec::new() },
            ranges,
            published: record.published.clone().filter(|date| !date.starts_with("0001-")),
            note: None,
        };
        let name = key(&package.ecosystem, &package.name);
        feed.add(&package.ecosystem, &name, advisory);
    }
}

/// Writes a package's name as it is looked up.
fn key(ecosystem: &str, name: &str) -> String {
    if ecosystem == "PyPI" { pip::normal(name) } else { name.to_owned() }
}

/// Takes the newest sort of score.
fn best(scores: &[Score]) -> Option<u8> {
    let of = |kind: &str| scores.iter().filter(|s| s.kind == kind).filter_map(|s| severity::score(&s.score)).max();
    of("CVSS_V3").or_else(|| of("CVSS_V4"))
}

/// Ubuntu has a word where others have a vector.
fn spoken(scores: &[Score]) -> Option<Severity> {
    scores.iter().map(|score| Severity::from_word(&score.score)).find(|severity| !severity.is_unknown())
}

/// Makes ranges of events, which come in order: each beginning has the end that follows it.
fn ranges(all: &[Events]) -> Vec<Range> {
    let mut ranges = Vec::new();
    // Commits are no versions.
    for list in all.iter().filter(|list| list.kind != "GIT") {
        let mut open: Option<Range> = None;
        for event in &list.events {
            if let Some(version) = &event.introduced {
                ranges.extend(open.take());
                let introduced = (version != "0").then(|| version.clone());
                open = Some(Range { introduced, ..Range::default() });
            }
            if event.fixed.is_some() || event.last_affected.is_some() {
                let from = open.take().unwrap_or_default();
                ranges.push(Range { fixed: event.fixed.clone(), last: event.last_affected.clone(), ..from });
            }
        }
        ranges.extend(open);
    }
    ranges
}
