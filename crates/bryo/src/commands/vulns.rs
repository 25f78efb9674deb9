// SPDX-License-Identifier: Apache-2.0
//! `bryo vulns`: which flaws the packages of images and containers have.

mod summary;

use std::path::PathBuf;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::packages::{age, statements};
use bryo_packages::advisories::Severity;
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

pub(super) use summary::summaries;

/// The exit code when there is what `--fail-on` names.
const FOUND: u8 = 1;

/// Flags of `bryo vulns`.
#[derive(Debug, Args)]
pub struct Vulns {
    /// Shows for every container that runs how many flaws it has
    #[arg(short, long, conflicts_with = "names", required_unless_present = "names")]
    all: bool,
    /// Ends with 1 if there is a flaw as bad as this, or worse: low, medium, high, critical; unknown for any
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
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
    /// The container, or else the image, by name or id; or a directory, by a path that begins with / or .
    #[arg(value_name = "CONTAINER|IMAGE|DIR")]
    names: Vec<String>,
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
        let worst = if self.all { self.every(&engine)? } else { self.named(&engine)? };
        let found = self.fail_on.is_some_and(|limit| worst.is_some_and(|worst| worst >= limit));
        Ok(if found { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
    }
}

impl Vulns {
    /// Shows the flaws of what was named, and returns how bad the worst is.
    fn named(&self, engine: &Engine) -> Result<Option<Severity>> {
        let mut looked = Vec::new();
        for name in &self.names {
            let target = Target::find(engine, name)?;
            let inventory = target.inventory(engine, false)?;
            complain(name, &inventory);
            looked.push((name, target, inventory));
        }
        let inventories: Vec<&Inventory> = looked.iter().map(|(_, _, inventory)| inventory).collect();
        let knowledge = know(engine, &inventories, statements(&self.vex)?, self.max_age)?;
        let mut found = Vec::new();
        for (name, target, inventory) in &looked {
            let matches = knowledge.matches(inventory, &target.names());
            tell(name, &matches);
            found.extend(matches.all.into_iter().map(|m| (name.as_str(), m)));
        }
        let shown: Vec<(&str, &Match)> =
            found.iter().filter(|(_, m)| self.shows(m.state)).map(|(name, m)| (*name, m)).collect();
        pages::write(self.html.as_deref(), || pages::vulns::page(&shown))?;
        let rows: Vec<Value> = shown.iter().map(|(name, m)| row(name, m)).collect();
        output::print(&self.written(&rows, &knowledge)?)?;
        Ok(found.iter().filter(|(_, m)| m.state != State::NotAffected).map(|(_, m)| m.severity).max())
    }

    /// Shows for each running container what it has, and returns how bad the worst is.
    fn every(&self, engine: &Engine) -> Result<Option<Severity>> {
        let listing = bryo_engine::list::Listing::default();
        let records = engine.list(&listing)?;
        let all = summaries(engine, &records, statements(&self.vex)?, self.max_age)?;
        let rows: Vec<Value> = records.iter().zip(&all).map(|(record, summary)| summary.row(record)).collect();
        let usual = "table {{.Names}}\t{{.Image}}\t{{.Critical}}\t{{.High}}\t{{.Medium}}\t{{.Low}}\t{{.Unknown}}\t\
            {{.Fixable}}\t{{.Exploited}}\t{{.AtRunTime}}\t{{.Scan}}";
        let titles: template::Titles<'_> = &[("Names", "CONTAINER"), ("AtRunTime", "AT RUN TIME")];
        output::print(&template::list(
            self.format.as_deref().filter(|f| *f != "table").unwrap_or(usual),
            &rows,
            titles,
        )?)?;
        Ok(all.iter().filter_map(|summary| summary.worst).max())
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

/// Opens what is known, and says what of it is stale.
pub(super) fn know(
    engine: &Engine,
    inventories: &[&Inventory],
    vex: Vec<Statement>,
    max_age: u32,
) -> Result<Knowledge> {
    let store = engine.advisories();
    if store.list().0.is_empty() {
        let why = "look for vulnerabilities: there are no advisories here";
        return Err(Error::message(why).hint("bryo advisories update"));
    }
    let knowledge = Knowledge::open(&store, inventories, vex);
    for header in knowledge.headers().filter(|header| age(header) > i64::from(max_age)) {
        let text = format!(
            "bryo: the advisories for {} ({}) are of {}, {} days old: bryo advisories update",
            header.ecosystem,
            header.source,
            header.date,
            age(header)
        );
        output::complain(&format!("{}\n", output::line(&text)));
    }
    Ok(knowledge)
}

/// Says what is not known.
fn tell(name: &str, found: &Matches) {
    for problem in &found.problems {
        output::complain(&format!("bryo: {}\n", output::line(problem)));
    }
    if found.unknown > 0 {
        let text = format!("bryo: {name}: there are no advisories for {} packages: bryo advisories ls", found.unknown);
        output::complain(&format!("{}\n", output::line(&text)));
    }
}
