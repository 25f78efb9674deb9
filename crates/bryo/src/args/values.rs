// SPDX-License-Identifier: Apache-2.0
//! Values that only the command line knows.

use std::net::IpAddr;
use std::path::PathBuf;

use bryo_engine::error::{Error, Kind, Result};
use bryo_engine::options::{self, Pull, RunOptions};

use super::Environment;

fn invalid(what: &str, text: &str, why: &str) -> Error {
    Error::new(Kind::InvalidOption, format!("invalid {what} {text:?}: {why}"))
}

pub(super) fn pull(text: &str) -> Result<Pull> {
    match text {
        "always" => Ok(Pull::Always),
        "missing" => Ok(Pull::Missing),
        "never" => Ok(Pull::Never),
        _ => Err(invalid("--pull", text, "always, missing and never are known")),
    }
}

/// Checks a platform without changing its words. Source: the OCI image index, `platform`.
pub(super) fn platform(text: String) -> Result<String> {
    match text.parse::<bryo_image::registry::Platform>() {
        Ok(_) => Ok(text),
        Err(_) => Err(invalid("platform", &text, "expected OS/ARCH[/VARIANT], such as linux/arm64")),
    }
}

/// Tells whether the user inside is to be the caller.
pub(super) fn keep_id(mode: &str) -> Result<bool> {
    let refuse = |why: &str| Err(Error::new(Kind::Unsupported, format!("--userns {mode}: {why}; nothing was started")));
    match mode {
        "keep-id" => Ok(true),
        "auto" | "private" | "nomap" => Ok(false),
        "host" => refuse("a container without a user namespace of its own would be you, or root; leave it out"),
        _ if mode.starts_with("keep-id:") || mode.starts_with("auto:") => {
            refuse("the ids cannot be chosen in this version; use the word alone")
        }
        _ if mode.starts_with("container:") || mode.starts_with("ns:") => {
            refuse("user namespaces are never shared; leave it out")
        }
        _ => Err(invalid("--userns", mode, "keep-id and auto are known")),
    }
}

/// Parses a number of seconds; Docker's `-1` is as long as it takes.
pub(super) fn seconds(text: String) -> Result<u64> {
    match text.as_str() {
        "-1" => Ok(u64::from(u32::MAX)),
        number => number.parse().map_err(|_| invalid("--stop-timeout", number, "expected a number of seconds")),
    }
}

pub(super) fn workdir(text: String) -> Result<PathBuf> {
    let path = PathBuf::from(&text);
    if path.is_absolute() && !text.contains('\0') {
        return Ok(path);
    }
    Err(invalid("working directory", &text, "it must be an absolute path"))
}

/// Takes one `-e`: a name alone has the caller's value, or takes the variable away if the caller has none.
/// Source: Docker's `docker run` reference, `--env`.
pub(super) fn variable(text: String, env: &Environment<'_>, options: &mut RunOptions) -> Result<()> {
    let (name, value) = text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
    if name.is_empty() || name.contains(char::is_whitespace) || text.contains('\0') {
        return Err(invalid("variable", &text, "expected NAME=VALUE, or the NAME of a variable of yours"));
    }
    let value = value.map(str::to_owned).or_else(|| (env.variable)(name));
    let assigns = |line: &String| line.split_once('=').is_some_and(|(earlier, _)| earlier == name);
    options.env.retain(|line| !assigns(line));
    match value {
        Some(value) => {
            options.unset_env.retain(|unset| unset != name);
            options.env.push(format!("{name}={value}"));
        }
        None => options.unset_env.push(name.to_owned()),
    }
    Ok(())
}

/// Checks a host name. Source: `gethostname(2)` for its length, RFC 1123 section 2.1 for its letters; underscores are
/// in use.
pub(super) fn hostname(text: String) -> Result<String> {
    let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if letters && text.len() <= 64 && !text.starts_with(['-', '.']) {
        return Ok(text);
    }
    Err(invalid("host name", &text, "use up to 64 letters, digits, '-' and '.'"))
}

/// Takes one `--add-host`. Docker's `host-gateway` would be a way to the host, which the private network has not.
pub(super) fn host_line(text: &str) -> Result<(String, String)> {
    if !text.ends_with("host-gateway") {
        return options::add_host(text);
    }
    let why = "the private network has no way to the host; leave it out, or use --network host and 127.0.0.1";
    Err(Error::new(Kind::Unsupported, format!("--add-host {text}: {why}; nothing was started")))
}

pub(super) fn name_server(text: String) -> Result<String> {
    match text.parse::<IpAddr>() {
        Ok(_) => Ok(text),
        Err(_) => Err(invalid("name server", &text, "expected an address")),
    }
}

/// Checks what becomes a word of a line of `resolv.conf`.
pub(super) fn resolver_word(what: &str, text: String) -> Result<String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text);
    }
    Err(invalid(what, &text, "expected one word"))
}
