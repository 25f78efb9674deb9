// SPDX-License-Identifier: Apache-2.0
//! A container's output on disk, in the form of the kubelet and of Podman's `k8s-file`: a line is the time, the stream,
//! `F` or `P` for a line's end or a part of one, and the text. Source: the Kubernetes design for CRI logs.
//!
//! What was read is written at once: a stream without an end and a line without an end cost no memory. A file that has
//! reached its size is put aside as `log.1`, the next one as `log.2`, and the oldest is dropped.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::aside;
use crate::error::{Error, Result};
use crate::options::{Log, LogDriver};

/// The name of the file that is written to.
pub const FILE: &str = "log";

/// The longest part of a line. Source: the limit that the kubelet's own reader has.
const PART: usize = 16 << 10;

/// How much is kept back at most: short lines are several times as long on disk.
const BUFFER: usize = 64 << 10;

/// Which of the payload's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Returns the word of the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Writes a container's log.
#[derive(Debug)]
pub(crate) struct Writer {
    dir: PathBuf,
    file: File,
    size: u64,
    /// The number of the file that is put aside next.
    next: u64,
    limits: Log,
    /// What is written next; kept for its memory.
    lines: Vec<u8>,
}

impl Writer {
    /// Goes on with the log of a container, if its output is kept.
    pub fn for_container(dir: &Path, log: &Log) -> Result<Option<Self>> {
        match log.driver {
            LogDriver::Local => Self::open(dir, log).map(Some),
            LogDriver::None => Ok(None),
        }
    }

    /// Goes on with the log in a container's directory.
    pub fn open(dir: &Path, limits: &Log) -> Result<Self> {
        let file = create(dir)?;
        let size = file.metadata().map_or(0, |m| m.len());
        let next = put_aside(dir).last().map_or(1, |n| n + 1);
        Ok(Self { dir: dir.to_owned(), file, size, next, limits: limits.clone(), lines: Vec::new() })
    }

    /// Writes what was read. A full disk loses it and does not stop the payload, as a terminal's history would.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let now = format!("{:.9} {} ", jiff::Timestamp::now(), stream.name());
        // No part fills a file.
        let longest = usize::try_from(self.limits.max_size / 2).unwrap_or(PART).min(PART);
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, end) = match line.strip_suffix(b"\n") {
                Some(text) => (text, b"F "),
                None => (line, b"P "),
            };
            let mut parts = text.chunks(longest).peekable();
            if text.is_empty() {
                self.push(&now, end, b"");
            }
            while let Some(part) = parts.next() {
                self.push(&now, if parts.peek().is_some() { b"P " } else { end }, part);
            }
        }
        self.flush();
    }

    /// Adds a line of the file, which goes into the next one when this is full.
    fn push(&mut self, now: &str, tag: &[u8], text: &[u8]) {
        let length = now.len() + tag.len() + text.len() + 1;
        let before = self.size + self.lines.len() as u64;
        if before > 0 && before + length as u64 > self.limits.max_size {
            self.flush();
            self.rotate();
        }
        for part in [now.as_bytes(), tag, text, b"\n"] {
            self.lines.extend_from_slice(part);
        }
        if self.lines.len() >= BUFFER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.file.write_all(&self.lines).is_ok() {
            self.size += self.lines.len() as u64;
        }
        self.lines.clear();
    }

    fn rotate(&mut self) {
        let moved = match self.limits.max_files {
            1 => std::fs::remove_file(self.dir.join(FILE)),
            _ => std::fs::rename(self.dir.join(FILE), self.dir.join(name(self.next))),
        };
        // Where it cannot be moved, the old one goes on: its size is less than what would be lost.
        if moved.is_err() {
            return;
        }
        self.next += 1;
        if let Ok(file) = create(&self.dir) {
            (self.file, self.size) = (file, 0);
        }
        let aside = put_aside(&self.dir);
        let kept = usize::try_from(self.limits.max_files).unwrap_or(1).saturating_sub(1);
        for n in &aside[..aside.len().saturating_sub(kept)] {
            // What cannot be removed now is among the oldest the next time as well.
            let _ = std::fs::remove_file(self.dir.join(name(*n)));
        }
    }
}

/// Returns the name of a file that was put aside.
pub(crate) fn name(n: u64) -> String {
    aside::name(FILE, n)
}

/// Returns the numbers of the files that were put aside, oldest first.
pub(crate) fn put_aside(dir: &Path) -> Vec<u64> {
    aside::numbers(dir, FILE)
}

fn create(dir: &Path) -> Result<File> {
    let path = dir.join(FILE);
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    file.map_err(|e| Error::io("cannot open the log", &path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_parts_of_lines_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path(), &Log::default()).unwrap();
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"o\n");
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        let lines: Vec<&str> = text.lines().map(|l| l.split_once(' ').unwrap().1).collect();
        assert_eq!(lines, ["stdout F one", "stdout P tw", "stderr F o"]);
        let time = text.split(' ').next().unwrap();
        assert!(time.len() == 30 && time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }

    #[test]
    fn no_file_is_larger_than_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Log { max_size: 4096, max_files: 4, ..Log::default() };
        let mut log = Writer::open(dir.path(), &limits).unwrap();
        for text in [vec![b'\n'; 30_000], vec![b'x'; 30_000], b"last\n".to_vec()] {
            log.write(Stream::Stdout, &text);
            assert!(log.lines.capacity() < 2 * BUFFER, "{}", log.lines.capacity());
            for entry in std::fs::read_dir(dir.path()).unwrap() {
                assert!(entry.unwrap().metadata().unwrap().len() <= 4096);
            }
        }
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(text.contains(" P xxx") && text.ends_with(" F last\n"), "{text}");
    }

    #[test]
    fn old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Log { max_size: 4096, max_files: 3, ..Log::default() };
        let mut log = Writer::open(dir.path(), &limits).unwrap();
        for n in 0..1000 {
            log.write(Stream::Stdout, format!("line {n}\n").as_bytes());
        }
        let mut names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let [current, before, newest] = &names[..] else { panic!("{names:?}") };
        let number = |name: &str| name.strip_prefix("log.").unwrap().parse::<u64>().unwrap();
        assert_eq!((current.as_str(), number(newest)), ("log", number(before) + 1));
        for name in names {
            assert!(std::fs::metadata(dir.path().join(name)).unwrap().len() <= 4096);
        }
        assert!(std::fs::read_to_string(dir.path().join("log")).unwrap().ends_with("line 999\n"));
    }
}
