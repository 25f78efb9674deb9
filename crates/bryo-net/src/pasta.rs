// SPDX-License-Identifier: Apache-2.0
//! `pasta`: connects a network namespace to the outside from user space. Source: `pasta(1)`.
//!
//! The namespace gets a device with the host's address and routes. Ports are forwarded into it only when asked, none
//! out of it, and the gateway's address is not mapped to the host: its loopback stays out of reach (CVE-2021-20199 was a
//! forwarder that made remote packets look local).
//!
//! It takes its namespace by a path, and gets a path into its own `/proc` entries, where what it is to open are its
//! standard streams. Any other process's would be closed to it by the profile that Debian confines it with (it may not
//! look into processes), and any other descriptor is closed by newer versions before they look.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bryo_identity::map::IdMap;
use bryo_identity::userns::{self, Child, Inside};
use bryo_sys::check;
use bryo_sys::exec::{StringArray, execve};
use bryo_sys::fd::{message_pair, receive, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Error, Kind, Result};
use crate::publish::{Families, Forward, Protocol};
use crate::resolver::FORWARDER;
use crate::tun;

/// Where the program may be; never taken from `PATH`.
const DIRS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// A host on which `pasta` can work.
#[derive(Debug, Clone)]
pub struct Pasta {
    program: PathBuf,
    families: Families,
}

/// A `pasta` that serves a namespace. Dropping it ends it.
#[derive(Debug)]
pub struct Attached {
    process: Child,
    /// What it says when it fails.
    stderr: OwnedFd,
}

/// What a namespace is connected with.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The user namespace that owns the network namespace.
    pub user: BorrowedFd<'a>,
    /// The network namespace.
    pub network: BorrowedFd<'a>,
    /// The map of the user namespace. The program runs as root inside, so that whoever takes it over by a packet is
    /// nobody on the host, as in the container.
    pub map: &'a IdMap,
    /// Answers name queries at [`FORWARDER`].
    pub forward_dns: bool,
    /// The ports of the host that lead into it.
    pub forwards: &'a [Forward],
}

impl Pasta {
    /// Looks whether `pasta` can work here, as root inside a map.
    ///
    /// # Errors
    ///
    /// The [`Kind`] says what is missing.
    pub fn find(map: &IdMap) -> Result<Self> {
        let program = DIRS.iter().map(|d| Path::new(d).join("pasta")).find(|p| p.exists());
        let program = program.ok_or_else(|| Error::new(Kind::NoPasta, "pasta is not installed"))?;
        tun::check(map)?;
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let families = Families {
            v4: has_default_v4(&read("/proc/net/route")),
            v6: has_default_v6(&read("/proc/net/ipv6_route")),
        };
        if !families.v4 && !families.v6 {
            return Err(Error::new(Kind::NoRoute, "this host has no default route"));
        }
        Ok(Self { program, families })
    }

    /// Returns the address families that a namespace gets: those in which the host has a way out.
    pub fn families(&self) -> Families {
        self.families
    }

    /// Connects a namespace; [`Starting::ready`] waits until it is.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn attach(&self, request: Request<'_>) -> Result<Starting> {
        let failed = |e: &dyn std::fmt::Display| Error::new(Kind::Helper, format!("cannot start pasta: {e}"));
        let user = request.user.try_clone_to_owned().map_err(|e| failed(&e))?;
        let program = CString::new(self.program.as_os_str().as_bytes()).map_err(|e| failed(&e))?;
        let mut words = vec![program.clone()];
        words.extend(self.arguments(request).into_iter().filter_map(|a| CString::new(a).ok()));
        let (words, none) = (StringArray::new(words), StringArray::new(Vec::new()));
        let (stderr, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(&e))?;
        let (mine, peer) = message_pair().map_err(|e| failed(&e))?;
        let process = userns::enter(user, request.map, |inside| {
            let streams = Streams { network: request.network, stderr: &theirs, peer: &peer };
            if streams.enter(&inside).is_ok() {
                let _ = execve(&program, &words, &none);
            }
            127
        });
        let process = process.map_err(|e| failed(&e))?;
        drop(peer);
        match receive(&mine, &mut [0]) {
            Ok((1, mut fds)) if fds.len() == 1 => {
                Ok(Starting { attached: Attached { process, stderr }, ready: fds.remove(0) })
            }
            _ => Err(failed(&"the kernel refused the namespace")),
        }
    }

    fn arguments(&self, request: Request<'_>) -> Vec<String> {
        let mut arguments = vec!["--foreground".into(), "--quiet".into(), "--config-net".into()];
        if !self.families.v6 {
            arguments.push("--ipv4-only".into());
        } else if !self.families.v4 {
            arguments.push("--ipv6-only".into());
        }
        for (option, protocol) in [("--tcp-ports", Protocol::Tcp), ("--udp-ports", Protocol::Udp)] {
            let forwards = request.forwards.iter().filter(|f| f.protocol == protocol);
            let mut ports: Vec<String> = forwards.map(port).collect();
            if ports.is_empty() {
                ports.push("none".into());
            }
            // Each by itself: of a list it passes over in silence what it cannot have.
            arguments.extend(ports.into_iter().flat_map(|port| [option.into(), port]));
        }
        // From the namespace to the host's loopback.
        arguments.extend(["--tcp-ns", "none", "--udp-ns", "none"].map(String::from));
        arguments.push("--no-map-gw".into());
        if request.forward_dns {
            arguments.extend(["--dns-forward".into(), FORWARDER.to_string()]);
        }
        // Written when everything is set up: a pipe in place of a file tells the moment.
        arguments.extend(["--pid".into(), "/proc/self/fd/1".into()]);
        // The user namespace is joined already. The path is no file whose removal could be watched.
        arguments.extend(["--netns-only", "--no-netns-quit", "--netns", "/proc/self/fd/0"].map(String::from));
        arguments
    }
}

/// What the program is given to stand on.
struct Streams<'a> {
    network: BorrowedFd<'a>,
    stderr: &'a OwnedFd,
    peer: &'a OwnedFd,
}

impl Streams<'_> {
    /// Becomes root inside, with nothing open but its streams: the namespace, a pipe of which the parent gets the other
    /// end, and the place for its words.
    fn enter(&self, inside: &Inside) -> bryo_sys::Result<()> {
        inside.become_root().map_err(|_| bryo_sys::Error::new("setns", "", bryo_sys::Errno::PERM))?;
        // Keys that interrupt or stop a job on the caller's terminal are for the payload to answer, which keeps its
        // network while it does.
        check("setsid", String::new, rustix::process::setsid())?;
        let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        check("prctl", || "PR_SET_PDEATHSIG".into(), tied)?;
        // Made with these ids, so that it can be opened by its path with them.
        let (read, write) = check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
        keep_capabilities()?;
        // An execution as root inside would get all capabilities back, and the kernel forgets the tie to the parent
        // whenever a process gains some.
        check("prctl", || "PR_SET_NO_NEW_PRIVS".into(), rustix::thread::set_no_new_privs(true))?;
        send(self.peer, b"r", &[read.as_fd()])?;
        check("dup2", || "0".into(), rustix::stdio::dup2_stdin(self.network))?;
        check("dup2", || "1".into(), rustix::stdio::dup2_stdout(&write))?;
        check("dup2", || "2".into(), rustix::stdio::dup2_stderr(self.stderr))?;
        bryo_sys::signal::reset_all();
        bryo_sys::signal::SignalSet::empty().block()?;
        bryo_sys::fd::close_on_exec_from(3)
    }
}

/// Where the only id is not root inside, an execution would take the capabilities away that the network is set up with.
fn keep_capabilities() -> bryo_sys::Result<()> {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::NET_BIND_SERVICE;
    let sets = CapabilitySets { effective: needed, permitted: needed, inheritable: needed };
    check("capset", || format!("{needed:?}"), rustix::thread::set_capabilities(None, sets))?;
    for capability in needed.iter() {
        let raised = rustix::thread::configure_capability_in_ambient_set(capability, true);
        check("prctl", || format!("PR_CAP_AMBIENT_RAISE, {capability:?}"), raised)?;
    }
    Ok(())
}

/// A `pasta` that sets a namespace up.
#[derive(Debug)]
pub struct Starting {
    attached: Attached,
    ready: OwnedFd,
}

impl Starting {
    /// Waits until the namespace is connected; `None` as soon as one of `stops` is readable, which comes first.
    ///
    /// # Errors
    ///
    /// [`Kind::Helper`] with the program's own words when it ended instead, or when it took longer than it may.
    pub fn ready(self, stops: &[BorrowedFd<'_>], patience: Duration) -> Result<Option<Attached>> {
        let end = Instant::now() + patience;
        // An end without a word is told by the program's own end, which closes the pipe too.
        let own = [self.ready.as_fd(), self.attached.process.pidfd()];
        let mut fds: Vec<PollFd<'_>> =
            own.iter().chain(stops).map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        loop {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).ok();
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => {
                    let why = format!("pasta is not ready after {} s", patience.as_secs());
                    return Err(Error::new(Kind::Helper, why));
                }
                Err(Errno::INTR) => (),
                Err(e) => return Err(Error::new(Kind::Helper, format!("cannot wait for pasta: {e}"))),
                Ok(_) => break,
            }
        }
        let ready = fds[0].revents().contains(PollFlags::IN);
        let stopped = fds[own.len()..].iter().any(|fd| !fd.revents().is_empty());
        drop(fds);
        match (stopped, ready) {
            (true, _) => Ok(None),
            (false, true) => Ok(Some(self.attached)),
            (false, false) => Err(self.attached.failure()),
        }
    }
}

impl Attached {
    /// Puts the program's last words into an error.
    fn failure(self) -> Error {
        // Its words are an explanation, not data: a piece of them will do, and it has ended.
        let mut words = [0; 4096];
        let n = rustix::io::read(self.stderr.as_fd(), &mut words).unwrap_or(0);
        let words = String::from_utf8_lossy(&words[..n]);
        let last = words.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
        Error::new(kind_of(last), format!("pasta failed: {}", last.trim().escape_debug()))
    }
}

/// Tells from the program's words what it could not do.
fn kind_of(words: &str) -> Kind {
    if words.contains("Failed to bind") {
        Kind::PortInUse
    } else if words.contains("Overlapping port specifier") {
        Kind::Unsupported
    } else {
        Kind::Helper
    }
}

/// Writes a forward in the program's words: `[ADDRESS/]PORT:PORT`.
fn port(forward: &Forward) -> String {
    let address = forward.address.map_or_else(String::new, |a| format!("{a}/"));
    format!("{address}{}:{}", forward.host, forward.container)
}

/// Tells whether `/proc/net/route` has a default route: destination and mask zero, a gateway or a device.
fn has_default_v4(text: &str) -> bool {
    text.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000")
    })
}

/// Tells whether `/proc/net/ipv6_route` has a default route that leads out.
fn has_default_v6(text: &str) -> bool {
    /// `RTF_REJECT` of `linux/route.h`: the kernel's own "nowhere" entry.
    const REJECT: u32 = 0x200;
    text.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let zero = fields.first().is_some_and(|d| d.bytes().all(|b| b == b'0')) && fields.get(1) == Some(&"00");
        let flags = fields.get(8).and_then(|f| u32::from_str_radix(f, 16).ok()).unwrap_or(REJECT);
        zero && flags & REJECT == 0 && fields.last() != Some(&"lo")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_taken_meanwhile_is_told_from_other_failures() {
        // In the words of 2023, and in those of 2025.
        assert_eq!(kind_of("Failed to bind any port for '-t 8080:80', exiting"), Kind::PortInUse);
        let newer = "Failed to bind port 8080 (Address already in use) for option '-t 8080:80'";
        assert_eq!(kind_of(newer), Kind::PortInUse);
        assert_eq!(kind_of("Overlapping port specifier ::1/8080:80"), Kind::Unsupported);
        assert_eq!(kind_of("External interface not usable"), Kind::Helper);
    }

    #[test]
    fn forwards_are_written_in_the_programs_words() {
        let forward = |address: &str| {
            port(&Forward { address: address.parse().ok(), host: 8080, container: 80, protocol: Protocol::Tcp })
        };
        assert_eq!(["", "192.0.2.1", "::1"].map(forward), ["8080:80", "192.0.2.1/8080:80", "::1/8080:80"]);
    }

    #[test]
    fn default_routes_are_recognised() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert!(has_default_v4(v4));
        assert!(!has_default_v4(&v4.replace("\t00000000\t0102", "\t000200C0\t0102")));
        let nowhere = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                       00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
        assert!(!has_default_v6(nowhere));
        assert!(has_default_v6(&nowhere.replace("00200200", "00000003").replace("lo\n", "eth0\n")));
    }
}
