// SPDX-License-Identifier: Apache-2.0
//! Here-documents, taken out of a Dockerfile before it is parsed. Source: the Dockerfile reference, "Here-Documents".
//!
//! The parser knows one at the beginning of a command, and a shell knows them anywhere in it and more than one. So they
//! are found here, and what the parser sees has comments of the same length in their place: no position changes.

use super::command::continues;

/// A here-document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heredoc {
    /// Where `<<` stands, in bytes from the beginning.
    pub marker: usize,
    /// The word that ends it, without quotes; what a file made of it is called.
    pub name: String,
    /// Whether variables in it are replaced: the word was not quoted.
    pub expand: bool,
    /// Whether tabs at the beginning of lines are taken away.
    pub strip_tabs: bool,
    /// The lines, as they are.
    pub body: String,
    /// The number of the line after it, counted from 1.
    pub end_line: usize,
}

impl Heredoc {
    /// Returns the text, without the tabs that are to be taken away.
    pub fn text(&self) -> String {
        if !self.strip_tabs {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// A Dockerfile without its here-documents.
#[derive(Debug)]
pub(super) struct Masked {
    /// What is left; as long as the whole.
    pub text: String,
    /// What was taken out, in order.
    pub heredocs: Vec<Heredoc>,
}

/// What is wrong, and where, in bytes from the beginning.
pub(super) type Mistake = (usize, String);

/// Takes the here-documents out.
pub(super) fn mask(text: &str, escape: char) -> Result<Masked, Mistake> {
    let mut lines = Lines { text, at: 0, number: 0 };
    let mut masked = Masked { text: text.to_owned(), heredocs: Vec::new() };
    let mut blanks: Vec<(usize, usize)> = Vec::new();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let start = lines.start_of(line);
        let mut end = start + line.len();
        let mut last = line;
        while continues(last, escape) {
            let Some(next) = lines.next() else { break };
            end = lines.start_of(next) + next.len();
            let comment = next.trim_start().starts_with('#') || next.trim().is_empty();
            last = if comment { last } else { next };
        }
        if !may_have(&text[start..end]) {
            continue;
        }
        for mut found in markers(&text[start..end], escape) {
            found.marker += start;
            let from = lines.at;
            found.body = body(&mut lines, &found).ok_or_else(|| {
                (found.marker, format!("the here-document <<{} has no end: a line {:?}", found.name, found.name))
            })?;
            found.end_line = lines.number + 1;
            blanks.push((from, lines.at));
            blanks.push((found.marker, found.marker + 2));
            masked.heredocs.push(found);
        }
    }
    // What takes the place of the parts has their length in bytes.
    let mut bytes = masked.text.into_bytes();
    for (from, to) in blanks {
        let marker = to - from == 2 && &text[from..to] == "<<";
        let mut line_begins = true;
        for byte in &mut bytes[from..to] {
            match *byte {
                b'\n' => line_begins = true,
                _ if marker => *byte = b'_',
                _ => {
                    *byte = if std::mem::take(&mut line_begins) { b'#' } else { b' ' };
                }
            }
        }
    }
    masked.text = String::from_utf8(bytes).map_err(|_| (0, "the Dockerfile is no text".to_owned()))?;
    Ok(masked)
}

struct Lines<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    /// Returns the next line without its end.
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let len = rest.find('\n').map_or(rest.len(), |at| at + 1);
        self.at += len;
        self.number += 1;
        let line = &rest[..len];
        let line = line.strip_suffix('\n').unwrap_or(line);
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    fn start_of(&self, line: &str) -> usize {
        line.as_ptr() as usize - self.text.as_ptr() as usize
    }
}

/// Tells whether an instruction is one that here-documents have a meaning in.
fn may_have(instruction: &str) -> bool {
    let mut words = instruction.split_whitespace().map(str::to_ascii_uppercase);
    let first = words.next().unwrap_or_default();
    let keyword = if first == "ONBUILD" { words.next().unwrap_or_default() } else { first };
    matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") && instruction.contains("<<")
}

/// Finds the words that begin a here-document: `[number]<<[-]WORD`, outside of quotes.
fn markers(instruction: &str, escape: char) -> Vec<Heredoc> {
    let mut found = Vec::new();
    let mut quote = None;
    let mut word = 0;
    let mut escaped = false;
    let end = std::iter::once((instruction.len(), ' '));
    for (at, c) in instruction.char_indices().chain(end) {
        match c {
            _ if std::mem::take(&mut escaped) => (),
            c if c == escape && quote != Some('\'') => escaped = true,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            c if quote == Some(c) => quote = None,
            c if c.is_whitespace() && quote.is_none() => {
                found.extend(marker(&instruction[word..at], word));
                word = at + c.len_utf8();
            }
            _ => (),
        }
    }
    found
}

fn marker(word: &str, at: usize) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = word.len() - rest.len();
    let rest = rest.strip_prefix("<<")?;
    let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let name: String = rest.chars().filter(|c| !matches!(c, '\'' | '"' | '\\')).collect();
    let expand = name.len() == rest.len();
    let usable = !name.is_empty() && !rest.contains('<');
    usable.then_some(Heredoc { marker: at + number, name, expand, strip_tabs, body: String::new(), end_line: 0 })
}

/// Reads lines up to the one that ends a here-document.
fn body(lines: &mut Lines<'_>, heredoc: &Heredoc) -> Option<String> {
    let start = lines.at;
    loop {
        let before = lines.at;
        let line = lines.next()?;
        let line = if heredoc.strip_tabs { line.trim_start_matches('\t') } else { line };
        if line == heredoc.name {
            return Some(lines.text[start..before].to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_taken_out_and_positions_stay() {
        let text = "FROM x\nRUN cat <<A 3<<-'B C' > /f\none\n$two\nA\n\tthree\n\tB C\nRUN y\n";
        let masked = mask(text, '\\').unwrap();
        assert_eq!(masked.text.len(), text.len());
        assert_eq!(masked.text.lines().count(), text.lines().count());
        assert!(masked.text.contains("RUN cat __A 3__-'B C' > /f\n#  \n#   \n#\n"), "{}", masked.text);
        assert!(masked.text.ends_with("RUN y\n"));
        let [a, b] = masked.heredocs.as_slice() else { panic!("{:?}", masked.heredocs) };
        assert_eq!((a.name.as_str(), a.body.as_str(), a.expand, a.strip_tabs), ("A", "one\n$two\n", true, false));
        assert_eq!((b.name.as_str(), b.text().as_str(), b.expand, b.strip_tabs), ("B C", "three\n", false, true));
        assert_eq!(&text[a.marker..a.marker + 2], "<<");
    }

    #[test]
    fn what_is_quoted_or_elsewhere_is_none() {
        for text in [
            "RUN echo \"a <<B\"\n",
            "RUN echo 'a <<B'\n",
            "RUN cat <<<word\n",
            "RUN [\"sh\", \"-c\", \"cat <<E\"]\n",
            "# RUN cat <<E\n",
            "ENV A=<<E\n",
            "RUN a<<b\n",
            "RUN echo \\<<E\n",
        ] {
            let masked = mask(text, '\\').unwrap();
            assert_eq!(masked.heredocs, [], "{text}");
            assert_eq!(masked.text, text);
        }
    }

    #[test]
    fn an_instruction_over_several_lines_has_them_after_its_last() {
        let text = "RUN a \\\n # comment\n\n  <<E\nbody \\\nE\nRUN b\n";
        let masked = mask(text, '\\').unwrap();
        assert_eq!(masked.heredocs[0].body, "body \\\n");
        assert_eq!(masked.heredocs[0].end_line, 7);
        assert!(masked.text.ends_with("#\nRUN b\n"), "{}", masked.text);
    }

    #[test]
    fn one_without_an_end_is_refused() {
        assert_eq!(mask("FROM x\nRUN <<E\na\n", '\\').unwrap_err().0, 11);
    }

    #[test]
    fn windows_lines_end_them_too() {
        assert_eq!(mask("RUN <<E\r\na\r\nE\r\n", '\\').unwrap().heredocs[0].body, "a\r\n");
    }
}
