// SPDX-License-Identifier: Apache-2.0
//! Secrets in plain sight: what is called one and has a value, and what looks like one whatever it is called.

use crate::facts::workload::Workload;
use crate::model::{Place, Severity, Sink};
use crate::rules::SECRET;
use crate::shell::Simple;

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
const BEGINNINGS: [(&str, usize); 21] = [
    ("AKIA", 20),
    ("ASIA", 20),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghs_", 36),
    ("ghr_", 36),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("sk_live_", 20),
    ("rk_live_", 20),
    ("sk-ant-", 30),
    ("sk-proj-", 30),
    ("AIza", 35),
    ("npm_", 36),
    ("pypi-AgE", 40),
    ("hf_", 36),
    ("dop_v1_", 40),
    ("AGE-SECRET-KEY-", 40),
    // The beginning of every web token: {"alg":
    ("eyJhbGciOi", 20),
];

/// Why a value is taken for a secret that nothing but its looks tells of.
const RANDOM: &str = "it looks random";

/// Words in names of what looks random and is public.
const PUBLIC: [&str; 16] = [
    "SHA",
    "SUM",
    "MD5",
    "DIGEST",
    "HASH",
    "VERSION",
    "COMMIT",
    "REV",
    "INTEGRITY",
    "FINGERPRINT",
    "PUBLIC",
    "PATH",
    "URL",
    "GPG",
    "OPTS",
    "FLAGS",
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
    if named {
        return (!elsewhere && !is_word(value)).then_some("it is called one, and has a value");
    }
    let public = PUBLIC.iter().any(|word| upper.contains(word));
    (!public && !elsewhere && is_random(value)).then_some(RANDOM)
}

/// Tells whether a value says where the secret is, or that there is none.
fn is_word(value: &str) -> bool {
    value.is_empty()
        || value.starts_with(['/', '$', '<', '%', '{'])
        || matches!(value.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "none" | "null" | "0" | "1")
}

/// Tells whether a value has as much in it as a key: letters of both cases and digits, in no order. Digests in hexadecimal
/// digits are public more often than not, and are not meant.
fn is_random(value: &str) -> bool {
    let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b));
    let has = |kind: fn(&u8) -> bool| value.bytes().filter(kind).count() >= 3;
    if !plain || !(24..=512).contains(&value.len()) || value.starts_with('/') {
        return false;
    }
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    // Names and paths have few characters between their signs.
    let longest = value.split(['/', '_', '-', '+']).map(str::len).max().unwrap_or(0);
    mixed && longest >= 16 && entropy(value) >= 4.0
}

/// Shannon's entropy of the characters of a text, in bits for each.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|b| counts[usize::from(b)] += 1);
    let all = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let parts = counts.into_iter().filter(|count| *count > 0).map(|count| f64::from(count) / all);
    parts.map(|part| -part * part.log2()).sum()
}

/// Tells whether a text has a secret in it, whatever it is called.
pub fn looks_secret(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    if has_password(text) {
        return Some("an address with a password");
    }
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')));
    let known = words.into_iter().any(|word| {
        BEGINNINGS.iter().any(|(begin, len)| word.starts_with(begin) && word.len() >= *len && !word.contains("EXAMPLE"))
    });
    known.then_some("it looks like a key of a known service")
}

/// Tells whether a text has an address such as `https://user:password@host`.
fn has_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let end =
            rest.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?' | '#')).unwrap_or(rest.len());
        let user = rest[..end].rsplit_once('@').map_or("", |(user, _)| user);
        user.split_once(':')
            .is_some_and(|(name, word)| !name.contains('{') && !is_word(word) && !word.trim_matches('*').is_empty())
    })
}

/// Flags of programs whose value is a secret.
const FLAGS: [&str; 7] =
    ["--password", "--passwd", "--token", "--api-key", "--secret-key", "--secret", "--http-password"];

/// Tells what of a command is a secret, and why: assignments, flags, headers.
pub fn of_command(command: &Simple) -> Option<(String, &'static str)> {
    let exported = matches!(command.program(), "export" | "env" | "declare" | "set").then_some(command.arguments());
    let pairs = command.assignments.iter().chain(exported.into_iter().flatten());
    for (name, value) in pairs.filter_map(|pair| pair.split_once('=')) {
        if let Some(why) = is_secret(name, value) {
            return Some((name.to_owned(), why));
        }
    }
    for flag in FLAGS {
        if command.value(&[flag]).is_some_and(|value| !is_word(value) && !value.starts_with('-')) {
            return Some((format!("{} {flag}", command.program()), "a flag for a secret has a value"));
        }
    }
    let text = command.arguments().iter().find_map(|word| {
        let bearer = word.split_once("Authorization:").map(|(_, rest)| rest.trim());
        let word = bearer?.split_whitespace().last()?;
        (!is_word(word) && word.len() >= 12).then_some("a header for a secret has a value")
    });
    text.map(|why| (command.program().to_owned(), why))
}

/// Tells whether a file is one that keys and passwords are in, by its name.
pub fn is_key_file(path: &str) -> bool {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let known = matches!(
        name,
        ".env"
            | ".npmrc"
            | ".pypirc"
            | ".netrc"
            | ".git-credentials"
            | ".pgpass"
            | ".my.cnf"
            | ".htpasswd"
            | "credentials"
            | "id_rsa"
            | "id_dsa"
            | "id_ed25519"
            | "id_ecdsa"
            | "kubeconfig"
            | "terraform.tfstate"
            | ".vault-token"
    );
    let beside = [".docker/config.json", ".kube/config", ".config/gcloud/application_default_credentials.json"];
    let ends = [".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk"];
    known || beside.iter().any(|end| path.ends_with(end)) || ends.iter().any(|end| name.ends_with(end))
}

/// Tells whether a file is a store of keys, whose content says nothing to a reader of text.
pub fn is_key_store(path: &str) -> bool {
    [".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk"].iter().any(|end| path.ends_with(end))
}

/// Judges the environment of a workload.
pub fn environment(workload: &Workload, sink: &mut Sink) {
    for (name, value, place) in &workload.env {
        if let Some(why) = is_secret(name, value) {
            add(sink, Severity::Critical, place, name, why);
        }
    }
}

/// Says that a name has a secret, and never the secret. What only looks like one is not as bad.
pub fn add(sink: &mut Sink, severity: Severity, place: &Place, name: &str, why: &str) {
    let severity = if why == RANDOM { severity.min(Severity::Medium) } else { severity };
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
            ("X", "Zm9vYmFyMTIzNDU2Nzg5MEFCQ0RFRkdI"),
            ("X", "postgres://app:hunter2@db/app"),
            ("X", "eyJhbGciOiJIUzI1NiJ9.e30.abc"),
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
            ("X", "postgres://app:$PASS@db/app"),
            ("X", "https://user@host/path"),
            ("X", "https://host:8080/a:b@c"),
            ("APP_SHA256", "Zm9vYmFyMTIzNDU2Nzg5MEFCQ0RFRkdI"),
            ("X", "0123456789abcdef0123456789abcdef01234567"),
            ("X", "python3.12-Bookworm-Slim-Image-2024"),
            ("X", "AAAAAAAAaaaaaaaa11111111AAAAAAAA"),
        ] {
            assert!(is_secret(name, value).is_none(), "{name}={value}");
        }
    }

    #[test]
    fn commands_give_secrets_away_in_assignments_flags_and_headers() {
        let found = |text: &str| crate::shell::commands(text).iter().any(|command| of_command(command).is_some());
        for text in [
            "export DB_PASSWORD=hunter2",
            "TOKEN=abc123 make",
            "docker login --password=hunter2 x",
            "curl -H 'Authorization: Bearer abcdefghijklmnop' https://x",
        ] {
            assert!(found(text), "{text}");
        }
        for text in [
            "export DB_PASSWORD=$PASS",
            "docker login --password-stdin x",
            "tool --token \"$TOKEN\"",
            "curl -H \"Authorization: Bearer $TOKEN\" https://x",
        ] {
            assert!(!found(text), "{text}");
        }
    }

    #[test]
    fn files_of_keys_are_known_by_their_names() {
        for path in ["root/.docker/config.json", "app/.env", "x.pem", "srv/store.p12", "root/.git-credentials"] {
            assert!(is_key_file(path), "{path}");
        }
        for path in ["app/config.json", "env", "x.pem.md", "etc/passwd"] {
            assert!(!is_key_file(path), "{path}");
        }
    }
}
