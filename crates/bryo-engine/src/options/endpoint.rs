// SPDX-License-Identifier: Apache-2.0
//! `--network`: which networks a container is in, and as what. Source: `docker run --help`, and Docker's documentation
//! of the extended syntax.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Network, RunOptions};
use crate::error::{Error, Kind, Result};
use crate::networks::check_name;

/// A container's end of a network that the caller has made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// Names by which the container is found besides its own.
    pub aliases: Vec<String>,
    /// The address that is asked for.
    pub address: Option<Ipv4Addr>,
}

/// What stands behind `--network`, `--network-alias` and `--ip`.
#[derive(Debug, Clone, Default)]
pub struct Networking {
    /// One or several networks.
    pub networks: Vec<String>,
    /// Names in the first network.
    pub aliases: Vec<String>,
    /// An address in the first network.
    pub address: Option<String>,
}

impl Networking {
    /// Writes it into the options.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for what is not understood or contradicts itself.
    pub fn apply(self, options: &mut RunOptions) -> Result<()> {
        for text in self.networks.iter().filter(|text| !text.is_empty()) {
            if let Some(network) = Network::parse(text) {
                options.network = Some(network);
            } else if let Some(other) = text.strip_prefix("container:") {
                (options.network, options.network_of) = (Some(Network::Container), Some(other.to_owned()));
            } else {
                options.networks.push(Endpoint::parse(text)?);
            }
        }
        let several = self.networks.iter().filter(|text| !text.is_empty()).count() > 1;
        if let Some(alone) = options.network.filter(|network| several && *network != Network::Private) {
            let why = format!("--network {} goes with no other network", alone.as_str());
            return Err(invalid(why));
        }
        let (aliases, address) = (self.aliases, self.address.filter(|address| !address.is_empty()));
        let Some(first) = options.networks.first_mut() else {
            let flag = if aliases.is_empty() { address.map(|_| "--ip") } else { Some("--network-alias") };
            return flag.map_or(Ok(()), |flag| {
                Err(invalid(format!(
                    "{flag} is for a network that bryo network create has made; give it by --network NAME"
                )))
            });
        };
        for name in aliases {
            first.aliases.push(alias(&name)?);
        }
        if let Some(text) = address {
            first.address = Some(parse_address(&text)?);
        }
        Ok(())
    }
}

impl Endpoint {
    /// Describes an end of a network from the words of a command.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for an alias that no resolver finds, or an address that is none.
    pub fn new(network: &str, aliases: &[String], address: Option<&str>) -> Result<Self> {
        let aliases = aliases.iter().map(|name| alias(name)).collect::<Result<_>>()?;
        Ok(Self { network: network.to_owned(), aliases, address: address.map(parse_address).transpose()? })
    }

    /// Reads `NAME[,ALIAS...]`, `NAME:ip=ADDRESS,alias=NAME` or `name=NAME,ip=ADDRESS,alias=NAME`.
    fn parse(text: &str) -> Result<Self> {
        let (head, rest) = match text.split_once(':') {
            Some((head, rest)) => (Some(head), rest),
            None => (None, text),
        };
        let mut endpoint = Self { network: head.unwrap_or_default().to_owned(), ..Self::default() };
        for word in rest.split(',') {
            match word.split_once('=') {
                Some(("name", value)) if endpoint.network.is_empty() => value.clone_into(&mut endpoint.network),
                Some(("alias", value)) => endpoint.aliases.push(alias(value)?),
                Some(("ip", value)) => endpoint.address = Some(parse_address(value)?),
                Some((key, _)) => {
                    return Err(invalid(format!("--network {text}: {key} is not known; name, alias and ip are")));
                }
                None if endpoint.network.is_empty() => word.clone_into(&mut endpoint.network),
                None => endpoint.aliases.push(alias(word)?),
            }
        }
        check_name(&endpoint.network).map(|()| endpoint)
    }
}

fn parse_address(text: &str) -> Result<Ipv4Addr> {
    text.parse().map_err(|_| invalid(format!("{text:?} is no IPv4 address like 10.20.30.40")))
}

/// Checks a name by which others are to find a container.
fn alias(name: &str) -> Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let label = |label: &str| (1..=63).contains(&label.len());
    if name.bytes().all(plain) && name.len() < 254 && name.split('.').all(label) {
        return Ok(name.to_owned());
    }
    Err(invalid(format!("{name:?} is no name that a resolver finds: letters, digits, '-', '_' and '.'")))
}

fn invalid(why: String) -> Error {
    Error::new(Kind::InvalidOption, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(networks: &[&str], aliases: &[&str], address: Option<&str>) -> Result<RunOptions> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut options = RunOptions::default();
        let given =
            Networking { networks: owned(networks), aliases: owned(aliases), address: address.map(str::to_owned) };
        given.apply(&mut options).map(|()| options)
    }

    #[test]
    fn a_network_is_given_in_dockers_and_podmans_ways() {
        let expected = Endpoint {
            network: "back".into(),
            aliases: vec!["db".into(), "sql".into()],
            address: Some(Ipv4Addr::new(10, 1, 2, 3)),
        };
        for text in [
            "name=back,alias=db,alias=sql,ip=10.1.2.3",
            "back:alias=db,ip=10.1.2.3,alias=sql",
            "back,db,sql,ip=10.1.2.3",
        ] {
            assert_eq!(applied(&[text], &[], None).unwrap().networks, std::slice::from_ref(&expected), "{text}");
        }
        let options = applied(&["back", "front"], &["db", "sql"], Some("10.1.2.3")).unwrap();
        assert_eq!(options.networks[0], expected);
        assert_eq!(options.networks[1], Endpoint { network: "front".into(), ..Endpoint::default() });
    }

    #[test]
    fn the_known_words_are_no_names() {
        assert_eq!(applied(&["bridge"], &[], None).unwrap().network, Some(Network::Private));
        let options = applied(&["container:web"], &[], None).unwrap();
        assert_eq!((options.network, options.network_of.as_deref()), (Some(Network::Container), Some("web")));
        let options = applied(&["private", "back"], &[], None).unwrap();
        assert_eq!((options.network, options.networks.len()), (Some(Network::Private), 1));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for networks in [&["host", "back"][..], &["none", "back"], &["container:x", "back"], &["none", "host"]] {
            assert!(applied(networks, &[], None).is_err(), "{networks:?}");
        }
        for text in ["back,a b", "back:mac=1", "a/b", "back:ip=x", "name=", "back,", ":", "../x"] {
            assert!(applied(&[text], &[], None).is_err(), "{text}");
        }
        for network in [&[][..], &["private"], &["host"]] {
            assert!(applied(network, &["db"], None).is_err());
            assert!(applied(network, &[], Some("10.0.0.1")).is_err());
        }
        assert!(applied(&["back"], &["-"], Some("10.0.0.256")).is_err());
    }
}
