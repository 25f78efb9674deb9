// SPDX-License-Identifier: Apache-2.0
//! The files that are made for each container: its names and its resolver.

use std::fmt::Write as _;
use std::net::IpAddr;

use bryo_launch::plan::GeneratedFile;

use super::Input;
use crate::options::{Dns, Network, RunOptions};

/// Where the resolver is configured.
pub(crate) const RESOLVER: &str = "/etc/resolv.conf";

/// The files, and whom names are asked of.
pub(super) struct Generated {
    pub files: Vec<GeneratedFile>,
    pub resolver: Resolver,
}

/// How a container resolves names.
pub(crate) struct Resolver {
    /// The text of its configuration.
    pub text: String,
    /// Whether it needs the network helper's forwarder.
    pub forward_dns: bool,
    /// Whom the resolver of networks asks.
    pub upstreams: Vec<IpAddr>,
}

pub(super) fn generate(input: &Input<'_>) -> Generated {
    let resolver = Resolver::of(input.options, input.network, &input.host.resolver);
    let name = host_name(input);
    let file = |path: &str, text: String| GeneratedFile {
        path: path.into(),
        content: text.into_bytes(),
        mode: 0o644,
        owner: (0, 0),
    };
    let mut files = vec![
        file("/etc/hosts", hosts(&name, &input.options.hosts)),
        file("/etc/hostname", format!("{name}\n")),
        file(RESOLVER, resolver.text.clone()),
    ];
    // What the caller mounts there is what is seen there, and no file is made in a directory of the host.
    files.retain(|file| !input.options.mounts.iter().any(|mount| file.path.starts_with(&mount.target)));
    Generated { files, resolver }
}

/// The container's host name: what was asked for, else its short id.
pub(super) fn host_name(input: &Input<'_>) -> String {
    input.options.hostname.clone().unwrap_or_else(|| input.id.short().to_owned())
}

fn hosts(name: &str, extra: &[(String, String)]) -> String {
    // The container's own name must resolve without a network; 127.0.1.1 keeps it apart from localhost.
    let mut text = format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{name}\n");
    for (name, address) in extra {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

impl Resolver {
    /// Decides how names are resolved in a network; `host` is the host's own configuration.
    pub fn of(options: &RunOptions, network: Network, host: &str) -> Self {
        let (text, forward_dns) = configuration(&options.dns, network, host);
        if options.networks.is_empty() && network != Network::Container {
            return Self { text, forward_dns, upstreams: Vec::new() };
        }
        // Where names of networks are known, the container's own resolver is in the place of those that it is to ask.
        let server = |line: &str| line.strip_prefix("nameserver ").map(str::to_owned);
        let upstreams = text.lines().filter_map(server).filter_map(|server| server.parse().ok()).collect();
        let others = text.lines().filter(|line| server(line).is_none());
        let own = format!("nameserver {}\n", bryo_net::names::ADDRESS);
        Self { text: others.fold(own, |text, line| text + line + "\n"), forward_dns, upstreams }
    }
}

fn configuration(dns: &Dns, network: Network, host: &str) -> (String, bool) {
    let Dns { servers, search, options } = dns;
    let made = match network {
        Network::Host => bryo_net::resolver::Resolver { text: host.to_owned(), forwards: false },
        Network::Private => bryo_net::resolver::from_host(host),
        Network::None | Network::Container => bryo_net::resolver::Resolver { text: String::new(), forwards: false },
    };
    if servers.is_empty() && search.is_empty() && options.is_empty() {
        return (made.text, made.forwards);
    }
    let kept = |word: &str| -> String {
        made.text.lines().filter(|l| l.split_whitespace().next() == Some(word)).map(|l| format!("{l}\n")).collect()
    };
    let mut text = servers.iter().fold(String::new(), |text, s| text + "nameserver " + s + "\n");
    let forwards = servers.is_empty() && made.forwards;
    if servers.is_empty() {
        text = kept("nameserver");
    }
    text += &if search.is_empty() { kept("search") } else { format!("search {}\n", search.join(" ")) };
    text += &if options.is_empty() { kept("options") } else { format!("options {}\n", options.join(" ")) };
    (text, forwards)
}
