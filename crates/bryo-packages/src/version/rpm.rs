// SPDX-License-Identifier: Apache-2.0
//! rpm's versions: epoch, version, release. Source: rpm, `docs/man/rpm-version.7`, "Comparing versions".

use std::cmp::Ordering;

use super::{digits, span};

/// Compares two versions. Without an epoch it is 0; where one has no release, releases do not count.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (epoch_a, version_a, release_a) = parts(a);
    let (epoch_b, version_b, release_b) = parts(b);
    let releases = match (release_a, release_b) {
        (Some(a), Some(b)) => part(a, b),
        _ => Ordering::Equal,
    };
    digits(epoch_a.as_bytes(), epoch_b.as_bytes()).then_with(|| part(version_a, version_b)).then(releases)
}

fn parts(text: &str) -> (&str, &str, Option<&str>) {
    let text = text.trim();
    let is_number = |epoch: &str| epoch.bytes().all(|b| b.is_ascii_digit());
    let (epoch, rest) = text.split_once(':').filter(|(epoch, _)| is_number(epoch)).unwrap_or(("0", text));
    match rest.rsplit_once('-') {
        Some((version, release)) => (epoch, version, Some(release)),
        None => (epoch, rest, None),
    }
}

/// Compares two versions, or two releases: segments of digits or of letters, with what is between them left out. A
/// tilde comes before everything, even the end; a caret after the end and before everything else.
pub fn part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let between = |c: u8| !c.is_ascii_alphanumeric() && c != b'~' && c != b'^';
    loop {
        (a, b) = (span(a, between).1, span(b, between).1);
        match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (Some(b'^'), None) => return Ordering::Greater,
            (None, Some(b'^')) => return Ordering::Less,
            (Some(b'^'), _) => return Ordering::Less,
            (_, Some(b'^')) => return Ordering::Greater,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(first), Some(_)) => {
                let number = first.is_ascii_digit();
                let fits = |c: u8| if number { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
                let ((segment_a, rest_a), (segment_b, rest_b)) = (span(a, fits), span(b, fits));
                if segment_b.is_empty() {
                    // Numbers are newer than letters.
                    return if number { Ordering::Greater } else { Ordering::Less };
                }
                let order = if number { digits(segment_a, segment_b) } else { segment_a.cmp(segment_b) };
                if order.is_ne() {
                    return order;
                }
                (a, b) = (rest_a, rest_b);
            }
        }
    }
}
