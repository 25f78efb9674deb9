// SPDX-License-Identifier: Apache-2.0
//! Labels as filters name them.

use std::collections::BTreeMap;

/// A condition on the labels of something: `KEY`, or `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter {
    key: String,
    value: Option<String>,
    /// It must not be there.
    not: bool,
}

impl LabelFilter {
    /// Takes what stands behind `label=`.
    pub fn new(text: &str) -> Self {
        let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
        Self { key: key.to_owned(), value: value.map(str::to_owned), not: false }
    }

    /// Takes what stands behind `label!=`.
    pub fn not(text: &str) -> Self {
        Self { not: true, ..Self::new(text) }
    }

    /// Tells whether it holds.
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.key).is_some_and(|found| self.value.as_ref().is_none_or(|value| found == value));
        found != self.not
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_there_with_a_value_or_is_not() {
        let labels = BTreeMap::from([("a".to_owned(), "b=c".to_owned())]);
        for (text, yes) in [("a", true), ("a=b=c", true), ("a=b", false), ("b", false)] {
            assert_eq!(LabelFilter::new(text).holds(&labels), yes, "{text}");
            assert_eq!(LabelFilter::not(text).holds(&labels), !yes, "{text}");
        }
    }
}
