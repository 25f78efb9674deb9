// SPDX-License-Identifier: Apache-2.0
//! A real registry server on loopback: Debian's `docker-registry`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Running, eventually, tool};
use crate::skip;

/// The user and the password of a registry that wants them.
pub const LOGIN: (&str, &str) = ("alice", "s3cret-of-alice");

/// A registry that runs until it is dropped.
#[derive(Debug)]
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// Where its blobs lie.
    pub root: PathBuf,
    auth: bool,
    _dir: tempfile::TempDir,
    _server: Running,
}

impl Registry {
    /// Starts a registry; with `auth` it wants [`LOGIN`]. `None` (and a skip) where the server is not installed.
    pub fn start(auth: bool) -> Option<Self> {
        if !skip::have("docker-registry") || !skip::have("skopeo") || (auth && !skip::have("htpasswd")) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        let port = free_port();
        let host = format!("127.0.0.1:{port}");
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {host}\n",
            root.display()
        );
        if auth {
            let file = dir.path().join("htpasswd");
            fs::write(&file, tool("htpasswd", &["-Bbn", LOGIN.0, LOGIN.1])).unwrap();
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display());
        }
        let file = dir.path().join("config.yml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none");
        let server = Running::start(command, false);
        eventually("the registry listens", || TcpStream::connect(&host).ok());
        Some(Self { host, root, auth, _dir: dir, _server: server })
    }

    /// Puts an image archive into the registry with skopeo; returns its name there.
    pub fn put(&self, archive: &Path, name: &str) -> String {
        let target = format!("{}/{name}", self.host);
        let login = format!("{}:{}", LOGIN.0, LOGIN.1);
        let (source, docker) = (format!("oci-archive:{}", archive.display()), format!("docker://{target}"));
        let mut args = vec!["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"];
        if self.auth {
            args.extend(["--dest-creds", &login]);
        }
        args.extend([source.as_str(), docker.as_str()]);
        tool("skopeo", &args);
        target
    }

    /// Returns where the registry keeps a blob.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.root.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// Asks for the manifest of an image, as skopeo sees it.
    pub fn manifest(&self, target: &str) -> serde_json::Value {
        let docker = format!("docker://{target}");
        let login = format!("{}:{}", LOGIN.0, LOGIN.1);
        let mut args = vec!["inspect", "--raw", "--tls-verify=false"];
        if self.auth {
            args.extend(["--creds", &login]);
        }
        args.push(&docker);
        serde_json::from_str(&tool("skopeo", &args)).unwrap()
    }
}

/// Returns a port of the loopback that nobody listens on just now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
