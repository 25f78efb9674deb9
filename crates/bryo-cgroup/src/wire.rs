// SPDX-License-Identifier: Apache-2.0
//! The form of D-Bus messages, as far as one call to systemd needs it. Source: the D-Bus specification, "Message
//! Protocol".

use crate::error::{Error, Kind, Result};

/// The longest message that is read; systemd's answers have a few hundred bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// The length of the part of a header that has a fixed one.
pub(crate) const FIXED: usize = 16;

/// Codes of message types and header fields.
const CALL: u8 = 1;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// What is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    /// The types of the arguments.
    pub signature: &'a str,
}

/// A message under construction, in the byte order of this machine. Alignment counts from its own beginning.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_ne_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_ne_bytes());
    }

    pub fn string(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend(text.as_bytes());
        self.byte(0);
    }

    pub fn signature(&mut self, text: &str) {
        self.byte(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.as_bytes());
        self.byte(0);
    }

    /// Writes an array, whose elements are aligned to so many bytes.
    pub fn array(&mut self, align: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        // The length does not count what comes before the first element.
        self.align(align);
        let start = self.0.len();
        elements(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Writes a name with a value of any type, as systemd takes the properties of units.
    pub fn property(&mut self, name: &str, signature: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.string(name);
        self.signature(signature);
        value(self);
    }

    fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }
}

/// Makes the message of a call.
pub(crate) fn call(serial: u32, method: Method<'_>, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut arguments = Writer::default();
    body(&mut arguments);
    let mut message = Writer::default();
    let order = if cfg!(target_endian = "little") { b'l' } else { b'B' };
    // No flags; version 1 of the protocol.
    message.0.extend([order, CALL, 0, 1]);
    message.length(arguments.0.len());
    message.u32(serial);
    message.array(8, |fields| {
        let mut field = |code: u8, kind: &str, value: &str| {
            fields.align(8);
            fields.byte(code);
            fields.signature(kind);
            if kind == "g" { fields.signature(value) } else { fields.string(value) }
        };
        field(PATH, "o", method.path);
        field(INTERFACE, "s", method.interface);
        field(MEMBER, "s", method.member);
        field(DESTINATION, "s", method.destination);
        field(SIGNATURE, "g", method.signature);
    });
    message.align(8);
    message.0.extend(arguments.0);
    message.0
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Return,
    Error,
    Signal,
    Other,
}

/// A message that was received.
#[derive(Debug)]
pub(crate) struct Message {
    pub sort: Sort,
    /// The serial number of the call that it answers.
    pub answers: u32,
    pub member: String,
    pub error: String,
    signature: String,
    body: Vec<u8>,
    little: bool,
}

/// Returns the length of a whole message, which its beginning says.
pub(crate) fn length(fixed: &[u8; FIXED]) -> Result<usize> {
    let mut reader = Reader { bytes: fixed, at: 4, little: little(fixed[0])? };
    let body = reader.u32()? as usize;
    reader.at = 12;
    let fields = reader.u32()? as usize;
    // Neither is more than 32 bits, so that the sum fits.
    let length = (FIXED + fields).next_multiple_of(8) + body;
    if length > MAX_MESSAGE { Err(bad("a message is too long")) } else { Ok(length) }
}

impl Message {
    /// Reads a whole message.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or_else(|| bad("a message is too short"))?;
        let little = little(fixed[0])?;
        let sort = match fixed[1] {
            2 => Sort::Return,
            3 => Sort::Error,
            4 => Sort::Signal,
            _ => Sort::Other,
        };
        let mut message = Self {
            sort,
            answers: 0,
            member: String::new(),
            error: String::new(),
            signature: String::new(),
            body: Vec::new(),
            little,
        };
        let mut reader = Reader { bytes, at: 12, little };
        let end = reader.u32()? as usize + FIXED;
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            // The specification gives each known field one of these types.
            match (code, reader.signature()?.as_str()) {
                (REPLY_SERIAL, "u") => message.answers = reader.u32()?,
                (MEMBER, "s") => message.member = reader.string()?,
                (ERROR_NAME, "s") => message.error = reader.string()?,
                (SIGNATURE, "g") => message.signature = reader.signature()?,
                (_, "u") => drop(reader.u32()?),
                (_, "s" | "o") => drop(reader.string()?),
                (_, "g") => drop(reader.signature()?),
                _ => return Err(bad("a header field has an unknown type")),
            }
        }
        reader.align(8);
        message.body = bytes.get(reader.at..).unwrap_or_default().to_vec();
        Ok(message)
    }

    /// Reads a body that is a truth value of any type, as properties are returned; nothing for another type.
    pub fn truth(&self) -> Result<Option<bool>> {
        let mut reader = Reader { bytes: &self.body, at: 0, little: self.little };
        if self.signature != "v" || reader.signature()? != "b" {
            return Ok(None);
        }
        Ok(Some(reader.u32()? != 0))
    }

    /// Reads the leading strings and object paths of the body; numbers between them are passed over.
    pub fn strings(&self) -> Result<Vec<String>> {
        let mut reader = Reader { bytes: &self.body, at: 0, little: self.little };
        let mut strings = Vec::new();
        for kind in self.signature.chars() {
            match kind {
                's' | 'o' => strings.push(reader.string()?),
                'u' | 'i' | 'b' => drop(reader.u32()?),
                _ => break,
            }
        }
        Ok(strings)
    }
}

/// A place in the bytes of a message. Alignment counts from the first of them.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(length).ok_or_else(|| bad("a length is out of range"))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| bad("a message ends early"))?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        self.align(4);
        let little = self.little;
        let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| bad("a message ends early"))?;
        Ok(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn string(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    fn signature(&mut self) -> Result<String> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        // The zero that ends it.
        self.byte()?;
        Ok(text)
    }
}

fn little(order: u8) -> Result<bool> {
    match order {
        b'l' => Ok(true),
        b'B' => Ok(false),
        _ => Err(bad("a message has no byte order")),
    }
}

fn bad(why: &str) -> Error {
    Error::new(Kind::Refused, format!("systemd's answer is not understood: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> Vec<u8> {
        let method = Method { destination: "a.b", path: "/c", interface: "d.e", member: "F", signature: "sus" };
        call(7, method, |body| {
            body.string("one");
            body.u32(5);
            body.string("two");
        })
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = message();
        let fixed = bytes.first_chunk().unwrap();
        assert_eq!(length(fixed).unwrap(), bytes.len());
        let read = Message::parse(&bytes).unwrap();
        assert_eq!((read.sort, read.member.as_str(), read.signature.as_str()), (Sort::Other, "F", "sus"));
        assert_eq!(read.strings().unwrap(), ["one", "two"]);
    }

    #[test]
    fn the_other_byte_order_is_read_as_well() {
        // A return of the string "x" to call 258, byte for byte as the specification lays it out.
        let big = b"B\x02\x00\x01\0\0\0\x06\0\0\0\x01\0\0\0\x0f\
                    \x05\x01u\0\0\0\x01\x02\x08\x01g\0\x01s\0\0\0\0\0\x01x\0";
        let read = Message::parse(big).unwrap();
        assert_eq!((read.sort, read.answers, read.strings().unwrap()), (Sort::Return, 258, vec!["x".to_owned()]));
    }

    #[test]
    fn arrays_say_how_long_they_are() {
        let mut writer = Writer::default();
        writer.array(8, |w| w.property("N", "b", |w| w.u32(1)));
        // Length, padding, the name with its length and zero, the signature, padding, the value.
        assert_eq!(writer.0.len(), 8 + 4 + 2 + 3 + 3 + 4);
        assert_eq!(writer.0[..4], 16_u32.to_ne_bytes());
    }

    #[test]
    fn a_truth_value_is_one_of_any_type() {
        let method = Method { destination: "a", path: "/b", interface: "c", member: "D", signature: "v" };
        let read = |signature: &str, value: u32| {
            let bytes = call(1, method, |body| {
                body.signature(signature);
                body.u32(value);
            });
            Message::parse(&bytes).unwrap().truth().unwrap()
        };
        assert_eq!([read("b", 1), read("b", 0), read("u", 1)], [Some(true), Some(false), None]);
    }

    proptest! {
        #[test]
        fn no_answer_brings_the_reader_down(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(fixed) = bytes.first_chunk() {
                let _ = length(fixed);
            }
            if let Ok(message) = Message::parse(&bytes) {
                let _ = (message.strings(), message.truth());
            }
        }

        #[test]
        fn nor_does_one_that_is_nearly_right(at in 0_usize..100, byte in any::<u8>()) {
            let mut bytes = message();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(message) = Message::parse(&bytes) {
                let _ = message.strings();
            }
        }
    }
}
