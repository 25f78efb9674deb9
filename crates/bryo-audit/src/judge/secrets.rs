// SPDX-License-Identifier: Apache-2.0
//! Secrets in plain sight: what is called one and has a value, and what looks like one whatever it is called.

use crate::facts::workload::Workload;
use crate::model::{Place, Severity, Sink};
use crate::rules::SECRET;

/// Words in names of secrets.
const NAMES: [&str; 12] = [
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "TOKEN",
    "API_KEY",
    "APIKEY",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "CREDENTIAL",
    "AUTH_KEY",
    "PASSPHRASE",
    "ENCRYPTION_KEY",
];

/// Beginnings of values that are nothing else, and how long such a value is at least.
const BEGINNINGS: [(&str, usize); 12] = [
    ("AKIA", 20),
    ("ASIA", 20),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghs_", 36),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("sk_live_", 20),
    ("AIza", 35),
    ("npm_", 36),
];

/// Tells why a name with a value is a secret.
pub fn is_secret(name: &str, value: &str) -> Option<&'static str> {
    if let Some(why) = looks_secret(value) {
        return Some(why);
    }
    let upper = name.to_ascii_uppercase().replace('-', "_");
    let named = NAMES.iter().any(|word| upper.contains(word));
    let elsewhere = ["_FILE", "_PATH", "_NAME", "_URL", "_DIR", "_ID", "_TTL", "_LENGTH", "_TYPE"]
        .iter()
        .any(|end| upper.ends_with(end));
    let value = value.trim_matches(['"', '\'']);
    let is_word = value.is_empty()
        || value.starts_with(['/', '$', '<', '%'])
        || matches!(value.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "none" | "null" | "0" | "1");
    (named && !elsewhere && !is_word).then_some("it is called one, and has a value")
}

/// Tells whether a text has a secret in it, whatever it is called.
pub fn looks_secret(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')));
    let known = words.into_iter().any(|word| {
        BEGINNINGS.iter().any(|(begin, len)| word.starts_with(begin) && word.len() >= *len && !word.contains("EXAMPLE"))
    });
    known.then_some("it looks like a key of a known service")
}

/// Judges the environment of a workload.
pub fn environment(workload: &Workload, sink: &mut Sink) {
    for (name, value, place) in &workload.env {
        if let Some(why) = is_secret(name, value) {
            add(sink, Severity::Critical, place, name, why);
        }
    }
}

/// Says that a name has a secret, and never the secret.
pub fn add(sink: &mut Sink, severity: Severity, place: &Place, name: &str, why: &str) {
    sink.add_as(&SECRET, severity, place, format!("{name}: {why}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_told_from_settings() {
        for (name, value) in [
            ("DB_PASSWORD", "hunter2"),
            ("aws-secret-access-key", "x1y2"),
            ("X", "AKIAIOSFODNN7ABCDEFG"),
            ("KEY", "-----BEGIN RSA PRIVATE KEY-----\nabc"),
            ("NPM_TOKEN", "abc"),
        ] {
            assert!(is_secret(name, value).is_some(), "{name}={value}");
        }
        for (name, value) in [
            ("DB_PASSWORD", ""),
            ("DB_PASSWORD", "$PASS"),
            ("DB_PASSWORD_FILE", "abc"),
            ("TOKEN", "/run/secrets/token"),
            ("USE_TOKEN", "true"),
            ("PATH", "/usr/bin"),
            ("X", "AKIAIOSFODNN7EXAMPLE"),
        ] {
            assert!(is_secret(name, value).is_none(), "{name}={value}");
        }
    }
}
