// SPDX-License-Identifier: Apache-2.0
//! A file of any server, by its address: what `ADD` of a Dockerfile fetches.

use std::io::Write;

use super::RegistryOptions;
use super::http::{Answer, Attempt, Client, Request, Session, authority_of, parse_url};
use super::retry::Hope;
use crate::error::{Error, Kind, Result};

/// How often a fetch is begun. What was written is gone with the attempt.
const ATTEMPTS: u32 = 3;

/// Fetches a file. Plain HTTP is for callers that verify what comes: `http` permits it for this address's own host.
/// `begin` is called before each attempt and returns where the file goes. Returns the time that the server says that it
/// was changed, in the form that it has there (RFC 9110, "Last-Modified").
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Unreachable`], [`Kind::Unauthorized`]; [`Kind::Limit`] above `max` bytes.
pub fn fetch<W: Write>(
    url: &str,
    options: &RegistryOptions,
    http: bool,
    max: u64,
    mut begin: impl FnMut() -> Result<W>,
) -> Result<Option<String>> {
    let parsed = parse_url(url)?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(Error::new(Kind::Unreachable, format!("fetch {url}: an address is http:// or https://")));
    }
    let mut options = options.clone();
    if http && parsed.scheme() == "http" {
        options.insecure.push(authority_of(&parsed));
    }
    let client = Client::new(&options)?;
    let session = client.session()?;
    let mut attempt = 1;
    loop {
        let mut output = begin()?;
        match read(&session, &Request::get(parsed.clone()), max, &mut output) {
            Ok(modified) => return Ok(modified),
            Err(failure) if attempt < ATTEMPTS && failure.hope != Hope::None => attempt += 1,
            Err(failure) => return Err(failure.error.within(format!("fetch {url}"))),
        }
    }
}

fn read(session: &Session<'_>, request: &Request<'_>, max: u64, output: &mut impl Write) -> Attempt<Option<String>> {
    let mut answer: Answer<'_> = session.accept(session.follow(request, None)?)?;
    let modified = answer.header("last-modified").map(str::to_owned);
    let mut total = 0;
    while let Some(chunk) = answer.chunk()? {
        total += chunk.len() as u64;
        if total > max {
            return Err(Error::new(Kind::Limit, format!("read: more than {max} bytes")).into());
        }
        output.write_all(&chunk).map_err(|error| Error::io("write what was fetched", error))?;
    }
    output.flush().map_err(|error| Error::io("write what was fetched", error))?;
    Ok(modified)
}
