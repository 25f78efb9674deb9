// SPDX-License-Identifier: Apache-2.0
//! Words for a shell.

/// Quotes a word, where it needs that.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn what_is_plain_stays_and_the_rest_is_one_word() {
        assert_eq!(quoted("/var/lib/x-1.0:y"), "/var/lib/x-1.0:y");
        assert_eq!(quoted("/srv/x; rm -rf /"), "'/srv/x; rm -rf /'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
