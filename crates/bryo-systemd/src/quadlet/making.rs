// SPDX-License-Identifier: Apache-2.0
//! A unit that is being made: what it says so far, and what is wrong.

use std::path::Path;

use super::{Others, Source, install};
use crate::Scope;
use crate::generate::{Generator, Problem, Unit};
use crate::unit::{Entry, Output, boolean};
use crate::words::{self, is_open, literal};

/// What a key of a section becomes.
pub(super) enum Way {
    /// A flag for each value.
    Each(&'static str),
    /// A flag for the last value.
    Last(&'static str),
    /// A flag for each word of each value.
    Words(&'static str),
    /// Words for true and for false.
    Switch(&'static [&'static str], &'static [&'static str]),
    /// Something of its own.
    Own(fn(&mut Making<'_>, &[&Entry])),
    /// Something that is looked at elsewhere.
    Elsewhere,
    /// Nothing: why not, and what to do.
    Never(&'static str),
}

/// Keys and what they become, in the order of the command line.
pub(super) type Keys = [(&'static str, Way)];

/// A unit in the making.
pub(super) struct Making<'a> {
    pub generator: &'a Generator<'a>,
    pub source: &'a Source,
    pub others: &'a Others,
    pub section: &'static str,
    pub output: Output,
    /// The flags of the command.
    pub words: Vec<String>,
    /// Flags before every command of the unit.
    global: Vec<String>,
    /// The command that they are flags of, to ask about them: words before, and words behind.
    pub command: (&'static [&'static str], &'static [&'static str]),
    problems: Vec<Problem>,
}

impl<'a> Making<'a> {
    pub fn new(generator: &'a Generator<'a>, source: &'a Source, others: &'a Others, section: &'static str) -> Self {
        let (output, words, global, problems) = (Output::default(), Vec::new(), Vec::new(), Vec::new());
        let mut making =
            Self { generator, source, others, section, output, words, global, command: (&[], &[]), problems };
        making.global = making.passed_on("GlobalArgs").into_iter().flat_map(|(_, words)| words).collect();
        making
    }

    pub fn path(&self) -> &'a Path {
        &self.source.path
    }

    /// Refuses an entry.
    pub fn refuse(&mut self, entry: &Entry, why: impl std::fmt::Display) {
        self.problems.push(Problem::of_entry(entry, why));
    }

    /// Refuses the file as a whole.
    pub fn refuse_file(&mut self, why: impl Into<String>) {
        self.problems.push(Problem::of_file(self.path(), why));
    }

    /// Returns the last value of a key of the section.
    pub fn last(&self, key: &str) -> Option<&'a Entry> {
        self.source.file.last(self.section, key)
    }

    /// Returns the last value of a key of `[Service]`.
    pub fn service(&self, key: &str) -> Option<&'a Entry> {
        self.source.file.last("Service", key)
    }

    /// Adds words to the command, if bryo understands them.
    pub fn add<W: AsRef<str>>(&mut self, entry: &Entry, words: &[W]) {
        self.ask(entry, words);
        self.words.extend(words.iter().map(|word| word.as_ref().to_owned()));
    }

    /// Adds words that mean something only beside those of another flag, if bryo understands them together.
    pub fn add_beside(&mut self, entry: &Entry, flag: &str, words: &[&str]) {
        let others = self.words.windows(2).filter(|pair| pair[0] == flag).flatten();
        let together: Vec<String> = others.cloned().chain(words.iter().map(|w| (*w).to_owned())).collect();
        self.ask(entry, &together);
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
    }

    /// Asks bryo whether it understands words. What systemd will put in the place of specifiers nobody knows yet.
    pub fn ask<W: AsRef<str>>(&mut self, entry: &Entry, words: &[W]) {
        if words.iter().any(|word| is_open(word.as_ref())) {
            return;
        }
        let (before, behind) = self.command;
        let command: Vec<&str> =
            before.iter().copied().chain(words.iter().map(AsRef::as_ref)).chain(behind.iter().copied()).collect();
        if let Err(why) = (self.generator.check)(&command) {
            let said: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
            let missing = why.strip_prefix("unexpected argument '").and_then(|rest| rest.split('\'').next());
            match missing {
                Some(flag) => self.refuse(entry, format!("bryo has no {flag}; leave it out")),
                None => {
                    let why = why.strip_prefix(&format!("{}: ", said.join(" "))).unwrap_or(&why).to_owned();
                    self.refuse(entry, why);
                }
            }
        }
    }

    /// Splits a value into words.
    pub fn split(&mut self, entry: &Entry) -> Vec<String> {
        words::split(&entry.value).unwrap_or_else(|why| {
            self.refuse(entry, why);
            Vec::new()
        })
    }

    /// Reads a value as a boolean.
    pub fn boolean(&mut self, entry: &Entry) -> Option<bool> {
        let value = boolean(&entry.value);
        if value.is_none() {
            self.refuse(entry, "expected true or false");
        }
        value
    }

    /// Carries out the keys of the section, and refuses those that are not known.
    pub fn keys(&mut self, keys: &'static Keys) {
        let entries = self.source.file.entries(self.section);
        for entry in entries.iter().filter(|entry| !keys.iter().any(|(key, _)| *key == entry.key)) {
            self.refuse(entry, format!("there is no such key in [{}]", self.section));
        }
        for (key, way) in keys {
            let values = self.source.file.all(self.section, key);
            if !values.is_empty() {
                self.carry_out(way, &values);
            }
        }
    }

    fn carry_out(&mut self, way: &Way, values: &[&Entry]) {
        let last = values[values.len() - 1];
        match way {
            Way::Each(flag) => values.iter().for_each(|entry| self.add(entry, &[flag, &entry.value.as_str()])),
            Way::Last(flag) => self.add(last, &[*flag, &last.value]),
            Way::Words(flag) => {
                for entry in values {
                    for word in self.split(entry) {
                        self.add(entry, &[*flag, &word]);
                    }
                }
            }
            Way::Switch(on, off) => match self.boolean(last) {
                Some(true) => self.add(last, on),
                Some(false) => self.add(last, off),
                None => (),
            },
            Way::Own(carry_out) => carry_out(self, values),
            Way::Elsewhere => (),
            Way::Never(why) => values.iter().for_each(|entry| self.refuse(entry, why)),
        }
    }

    /// Returns the words that a key passes on as they are.
    pub fn passed_on(&mut self, key: &str) -> Vec<(&'a Entry, Vec<String>)> {
        let values = self.source.file.all(self.section, key);
        values.into_iter().map(|entry| (entry, self.split(entry))).collect()
    }

    /// Returns a command line of bryo.
    pub fn command_line<W: AsRef<str>>(&self, words: &[W]) -> String {
        let program = literal(&self.generator.program.to_string_lossy());
        let whole = std::iter::once(program.as_str()).chain(self.global.iter().map(String::as_str));
        words::join(whole.chain(words.iter().map(AsRef::as_ref)))
    }

    /// Returns the unit with its links, or what is wrong.
    pub fn finish(mut self) -> Result<Unit, Vec<Problem>> {
        let name = self.source.describe().service;
        let links = install::links(&mut self, &name);
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        Ok(Unit { text: self.output.text(self.path()), source: self.path().to_owned(), name, links })
    }

    pub fn is_system(&self) -> bool {
        self.generator.scope == Scope::System
    }
}
