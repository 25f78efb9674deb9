// SPDX-License-Identifier: Apache-2.0
//! The file of events: lines of JSON, appended by whoever does something, with one write and no lock.
//!
//! ```text
//! events/journal      what is appended to
//! events/journal.N    what that was before it had its size; the one before is dropped
//! ```
//!
//! Whoever finds that the file has its size puts it aside under the next number. One who has opened it before still writes
//! to it, so that a reader goes on reading the older of the two. An empty line comes before each event: what a full disk or a power failure has
//! cut is one line then, and the next event another.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::Event;
use crate::aside;
use crate::error::{Error, Result};
use crate::watch::{wait, watch};

/// The name of the file that is appended to.
const FILE: &str = "journal";

/// The size at which a file is put aside. An event takes some hundred bytes.
const SIZE: u64 = 1 << 20;

/// The longest line. What says more than this about itself is told without it.
const LINE: usize = 32 << 10;

/// The part of the journal that is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Window {
    /// What happened then or later. Without it and without an end, what happens from now on.
    pub since: Option<Timestamp>,
    /// What happened before then; while that is to come, it is waited for.
    pub until: Option<Timestamp>,
}

impl Window {
    fn holds(&self, event: &Event) -> bool {
        let time = event.timestamp();
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    /// Returns how long events may still come: nothing for ever, zero when the end is over.
    fn left(&self) -> Option<Duration> {
        let until = self.until?;
        Some(Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default())
    }
}

/// The journal of a store.
#[derive(Debug, Clone)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// Uses a directory below the root of the data; it is made with the first event.
    pub fn new(data: &Path) -> Self {
        Self { dir: data.join("events") }
    }

    /// Appends events, all at once. What cannot be written is lost.
    pub fn write(&self, events: &[Event]) {
        let lines: Vec<u8> = events.iter().flat_map(line).collect();
        let Ok(mut file) = self.open() else { return };
        if file.write(&lines).is_ok() && file.stream_position().is_ok_and(|size| size >= SIZE) {
            self.put_aside(&file);
        }
    }

    fn current(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    fn open(&self) -> std::io::Result<File> {
        let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(self.current());
        match open() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                DirBuilder::new().mode(0o700).recursive(true).create(&self.dir)?;
                open()
            }
            other => other,
        }
    }

    /// Puts the file aside, unless somebody else has done so, or is about to.
    fn put_aside(&self, file: &File) {
        let locked = rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        let inode = |found: std::io::Result<std::fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
        if locked.is_ok() && inode(file.metadata()) == inode(std::fs::metadata(self.current())) {
            let aside = aside::numbers(&self.dir, FILE);
            let next = aside.last().map_or(1, |n| n + 1);
            // Where it stays it grows, until the next event.
            if std::fs::rename(self.current(), self.dir.join(aside::name(FILE, next))).is_ok() {
                for n in aside {
                    // What cannot be removed now is among the older ones the next time as well.
                    let _ = std::fs::remove_file(self.dir.join(aside::name(FILE, n)));
                }
            }
        }
    }

    /// Reads the events of a window and hands each to `sink`, until that has enough (false) or the window ends.
    ///
    /// # Errors
    ///
    /// [`Kind::Io`](crate::error::Kind::Io).
    pub fn read(&self, window: Window, sink: &mut dyn FnMut(&Event) -> bool) -> Result<()> {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&self.dir);
        made.map_err(|e| Error::io("cannot make", &self.dir, e))?;
        // Without a word about the time it is from now on.
        let from_now_on = window.since.is_none() && window.until.is_none();
        let window = if from_now_on { Window { since: Some(Timestamp::now()), ..window } } else { window };
        let goes_on = window.left().is_none_or(|left| !left.is_zero());
        let watch = goes_on.then(|| watch(&self.dir)).transpose()?;
        let mut reader = Reader { journal: self, files: Vec::new() };
        if from_now_on {
            reader.look()?;
            reader.skip()?;
        }
        loop {
            let left = window.left();
            if !reader.drain(window, sink)? {
                return Ok(());
            }
            match &watch {
                Some(watch) if left.is_none_or(|left| !left.is_zero()) => wait(watch, left)?,
                _ => return Ok(()),
            }
        }
    }
}

/// Writes an event as a line of its own.
fn line(event: &Event) -> Vec<u8> {
    // What is made of texts and numbers can be written.
    let encode = |event: &Event| serde_json::to_vec(event).unwrap_or_default();
    let mut text = encode(event);
    if text.len() > LINE {
        let mut short = event.clone();
        short.actor.attributes.retain(|key, value| matches!(key.as_str(), "name" | "image") && value.len() < 1024);
        short.action.truncate(short.action.floor_char_boundary(1024));
        text = encode(&short);
    }
    [b"\n", text.as_slice(), b"\n"].concat()
}

/// Where a reader is: in the file that is written to, and in the one before.
struct Reader<'a> {
    journal: &'a Journal,
    files: Vec<(u64, BufReader<File>)>,
}

impl Reader<'_> {
    /// Opens files that are new, and returns those that there are.
    fn look(&mut self) -> Result<Vec<u64>> {
        let opened = loop {
            if let Some(opened) = self.open_all(&aside::numbers(&self.journal.dir, FILE))? {
                break opened;
            }
        };
        let there = opened.iter().map(|(inode, _)| *inode).collect();
        let is_new = |(inode, _): &(u64, File)| self.files.iter().all(|(known, _)| known != inode);
        let new: Vec<_> = opened.into_iter().filter(is_new).collect();
        self.files.extend(new.into_iter().map(|(inode, file)| (inode, BufReader::new(file))));
        Ok(there)
    }

    /// Opens what was put aside under some numbers, and the file that is written to. One that was put aside since the
    /// numbers were read would be missed: nothing then, and all is to be looked at once more.
    fn open_all(&self, aside: &[u64]) -> Result<Option<Vec<(u64, File)>>> {
        let names = aside.iter().map(|n| aside::name(FILE, *n)).chain([FILE.to_owned()]);
        let opened = names.filter_map(|name| self.open(&name).transpose()).collect::<Result<Vec<_>>>()?;
        let is_whole = aside::numbers(&self.journal.dir, FILE).last() <= aside.last();
        Ok(is_whole.then_some(opened))
    }

    /// Opens a file, and says which one it is; nothing for one that is not there, or was dropped.
    fn open(&self, name: &str) -> Result<Option<(u64, File)>> {
        let path = self.journal.dir.join(name);
        let file = match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| Error::io("cannot open", &path, e))?,
        };
        let inode = file.metadata().map_err(|e| Error::io("cannot read", &path, e))?.ino();
        Ok(Some((inode, file)))
    }

    /// Passes over all that is there.
    fn skip(&mut self) -> Result<()> {
        for (_, file) in &mut self.files {
            file.seek(SeekFrom::End(0)).map_err(|e| Error::io("cannot read", &self.journal.dir, e))?;
        }
        Ok(())
    }

    /// Hands on what there is; false when the reader has enough.
    fn drain(&mut self, window: Window, sink: &mut dyn FnMut(&Event) -> bool) -> Result<bool> {
        let there = self.look()?;
        for (_, file) in &mut self.files {
            loop {
                let event = next(file).map_err(|e| Error::io("cannot read", &self.journal.dir, e))?;
                let Some(event) = event else { break };
                if window.holds(&event) && !sink(&event) {
                    return Ok(false);
                }
            }
        }
        // What was dropped is written to by nobody any more.
        self.files.retain(|(inode, _)| there.contains(inode));
        Ok(true)
    }
}

/// Reads the next event. A piece of a line that is still being written is left for the next time.
fn next(file: &mut BufReader<File>) -> std::io::Result<Option<Event>> {
    loop {
        let mut line = Vec::new();
        let n = file.by_ref().take(4 * LINE as u64).read_until(b'\n', &mut line)?;
        if n == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') && n < 4 * LINE {
            file.seek_relative(-i64::try_from(n).unwrap_or_default())?;
            return Ok(None);
        }
        if let Ok(event) = serde_json::from_slice(&line) {
            return Ok(Some(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Type;

    fn event(n: usize) -> Event {
        Event::now(Type::Volume, "create", n.to_string()).with("padding", "x".repeat(300))
    }

    fn ids(journal: &Journal, window: Window) -> Vec<String> {
        let mut ids = Vec::new();
        let mut sink = |event: &Event| {
            ids.push(event.actor.id.clone());
            true
        };
        journal.read(window, &mut sink).unwrap();
        ids
    }

    fn past() -> Window {
        Window { since: None, until: Some(Timestamp::now()) }
    }

    #[test]
    fn a_journal_is_bounded_and_keeps_what_came_last() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        assert!(ids(&journal, past()).is_empty());
        for n in 0..10_000 {
            journal.write(&[event(n)]);
        }
        let kept = ids(&journal, past());
        assert!(kept.len() > 2000 && kept.len() < 10_000, "{}", kept.len());
        let expected: Vec<String> = (10_000 - kept.len()..10_000).map(|n| n.to_string()).collect();
        assert_eq!(kept, expected);
        let size: u64 = std::fs::read_dir(&journal.dir).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(size < 2 * SIZE + 1000, "{size}");
    }

    #[test]
    fn writers_beside_one_another_lose_nothing_and_a_reader_sees_it() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        let until = Timestamp::now() + Duration::from_secs(60);
        let seen = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = Vec::new();
                let window = Window { since: Some(Timestamp::UNIX_EPOCH), until: Some(until) };
                let mut sink = |event: &Event| {
                    seen.push(event.actor.id.parse::<usize>().unwrap());
                    seen.len() < 12_000
                };
                journal.read(window, &mut sink).unwrap();
                seen
            });
            for writer in 0..4 {
                let journal = &journal;
                scope.spawn(move || {
                    for n in 0..3000 {
                        journal.write(&[event(writer * 3000 + n)]);
                        // As slow as commands are at their quickest.
                        std::thread::sleep(Duration::from_micros(50));
                    }
                });
            }
            reader.join().unwrap()
        });
        let mut sorted = seen;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..12_000).collect::<Vec<_>>());
    }

    /// Between a look at the numbers and the opening of the last file, one may be put aside and a new one begun.
    #[test]
    fn a_reader_misses_no_file_that_is_put_aside_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        let fill = || {
            let before = aside::numbers(&journal.dir, FILE);
            (0..).take_while(|_| aside::numbers(&journal.dir, FILE) == before).for_each(|n| journal.write(&[event(n)]));
            before
        };
        let reader = Reader { journal: &journal, files: Vec::new() };
        for _ in 0..3 {
            let numbers = fill();
            journal.write(&[event(0)]);
            assert!(reader.open_all(&numbers).unwrap().is_none(), "{numbers:?}");
            let numbers = aside::numbers(&journal.dir, FILE);
            assert_eq!(reader.open_all(&numbers).unwrap().unwrap().len(), 2);
        }
        assert_eq!(aside::numbers(&journal.dir, FILE), [3]);
    }

    #[test]
    fn what_was_cut_costs_one_event() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path());
        journal.write(&[event(1)]);
        OpenOptions::new().append(true).open(journal.current()).unwrap().write_all(b"\n{\"Type\":\"vol").unwrap();
        journal.write(&[event(2), event(3)]);
        let long = Event::now(Type::Container, "create", "4").with("name", "n").with("label", "x".repeat(1 << 20));
        journal.write(&[long]);
        assert_eq!(ids(&journal, past()), ["1", "2", "3", "4"]);
        assert!(std::fs::metadata(journal.current()).unwrap().len() < 8192);
    }
}
