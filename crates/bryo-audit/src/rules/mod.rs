// SPDX-License-Identifier: Apache-2.0
//! The table of rules. An id never changes its meaning, and none is ever given away a second time.

mod confinement;
mod content;
mod fixes;
mod hygiene;
mod identity;

pub use confinement::*;
pub use content::*;
pub use fixes::fix;
pub use hygiene::*;
pub use identity::*;

use crate::model::Rule;

/// Makes the rules of a table, and the table.
macro_rules! rules {
    ($($name:ident = $id:literal $severity:ident $level:expr; $inputs:literal; $title:literal; $others:literal; $fix:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: crate::model::Rule = crate::model::Rule {
                id: $id,
                severity: crate::model::Severity::$severity,
                level: $level,
                inputs: $inputs,
                title: $title,
                others: $others,
                fix: $fix,
            };
        )*
        pub(super) static TABLE: &[&crate::model::Rule] = &[$(&$name),*];
    };
}
use rules;

/// Lists all rules by their ids.
pub fn all() -> Vec<&'static Rule> {
    let mut all: Vec<&Rule> = [identity::TABLE, content::TABLE, confinement::TABLE, hygiene::TABLE].concat();
    all.sort_by_key(|rule| rule.id);
    all
}

/// Finds a rule by its id.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().into_iter().find(|rule| rule.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_of_one_form() {
        let all = all();
        for pair in all.windows(2) {
            assert!(pair[0].id < pair[1].id, "{} is there twice", pair[0].id);
        }
        for rule in all {
            let number = rule.id.strip_prefix("BRYO-").unwrap();
            assert!(number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit()), "{}", rule.id);
            assert!(rule.inputs.chars().all(|c| "DIRKC".contains(c)) && !rule.inputs.is_empty(), "{}", rule.id);
            assert!(!rule.title.ends_with('.') && !rule.fix.is_empty(), "{}", rule.id);
        }
        assert_eq!(find("bryo-001").map(|rule| rule.id), Some("BRYO-001"));
    }
}
