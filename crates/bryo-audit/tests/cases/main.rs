// SPDX-License-Identifier: Apache-2.0
//! Every rule has a case in which it finds something and one in which it does not.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod compose;
mod containers;
mod dockerfiles;
mod hostile;
mod images;
mod kubernetes;
mod reasons;
mod standards;

use std::collections::BTreeSet;

use bryo_audit::{Auditor, Kind, Outcome, rules};

/// The number of a rule, a text in which it finds something, and one in which it does not.
pub type Case = (u16, &'static str, &'static str);

/// Lists the rules that have found something, by their numbers.
pub fn numbers(outcome: &Outcome) -> BTreeSet<u16> {
    let number = |id: &str| id.strip_prefix("BRYO-").and_then(|number| number.parse().ok());
    outcome.findings.iter().filter_map(|finding| number(finding.rule.id)).collect()
}

/// Audits both texts of a case.
pub fn check(case: &Case, audit: &dyn Fn(&str) -> Outcome) {
    let (number, firing, silent) = case;
    for (text, expected) in [(firing, true), (silent, false)] {
        let outcome = audit(text);
        assert!(outcome.problems.is_empty(), "{number} {text}: {:?}", outcome.problems);
        let found = numbers(&outcome);
        assert_eq!(found.contains(number), expected, "rule {number}:\n{text}\nfound {found:?}");
    }
}

pub fn of_kind(kind: Kind) -> impl Fn(&str) -> Outcome {
    move |text| Auditor::default().text("case", text, Some(kind), None)
}

#[test]
fn every_rule_has_a_case() {
    let tables = [dockerfiles::CASES, kubernetes::CASES, compose::CASES, containers::CASES];
    let mut covered: BTreeSet<u16> = tables.into_iter().flatten().map(|(number, ..)| *number).collect();
    covered.extend(images::CASES.iter().map(|(number, ..)| *number));
    covered.extend(standards::rules());
    covered.extend([containers::POLICY, containers::FLAWS]);
    covered.extend(containers::RUNNING.iter().map(|(number, ..)| *number));
    let all: BTreeSet<u16> = rules::all().iter().map(|rule| rule.id[5..].parse().unwrap()).collect();
    assert_eq!(all.difference(&covered).collect::<Vec<_>>(), Vec::<&u16>::new());
    assert_eq!(covered.difference(&all).collect::<Vec<_>>(), Vec::<&u16>::new());
}
