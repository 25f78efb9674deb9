// SPDX-License-Identifier: Apache-2.0
//! Requests and answers: which transport a host gets, redirects, statuses, and failures in plain words.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url, redirect};
use rustls::ClientConfig;
use tokio::runtime::{Builder, Runtime};

use super::endpoint::Endpoint;
use super::proxy::Routes;
use super::retry::{Failure, Hope};
use super::token::Scope;
use super::{RegistryOptions, tls};
use crate::error::{Error, Kind, Result};

const REDIRECTS_MAX: u32 = 5;
const ERROR_BODY_MAX: u64 = 16 << 10;
const TICK: Duration = Duration::from_millis(200);

/// The result of one attempt.
pub(super) type Attempt<T> = std::result::Result<T, Failure>;

/// What all threads of one pull or push share: options, tokens, and what was learnt about hosts.
#[derive(Debug)]
pub(crate) struct Client<'o> {
    pub(super) options: &'o RegistryOptions,
    routes: Routes,
    verifying: OnceLock<ClientConfig>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The `Authorization` header for an authority and a scope.
    headers: HashMap<(String, Scope), String>,
    /// The scheme that an insecure host answered to.
    schemes: HashMap<String, &'static str>,
    /// The authorities that have answered.
    reached: HashSet<String>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("reached", &self.reached).finish_non_exhaustive()
    }
}

/// One thread's connections.
#[derive(Debug)]
pub(crate) struct Session<'o> {
    pub(super) client: &'o Client<'o>,
    runtime: Runtime,
    secure: OnceCell<reqwest::Client>,
    insecure: OnceCell<reqwest::Client>,
}

/// A request that can be sent more than once.
pub(super) struct Request<'r> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Makes the body, once per attempt.
    pub(super) body: Option<&'r dyn Fn() -> Result<reqwest::Body>>,
    /// Is called a few times per second while the answer is awaited.
    pub(super) tick: Option<&'r dyn Fn()>,
}

impl Request<'_> {
    pub(super) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: None, tick: None }
    }
}

/// An answer of status 2xx whose body is still to be read.
pub(super) struct Answer<'s> {
    session: &'s Session<'s>,
    pub(super) response: Response,
    peer: String,
}

impl<'o> Client<'o> {
    /// Understands the options.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] for a proxy that is none.
    pub(crate) fn new(options: &'o RegistryOptions) -> Result<Self> {
        let routes = Routes::parse(&options.proxies)?;
        Ok(Self { options, routes, verifying: OnceLock::new(), known: Mutex::default() })
    }

    /// Makes the connections of one thread; none is opened yet.
    pub(crate) fn session(&'o self) -> Result<Session<'o>> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| Error::io("set up the network runtime", error))?;
        Ok(Session { client: self, runtime, secure: OnceCell::new(), insecure: OnceCell::new() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn header(&self, authority: &str, scope: &Scope) -> Option<String> {
        self.known().headers.get(&(authority.to_owned(), scope.clone())).cloned()
    }

    pub(super) fn remember_header(&self, authority: &str, scope: &Scope, header: String) {
        self.known().headers.insert((authority.to_owned(), scope.clone()), header);
    }

    pub(super) fn was_reached(&self, authority: &str) -> bool {
        self.known().reached.contains(authority)
    }

    fn verifying(&self) -> Result<ClientConfig> {
        if let Some(config) = self.verifying.get() {
            return Ok(config.clone());
        }
        let config = tls::verifying(&self.options.ca_bundles, &self.options.extra_cas)?;
        Ok(self.verifying.get_or_init(|| config).clone())
    }

    /// Names who answers for a URL: its host, and the proxy between.
    pub(super) fn peer(&self, url: &Url) -> String {
        let authority = authority_of(url);
        match self.routes.proxy_of(url) {
            Some(proxy) => format!("{authority} through the proxy {}", authority_of(proxy)),
            None => authority,
        }
    }

    fn build(&self, config: ClientConfig) -> Result<reqwest::Client> {
        let fail = |error: reqwest::Error| Error::new(Kind::Io, "set up the HTTP client").with_source(error);
        let options = self.options;
        let routes = self.routes.clone();
        reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .user_agent(concat!("bryo/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.read_timeout)
            .no_proxy()
            .proxy(reqwest::Proxy::custom(move |url| routes.proxy_of(url).cloned()))
            .build()
            .map_err(fail)
    }
}

impl Session<'_> {
    /// Returns the URL of something below a repository, such as `manifests/latest`.
    pub(super) fn url(&self, endpoint: &Endpoint, rest: &str) -> Attempt<Url> {
        let scheme = self.scheme(endpoint.authority())?;
        parse_url(&format!("{scheme}://{}/v2/{}/{rest}", endpoint.authority(), endpoint.path)).map_err(Failure::from)
    }

    /// Returns the URL by which a registry is asked whether it is one.
    pub(super) fn base(&self, endpoint: &Endpoint) -> Attempt<Url> {
        let scheme = self.scheme(endpoint.authority())?;
        parse_url(&format!("{scheme}://{}/v2/", endpoint.authority())).map_err(Failure::from)
    }

    /// Tells the scheme of a host: HTTPS, unless it is named as insecure and only speaks HTTP.
    fn scheme(&self, authority: &str) -> Attempt<&'static str> {
        if !self.client.options.is_insecure(authority) {
            return Ok("https");
        }
        if let Some(scheme) = self.client.known().schemes.get(authority) {
            return Ok(scheme);
        }
        let probe = |scheme| -> Attempt<&'static str> {
            let url = parse_url(&format!("{scheme}://{authority}/v2/"))?;
            match self.exchange(&Request::get(url.clone()), &url, None)?.status() {
                // So servers of TLS answer plain HTTP.
                StatusCode::BAD_REQUEST => Err(protocol(&url, "answers 400 Bad Request to /v2/").into()),
                _ => Ok(scheme),
            }
        };
        let scheme = probe("https").or_else(|failure| probe("http").map_err(|_| failure))?;
        self.client.known().schemes.insert(authority.to_owned(), scheme);
        Ok(scheme)
    }

    /// Sends a request to a registry, with what authorization it asks for, and returns a successful answer.
    pub(super) fn send(&self, endpoint: &Endpoint, scope: &Scope, request: &Request<'_>) -> Attempt<Answer<'_>> {
        let authority = authority_of(&request.url);
        let mut header = self.client.header(&authority, scope);
        for last in [false, true] {
            let response = self.follow(request, header.as_deref())?;
            if response.status() != StatusCode::UNAUTHORIZED || last {
                return self.accept(response);
            }
            match self.authorize(endpoint, scope, &response)? {
                Some(found) => {
                    self.client.remember_header(&authority, scope, found.clone());
                    header = Some(found);
                }
                None => return self.accept(response),
            }
        }
        Err(Error::new(Kind::Unauthorized, format!("ask {authority}")).into())
    }

    /// Follows redirects of reading requests. Every hop is judged by its own host; authorization stays
    /// with the host it is for.
    pub(super) fn follow(&self, request: &Request<'_>, authorization: Option<&str>) -> Attempt<Response> {
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let same_origin = url.origin() == request.url.origin();
            let response = self.exchange(request, &url, authorization.filter(|_| same_origin))?;
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let (true, true, Some(target)) = (reads, response.status().is_redirection(), target) else {
                return Ok(response);
            };
            let next = url.join(target);
            url = next.map_err(|error| protocol(&url, "redirects to a malformed address").with_source(error))?;
        }
        Err(protocol(&request.url, "redirects too often").into())
    }

    /// Sends one request over the transport its host is entitled to.
    pub(super) fn exchange(&self, request: &Request<'_>, url: &Url, authorization: Option<&str>) -> Attempt<Response> {
        let authority = authority_of(url);
        let http = self.http_for(url, &authority)?;
        let mut builder = http.request(request.method.clone(), url.clone()).headers(request.headers.clone());
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if let Some(make_body) = request.body {
            builder = builder.body(make_body()?);
        }
        let response = self.runtime.block_on(async {
            let mut sending = Box::pin(builder.send());
            loop {
                let Some(tick) = request.tick else { return sending.await };
                match tokio::time::timeout(TICK, &mut sending).await {
                    Ok(response) => return response,
                    Err(_) => tick(),
                }
            }
        });
        let response = response.map_err(|error| broken(&self.client.peer(url), error))?;
        self.client.known().reached.insert(authority);
        Ok(response)
    }

    fn http_for(&self, url: &Url, authority: &str) -> Result<&reqwest::Client> {
        let (cell, insecure) = match (self.client.options.is_insecure(authority), url.scheme()) {
            (true, "http" | "https") => (&self.insecure, true),
            (false, "https") => (&self.secure, false),
            _ => {
                let what =
                    format!("reach {authority}: {} is not allowed for a host not named as insecure", url.scheme());
                return Err(Error::new(Kind::Unreachable, what));
            }
        };
        if let Some(http) = cell.get() {
            return Ok(http);
        }
        let config = if insecure { tls::insecure()? } else { self.client.verifying()? };
        let http = self.client.build(config)?;
        Ok(cell.get_or_init(|| http))
    }

    /// Turns a response into an answer, or its status into a failure.
    pub(super) fn accept(&self, response: Response) -> Attempt<Answer<'_>> {
        let peer = self.client.peer(response.url());
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let answer = Answer { session: self, response, peer };
        if status.is_success() {
            return Ok(answer);
        }
        let head = answer.response.url().path().to_owned();
        let peer = answer.peer.clone();
        let body = answer.read_start(ERROR_BODY_MAX).unwrap_or_default();
        let (kind, hope) = match status {
            StatusCode::NOT_FOUND => (Kind::NotFound, Hope::None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (Kind::Unauthorized, Hope::None),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let pause = retry_after.map_or(Hope::Transient, |seconds| Hope::After(Duration::from_secs(seconds)));
                (Kind::Registry, pause)
            }
            StatusCode::REQUEST_TIMEOUT => (Kind::Registry, Hope::Transient),
            _ if status.is_server_error() => (Kind::Registry, Hope::Transient),
            _ => (Kind::Registry, Hope::None),
        };
        let error = Error::new(kind, format!("{peer} answers {status} for {head}{}", explanation(&body)));
        Err(Failure { error, hope })
    }
}

impl Answer<'_> {
    /// Reads the next piece of the body.
    pub(super) fn chunk(&mut self) -> Attempt<Option<Bytes>> {
        let chunk = self.session.runtime.block_on(self.response.chunk());
        chunk.map_err(|error| broken(&self.peer, error))
    }

    /// Reads the whole body.
    pub(super) fn read_all(mut self, max: u64) -> Attempt<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk()? {
            if (bytes.len() + chunk.len()) as u64 > max {
                let what = format!("read from {}: more than {max} bytes", self.peer);
                return Err(Error::new(Kind::Limit, what).into());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn read_start(mut self, max: u64) -> Attempt<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk()? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > max {
                break;
            }
        }
        Ok(bytes)
    }

    /// Returns a header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}

/// Returns host and port of a URL; a scheme's own port is left out.
pub(super) fn authority_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

pub(super) fn parse_url(text: &str) -> Result<Url> {
    Url::parse(text)
        .map_err(|error| Error::new(Kind::InvalidReference, format!("parse address {text:?}")).with_source(error))
}

/// Makes the error for a server that breaks the protocol.
pub(super) fn protocol(url: &Url, what: &str) -> Error {
    Error::new(Kind::Registry, format!("{} {what}", authority_of(url)))
}

/// Says why no answer came. The URL is left out: after a redirect it may hold a signature.
fn broken(peer: &str, error: reqwest::Error) -> Failure {
    let mut root: &(dyn StdError + 'static) = &error;
    let (mut io_kind, mut tls) = (None, false);
    loop {
        if let Some(io) = root.downcast_ref::<io::Error>() {
            io_kind = Some(io.kind());
        }
        tls |= root.downcast_ref::<rustls::Error>().is_some();
        // An input/output error shows its inner error instead of naming it as the source.
        let inner = root.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inner.map(|inner| inner as &(dyn StdError + 'static)).or(root.source()) {
            Some(source) => root = source,
            None => break,
        }
    }
    let hope = match io_kind {
        _ if tls || error.is_builder() => Hope::None,
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => Hope::Transient,
        _ if error.is_timeout() => Hope::Transient,
        _ if error.is_connect() => Hope::Refused,
        _ => Hope::Transient,
    };
    let doing = if error.is_connect() { "connect to" } else { "exchange data with" };
    let cause = if error.is_timeout() { "it did not answer in time".to_owned() } else { root.to_string() };
    Failure { error: Error::new(Kind::Unreachable, format!("{doing} {peer}")).with_source(cause), hope }
}

/// Extracts the messages of an error body ("Error Codes" of the distribution specification; of token services, RFC 6749,
/// section 5.2).
fn explanation(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Body {
        Registry { errors: Vec<Item> },
        Tokens { error: String, error_description: Option<String> },
    }
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let texts = match serde_json::from_slice::<Body>(body) {
        Ok(Body::Registry { errors }) => {
            errors.into_iter().take(3).map(|item| format!("{} {}", item.code, item.message)).collect()
        }
        Ok(Body::Tokens { error, error_description }) => {
            vec![format!("{error} {}", error_description.unwrap_or_default())]
        }
        Err(_) => Vec::new(),
    };
    let text: String = texts.join(", ").chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().is_empty() { String::new() } else { format!(" ({})", text.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_has_no_default_port() {
        for (url, authority) in [
            ("https://r.io/v2/", "r.io"),
            ("https://r.io:443/v2/", "r.io"),
            ("https://r.io:5000/v2/", "r.io:5000"),
            ("http://[::1]:5000/", "[::1]:5000"),
        ] {
            assert_eq!(authority_of(&Url::parse(url).unwrap()), authority);
        }
    }

    #[test]
    fn an_error_body_is_shown_tamed() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m way","detail":{}}]}"#;
        assert_eq!(explanation(body), " (DENIED no [31m way)");
        assert_eq!(explanation(b"<html>"), "");
        assert_eq!(explanation(br#"{"errors":[]}"#), "");
        assert_eq!(explanation(br#"{"error":"invalid_grant"}"#), " (invalid_grant)");
        let described = br#"{"error":"invalid_grant","error_description":"too\u0007 old"}"#;
        assert_eq!(explanation(described), " (invalid_grant too  old)");
    }

    #[test]
    fn plain_http_needs_the_hosts_exact_name() {
        let options = RegistryOptions { insecure: vec!["a.io:5000".into()], ..RegistryOptions::default() };
        let client = Client::new(&options).unwrap();
        let session = client.session().unwrap();
        for (url, allowed) in [
            ("http://a.io:5000/", true),
            ("https://a.io:5000/", true),
            ("http://a.io/", false),
            ("http://127.0.0.1:5000/", false),
            ("ftp://a.io:5000/", false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(session.http_for(&url, &authority_of(&url)).is_ok(), allowed, "{url}");
        }
    }
}
