// SPDX-License-Identifier: Apache-2.0
//! What a line of shell would run: simple commands and their words, as far as text alone can say.
//!
//! Guarantees: nothing is run and nothing is replaced; time is linear in the length of the text but for what stands in
//! quotes, which is read once more for each depth, and depth is bounded.

/// How deep `sh -c` and `$(...)` are followed.
const DEPTH_MAX: usize = 6;

/// A simple command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Simple {
    /// The words, without quotes and without the assignments before them.
    pub words: Vec<String>,
    /// The assignments before the command.
    pub assignments: Vec<String>,
    /// Where output goes.
    pub outputs: Vec<String>,
    /// Those of the outputs that are added to, and not written anew.
    pub appended: Vec<String>,
    /// Whether its output is another one's input.
    pub piped: bool,
}

impl Simple {
    /// Returns the program's name without its directories.
    pub fn program(&self) -> &str {
        let first = self.words.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// Returns the words after the program.
    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Returns the words after the program that are no flags.
    pub fn operands(&self) -> impl Iterator<Item = &str> {
        self.arguments().iter().map(String::as_str).filter(|word| !word.starts_with('-'))
    }

    /// Tells whether a flag is there, in one of its forms, also with a value behind `=`.
    pub fn has(&self, flags: &[&str]) -> bool {
        let is =
            |word: &str, flag: &str| word == flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='));
        self.arguments().iter().any(|word| flags.iter().any(|flag| is(word, flag)))
    }

    /// Tells whether a letter is among the short flags.
    pub fn short(&self, letter: char) -> bool {
        let short = |word: &&String| word.starts_with('-') && !word.starts_with("--");
        self.arguments().iter().filter(short).any(|word| word.contains(letter))
    }

    /// Returns the value of a flag: the next word, or what is behind `=`.
    pub fn value(&self, flags: &[&str]) -> Option<&str> {
        for (at, word) in self.arguments().iter().enumerate() {
            for flag in flags {
                match word.strip_prefix(flag) {
                    Some("") => return self.arguments().get(at + 1).map(String::as_str),
                    Some(rest) if rest.starts_with('=') => return Some(&rest[1..]),
                    Some(rest) if flag.len() == 2 && !flag.starts_with("--") => return Some(rest),
                    _ => {}
                }
            }
        }
        None
    }

    /// Shows it in one line.
    pub fn shown(&self) -> String {
        self.words.join(" ")
    }
}

/// Finds the commands of a script, those inside of `sh -c`, `$(...)` and wrappers too.
pub fn commands(text: &str) -> Vec<Simple> {
    let mut found = Vec::new();
    collect(text, 0, &mut found);
    found
}

/// Finds the commands that a list of words runs.
pub fn commands_of(words: &[String]) -> Vec<Simple> {
    let mut found = Vec::new();
    let simple = Simple { words: words.to_vec(), ..Simple::default() };
    unwrap(simple, 0, &mut found);
    found
}

fn collect(text: &str, depth: usize, found: &mut Vec<Simple>) {
    if depth > DEPTH_MAX {
        return;
    }
    let mut lexer = Lexer { chars: text.chars().peekable(), inner: Vec::new() };
    let mut simple = Simple::default();
    let mut redirected = None;
    loop {
        let token = lexer.next();
        match token {
            Token::Word(word) if redirected.is_some() => {
                if redirected.take() == Some(true) {
                    simple.appended.push(word.clone());
                }
                simple.outputs.push(word);
            }
            Token::Word(word) => push(&mut simple, word),
            Token::Output { appends } => redirected = Some(appends),
            Token::Pipe | Token::End | Token::Stop => {
                redirected = None;
                simple.piped = matches!(token, Token::Pipe);
                let done = std::mem::take(&mut simple);
                if !done.words.is_empty() || !done.outputs.is_empty() || !done.assignments.is_empty() {
                    unwrap(done, depth, found);
                }
                for inner in std::mem::take(&mut lexer.inner) {
                    collect(&inner, depth + 1, found);
                }
                if matches!(token, Token::Stop) {
                    return;
                }
            }
        }
    }
}

fn push(simple: &mut Simple, word: String) {
    if simple.words.is_empty() {
        if is_assignment(&word) {
            return simple.assignments.push(word);
        }
        // Words of the shell's own grammar are followed by a command.
        if matches!(word.as_str(), "if" | "then" | "else" | "elif" | "do" | "while" | "until" | "!" | "{" | "}" | "fi")
        {
            return;
        }
    }
    simple.words.push(word);
}

fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Adds a command, and what it runs in its turn.
fn unwrap(simple: Simple, depth: usize, found: &mut Vec<Simple>) {
    if depth > DEPTH_MAX {
        return found.push(simple);
    }
    let inner = inner_words(&simple);
    let script = match simple.program() {
        "sh" | "bash" | "ash" | "dash" | "zsh" | "ksh" => script_of(&simple),
        "busybox" if matches!(simple.words.get(1).map(String::as_str), Some("sh" | "ash")) => script_of(&simple),
        "eval" => Some(simple.arguments().join(" ")),
        _ => None,
    };
    found.push(simple);
    if let Some(script) = script {
        collect(&script, depth + 1, found);
    }
    if let Some(words) = inner {
        let mut next = Simple::default();
        words.into_iter().for_each(|word| push(&mut next, word));
        if !next.words.is_empty() {
            unwrap(next, depth + 1, found);
        }
    }
}

/// Returns what stands behind `-c`.
fn script_of(simple: &Simple) -> Option<String> {
    let is_flag = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    let at = simple.words.iter().position(is_flag)?;
    simple.words.get(at + 1).cloned()
}

/// Returns the command that a wrapper runs.
fn inner_words(simple: &Simple) -> Option<Vec<String>> {
    /// The flags of wrappers that have a value of their own.
    const VALUED: [&str; 13] =
        ["-u", "-g", "-n", "-s", "-k", "-o", "-i", "-e", "-m", "-C", "--user", "--group", "--signal"];
    let wrappers = [
        "sudo",
        "doas",
        "exec",
        "env",
        "command",
        "nice",
        "nohup",
        "time",
        "timeout",
        "xargs",
        "tini",
        "dumb-init",
        "catatonit",
        "gosu",
        "su-exec",
        "setpriv",
        "chroot",
        "runuser",
        "s6-setuidgid",
        "stdbuf",
        "ionice",
        "flock",
        "unshare",
        "docker-entrypoint.sh",
        "entrypoint.sh",
        "docker-init",
    ];
    let program = simple.program();
    if !wrappers.contains(&program) {
        return None;
    }
    let mut at = 1;
    while let Some(word) = simple.words.get(at) {
        match word.as_str() {
            "--" => {
                at += 1;
                break;
            }
            flag if VALUED.contains(&flag) && !matches!(program, "exec" | "env" | "nohup" | "tini" | "dumb-init") => {
                at += 2
            }
            flag if flag.starts_with('-') => at += 1,
            _ => break,
        }
    }
    // Whom, how long, or where comes before the command.
    at += usize::from(matches!(program, "gosu" | "su-exec" | "timeout" | "chroot" | "s6-setuidgid" | "flock"));
    (at < simple.words.len()).then(|| simple.words[at..].to_vec())
}

enum Token {
    Word(String),
    Output { appends: bool },
    Pipe,
    End,
    Stop,
}

struct Lexer<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    /// The texts of `$(...)` and backquotes.
    inner: Vec<String>,
}

impl Lexer<'_> {
    fn next(&mut self) -> Token {
        loop {
            let Some(c) = self.chars.peek().copied() else { return Token::Stop };
            match c {
                ' ' | '\t' | '\r' => drop(self.chars.next()),
                '#' => while self.chars.next_if(|c| *c != '\n').is_some() {},
                '\n' | ';' | '(' | ')' => {
                    self.chars.next();
                    return Token::End;
                }
                '&' => {
                    self.chars.next();
                    if self.chars.next_if_eq(&'>').is_some() {
                        return Token::Output { appends: self.chars.next_if_eq(&'>').is_some() };
                    }
                    self.chars.next_if_eq(&'&');
                    return Token::End;
                }
                '|' => {
                    self.chars.next();
                    let or = self.chars.next_if_eq(&'|').is_some();
                    self.chars.next_if_eq(&'&');
                    return if or { Token::End } else { Token::Pipe };
                }
                '>' => {
                    self.chars.next();
                    let appends = self.chars.next_if(|c| matches!(c, '>' | '|')) == Some('>');
                    if self.chars.next_if_eq(&'&').is_some() {
                        while self.chars.next_if(|c| c.is_ascii_digit() || *c == '-').is_some() {}
                        continue;
                    }
                    return Token::Output { appends };
                }
                '<' => drop(self.chars.next()),
                _ => {
                    let word = self.word();
                    // `2>` is a number of a descriptor.
                    if self.chars.peek() == Some(&'>') && word.len() == 1 && word.as_bytes()[0].is_ascii_digit() {
                        continue;
                    }
                    return Token::Word(word);
                }
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.chars.peek().copied() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                _ => drop(self.chars.next()),
            }
            match c {
                '\\' => match self.chars.next() {
                    None | Some('\n') => {}
                    Some(c) => word.push(c),
                },
                '\'' => word.extend(self.chars.by_ref().take_while(|c| *c != '\'')),
                '"' => self.double(&mut word),
                '`' => {
                    let inner: String = self.chars.by_ref().take_while(|c| *c != '`').collect();
                    self.inner.push(inner);
                }
                '$' => self.dollar(&mut word),
                c => word.push(c),
            }
        }
        word
    }

    fn double(&mut self, word: &mut String) {
        while let Some(c) = self.chars.next() {
            match c {
                '"' => return,
                '\\' => word.extend(self.chars.next()),
                '$' => self.dollar(word),
                '`' => {
                    let inner: String = self.chars.by_ref().take_while(|c| *c != '`').collect();
                    self.inner.push(inner);
                }
                c => word.push(c),
            }
        }
    }

    fn dollar(&mut self, word: &mut String) {
        word.push('$');
        match self.chars.peek() {
            Some('(') => {
                self.chars.next();
                let inner = self.until(')', '(');
                word.push_str("()");
                self.inner.push(inner);
            }
            Some('{') => {
                self.chars.next();
                let inner = self.until('}', '{');
                word.push_str(&format!("{{{inner}}}"));
            }
            _ => {}
        }
    }

    fn until(&mut self, close: char, open: char) -> String {
        let mut inner = String::new();
        let mut depth = 1;
        for c in self.chars.by_ref() {
            depth = if c == open {
                depth + 1
            } else if c == close {
                depth - 1
            } else {
                depth
            };
            if depth == 0 {
                break;
            }
            inner.push(c);
        }
        inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        commands(text).iter().map(Simple::shown).collect()
    }

    #[test]
    fn commands_end_where_the_shell_ends_them() {
        assert_eq!(shown("a b && c; d || e | f\ng & h"), ["a b", "c", "d", "e", "f", "g", "h"]);
        assert_eq!(shown("if a; then b; else c; fi"), ["a", "b", "c"]);
        assert_eq!(shown("a 'b; c' \"d && e\" f\\ g # h; i"), ["a b; c d && e f g"]);
        assert_eq!(shown("(a; b) && { c; }"), ["a", "b", "c"]);
        assert!(commands("curl x | sh")[0].piped);
    }

    #[test]
    fn what_is_run_inside_is_found() {
        assert_eq!(shown("bash -ec 'apt-get update && b'")[1..], ["apt-get update", "b"]);
        assert_eq!(shown("X=1 sudo -u app env A=b c d")[1..], ["env A=b c d", "c d"]);
        assert_eq!(shown("a $(b c) `d`"), ["a $() ", "b c", "d"]);
        assert_eq!(shown("exec gosu app sleep 1")[2], "sleep 1");
        assert_eq!(shown("timeout 5 apk add x")[1], "apk add x");
        assert_eq!(commands_of(&["sh".into(), "-c".into(), "pip install x".into()])[1].program(), "pip");
    }

    #[test]
    fn outputs_and_flags_are_told_from_words() {
        let found = commands("echo x >> /etc/passwd 2>&1");
        assert_eq!(
            (found[0].shown().as_str(), found[0].outputs.as_slice()),
            ("echo x", &["/etc/passwd".to_owned()][..])
        );
        assert_eq!(found[0].appended, found[0].outputs);
        assert_eq!(commands("echo x > /a 2>> /b")[0].appended, ["/b"]);
        let found = &commands("useradd -u1000 --gid=5 -o app")[0];
        assert_eq!(found.value(&["-u"]), Some("1000"));
        assert_eq!(found.value(&["-g", "--gid"]), Some("5"));
        assert!(found.short('o') && !found.short('x'));
    }

    #[test]
    fn anything_ends() {
        for text in ["'", "\"", "$(", "${", "`", "\\", "$($($($($($($($(", "sh -c \"sh -c 'sh -c sh\""] {
            commands(text);
        }
        commands(&"(".repeat(100_000));
        commands(&"$(".repeat(10_000));
    }
}
