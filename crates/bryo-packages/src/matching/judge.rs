// SPDX-License-Identifier: Apache-2.0
//! Whether a version has a flaw. Source: Open Source Vulnerability format, "Evaluation".

use crate::advisories::{Advisory, Range};
use crate::package::Type;
use crate::version::Scheme;

/// What an advisory says of a version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It has the flaw; a later version has not.
    Affected(Option<String>),
    /// It does not have it, or no more: since a version.
    Mended(Option<String>),
}

/// Says what an advisory says of a version. A version that cannot be compared has the flaw only where it is named.
pub fn judge(advisory: &Advisory, kind: Type, version: &str) -> Verdict {
    let scheme = Scheme::of(kind);
    let mut mended = None;
    for range in &advisory.ranges {
        if holds(range, scheme, version) {
            return Verdict::Affected(range.fixed.clone());
        }
        let passed = |fixed: &&String| scheme.compare(version, fixed).is_some_and(std::cmp::Ordering::is_ge);
        mended = range.fixed.as_ref().filter(passed).cloned().or(mended);
    }
    let same = |other: &String| other == version || scheme.compare(other, version) == Some(std::cmp::Ordering::Equal);
    if advisory.versions.iter().any(same) {
        let later = advisory.ranges.iter().filter_map(|range| range.fixed.clone());
        let newer = |fixed: &String| scheme.compare(fixed, version).is_some_and(std::cmp::Ordering::is_gt);
        return Verdict::Affected(later.into_iter().find(newer));
    }
    Verdict::Mended(mended)
}

fn holds(range: &Range, scheme: Scheme, version: &str) -> bool {
    let compare = |bound: &str| scheme.compare(version, bound);
    let begun = range.introduced.as_deref().is_none_or(|first| compare(first).is_some_and(std::cmp::Ordering::is_ge));
    let fixed = range.fixed.as_deref().is_none_or(|fixed| compare(fixed).is_some_and(std::cmp::Ordering::is_lt));
    let last = range.last.as_deref().is_none_or(|last| compare(last).is_some_and(std::cmp::Ordering::is_le));
    begun && fixed && last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(introduced: Option<&str>, fixed: Option<&str>, last: Option<&str>) -> Range {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Range { introduced: own(introduced), fixed: own(fixed), last: own(last) }
    }

    #[test]
    fn a_version_is_judged_by_every_range_and_by_name() {
        let ranges =
            vec![range(None, Some("1.2"), None), range(Some("2.0"), None, Some("2.5")), range(Some("3.0"), None, None)];
        let advisory = Advisory { ranges, versions: vec!["1.9".into()], ..Advisory::default() };
        let fixed = |version: &str| Some(version.to_owned());
        for (version, expected) in [
            ("1.0", Verdict::Affected(fixed("1.2"))),
            ("1.2", Verdict::Mended(fixed("1.2"))),
            ("1.9.0", Verdict::Affected(None)),
            ("2.0", Verdict::Affected(None)),
            ("2.5", Verdict::Affected(None)),
            ("2.5.1", Verdict::Mended(fixed("1.2"))),
            ("3.1", Verdict::Affected(None)),
        ] {
            assert_eq!(judge(&advisory, Type::Pypi, version), expected, "{version}");
        }
        // What is no version is in no range, unless it has no ends.
        assert_eq!(judge(&advisory, Type::Pypi, "latest"), Verdict::Mended(None));
        let all = Advisory { ranges: vec![range(None, None, None)], ..Advisory::default() };
        assert_eq!(judge(&all, Type::Pypi, "latest"), Verdict::Affected(None));
        assert_eq!(judge(&Advisory::default(), Type::Pypi, "1.0"), Verdict::Mended(None));
    }
}
