// SPDX-License-Identifier: Apache-2.0
//! The words of a report: places, severities, rules, findings.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Where something stands. Lines and columns are counted from 1; 0 means that there is none.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Place {
    /// The file, image or container.
    pub file: Arc<str>,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// Names a whole file, image or container.
    pub fn whole(file: &Arc<str>) -> Self {
        Self { file: Arc::clone(file), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        Ok(())
    }
}

/// A value and where it was said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fact<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Place,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth to know.
    Info,
    /// Hardening.
    Low,
    /// A step of an attack.
    Medium,
    /// An attack needs little more.
    High,
    /// The host or a secret is given away.
    Critical,
}

impl Severity {
    /// All, the worst first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Info];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|severity| severity.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no severity; critical, high, medium, low and info are"))
    }
}

/// A level of the Pod Security Standards.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Known escalations are prevented.
    Baseline,
    /// Current practice of hardening.
    Restricted,
}

impl Level {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err(format!("{text:?} is no level; baseline and restricted are")),
        }
    }
}

/// One rule. Its id never changes its meaning.
#[derive(Debug, Eq, PartialEq)]
pub struct Rule {
    /// `BRYO-` and a number.
    pub id: &'static str,
    /// How bad it is, unless a finding says otherwise.
    pub severity: Severity,
    /// The level of the Pod Security Standards that has it.
    pub level: Option<Level>,
    /// What it looks at: D Dockerfile, I image, R container, K Kubernetes, C Compose.
    pub inputs: &'static str,
    /// What it finds.
    pub title: &'static str,
    /// The ids others have for it, with blanks between.
    pub others: &'static str,
    /// What to do.
    pub fix: &'static str,
}

impl Rule {
    /// Lists whose id is which.
    pub fn mappings(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.others.split_whitespace().map(|id| {
            let whose = match id {
                _ if id.starts_with("CIS-DI-") || id.starts_with("DKL-") => "dockle",
                _ if id.starts_with("CIS-") => "CIS Docker Benchmark",
                _ if id.starts_with("PSS-") => "Pod Security Standards",
                _ if id.starts_with("DS-") || id.starts_with("KSV-") => "Trivy",
                _ => "hadolint",
            };
            (whose, id)
        })
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Other {
            by: &'static str,
            id: &'static str,
        }
        #[derive(Serialize)]
        struct Shown {
            id: &'static str,
            severity: Severity,
            level: Option<Level>,
            inputs: &'static str,
            title: &'static str,
            others: Vec<Other>,
            fix: &'static str,
        }
        let others = self.mappings().map(|(by, id)| Other { by, id }).collect();
        let Self { id, severity, level, inputs, title, fix, .. } = *self;
        Shown { id, severity, level, inputs, title, others, fix }.serialize(serializer)
    }
}

/// What a rule has found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The rule.
    #[serde(serialize_with = "id")]
    pub rule: &'static Rule,
    /// How bad it is here.
    pub severity: Severity,
    /// What it is about: a stage, a container, a service.
    pub subject: Arc<str>,
    /// Where the evidence is.
    pub place: Place,
    /// The evidence.
    pub evidence: String,
    /// What to do, in the language of what is audited.
    pub fix: &'static str,
    /// Why it is accepted, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
}

fn id<S: Serializer>(rule: &&'static Rule, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(rule.id)
}

/// Takes findings about one subject.
#[derive(Debug)]
pub struct Sink {
    /// What they are about.
    pub subject: Arc<str>,
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Sink {
    /// Begins with nothing found.
    pub fn new(subject: &str) -> Self {
        Self { subject: subject.into(), findings: Vec::new() }
    }

    /// Adds a finding with the rule's own severity.
    pub fn add(&mut self, rule: &'static Rule, place: &Place, evidence: impl Into<String>) {
        self.add_as(rule, rule.severity, place, evidence);
    }

    /// Adds a finding. The same is not said twice of one place.
    pub fn add_as(&mut self, rule: &'static Rule, severity: Severity, place: &Place, evidence: impl Into<String>) {
        let evidence = shortened(evidence.into());
        let same = |f: &Finding| f.rule.id == rule.id && f.place == *place && f.evidence == evidence;
        if self.findings.iter().rev().take(64).any(same) {
            return;
        }
        let subject = Arc::clone(&self.subject);
        self.findings.push(Finding {
            rule,
            severity,
            subject,
            place: place.clone(),
            evidence,
            fix: rule.fix,
            accepted: None,
        });
    }
}

/// How much is shown of what anybody has written, in characters.
const EVIDENCE_MAX: usize = 300;

fn shortened(text: String) -> String {
    if text.len() <= EVIDENCE_MAX {
        return text;
    }
    let cut: String = text.chars().take(EVIDENCE_MAX).collect();
    if cut.len() == text.len() { text } else { cut + "…" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_others_are_told_apart() {
        let rule = Rule {
            id: "BRYO-000",
            severity: Severity::Low,
            level: None,
            inputs: "D",
            title: "",
            others: "CIS-4.1 CIS-DI-0001 DKL-LI-0001 DL3002 DS-0002 KSV-0012 PSS-runAsUser SC2086",
            fix: "",
        };
        let whose: Vec<&str> = rule.mappings().map(|(whose, _)| whose).collect();
        let expected = ["CIS Docker Benchmark", "dockle", "dockle", "hadolint", "Trivy", "Trivy"];
        assert_eq!(whose[..6], expected);
        assert_eq!(whose[6..], ["Pod Security Standards", "hadolint"]);
    }

    #[test]
    fn the_same_is_said_once() {
        let mut sink = Sink::new("x");
        let place = Place::whole(&"f".into());
        for evidence in ["a", "a", "b"] {
            sink.add(&crate::rules::NO_USER, &place, evidence);
        }
        assert_eq!(sink.findings.len(), 2);
        sink.add(&crate::rules::NO_USER, &place, "ä".repeat(1000));
        assert_eq!(sink.findings[2].evidence.chars().count(), EVIDENCE_MAX + 1);
    }
}
