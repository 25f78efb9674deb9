// SPDX-License-Identifier: Apache-2.0
//! Which requests go through a proxy: the rules of Docker's and Podman's language, so that a list of exceptions which
//! was written for them means the same here. Sources: Go's `golang.org/x/net/http/httpproxy`, curl(1) `--noproxy`.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

use crate::error::{Error, Kind, Result};

/// Proxies as in the variables `http_proxy`, `https_proxy` and `no_proxy`, which the caller reads.
#[derive(Clone, Default)]
pub struct Proxies {
    /// The URL of the proxy for `http`, with a name and a password if it wants them.
    pub http: Option<String>,
    /// The URL of the proxy for `https`.
    pub https: Option<String>,
    /// The hosts that are reached directly, separated by commas: addresses, networks, names with all below them, each
    /// with a port or without, or `*` for all. The loopback is always reached directly.
    pub exclude: Option<String>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs may hold passwords.
        f.debug_struct("Proxies").field("exclude", &self.exclude).finish_non_exhaustive()
    }
}

/// The same, understood.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    http: Option<Url>,
    https: Option<Url>,
    exceptions: Vec<Exception>,
}

#[derive(Clone, Debug)]
struct Exception {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Hosts {
    All,
    Address(IpAddr),
    Network(IpAddr, u8),
    /// A name and all names below it.
    Domain(String),
}

impl Routes {
    /// Understands the variables. An exception that is none has no meaning, as everywhere.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] for a proxy that is no address of one.
    pub fn parse(proxies: &Proxies) -> Result<Self> {
        let exceptions = proxies.exclude.as_deref().unwrap_or_default().split([',', ' ']).filter_map(Exception::parse);
        Ok(Self {
            http: address("http_proxy", proxies.http.as_deref())?,
            https: address("https_proxy", proxies.https.as_deref())?,
            exceptions: exceptions.collect(),
        })
    }

    /// Returns the proxy that a request goes through, if any.
    pub fn proxy_of(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        }?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let address: Option<IpAddr> = host.parse().ok();
        // The loopback that a proxy could reach is its own.
        let own = host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback());
        let port = url.port_or_known_default();
        let excluded = || self.exceptions.iter().any(|exception| exception.matches(host, address, port));
        (!own && !excluded()).then_some(proxy)
    }
}

/// Reads a proxy's address; one without a scheme is HTTP's. The text is not shown, since it may hold a password.
fn address(variable: &str, text: Option<&str>) -> Result<Option<Url>> {
    let Some(text) = text else { return Ok(None) };
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let fail = |why: &str| Error::new(Kind::Unreachable, format!("find the proxy of {variable}: {why}"));
    let url = Url::parse(&whole).ok().filter(Url::has_host).ok_or_else(|| fail("it is not an address"))?;
    match url.scheme() {
        "http" | "https" => Ok(Some(url)),
        other => Err(fail(&format!("{other:?} is none of http and https"))),
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self { hosts: Hosts::All, port: None });
        }
        if let Some((network, length)) = text.split_once('/') {
            let (address, length): (IpAddr, u8) = (network.parse().ok()?, length.parse().ok()?);
            let longest = if address.is_ipv4() { 32 } else { 128 };
            return (length <= longest).then_some(Self { hosts: Hosts::Network(address, length), port: None });
        }
        // Colons are an address' own, unless brackets or the absence of others say that the last one is a port's.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (&text[..], None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let hosts = match host.parse() {
            Ok(address) => Hosts::Address(address),
            Err(_) => Hosts::Domain(host.trim_start_matches('*').trim_start_matches('.').to_owned()),
        };
        Some(Self { hosts, port })
    }

    fn matches(&self, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let port_matches = self.port.is_none() || self.port == port;
        port_matches
            && match &self.hosts {
                Hosts::All => true,
                Hosts::Address(own) => address == Some(*own),
                Hosts::Network(network, length) => address.is_some_and(|address| within(*network, *length, address)),
                Hosts::Domain(own) => address.is_none() && is_below(host, own),
            }
    }
}

/// Tells whether a name is a domain's or one below it.
fn is_below(host: &str, domain: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host.strip_suffix(domain).is_some_and(|rest| !domain.is_empty() && (rest.is_empty() || rest.ends_with('.')))
}

fn within(network: IpAddr, length: u8, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    network.is_ipv4() == address.is_ipv4() && bits(network) & mask == bits(address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(exclude: &str) -> Routes {
        let proxies = Proxies {
            http: Some("proxy:1".into()),
            https: Some("http://u:secret@proxy:2".into()),
            exclude: Some(exclude.into()),
        };
        Routes::parse(&proxies).unwrap()
    }

    fn is_proxied(exclude: &str, url: &str) -> bool {
        routes(exclude).proxy_of(&Url::parse(url).unwrap()).is_some()
    }

    #[test]
    fn each_scheme_has_its_proxy_and_the_loopback_none() {
        let routes = routes("");
        let port = |url: &str| routes.proxy_of(&Url::parse(url).unwrap()).and_then(Url::port);
        assert_eq!((port("http://r.io/"), port("https://r.io/")), (Some(1), Some(2)));
        for own in ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.8.8.8:5000", "[::1]:5000"] {
            assert_eq!(port(&format!("https://{own}/")), None, "{own}");
        }
        for other in ["0.0.0.0:5000", "localhost.example", "128.0.0.1", "[::2]"] {
            assert_eq!(port(&format!("https://{other}/")), Some(2), "{other}");
        }
    }

    #[test]
    fn exceptions_are_names_addresses_and_networks() {
        for (exclude, url, direct) in [
            ("r.io", "https://r.io/", true),
            ("r.io", "https://R.io:5000/", true),
            ("r.io", "https://a.b.r.io/", true),
            ("r.io", "https://evil-r.io/", false),
            ("r.io", "https://r.io.evil/", false),
            (".r.io", "https://r.io/", true),
            ("*.r.io", "https://a.r.io/", true),
            ("r.io:5000", "https://r.io:5000/", true),
            ("r.io:5000", "https://r.io/", false),
            ("r.io:443", "https://r.io/", true),
            ("x, r.io ,y", "https://r.io/", true),
            ("x r.io", "https://r.io/", true),
            ("10.0.0.1", "https://10.0.0.1/", true),
            ("10.0.0.1", "https://10.0.0.11/", false),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/", true),
            ("10.0.0.1:5000", "https://10.0.0.1/", false),
            ("0.0.1", "https://10.0.0.1/", false),
            ("10.0.0.0/8", "https://10.200.3.4:5000/", true),
            ("10.0.0.0/8", "https://11.0.0.0/", false),
            ("0.0.0.0/0", "https://1.2.3.4/", true),
            ("0.0.0.0/0", "https://[fd00::1]/", false),
            ("10.0.0.0/33", "https://10.0.0.0/", false),
            ("fd00::/8", "https://[fd12::1]/", true),
            ("fd00::1", "https://[fd00::1]:5000/", true),
            ("[fd00::1]:5000", "https://[fd00::1]:5000/", true),
            ("[fd00::1]:5000", "https://[fd00::1]/", false),
            ("*", "https://r.io/", true),
            ("x,*", "https://1.2.3.4/", true),
            ("", "https://r.io/", false),
            (",. ,:,*.", "https://r.io/", false),
        ] {
            assert_eq!(!is_proxied(exclude, url), direct, "{exclude:?} {url}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_told_without_its_password() {
        for text in ["socks5://u:secret@p", "http://u:secret@", "u:secret@:x", "://secret", "secret secret"] {
            let error = Routes::parse(&Proxies { https: Some(text.into()), ..Proxies::default() }).unwrap_err();
            assert_eq!(error.kind(), Kind::Unreachable, "{text}");
            let shown = error.to_string();
            assert!(shown.contains("https_proxy") && !shown.contains("secret"), "{shown}");
        }
        let proxies = Proxies { http: Some("http://u:secret@p".into()), ..Proxies::default() };
        assert!(!format!("{proxies:?}").contains("secret"));
    }
}
