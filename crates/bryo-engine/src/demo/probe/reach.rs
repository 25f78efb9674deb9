// SPDX-License-Identifier: Apache-2.0
//! Attempts to reach processes, sockets and descriptors of the host.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bryo_sys::attempt::Attempt as Call;
use rustix::process::Pid;

use super::{Attempt, Ending, HostFacts, Outcome};

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        id: "see-processes",
        tried: "see processes of the host",
        gains: "command lines, environments, targets",
        make: see_processes,
    },
    Attempt { id: "kill", tried: "send a signal to a process of the host", gains: "an end to it", make: kill },
    Attempt {
        id: "ptrace",
        tried: "attach to a process of the host with ptrace",
        gains: "its memory and its rights",
        make: |facts| match i32::try_from(facts.pid) {
            Ok(_) if is_ours(facts) => Ending::Refused("ESRCH".into()),
            _ => Ending::of(Call::Seize(facts.pid).make(), &[]),
        },
    },
    Attempt {
        id: "host-loopback",
        tried: "connect to a service on the host's loopback",
        gains: "databases and agents that trust local callers",
        make: host_loopback,
    },
    Attempt {
        id: "abstract-socket",
        tried: "connect to an abstract socket of the host",
        gains: "desktop and container services",
        make: abstract_socket,
    },
];

/// Tells whether the host's process number is a process of the container's own.
fn is_ours(facts: &HostFacts) -> bool {
    !same_namespace(facts) && std::path::Path::new(&format!("/proc/{}", facts.pid)).exists()
}

fn same_namespace(facts: &HostFacts) -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|mine| mine.to_string_lossy() == facts.pid_namespace)
}

fn see_processes(facts: &HostFacts) -> Ending {
    if same_namespace(facts) {
        return Ending::Possible("the pid namespace is the host's".into());
    }
    let number = |e: std::fs::DirEntry| e.file_name().to_str().and_then(|n| n.parse::<u32>().ok());
    let seen = std::fs::read_dir("/proc").map_or(0, |d| d.filter_map(Result::ok).filter_map(number).count());
    Ending::Refused(format!("sees {seen}, all its own"))
}

fn kill(facts: &HostFacts) -> Ending {
    if is_ours(facts) {
        return Ending::Refused("ESRCH".into());
    }
    let pid = i32::try_from(facts.pid).ok().and_then(Pid::from_raw);
    // Signal 0 asks for the permission only.
    pid.map_or_else(
        || Ending::Absent("no process".into()),
        |pid| Ending::of(rustix::process::test_kill_process(pid), &[]),
    )
}

fn host_loopback(facts: &HostFacts) -> Ending {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, facts.port));
    Ending::of_io(TcpStream::connect_timeout(&address, Duration::from_secs(1)))
}

fn abstract_socket(facts: &HostFacts) -> Ending {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&facts.abstract_socket);
    Ending::of_io(address.and_then(|a| UnixStream::connect_addr(&a)))
}

/// Lists descriptors that the container was started with, besides its three streams.
pub(super) fn leaked_descriptors() -> Outcome {
    let ending = match std::fs::read_dir("/proc/self/fd") {
        Err(e) => Ending::of_io::<()>(Err(e)),
        Ok(entries) => {
            // Collected first: the listing itself holds a descriptor, which is gone when its target is asked for.
            let names: Vec<_> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
            let high = |p: &&std::path::PathBuf| {
                p.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n > 2)
            };
            let leaked: Vec<_> = names.iter().filter(high).filter_map(|p| std::fs::read_link(p).ok()).collect();
            match leaked.first() {
                None => Ending::Refused("none but the three streams".into()),
                Some(first) => Ending::Possible(format!("{}: {}", leaked.len(), first.display())),
            }
        }
    };
    Outcome {
        id: "descriptors".into(),
        tried: "use an open file left behind by the engine".into(),
        gains: "a door to the host's files (CVE-2024-21626)".into(),
        ending,
    }
}
