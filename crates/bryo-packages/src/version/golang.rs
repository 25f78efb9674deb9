// SPDX-License-Identifier: Apache-2.0
//! Go's versions: those of modules are semantic, Go's own are nearly. Sources: Go modules reference, "Versions"; go.dev,
//! "Go Toolchains", "Version and name".

use std::cmp::Ordering;

use super::semver;

/// Compares two versions; nothing for what is none.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    semver::compare(&plain(a), &plain(b))
}

/// Writes `go1.21rc2` as `1.21.0-rc.2`.
fn plain(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("go").unwrap_or(text);
    for word in ["rc", "beta"] {
        let Some((numbers, rest)) = text.split_once(word) else { continue };
        let is_own = numbers.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !numbers.is_empty();
        if is_own && rest.bytes().all(|b| b.is_ascii_digit()) {
            let zeros = ".0".repeat(2usize.saturating_sub(numbers.matches('.').count()));
            return format!("{numbers}{zeros}-{word}.{rest}");
        }
    }
    text.to_owned()
}
