// SPDX-License-Identifier: Apache-2.0
//! `bryo vulns`: which flaws the packages of images and containers have.

mod summary;

use std::path::PathBuf;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::container::Record;
use bryo_engine::packages::{age, statements};
use bryo_packages::advisories::Severity;
use bryo_packages::advisories::store::Header;
use bryo_packages::advisories::vex::Statement;
use bryo_packages::inventory::Inventory;
use bryo_packages::matching::{Knowledge, Match, Matches, State};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::advisories::MAX_AGE;
use super::sbom::{Target, complain};
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, template};
use crate::pages;

pub(super) use summary::{Summary, summaries};

/// The exit code when there is what `--fail-on` names.
const FOUND: u8 = 1;

/// Flags of `bryo vulns`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Vulns {
    /// Shows for every container that runs how many flaws it has
    #[arg(short, long, group = "what")]
    all: bool,
    /// Ends with 1 if there is a flaw as bad as this, or worse: low, medium, high, critical; unknown for any; and with 125
    /// if that cannot be said
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
    /// Does not take it for a failure of --fail-on that no advisory speaks of a package, or that there is no list of packages
    #[arg(long, requires = "fail_on")]
    accept_unknown: bool,
    /// Formats as json, by a template such as '{{.ID}} {{.Package}}', or as a table by 'table TEMPLATE'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Writes a page of HTML to FILE too, which needs nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "all")]
    html: Option<PathBuf>,
    /// Says that advisories are stale after so many days
    #[arg(long, value_name = "DAYS", default_value_t = MAX_AGE)]
    max_age: u32,
    /// Shows only flaws that are so: fixed in a later version, unfixed, or not-affected; without it the first two
    #[arg(long, value_name = "STATE", value_enum)]
    state: Vec<Shown>,
    /// Respects what an OpenVEX document says
    #[arg(long, value_name = "FILE")]
    vex: Vec<PathBuf>,
    /// The container, or else the image, by name or id; or a directory, by a path that begins with a dot or a slash
    #[arg(group = "what", value_name = "CONTAINER|IMAGE|DIR")]
    names: Vec<String>,
}

/// What there is to be said of everything that was looked at.
#[derive(Debug, Default)]
struct Outcome {
    /// How bad the worst flaw is.
    worst: Option<Severity>,
    /// Why there may be more than is known.
    doubts: Vec<String>,
}

/// Which flaws are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// A later version does not have it
    Fixed,
    /// Every version has it
    Unfixed,
    /// The installed version does not have it
    NotAffected,
}

impl Shown {
    fn state(self) -> State {
        match self {
            Self::Fixed => State::Fixed,
            Self::Unfixed => State::Unfixed,
            Self::NotAffected => State::NotAffected,
        }
    }
}

impl Verb for Vulns {
    const NAME: &'static str = "vulns";
    const ABOUT: &'static str = "Show which known vulnerabilities images and containers have";
    const FAILURE: u8 = 125;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let outcome = if self.all { self.every(&engine)? } else { self.named(&engine)? };
        let Some(limit) = self.fail_on else { return Ok(ExitCode::SUCCESS) };
        outcome.weighed(limit)
    }
}

impl Outcome {
    /// Says how it ends. What was found is found, whatever else there may be.
    fn weighed(&self, limit: Severity) -> Result<ExitCode> {
        if self.worst.is_some_and(|worst| worst >= limit) {
            return Ok(ExitCode::from(FOUND));
        }
        let Some(first) = self.doubts.first() else { return Ok(ExitCode::SUCCESS) };
        let more = self.doubts.len() - 1;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let why = format!("judge by --fail-on {}: it cannot be said: {first}{more}", limit.name());
        Err(Error::message(why)
            .hint("mend what is named above; --max-age and --accept-unknown say what is good enough"))
    }
}

impl Vulns {
    /// Shows the flaws of what was named.
    fn named(&self, engine: &Engine) -> Result<Outcome> {
        let mut looked = Vec::new();
        let mut outcome = Outcome::default();
        for name in &self.names {
            let target = Target::find(engine, name)?;
            let inventory = target.inventory(engine, false)?;
            complain(name, &inventory);
            outcome.doubts.extend(self.doubts(name, &inventory));
            looked.push((name, target, inventory));
        }
        let inventories: Vec<&Inventory> = looked.iter().map(|(_, _, inventory)| inventory).collect();
        let (knowledge, stale) = know(engine, &inventories, statements(&self.vex)?, self.max_age)?;
        outcome.doubts.extend(stale);
        let mut found = Vec::new();
        for (name, target, inventory) in &looked {
            let matches = knowledge.matches(inventory, &target.names());
            outcome.doubts.extend(self.tell(name, &matches));
            found.extend(matches.all.into_iter().map(|m| (name.as_str(), m)));
        }
        let shown: Vec<(&str, &Match)> =
            found.iter().filter(|(_, m)| self.shows(m.state)).map(|(name, m)| (*name, m)).collect();
        pages::write(self.html.as_deref(), || pages::vulns::page(&shown))?;
        let rows: Vec<Value> = shown.iter().map(|(name, m)| row(name, m)).collect();
        output::print(&self.written(&rows, &knowledge)?)?;
        outcome.worst = found.iter().filter(|(_, m)| m.state != State::NotAffected).map(|(_, m)| m.severity).max();
        Ok(outcome)
    }

    /// Says why of what is installed something may not be known.
    fn doubts(&self, name: &str, inventory: &Inventory) -> Vec<String> {
        let unread = (!inventory.problems.is_empty()).then(|| match inventory.problems.len() {
            1 => format!("{name}: a file could not be read"),
            many => format!("{name}: {many} files could not be read"),
        });
        let blind = inventory.is_unscannable() && !self.accept_unknown;
        unread.into_iter().chain(blind.then(|| format!("{name}: what is in it is unknown"))).collect()
    }

    /// Says what is not known, and returns why that may matter.
    fn tell(&self, name: &str, found: &Matches) -> Vec<String> {
        let mut doubts = Vec::new();
        for problem in &found.problems {
            output::complain(&format!("bryo: {}\n", output::line(problem)));
            doubts.push(problem.clone());
        }
        if let Some((what, remedy)) = found.unjudged() {
            output::complain(&format!("{}\n", output::line(&format!("bryo: {name}: {what}: {remedy}"))));
            doubts.extend((!self.accept_unknown).then(|| format!("{name}: {what}")));
        }
        doubts
    }

    /// Shows for each running container what it has.
    fn every(&self, engine: &Engine) -> Result<Outcome> {
        let listing = bryo_engine::list::Listing::default();
        let records = engine.list(&listing)?;
        let (all, stale) = summaries(engine, &records, statements(&self.vex)?, self.max_age)?;
        let rows: Vec<Value> = records.iter().zip(&all).map(|(record, summary)| summary.row(record)).collect();
        let usual = "table {{.Names}}\t{{.Image}}\t{{.Critical}}\t{{.High}}\t{{.Medium}}\t{{.Low}}\t{{.Unknown}}\t\
            {{.Fixable}}\t{{.Exploited}}\t{{.AtRunTime}}\t{{.Scan}}";
        let titles: template::Titles<'_> = &[("Names", "CONTAINER"), ("AtRunTime", "AT RUN TIME")];
        output::print(&template::list(
            self.format.as_deref().filter(|f| *f != "table").unwrap_or(usual),
            &rows,
            titles,
        )?)?;
        let doubt = |(record, summary): (&Record, &Summary)| {
            summary.doubt(self.accept_unknown).map(|why| format!("{}: {why}", record.name))
        };
        let doubts = stale.into_iter().chain(records.iter().zip(&all).filter_map(doubt)).collect();
        Ok(Outcome { worst: all.iter().filter_map(|summary| summary.worst).max(), doubts })
    }

    fn shows(&self, state: State) -> bool {
        if self.state.is_empty() { state != State::NotAffected } else { self.state.iter().any(|s| s.state() == state) }
    }

    fn written(&self, rows: &[Value], knowledge: &Knowledge) -> Result<String> {
        if let Some(format) = self.format.as_deref().filter(|format| *format != "table") {
            return template::list(format, rows, &[]);
        }
        let (kev, epss) = knowledge.has_exploits();
        let mut fields = vec!["ID", "Severity", "Package", "Installed", "Fixed", "State"];
        fields.extend(kev.then_some("KEV"));
        fields.extend(epss.then_some("EPSS"));
        if self.names.len() > 1 {
            fields.insert(0, "Target");
        }
        let fields: Vec<String> = fields.iter().map(|name| format!("{{{{.{name}}}}}")).collect();
        template::list(&format!("table {}", fields.join("\t")), rows, &[])
    }
}

fn row(name: &str, found: &Match) -> Value {
    json!({
        "Target": name,
        "ID": found.id,
        "Aliases": found.aliases.join(","),
        "Severity": found.severity.name(),
        "Score": found.score.map_or_else(String::new, |score| format!("{score:.1}")),
        "Type": found.kind.name(),
        "Package": found.package,
        "Installed": found.version,
        "Fixed": found.fixed.clone().unwrap_or_default(),
        "State": found.state.name(),
        "KEV": found.exploited.clone().unwrap_or_default(),
        "EPSS": found.likelihood.map_or_else(String::new, |guess| format!("{guess:.5}")),
        "Purl": found.purl,
        "Summary": found.summary,
        "Source": found.source,
        "Note": found.note.clone().unwrap_or_default(),
        "Locations": found.locations.iter().map(|path| format!("/{path}")).collect::<Vec<_>>().join(","),
    })
}

/// Opens what is known, and says and returns what of it is stale.
pub(super) fn know(
    engine: &Engine,
    inventories: &[&Inventory],
    vex: Vec<Statement>,
    max_age: u32,
) -> Result<(Knowledge, Vec<String>)> {
    let store = engine.advisories();
    if store.list().0.is_empty() {
        let why = "look for vulnerabilities: there are no advisories here";
        return Err(Error::message(why).hint("bryo advisories update"));
    }
    let knowledge = Knowledge::open(&store, inventories, vex);
    let old = knowledge.headers().filter(|header| age(header) > i64::from(max_age));
    let stale: Vec<String> = old
        .map(|header| {
            let (days, Header { ecosystem, source, date, .. }) = (age(header), header);
            format!("the advisories for {ecosystem} ({source}) are of {date}, {days} days old")
        })
        .collect();
    for text in &stale {
        output::complain(&format!("{}\n", output::line(&format!("bryo: {text}: bryo advisories update"))));
    }
    Ok((knowledge, stale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_said_is_no_good_answer() {
        let of = |worst, doubts: &[&str]| Outcome { worst, doubts: doubts.iter().map(|d| (*d).to_owned()).collect() };
        let high = Severity::High;
        let code = |outcome: &Outcome| outcome.weighed(high).map(|code| format!("{code:?}")).ok();
        let (good, found) = (Some(format!("{:?}", ExitCode::SUCCESS)), Some(format!("{:?}", ExitCode::from(FOUND))));
        assert_eq!(code(&of(None, &[])), good);
        assert_eq!(code(&of(Some(Severity::Low), &[])), good);
        assert_eq!(code(&of(Some(high), &["stale"])), found);
        assert_eq!(code(&of(Some(Severity::Low), &["stale"])), None);
        let told = of(None, &["one", "two"]).weighed(high).unwrap_err().text().unwrap();
        assert_eq!(told, "judge by --fail-on high: it cannot be said: one, and 1 more");
    }
}
