// SPDX-License-Identifier: Apache-2.0
//! Tells a service manager how a container is doing. Source: `sd_notify(3)`, `systemd.service(5)`.
//!
//! The manager's socket stays outside. A payload that is to speak for itself gets a socket of the container's own, and
//! what it says there is passed on line by line: that it is ready, reloads, ends, lives, and a status to show. A line
//! that would change what the manager supervises (`MAINPID=`, descriptors to keep) is dropped.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use bryo_sys::check;
use oci_spec::runtime::{Mount, MountBuilder};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use crate::Engine;
use crate::container::{Identity, Record};
use crate::error::{Error, Kind, Result};
use crate::monitor::wire;
use crate::plan::Planned;

/// The payload's socket, as it is called in the container's directory.
const SOCKET: &str = "notify";

/// Where the payload finds it. Podman has it at the same place.
const INSIDE: &str = "/run/notify/notify.sock";

/// The longest message, as systemd has it (`NOTIFY_BUFFER_MAX`).
const LONGEST: usize = 4096;

/// The socket of a service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// Takes the value of `NOTIFY_SOCKET`: an absolute path, or `@` and the name of an abstract socket.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for another address, [`Kind::Io`] without a descriptor to be had.
    pub fn new(address: &OsStr) -> Result<Self> {
        let named = match address.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(address),
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => return Err(unusable(address, "only paths and abstract sockets are known")),
        };
        let address = named.map_err(|e| unusable(address, &e.to_string()))?;
        let socket = UnixDatagram::unbound().map_err(|e| Error::io("cannot make", "a datagram socket".as_ref(), e))?;
        Ok(Self { socket, address })
    }

    /// Tells what keeps a service from being ready, and asks for more time.
    ///
    /// # Errors
    ///
    /// When nobody hears it.
    pub fn busy(&self, with: &str, more: std::time::Duration) -> Result<()> {
        self.send(&format!("STATUS={}\nEXTEND_TIMEOUT_USEC={}", one_line(with), more.as_micros()))
    }

    /// Tells that a payload runs below a supervisor; whether this makes the service ready is for `ready` to say.
    ///
    /// # Errors
    ///
    /// When nobody hears it.
    pub fn started(&self, supervisor: u32, record: &Record, ready: bool) -> Result<()> {
        let ready = if ready { "READY=1\n" } else { "" };
        let Identity { user, host_uid, .. } = &record.identity;
        let outside = host_uid.map_or_else(String::new, |uid| format!(", uid {uid} on the host"));
        let status = format!("container {} runs as {user}{outside}", record.name);
        self.send(&format!("{ready}MAINPID={supervisor}\nSTATUS={}", one_line(&status)))
    }

    /// Tells that the payload has ended.
    ///
    /// # Errors
    ///
    /// When nobody hears it.
    pub fn stopping(&self) -> Result<()> {
        self.send("STOPPING=1")
    }

    fn send(&self, message: &str) -> Result<()> {
        let sent = self.socket.send_to_addr(message.as_bytes(), &self.address);
        let shown = self.address.as_pathname().unwrap_or(Path::new("an abstract socket"));
        sent.map(drop).map_err(|e| Error::io("cannot notify the service manager through", shown, e))
    }
}

fn unusable(address: &OsStr, why: &str) -> Error {
    Error::new(Kind::Unsupported, format!("NOTIFY_SOCKET {}: {why}", address.to_string_lossy().escape_debug()))
}

/// A message has a line for each assignment, and a status is one.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Engine {
    /// Tells a service manager that a container runs, and that its monitor is the process to supervise from now on.
    ///
    /// # Errors
    ///
    /// When the container has ended already, or nobody hears it.
    pub fn hand_over(&self, record: &Record, to: &Notifier) -> Result<()> {
        let monitor = wire::connect(&self.containers.dir(&record.id))?;
        let peer = check("getsockopt", || "SO_PEERCRED".into(), rustix::net::sockopt::socket_peercred(&monitor))?;
        to.started(peer.pid.as_raw_nonzero().get().unsigned_abs(), record, true)
    }
}

/// The socket through which a payload speaks for itself.
#[derive(Debug)]
pub(crate) struct Door {
    socket: OwnedFd,
    path: PathBuf,
}

impl Door {
    /// Makes the socket in a container's directory. What an earlier run has left there is replaced.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(SOCKET);
        let _ = std::fs::remove_file(&path);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
        let socket = check("socket", || "AF_UNIX, SOCK_DGRAM".into(), socket)?;
        wire::at(dir, SOCKET, |address| check("bind", || SOCKET.into(), rustix::net::bind(&socket, address)))?;
        // The payload is a stranger to the caller. Nobody else comes by: the directory is the caller's alone.
        let opened = std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666));
        opened.map_err(|e| Error::io("cannot open to the container", &path, e))?;
        Ok(Self { socket, path })
    }

    /// Binds the socket into a container, and tells its payload where it is.
    pub fn show(&self, planned: &mut Planned) -> Result<()> {
        let spec = &mut planned.plan.spec;
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        mounts.push(self.mount()?);
        spec.set_mounts(Some(mounts));
        if let Some(mut process) = spec.process().clone() {
            let mut env = process.env().clone().unwrap_or_default();
            env.retain(|entry| !entry.starts_with("NOTIFY_SOCKET="));
            env.push(format!("NOTIFY_SOCKET={INSIDE}"));
            process.set_env(Some(env));
            spec.set_process(Some(process));
        }
        Ok(())
    }

    fn mount(&self) -> Result<Mount> {
        let options = ["bind", "nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
        let mount = MountBuilder::default().destination(INSIDE).typ("bind").source(&self.path).options(options).build();
        mount.map_err(|e| Error::new(Kind::InvalidOption, format!("mount on {INSIDE}: {e}")))
    }

    /// Returns what to listen to.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Passes on what the payload has said. A descriptor that comes along is closed on the way.
    pub fn pass(&self, to: &Notifier) {
        /// So many at a time: one who never stops must not keep the rest from its turn.
        const AT_ONCE: usize = 16;
        let mut buffer = [0; LONGEST + 1];
        for _ in 0..AT_ONCE {
            let Ok((n, _)) = rustix::net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) else { return };
            let message = buffer.get(..n).filter(|_| n <= LONGEST).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let kept: Vec<&str> = message.unwrap_or_default().lines().filter(|line| is_harmless(line)).collect();
            if !kept.is_empty() {
                // A manager that has gone will not miss it.
                let _ = to.send(&kept.join("\n"));
            }
        }
    }
}

/// Tells whether a line says something of the payload and changes nothing of how it is supervised.
fn is_harmless(line: &str) -> bool {
    match line.split_once('=') {
        Some(("READY" | "RELOADING" | "STOPPING", value)) => value == "1",
        Some(("WATCHDOG", value)) => matches!(value, "1" | "trigger"),
        Some(("STATUS", text)) => !text.contains(char::is_control),
        Some(("ERRNO" | "EXTEND_TIMEOUT_USEC" | "MONOTONIC_USEC", number)) => {
            !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(dir: &Path) -> (UnixDatagram, Notifier) {
        let path = dir.join("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, Notifier::new(path.as_os_str()).unwrap())
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 8192];
        let n = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..n].to_vec()).unwrap())
    }

    #[test]
    fn a_manager_hears_one_assignment_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, notifier) = manager(dir.path());
        notifier.busy("pulling a\nMAINPID=1", std::time::Duration::from_secs(2)).unwrap();
        assert_eq!(heard(&socket).unwrap(), "STATUS=pulling a MAINPID=1\nEXTEND_TIMEOUT_USEC=2000000");
        notifier.stopping().unwrap();
        assert_eq!(heard(&socket).unwrap(), "STOPPING=1");
    }

    #[test]
    fn abstract_sockets_are_managers_too() {
        let name = format!("bryo-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::new(format!("@{name}").as_ref()).unwrap().stopping().unwrap();
        assert_eq!(heard(&socket).unwrap(), "STOPPING=1");
        for bad in ["", "relative", "vsock:2:1234", &format!("/{}", "x".repeat(200))] {
            assert!(Notifier::new(bad.as_ref()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_payload_speaks_of_itself_and_of_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, notifier) = manager(dir.path());
        let door = Door::open(dir.path()).unwrap();
        let payload = UnixDatagram::unbound().unwrap();
        let say = |text: &str| payload.send_to(text.as_bytes(), dir.path().join(SOCKET)).map(drop).unwrap();
        say("READY=1\nMAINPID=1\nSTATUS=here\nFDSTORE=1\nNOTIFYACCESS=all");
        say("MAINPID=1");
        say("WATCHDOG=1\nWATCHDOG_USEC=1\nREADY=2\nSTATUS=\u{1b}[2J\nEXTEND_TIMEOUT_USEC=9");
        say(&"STATUS=".repeat(LONGEST));
        door.pass(&notifier);
        assert_eq!(heard(&socket).unwrap(), "READY=1\nSTATUS=here");
        assert_eq!(heard(&socket).unwrap(), "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=9");
        assert_eq!(heard(&socket), None);
    }

    #[test]
    fn the_socket_is_replaced_and_its_path_may_be_long() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        drop(Door::open(&deep).unwrap());
        let door = Door::open(&deep).unwrap();
        assert_eq!(std::fs::metadata(&door.path).unwrap().permissions().mode() & 0o777, 0o666);
    }
}
