// SPDX-License-Identifier: Apache-2.0
//! Writing to a repository: blobs streamed from files, then the manifest ("Push" of the specification).

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, Url};

use super::http::{Attempt, Request, protocol};
use super::token::Scope;
use super::transfer::Transfer;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::progress::Event;

const CHUNK: usize = 256 << 10;

impl Transfer<'_> {
    /// Returns whether the repository has a blob already.
    pub(crate) fn has_remote_blob(&self, digest: &Digest) -> Result<bool> {
        let found = self.anywhere(digest.as_str(), |endpoint, _| {
            let url = self.session.url(endpoint, &format!("blobs/{digest}"))?;
            let request = Request { method: Method::HEAD, ..Request::get(url) };
            self.session.send(endpoint, &Scope::push(endpoint), &request).map(drop)
        });
        match found {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Uploads a blob of `size` bytes. `open` opens it, once per attempt.
    pub(crate) fn upload(&self, digest: &Digest, size: u64, open: &dyn Fn() -> Result<File>) -> Result<()> {
        self.anywhere(digest.as_str(), |endpoint, _| {
            let scope = Scope::push(endpoint);
            let url = self.session.url(endpoint, "blobs/uploads/")?;
            let mut begin = Request { method: Method::POST, ..Request::get(url) };
            begin.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            let started = self.session.send(endpoint, &scope, &begin)?;
            let target = upload_target(&begin.url, started.header(LOCATION.as_str()), digest)?;
            drop(started);
            let sent = Arc::new(AtomicU64::new(0));
            let make_body = || {
                sent.store(0, Ordering::Relaxed);
                Ok(reqwest::Body::wrap(FileBody {
                    file: open()?,
                    left: size,
                    sent: Arc::clone(&sent),
                    buffer: BytesMut::new(),
                }))
            };
            let tick = || self.progress.event(Event::LayerProgress { digest, done: sent.load(Ordering::Relaxed) });
            let mut put =
                Request { method: Method::PUT, body: Some(&make_body), tick: Some(&tick), ..Request::get(target) };
            put.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            put.headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
            self.session.send(endpoint, &scope, &put).map(drop)
        })
    }

    /// Puts a manifest under a tag or its digest.
    pub(crate) fn put_manifest(&self, name: &str, media_type: &str, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let content_type = HeaderValue::from_str(media_type).map_err(|error| {
            Error::new(Kind::UnsupportedMedia, format!("push manifest {digest}")).with_source(error)
        })?;
        self.anywhere(name, |endpoint, _| {
            let url = self.session.url(endpoint, &format!("manifests/{name}"))?;
            let make_body = || Ok(Bytes::copy_from_slice(bytes).into());
            let mut put = Request { method: Method::PUT, body: Some(&make_body), ..Request::get(url) };
            put.headers.insert(CONTENT_TYPE, content_type.clone());
            let answer = self.session.send(endpoint, &Scope::push(endpoint), &put)?;
            match answer.header("docker-content-digest") {
                Some(stored) if stored != digest.as_str() => {
                    let what = format!("push manifest {digest}: the registry stored {stored:?}");
                    Err(Error::new(Kind::DigestMismatch, what).into())
                }
                _ => Ok(()),
            }
        })
    }
}

/// Returns where the blob is to be sent. Only the registry itself may be named: the request is authorized.
fn upload_target(begin: &Url, location: Option<&str>, digest: &Digest) -> Attempt<Url> {
    let location = location.ok_or_else(|| protocol(begin, "names no address to upload to"))?;
    let mut target = begin
        .join(location)
        .map_err(|error| protocol(begin, "names a malformed address to upload to").with_source(error))?;
    if target.host_str() != begin.host_str() || target.port_or_known_default() != begin.port_or_known_default() {
        return Err(protocol(begin, "names another host to upload to").into());
    }
    // A registry behind a proxy that ends TLS may not know its own scheme.
    if target.scheme() != begin.scheme() && target.set_scheme(begin.scheme()).is_err() {
        return Err(protocol(begin, "names another scheme to upload to").into());
    }
    target.query_pairs_mut().append_pair("digest", digest.as_str());
    Ok(target)
}

/// A file as the body of a request. Reads block, which is right in a runtime that serves this request only.
struct FileBody {
    file: File,
    left: u64,
    sent: Arc<AtomicU64>,
    buffer: BytesMut,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let want = usize::try_from(this.left).map_or(CHUNK, |left| left.min(CHUNK));
        this.buffer.resize(want, 0);
        let read = this.file.read(&mut this.buffer);
        Poll::Ready(Some(match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                this.left -= n as u64;
                this.sent.fetch_add(n as u64, Ordering::Relaxed);
                Ok(Frame::data(this.buffer.split_to(n).freeze()))
            }
            Err(error) => Err(error),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_stays_with_its_registry() {
        let begin = Url::parse("https://r.io/v2/a/blobs/uploads/").unwrap();
        let digest = Digest::sha256_of(b"");
        let target = |location| upload_target(&begin, location, &digest);
        let shown = format!("https://r.io/u/1?_state=x&digest=sha256%3A{}", digest.hex());
        for location in ["/u/1?_state=x", "https://r.io/u/1?_state=x", "http://r.io:443/u/1?_state=x"] {
            assert_eq!(target(Some(location)).unwrap().as_str(), shown, "{location}");
        }
        for location in [None, Some("https://evil.io/u"), Some("https://r.io:8443/u"), Some("http://[")] {
            assert!(target(location).is_err(), "{location:?}");
        }
    }
}
