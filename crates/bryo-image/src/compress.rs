// SPDX-License-Identifier: Apache-2.0
//! Compression by as many threads as there are processors.
//!
//! The input is cut into pieces of one size, each is compressed alone, and the results follow each other: in one stream of
//! gzip as RFC 1951 allows, or as frames of zstd (RFC 8878, section 3.1). The pieces do not depend on the number of threads,
//! so that every machine makes the same bytes. What follows is read while they are compressed. No thread is left between
//! two reads: whoever reads may make processes.

use std::io::{self, Read};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use flate2::{Compress, Compression, Crc, FlushCompress};

/// How many pieces a thread has at a time, so that none waits long for another one.
const PIECES: usize = 4;

/// The beginning of a stream of gzip: no name, no time, nobody's system. Source: RFC 1952, section 2.3.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A last block in which there is nothing. Source: RFC 1951, section 3.2.6.
const GZIP_END: [u8; 2] = [3, 0];

/// What is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Gzip,
    Zstd,
}

impl Form {
    /// Returns the size of a piece, in bytes. With larger ones more is found that repeats, and small layers have one thread.
    fn piece(self) -> usize {
        match self {
            Self::Gzip => 1 << 20,
            // It looks further back.
            Self::Zstd => 4 << 20,
        }
    }

    fn compress(self, piece: &[u8]) -> io::Result<(Vec<u8>, Crc)> {
        match self {
            Self::Gzip => deflate(piece),
            Self::Zstd => Ok((zstd::bulk::compress(piece, zstd::DEFAULT_COMPRESSION_LEVEL)?, Crc::new())),
        }
    }
}

/// A reader of the compressed form of what another one reads.
pub(crate) struct Compressed<R> {
    input: R,
    form: Form,
    threads: usize,
    /// What was read and is to be compressed; nothing before the first read.
    next: Option<Vec<Vec<u8>>>,
    /// What is compressed and not read yet.
    ready: io::Cursor<Vec<u8>>,
    sum: Crc,
    ended: bool,
}

impl<R: Read> Compressed<R> {
    /// Compresses what `input` reads.
    pub(crate) fn new(form: Form, input: R) -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        Self::with_threads(form, input, threads)
    }

    fn with_threads(form: Form, input: R, threads: usize) -> Self {
        let head = if form == Form::Gzip { GZIP_HEAD.to_vec() } else { Vec::new() };
        Self { input, form, threads, next: None, ready: io::Cursor::new(head), sum: Crc::new(), ended: false }
    }

    /// Compresses some pieces at the same time, and reads what follows.
    fn advance(&mut self) -> io::Result<()> {
        let (form, count) = (self.form, self.threads * PIECES);
        let pieces = match self.next.take() {
            Some(pieces) => pieces,
            // Of nothing something is made too: a stream.
            None => Some(read_pieces(&mut self.input, form.piece(), count)?)
                .filter(|pieces| !pieces.is_empty())
                .unwrap_or_else(|| vec![Vec::new()]),
        };
        let made = if pieces.len() == 1 {
            // All that there is, and no work for two.
            self.next = Some(Vec::new());
            pieces.iter().map(|piece| form.compress(piece)).collect::<io::Result<_>>()?
        } else {
            let (made, next) =
                together(form, &pieces, self.threads, || read_pieces(&mut self.input, form.piece(), count));
            self.next = Some(next?);
            made?
        };
        let mut ready = Vec::with_capacity(made.iter().map(|(bytes, _)| bytes.len()).sum::<usize>() + 16);
        for (bytes, sum) in &made {
            ready.extend_from_slice(bytes);
            self.sum.combine(sum);
        }
        self.ended = self.next.as_ref().is_none_or(Vec::is_empty);
        if self.ended && form == Form::Gzip {
            ready.extend_from_slice(&GZIP_END);
            ready.extend_from_slice(&self.sum.sum().to_le_bytes());
            ready.extend_from_slice(&self.sum.amount().to_le_bytes());
        }
        self.ready = io::Cursor::new(ready);
        Ok(())
    }
}

impl<R: Read> Read for Compressed<R> {
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

/// Reads so many pieces of a size; fewer at the end, the last of them shorter.
fn read_pieces(input: &mut impl Read, size: usize, count: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut pieces = Vec::new();
    while pieces.len() < count {
        let mut piece = Vec::with_capacity(size);
        input.by_ref().take(size as u64).read_to_end(&mut piece)?;
        let short = piece.len() < size;
        if !piece.is_empty() {
            pieces.push(piece);
        }
        if short {
            break;
        }
    }
    Ok(pieces)
}

/// What became of some pieces, and of something else that was done meanwhile.
type Together<T> = (io::Result<Vec<(Vec<u8>, Crc)>>, T);

/// Compresses pieces by some threads, each of which takes the next one, while the caller does something else.
fn together<T>(form: Form, pieces: &[Vec<u8>], threads: usize, meanwhile: impl FnOnce() -> T) -> Together<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(number) else { return made };
            made.push((number, form.compress(piece)));
        }
    };
    thread::scope(|scope| {
        let started: Vec<_> = (0..threads.min(pieces.len())).map(|_| scope.spawn(work)).collect();
        let other = meanwhile();
        let mut made = Vec::with_capacity(pieces.len());
        for thread in started {
            match thread.join() {
                Ok(some) => made.extend(some),
                Err(_) => return (Err(io::Error::other("a thread that compresses has ended")), other),
            }
        }
        made.sort_by_key(|(number, _)| *number);
        (made.into_iter().map(|(_, made)| made).collect(), other)
    })
}

/// Compresses a piece. It ends at a byte, so that another one can follow.
fn deflate(piece: &[u8]) -> io::Result<(Vec<u8>, Crc)> {
    let mut compress = Compress::new(Compression::default(), false);
    let mut out = Vec::with_capacity(piece.len() / 2 + 64);
    loop {
        let used = usize::try_from(compress.total_in()).map_err(io::Error::other)?;
        compress.compress_vec(&piece[used..], &mut out, FlushCompress::Sync)?;
        // Where there is room left, nothing waits to be written.
        if out.len() < out.capacity() {
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

    fn compressed(form: Form, input: &[u8], threads: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Compressed::with_threads(form, input, threads).read_to_end(&mut out).unwrap();
        out
    }

    fn decompressed(form: Form, bytes: &[u8]) -> Vec<u8> {
        let mut back = Vec::new();
        match form {
            // A decoder that stops after the first stream: it is one.
            Form::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut back).unwrap(),
            Form::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut back).unwrap(),
        };
        back
    }

    #[test]
    fn everybody_reads_it_whatever_its_length() {
        for form in [Form::Gzip, Form::Zstd] {
            let piece = form.piece();
            let all = bytes(9 * piece + 17);
            for len in [0, 1, piece - 1, piece, piece + 1, 2 * piece, 4 * piece, 8 * piece, 9 * piece + 17] {
                let input = &all[..len];
                let out = compressed(form, input, 2);
                assert_eq!(out, compressed(form, input, 1), "{form:?} {len}: the threads make no difference");
                assert_eq!(out, compressed(form, input, 7), "{form:?} {len}");
                assert!(decompressed(form, &out) == input, "{form:?} {len}");
                assert!(out.len() <= 100 + len * 3 / 4, "{form:?} {len} became {}", out.len());
            }
        }
    }

    #[test]
    fn what_cannot_be_compressed_and_what_fails_is_told_apart() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()[7]
        })
        .take(9 << 20)
        .collect();
        struct Broken(u8);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::other("broken"))?;
                let len = buffer.len().min(100 << 10);
                buffer[..len].fill(b'x');
                Ok(len)
            }
        }
        for form in [Form::Gzip, Form::Zstd] {
            assert!(decompressed(form, &compressed(form, &noise, 2)) == noise, "{form:?}");
            for reads in [0, 5, 250] {
                let failed = Compressed::with_threads(form, Broken(reads), 1).read_to_end(&mut Vec::new());
                assert_eq!(failed.unwrap_err().to_string(), "broken", "{form:?} {reads}");
            }
        }
    }
}
