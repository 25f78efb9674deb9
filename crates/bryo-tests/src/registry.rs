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
    /// Its certificate in PEM, if it has TLS.
    pub certificate: PathBuf,
    auth: bool,
    _dir: tempfile::TempDir,
    _server: Running,
}

impl Registry {
    /// Starts a registry; with `auth` it wants [`LOGIN`]. `None` (and a skip) where the server is not installed.
    pub fn start(auth: bool) -> Option<Self> {
        Self::launch(auth, false)
    }

    /// Starts a registry with TLS, by a certificate that nobody vouches for.
    pub fn start_tls() -> Option<Self> {
        Self::launch(false, true)
    }

    fn launch(auth: bool, tls: bool) -> Option<Self> {
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
        let certificate = dir.path().join("cert.pem");
        if tls {
            let key = dir.path().join("key.pem");
            let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "0.0.0.0".to_owned()]).unwrap();
            fs::write(&certificate, made.cert.pem()).unwrap();
            fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            config += &format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display());
        }
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
        Some(Self { host, root, certificate, auth, _dir: dir, _server: server })
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

    /// Returns a host by which the kernel finds the registry on the loopback, while to programs it is none.
    pub fn elsewhere(&self) -> String {
        self.host.replace("127.0.0.1", "0.0.0.0")
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
