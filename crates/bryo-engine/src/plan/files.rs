// SPDX-License-Identifier: Apache-2.0
//! The files that are made for each container: its names and its resolver.

use std::fmt::Write as _;
use std::net::IpAddr;

use bryo_launch::plan::GeneratedFile;

use super::Input;
use crate::options::{Dns, Network};

/// The files, and whether the resolver needs the network helper's forwarder.
pub(super) struct Generated {
    pub files: Vec<GeneratedFile>,
    pub forward_dns: bool,
    /// Whom the resolver of networks asks.
    pub upstreams: Vec<IpAddr>,
}

pub(super) fn generate(input: &Input<'_>) -> Generated {
    let (resolver, forward_dns) = resolver(input);
    let (resolver, upstreams) = with_names(input, resolver);
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
        file("/etc/resolv.conf", resolver),
    ];
    // What the caller mounts there is what is seen there, and no file is made in a directory of the host.
    files.retain(|file| !input.options.mounts.iter().any(|mount| file.path.starts_with(&mount.target)));
    Generated { files, forward_dns, upstreams }
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

fn resolver(input: &Input<'_>) -> (String, bool) {
    let Dns { servers, search, options } = &input.options.dns;
    let made = match input.network {
        Network::Host => bryo_net::resolver::Resolver { text: input.host.resolver.clone(), forwards: false },
        Network::Private => bryo_net::resolver::from_host(&input.host.resolver),
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

/// Where names of networks are known, puts the container's own resolver in the place of the servers, which it is to ask.
fn with_names(input: &Input<'_>, text: String) -> (String, Vec<IpAddr>) {
    if input.options.networks.is_empty() && input.network != Network::Container {
        return (text, Vec::new());
    }
    let server = |line: &str| line.strip_prefix("nameserver ").map(str::to_owned);
    let upstreams = text.lines().filter_map(server).filter_map(|server| server.parse().ok()).collect();
    let others = text.lines().filter(|line| server(line).is_none());
    let own = format!("nameserver {}\n", bryo_net::names::ADDRESS);
    (others.fold(own, |text, line| text + line + "\n"), upstreams)
}
