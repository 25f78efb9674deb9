// SPDX-License-Identifier: Apache-2.0
//! A gem's installed specification: Ruby source that RubyGems has written, of which the plain assignments are read.
//! Source: RubyGems, `Gem::Specification#to_ruby`.

use crate::error::{Error, Result};
use crate::package::{Package, Type};

/// Reads one gem.
///
/// # Errors
///
/// That it does not say name and version in the way that RubyGems writes them.
pub fn parse(data: &[u8]) -> Result<Package> {
    let text = String::from_utf8_lossy(data);
    let mut package = Package::new(Type::Gem, "", "");
    for line in text.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("s.add_runtime_dependency").or(line.strip_prefix("s.add_dependency")) {
            package.depends.extend(string(rest));
            continue;
        }
        let Some((key, value)) = line.strip_prefix("s.").and_then(|rest| rest.split_once('=')) else { continue };
        match key.trim() {
            "name" => package.name = string(value).unwrap_or_default(),
            "version" => package.version = string(value).unwrap_or_default(),
            "licenses" | "license" => package.licenses = strings(value),
            "authors" | "author" => package.supplier = string(value),
            _ => (),
        }
    }
    if package.name.is_empty() || package.version.is_empty() {
        return Err(Error::corrupt("it does not say name and version in plain words"));
    }
    package.depends.sort();
    package.depends.dedup();
    Ok(package)
}

/// Finds the first string.
fn string(text: &str) -> Option<String> {
    strings(text).into_iter().next()
}

/// Finds all strings: `"a".freeze`, `'b'`, `%q<c>.freeze`.
fn strings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['"', '\'', '%']) {
        let (open, close) = match &rest[start..] {
            s if s.starts_with("%q<") => (3, '>'),
            s if s.starts_with('"') => (1, '"'),
            s if s.starts_with('\'') => (1, '\''),
            _ => {
                rest = &rest[start + 1..];
                continue;
            }
        };
        let inner = &rest[start + open..];
        let Some(end) = inner.find(close) else { break };
        found.push(inner[..end].to_owned());
        rest = &inner[end + 1..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_and_code_is_not() {
        let text = b"Gem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\n  \
            s.licenses = [\"MIT\".freeze, 'X']\n  s.required_ruby_version = Gem::Requirement.new(\">= 2.2\".freeze)\n  \
            s.add_runtime_dependency(%q<json>.freeze, [\">= 0\"])\n  s.add_development_dependency(%q<x>, [])\nend";
        let gem = parse(text).unwrap();
        assert_eq!((gem.name.as_str(), gem.version.as_str()), ("rake", "13.0.6"));
        assert_eq!(gem.licenses, ["MIT", "X"]);
        assert_eq!(gem.depends, ["json"]);
        assert!(parse(b"s.name = NAME\ns.version = VERSION").is_err());
    }
}
