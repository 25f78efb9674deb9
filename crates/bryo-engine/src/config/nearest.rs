// SPDX-License-Identifier: Apache-2.0
//! The word that was probably meant.

/// Returns the known word with the fewest letters to change, if they are few.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, best) = known.iter().map(|k| (distance(word, k), *k)).min()?;
    (distance <= best.len().max(6) / 3).then_some(best)
}

/// Counts the letters to insert, remove or replace. Source: Wagner and Fischer, 1974.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let known = ["default-user", "network", "pull"];
        assert_eq!(nearest("defualt-user", &known), Some("default-user"));
        assert_eq!(nearest("networks", &known), Some("network"));
        assert_eq!(nearest("default_user", &known), Some("default-user"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("abc", "")), (3, 3, 3));
    }
}
