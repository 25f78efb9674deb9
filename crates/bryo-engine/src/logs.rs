// SPDX-License-Identifier: Apache-2.0
//! What a container has said: its log, read from the beginning or the end, and followed.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::Engine;
use crate::container::Record;
use crate::error::{Error, Kind, Result};
use crate::monitor::log::{FILE, Stream, name, put_aside};
use crate::options::LogDriver;
use crate::watch::{wait, watch};

/// How often one who follows looks though nothing was written.
const NOW_AND_THEN: Duration = Duration::from_millis(500);

/// Which part of a log.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Goes on until the container has ended.
    pub follow: bool,
    /// Only what was said at this time or later.
    pub since: Option<Timestamp>,
    /// Only what was said before this time.
    pub until: Option<Timestamp>,
    /// So many lines from the end.
    pub tail: Option<u64>,
}

/// A line, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was read, in RFC 3339, UTC.
    pub time: &'a str,
    /// What it was written to.
    pub stream: Stream,
    /// Whether the line ends here.
    pub ends: bool,
    /// What was written, without the end of the line.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Parses a line of the file; one that a crash has cut is none.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let bytes = bytes.strip_suffix(b"\n")?;
        let mut parts = bytes.splitn(4, |b| *b == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = match parts.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let ends = match parts.next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self { time, stream, ends, text: parts.next()? })
    }
}

impl Engine {
    /// Reads a container's log and hands each line to `sink`, until that says that it has enough (false).
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for a container whose output is not kept; [`Kind::Io`].
    pub fn logs(&self, record: &Record, options: &LogOptions, sink: &mut dyn FnMut(Line<'_>) -> bool) -> Result<()> {
        if record.options.log.driver == LogDriver::None {
            let why = format!("the output of container {} is not kept (--log-driver none)", record.name);
            return Err(Error::new(Kind::Unsupported, why));
        }
        let dir = self.containers.dir(&record.id);
        if record.auto_remove && record.state.is_active() && !dir.join(FILE).exists() && put_aside(&dir).is_empty() {
            let why = format!("the output of container {} goes to a foreground and is not kept (--rm)", record.name);
            return Err(Error::new(Kind::Unsupported, why));
        }
        let watch = options.follow.then(|| watch(&dir)).transpose()?;
        let mut reader = Reader::open(&dir, options)?;
        loop {
            let goes_on = self.containers.is_held(&record.id);
            if !reader.drain(options, sink)? {
                return Ok(());
            }
            match &watch {
                // The lock of one that was killed is given back without a change: it is asked for now and then.
                Some(watch) if goes_on => wait(watch, Some(NOW_AND_THEN))?,
                _ => return Ok(()),
            }
        }
    }
}

/// Where a reader is.
struct Reader {
    dir: PathBuf,
    file: Option<BufReader<File>>,
    inode: u64,
    line: Vec<u8>,
}

impl Reader {
    fn open(dir: &Path, options: &LogOptions) -> Result<Self> {
        let mut reader = Self { dir: dir.to_owned(), file: None, inode: 0, line: Vec::new() };
        match options.tail {
            None => reader.begin()?,
            Some(lines) => reader.tail(lines)?,
        }
        Ok(reader)
    }

    /// Goes to the beginning of the oldest file.
    fn begin(&mut self) -> Result<()> {
        for n in put_aside(&self.dir) {
            if self.enter(&name(n))? {
                return Ok(());
            }
        }
        self.enter(FILE).map(drop)
    }

    /// Goes to the beginning of a file, and tells whether it is there. One that is not may be later.
    fn enter(&mut self, name: &str) -> Result<bool> {
        let path = self.dir.join(name);
        match File::open(&path) {
            Ok(file) => {
                self.inode = file.metadata().map_or(0, |m| m.ino());
                self.file = Some(BufReader::with_capacity(64 << 10, file));
                Ok(true)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("cannot open", &path, e)),
        }
    }

    /// Goes to the place from which so many lines follow.
    fn tail(&mut self, lines: u64) -> Result<()> {
        self.enter(FILE)?;
        // Listed after the file was opened: if that has been put aside by now, it is listed as well, and passed over.
        let mut older = put_aside(&self.dir);
        older.retain(|n| self.inode_of(&name(*n)) != Some(self.inode));
        let mut missing = lines;
        loop {
            let there = self.count()?;
            if there >= missing {
                return self.skip(there - missing);
            }
            missing -= there;
            loop {
                match older.pop() {
                    Some(n) if self.enter(&name(n))? => break,
                    // It was dropped meanwhile.
                    Some(_) => (),
                    None => return Ok(()),
                }
            }
        }
    }

    /// Counts the lines that end in the file, and goes back to its beginning. What was begun and has not ended counts.
    fn count(&mut self) -> Result<u64> {
        let (mut lines, mut open) = (0, false);
        while let Some(line) = self.next()? {
            (lines, open) = if line.ends { (lines + 1, false) } else { (lines, true) };
        }
        if let Some(file) = &mut self.file {
            file.rewind().map_err(|e| Error::io("cannot read", &self.dir, e))?;
        }
        Ok(lines + u64::from(open))
    }

    fn skip(&mut self, lines: u64) -> Result<()> {
        let mut left = lines;
        while left > 0 {
            match self.next()? {
                Some(line) => left -= u64::from(line.ends),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads the next line of this file. A piece of a line that is still being written is left for the next time.
    fn next(&mut self) -> Result<Option<Line<'_>>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        loop {
            self.line.clear();
            let n = file.read_until(b'\n', &mut self.line).map_err(|e| Error::io("cannot read", &self.dir, e))?;
            if n == 0 {
                return Ok(None);
            }
            if self.line.last() != Some(&b'\n') {
                let back = i64::try_from(n).unwrap_or(0);
                file.seek_relative(-back).map_err(|e| Error::io("cannot read", &self.dir, e))?;
                return Ok(None);
            }
            // The borrow of what is returned must not reach into the next turn.
            if Line::parse(&self.line).is_some() {
                break;
            }
        }
        Ok(Line::parse(&self.line))
    }

    /// Hands on what there is, through all files that follow; false when the reader has enough.
    fn drain(&mut self, options: &LogOptions, sink: &mut dyn FnMut(Line<'_>) -> bool) -> Result<bool> {
        loop {
            while let Some(line) = self.next()? {
                let time = line.time.parse::<Timestamp>().ok();
                let early = options.since.is_some_and(|since| time.is_some_and(|time| time < since));
                if options.until.is_some_and(|until| time.is_some_and(|time| time >= until)) {
                    return Ok(false);
                }
                if !early && !sink(line) {
                    return Ok(false);
                }
            }
            if !self.advance()? {
                return Ok(true);
            }
        }
    }

    /// Goes on to the file that follows on this one, if it was put aside meanwhile; false if it is the newest.
    fn advance(&mut self) -> Result<bool> {
        if self.file.is_none() {
            return self.enter(FILE);
        }
        let here = self.inode;
        while self.inode_of(FILE) != Some(here) {
            let aside = put_aside(&self.dir);
            // One that was dropped is followed by the oldest that is left.
            let own = aside.iter().copied().find(|n| self.inode_of(&name(*n)) == Some(here)).unwrap_or(0);
            match aside.iter().find(|n| **n > own) {
                Some(next) if self.enter(&name(*next))? => return Ok(true),
                // Dropped since it was listed.
                Some(_) => (),
                None if !self.enter(FILE)? => return Ok(false),
                // Nothing was put aside between the look and the opening: there is no file between the two.
                None if put_aside(&self.dir).last().is_none_or(|n| *n == own) => return Ok(true),
                None => (),
            }
        }
        Ok(false)
    }

    fn inode_of(&self, name: &str) -> Option<u64> {
        std::fs::metadata(self.dir.join(name)).map(|m| m.ino()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::log::Writer;
    use crate::options::Log;

    fn read(dir: &Path, options: &LogOptions) -> Vec<String> {
        let mut lines = Vec::new();
        let mut sink = |line: Line<'_>| {
            lines.push(String::from_utf8_lossy(line.text).into_owned());
            true
        };
        Reader::open(dir, options).unwrap().drain(options, &mut sink).unwrap();
        lines
    }

    #[test]
    fn the_tail_reaches_across_files() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Log { max_size: 4096, max_files: 4, ..Log::default() };
        let mut log = Writer::open(dir.path(), &limits).unwrap();
        for n in 0..200 {
            log.write(Stream::Stdout, format!("{n}\n").as_bytes());
        }
        let all = read(dir.path(), &LogOptions::default());
        assert_eq!((all.len(), all[0].as_str()), (200, "0"));
        for n in [0, 1, 5, 120, 199, 200, 1000] {
            let tail = read(dir.path(), &LogOptions { tail: Some(n), ..LogOptions::default() });
            let expected = &all[all.len().saturating_sub(usize::try_from(n).unwrap())..];
            assert_eq!(tail, expected, "{n}");
        }
        assert!(read(Path::new("/nonexistent"), &LogOptions::default()).is_empty());
    }

    #[test]
    fn a_reader_follows_a_log_that_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Log { max_size: 4096, max_files: 9, ..Log::default() };
        let mut log = Writer::open(dir.path(), &limits).unwrap();
        let options = LogOptions::default();
        let mut reader = Reader::open(dir.path(), &options).unwrap();
        let mut seen = Vec::new();
        for n in 0..300 {
            log.write(Stream::Stdout, format!("{n}\n").as_bytes());
            if n % 90 == 0 {
                let mut sink = |line: Line<'_>| {
                    seen.push(String::from_utf8_lossy(line.text).into_owned());
                    true
                };
                reader.drain(&options, &mut sink).unwrap();
            }
        }
        assert_eq!(seen, (0..=270).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
