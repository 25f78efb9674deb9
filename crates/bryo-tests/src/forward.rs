// SPDX-License-Identifier: Apache-2.0
//! A network with one way out: a real forward proxy on loopback, Debian's `tinyproxy`.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use crate::program::{Running, eventually};
use crate::registry::free_port;
use crate::skip;

/// The user and the password of a proxy that wants them.
pub const LOGIN: (&str, &str) = ("bob", "s3cret-of-bob");

/// A forward proxy that runs until it is dropped.
#[derive(Debug)]
pub struct ForwardProxy {
    /// `127.0.0.1:PORT`.
    pub host: String,
    log: PathBuf,
    _dir: tempfile::TempDir,
    _server: Running,
}

impl ForwardProxy {
    /// Starts a proxy; with `auth` it wants [`LOGIN`]. `None` (and a skip) where it is not installed.
    pub fn start(auth: bool) -> Option<Self> {
        if !skip::have("tinyproxy") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let (port, log) = (free_port(), dir.path().join("log"));
        let host = format!("127.0.0.1:{port}");
        let mut config = format!(
            "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nMaxClients 50\nLogLevel Connect\nLogFile \"{}\"\n",
            log.display()
        );
        if auth {
            config += &format!("BasicAuth {} {}\n", LOGIN.0, LOGIN.1);
        }
        let file = dir.path().join("tinyproxy.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(&file);
        let server = Running::start(command, false);
        eventually("the proxy listens", || TcpStream::connect(&host).ok());
        Some(Self { host, log, _dir: dir, _server: server })
    }

    /// Returns its URL, as environment variables have it.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Returns the first lines of the requests that it got, such as `GET http://… HTTP/1.1`.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = log.lines().filter(|line| line.contains("Request (file descriptor"));
        lines.filter_map(|line| line.split_once("): ").map(|(_, request)| request.to_owned())).collect()
    }
}
