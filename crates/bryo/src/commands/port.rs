// SPDX-License-Identifier: Apache-2.0
//! `bryo port`: what leads to a container from the host.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use bryo_engine::container::{Bindings, Containers, HostBinding};
use bryo_engine::options;
use clap::Args;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Flags of `bryo port`.
#[derive(Debug, Args)]
pub struct Port {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Port of the container, to print only what leads to it
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

impl Verb for Port {
    const NAME: &'static str = "port";
    const ABOUT: &'static str = "List the published ports of a container";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let record = Containers::new(&context.data()?).find(&self.container)?;
        let text = match &self.port {
            None => all(&record.state.ports),
            Some(text) => one(&record.state.ports, text.parse()?).ok_or_else(|| {
                let why = format!("port {text} of {} is not published", self.container);
                Error::message(why).hint("bryo port CONTAINER, for those that are")
            })?,
        };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn all(ports: &Bindings) -> String {
    let mut text = String::new();
    for (port, bindings) in &ports.0 {
        for binding in bindings.iter().flatten() {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{port} -> {}", place(*binding));
        }
    }
    text
}

fn one(ports: &Bindings, port: options::Port) -> Option<String> {
    let bindings = ports.0.get(&port)?.as_ref()?;
    Some(bindings.iter().map(|b| format!("{}\n", place(*b))).collect())
}

fn place(binding: HostBinding) -> SocketAddr {
    SocketAddr::new(binding.host_ip, binding.host_port)
}

/// A run of ports, and of those of the host that lead to them.
struct Run {
    host: Option<(IpAddr, u16)>,
    port: options::Port,
    length: u16,
}

impl Run {
    /// Takes in what follows the last of the run, or says that it does not.
    fn extend(&mut self, host: Option<(IpAddr, u16)>, port: options::Port) -> bool {
        let after = |n: u16| n.checked_add(self.length);
        let follows = Some(port.number) == after(self.port.number) && port.protocol == self.port.protocol;
        let beside = match (self.host, host) {
            (None, None) => true,
            (Some((one, first)), Some((other, next))) => one == other && Some(next) == after(first),
            _ => false,
        };
        self.length += u16::from(follows && beside);
        follows && beside
    }

    fn show(&self) -> String {
        let span = |first: u16| match self.length {
            1 => first.to_string(),
            length => format!("{first}-{}", u32::from(first) + u32::from(length) - 1),
        };
        let (inside, protocol) = (span(self.port.number), self.port.protocol);
        match self.host {
            None => format!("{inside}/{protocol}"),
            Some((IpAddr::V6(address), port)) => format!("[{address}]:{}->{inside}/{protocol}", span(port)),
            Some((address, port)) => format!("{address}:{}->{inside}/{protocol}", span(port)),
        }
    }
}

/// Shows the ports as Docker's `ps` does, runs of them in one.
pub(super) fn column(ports: &Bindings) -> String {
    let mut runs: Vec<Run> = Vec::new();
    for (port, bindings) in &ports.0 {
        let hosts = bindings.iter().flatten().map(|b| Some((b.host_ip, b.host_port)));
        let exposed = bindings.as_ref().is_none_or(Vec::is_empty).then_some(None);
        for host in hosts.chain(exposed) {
            if !runs.iter_mut().rev().any(|run| run.extend(host, *port)) {
                runs.push(Run { host, port: *port, length: 1 });
            }
        }
    }
    runs.iter().map(Run::show).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings(ports: &[(&str, &[(&str, u16)])]) -> Bindings {
        let binding = |(ip, port): &(&str, u16)| HostBinding { host_ip: ip.parse().unwrap(), host_port: *port };
        let ports = ports.iter().map(|(port, bindings)| {
            let bindings: Vec<_> = bindings.iter().map(binding).collect();
            (port.parse().unwrap(), (!bindings.is_empty()).then_some(bindings))
        });
        Bindings(ports.collect())
    }

    #[test]
    fn the_column_is_dockers() {
        let web = bindings(&[("80/tcp", &[("0.0.0.0", 8080), ("::", 8080)]), ("443/tcp", &[])]);
        assert_eq!(column(&web), "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 443/tcp");
        assert_eq!(column(&Bindings::default()), "");
    }

    #[test]
    fn runs_of_ports_are_one() {
        let both = |n: u16| [("0.0.0.0", n), ("::", n)];
        let range = bindings(&[
            ("7000/tcp", &both(8000)),
            ("7001/tcp", &both(8001)),
            ("7002/tcp", &both(8003)),
            ("7003/udp", &[]),
            ("7004/udp", &[]),
        ]);
        assert_eq!(
            column(&range),
            "0.0.0.0:8000-8001->7000-7001/tcp, [::]:8000-8001->7000-7001/tcp, 0.0.0.0:8003->7002/tcp, \
             [::]:8003->7002/tcp, 7003-7004/udp"
        );
    }

    #[test]
    fn every_binding_has_a_line_and_a_port_its_own() {
        let web = bindings(&[("53/udp", &[("::1", 5353)]), ("80/tcp", &[("0.0.0.0", 8080)]), ("443/tcp", &[])]);
        assert_eq!(all(&web), "53/udp -> [::1]:5353\n80/tcp -> 0.0.0.0:8080\n");
        assert_eq!(one(&web, "80".parse().unwrap()).as_deref(), Some("0.0.0.0:8080\n"));
        for absent in ["80/udp", "443", "22"] {
            assert_eq!(one(&web, absent.parse().unwrap()), None);
        }
    }
}
