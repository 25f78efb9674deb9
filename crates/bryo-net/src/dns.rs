// SPDX-License-Identifier: Apache-2.0
//! As much of the name service's messages as a resolver for containers needs. Source: RFC 1035, RFC 3596.
//!
//! Nothing but the header and the one question of a query is looked at. The rest is passed on as it is, or not at all.

use std::net::Ipv4Addr;

/// The header's length.
const HEADER: usize = 12;
/// The longest name, as it is on the wire.
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: u8 = 63;
/// The longest query that is answered: one question, and the options of RFC 6891.
pub(crate) const LONGEST_QUERY: usize = 1232;
/// How many seconds an answer may be remembered: containers come and go.
const TTL: u32 = 5;

const CLASS_IN: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;

/// Bits of the header's second word.
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

/// What became of a query. Source: RFC 1035, 4.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Fine = 0,
    FormatError = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
}

/// A query with one question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    message: &'a [u8],
    /// Where the question ends.
    end: usize,
    /// The name in lower case, without the last dot; nothing when it has bytes that are in no host's name.
    pub name: Option<String>,
    kind: u16,
    class: u16,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    /// The addresses of a name.
    Addresses(&'a str),
    /// Anything else about a name.
    Other(&'a str),
    /// The name of an address.
    Name(Ipv4Addr),
    /// What no container could be the answer to.
    Foreign,
}

impl<'a> Query<'a> {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// The code to answer with; nothing for what is no query, and must not be answered.
    pub fn parse(message: &'a [u8]) -> Result<Self, Option<Code>> {
        let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
        let flags = word(2).filter(|_| message.len() >= HEADER).ok_or(None)?;
        if flags & RESPONSE != 0 {
            return Err(None);
        }
        if flags & OPCODE != 0 {
            return Err(Some(Code::NotImplemented));
        }
        let malformed = Some(Code::FormatError);
        if word(4) != Some(1) || message.len() > LONGEST_QUERY {
            return Err(malformed);
        }
        let (name, after) = name(message, HEADER).ok_or(malformed)?;
        let (kind, class) = (word(after).ok_or(malformed)?, word(after + 2).ok_or(malformed)?);
        Ok(Self { message, end: after + 4, name, kind, class })
    }

    /// Returns the number by which the asker knows its query.
    pub fn id(&self) -> [u8; 2] {
        [self.message[0], self.message[1]]
    }

    /// Returns the question as it is on the wire.
    pub fn question(&self) -> &'a [u8] {
        &self.message[HEADER..self.end]
    }

    /// Tells what is asked for.
    pub fn asked(&self) -> Asked<'_> {
        let Some(name) = self.name.as_deref().filter(|_| self.class == CLASS_IN) else { return Asked::Foreign };
        match self.kind {
            TYPE_A => Asked::Addresses(name),
            TYPE_PTR => reverse(name).map_or(Asked::Other(name), Asked::Name),
            _ => Asked::Other(name),
        }
    }

    /// Answers with addresses; without any, the name is there and has nothing of what was asked for.
    pub fn addresses(&self, addresses: &[Ipv4Addr]) -> Vec<u8> {
        let records: Vec<Vec<u8>> = addresses.iter().map(|address| address.octets().to_vec()).collect();
        self.answer(Code::Fine, TYPE_A, &records)
    }

    /// Answers with a name.
    pub fn pointer(&self, name: &str) -> Vec<u8> {
        let mut data = Vec::new();
        for label in name.split('.') {
            let Some(length) = u8::try_from(label.len()).ok().filter(|n| (1..=LONGEST_LABEL).contains(n)) else {
                return self.refusal(Code::ServerFailure);
            };
            data.push(length);
            data.extend(label.bytes());
        }
        data.push(0);
        self.answer(Code::Fine, TYPE_PTR, &[data])
    }

    /// Answers with a code alone.
    pub fn refusal(&self, code: Code) -> Vec<u8> {
        self.answer(code, 0, &[])
    }

    fn answer(&self, code: Code, kind: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let desired = u16::from_be_bytes([self.message[2], self.message[3]]) & RECURSION_DESIRED;
        let flags = RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | desired | code as u16;
        let count = u16::try_from(records.len()).unwrap_or(u16::MAX);
        let mut out = self.id().to_vec();
        for word in [flags, 1, count, 0, 0] {
            out.extend(word.to_be_bytes());
        }
        out.extend(self.question());
        for data in records {
            // The name is the question's, at the end of the header.
            out.extend([0xc0, 0x0c]);
            out.extend(kind.to_be_bytes());
            out.extend(CLASS_IN.to_be_bytes());
            out.extend(TTL.to_be_bytes());
            out.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
            out.extend(data);
        }
        out
    }
}

/// Answers what could not be read, if it has at least a number.
pub(crate) fn unread(message: &[u8], code: Code) -> Option<Vec<u8>> {
    let id = message.get(..2)?;
    let flags = RESPONSE | code as u16;
    Some([id, &flags.to_be_bytes(), &[0; 8]].concat())
}

/// Tells whether a message is the answer to a question that was sent with a number.
pub(crate) fn answers(message: &[u8], id: [u8; 2], question: &[u8]) -> bool {
    let repeated = message.get(HEADER..HEADER + question.len());
    message.get(..2) == Some(&id[..])
        && message.get(2).is_some_and(|flags| flags & 0x80 != 0)
        && message.get(4..6) == Some(&[0, 1])
        && repeated.is_some_and(|repeated| repeated.eq_ignore_ascii_case(question))
}

/// Reads a name that refers to no other, and returns where it ends.
fn name(message: &[u8], start: usize) -> Option<(Option<String>, usize)> {
    let (mut at, mut text, mut plain) = (start, String::new(), true);
    loop {
        let length = *message.get(at)?;
        if length == 0 {
            return Some((plain.then_some(text), at + 1));
        }
        let next = at + 1 + usize::from(length);
        if length > LONGEST_LABEL || next - start >= LONGEST_NAME {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        for byte in message.get(at + 1..next)? {
            plain &= byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            text.push(char::from(byte.to_ascii_lowercase()));
        }
        at = next;
    }
}

/// Reads the address whose name is asked for: its bytes, backwards.
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let mut bytes = name.strip_suffix(".in-addr.arpa")?.split('.').map(|byte| byte.parse::<u8>().ok());
    let (d, c, b, a) = (bytes.next()??, bytes.next()??, bytes.next()??, bytes.next()??);
    bytes.next().is_none().then_some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        message
    }

    #[test]
    fn a_name_is_asked_for_in_lower_case() {
        let message = query("Web-1.Example", 1);
        assert_eq!(Query::parse(&message).unwrap().asked(), Asked::Addresses("web-1.example"));
        let message = query("web", 28);
        assert_eq!(Query::parse(&message).unwrap().asked(), Asked::Other("web"));
        let message = query("2.0.89.10.in-addr.arpa", 12);
        assert_eq!(Query::parse(&message).unwrap().asked(), Asked::Name(Ipv4Addr::new(10, 89, 0, 2)));
        for foreign in ["a/../b", "a b", "caf\u{e9}"] {
            let message = query(foreign, 1);
            assert_eq!(Query::parse(&message).unwrap().asked(), Asked::Foreign, "{foreign}");
        }
        for other in ["1.2.3.in-addr.arpa", "256.1.1.1.in-addr.arpa", "5.4.3.2.1.in-addr.arpa"] {
            let message = query(other, 12);
            assert_eq!(Query::parse(&message).unwrap().asked(), Asked::Other(other));
        }
    }

    #[test]
    fn an_answer_repeats_the_question() {
        let message = query("web", 1);
        let query = Query::parse(&message).unwrap();
        let answer = query.addresses(&[Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)]);
        assert_eq!(answer[..12], [7, 9, 0x85, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]);
        assert_eq!(answer[12..21], message[12..]);
        assert_eq!(answer[21..37], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 2]);
        assert_eq!(answer.len(), 53);
        assert!(answers(&answer, [7, 9], query.question()));
        assert!(!answers(&answer, [7, 8], query.question()));
        assert!(!answers(&message, [7, 9], query.question()), "a query is no answer");
        assert!(query.pointer("web.net").ends_with(&[0, 9, 3, b'w', b'e', b'b', 3, b'n', b'e', b't', 0]));
    }

    #[test]
    fn what_is_no_query_is_not_answered() {
        let mut response = query("web", 1);
        response[2] |= 0x80;
        for silent in [&response[..], &[], &[0; 11]] {
            assert_eq!(Query::parse(silent), Err(None));
        }
        let mut update = query("web", 1);
        update[2] |= 0x28;
        assert_eq!(Query::parse(&update), Err(Some(Code::NotImplemented)));
        let (mut two, mut pointer, mut endless) = (query("web", 1), query("web", 1), query("", 1));
        two[5] = 2;
        pointer[12] = 0xc0;
        endless.splice(12..13, [63_u8].into_iter().chain([b'a'; 63]).cycle().take(64 * 5));
        for malformed in [two, pointer, endless, query("web", 1)[..18].to_vec(), vec![0; LONGEST_QUERY + 1]] {
            assert_eq!(Query::parse(&malformed), Err(Some(Code::FormatError)), "{malformed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_message_breaks_the_parser(mut message in proptest::collection::vec(any::<u8>(), 0..1400), query in any::<bool>()) {
            if query && message.len() > 5 {
                message[2] &= 0x07;
                message[4..6].copy_from_slice(&[0, 1]);
            }
            if let Ok(query) = Query::parse(&message) {
                prop_assert!(query.end <= message.len() && query.question().len() >= 5);
                let _ = query.asked();
                prop_assert!(query.addresses(&[Ipv4Addr::LOCALHOST; 16]).len() < 700);
                prop_assert!(answers(&query.refusal(Code::NoSuchName), query.id(), query.question()));
            }
        }

        #[test]
        fn every_name_that_is_written_is_read(labels in proptest::collection::vec("[a-z0-9_-]{1,20}", 1..8)) {
            let name = labels.join(".");
            let message = query(&name, 1);
            let query = Query::parse(&message).unwrap();
            prop_assert_eq!(query.name.as_deref(), Some(name.as_str()));
            prop_assert_eq!(query.end, message.len());
        }
    }
}
