// SPDX-License-Identifier: Apache-2.0
//! From a blob's bytes to its archive's bytes: decompressed, counted, hashed, and handed over in large buffers.
//!
//! Decompression with hashing, and parsing with writing, cost about the same: each has its own thread, and a few
//! buffers go round between them. Limits are checked where the bytes come into being.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use flate2::bufread::MultiGzDecoder;

use super::{Compression, LayerReport, Limits};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Kind, Result};

const BUFFER: usize = 256 << 10;
const BUFFERS: usize = 6;

/// What a stream is made from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub diff_id: Option<Digest>,
    pub compression: Option<Compression>,
    pub blob_size: Option<u64>,
    pub limits: Limits,
}

/// A stream whose beginning told its compression.
pub(crate) struct Sniffed<R> {
    /// The compression.
    pub compression: Compression,
    reader: BufReader<io::Chain<Cursor<Vec<u8>>, R>>,
}

/// The reading end: the archive's bytes.
#[derive(Debug)]
pub(super) struct Blocks {
    full: Receiver<Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
}

/// Looks at the first bytes of a stream to tell its compression. What is no known compression is none.
pub(crate) fn sniff<R: Read>(mut reader: R) -> Result<Sniffed<R>> {
    let mut head = Vec::with_capacity(8);
    reader
        .by_ref()
        .take(8)
        .read_to_end(&mut head)
        .map_err(|error| Error::from_read("read the first bytes of an archive", error))?;
    let compression = match head[..] {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // RFC 8878: a frame, or a skippable frame (which zstd:chunked puts first or last).
        [b'B', b'Z', b'h', ..] | [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            return Err(Error::new(Kind::UnsupportedMedia, "decompress: bzip2 and xz are not layer formats"));
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    };
    let reader = BufReader::with_capacity(BUFFER, Cursor::new(head).chain(reader));
    Ok(Sniffed { compression, reader })
}

impl<'a, R: Read + 'a> Sniffed<R> {
    /// Returns a reader of the uncompressed bytes.
    pub fn decompress(self, zstd_window_log: u32) -> Result<Box<dyn Read + 'a>> {
        Ok(match self.compression {
            Compression::None => Box::new(self.reader),
            Compression::Gzip => Box::new(MultiGzDecoder::new(self.reader)),
            Compression::Zstd => {
                let fail = |error| Error::io("start decompression", error);
                let mut decoder = zstd::stream::read::Decoder::with_buffer(self.reader).map_err(fail)?;
                decoder.window_log_max(zstd_window_log).map_err(fail)?;
                Box::new(decoder)
            }
        })
    }
}

/// Runs `consume` over the archive's bytes while another thread decompresses and hashes them.
///
/// The report has everything but what only the consumer knows.
///
/// # Errors
/// What the consumer or the decompression fails with; [`Kind::DigestMismatch`] if the diff id is another one.
pub(super) fn run(
    source: &Source,
    input: OwnedFd,
    consume: impl FnOnce(&mut Blocks) -> Result<()>,
) -> Result<LayerReport> {
    let (full_sender, full) = sync_channel(BUFFERS);
    let (empty, empty_receiver) = channel();
    for _ in 0..BUFFERS {
        // Both ends live in this function.
        empty.send(Vec::with_capacity(BUFFER)).unwrap_or_default();
    }
    let mut blocks = Blocks { full, empty, current: Vec::new(), position: 0 };
    std::thread::scope(|scope| {
        let producer = scope.spawn(move || {
            let fill = Fill { full: full_sender, empty: empty_receiver };
            let result = fill.run(source, input);
            // The consumer fails with the producer's error, as if it had met it while reading.
            result.map_err(|error| {
                let copy = Error::new(error.kind(), error.chain());
                fill.full.send(Err(error)).unwrap_or_default();
                copy
            })
        });
        let consumed = consume(&mut blocks).and_then(|()| blocks.drain());
        drop(blocks); // Stops the producer, if the consumer gave up.
        let produced = producer.join().map_err(|_| Error::new(Kind::Io, "decompress: the thread panicked"))?;
        consumed?;
        let report = produced?;
        check_diff_id(source, report)
    })
}

fn check_diff_id(source: &Source, report: LayerReport) -> Result<LayerReport> {
    match &source.diff_id {
        Some(expected) if *expected != report.diff_id => {
            let what = format!("verify layer: its diff id is {}, not {expected}", report.diff_id);
            Err(Error::new(Kind::DigestMismatch, what))
        }
        _ => Ok(report),
    }
}

struct Fill {
    full: SyncSender<Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
}

impl Fill {
    fn run(&self, source: &Source, input: OwnedFd) -> Result<LayerReport> {
        let mut counting = Counting { inner: File::from(input), count: 0, limit: source.limits.compressed };
        let sniffed = sniff(&mut counting)?;
        let compression = sniffed.compression;
        if let Some(declared) = source.compression
            && declared != compression
        {
            let what = format!("unpack layer: declared as {declared:?}, but it is {compression:?}");
            return Err(Error::new(Kind::UnsupportedMedia, what.to_lowercase()));
        }
        let algorithm = source.diff_id.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let ceiling = ceiling(source);
        let (diff_id, uncompressed_size) = {
            let reader = sniffed.decompress(source.limits.zstd_window_log)?;
            self.pump(reader, Hasher::new(algorithm), ceiling)?
        };
        let compressed_size = counting.count;
        if let Some(expected) = source.blob_size
            && expected != compressed_size
        {
            let what = format!("unpack layer: {compressed_size} bytes, not {expected} as declared");
            return Err(Error::new(Kind::DigestMismatch, what));
        }
        check_ratio(&source.limits, compressed_size, uncompressed_size)?;
        Ok(LayerReport {
            diff_id,
            compressed_size,
            uncompressed_size,
            compression,
            entries: 0,
            devices_skipped: 0,
            xattrs_dropped: 0,
        })
    }

    /// Moves everything on, and returns digest and length. Stops quietly when nobody listens any more.
    fn pump(&self, mut reader: Box<dyn Read + '_>, mut hasher: Hasher, ceiling: u64) -> Result<(Digest, u64)> {
        let mut total = 0;
        while let Ok(mut buffer) = self.empty.recv() {
            buffer.resize(BUFFER, 0);
            let len = fill(&mut reader, &mut buffer)?;
            buffer.truncate(len);
            hasher.update(&buffer);
            total += len as u64;
            if total > ceiling {
                let what = format!("decompress layer: more than {ceiling} bytes");
                return Err(Error::new(Kind::Limit, what));
            }
            if len == 0 || self.full.send(Ok(buffer)).is_err() {
                break;
            }
        }
        Ok((hasher.finish(), total))
    }
}

/// Returns how much a blob may become while its size is only declared: its ratio is checked at the end.
fn ceiling(source: &Source) -> u64 {
    let Limits { uncompressed, ratio, ratio_floor, compressed, .. } = source.limits;
    let blob = source.blob_size.unwrap_or(compressed);
    uncompressed.min(blob.saturating_mul(ratio).max(ratio_floor))
}

fn check_ratio(limits: &Limits, compressed: u64, uncompressed: u64) -> Result<()> {
    if uncompressed > limits.ratio_floor && uncompressed > compressed.saturating_mul(limits.ratio) {
        let what = format!("decompress layer: {compressed} bytes became {uncompressed}");
        return Err(Error::new(Kind::Limit, what));
    }
    Ok(())
}

/// Reads until the buffer is full or the stream ends.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match reader.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::from_read("decompress layer", error)),
        }
    }
    Ok(len)
}

struct Counting<R> {
    inner: R,
    count: u64,
    limit: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count += n as u64;
        if self.count > self.limit {
            let what = format!("read layer: more than {} bytes", self.limit);
            return Err(io::Error::other(Error::new(Kind::Limit, what)));
        }
        Ok(n)
    }
}

impl Blocks {
    /// Reads to the end, so that all is hashed. The archive's parser has already refused what does not belong there.
    fn drain(&mut self) -> Result<()> {
        loop {
            let len = self.fill_buf().map_err(|error| Error::from_read("read layer", error))?.len();
            if len == 0 {
                return Ok(());
            }
            self.consume(len);
        }
    }
}

impl Read for Blocks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buf.len());
        buf[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Blocks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() {
            let next = match self.full.recv() {
                Ok(Ok(buffer)) => buffer,
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Err(_) => Vec::new(), // The producer has ended well.
            };
            let used = std::mem::replace(&mut self.current, next);
            self.position = 0;
            // A producer that has ended wants no more buffers.
            self.empty.send(used).unwrap_or_default();
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}
