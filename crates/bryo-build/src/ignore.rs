// SPDX-License-Identifier: Apache-2.0
//! `.dockerignore`: what of a context is none of the build's. Source: Docker's reference, ".dockerignore files".

use crate::pattern::{Pattern, clean};

/// Rules, of which the last that fits decides.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    /// It takes back what earlier ones say.
    keeps: bool,
}

impl Ignore {
    /// Reads a file of rules.
    ///
    /// # Errors
    ///
    /// The line that is none, counted from 1, and why.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            rules.extend(rule(line).map_err(|why| (number + 1, why))?);
        }
        Ok(Self { rules })
    }

    /// Makes rules of patterns.
    ///
    /// # Errors
    ///
    /// What is wrong with one.
    pub fn of(patterns: &[String]) -> Result<Self, String> {
        let rules = patterns.iter().filter_map(|pattern| rule(pattern).transpose());
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Tells whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Tells whether a path, without a leading slash, is left out: it, or a directory that it is in.
    pub fn excludes(&self, path: &str) -> bool {
        let fits = |rule: &Rule| above(path).any(|part| rule.pattern.matches(part));
        self.rules.iter().rev().find(|rule| fits(rule)).is_some_and(|rule| !rule.keeps)
    }

    /// Tells whether something in a directory that is left out may be kept all the same.
    pub fn keeps_below(&self) -> bool {
        self.rules.iter().any(|rule| rule.keeps)
    }
}

fn rule(line: &str) -> Result<Option<Rule>, String> {
    let line = line.trim();
    let (keeps, pattern) = match line.strip_prefix('!') {
        Some(pattern) => (true, pattern.trim()),
        None => (false, line),
    };
    if keeps && pattern.is_empty() {
        return Err("\"!\" alone keeps nothing".to_owned());
    }
    let pattern = clean(pattern);
    if pattern.is_empty() {
        return Ok(None);
    }
    Ok(Some(Rule { pattern: Pattern::parse(&pattern)?, keeps }))
}

/// Lists a path and the directories above it.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').map(|(at, _)| at);
    ends.chain([path.len()]).map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(rules: &str, path: &str) -> bool {
        Ignore::parse(rules).unwrap().excludes(path)
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        for (rules, path, expected) in [
            ("", "a", false),
            ("a", "a", true),
            ("a", "a/b/c", true),
            ("/a", "a", true),
            ("a/", "a/b", true),
            ("./a", "a", true),
            ("a", "b/a", false),
            ("**/a", "b/a", true),
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/temp*", "temporary.txt", false),
            ("*/*/temp*", "somedir/subdir/temporary.txt", true),
            ("temp?", "tempa", true),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "OTHER.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
            ("*\n!src", "src/main.rs", false),
            ("*\n!src\nsrc/x", "src/x", true),
            ("# a\n  b  \n", "a", false),
            ("# a\n  b  \n", "b", true),
            (".", "a", false),
            ("..", "a", false),
        ] {
            assert_eq!(excluded(rules, path), expected, "{rules:?} {path}");
        }
    }

    #[test]
    fn a_rule_that_is_none_is_refused_with_its_line() {
        assert_eq!(Ignore::parse("a\n!\n").unwrap_err().0, 2);
        assert_eq!(Ignore::parse("\n\n[a\n").unwrap_err().0, 3);
    }
}
