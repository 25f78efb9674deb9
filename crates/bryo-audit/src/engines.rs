// SPDX-License-Identifier: Apache-2.0
//! Other engines on this machine, asked through their sockets: HTTP/1.1 over a Unix socket, which Docker and Podman
//! speak alike.
//!
//! Only questions are asked. An answer is bounded in length and time, and is believed no more than a file.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::facts::workload::Workload;
use crate::facts::yaml;
use crate::kernel;

/// The longest answer of text, in bytes.
const ANSWER_MAX: u64 = 64 << 20;

/// How long an engine may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine, by its socket.
#[derive(Clone, Debug)]
pub struct Engine {
    /// What it is called in reports.
    pub name: &'static str,
    /// The socket.
    pub socket: PathBuf,
}

/// A failure of an engine, in words.
pub type Result<T> = std::result::Result<T, String>;

impl Engine {
    /// Lists the ids and names of the running containers.
    ///
    /// # Errors
    ///
    /// What the engine, or the way to it, fails with.
    pub fn containers(&self) -> Result<Vec<(String, String)>> {
        let text = self.text("/containers/json")?;
        let list: Vec<serde_json::Value> = serde_json::from_str(&text).map_err(|error| self.wrong(&error))?;
        let one = |value: &serde_json::Value| {
            let id = value["Id"].as_str()?.to_owned();
            let name = value["Names"][0].as_str().unwrap_or(&id).trim_start_matches('/').to_owned();
            Some((id, name))
        };
        Ok(list.iter().filter_map(one).collect())
    }

    /// Returns what the engine says of a container.
    ///
    /// # Errors
    ///
    /// As for [`Engine::containers`].
    pub fn inspect(&self, name: &str) -> Result<String> {
        self.text(&format!("/containers/{}/json", encoded(name)))
    }

    /// Adds what the engine and the kernel know of a running container besides.
    pub fn more(&self, inspected: &str, made: &mut Workload) {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(inspected) else { return };
        let id = value["Id"].as_str().unwrap_or_default();
        if let Ok(text) = self.text(&format!("/containers/{}/changes", encoded(id)))
            && let Ok(serde_json::Value::Array(changes)) = serde_json::from_str(&text)
        {
            let one = |change: &serde_json::Value| {
                let kind = change["Kind"].as_u64().and_then(|kind| u8::try_from(kind).ok())?;
                Some((kind, change["Path"].as_str()?.to_owned()))
            };
            made.changes = changes.iter().filter_map(one).collect();
        }
        for exec in value["ExecIDs"].as_array().into_iter().flatten().filter_map(|id| id.as_str()).take(100) {
            let Ok(text) = self.text(&format!("/exec/{}/json", encoded(exec))) else { continue };
            let Ok(exec) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
            if exec["Running"].as_bool() == Some(true) {
                let process = &exec["ProcessConfig"];
                let privileged = process["privileged"].as_bool() == Some(true);
                made.execs.extend(process["user"].as_str().map(|user| (user.to_owned(), privileged)));
            }
        }
        made.not_enforced = self.not_enforced(made);
        let pid = value["State"]["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        made.process = pid.filter(|pid| *pid > 0).and_then(kernel::process);
        kernel::complete(made);
    }

    /// Lists the limits that were asked for and that the engine says it cannot keep.
    fn not_enforced(&self, made: &Workload) -> Vec<String> {
        let info = self.text("/info").ok().and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let Some(info) = info else { return Vec::new() };
        let asked = [(made.memory, "memory limit"), (made.cpu, "cpu"), (made.pids, "pids limit")];
        let warnings = info["Warnings"].as_array().into_iter().flatten().filter_map(|warning| warning.as_str());
        let fits = |warning: &&str| {
            let lower = warning.to_ascii_lowercase();
            lower.contains("no ") && asked.iter().any(|(asked, word)| *asked && lower.contains(word))
        };
        warnings.filter(fits).map(str::to_owned).collect()
    }

    /// Opens an image as `docker save` writes it. The stream is the archive.
    ///
    /// # Errors
    ///
    /// As for [`Engine::containers`].
    pub fn image(&self, name: &str) -> Result<Body> {
        self.get(&format!("/images/{}/get", encoded(name)))
    }

    fn text(&self, path: &str) -> Result<String> {
        let mut text = String::new();
        let body = self.get(path)?;
        let read = body.take(ANSWER_MAX).read_to_string(&mut text);
        read.map_err(|error| self.wrong(&error))?;
        Ok(text)
    }

    fn get(&self, path: &str) -> Result<Body> {
        let failed = |error: io::Error| format!("ask {} at {}: {error}", self.name, self.socket.display());
        let mut stream = UnixStream::connect(&self.socket).map_err(failed)?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(failed)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let (status, body) = answer(stream).map_err(failed)?;
        if status == 200 {
            return Ok(body);
        }
        let mut text = String::new();
        body.take(4096).read_to_string(&mut text).unwrap_or_default();
        let said = serde_json::from_str::<serde_json::Value>(&text).ok();
        let message = said.as_ref().and_then(|said| said["message"].as_str()).unwrap_or("it gives no reason");
        Err(format!("{} answers {status}: {message}", self.name))
    }

    fn wrong(&self, error: &dyn std::fmt::Display) -> String {
        format!("{} gives an answer that is not understood: {error}", self.name)
    }
}

/// Writes a name as a part of an address.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-:@".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The body of an answer.
#[derive(Debug)]
pub struct Body {
    stream: BufReader<UnixStream>,
    left: Left,
}

/// How much of a body is left.
#[derive(Debug)]
enum Left {
    /// Up to the end of the stream.
    All,
    /// So many bytes.
    Bytes(u64),
    /// So many bytes of a piece, and then others.
    Piece(u64),
    /// Nothing.
    Nothing,
}

/// The longest line of a header, in bytes.
const LINE_MAX: u64 = 16 << 10;

fn line(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    let read = stream.by_ref().take(LINE_MAX).read_line(&mut line)?;
    if read == 0 || !line.ends_with('\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of the answer has no end"));
    }
    Ok(line.trim_end().to_owned())
}

/// Reads status and headers. Source: RFC 9112.
fn answer(stream: UnixStream) -> io::Result<(u16, Body)> {
    let mut stream = BufReader::new(stream);
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP");
    let first = line(&mut stream)?;
    let status =
        first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok()).ok_or_else(wrong)?;
    let mut left = Left::All;
    for _ in 0..100 {
        let header = line(&mut stream)?;
        if header.is_empty() {
            return Ok((status, Body { stream, left }));
        }
        let (name, value) = header.split_once(':').ok_or_else(wrong)?;
        if name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked") {
            left = Left::Piece(0);
        } else if name.eq_ignore_ascii_case("content-length") && matches!(left, Left::All) {
            left = Left::Bytes(value.trim().parse().map_err(|_| wrong())?);
        }
    }
    Err(wrong())
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Left::Piece(0) = self.left {
            let mut size = line(&mut self.stream)?;
            if size.is_empty() {
                size = line(&mut self.stream)?;
            }
            let digits = size.split(';').next().unwrap_or_default().trim();
            let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, "the length of a piece is no number");
            self.left = match u64::from_str_radix(digits, 16).map_err(wrong)? {
                0 => Left::Nothing,
                more => Left::Piece(more),
            };
        }
        let most = match self.left {
            Left::All => u64::MAX,
            Left::Bytes(left) | Left::Piece(left) => left,
            Left::Nothing => 0,
        };
        let len = usize::try_from(most).map_or(buf.len(), |most| most.min(buf.len()));
        let read = if len == 0 { 0 } else { self.stream.read(&mut buf[..len])? };
        if read == 0 && len > 0 && !matches!(self.left, Left::All) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ends too early"));
        }
        match &mut self.left {
            Left::Bytes(left) | Left::Piece(left) => *left -= read as u64,
            Left::All | Left::Nothing => {}
        }
        Ok(read)
    }
}

/// Tells whether an answer describes a container, so that a name can be looked for in several places.
pub fn describes_container(text: &str) -> bool {
    yaml::parse(text).is_ok_and(|all| all.iter().any(|node| crate::facts::container::is_inspect(node)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves one answer, and returns the engine to ask.
    fn engine(answer: &'static [u8]) -> (Engine, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer);
        });
        (Engine { name: "docker", socket }, dir)
    }

    #[test]
    fn answers_are_read_in_every_form() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n[{\"Id\":\"x\",\"Names\":[\"/y\"]}]"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{\"Id\r\n16;a=b\r\n\":\"x\",\"Names\":[\"/y\"]}]\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n[{\"Id\":\"x\",\"Names\":[\"/y\"]}]",
        ] {
            let (engine, _dir) = engine(answer);
            assert_eq!(engine.containers(), Ok(vec![("x".to_owned(), "y".to_owned())]));
        }
    }

    #[test]
    fn wrong_answers_are_failures() {
        for answer in [
            &b"HTTP/1.1 404 Not Found\r\n\r\n{\"message\":\"no such container\"}"[..],
            b"SSH-2.0\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[]",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"",
        ] {
            let (engine, _dir) = engine(answer);
            assert!(engine.containers().is_err(), "{answer:?}");
        }
        let nobody = Engine { name: "docker", socket: "/nonexistent".into() };
        assert!(nobody.containers().unwrap_err().contains("/nonexistent"));
    }
}
