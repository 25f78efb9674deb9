// SPDX-License-Identifier: Apache-2.0
//! The file between download and unpacker: one thread makes it grow, another sends what is there into a pipe.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::error::{Error, Result};

const PIPE_SIZE: usize = 1 << 20;
const SEND_MAX: u64 = 1 << 20;

/// How far a blob's file has grown, for the thread that follows it.
#[derive(Debug, Default)]
pub(super) struct Tail {
    state: Mutex<TailState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct TailState {
    available: u64,
    /// Whether no more bytes come, and if so whether the blob is complete and verified.
    finished: Option<bool>,
    /// Whether the unpacker has failed for a reason that more bytes cannot change.
    hopeless: bool,
}

impl Tail {
    fn state(&self) -> MutexGuard<'_, TailState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the file has so many bytes; returns whether more are wanted.
    pub fn grow(&self, len: u64) -> bool {
        {
            let mut state = self.state();
            if state.hopeless {
                return false;
            }
            state.available = len;
        }
        self.changed.notify_one();
        true
    }

    /// Says that the unpacker has failed for a reason that more bytes cannot change.
    pub fn give_up(&self) {
        self.state().hopeless = true;
    }

    /// Tells whether the unpacker has failed so.
    pub fn is_given_up(&self) -> bool {
        self.state().hopeless
    }

    /// Says that no more bytes come, and whether the blob is complete and verified.
    pub fn finish(&self, verified: bool) {
        self.state().finished = Some(verified);
        self.changed.notify_one();
    }

    /// Waits for bytes after `sent` and returns the new end, or `None` when no more are to be sent.
    fn wait_beyond(&self, sent: u64) -> Option<u64> {
        let mut state = self.state();
        loop {
            match (state.available > sent, state.finished) {
                (_, Some(false)) | (false, Some(true)) => return None,
                (true, _) => return Some(state.available),
                (false, None) => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Sends a growing file into a pipe. Closing the pipe, by returning, is the end of the stream.
pub(super) fn feed(source: &File, pipe: OwnedFd, tail: &Tail) {
    let mut sent = 0_u64;
    while let Some(end) = tail.wait_beyond(sent) {
        let count = usize::try_from((end - sent).min(SEND_MAX)).unwrap_or(usize::MAX);
        // The offset moves with every byte sent.
        match rustix::fs::sendfile(&pipe, source, Some(&mut sent), count) {
            Ok(0) => thread::yield_now(), // Truncated for a new start: the file will grow again.
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return, // The reader is gone, and will say why.
        }
    }
}

/// Makes the pipe.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (read_end, write_end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| Error::io("make a pipe to the unpacker", io::Error::from(errno)))?;
    // A larger pipe only means fewer switches between the two processes: the limit for ordinary users may
    // be spent, and the default size serves as well.
    rustix::pipe::fcntl_setpipe_size(&write_end, PIPE_SIZE).unwrap_or_default();
    Ok((read_end, write_end))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn the_feeder_follows_a_growing_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let source = file.reopen().unwrap();
        let (read_end, write_end) = pipe().unwrap();
        let tail = Tail::default();
        let expected: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let received = thread::scope(|scope| {
            scope.spawn(|| feed(&source, write_end, &tail));
            let reader = scope.spawn(|| {
                let mut bytes = Vec::new();
                File::from(read_end).read_to_end(&mut bytes).unwrap();
                bytes
            });
            let mut written = 0;
            for part in expected.chunks(700_001) {
                file.write_all(part).unwrap();
                written += part.len() as u64;
                assert!(tail.grow(written));
            }
            tail.finish(true);
            reader.join().unwrap()
        });
        assert!(received == expected);
    }

    #[test]
    fn a_failed_download_ends_the_stream_and_a_gone_reader_is_noticed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 100]).unwrap();
        let source = file.reopen().unwrap();
        let (read_end, write_end) = pipe().unwrap();
        let tail = Tail::default();
        assert!(tail.grow(100));
        tail.finish(false);
        feed(&source, write_end, &tail);
        let mut bytes = Vec::new();
        File::from(read_end).read_to_end(&mut bytes).unwrap();
        assert!(bytes.is_empty());

        let (read_end, write_end) = pipe().unwrap();
        let tail = Tail::default();
        assert!(tail.grow(100));
        drop(read_end);
        feed(&source, write_end, &tail); // Returns, although nothing is finished.
        tail.give_up();
        assert!(!tail.grow(200), "the download goes on for nobody");
    }
}
