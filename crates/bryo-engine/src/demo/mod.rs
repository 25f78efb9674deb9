// SPDX-License-Identifier: Apache-2.0
//! A demonstration of the confinement: a probe runs in a container like any other and tries what must not be possible.
//!
//! The container gets the options of `run`, so that a protection can be switched off and seen to matter. On the host
//! the demo lays out what the probe looks for: files with a secret word, a socket, a port. All of it ends with it.

pub mod probe;

use std::io::{Read, Seek};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use bryo_launch::relay::Caller;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::container::Id;
use crate::error::{Error, Kind, Result};
use crate::options::{Mount, RunOptions, Source};
use crate::run::{Image, Request};
use probe::{Ending, Findings, HostFacts};

/// What the names of the copies of this program begin with that containers of a demonstration are lent.
pub(crate) const COPY: &str = ".demo-";

/// Where the probe lies in the container.
const PROBE: &str = "/.bryo-probe";

/// What a demonstration showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What the probe found.
    #[serde(flatten)]
    pub findings: Findings,
    /// Tells whether everything that could be tried was refused.
    pub refused: bool,
}

/// What a demonstration needs.
#[derive(Debug)]
pub struct Input<'a> {
    /// How to confine the container; its command and streams are the demonstration's own.
    pub options: RunOptions,
    /// The caller's home, where a file with a secret word is laid for the time being.
    pub home: Option<&'a Path>,
    /// The program that has the probe as its subcommand `__probe`: this one.
    pub program: &'a Path,
}

impl Engine {
    /// Runs the probe in a container.
    ///
    /// # Errors
    ///
    /// As [`Engine::run`], and when the probe cannot run in the image.
    pub fn demonstrate(&self, input: Input<'_>, image: Image, note: &dyn Fn(&str)) -> Result<Report> {
        let bait = Bait::lay(&self.dirs.data, input.home, input.program)?;
        let facts = serde_json::to_string(&bait.facts)
            .map_err(|e| Error::new(Kind::Io, format!("cannot describe the host to the probe: {e}")))?;
        let mut options = input.options;
        options.entrypoint = Some(Vec::new());
        options.command = vec![PROBE.into(), "__probe".into(), facts];
        (options.remove, options.tty, options.interactive) = (true, false, false);
        let source = Source::Bind(bait.program.clone());
        options.mounts.push(Mount { source, target: PROBE.into(), read_only: true, me: false });
        let (mut stdout, mut stderr) = (memory("probe-output")?, memory("probe-errors")?);
        let caller = Caller { stdin: stdout.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
        let outcome = self
            .run(&Request { options: &options, caller, notifier: None, observe: None, note }, image)
            .map_err(no_loader)?;
        let (said, complaint) = (text(&mut stdout)?, text(&mut stderr)?);
        let findings: Findings = serde_json::from_str(&said).map_err(|_| broken(outcome.code, &complaint))?;
        let refused = !findings.outcomes.iter().any(|o| matches!(o.ending, Ending::Possible(_)));
        Ok(Report { findings, refused })
    }
}

const STATIC: &str = "this bryo needs shared libraries that the image does not have; build it with `cargo static`";

/// The kernel answers as for a missing program when what is missing is the loader that the program names.
fn no_loader(error: Error) -> Error {
    match error.kind() {
        Kind::Launch(bryo_launch::Kind::NotFound) => Error::new(error.kind(), format!("{STATIC} ({error})")),
        _ => error,
    }
}

fn broken(code: i32, complaint: &str) -> Error {
    let line = complaint.lines().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing").trim();
    let why = if code == 127 { format!("{STATIC}: ") } else { String::new() };
    let kind = Kind::Launch(bryo_launch::Kind::NotExecutable);
    Error::new(kind, format!("the probe failed with exit code {code}: {why}{}", line.escape_debug()))
}

/// What lies on the host for the probe to find. It goes away when this is dropped.
struct Bait {
    facts: HostFacts,
    program: PathBuf,
    _tcp: TcpListener,
    _unix: UnixListener,
}

impl Bait {
    fn lay(data: &Path, home: Option<&Path>, program: &Path) -> Result<Self> {
        let id = Id::random();
        let word = id.as_str().to_owned();
        let failed = |e| Error::io("cannot listen on", Path::new("the host's loopback"), e);
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let port = tcp.local_addr().map_err(failed)?.port();
        let abstract_socket = format!("bryo-demo-{}", id.short());
        let unix = SocketAddr::from_abstract_name(&abstract_socket).and_then(|a| UnixListener::bind_addr(&a));
        let unix = unix.map_err(failed)?;
        let copy = data.join(format!("{COPY}{}", id.short()));
        let mut bait = Self {
            facts: HostFacts {
                pid: std::process::id(),
                pid_namespace: std::fs::read_link("/proc/self/ns/pid")
                    .map_or_else(|_| String::new(), |l| l.to_string_lossy().into_owned()),
                home: home.unwrap_or(Path::new("/")).to_path_buf(),
                canaries: Vec::new(),
                word,
                abstract_socket,
                port,
            },
            program: copy,
            _tcp: tcp,
            _unix: unix,
        };
        // A copy, so that nothing in a container ever holds the file that the caller runs (CVE-2019-5736).
        std::fs::copy(program, &bait.program).map_err(|e| Error::io("cannot copy", program, e))?;
        std::fs::set_permissions(&bait.program, std::os::unix::fs::PermissionsExt::from_mode(0o555))
            .map_err(|e| Error::io("cannot make executable", &bait.program, e))?;
        for directory in home.into_iter().chain([Path::new("/tmp"), Path::new("/var/tmp")]) {
            bait.canary(&directory.join(format!(".bryo-demo-{}", id.short())));
        }
        Ok(bait)
    }

    /// Writes the word into a new file. A directory that is closed to the caller is one less to look in.
    fn canary(&mut self, path: &Path) {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
        if file.and_then(|mut f| std::io::Write::write_all(&mut f, self.facts.word.as_bytes())).is_ok() {
            self.facts.canaries.push(path.to_path_buf());
        }
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        for path in self.facts.canaries.iter().chain([&self.program]) {
            // They have names of their own and no secret but a random word.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn memory(name: &str) -> Result<std::fs::File> {
    let made = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC);
    made.map(std::fs::File::from).map_err(|e| Error::io("cannot make", Path::new(name), e.into()))
}

/// Reads what the container has written, up to what a probe has to say.
fn text(file: &mut std::fs::File) -> Result<String> {
    const LIMIT: u64 = 1 << 20;
    let mut text = Vec::new();
    let read = file.rewind().and_then(|()| file.take(LIMIT).read_to_end(&mut text));
    read.map_err(|e| Error::io("cannot read", Path::new("the probe's report"), e))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
