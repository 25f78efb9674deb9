// SPDX-License-Identifier: Apache-2.0
//! JSON that a terminal can show: every active character is an escape of the JSON kind, so that nothing is lost.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::escape::is_active;
use crate::errors::{Error, Result};

/// Formats a value, indented by four blanks as Docker does, with a line end.
///
/// # Errors
///
/// If the value cannot be JSON, such as a map whose keys are no strings.
pub fn json(value: &impl Serialize) -> Result<String> {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, Escaping(PrettyFormatter::with_indent(b"    "))))
        .map_err(|error| Error::message(format!("write JSON: {error}")))?;
    out.push(b'\n');
    String::from_utf8(out).map_err(|error| Error::message(format!("write JSON: {error}")))
}

/// Formats a value in one line, without a line end.
pub fn compact(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if !text.contains(is_active) {
        return text;
    }
    text.chars().fold(String::new(), |mut out, c| {
        if is_active(c) {
            push_escape(&mut out, c)
        } else {
            out.push(c)
        }
        out
    })
}

struct Escaping(PrettyFormatter<'static>);

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !fragment.contains(is_active) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut out = String::with_capacity(fragment.len() + 16);
        for c in fragment.chars() {
            if is_active(c) { push_escape(&mut out, c) } else { out.push(c) }
        }
        writer.write_all(out.as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.begin_array(w)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_array(w)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(w, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_array_value(w)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.begin_object(w)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_object(w)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(w, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.begin_object_value(w)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_object_value(w)
    }
}

/// Writes a character as JSON has it: in UTF-16, so that two units stand for what is beyond the first plane.
fn push_escape(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json as value};

    use super::*;

    #[test]
    fn hostile_text_is_escaped_and_not_lost() {
        let evil = "\u{1b}[2J\r\u{9b}31m\u{202e}\u{e0041}\"\\";
        let object = value!({evil: [evil, 1, null], "plain": "ü"});
        for text in [json(&object).unwrap(), compact(&object)] {
            assert!(!text.contains(|c| is_active(c) && c != '\n'), "{text:?}");
            assert!(text.contains('ü'));
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), object);
        }
    }

    #[test]
    fn the_indent_is_dockers() {
        assert_eq!(json(&value!([{"A": 1}])).unwrap(), "[\n    {\n        \"A\": 1\n    }\n]\n");
        assert_eq!(json(&value!([])).unwrap(), "[]\n");
    }
}
