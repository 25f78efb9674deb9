// SPDX-License-Identifier: Apache-2.0
//! Debian's `docker-registry` on a free port, and a small HTTP server whose answers a test decides.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::fixture::{Blob, Made};

/// A real registry. It ends with the value.
pub struct Registry {
    child: Child,
    pub authority: String,
}

/// What a registry is to be like besides being there.
#[derive(Default)]
pub struct Setup<'a> {
    /// A name and a password that it wants.
    pub login: Option<(&'a str, &'a str)>,
    /// Certificate and key files.
    pub tls: Option<(&'a Path, &'a Path)>,
    /// The address of a token service, what that calls the registry and itself, and certificates that it signs with.
    pub tokens: Option<(&'a str, &'a str, &'a str, &'a Path)>,
}

impl Registry {
    pub fn start(dir: &Path, setup: &Setup<'_>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let authority = format!("127.0.0.1:{port}");
        let dir = dir.join(format!("registry-{port}"));
        fs::create_dir(&dir).unwrap();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {0}/data\nhttp:\n  addr: {authority}\n  secret: s\n",
            dir.display()
        );
        if let Some((cert, key)) = setup.tls {
            config.push_str(&format!("  tls:\n    certificate: {}\n    key: {}\n", cert.display(), key.display()));
        }
        if let Some((user, password)) = setup.login {
            let htpasswd = Command::new("htpasswd").args(["-Bbn", user, password]).output().unwrap();
            assert!(htpasswd.status.success());
            fs::write(dir.join("htpasswd"), htpasswd.stdout).unwrap();
            config.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {}/htpasswd\n", dir.display()));
        }
        if let Some((realm, service, issuer, bundle)) = setup.tokens {
            config.push_str(&format!(
                "auth:\n  token:\n    realm: {realm}\n    service: {service}\n    issuer: {issuer}\n    \
                 rootcertbundle: {}\n",
                bundle.display()
            ));
        }
        fs::write(dir.join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let registry = Self { child, authority };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&registry.authority).is_err() {
            assert!(Instant::now() < end, "the registry does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// Puts an image there with skopeo.
    pub fn put(&self, made: &Made, name: &str, login: Option<&str>) {
        let dir = tempfile::tempdir().unwrap();
        made.write_layout(dir.path());
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]);
        if let Some(login) = login {
            command.args(["--dest-creds", login]);
        }
        let status = command
            .arg(format!("oci:{}:t", dir.path().display()))
            .arg(format!("docker://{}/{name}", self.authority))
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A request as the small server saw it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// An answer of the small server.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Closes the connection after so many bytes of the body.
    pub cut: Option<usize>,
    /// Waits so long before it closes the connection.
    pub stall: Duration,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cut: None, stall: Duration::ZERO }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, media_type: &str, bytes: &[u8]) -> Self {
        self.body = bytes.to_vec();
        self.with("Content-Type", media_type)
    }

    /// Answers with a blob, or with the part of it that was asked for.
    pub fn blob(seen: &Seen, bytes: &[u8]) -> Self {
        let first = seen.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match first {
            Some(first) if first < bytes.len() => Self::new(206)
                .with("Content-Range", &format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len()))
                .body("application/octet-stream", &bytes[first..]),
            Some(_) => Self::new(416),
            None => Self::new(200).body("application/octet-stream", bytes),
        }
    }

    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }
}

/// A small HTTP server, one request per connection.
pub struct Server {
    pub authority: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it. The handler gets each request, and the number of earlier ones to the same path.
    pub fn start(handler: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (seen, connections, stop) = (Arc::clone(&seen), Arc::clone(&connections), Arc::clone(&stop));
            let handler = Arc::new(handler);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    *connections.lock().unwrap() += 1;
                    let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                    thread::spawn(move || answer(stream.unwrap(), &seen, &*handler));
                }
            })
        };
        Self { authority, seen, connections, stop, thread: Some(thread) }
    }

    /// Serves an image under `/v2/app`, each of whose answers `change` may alter.
    pub fn of(
        made: &Made,
        more: Vec<Blob>,
        change: impl Fn(&Seen, usize, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let made = made.clone();
        Self::start(move |seen, before| {
            let digest = seen.path.rsplit('/').next().unwrap_or_default();
            let blob = made.blobs().chain(&more).find(|blob| blob.digest.as_str() == digest);
            let is_manifest = seen.path.contains("/manifests/");
            let reply = match blob {
                Some(blob) if is_manifest => Reply::new(200).body(media_type(&blob.bytes), &blob.bytes),
                Some(blob) => Reply::blob(seen, &blob.bytes),
                None if is_manifest => {
                    let top = more.last().unwrap_or(&made.manifest);
                    Reply::new(200).body(media_type(&top.bytes), &top.bytes)
                }
                None if seen.path == "/v2/" => Reply::new(200),
                None => Reply::new(404),
            };
            change(seen, before, reply)
        })
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// Lists the ranges that were asked for below a path.
    pub fn ranges(&self, part: &str) -> Vec<String> {
        let seen = self.seen();
        let asked = seen.iter().filter(|seen| seen.path.contains(part));
        asked.map(|seen| seen.header("range").unwrap_or("all").to_owned()).collect()
    }
}

fn media_type(bytes: &[u8]) -> &'static str {
    let index = bytes.windows(11).any(|window| window == b"\"manifests\"");
    if index { super::fixture::INDEX } else { super::fixture::MANIFEST }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(&self.authority));
        self.thread.take().map(JoinHandle::join);
    }
}

fn answer(stream: TcpStream, all: &Mutex<Vec<Seen>>, handler: &dyn Fn(&Seen, usize) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(mut seen) = read_request(&mut reader) else { return };
    let length = seen.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut seen.body).unwrap_or_default();
    let before = {
        let mut all = all.lock().unwrap();
        all.push(seen.clone());
        all.iter().filter(|other| other.path == seen.path).count() - 1
    };
    let reply = handler(&seen, before);
    let mut head =
        format!("HTTP/1.1 {} x\r\nConnection: close\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let body = if seen.method == "HEAD" { &[][..] } else { &reply.body };
    let sent = &body[..reply.cut.unwrap_or(body.len()).min(body.len())];
    let mut stream = stream;
    // The client may have gone; that is its right.
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent)).unwrap_or_default();
    thread::sleep(reply.stall);
}

fn read_request(reader: &mut impl BufRead) -> Option<Seen> {
    if reader.fill_buf().ok()?.first() == Some(&0x16) {
        return None; // A TLS handshake.
    }
    let mut bytes = Vec::new();
    reader.take(4096).read_until(b'\n', &mut bytes).ok()?;
    let line = String::from_utf8(bytes).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    if !words.next()?.starts_with("HTTP/1.1") {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Seen { method, path, headers, body: Vec::new() })
}
