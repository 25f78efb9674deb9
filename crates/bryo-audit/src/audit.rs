// SPDX-License-Identifier: Apache-2.0
//! Auditing: from what is named to what was found.

mod cards;
mod files;
mod near;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bryo_image::store::{ImageRecord, Store};
use serde::Serialize;

pub use cards::{Card, Reach};
pub use near::Near;

use crate::facts::network::{Policies, Policy, Target};
use crate::facts::workload::Workload;
use crate::facts::{container, image, yaml};
use crate::identity::Accounts;
use crate::judge::{self, Setting};
use crate::model::{Finding, Level, Place, Severity, Sink};
use crate::rules;
use crate::suppress::{self, Allow};

/// What was audited.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A Dockerfile.
    Dockerfile,
    /// A Compose file.
    Compose,
    /// Kubernetes objects.
    Kubernetes,
    /// An image.
    Image,
    /// A container of an engine.
    Container,
    /// An OCI bundle.
    Bundle,
    /// Nothing that is known.
    Unknown,
}

impl Kind {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dockerfile => "Dockerfile",
            Self::Compose => "Compose file",
            Self::Kubernetes => "Kubernetes",
            Self::Image => "image",
            Self::Container => "container",
            Self::Bundle => "OCI bundle",
            Self::Unknown => "unknown",
        }
    }
}

/// Something that could not be read, or not all of it.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
}

/// What one target came to.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The file, image or container.
    pub target: Arc<str>,
    /// What it is.
    pub kind: Kind,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// What was read, and is of a kind of which nothing is known.
    pub not_judged: Vec<Problem>,
    /// Who runs, and what they reach.
    pub subjects: Vec<Card>,
    /// What is known of networks.
    #[serde(skip)]
    net: Net,
}

/// Pods, and the policies for their network.
#[derive(Clone, Debug, Default)]
struct Net {
    targets: Vec<Target>,
    policies: Vec<Policy>,
}

/// Takes back what was said of pods without a policy where another file has one.
pub fn settle(outcomes: &mut [Outcome]) {
    let policies: Vec<Policy> = outcomes.iter().flat_map(|outcome| outcome.net.policies.iter().cloned()).collect();
    if policies.is_empty() {
        return;
    }
    let policies = Policies::new(&policies);
    for outcome in outcomes {
        let selected = outcome.net.targets.iter().filter(|target| policies.select(target));
        let places: HashSet<(usize, usize)> = selected.map(|target| (target.place.line, target.place.column)).collect();
        let settled = |finding: &Finding| {
            let place = (finding.place.line, finding.place.column);
            finding.rule.id == rules::DEFAULT_NETWORK.id && places.contains(&place)
        };
        outcome.findings.retain(|finding| !settled(finding));
    }
}

/// How many flaws of one severity are named.
const FLAWS_NAMED: usize = 5;

/// A published flaw of a package.
#[derive(Clone, Debug)]
pub struct Flaw {
    /// Its name, such as `CVE-2024-1`.
    pub id: String,
    /// The package and its version.
    pub package: String,
    /// The first version without it.
    pub fixed: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// Whether the package was installed in the running container.
    pub late: bool,
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.id, self.package)?;
        if let Some(fixed) = &self.fixed {
            write!(f, " (fixed in {fixed})")?;
        }
        if self.late {
            f.write_str(", installed at run time")?;
        }
        Ok(())
    }
}

/// Returns the user of an image by its name, if the image is at hand.
pub type UserOf<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// Returns the accounts of an image by its name, if the image is at hand.
pub type AccountsOf<'a> = &'a (dyn Fn(&str) -> Option<Accounts> + Sync);

/// How to audit.
#[derive(Clone)]
pub struct Auditor<'a> {
    /// What the judges are told.
    pub setting: Setting,
    /// A level: its rules, and no others.
    pub level: Option<Level>,
    /// The stage of Dockerfiles that is built; the last one without it.
    pub stage: Option<String>,
    /// What is accepted.
    pub allows: Vec<Allow>,
    /// Looks images up.
    pub user_of: UserOf<'a>,
    /// Looks the accounts of images up. Asked for names only: it may take a while.
    pub accounts_of: AccountsOf<'a>,
    /// How many threads read files.
    pub threads: usize,
}

impl std::fmt::Debug for Auditor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auditor").field("setting", &self.setting).field("level", &self.level).finish_non_exhaustive()
    }
}

impl Default for Auditor<'_> {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let setting = Setting::default();
        Self {
            setting,
            level: None,
            stage: None,
            allows: Vec::new(),
            user_of: &|_| None,
            accounts_of: &|_| None,
            threads,
        }
    }
}

impl Outcome {
    fn new(target: &str, kind: Kind) -> Self {
        let target = target.into();
        let (findings, problems, subjects) = (Vec::new(), Vec::new(), Vec::new());
        Self { target, kind, findings, problems, not_judged: Vec::new(), subjects, net: Net::default() }
    }

    /// Makes one of something that could not be read.
    pub fn failed(target: &str, message: impl Into<String>) -> Self {
        let mut outcome = Self::new(target, Kind::Unknown);
        outcome.problem(0, 0, message);
        outcome
    }

    /// Makes one of something that was not looked at, which is no failure.
    pub fn left_out(target: &str, message: impl Into<String>) -> Self {
        let mut outcome = Self::failed(target, message);
        outcome.not_judged = std::mem::take(&mut outcome.problems);
        outcome
    }

    fn problem(&mut self, line: usize, column: usize, message: impl Into<String>) {
        let place = Place { file: Arc::clone(&self.target), line, column };
        self.problems.push(Problem { place, message: message.into() });
    }

    /// Returns the worst of what is not accepted.
    pub fn worst(&self) -> Option<Severity> {
        self.open().map(|finding| finding.severity).max()
    }

    /// Lists what is not accepted.
    pub fn open(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.accepted.is_none())
    }
}

impl Auditor<'_> {
    /// Audits a file or a directory that the caller has named.
    pub fn path(&self, path: &Path) -> Vec<Outcome> {
        let is_dir = std::fs::metadata(path).is_ok_and(|meta| meta.is_dir());
        let bundle = path.join("config.json");
        if is_dir && path.join("rootfs").is_dir() && bundle.is_file() {
            return vec![self.named_file(&bundle)];
        }
        if is_dir { self.directory(path) } else { vec![self.named_file(path)] }
    }

    /// Audits an image of a store.
    pub fn image(&self, store: &Store, record: &ImageRecord, name: &str) -> Outcome {
        let read = || {
            let (_, config) = store.documents(record)?;
            image::Image::read(store, &store.image(record)?, &config, name)
        };
        match read() {
            Ok(mut facts) => {
                facts.reference.clone_from(&record.reference);
                self.image_facts(&facts)
            }
            Err(error) => {
                let mut outcome = Outcome::new(name, Kind::Image);
                outcome.problem(0, 0, error.chain());
                outcome
            }
        }
    }

    /// Audits an image of which the facts are known.
    pub fn image_facts(&self, facts: &image::Image) -> Outcome {
        let mut outcome = Outcome::new(&facts.name, Kind::Image);
        let mut sink = Sink::new(&facts.name);
        let who = judge::image::judge(facts, &outcome.target, &self.setting, &mut sink);
        outcome.findings = sink.findings;
        outcome.subjects.push(cards::of_image(&facts.name, &who, &outcome.findings));
        self.finished(outcome, None)
    }

    /// Audits what an engine says of a container in the words of `inspect`. `more` adds what is known besides.
    pub fn container(&self, name: &str, text: &str, more: impl FnOnce(&mut Workload)) -> Outcome {
        let mut outcome = Outcome::new(name, Kind::Container);
        let documents = match files::parse(text) {
            Ok(documents) => documents,
            Err(mistake) => {
                outcome.problem(mistake.line, mistake.column, mistake.message);
                return outcome;
            }
        };
        let node = documents.iter().find(|node| container::is_inspect(node));
        let Some(mut made) = node.and_then(|node| container::inspect(&outcome.target, node).into_iter().next()) else {
            outcome.problem(0, 0, "the engine's answer describes no container");
            return outcome;
        };
        // Lines of an answer say nothing to anybody.
        made.place = Some(Place::whole(&outcome.target));
        more(&mut made);
        self.workload(&mut outcome, &made);
        for finding in &mut outcome.findings {
            finding.place = Place::whole(&outcome.target);
        }
        self.finished(outcome, None)
    }

    /// Adds what the policy says of a target: the rules that do not hold, one text for each.
    pub fn policy(&self, outcome: &mut Outcome, broken: impl IntoIterator<Item = String>) {
        let mut sink = Sink::new(&outcome.target);
        let place = Place::whole(&outcome.target);
        broken.into_iter().for_each(|rule| sink.add(&rules::POLICY, &place, rule));
        outcome.findings.append(&mut sink.findings);
        let added = std::mem::replace(outcome, Outcome::new("", Kind::Unknown));
        *outcome = self.finished(added, None);
    }

    /// Adds the published flaws of a target's packages: a finding for each severity.
    pub fn flaws(&self, outcome: &mut Outcome, flaws: &[Flaw]) {
        let mut sink = Sink::new(&outcome.target);
        let place = Place::whole(&outcome.target);
        for severity in Severity::ALL {
            let of: Vec<&Flaw> = flaws.iter().filter(|flaw| flaw.severity == severity).collect();
            if of.is_empty() {
                continue;
            }
            let more = of.len().saturating_sub(FLAWS_NAMED);
            let named: Vec<String> = of.iter().take(FLAWS_NAMED).map(|flaw| flaw.to_string()).collect();
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let what = format!("{}: {}{more}", of.len(), named.join(", "));
            sink.add_as(&rules::VULNERABLE, severity, &place, what);
        }
        outcome.findings.append(&mut sink.findings);
        let added = std::mem::replace(outcome, Outcome::new("", Kind::Unknown));
        *outcome = self.finished(added, None);
    }

    /// Judges one workload.
    fn workload(&self, outcome: &mut Outcome, made: &Workload) {
        let mut sink = Sink::new(&made.name);
        judge::workload(made, &self.setting, &mut sink);
        if !made.is_pod {
            outcome.subjects.push(cards::of_workload(made, &sink.findings));
        }
        outcome.findings.append(&mut sink.findings);
    }

    /// Applies what is accepted and the level, and sorts.
    fn finished(&self, mut outcome: Outcome, text: Option<&str>) -> Outcome {
        if let Some(text) = text {
            let problems = suppress::remarks(&outcome.target, text, &self.setting.today, &mut outcome.findings);
            outcome.problems.extend(problems.into_iter().map(|(place, message)| Problem { place, message }));
        }
        suppress::allows(&self.allows, &outcome.target, &self.setting.today, &mut outcome.findings);
        if let Some(level) = self.level {
            outcome.findings.retain(|finding| finding.rule.level.is_some_and(|of| of <= level));
        }
        for finding in &mut outcome.findings {
            finding.fix = rules::fix(finding.rule, outcome.kind);
        }
        outcome.findings.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then(a.place.line.cmp(&b.place.line)).then(a.rule.id.cmp(b.rule.id))
        });
        outcome
    }
}

/// Tells whether a text may be JSON.
fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// Reads documents, and JSON that YAML does not know as such.
fn documents(text: &str) -> Result<Vec<Arc<yaml::Node>>, yaml::Mistake> {
    let (documents, mut mistakes) = documents_each(text);
    if mistakes.is_empty() { Ok(documents) } else { Err(mistakes.swap_remove(0)) }
}

/// As [`documents`]: those without a mistake, and the mistakes of the others.
fn documents_each(text: &str) -> (Vec<Arc<yaml::Node>>, Vec<yaml::Mistake>) {
    let (documents, mistakes) = yaml::parse_all(text);
    // Pairs of surrogates are JSON and not YAML; written anew they are characters.
    if !mistakes.is_empty()
        && is_json(text)
        && text.len() <= yaml::LENGTH_MAX
        && let Ok(value) = serde_json::from_str::<serde_json::Value>(text)
    {
        return yaml::parse_all(&value.to_string());
    }
    (documents, mistakes)
}
