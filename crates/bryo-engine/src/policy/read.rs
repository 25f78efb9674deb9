// SPDX-License-Identifier: Apache-2.0
//! From TOML to rules, with the place of every mistake.

use std::path::{Path, PathBuf};

use bryo_packages::advisories::Severity;
use toml::de::DeTable;

use super::signed::{Scope, Signer};
use super::{Demand, Flaws, PodSecurity, Rule};
use crate::config::file::{File, Value};
use crate::error::{Kind, Result};

const TOP: [&str; 7] =
    ["non-root", "read-only", "no-drift", "sbom-present", "pod-security", "vulnerabilities", "signed"];
const VULNERABILITIES: [&str; 7] = ["severity", "grace-days", "unfixed", "max-age", "stale", "unknown-packages", "vex"];
const SIGNED: [&str; 6] = ["accept", "refuse", "keys", "identity", "issuer", "trusted-root"];

/// How old advisories may be, in days, if the file does not say.
const MAX_AGE: u32 = 7;

/// Reads all rules of a file.
pub(super) fn rules(path: &Path, text: &str) -> Result<Vec<Rule>> {
    let file = File { path, text, mistake: Kind::InvalidPolicy };
    let root = file.parse()?;
    let mut rules = Vec::new();
    file.each(root.get_ref(), "", &TOP, |key, value| {
        let demand = match key {
            "non-root" => asked(&file, value)?.then_some(Demand::NonRoot),
            "read-only" => asked(&file, value)?.then_some(Demand::ReadOnly),
            "no-drift" => asked(&file, value)?.then_some(Demand::NoDrift),
            "sbom-present" => asked(&file, value)?.then_some(Demand::SbomPresent),
            "pod-security" => {
                let words = [("baseline", PodSecurity::Baseline), ("restricted", PodSecurity::Restricted)];
                Some(Demand::PodSecurity(file.word(value, &words)?))
            }
            "vulnerabilities" => Some(Demand::Vulnerabilities(flaws(&file, value)?)),
            _ => Some(Demand::Signed(scopes(&file, value)?)),
        };
        let line = file.line(value.span().start);
        rules.extend(demand.map(|demand| Rule { file: path.to_owned(), line, demand }));
        Ok(())
    })?;
    // A table has its keys in the order of the alphabet; people have them in that of the lines.
    rules.sort_by_key(|rule| rule.line);
    Ok(rules)
}

fn asked(file: &File<'_>, value: &Value<'_>) -> Result<bool> {
    value.get_ref().as_bool().ok_or_else(|| file.wrong(value, "expected true or false"))
}

fn accepted(file: &File<'_>, value: &Value<'_>) -> Result<bool> {
    file.word(value, &[("refuse", false), ("accept", true)])
}

fn flaws(file: &File<'_>, value: &Value<'_>) -> Result<Flaws> {
    let mut severity = None;
    let mut flaws = Flaws {
        severity: Severity::Unknown,
        grace: 0,
        unfixed: false,
        max_age: Some(MAX_AGE),
        accept_unknown: false,
        vex: Vec::new(),
    };
    let mut stale = false;
    file.each(file.table(value)?, "vulnerabilities", &VULNERABILITIES, |key, value| {
        match key {
            "severity" => severity = Some(file.string(value)?.parse().map_err(|why| file.wrong(value, why))?),
            "grace-days" => flaws.grace = days(file, value)?,
            "unfixed" => flaws.unfixed = asked(file, value)?,
            "max-age" => flaws.max_age = Some(days(file, value)?),
            "stale" => stale = accepted(file, value)?,
            "unknown-packages" => flaws.accept_unknown = accepted(file, value)?,
            _ => flaws.vex = paths(file, value)?,
        }
        Ok(())
    })?;
    let missing = || file.wrong(value, "severity is missing: which flaws count? such as severity = \"high\"");
    flaws.severity = severity.ok_or_else(missing)?;
    if stale {
        flaws.max_age = None;
    }
    Ok(flaws)
}

/// A number of days; none is a number here.
fn days(file: &File<'_>, value: &Value<'_>) -> Result<u32> {
    let number = value.get_ref().as_integer().and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
    number.ok_or_else(|| file.wrong(value, "expected a number of days"))
}

/// Paths of files. A relative one would mean another file in every directory.
fn paths(file: &File<'_>, value: &Value<'_>) -> Result<Vec<PathBuf>> {
    let list = value.get_ref().as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| file.wrong(value, "expected a list of files, such as [\"/etc/bryo/a\"]"))?;
    list.iter().map(|entry| absolute(file, entry)).collect()
}

fn absolute(file: &File<'_>, value: &Value<'_>) -> Result<PathBuf> {
    let path = PathBuf::from(file.string(value)?);
    if path.is_absolute() { Ok(path) } else { Err(file.wrong(value, "expected a path that begins with /")) }
}

fn scopes(file: &File<'_>, value: &Value<'_>) -> Result<Vec<Scope>> {
    let table = file.table(value)?;
    let mut scopes = Vec::new();
    for (name, value) in table {
        let pattern: &str = name.get_ref();
        if pattern.is_empty() || pattern.contains(char::is_whitespace) || pattern.ends_with('/') {
            let why = format!("{pattern:?} is no scope; \"registry/path\", \"*.example.org\" and \"default\" are");
            return Err(file.error(name.span().start, why));
        }
        let signer = signer(file, value, file.table(value)?)?;
        scopes.push(Scope { pattern: pattern.to_owned(), signer });
    }
    if scopes.is_empty() {
        return Err(file.wrong(value, "no scope is named; [signed.default] is that of all images"));
    }
    Ok(scopes)
}

fn signer(file: &File<'_>, value: &Value<'_>, table: &DeTable<'_>) -> Result<Signer> {
    let (mut simple, mut keys, mut identity, mut issuer, mut root) = (None, Vec::new(), None, None, None);
    file.each(table, "signed", &SIGNED, |key, value| {
        match key {
            "accept" | "refuse" if simple.is_some() || !asked(file, value)? => {
                return Err(file.wrong(value, "expected either accept = true or refuse = true"));
            }
            "accept" => simple = Some(Signer::Anybody),
            "refuse" => simple = Some(Signer::Nobody),
            "keys" => keys = paths(file, value)?,
            "identity" => identity = Some(file.string(value)?.to_owned()),
            "issuer" => issuer = Some(file.string(value)?.to_owned()),
            _ => root = Some(absolute(file, value)?),
        }
        Ok(())
    })?;
    match (simple, keys.is_empty(), identity, issuer, root) {
        (Some(simple), true, None, None, None) => Ok(simple),
        (None, false, None, None, root) => Ok(Signer::Keys { keys, root }),
        (None, true, Some(identity), Some(issuer), Some(root)) => Ok(Signer::Identity { identity, issuer, root }),
        _ => {
            let why = "expected accept = true, or refuse = true, or keys = [...] and perhaps trusted-root, or identity, \
                issuer and trusted-root together";
            Err(file.wrong(value, why))
        }
    }
}
