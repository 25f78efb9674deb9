// SPDX-License-Identifier: Apache-2.0
//! Containers that run by themselves, and do not outlive the test that made them.

use serde_json::Value;

use crate::home::Home;
use crate::host::{Process, mark};
use crate::images::BUSYBOX;
use crate::program::eventually;

/// A container of a home, removed by force when dropped.
#[derive(Debug)]
pub struct Detached<'h> {
    home: &'h Home,
    /// Its name.
    pub name: String,
    /// Its whole id; nothing for one that the test makes itself.
    pub id: String,
}

impl<'h> Detached<'h> {
    /// Runs `bryo run -d --name NAME` with further arguments; without a network, unless they name one.
    #[track_caller]
    pub fn run(home: &'h Home, name: &str, args: &[&str]) -> Self {
        let network: &[&str] = if args.contains(&"--network") { &[] } else { &["--network", "none"] };
        Self::made(home, name, &[&["run", "-d", "--name", name], network, args].concat())
    }

    /// Runs `bryo create --name NAME --network none` with further arguments.
    #[track_caller]
    pub fn create(home: &'h Home, name: &str, args: &[&str]) -> Self {
        Self::made(home, name, &[&["create", "--name", name, "--network", "none"], args].concat())
    }

    #[track_caller]
    fn made(home: &'h Home, name: &str, words: &[&str]) -> Self {
        let id = home.bryo(words).ok();
        assert_eq!(id.len(), 64, "{id}");
        Self { home, name: name.to_owned(), id }
    }

    /// Takes a name, which no other has, for a container that the test makes itself.
    pub fn named(home: &'h Home) -> Self {
        Self { home, name: format!("d{}", mark()), id: String::new() }
    }

    /// Runs a command of busybox by a name that no other has, with further flags for `run`.
    #[track_caller]
    pub fn busybox(home: &'h Home, flags: &[&str], command: &[&str]) -> Self {
        Self::of(home, BUSYBOX, flags, command)
    }

    /// As [`Detached::busybox`], in another image.
    #[track_caller]
    pub fn of(home: &'h Home, image: &str, flags: &[&str], command: &[&str]) -> Self {
        Self::run(home, &format!("d{}", mark()), &[flags, &[image], command].concat())
    }

    /// Runs a shell script in the background.
    #[track_caller]
    pub fn script(home: &'h Home, flags: &[&str], script: &str) -> Self {
        Self::busybox(home, flags, &["sh", "-c", script])
    }

    /// Runs a container that sleeps.
    #[track_caller]
    pub fn sleeper(home: &'h Home, flags: &[&str]) -> Self {
        Self::busybox(home, flags, &["sleep", "100000"])
    }

    /// Returns what `inspect` shows.
    #[track_caller]
    pub fn inspect(&self) -> Value {
        self.home.bryo(&["inspect", &self.name]).json()[0].clone()
    }

    /// Returns a field of its state.
    #[track_caller]
    pub fn state(&self, field: &str) -> Value {
        self.inspect()["State"][field].clone()
    }

    /// Returns how often it was started again by its policy.
    #[track_caller]
    pub fn restarts(&self) -> Value {
        self.inspect()["RestartCount"].clone()
    }

    /// Returns `running`, `exited`, ...
    #[track_caller]
    pub fn status(&self) -> String {
        self.state("Status").as_str().unwrap_or_default().to_owned()
    }

    /// Returns its process 1 on the host.
    #[track_caller]
    pub fn payload(&self) -> Process {
        let pid = self.state("Pid").as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
        assert_ne!(pid, 0, "{} does not run: {}", self.name, self.inspect()["State"]);
        Process(pid)
    }

    /// Returns the process that supervises it.
    #[track_caller]
    pub fn monitor(&self) -> Process {
        self.payload().parent()
    }

    /// Returns the process that ends it when its monitor was killed.
    #[track_caller]
    pub fn guardian(&self) -> Process {
        let payload = self.payload();
        let others = payload.parent().children().into_iter().filter(|p| *p != payload && !p.is_pasta());
        others.into_iter().next().unwrap()
    }

    /// Waits until it has a status.
    #[track_caller]
    pub fn until(&self, status: &str) {
        eventually(&format!("{} is {status}", self.name), || (self.status() == status).then_some(()));
    }

    /// Waits until it has ended, and returns its exit code.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        self.home.bryo(&["wait", &self.name]).ok().parse().unwrap()
    }

    /// Returns what it has written to its standard output.
    #[track_caller]
    pub fn said(&self) -> String {
        self.home.bryo(&["logs", &self.name]).ok()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub fn says(&self, text: &str) {
        eventually(&format!("{} says {text:?}", self.name), || self.said().contains(text).then_some(()));
    }

    /// Runs another process in it.
    #[track_caller]
    pub fn exec(&self, words: &[&str]) -> crate::Output {
        self.home.bryo(&[&["exec", &self.name], words].concat())
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let known = if self.id.is_empty() { &self.name } else { &self.id };
        let mut command = self.home.command(&["rm", "--force", known]);
        // A test that fails is told by its own words.
        let _gone = command.output();
    }
}
