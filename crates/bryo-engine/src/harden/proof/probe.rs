// SPDX-License-Identifier: Apache-2.0
//! What a port answers: a question of its protocol, and the part of the answer that does not differ from start to start.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::ports::Listener;
use super::{dialogue, rsync};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long all answers of one connection may take.
const LONGEST: Duration = Duration::from_secs(20);

/// How long one who greets first may take.
const GREETING: Duration = Duration::from_millis(700);

/// How much of an answer is read, in bytes.
const ANSWER_MAX: usize = 4096;

/// How long a word with a digit in it is that somebody has thrown dice for.
const ID_MIN: usize = 16;

/// How many digits a number has that counts seconds or processes since a start.
const NUMBER_MIN: usize = 8;

/// What is said of an answer that is no text.
const BINARY: &str = "binary";

/// How many elements of an XML document are named.
const ELEMENTS: usize = 3;

/// How much of a line is shown.
const SHOWN_MAX: usize = 100;

/// How much of a dialogue is.
const DIALOGUE_MAX: usize = 400;

/// Asks what listens.
pub(super) fn ask(listener: &Listener) -> String {
    let answer = if listener.udp { udp(listener) } else { tcp(listener) };
    answer.unwrap_or_else(|error| format!("none: {}", error.kind()))
}

/// A connection to a service that may take its time with each answer, and not for ever with all of them.
#[derive(Debug)]
pub(super) struct Talk {
    stream: TcpStream,
    until: Instant,
}

impl Talk {
    pub fn begin(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, until: Instant::now() + LONGEST })
    }
}

impl Read for Talk {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if Instant::now() >= self.until { Err(ErrorKind::TimedOut.into()) } else { self.stream.read(buffer) }
    }
}

impl Write for Talk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

fn tcp(listener: &Listener) -> std::io::Result<String> {
    let mut stream = Talk::begin(listener.reachable())?;
    if let Some(said) = dialogue::by_port(listener.port, &mut stream) {
        return said.map(told);
    }
    let question = question(listener.port);
    if question.is_none() {
        stream.stream.set_read_timeout(Some(GREETING))?;
        let greeting = read(&mut stream)?;
        stream.stream.set_read_timeout(Some(PATIENCE))?;
        if greeting.starts_with(rsync::GREETING) {
            return rsync::ask(listener.reachable()).map(told);
        }
        if let Some(said) = dialogue::by_greeting(listener.port, &greeting, &mut stream) {
            let greeted = shape(listener.port, &greeting);
            return said.map(|said| told(if greeted == BINARY { said } else { format!("{greeted}; {said}") }));
        }
        if !greeting.is_empty() {
            return Ok(shape(listener.port, &greeting));
        }
    }
    // Whoever says nothing first is asked as most of them can be.
    stream.write_all(question.unwrap_or(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"))?;
    let answer = read(&mut stream)?;
    Ok(if answer.is_empty() { "connects, and says nothing".to_owned() } else { shape(listener.port, &answer) })
}

/// Makes what a dialogue brought fit to be shown and compared.
fn told(said: String) -> String {
    let plain: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    lasting(&plain).chars().take(DIALOGUE_MAX).collect()
}

/// Returns the question of a well-known port, if one has to be asked first and there is no dialogue.
fn question(port: u16) -> Option<&'static [u8]> {
    match port {
        // A query for the address of `localhost`, with its length before it. Source: RFC 1035, 4.
        53 => Some(b"\0\x1b\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01"),
        80 | 8080 => Some(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"),
        _ => None,
    }
}

fn udp(listener: &Listener) -> std::io::Result<String> {
    if listener.port != 53 {
        return Ok("not asked".to_owned());
    }
    let target = listener.reachable();
    let own = if target.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(own)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&question(53).unwrap_or_default()[2..], target)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    Ok(dns(&answer[..length]))
}

/// Reads one answer: what comes until there is a pause.
fn read(stream: &mut Talk) -> std::io::Result<Vec<u8>> {
    let mut answer = vec![0; ANSWER_MAX];
    let mut heard = stream.read(&mut answer);
    while heard.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
        heard = stream.read(&mut answer);
    }
    match heard {
        Ok(length) => {
            answer.truncate(length);
            Ok(answer)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Takes the part of an answer that every start of a service has.
fn shape(port: u16, answer: &[u8]) -> String {
    if port == 53 {
        return dns(answer.get(2..).unwrap_or_default());
    }
    let line = answer.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    if text.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return BINARY.to_owned();
    }
    if text.starts_with("<?xml") {
        return format!("XML: {}", elements(&text).join(" "));
    }
    lasting(&text).chars().take(SHOWN_MAX).collect()
}

/// Lists the first elements of an XML document by their names: the order of attributes means nothing.
fn elements(text: &str) -> Vec<&str> {
    let name = |part: &'_ str| part.find(|c: char| c.is_whitespace() || "/>".contains(c)).unwrap_or(part.len());
    let parts = text.split('<').filter(|part| part.starts_with(char::is_alphabetic));
    parts.map(|part| &part[..name(part)]).take(ELEMENTS).collect()
}

/// Puts a star in the place of words that are of one start alone: times of the day, long numbers, random ids.
fn lasting(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let star = |word: &str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let is_time = word.len() == 8 && digits == 6 && word.matches(':').count() == 2;
        let is_id =
            digits > 0 && !word.contains(':') && (word.len() >= ID_MIN || digits == word.len() && digits >= NUMBER_MIN);
        if is_time || is_id { "*".to_owned() } else { word.to_owned() }
    };
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(length);
        shown += &if is_word(first) { star(part) } else { part.to_owned() };
        rest = after;
    }
    shown
}

fn dns(answer: &[u8]) -> String {
    match (answer.get(2), answer.get(3)) {
        (Some(flags), Some(code)) if flags & 0x80 != 0 => format!("DNS code {}", code & 0x0f),
        _ => "no DNS answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn asked(port_of: impl Fn(TcpStream) + Send + 'static) -> String {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = std::thread::spawn(move || port_of(server.accept().unwrap().0));
        let answer = ask(&Listener { port: address.port(), udp: false, address: address.ip() });
        thread.join().unwrap();
        answer
    }

    #[test]
    fn one_who_greets_is_heard_and_one_who_waits_is_asked() {
        assert_eq!(asked(|mut s| s.write_all(b"220 host ready\r\n").unwrap()), "220 host ready");
        let http = |mut stream: TcpStream| {
            let mut question = [0; 4];
            stream.read_exact(&mut question).unwrap();
            assert_eq!(&question, b"GET ");
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nDate: now\r\n\r\n").unwrap();
        };
        assert_eq!(asked(http), "HTTP/1.1 404 Not Found");
        let closed = Listener { port: 1, udp: false, address: [127, 0, 0, 1].into() };
        assert!(ask(&closed).starts_with("none: "), "{}", ask(&closed));
    }

    #[test]
    fn what_is_random_is_left_out() {
        assert_eq!(shape(53, b"\0\x1b\x12\x34\x81\x83"), "DNS code 3");
        assert_eq!(shape(1, b"\x01\x02"), "binary");
        for (greeting, expected) in [
            ("220 mx.test ESMTP Mon, 30 Nov 2026 22:05:25 +0000\r\n", "220 mx.test ESMTP Mon, 30 Nov 2026 * +0000"),
            ("INFO {\"server_id\":\"NDCMGQ62QCWHTBC47GMXOHTY\"}", "INFO {\"server_id\":\"*\"}"),
            ("+OK POP3 <1896.697170952@host>", "+OK POP3 <1896.*@host>"),
            ("HTTP/1.1 200 answered by somethingverylong", "HTTP/1.1 200 answered by somethingverylong"),
            ("<?xml version='1.0'?><s:stream to='' id='7'><a/></s:stream>", "XML: s:stream a"),
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3"),
        ] {
            assert_eq!(shape(1, greeting.as_bytes()), expected);
        }
    }
}
