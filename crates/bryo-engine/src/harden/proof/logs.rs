// SPDX-License-Identifier: Apache-2.0
//! What a container says, without what differs from start to start: times, numbers, ids.

use std::collections::BTreeMap;

use super::{Item, Verdict};
use crate::Engine;
use crate::container::Record;
use crate::logs::LogOptions;

/// How many lines are read.
const LINES_MAX: usize = 5000;

/// How many words of a line count.
const WORDS: usize = 6;

/// How many lines are shown that only one of both has.
const SHOWN_MAX: usize = 3;

/// Words by which a program says that something failed.
const ALARMS: [&str; 12] = [
    "denied",
    "not permitted",
    "read-only",
    "error",
    "fatal",
    "panic",
    "failed",
    "cannot",
    "can't",
    "unable",
    "could not",
    "must be root",
];

/// What services say when they are not root, and go on all the same.
const HARMLESS: [&str; 7] = [
    // Who is not root has no groups that it could give away.
    "initgroups",
    "setgroups",
    "supplementary group",
    "\"user\" directive makes sense only if the master process runs",
    "'user' directive is ignored when fpm is not running as root",
    "'group' directive is ignored when fpm is not running as root",
    "can only use the --user switch if running as root",
];

/// Lines by their shape: how often, and the first of them as it is.
#[derive(Debug, Default)]
pub(super) struct Shape {
    lines: usize,
    shapes: BTreeMap<String, (usize, String)>,
}

impl Shape {
    /// Reads a container's log; of one that cannot be read there is nothing.
    pub fn read(engine: &Engine, record: &Record) -> Self {
        let mut shape = Self::default();
        let mut line = String::new();
        let read = engine.logs(record, &LogOptions::default(), &mut |part| {
            line.push_str(&String::from_utf8_lossy(part.text));
            if part.ends {
                shape.add(&std::mem::take(&mut line));
            }
            shape.lines < LINES_MAX
        });
        drop(read);
        shape
    }

    fn add(&mut self, line: &str) {
        self.lines += 1;
        let slot = self.shapes.entry(normal(line)).or_insert_with(|| (0, line.trim().to_owned()));
        slot.0 += 1;
    }

    /// Lists the lines that another one has not.
    fn beyond(&self, other: &Self) -> Vec<&str> {
        let own = self.shapes.iter().filter(|(shape, _)| !shape.is_empty() && !other.shapes.contains_key(*shape));
        own.map(|(_, (_, line))| line.as_str()).collect()
    }
}

/// Compares two logs: their length, and the lines that one has alone.
pub(super) fn compare(old: &Shape, new: &Shape) -> Vec<Item> {
    let (lost, gained) = (old.beyond(new), new.beyond(old));
    let alarming = |line: &&&str| {
        let small = line.to_ascii_lowercase();
        ALARMS.iter().any(|alarm| small.contains(alarm)) && !is_harmless(line)
    };
    let alarms: Vec<&str> = gained.iter().filter(alarming).copied().collect();
    let verdict = match (lost.is_empty() && gained.is_empty(), alarms.is_empty()) {
        (true, _) => Verdict::Equal,
        (false, true) => Verdict::Noted,
        (false, false) => Verdict::Different,
    };
    let said = |lines: usize, only: &[&str]| {
        let mut text = format!("{lines} lines");
        for line in only.iter().take(SHOWN_MAX) {
            text += &format!("; only here: {}", line.chars().take(160).collect::<String>());
        }
        let more = only.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            text += &format!("; and {more} more");
        }
        text
    };
    // What matters is shown first.
    let rest = gained.iter().filter(|line| !alarms.contains(*line)).copied();
    let gained: Vec<&str> = alarms.iter().copied().chain(rest).collect();
    vec![Item { what: "log".to_owned(), old: said(old.lines, &lost), new: said(new.lines, &gained), verdict }]
}

/// Words by which a line says of itself how bad it is, and whether that is nothing: `info:`, `[notice]`, `level=debug`.
const LEVELS: [(&str, bool); 16] = [
    ("info", true),
    ("inf", true),
    ("notice", true),
    ("note", true),
    ("debug", true),
    ("trace", true),
    ("warn", false),
    ("warning", false),
    ("error", false),
    ("err", false),
    ("severe", false),
    ("crit", false),
    ("critical", false),
    ("alert", false),
    ("fatal", false),
    ("panic", false),
];

/// How many of a line's first words may be its level.
const LEVEL_WITHIN: usize = 8;

fn is_harmless(line: &str) -> bool {
    HARMLESS.iter().any(|known| line.contains(known))
        || line.split_whitespace().take(LEVEL_WITHIN).find_map(level) == Some(true)
}

/// Reads a word as the level of its line, and tells whether that is a calm one.
fn level(word: &str) -> Option<bool> {
    let small = word.to_ascii_lowercase();
    let marked = small.starts_with('[') || small.ends_with([':', ']']) || small.contains("level");
    let parts = || small.split(|c: char| !c.is_alphanumeric());
    let known = |part: &str| LEVELS.iter().find(|(name, _)| *name == part).map(|(_, calm)| *calm);
    marked.then(|| parts().find_map(known)).flatten()
}

/// Takes out of a line what has a digit in it, names of days and months, and all but the first words.
fn normal(line: &str) -> String {
    const DATES: [&str; 19] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "mon", "tue", "wed", "thu",
        "fri", "sat", "sun",
    ];
    let plain = |word: &&str| {
        let small = word.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
        !small.is_empty() && !word.contains(|c: char| c.is_ascii_digit()) && !DATES.contains(&small.as_str())
    };
    line.split_whitespace().filter(plain).take(WORDS).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(old: &[&str], new: &[&str]) -> Verdict {
        let of = |lines: &[&str]| {
            let mut shape = Shape::default();
            lines.iter().for_each(|line| shape.add(line));
            shape
        };
        compare(&of(old), &of(new))[0].verdict
    }

    #[test]
    fn times_and_numbers_do_not_count() {
        let old = ["1:C 30 Nov 2026 18:00:00.123 * Ready to accept connections", "[7] worker 12 started"];
        let new = ["9:M 01 Dec 2026 19:00:00.456 * Ready to accept connections", "[8] worker 13 started"];
        assert_eq!(compared(&old, &new), Verdict::Equal);
        assert_eq!(compared(&old, &[new[0], new[0], new[1]]), Verdict::Equal);
    }

    #[test]
    fn a_new_failure_is_different_and_other_lines_are_noted() {
        assert_eq!(compared(&["ready"], &["ready", "open /x: Permission denied"]), Verdict::Different);
        assert_eq!(compared(&["ready", "open /x: Permission denied"], &["ready"]), Verdict::Noted);
        assert_eq!(compared(&["ready"], &["ready", "hello"]), Verdict::Noted);
        for calm in [
            "10-ipv6.sh: info: can not modify /etc/nginx/conf.d/default.conf (read-only file system?)",
            "2026/11/30 21:42 [notice] 1#1: getrlimit failed",
            "time=\"2026\" level=info msg=\"cannot find it\"",
            "{\"level\":\"info\",\"msg\":\"cannot\"}",
            "[1] 2026/11/30 [INF] could not",
            "[Mon Nov 30 21:42:31 2026] [core:notice] [pid 1] cannot lock",
        ] {
            assert_eq!(compared(&["ready"], &["ready", calm]), Verdict::Noted, "{calm}");
        }
        for alarm in [
            "error: cannot open x, note: again",
            "level=error msg=\"cannot find info\"",
            "cannot read the info page",
            "[warn] cannot open x",
        ] {
            assert_eq!(compared(&["ready"], &["ready", alarm]), Verdict::Different, "{alarm}");
        }
        let known = "nginx: [warn] the \"user\" directive makes sense only if the master process runs with super-user \
                     privileges, ignored in /etc/nginx/nginx.conf:1";
        assert_eq!(compared(&["ready"], &["ready", known]), Verdict::Noted);
    }
}
