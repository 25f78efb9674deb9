// SPDX-License-Identifier: Apache-2.0
//! Sizes and times in the words of Docker's tables.

use std::time::{SystemTime, UNIX_EPOCH};

/// Writes a size in bytes with three digits that count and a decimal unit: `7.83MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let short = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{short}{}", UNITS[unit])
}

/// Writes a size in bytes with four digits that count and a binary unit, as Docker does for memory: `7.695GiB`.
pub fn binary(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let short = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{short}{}", UNITS[unit])
}

/// Writes how long ago an RFC 3339 time was: `3 weeks ago`. What is no time is shown as `N/A`.
pub fn ago(time: Option<&str>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let Some(then) = time.and_then(seconds) else { return "N/A".to_owned() };
    // An image from the future is as new as can be; one of the year 1 was made to have no time.
    let past = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(then).max(0);
    if then <= 0 && time.is_some_and(|time| time.starts_with("0001")) {
        return "N/A".to_owned();
    }
    format!("{} ago", span(past.cast_unsigned()))
}

/// Writes an RFC 3339 time as Go prints one: `2026-01-02 13:23:37 +0000 UTC`. What is no time is shown as it is.
pub fn time(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// Writes a span in seconds in the largest unit that fits: `About an hour`, `3 weeks`.
pub fn span(seconds: u64) -> String {
    const HOUR: u64 = 60;
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let days = hours / 24;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < HOUR => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if days < 14 => format!("{days} days"),
        _ if days < 60 => format!("{} weeks", days / 7),
        _ if days < 730 => format!("{} months", days / 30),
        _ => format!("{} years", days / 365),
    }
}

/// Reads an RFC 3339 time as seconds since 1970. Source: RFC 3339, section 5.6; the days by Howard Hinnant's
/// `days_from_civil`.
pub fn seconds(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let mark = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    for (at, wanted) in [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")] {
        mark(at, wanted.as_bytes())?;
    }
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), hours_minutes) => {
            let (hours, minutes) = hours_minutes.split_once(':')?;
            let seconds = hours.parse::<u8>().ok()? as i64 * 3600 + minutes.parse::<u8>().ok()? as i64 * 60;
            if sign == "+" { seconds } else { -seconds }
        }
        _ => return None,
    };
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_that_count() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1500, "1.5kB"),
            (7_834_567, "7.83MB"),
            (78_345_670, "78.3MB"),
            (783_456_700, "783MB"),
            (999_999, "1MB"),
            (1_100_000_000, "1.1GB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn memory_has_binary_units() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (1_572_864, "1.5MiB"), (8_262_000_000, "7.695GiB")]
        {
            assert_eq!(binary(bytes), text);
        }
    }

    #[test]
    fn times_are_read_in_every_zone() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:00:00Z"), Some(951_825_600));
        assert_eq!(seconds("2024-06-20T20:17:17.653Z"), Some(1_718_914_637));
        assert_eq!(seconds("2024-06-20T22:17:17.653812+02:00"), Some(1_718_914_637));
        assert_eq!(seconds("0001-01-01T00:00:00Z"), Some(-62_135_596_800));
        for bad in ["", "now", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00", "2024-01-01T24:00:00Z", "2024-1-1T0:0:0Z"]
        {
            assert_eq!(seconds(bad), None, "{bad}");
        }
        assert_eq!(seconds("2024-01-01T00:00:00é"), None);
    }

    #[test]
    fn spans_are_in_dockers_words() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (180, "3 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (3 * 86_400, "3 days"),
            (21 * 86_400, "3 weeks"),
            (90 * 86_400, "3 months"),
            (800 * 86_400, "2 years"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(time("2026-01-02T13:23:37.5+01:00"), "2026-01-02 12:23:37 +0000 UTC");
        assert_eq!(ago(Some("0001-01-01T00:00:00Z")), "N/A");
        assert_eq!(ago(Some("junk\u{1b}")), "N/A");
        assert!(ago(Some("2020-01-01T00:00:00Z")).ends_with("years ago"));
    }
}
