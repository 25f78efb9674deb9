// SPDX-License-Identifier: Apache-2.0
//! Containers that run by themselves, and do not outlive the test that made them.

use crate::home::Home;

/// A container of a home, removed by force when dropped.
#[derive(Debug)]
pub struct Detached<'h> {
    home: &'h Home,
    /// Its name.
    pub name: String,
    /// Its whole id.
    pub id: String,
}

impl<'h> Detached<'h> {
    /// Runs `bryo run -d --name NAME --network none` with further arguments.
    #[track_caller]
    pub fn run(home: &'h Home, name: &str, args: &[&str]) -> Self {
        Self::made(home, name, &[&["run", "-d", "--name", name, "--network", "none"], args].concat())
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
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let mut command = self.home.command(&["rm", "--force", &self.id]);
        // A test that fails is told by its own words.
        let _gone = command.output();
    }
}
