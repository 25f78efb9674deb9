// SPDX-License-Identifier: Apache-2.0
//! `pasta`: connects a network namespace to the outside from user space. Source: `pasta(1)`.
//!
//! The namespace gets a device with the host's address and routes. Nothing is forwarded in either direction unless
//! asked, and the gateway's address is not mapped to the host: its loopback stays out of reach (CVE-2021-20199 was a
//! forwarder that made remote packets look local).

use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::PipeFlags;

use crate::error::{Error, Kind, Result};
use crate::holder::Holder;
use crate::resolver::FORWARDER;

/// Where the program may be; never taken from `PATH`.
const DIRS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// The device that it needs.
const TUN: &str = "/dev/net/tun";

/// A host on which `pasta` can work.
#[derive(Debug, Clone)]
pub struct Pasta {
    program: PathBuf,
    ipv4: bool,
    ipv6: bool,
}

/// A `pasta` that serves a namespace. Dropping it ends it.
#[derive(Debug)]
pub struct Attached {
    process: Child,
}

/// What a namespace is connected with.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The user namespace that owns the network namespace.
    pub user: BorrowedFd<'a>,
    /// The network namespace.
    pub network: BorrowedFd<'a>,
    /// Answers name queries at [`FORWARDER`].
    pub forward_dns: bool,
}

impl Pasta {
    /// Looks whether `pasta` can work here.
    ///
    /// # Errors
    ///
    /// The [`Kind`] says what is missing. A closed `/dev/net/tun` is noticed here because `pasta` hangs on it.
    pub fn find() -> Result<Self> {
        let program = DIRS.iter().map(|d| Path::new(d).join("pasta")).find(|p| p.exists());
        let program = program.ok_or_else(|| Error::new(Kind::NoPasta, "pasta is not installed"))?;
        if let Err(e) = rustix::fs::openat(CWD, TUN, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            return Err(Error::new(Kind::NoTun, format!("cannot open {TUN}: {e}")));
        }
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (ipv4, ipv6) = (has_default_v4(&read("/proc/net/route")), has_default_v6(&read("/proc/net/ipv6_route")));
        if !ipv4 && !ipv6 {
            return Err(Error::new(Kind::NoRoute, "this host has no default route"));
        }
        Ok(Self { program, ipv4, ipv6 })
    }

    /// Connects a namespace; [`Starting::ready`] waits until it is.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn attach(&self, request: Request<'_>) -> Result<Starting> {
        let failed = |e: &dyn std::fmt::Display| Error::new(Kind::Helper, format!("cannot start pasta: {e}"));
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(&e))?;
        let holder = Holder::join(request.user, request.network)?;
        let mut command = Command::new(&self.program);
        command
            .args(self.arguments(request, &holder, &write))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        bryo_sys::exec::die_with_parent(&mut command);
        let process = command.spawn().map_err(|e| failed(&e))?;
        Ok(Starting { attached: Attached { process }, _holder: holder, ready: read, write: Some(write) })
    }

    fn arguments(&self, request: Request<'_>, holder: &Holder, ready: &OwnedFd) -> Vec<String> {
        let mut arguments = vec!["--foreground".into(), "--quiet".into(), "--config-net".into()];
        if !self.ipv6 {
            arguments.push("--ipv4-only".into());
        } else if !self.ipv4 {
            arguments.push("--ipv6-only".into());
        }
        for direction in ["--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns"] {
            arguments.extend([direction.into(), "none".into()]);
        }
        arguments.push("--no-map-gw".into());
        if request.forward_dns {
            arguments.extend(["--dns-forward".into(), FORWARDER.to_string()]);
        }
        let of_holder = |name: &str| format!("/proc/{}/{name}", holder.pid().as_raw_nonzero());
        // Written when everything is set up: a pipe in place of a file tells the moment. The holder has a copy of it.
        arguments.extend(["--pid".into(), of_holder(&format!("fd/{}", ready.as_raw_fd()))]);
        arguments.extend(["--userns".into(), of_holder("ns/user")]);
        arguments.extend(["--netns".into(), of_holder("ns/net")]);
        arguments
    }
}

/// A `pasta` that sets a namespace up.
#[derive(Debug)]
pub struct Starting {
    attached: Attached,
    /// Needed until the helper has opened what it was told.
    _holder: Holder,
    ready: OwnedFd,
    write: Option<OwnedFd>,
}

impl Starting {
    /// Waits until the namespace is connected.
    ///
    /// # Errors
    ///
    /// [`Kind::Helper`] with the program's own words when it ended instead.
    pub fn ready(mut self) -> Result<Attached> {
        // It opens the pipe by name while it starts; this end must stay until something has come through, and when it
        // ends without, its own end tells.
        let pidfd = rustix::process::Pid::from_child(&self.attached.process);
        let pidfd = rustix::process::pidfd_open(pidfd, rustix::process::PidfdFlags::empty());
        let pidfd = pidfd.map_err(|e| Error::new(Kind::Helper, format!("cannot watch pasta: {e}")))?;
        let mut fds = [
            rustix::event::PollFd::new(&self.ready, rustix::event::PollFlags::IN),
            rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN),
        ];
        let polled = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None));
        polled.map_err(|e| Error::new(Kind::Helper, format!("cannot wait for pasta: {e}")))?;
        let ready = !fds[0].revents().is_empty();
        drop(self.write.take());
        if ready { Ok(self.attached) } else { Err(self.attached.failure()) }
    }
}

impl Attached {
    /// Puts the program's last words into an error.
    fn failure(mut self) -> Error {
        let mut words = Vec::new();
        if let Some(stderr) = self.process.stderr.take() {
            // Its words are an explanation, not data: a piece of them will do.
            let _ = stderr.take(4096).read_to_end(&mut words);
        }
        let words = String::from_utf8_lossy(&words);
        let last = words.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
        Error::new(Kind::Helper, format!("pasta failed: {}", last.trim().escape_debug()))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // It may have ended by itself; in either case it must not stay a zombie.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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
