// SPDX-License-Identifier: Apache-2.0
//! What is taken out of an image so that no service of it tries to become who it is: giving its groups away fails
//! without root, also where nothing would change.

use std::path::PathBuf;

use crate::derive::Hardening;
use crate::shell::quoted;

use super::shims;

/// What a line begins with that was taken out. It has nothing in it that a shell or an expression of `sed` reads.
pub(super) const MARK: &str = "# taken out by bryo harden: ";

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenOut {
    /// Lines of configuration.
    pub files: Vec<Edit>,
    /// Flags in the words that the image is started with.
    pub start: Option<Start>,
    /// Programs that a script calls with such flags.
    pub programs: Vec<Filter>,
}

/// A file in which lines have become remarks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The file, absolute.
    pub path: PathBuf,
    /// The lines, from 1, as they were.
    pub lines: Vec<(usize, String)>,
    /// What is in it now.
    pub content: Vec<u8>,
}

/// The words of a start without some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The entrypoint.
    pub entrypoint: Vec<String>,
    /// The command.
    pub cmd: Vec<String>,
    /// What was taken out.
    pub taken: String,
}

/// A program that is to be called without some of its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its name, as a script calls it.
    pub name: String,
    /// Where it lies, absolute.
    pub path: PathBuf,
    /// The flags, each with a value.
    pub flags: Vec<String>,
}

impl Edit {
    /// Makes lines, counted from 0, of a file into remarks.
    pub fn new(path: PathBuf, content: &[u8], lines: &[usize]) -> Self {
        let mut edit = Self { path, lines: Vec::new(), content: Vec::new() };
        for (at, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if lines.contains(&at) {
                edit.content.extend_from_slice(MARK.as_bytes());
                edit.lines.push((at + 1, String::from_utf8_lossy(line).trim().to_owned()));
            }
            edit.content.extend_from_slice(line);
        }
        edit
    }
}

impl TakenOut {
    /// Says what was taken out, each thing in a line.
    pub fn told(&self) -> Vec<String> {
        let lines = |edit: &Edit| {
            let (path, lines) = (edit.path.display().to_string(), edit.lines.clone());
            lines.into_iter().map(move |(at, line)| format!("taken out of {path}:{at}: {line}"))
        };
        let mut told: Vec<String> = self.files.iter().flat_map(lines).collect();
        told.extend(self.start.iter().map(|start| format!("taken out of the command: {}", start.taken)));
        let calls = self.programs.iter();
        told.extend(calls.map(|it| format!("taken out of each call of {}: {}", it.name, it.flags.join(", "))));
        told
    }

    /// Adds what a layer needs for it.
    pub(super) fn prepare(&self, hardening: &mut Hardening) {
        hardening.programs.extend(self.programs.iter().map(shims::without));
        hardening.programs.sort();
        hardening.files = self.files.iter().map(|edit| (edit.path.clone(), edit.content.clone())).collect();
    }

    /// Returns a line for a Dockerfile that does to a file what an edit did.
    pub(super) fn instruction(edit: &Edit) -> String {
        let name = edit.path.to_string_lossy();
        // A line's end would be the end of the instruction.
        if name.contains(char::is_control) || edit.path.to_str().is_none() {
            return format!("# {}: a name that cannot be written here\n", name.escape_debug());
        }
        let script: Vec<String> = edit.lines.iter().map(|(line, _)| format!("{line}s/^/{MARK}/")).collect();
        format!("RUN sed -i '{}' {}\n", script.join(";"), quoted(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_remarks_and_the_rest_stays() {
        let edit = Edit::new("/etc/x".into(), b"uid = a\r\n[m]\n  gid = b", &[0, 2]);
        assert_eq!(edit.lines, [(1, "uid = a".to_owned()), (3, "gid = b".to_owned())]);
        let expected = format!("{MARK}uid = a\r\n[m]\n{MARK}  gid = b");
        assert_eq!(String::from_utf8(edit.content.clone()).unwrap(), expected);
        // The Dockerfile does the same.
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's");
        std::fs::write(&file, "uid = a\r\n[m]\n  gid = b").unwrap();
        let line = TakenOut::instruction(&Edit { path: file.clone(), ..edit });
        let line = line.strip_prefix("RUN ").unwrap();
        assert!(std::process::Command::new("sh").args(["-c", line]).status().unwrap().success());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
        let hostile = Edit::new("/etc/rsyncd.d/x\nRUN rm -rf /".into(), b"uid = a", &[0]);
        let line = TakenOut::instruction(&hostile);
        assert!(line.starts_with("# ") && line.lines().count() == 1, "{line}");
    }
}
