// SPDX-License-Identifier: Apache-2.0
//! The rule on vulnerabilities.

use bryo_packages::inventory::Inventory;
use bryo_packages::matching::{Knowledge, Match, State};
use jiff::Timestamp;

use super::Flaws;
use super::judge::Finding;
use crate::Engine;
use crate::error::Result;
use crate::packages::{age, statements};

const DAY: i64 = 24 * 60 * 60;
const UPDATE: &str = "bryo advisories update";

impl Engine {
    /// Judges what is installed; `names` is what others may call it.
    pub(super) fn judge_flaws(&self, flaws: &Flaws, inventory: &Inventory, names: &[String]) -> Result<Finding> {
        if let Some(problem) = inventory.problems.first() {
            let why = format!("/{} cannot be read: {}", problem.path, problem.why);
            return Ok(Finding::unchecked(why, "have the file mended in the image"));
        }
        let accept = "or say unknown-packages = \"accept\" in the policy";
        if inventory.is_unscannable() && !flaws.accept_unknown {
            let why = "it has no package database and no list of modules, and what is in it is unknown";
            return Ok(Finding::unchecked(why, format!("build it from packages, {accept}")));
        }
        let knowledge = Knowledge::open(&self.advisories(), &[inventory], statements(&flaws.vex)?);
        if let Some(problem) = knowledge.problems.first() {
            return Ok(Finding::unchecked(format!("advisories cannot be read: {problem}"), UPDATE));
        }
        let old = knowledge.headers().find(|header| flaws.max_age.is_some_and(|max| age(header) > i64::from(max)));
        if let Some(header) = old {
            let why = format!("the advisories for {} are {} days old", header.ecosystem, age(header));
            return Ok(Finding::unchecked(why, format!("{UPDATE}, or say stale = \"accept\" in the policy")));
        }
        let found = knowledge.matches(inventory, names);
        if let Some(problem) = found.problems.first() {
            return Ok(Finding::unchecked(format!("advisories cannot be read: {problem}"), UPDATE));
        }
        if let Some((why, remedy)) = found.unjudged().filter(|_| !flaws.accept_unknown) {
            return Ok(Finding::unchecked(why, format!("{remedy}, {accept}")));
        }
        Ok(weigh(flaws, &found.all, Timestamp::now().as_second()))
    }
}

/// Tells whether there is a flaw that counts at a time, in seconds.
fn weigh(flaws: &Flaws, all: &[Match], now: i64) -> Finding {
    let counts = |found: &&Match| match found.state {
        State::Fixed => found.severity >= flaws.severity,
        State::Unfixed => flaws.unfixed && found.severity >= flaws.severity,
        State::NotAffected => false,
    };
    let (late, young): (Vec<&Match>, Vec<&Match>) =
        all.iter().filter(counts).partition(|m| is_due(m, flaws.grace, now));
    let Some(worst) = late.first() else {
        let graced = match young.len() {
            0 => String::new(),
            young => format!("; {young} known for less than {} days", flaws.grace),
        };
        return Finding::holds(format!("no flaw of {} or worse counts{graced}", flaws.severity.name()));
    };
    let more = if late.len() > 1 { format!(", and {} more", late.len() - 1) } else { String::new() };
    let (id, package, severity) = (&worst.id, &worst.package, worst.severity.name());
    match &worst.fixed {
        Some(fixed) => {
            let why = format!("{package} {} has {id} ({severity}){more}", worst.version);
            Finding::broken(why, format!("take an image with {package} {fixed}; bryo vulns shows all"))
        }
        None => {
            let why = format!("{package} {} has {id} ({severity}), which nobody has mended{more}", worst.version);
            Finding::broken(why, "take an image without the package, or have --vex say why it does not matter")
        }
    }
}

/// A flaw of which nobody says since when it is known has no grace.
fn is_due(found: &Match, grace: u32, now: i64) -> bool {
    let since = found.published.as_ref().and_then(|date| date.parse::<Timestamp>().ok());
    since.is_none_or(|since| (now - since.as_second()) / DAY >= i64::from(grace))
}

#[cfg(test)]
mod tests {
    use bryo_packages::advisories::Severity;
    use bryo_packages::package::Type;

    use super::super::Answer;
    use super::*;

    fn flaw(severity: Severity, state: State, published: Option<&str>) -> Match {
        Match {
            id: "CVE-1".into(),
            aliases: Vec::new(),
            package: "p".into(),
            version: "1".into(),
            purl: String::new(),
            kind: Type::Npm,
            locations: Vec::new(),
            state,
            fixed: (state == State::Fixed).then(|| "2".into()),
            severity,
            score: None,
            summary: String::new(),
            source: String::new(),
            note: None,
            published: published.map(str::to_owned),
            exploited: None,
            likelihood: None,
        }
    }

    #[test]
    fn a_flaw_counts_by_severity_state_and_age() {
        let now = "2026-01-31T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
        let asked = Flaws {
            severity: Severity::High,
            grace: 14,
            unfixed: false,
            max_age: None,
            accept_unknown: true,
            vex: Vec::new(),
        };
        let all = Flaws { unfixed: true, ..asked.clone() };
        let (old, new) = (Some("2026-01-01T00:00:00Z"), Some("2026-01-20T00:00:00Z"));
        let answer = |flaws: &Flaws, found: Match| weigh(flaws, &[found], now).answer;
        use State::{Fixed, NotAffected, Unfixed};
        assert_eq!(answer(&asked, flaw(Severity::High, Fixed, old)), Answer::Broken);
        assert_eq!(answer(&asked, flaw(Severity::Critical, Fixed, None)), Answer::Broken);
        assert_eq!(answer(&asked, flaw(Severity::High, Fixed, new)), Answer::Holds);
        assert_eq!(answer(&asked, flaw(Severity::Medium, Fixed, old)), Answer::Holds);
        assert_eq!(answer(&asked, flaw(Severity::High, NotAffected, old)), Answer::Holds);
        assert_eq!(answer(&asked, flaw(Severity::High, Unfixed, old)), Answer::Holds);
        assert_eq!(answer(&all, flaw(Severity::High, Unfixed, old)), Answer::Broken);
        // The very day on which the grace ends.
        assert_eq!(answer(&asked, flaw(Severity::High, Fixed, Some("2026-01-17T00:00:00Z"))), Answer::Broken);
        assert_eq!(answer(&asked, flaw(Severity::High, Fixed, Some("yesterday"))), Answer::Broken);
    }
}
