// SPDX-License-Identifier: Apache-2.0
//! `-p` and `--expose`. Source: Docker's `docker run` reference.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use bryo_net::publish::{Protocol, Wanted};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// A port of a container: `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port {
    /// The number, which is not 0.
    pub number: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl From<Port> for String {
    fn from(port: Port) -> Self {
        port.to_string()
    }
}

impl TryFrom<String> for Port {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Port {
    type Err = Error;

    /// Parses `PORT[/PROTOCOL]`.
    fn from_str(text: &str) -> Result<Self> {
        let (number, protocol) = split_protocol(text)?;
        match number.parse::<u16>() {
            Ok(n) if n > 0 && is_number(number) => Ok(Self { number: n, protocol }),
            _ => Err(invalid(text, "a port is a number from 1 to 65535")),
        }
    }
}

/// A port that is to be published, in the words of `-p`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Publish(pub Wanted);

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wanted { address, host, container, protocol } = &self.0;
        match address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => (),
        }
        match host.as_ref().map(|range| (range.start(), range.end())) {
            Some((start, end)) if start == end => write!(f, "{start}:")?,
            Some((start, end)) => write!(f, "{start}-{end}:")?,
            None if address.is_some() => f.write_str(":")?,
            None => (),
        }
        write!(f, "{container}/{protocol}")
    }
}

impl From<Publish> for String {
    fn from(publish: Publish) -> Self {
        publish.to_string()
    }
}

impl TryFrom<String> for Publish {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        match publish(&text)?.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(invalid(&text, "it is more than one")),
        }
    }
}

/// Parses `[ADDRESS:][HOST_PORT:]PORT[/PROTOCOL]`, in which ports may be ranges, or `published=,target=,protocol=`.
///
/// Without a port of the host the kernel chooses one. A range of the host is as long as that of the container, or there
/// to choose from for one port of the container.
///
/// # Errors
///
/// [`Kind::InvalidOption`] for what is not understood, [`Kind::Unsupported`] for a protocol without a forwarder.
pub fn publish(text: &str) -> Result<Vec<Publish>> {
    if text.contains('=') {
        return publish(&short(text)?);
    }
    let (ports, protocol) = split_protocol(text)?;
    let (address, host, container) = split(text, ports)?;
    let container = range(text, container)?;
    let host = Some(host).filter(|h| !h.is_empty() && *h != "0").map(|h| range(text, h)).transpose()?;
    let each = |container, host| Publish(Wanted { address, host, container, protocol });
    Ok(match host {
        None => container.map(|port| each(port, None)).collect(),
        Some(host) if host.len() == container.len() => {
            container.zip(host).map(|(port, host)| each(port, Some(host..=host))).collect()
        }
        Some(host) if container.len() == 1 => vec![each(*container.start(), Some(host))],
        Some(_) => return Err(invalid(text, "the two ranges are not of one length")),
    })
}

/// Parses `PORT[-PORT][/PROTOCOL]`.
///
/// # Errors
///
/// As [`publish`].
pub fn expose(text: &str) -> Result<Vec<Port>> {
    let (ports, protocol) = split_protocol(text)?;
    Ok(range(text, ports)?.map(|number| Port { number, protocol }).collect())
}

/// Turns Docker's long form into the short one.
fn short(text: &str) -> Result<String> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            // Of swarms, which have another word for it.
            Some(("mode", "host" | "ingress")) => (),
            _ => return Err(invalid(text, "published=, target= and protocol= are known")),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

fn split_protocol(text: &str) -> Result<(&str, Protocol)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => Ok((ports, Protocol::Tcp)),
        "udp" => Ok((ports, Protocol::Udp)),
        "sctp" => {
            let why = format!("port {text:?}: pasta forwards tcp and udp; nothing was started");
            Err(Error::new(Kind::Unsupported, why))
        }
        _ => Err(invalid(text, "the protocols are tcp and udp")),
    }
}

/// Splits at the last colons: what is before them is an address, which may have colons itself.
fn split<'a>(text: &str, ports: &'a str) -> Result<(Option<IpAddr>, &'a str, &'a str)> {
    let Some((rest, container)) = ports.rsplit_once(':') else { return Ok((None, "", ports)) };
    let Some((address, host)) = rest.rsplit_once(':') else { return Ok((None, rest, container)) };
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    match bare.parse() {
        Ok(address) => Ok((Some(address), host, container)),
        Err(_) if address.is_empty() => Ok((None, host, container)),
        Err(_) => Err(invalid(text, "it begins with what is no address")),
    }
}

fn range(text: &str, ports: &str) -> Result<RangeInclusive<u16>> {
    let (start, end) = ports.split_once('-').unwrap_or((ports, ports));
    match (start.parse::<u16>(), end.parse::<u16>()) {
        (Ok(start_port), Ok(end_port)) if is_number(start) && is_number(end) && 0 < start_port => {
            if start_port > end_port {
                return Err(invalid(text, "a range begins with its lowest port"));
            }
            Ok(start_port..=end_port)
        }
        _ => Err(invalid(text, "a port is a number from 1 to 65535, a range is two of them with a \"-\"")),
    }
}

/// A sign would be taken for part of a number.
fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn invalid(text: &str, why: &str) -> Error {
    Error::new(Kind::InvalidOption, format!("invalid port {text:?}: {why}; expected [[ADDRESS:]HOST:]PORT[/PROTOCOL]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let all = publish(text).map(|all| all.iter().map(Publish::to_string).collect::<Vec<_>>().join(", "));
        all.unwrap_or_else(|e| format!("{:?}", e.kind()))
    }

    #[test]
    fn ports_are_published_in_dockers_words() {
        for (text, expected) in [
            ("80", "80/tcp"),
            ("8080:80", "8080:80/tcp"),
            ("8080:80/udp", "8080:80/udp"),
            ("8080:80/UDP", "8080:80/udp"),
            ("0:80", "80/tcp"),
            (":80", "80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("127.0.0.1::80", "127.0.0.1::80/tcp"),
            ("::80", "80/tcp"),
            ("[::1]:8080:80", "[::1]:8080:80/tcp"),
            ("::1:8080:80", "[::1]:8080:80/tcp"),
            ("[::]::80/tcp", "[::]::80/tcp"),
            ("80-81", "80/tcp, 81/tcp"),
            ("8080-8081:80-81", "8080:80/tcp, 8081:81/tcp"),
            ("8080-8089:80", "8080-8089:80/tcp"),
            ("published=8080,target=80,protocol=udp", "8080:80/udp"),
            ("target=80", "80/tcp"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
            // As they are written down they are read.
            assert_eq!(expected.split(", ").map(shown).collect::<Vec<_>>().join(", "), expected);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            "x",
            "80:x",
            "x:80",
            "80:",
            "70000",
            "80:0",
            "0",
            "-80",
            "+80",
            "8080:+80",
            "81-80",
            "80-81:80-90",
            "80-82:80-81",
            "1.2.3:80:80",
            "localhost:80:80",
            "80/icmp",
            "80/tcp/udp",
            "[::1:80:80",
            "a=b",
            "1:2:3:4",
            "published=80",
        ] {
            assert_eq!(shown(text), "InvalidOption", "{text}");
        }
        assert_eq!(shown("80/sctp"), "Unsupported");
    }

    #[test]
    fn exposed_ports_have_no_port_of_the_host() {
        let shown = |text| expose(text).map(|all| all.iter().map(Port::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(shown("80").unwrap(), "80/tcp");
        assert_eq!(shown("7000-7002/udp").unwrap(), "7000/udp 7001/udp 7002/udp");
        assert!(shown("80:80").is_err() && shown("0").is_err());
    }

    #[test]
    fn a_port_is_written_as_it_is_read() {
        let port: Port = "53/udp".parse().unwrap();
        assert_eq!(serde_json::to_string(&port).unwrap(), "\"53/udp\"");
        assert_eq!(serde_json::from_str::<Port>("\"80\"").unwrap().to_string(), "80/tcp");
        assert!(serde_json::from_str::<Port>("\"0/tcp\"").is_err());
    }
}
