// SPDX-License-Identifier: Apache-2.0
//! Variables and quotes in the words of a Dockerfile. Source: the Dockerfile reference, "Environment replacement".
//!
//! Guarantees: ends in time that is linear in the length of the word and of what it looks up, but for patterns, whose work
//! is bounded; and uses a bounded stack.

use std::iter::Peekable;
use std::str::Chars;

use super::shape::{Shape, WORK_MAX};

/// How deep substitutions may stand in each other.
const DEPTH_MAX: usize = 32;

/// The longest text that comes out of one word, in bytes.
const LENGTH_MAX: usize = 1 << 20;

/// Looks variables up.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces the variables of a word and takes its quotes away.
///
/// # Errors
///
/// What is wrong with the word, in a few words.
pub fn word(text: &str, lookup: Lookup<'_>, escape: char) -> Result<String, String> {
    let mut reader = Reader::new(text, lookup, escape);
    reader.until(None)?;
    Ok(reader.words.text)
}

/// As [`word`], and splits at blanks that are not quoted, those in the values of variables as well.
///
/// # Errors
///
/// As [`word`].
pub fn words(text: &str, lookup: Lookup<'_>, escape: char) -> Result<Vec<String>, String> {
    let mut reader = Reader::new(text, lookup, escape);
    reader.until(None)?;
    Ok(reader.words.finish())
}

/// Replaces the variables of a text, such as a here-document, and leaves its quotes alone.
///
/// # Errors
///
/// As [`word`].
pub fn text(text: &str, lookup: Lookup<'_>, escape: char) -> Result<String, String> {
    let mut reader = Reader::new(text, lookup, escape);
    reader.raw = true;
    reader.until(None)?;
    Ok(reader.words.text)
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    lookup: Lookup<'a>,
    escape: char,
    /// Quotes are characters like others.
    raw: bool,
    depth: usize,
    /// How much patterns have been compared.
    work: usize,
    words: Words,
}

/// What was read: as one text, and split.
#[derive(Default)]
struct Words {
    text: String,
    done: Vec<String>,
    current: String,
    /// The current word exists, though it may be empty.
    begun: bool,
}

impl Words {
    /// Adds a character that does not end a word.
    fn push(&mut self, c: char) {
        self.text.push(c);
        self.current.push(c);
        self.begun = true;
    }

    /// Adds a character that ends a word when it is a blank.
    fn push_bare(&mut self, c: char) {
        if !c.is_whitespace() {
            return self.push(c);
        }
        self.text.push(c);
        if self.begun {
            self.done.push(std::mem::take(&mut self.current));
            self.begun = false;
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.text.len() > LENGTH_MAX { Err(too_long()) } else { Ok(()) }
    }

    fn finish(mut self) -> Vec<String> {
        if self.begun {
            self.done.push(self.current);
        }
        self.done
    }
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, lookup: Lookup<'a>, escape: char) -> Self {
        Self { chars: text.chars().peekable(), lookup, escape, raw: false, depth: 0, work: 0, words: Words::default() }
    }

    /// Reads up to a character, which is taken, or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<(), String> {
        while let Some(c) = self.chars.next() {
            match c {
                c if Some(c) == stop => return Ok(()),
                '\'' if !self.raw => self.single_quoted()?,
                '"' if !self.raw => self.double_quoted()?,
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| self.words.push_bare(c));
                }
                c if c == self.escape => self.escaped(stop),
                c => self.words.push_bare(c),
            }
            self.words.check()?;
        }
        match stop {
            Some(stop) => Err(format!("unexpected end, {stop:?} is missing")),
            None => Ok(()),
        }
    }

    /// Takes a character for itself. In a text only what would mean something is escaped.
    fn escaped(&mut self, stop: Option<char>) {
        let means_something = |c: &char| *c == '$' || *c == self.escape || Some(*c) == stop;
        if self.raw && !self.chars.peek().is_some_and(means_something) {
            self.words.push(self.escape);
        } else if let Some(c) = self.chars.next() {
            self.words.push(c);
        }
    }

    fn single_quoted(&mut self) -> Result<(), String> {
        self.words.begun = true;
        loop {
            match self.chars.next() {
                Some('\'') => return Ok(()),
                Some(c) => self.words.push(c),
                None => return Err("a single quote has no end".to_owned()),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<(), String> {
        self.words.begun = true;
        loop {
            match self.chars.next() {
                Some('"') => return Ok(()),
                Some('$') => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| self.words.push(c));
                    self.words.check()?;
                }
                Some(c) if c == self.escape => match self.chars.peek().copied() {
                    Some(next) if matches!(next, '"' | '$') || next == self.escape => {
                        self.chars.next();
                        self.words.push(next);
                    }
                    _ => self.words.push(c),
                },
                Some(c) => self.words.push(c),
                None => return Err("a double quote has no end".to_owned()),
            }
        }
    }

    /// Reads what stands behind a dollar sign.
    fn dollar(&mut self) -> Result<String, String> {
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { (self.lookup)(&name).unwrap_or_default() });
        }
        self.chars.next();
        let name = self.name();
        if name.is_empty() {
            return Err("bad substitution: ${ wants the name of a variable".to_owned());
        }
        let value = (self.lookup)(&name);
        match self.chars.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => match self.chars.next() {
                Some(operator @ ('-' | '+' | '?')) => self.alternative(&name, value, operator, true),
                other => Err(unknown(&name, other)),
            },
            Some(operator @ ('-' | '+' | '?')) => self.alternative(&name, value, operator, false),
            Some(operator @ ('#' | '%')) => self.trimmed(value.unwrap_or_default(), operator),
            Some('/') => self.replaced(value.unwrap_or_default()),
            None => Err(format!("bad substitution: ${{{name} has no end")),
            other => Err(unknown(&name, other)),
        }
    }

    fn alternative(
        &mut self,
        name: &str,
        value: Option<String>,
        operator: char,
        empty_is_unset: bool,
    ) -> Result<String, String> {
        let word = self.operand('}', false)?;
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (operator, value) {
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            ('-', None) => Ok(word),
            (_, None) if word.is_empty() => Err(format!("{name}: not set, and must be")),
            (_, None) => Err(format!("{name}: {word}")),
        }
    }

    fn trimmed(&mut self, value: String, operator: char) -> Result<String, String> {
        let longest = self.chars.next_if_eq(&operator).is_some();
        let shape = Shape::new(&self.operand('}', true)?, self.escape);
        let mut value: Vec<char> = value.chars().collect();
        if operator == '#' {
            let cut = self.ends(&shape, &value, longest)?[0].unwrap_or(0);
            return Ok(value[cut..].iter().collect());
        }
        // An end is a beginning of what is read backwards.
        value.reverse();
        let cut = self.ends(&shape.reversed(), &value, longest)?[0].unwrap_or(0);
        Ok(value[cut..].iter().rev().collect())
    }

    fn replaced(&mut self, value: String) -> Result<String, String> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let shape = Shape::new(&self.operand('/', true)?, self.escape);
        let by = self.operand('}', false)?;
        let value: Vec<char> = value.chars().collect();
        let ends = self.ends(&shape, &value, true)?;
        let (mut result, mut at, mut more) = (String::new(), 0, true);
        while at < value.len() {
            match ends[at].filter(|end| more && *end > at) {
                Some(end) => {
                    result.push_str(&by);
                    at = end;
                    more = all;
                }
                None => {
                    result.push(value[at]);
                    at += 1;
                }
            }
            if result.len() > LENGTH_MAX {
                return Err(too_long());
            }
        }
        Ok(result)
    }

    /// Finds where a pattern fits, if that is not too much to do.
    fn ends(&mut self, shape: &Shape, value: &[char], longest: bool) -> Result<Vec<Option<usize>>, String> {
        self.work = self.work.saturating_add(shape.work(value));
        if self.work > WORK_MAX {
            return Err("a pattern is too long for what it is compared with".to_owned());
        }
        Ok(shape.ends(value, longest))
    }

    /// Reads what stands behind an operator, in which there may be variables too. With `keep_escapes` an escaped
    /// character stays escaped, for a pattern to see.
    fn operand(&mut self, stop: char, keep_escapes: bool) -> Result<String, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("substitutions stand too deep in each other".to_owned());
        }
        let outer = std::mem::take(&mut self.words);
        let raw = std::mem::replace(&mut self.raw, false);
        let read = if keep_escapes { self.pattern(stop) } else { self.until(Some(stop)) };
        self.raw = raw;
        self.depth -= 1;
        let inner = std::mem::replace(&mut self.words, outer);
        read.map(|()| inner.text)
    }

    fn pattern(&mut self, stop: char) -> Result<(), String> {
        loop {
            match self.chars.next() {
                Some(c) if c == stop => return Ok(()),
                Some('$') => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| self.words.push(c));
                    self.words.check()?;
                }
                Some(c) if c == self.escape => {
                    self.words.push(c);
                    self.chars.next().into_iter().for_each(|c| self.words.push(c));
                }
                Some(c) => self.words.push(c),
                None => return Err(format!("unexpected end, {stop:?} is missing")),
            }
        }
    }

    /// Reads a name, a number, or one of the shell's own signs.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let Some(first) = self.chars.peek().copied() else { return name };
        let more: fn(&char) -> bool = match first {
            'a'..='z' | 'A'..='Z' | '_' => |c| c.is_ascii_alphanumeric() || *c == '_',
            '0'..='9' => char::is_ascii_digit,
            '@' | '*' | '#' | '!' | '?' | '-' => {
                self.chars.next();
                return first.to_string();
            }
            _ => return name,
        };
        while let Some(c) = self.chars.next_if(more) {
            name.push(c);
        }
        name
    }
}

fn too_long() -> String {
    "what the variables say is too long".to_owned()
}

fn unknown(name: &str, operator: Option<char>) -> String {
    match operator {
        Some(operator) => format!("bad substitution: ${{{name}{operator} is no operator that is known"),
        None => format!("bad substitution: ${{{name} has no end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        let value = match name {
            "A" => "one",
            "EMPTY" => "",
            "PATH" => "/usr/bin:/bin",
            "FILE" => "a/b/c.tar.gz",
            "BLANKS" => "x y",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn expand(text: &str) -> Result<String, String> {
        word(text, &variables, '\\')
    }

    #[test]
    fn what_would_fill_the_memory_is_refused() {
        let long = |_: &str| Some("x".repeat(LENGTH_MAX / 2));
        for text in ["$A$A$A", "\"$A$A$A\"", "${A//x/$A}", "${B#$A$A$A}"] {
            assert!(word(text, &long, '\\').unwrap_err().contains("too long"), "{text}");
        }
        assert!(word("$A", &long, '\\').is_ok());
    }

    #[test]
    fn variables_are_replaced_by_every_operator() {
        for (text, expected) in [
            ("$A", "one"),
            ("${A}", "one"),
            ("x${A}y$A", "xoneyone"),
            ("$NONE", ""),
            ("$", "$"),
            ("a$", "a$"),
            ("$/x", "$/x"),
            ("${A:-two}", "one"),
            ("${EMPTY:-two}", "two"),
            ("${EMPTY-two}", ""),
            ("${NONE-two}", "two"),
            ("${NONE:-$A}", "one"),
            ("${NONE:-${NONE:-${A}}}", "one"),
            ("${A:+two}", "two"),
            ("${EMPTY:+two}", ""),
            ("${EMPTY+two}", "two"),
            ("${NONE+two}", ""),
            ("${A:?must}", "one"),
            ("${EMPTY?must}", ""),
            ("${FILE#*/}", "b/c.tar.gz"),
            ("${FILE##*/}", "c.tar.gz"),
            ("${FILE%.*}", "a/b/c.tar"),
            ("${FILE%%.*}", "a/b/c"),
            ("${FILE#x}", "a/b/c.tar.gz"),
            ("${FILE/a/b}", "b/b/c.tar.gz"),
            ("${FILE//a/b}", "b/b/c.tbr.gz"),
            ("${PATH//:/ }", "/usr/bin /bin"),
            ("${FILE/b?c/X}", "a/X.tar.gz"),
            (r"${FILE//\//-}", "a-b-c.tar.gz"),
            ("${FILE/.*/}", "a/b/c"),
            ("${FILE%*}", "a/b/c.tar.gz"),
            ("${FILE%%*}", ""),
            ("${FILE#a*b?}", "c.tar.gz"),
            ("${FILE##*/*.}", "gz"),
            ("${FILE%/*.*z}", "a/b"),
            ("${EMPTY//*/x}", ""),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn quotes_and_escapes_are_taken_away() {
        for (text, expected) in [
            ("'$A'", "$A"),
            ("\"$A\"", "one"),
            (r"\$A", "$A"),
            (r#""\$A \x""#, r"$A \x"),
            (r"a\ b", "a b"),
            (r#"'a "b"'"#, "a \"b\""),
            ("\"it's\"", "it's"),
            (r"end\", "end"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(word("`$A", &variables, '`').as_deref(), Ok("$A"));
        assert_eq!(word(r"c:\$A", &variables, '`').as_deref(), Ok(r"c:\one"));
    }

    #[test]
    fn what_is_no_substitution_is_refused() {
        for text in ["${A", "${", "${}", "${A:}", "${A:=x}", "${A^}", "${A:-x", "${A/x", "'a", "\"a", "${NONE:?must}"] {
            assert!(expand(text).is_err(), "{text}");
        }
        assert_eq!(expand("${NONE:?say it}").unwrap_err(), "NONE: say it");
        let deep = format!("{}{}", "${X:-".repeat(10_000), "}".repeat(10_000));
        assert!(expand(&deep).is_err());
    }

    #[test]
    fn patterns_end_in_time_or_are_refused() {
        let begun = std::time::Instant::now();
        let long = |_: &str| Some("ab".repeat(LENGTH_MAX / 2));
        let stars = |n: usize, end: &str| format!("${{A//{}{end}/}}", "*a".repeat(n));
        assert_eq!(word(&stars(3, "*c"), &long, '\\').unwrap().len(), LENGTH_MAX);
        assert_eq!(word(&stars(3, "*b"), &long, '\\').as_deref(), Ok(""));
        for text in [stars(100, "c"), format!("${{A##{}}}", "*a".repeat(100)), stars(10, "c").repeat(10)] {
            assert!(word(&text, &long, '\\').unwrap_err().contains("too long"), "{text}");
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
    }

    #[test]
    fn growth_is_bounded() {
        let long = |_: &str| Some("x".repeat(1 << 16));
        assert!(word(&"$A".repeat(1000), &long, '\\').is_err());
    }

    #[test]
    fn words_are_split_where_nothing_is_quoted() {
        let split = |text| words(text, &variables, '\\').unwrap();
        assert_eq!(split("80 443/tcp"), ["80", "443/tcp"]);
        assert_eq!(split("$BLANKS z"), ["x", "y", "z"]);
        assert_eq!(split("\"$BLANKS\" ''"), ["x y", ""]);
    }

    #[test]
    fn a_text_keeps_its_quotes() {
        let replaced = |t| text(t, &variables, '\\').unwrap();
        assert_eq!(replaced("it's \"$A\" \\$A \\n"), "it's \"one\" $A \\n");
    }
}
