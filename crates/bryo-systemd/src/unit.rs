// SPDX-License-Identifier: Apache-2.0
//! The text of unit files. Source: `systemd.syntax(7)`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::words::literal;

/// One `Key=value`, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value: lines that go on are joined by a blank.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Rc<Path>,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// The sections of one or more files, in the order in which they were read.
#[derive(Debug, Clone, Default)]
pub struct File {
    sections: Vec<(String, Vec<Entry>)>,
}

/// Text that is no unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub why: String,
}

impl File {
    /// Adds a file: to sections that are there already, its entries come last.
    ///
    /// # Errors
    ///
    /// Every line that is none. systemd would pass over it; a container that is less confined than it was meant to be
    /// is worse than none.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), Vec<Malformed>> {
        let file: Rc<Path> = Rc::from(path);
        let mut section: Option<usize> = None;
        let mut wrong = Vec::new();
        for (line, text) in logical_lines(text) {
            let place = Place { file: Rc::clone(&file), line };
            let mut bad = |why: &str| wrong.push(Malformed { place: place.clone(), why: why.into() });
            if let Some(name) = text.strip_prefix('[') {
                match name.strip_suffix(']').filter(|name| !name.is_empty()) {
                    Some(name) => section = Some(self.section_index(name)),
                    None => bad("a section's line does not end with \"]\""),
                }
                continue;
            }
            let pair = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            match (pair.filter(|(key, _)| !key.is_empty()), section) {
                (None, _) => bad("this is no section, no KEY=VALUE, and no comment"),
                (_, None) => bad("this stands before the first section"),
                (Some((key, value)), Some(n)) => {
                    self.sections[n].1.push(Entry { key: key.into(), value: value.into(), place });
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn section_index(&mut self, name: &str) -> usize {
        match self.sections.iter().position(|(other, _)| other == name) {
            Some(n) => n,
            None => {
                self.sections.push((name.to_owned(), Vec::new()));
                self.sections.len() - 1
            }
        }
    }

    /// Returns the names of the sections.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the entries of a section.
    pub fn entries(&self, section: &str) -> &[Entry] {
        self.sections.iter().find(|(name, _)| name == section).map_or(&[], |(_, entries)| entries)
    }

    /// Returns the values of a key that are in force: an empty one takes back those before it.
    pub fn all(&self, section: &str, key: &str) -> Vec<&Entry> {
        let mut values: Vec<&Entry> = Vec::new();
        for entry in self.entries(section).iter().filter(|entry| entry.key == key) {
            if entry.value.is_empty() {
                values.clear();
            } else {
                values.push(entry);
            }
        }
        values
    }

    /// Returns the value of a key that has one: the last.
    pub fn last(&self, section: &str, key: &str) -> Option<&Entry> {
        self.all(section, key).pop()
    }
}

/// Returns lines with their numbers: without comments and empty ones, those that go on joined. Source:
/// `systemd.syntax(7)`: a backslash at the end and the line's end are a blank, and comments between are passed over.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut going_on = false;
    for (n, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with(['#', ';']) {
            continue;
        }
        let (line, goes_on) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| going_on) {
            Some((_, begun)) => {
                begun.push(' ');
                begun.push_str(line.trim_start());
            }
            None if trimmed.is_empty() => continue,
            None => lines.push((n + 1, line.trim_start().to_owned())),
        }
        going_on = goes_on;
    }
    lines.into_iter().map(|(n, line)| (n, line.trim_end().to_owned())).collect()
}

/// A unit that is written.
#[derive(Debug, Clone, Default)]
pub struct Output {
    sections: Vec<(&'static str, Vec<(String, String)>)>,
}

impl Output {
    /// Adds an entry to a section.
    pub fn push(&mut self, section: &'static str, key: &str, value: impl Into<String>) {
        let pair = (key.to_owned(), value.into());
        match self.sections.iter_mut().find(|(name, _)| *name == section) {
            Some((_, entries)) => entries.push(pair),
            None => self.sections.push((section, vec![pair])),
        }
    }

    /// Returns the text.
    pub fn text(&self, source: &Path) -> String {
        let mut text = format!("# Made by bryo from {}; changes belong there.\n", source.display());
        for (section, entries) in &self.sections {
            text.push_str(&format!("\n[{section}]\n"));
            for (key, value) in entries {
                text.push_str(&format!("{key}={value}\n"));
            }
        }
        text
    }
}

/// Reads a boolean. Source: `systemd.syntax(7)`.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// Returns the parts of a unit's file name: what it is called without its kind, and the kind.
pub fn split_name(path: &Path) -> Option<(String, String)> {
    let stem = path.file_stem()?.to_str()?.to_owned();
    Some((stem, path.extension()?.to_str()?.to_owned()))
}

/// Returns the template that a name is an instance of, and the instance, which the template itself has not:
/// `a@b` is the instance `b` of `a@`.
pub fn template(stem: &str) -> Option<(String, &str)> {
    let (name, instance) = stem.split_once('@')?;
    Some((format!("{name}@"), instance))
}

/// Resolves a path of a unit against the directory of its file. One that begins with a specifier is left alone.
pub fn absolute(text: &str, file: &Path) -> String {
    if text.starts_with(['/', '%']) {
        return text.to_owned();
    }
    let parent = file.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let mut path = PathBuf::from(literal(&parent));
    for part in Path::new(text).components() {
        match part {
            std::path::Component::ParentDir => drop(path.pop()),
            std::path::Component::CurDir => (),
            part => path.push(part),
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> File {
        let mut file = File::default();
        file.add(Path::new("/x"), text).unwrap();
        file
    }

    #[test]
    fn lines_go_on_and_comments_are_passed_over() {
        let file = parse("# c\n[A]\nk = v \n; c\n\nl=a \\\n# between\n  b\\\n\n[B]\nk=1\n[A]\n  k=w\n");
        assert_eq!(file.sections().collect::<Vec<_>>(), ["A", "B"]);
        let of_a: Vec<_> = file.entries("A").iter().map(|e| (e.key.as_str(), e.value.as_str(), e.place.line)).collect();
        assert_eq!(of_a, [("k", "v", 3), ("l", "a  b", 6), ("k", "w", 13)]);
        assert_eq!(file.last("A", "k").unwrap().value, "w");
        assert_eq!(file.entries("C"), []);
    }

    #[test]
    fn an_empty_value_takes_back_those_before() {
        let file = parse("[A]\nk=1\nk=\nk=2\nk=3\n");
        assert_eq!(file.all("A", "k").iter().map(|e| e.value.as_str()).collect::<Vec<_>>(), ["2", "3"]);
        assert_eq!(parse("[A]\nk=1\nk=\n").last("A", "k"), None);
    }

    #[test]
    fn what_is_no_line_is_told_with_its_number() {
        let mut file = File::default();
        let wrong = file.add(Path::new("/x"), "k=v\n[A\n[]\n[A]\nword\n=v\nk=v\n").unwrap_err();
        assert_eq!(wrong.iter().map(|w| w.place.line).collect::<Vec<_>>(), [1, 2, 3, 5, 6]);
        assert_eq!(wrong[0].place.to_string(), "/x:1");
    }

    #[test]
    fn names_have_kinds_templates_and_instances() {
        assert_eq!(split_name(Path::new("/a/b.c.container")).unwrap(), ("b.c".into(), "container".into()));
        assert_eq!(template("a@b"), Some(("a@".into(), "b")));
        assert_eq!(template("a@"), Some(("a@".into(), "")));
        assert_eq!(template("a"), None);
        for (text, path) in
            [("./x", "/u/x"), ("x/y", "/u/x/y"), ("../x", "/x"), ("/x", "/x"), ("%h/x", "%h/x"), ("./%n", "/u/%n")]
        {
            assert_eq!(absolute(text, Path::new("/u/f.container")), path);
        }
        assert_eq!(absolute("x%i", Path::new("/50%/f")), "/50%%/x%i");
    }
}
