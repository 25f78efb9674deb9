// SPDX-License-Identifier: Apache-2.0
//! Running a program to its end, or watching it run, never longer than a test may wait.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take unless a test says otherwise. Machines that test are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a program did.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, as text.
    pub stderr: String,
    /// The command, for messages.
    pub command: String,
}

impl Output {
    /// Returns its standard output as text without the last newline, after asserting that it succeeded.
    #[track_caller]
    pub fn ok(&self) -> String {
        self.code(0)
    }

    /// Returns its standard output as text without the last newline, after asserting its exit code.
    #[track_caller]
    pub fn code(&self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self.text()
    }

    /// Asserts that it failed with a code and one clear error that names all the words; returns standard error.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) -> &str {
        assert_eq!(self.status.code(), Some(code), "{self}");
        let lower = self.stderr.to_lowercase();
        for word in words {
            assert!(lower.contains(&word.to_lowercase()), "no {word:?} in the error of {self}");
        }
        assert!(!lower.contains("panicked"), "{self}");
        &self.stderr
    }

    /// Returns its standard output as text without the last newline.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.stdout);
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    }

    /// Returns its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap_or_else(|e| panic!("{e}: {self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let signal = self.status.signal();
        write!(f, "{}\n  exit {:?} signal {signal:?}\n", self.command, self.status.code())?;
        write!(f, "  stdout: {}\n  stderr: {}", clip(&self.text()), clip(&self.stderr))
    }
}

fn clip(text: &str) -> String {
    text.chars().take(4000).collect()
}

/// A program that runs. It is killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    command: String,
}

impl Running {
    /// Starts a command; its output is collected. Standard input is a pipe when `feed` says so, else empty.
    pub fn start(mut command: Command, feed: bool) -> Self {
        let shown = format!("{:?}", command.get_args().collect::<Vec<_>>());
        command.stdin(if feed { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{shown}: {e}"));
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Self { child, stdout, stderr, command: shown }
    }

    /// Returns its process id. The helpers that start it replace themselves, so this is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input; `false` when it no longer reads.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        self.child.stdin.as_mut().is_some_and(|s| s.write_all(bytes).and_then(|()| s.flush()).is_ok())
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(pid, signal);
        }
    }

    /// Tells whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, but no longer than [`PATIENCE`].
    #[track_caller]
    pub fn wait(self) -> Output {
        self.wait_for(PATIENCE)
    }

    /// Waits for its end, but no longer than it may take.
    ///
    /// # Panics
    ///
    /// If it takes longer; it is killed then.
    #[track_caller]
    pub fn wait_for(mut self, patience: Duration) -> Output {
        self.child.stdin = None;
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        let mut late = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > patience && !late {
                late = true;
                self.child.kill().unwrap();
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        };
        // A process that outlives its parent may hold the pipes open; what was read until then must do.
        let out = gather(self.stdout.take());
        let err = gather(self.stderr.take());
        let stderr = String::from_utf8_lossy(&err).into_owned();
        let output = Output { status, stdout: out, stderr, command: std::mem::take(&mut self.command) };
        assert!(!late, "took longer than {patience:?}: {output}");
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _partial = from.read_to_end(&mut all);
        all
    })
}

fn gather(reader: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    let Some(reader) = reader else { return Vec::new() };
    let start = Instant::now();
    while !reader.is_finished() {
        assert!(start.elapsed() < Duration::from_secs(10), "something still holds the output of an ended program");
        std::thread::sleep(Duration::from_millis(2));
    }
    reader.join().unwrap()
}

/// Runs a program of the host to its end and asserts that it succeeded.
#[track_caller]
pub fn tool(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args);
    Running::start(command, false).wait_for(Duration::from_secs(600)).ok()
}

/// Waits until something is there.
///
/// # Panics
///
/// If it takes longer than 30 s.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "never came true: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
