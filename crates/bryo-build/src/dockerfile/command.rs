// SPDX-License-Identifier: Apache-2.0
//! Commands: lists of words, or lines for a shell.

/// A command in one of its two forms.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// A list: the program and its arguments.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

impl Command {
    /// Returns the words to execute, with the shell before a line.
    pub fn words(&self, shell: &[String]) -> Vec<String> {
        match self {
            Self::Exec(words) => words.clone(),
            Self::Shell(line) => shell.iter().cloned().chain([line.clone()]).collect(),
        }
    }
}

/// Tells whether a line goes on in the next one.
pub(super) fn continues(line: &str, escape: char) -> bool {
    line.trim_end_matches([' ', '\t']).ends_with(escape)
}

/// Makes one line of several: what a line that goes on ends with goes, and so do comments and empty lines between.
pub(super) fn join_lines(text: &str, escape: char) -> String {
    let mut joined = String::new();
    let mut going_on = false;
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let start = line.trim_start();
        if going_on && (start.is_empty() || start.starts_with('#')) {
            continue;
        }
        going_on = continues(line, escape);
        if going_on {
            let kept = line.trim_end_matches([' ', '\t']);
            joined.push_str(kept.strip_suffix(escape).unwrap_or(kept));
        } else {
            joined.push_str(line);
            break;
        }
    }
    joined.trim_end().to_owned()
}

/// Returns where the instruction that begins at a place ends: behind its last line, without that line's end.
pub(super) fn end_of(text: &str, start: usize, escape: char) -> usize {
    let mut at = start;
    for line in text[start..].split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        let first = at == start;
        let skipped = !first && (content.trim().is_empty() || content.trim_start().starts_with('#'));
        if !skipped && !continues(content, escape) {
            return at + content.len();
        }
        at += line.len();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_go_on_are_joined() {
        for (text, expected) in [
            ("a", "a"),
            ("a \\\n  b", "a   b"),
            ("a\\\nb", "ab"),
            ("a \\ \t\r\nb\r\n", "a b"),
            ("a && \\\n# comment\n\n  # another \\\n  b", "a &&   b"),
            ("a \\", "a"),
        ] {
            assert_eq!(join_lines(text, '\\'), expected, "{text:?}");
        }
        assert_eq!(join_lines("a `\nb \\", '`'), "a b \\");
    }

    #[test]
    fn an_instruction_ends_behind_its_last_line() {
        let text = "RUN a \\\n# b\n\n c\nRUN d\n";
        assert_eq!(&text[..end_of(text, 0, '\\')], "RUN a \\\n# b\n\n c");
        assert_eq!(&text[16..end_of(text, 16, '\\')], "RUN d");
        assert_eq!(end_of("RUN a \\", 0, '\\'), 7);
    }
}
