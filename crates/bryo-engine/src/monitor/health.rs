// SPDX-License-Identifier: Apache-2.0
//! Health checks, run by the monitor itself: no timer of anybody else, no new engine process.
//!
//! A check is a process that enters the container as `exec` does. The monitor starts it when it is due, listens to it
//! beside everything else, and kills it when it takes too long.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bryo_launch::enter::{Entered, Entry, enter};
use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::container::{Health, HealthResult, Record};
use crate::exec;
use crate::options::Check;
use crate::time::now;

/// How much of a check's output is kept. Source: Docker.
const OUTPUT: usize = 4096;

/// The checks of one run of a payload.
#[derive(Debug)]
pub(super) struct Checker {
    check: Check,
    /// When the payload was started.
    began: Instant,
    due: Instant,
    running: Option<Probe>,
}

/// A check that runs.
#[derive(Debug)]
struct Probe {
    process: Entered,
    outputs: Vec<OwnedFd>,
    output: Vec<u8>,
    since: String,
    deadline: Instant,
    ended: bool,
}

/// What a check found: its exit code, -1 for one that took too long, and what it said.
struct Verdict {
    code: i32,
    output: String,
    since: String,
}

impl Checker {
    /// Begins with a payload that has just been started.
    pub fn new(check: Check) -> Self {
        let began = Instant::now();
        let due = began + if check.start_period.is_zero() { check.interval } else { check.start_interval };
        Self { check, began, due, running: None }
    }

    /// Returns when there is something to do even if nothing is ready.
    pub fn deadline(&self) -> Instant {
        self.running.as_ref().map_or(self.due, |probe| probe.deadline)
    }

    /// Tells whether there is something to do.
    pub fn is_due(&self) -> bool {
        self.running.is_some() || Instant::now() >= self.due
    }

    /// Returns what to listen to.
    pub fn waits_for(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let ended = self.running.iter().filter(|p| !p.ended).map(|p| (p.process.pidfd(), PollFlags::IN));
        let outputs = self.running.iter().flat_map(|p| p.outputs.iter().map(|fd| (fd.as_fd(), PollFlags::IN)));
        ended.chain(outputs)
    }

    /// Does what is to be done now; true when the container's health has changed and has to be written down.
    pub fn step(&mut self, record: &mut Record, container: BorrowedFd<'_>) -> bool {
        let now = Instant::now();
        if self.running.is_none() && now >= self.due {
            match self.start(record, container) {
                Ok(probe) => self.running = Some(probe),
                Err(output) => {
                    let since = crate::time::now();
                    self.schedule(now);
                    return self.judge(record, Verdict { code: -1, output, since });
                }
            }
        }
        let Some(mut probe) = self.running.take() else { return false };
        probe.listen();
        if !probe.over() && now < probe.deadline {
            self.running = Some(probe);
            return false;
        }
        self.schedule(now);
        let verdict = probe.verdict(self.check.timeout);
        self.judge(record, verdict)
    }

    fn schedule(&mut self, now: Instant) {
        let starting = now.duration_since(self.began) < self.check.start_period;
        self.due = now + if starting { self.check.start_interval } else { self.check.interval };
    }

    fn start(&self, record: &Record, container: BorrowedFd<'_>) -> Result<Probe, String> {
        let options = exec::ExecOptions { command: self.check.command.clone(), ..Default::default() };
        let ids = record.identity.map().map_err(|e| e.to_string())?;
        let spec = exec::spec(record, &options, &ids, None).map_err(|e| e.to_string())?;
        let group = exec::group(record).map_err(|e| e.to_string())?;
        let entry = Entry {
            spec: &spec,
            ids: &ids,
            container,
            interactive: false,
            detached: false,
            landlock: exec::landlock(record),
            ports: exec::ports(record),
            patience: Some(self.check.timeout),
            group: group.as_ref().map(AsFd::as_fd),
        };
        let mut process = enter(&entry).map_err(|e| e.to_string())?;
        let streams = process.take_streams();
        let outputs: Vec<OwnedFd> = streams.stdout.into_iter().chain(streams.stderr).collect();
        for output in &outputs {
            // Our end is nobody else's.
            let _ = rustix::io::ioctl_fionbio(output, true);
        }
        let deadline = Instant::now() + self.check.timeout;
        Ok(Probe { process, outputs, output: Vec::new(), since: now(), deadline, ended: false })
    }

    /// Counts a result. A failure in the start period does not count, a success ends it.
    fn judge(&mut self, record: &mut Record, verdict: Verdict) -> bool {
        let starting = self.began.elapsed() < self.check.start_period;
        let health = record.state.health.get_or_insert_with(Health::starting);
        if verdict.code == 0 {
            self.check.start_period = Duration::ZERO;
            (health.status, health.failing_streak) = ("healthy".into(), 0);
        } else if !(starting && health.status == "starting") {
            health.failing_streak += 1;
            if health.failing_streak >= self.check.retries {
                health.status = "unhealthy".into();
            }
        }
        health.add(HealthResult { start: verdict.since, end: now(), exit_code: verdict.code, output: verdict.output });
        true
    }
}

impl Probe {
    fn listen(&mut self) {
        let mut buffer = [0; OUTPUT];
        self.outputs.retain(|output| {
            loop {
                match rustix::io::read(output, &mut buffer) {
                    Err(Errno::AGAIN | Errno::INTR) => return true,
                    Ok(0) | Err(_) => return false,
                    Ok(n) => {
                        let room = OUTPUT - self.output.len();
                        self.output.extend_from_slice(&buffer[..n.min(room)]);
                    }
                }
            }
        });
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(self.process.pidfd(), PollFlags::IN)];
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        self.ended |= rustix::event::poll(&mut fds, Some(&at_once)) == Ok(1);
    }

    /// What it has left behind may keep its output; its own end is what counts.
    fn over(&self) -> bool {
        self.ended
    }

    fn verdict(self, timeout: Duration) -> Verdict {
        let Self { process, output, since, ended, .. } = self;
        if !ended {
            // Dropped, it is killed.
            drop(process);
            let output = format!("health check exceeded its timeout of {timeout:?}");
            return Verdict { code: -1, output, since };
        }
        let code = process.wait().unwrap_or(-1);
        Verdict { code, output: String::from_utf8_lossy(&output).into_owned(), since }
    }
}
