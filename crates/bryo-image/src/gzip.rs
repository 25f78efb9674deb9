// SPDX-License-Identifier: Apache-2.0
//! Gzip by as many threads as there are processors.
//!
//! The input is cut into pieces of one size, each is compressed alone, and the results follow each other in one stream as
//! RFC 1951 allows. The pieces do not depend on the number of threads, so that every machine makes the same bytes. No
//! thread is left between two reads: whoever reads may make processes.

use std::io::{self, Read};
use std::num::NonZero;
use std::thread;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// The size of a piece, in bytes. With larger ones more is found that repeats, and small layers have one thread.
const PIECE: usize = 1 << 20;

/// The beginning of a stream: no name, no time, nobody's system. Source: RFC 1952, section 2.3.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A reader of the compressed form of what another one reads.
pub(crate) struct Gzip<R> {
    input: R,
    threads: usize,
    /// The next piece: only when one follows is it known that it is not the last.
    next: Option<Vec<u8>>,
    /// What is compressed and not read yet.
    ready: io::Cursor<Vec<u8>>,
    sum: Crc,
    ended: bool,
}

impl<R: Read> Gzip<R> {
    /// Compresses what `input` reads.
    pub(crate) fn new(input: R) -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        Self::with_threads(input, threads)
    }

    fn with_threads(input: R, threads: usize) -> Self {
        let ready = io::Cursor::new(HEAD.to_vec());
        Self { input, threads, next: None, ready, sum: Crc::new(), ended: false }
    }

    fn piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE);
        self.input.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        Ok(piece)
    }

    /// Compresses some pieces at the same time.
    fn advance(&mut self) -> io::Result<()> {
        let mut pieces = Vec::new();
        while pieces.len() < self.threads && !self.ended {
            let piece = match self.next.take() {
                Some(piece) => piece,
                None => self.piece()?,
            };
            let following = if piece.len() < PIECE { Vec::new() } else { self.piece()? };
            self.ended = following.is_empty();
            self.next = Some(following);
            pieces.push(piece);
        }
        let (ended, last) = (self.ended, pieces.len() - 1);
        let work = |(n, piece): (usize, &Vec<u8>)| deflate(piece, ended && n == last);
        let made: Vec<(Vec<u8>, Crc)> = match pieces.as_slice() {
            [one] => vec![work((0, one))?],
            several => thread::scope(|scope| {
                let started: Vec<_> = several.iter().enumerate().map(|job| scope.spawn(move || work(job))).collect();
                let join = |thread: thread::ScopedJoinHandle<'_, io::Result<_>>| {
                    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread that compresses has ended")))
                };
                started.into_iter().map(join).collect::<io::Result<_>>()
            })?,
        };
        let mut ready = Vec::with_capacity(made.iter().map(|(bytes, _)| bytes.len()).sum::<usize>() + 8);
        for (bytes, sum) in &made {
            ready.extend_from_slice(bytes);
            self.sum.combine(sum);
        }
        if ended {
            ready.extend_from_slice(&self.sum.sum().to_le_bytes());
            ready.extend_from_slice(&self.sum.amount().to_le_bytes());
        }
        self.ready = io::Cursor::new(ready);
        Ok(())
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.ready.read(buffer)?;
            if read > 0 || self.ended || buffer.is_empty() {
                return Ok(read);
            }
            self.advance()?;
        }
    }
}

/// Compresses a piece. One that is not the last ends at a byte, so that another one can follow.
fn deflate(piece: &[u8], last: bool) -> io::Result<(Vec<u8>, Crc)> {
    let mut compress = Compress::new(Compression::default(), false);
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut out = Vec::with_capacity(piece.len() / 2 + 64);
    loop {
        let used = usize::try_from(compress.total_in()).map_err(io::Error::other)?;
        let status = compress.compress_vec(&piece[used..], &mut out, flush)?;
        // Where there is room left, nothing waits to be written.
        let done = if last { status == Status::StreamEnd } else { out.len() < out.capacity() };
        if done {
            break;
        }
        out.reserve(piece.len() / 4 + 64);
    }
    let mut sum = Crc::new();
    sum.update(piece);
    Ok((out, sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that repeat now and then.
    fn bytes(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let next = move |n: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if n % 512 < 300 { b'a' } else { state.to_le_bytes()[3] }
        };
        (0..len).map(next).collect()
    }

    fn compressed(input: &[u8], threads: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Gzip::with_threads(input, threads).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn everybody_reads_it_whatever_its_length() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 17] {
            let input = bytes(len);
            let out = compressed(&input, 2);
            assert_eq!(out, compressed(&input, 1), "{len}: the threads make no difference");
            assert_eq!(out, compressed(&input, 7), "{len}");
            // A decoder that stops after the first stream: it is one.
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(out.as_slice()).read_to_end(&mut back).unwrap();
            assert!(back == input, "{len}");
            assert!(out.len() <= 100 + len * 3 / 4, "{len} became {}", out.len());
        }
    }

    #[test]
    fn what_cannot_be_compressed_and_what_fails_is_told_apart() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()[7]
        })
        .take(3 * PIECE)
        .collect();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(compressed(&noise, 2).as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == noise);
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        assert!(Gzip::new(Broken).read_to_end(&mut Vec::new()).is_err());
    }
}
