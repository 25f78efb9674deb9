// SPDX-License-Identifier: Apache-2.0
//! Reading from a repository: failover between its servers, retries, and blobs that continue where they broke.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};

use super::endpoint::Endpoint;
use super::http::{Answer, Attempt, Request, Session};
use super::retry::{Attempts, Failure, Hope};
use super::token::Scope;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Kind, Result};
use crate::progress::{Event, Progress};
use crate::store::BlobWriter;

/// The bytes after which earlier failures of a transfer no longer count, so that a server which drips cannot
/// keep it going for ever.
const PROGRESS_THAT_COUNTS: u64 = 4 << 20;

/// One thread's use of one repository. The last endpoint is the registry itself.
#[derive(Clone, Copy)]
pub(crate) struct Transfer<'t> {
    pub(super) session: &'t Session<'t>,
    endpoints: &'t [Endpoint],
    pub(crate) progress: &'t dyn Progress,
    stop: &'t AtomicBool,
}

/// Is told of every step of a blob's download.
pub(crate) trait BlobWatch {
    /// So many bytes are in the file. An error ends the download.
    fn available(&self, len: u64) -> Result<()>;
}

impl<'t> Transfer<'t> {
    pub(crate) fn new(
        session: &'t Session<'t>,
        endpoints: &'t [Endpoint],
        progress: &'t dyn Progress,
        stop: &'t AtomicBool,
    ) -> Self {
        Self { session, endpoints, progress, stop }
    }

    /// Returns the same without mirrors.
    pub(crate) fn origin_only(&self) -> Self {
        Self { endpoints: &self.endpoints[self.endpoints.len() - 1..], ..*self }
    }

    /// Fails if another part of the same operation has failed.
    fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(cancelled()) } else { Ok(()) }
    }

    /// Runs `try_at` against each server in order, and again after a pause, until one succeeds.
    ///
    /// The error is the origin's: that a mirror failed is of no interest when the registry works.
    pub(super) fn anywhere<T>(
        &self,
        object: &str,
        mut try_at: impl FnMut(&Endpoint, &mut Attempts) -> Attempt<T>,
    ) -> Result<T> {
        let mut attempts = Attempts::new(self.session.client.options.retry);
        loop {
            let mut failure = None;
            let mut reached = false;
            for endpoint in self.endpoints {
                self.check_stop()?;
                reached = self.session.client.was_reached(endpoint.authority());
                match try_at(endpoint, &mut attempts) {
                    Ok(value) => return Ok(value),
                    Err(found) if is_local(found.error.kind()) => return Err(found.error),
                    Err(found) => failure = Some(found),
                }
            }
            let Some(Failure { error, hope }) = failure else { return Err(cancelled()) };
            let Some(pause) = attempts.failed(hope, reached) else { return Err(error) };
            let reason = error.chain();
            self.progress.event(Event::Retry { object, attempt: attempts.next(), pause, reason: &reason });
            self.pause(pause)?;
        }
    }

    fn pause(&self, pause: Duration) -> Result<()> {
        let end = Instant::now() + pause;
        loop {
            self.check_stop()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Fetches a small blob into memory and verifies it.
    ///
    /// # Errors
    /// [`Kind::DigestMismatch`] if it is another one, [`Kind::Limit`] above `max` bytes.
    pub(crate) fn small_blob(&self, digest: &Digest, size: u64, max: u64) -> Result<Vec<u8>> {
        if size > max {
            return Err(Error::new(Kind::Limit, format!("fetch blob {digest}: {size} bytes, more than {max}")));
        }
        self.anywhere(digest.as_str(), |endpoint, _| {
            let url = self.session.url(endpoint, &format!("blobs/{digest}"))?;
            let answer = self.session.send(endpoint, &Scope::pull(endpoint), &Request::get(url))?;
            let bytes = answer.read_all(max)?;
            if (bytes.len() as u64) < size {
                return Err(Failure::transient(short(digest, bytes.len() as u64, size)));
            }
            verify(digest, &bytes)?;
            if bytes.len() as u64 != size {
                let what = format!("verify blob {digest}: {} bytes, but {size} are declared", bytes.len());
                return Err(Error::new(Kind::DigestMismatch, what).into());
            }
            Ok(bytes)
        })
    }

    /// Completes a blob's partial file. What was there is kept; the caller commits, which verifies all of it.
    pub(crate) fn blob(
        &self,
        digest: &Digest,
        size: u64,
        writer: &mut BlobWriter,
        watch: &dyn BlobWatch,
    ) -> Result<()> {
        if writer.len() == size {
            return Ok(());
        }
        let mut counted = writer.len();
        self.anywhere(digest.as_str(), |endpoint, attempts| {
            let result = self.blob_from(endpoint, (digest, size), writer, watch);
            if writer.len() >= counted.saturating_add(PROGRESS_THAT_COUNTS) {
                counted = writer.len();
                attempts.progressed();
            }
            result
        })
    }

    fn blob_from(
        &self,
        endpoint: &Endpoint,
        (digest, size): (&Digest, u64),
        writer: &mut BlobWriter,
        watch: &dyn BlobWatch,
    ) -> Attempt<()> {
        let start = writer.len();
        let mut request = Request::get(self.session.url(endpoint, &format!("blobs/{digest}"))?);
        if start > 0 {
            let value = HeaderValue::from_str(&format!("bytes={start}-"));
            request.headers.insert(RANGE, value.expect("digits are a header's value"));
        }
        let answer = self.session.send(endpoint, &Scope::pull(endpoint), &request);
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(failure) if start > 0 && failure.error.kind() == Kind::Registry && failure.hope == Hope::None => {
                // A server that refuses the range (416) may still give the whole.
                writer.restart()?;
                return Err(Failure::transient(failure.error));
            }
            Err(failure) => return Err(failure),
        };
        let mut skip = check_range(&answer, digest, start, size)?;
        while let Some(mut chunk) = answer.chunk()? {
            self.check_stop()?;
            let skipped = usize::try_from(skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
            drop(chunk.split_to(skipped));
            skip -= skipped as u64;
            if writer.len() + chunk.len() as u64 > size {
                // Forgotten, since nothing tells which of the bytes are wrong.
                writer.restart()?;
                let what = format!("fetch blob {digest}: more than the declared {size} bytes");
                return Err(Error::new(Kind::DigestMismatch, what).into());
            }
            writer.write_all(&chunk).map_err(|error| Error::io(format!("write blob {digest}"), error))?;
            watch.available(writer.len())?;
        }
        if writer.len() < size {
            return Err(Failure::transient(short(digest, writer.len(), size)));
        }
        Ok(())
    }
}

/// Checks what part of a blob an answer holds, and returns how many of its bytes are there already.
fn check_range(answer: &Answer<'_>, digest: &Digest, start: u64, size: u64) -> Result<u64> {
    let fail = |why: String| Err(Error::new(Kind::Registry, format!("fetch blob {digest}: {why}")));
    if answer.response.status() == StatusCode::PARTIAL_CONTENT {
        let range = answer.header(CONTENT_RANGE.as_str()).unwrap_or_default();
        let first = range.strip_prefix("bytes ").and_then(|rest| rest.split('-').next()?.parse::<u64>().ok());
        return if first == Some(start) { Ok(0) } else { fail(format!("asked for byte {start}, got {range:?}")) };
    }
    match answer.response.content_length() {
        Some(len) if len != size => {
            let what = format!("fetch blob {digest}: {len} bytes are offered, but {size} are declared");
            Err(Error::new(Kind::DigestMismatch, what))
        }
        _ => Ok(start),
    }
}

/// Verifies the digest of bytes in memory.
pub(super) fn verify(digest: &Digest, bytes: &[u8]) -> Result<()> {
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(bytes);
    let found = hasher.finish();
    if found == *digest {
        return Ok(());
    }
    Err(Error::new(Kind::DigestMismatch, format!("verify {digest}: the registry's content is {found}")))
}

/// Makes the error of a part that ended because another one failed; the caller reports that one.
pub(crate) fn cancelled() -> Error {
    Error::new(Kind::Busy, "transfer stopped")
}

fn short(digest: &Digest, len: u64, size: u64) -> Error {
    Error::new(Kind::Unreachable, format!("fetch blob {digest}: the connection ended after {len} of {size} bytes"))
}

/// Tells failures of this machine, which no other server can mend.
fn is_local(kind: Kind) -> bool {
    matches!(kind, Kind::NoSpace | Kind::Io | Kind::Busy)
}
