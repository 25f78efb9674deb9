// SPDX-License-Identifier: Apache-2.0
//! A file of TOML that is understood as a whole or refused, with the place of every mistake.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use crate::error::{Error, Kind, Result};
use crate::options::size;

/// A value and its place.
pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// A file and its text, for errors.
pub(crate) struct File<'a> {
    /// Its name in errors.
    pub path: &'a Path,
    /// What is in it.
    pub text: &'a str,
    /// What kind of mistake one in it is.
    pub mistake: Kind,
}

impl<'a> File<'a> {
    /// Reads all of it.
    pub(crate) fn parse(&self) -> Result<Spanned<DeTable<'a>>> {
        DeTable::parse(self.text).map_err(|e| self.error(e.span().map_or(0, |span| span.start), e.message()))
    }

    /// Returns the line of a place, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.text.get(..offset).unwrap_or(self.text).matches('\n').count() + 1
    }

    pub(crate) fn error(&self, offset: usize, why: impl std::fmt::Display) -> Error {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = self.line(offset);
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        Error::new(self.mistake, format!("{}:{line}:{column}: {why}", self.path.display()))
    }

    pub(crate) fn wrong(&self, value: &Value<'_>, why: impl std::fmt::Display) -> Error {
        self.error(value.span().start, why)
    }

    /// Calls `f` for each key of a table; only known ones get there.
    pub(crate) fn each<'t>(
        &self,
        table: &'t DeTable<'_>,
        section: &str,
        known: &[&str],
        mut f: impl FnMut(&str, &'t Value<'_>) -> Result<()>,
    ) -> Result<()> {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let place = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
                let remedy = match nearest(name, known) {
                    Some(word) => format!("did you mean {word:?}?"),
                    None => format!("known are {}", known.join(", ")),
                };
                return Err(self.error(key.span().start, format!("unknown key {name:?}{place}; {remedy}")));
            }
            f(name, value)?;
        }
        Ok(())
    }

    pub(crate) fn table<'v, 'b>(&self, value: &'v Value<'b>) -> Result<&'v DeTable<'b>> {
        value.get_ref().as_table().ok_or_else(|| self.wrong(value, "this is a section, [NAME], of its own"))
    }

    pub(crate) fn string<'v>(&self, value: &'v Value<'_>) -> Result<&'v str> {
        value.get_ref().as_str().ok_or_else(|| self.wrong(value, "expected a word in quotes"))
    }

    pub(crate) fn word<T: Copy>(&self, value: &Value<'_>, words: &[(&str, T)]) -> Result<T> {
        let text = self.string(value)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.wrong(value, format!("{text:?} is not known here; {} are", known.join(", ")))
        })
    }

    /// A number above zero: a limit of nothing would let nothing pass.
    pub(crate) fn number(&self, value: &Value<'_>) -> Result<u64> {
        let number = value.get_ref().as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
        number.filter(|n| *n > 0).ok_or_else(|| self.wrong(value, "expected a number above 0"))
    }

    /// A number of bytes, or a text with a suffix.
    pub(crate) fn bytes(&self, value: &Value<'_>) -> Result<u64> {
        match value.get_ref().as_str() {
            None => self.number(value).map_err(|_| self.wrong(value, "expected a size above 0, such as \"64g\"")),
            Some(text) => match size(text) {
                Ok(0) => Err(self.wrong(value, "expected a size above 0, such as \"64g\"")),
                Ok(bytes) => Ok(bytes),
                Err(e) => Err(self.wrong(value, e)),
            },
        }
    }

    pub(crate) fn count(&self, value: &Value<'_>) -> Result<usize> {
        usize::try_from(self.number(value)?).map_err(|_| self.wrong(value, "this is too large"))
    }
}
