// SPDX-License-Identifier: Apache-2.0
//! What services of known protocols are asked to do: to keep something and give it back, to take a mail, to let somebody
//! in. A greeting is said by a process that may be refused everything that comes after it.
//!
//! An answer is told as far as every start of a service has it: codes and words, no times and no random bytes.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// The longest message that is read, in bytes.
const MESSAGE_MAX: usize = 1 << 16;

/// How many lines one answer has at most.
const LINES_MAX: usize = 64;

/// Talks to a service whose port tells what it speaks, and that waits to be asked.
pub(super) fn by_port(port: u16, stream: &mut (impl Read + Write)) -> Option<Result<String>> {
    let said = match port {
        6379 | 6380 => replies(
            stream,
            b"PING\r\nSET bryo-proof kept EX 60\r\nGET bryo-proof\r\nSAVE\r\n",
            |line| line.is_empty(),
            5,
        ),
        11211 => replies(stream, b"set bryo-proof 0 60 4\r\nkept\r\nget bryo-proof\r\n", |line| line == "END", 4),
        11300 => replies(stream, b"put 0 0 60 4\r\nkept\r\nreserve\r\n", |line| line == "kept", 3),
        // Its version and build; what follows counts.
        2181 => replies(stream, b"srvr", |_| true, 1),
        5432 => postgres(stream),
        1883 => mqtt(stream),
        389 => ldap(stream),
        _ => return None,
    };
    Some(said)
}

/// Talks to a service that has greeted.
pub(super) fn by_greeting(port: u16, greeting: &[u8], stream: &mut (impl Read + Write)) -> Option<Result<String>> {
    let text = String::from_utf8_lossy(greeting).to_ascii_uppercase();
    let first = text.lines().next().unwrap_or_default();
    if port == 3306 && greeting.get(4) == Some(&10) {
        return Some(mysql(greeting, stream));
    }
    let mail = ["EHLO bryo-proof", "MAIL FROM:<>", "RCPT TO:<postmaster>", "RSET", "QUIT"];
    let files = ["USER anonymous", "PASS bryo@", "PWD", "QUIT"];
    if first.starts_with("220") && (first.contains("SMTP") || matches!(port, 25 | 587)) {
        return Some(codes(stream, &mail));
    }
    if first.starts_with("220") && (first.contains("FTP") || port == 21) {
        return Some(codes(stream, &files));
    }
    if first.starts_with("SSH-2.0-") {
        return Some(ssh(stream));
    }
    if first.starts_with("INFO {") {
        let ask = b"CONNECT {\"verbose\":false}\r\nSUB bryo.proof 1\r\nPUB bryo.proof 4\r\nkept\r\nPING\r\n";
        return Some(replies(stream, ask, |line| line == "PONG", 3));
    }
    None
}

/// Reads one byte after the other up to the end of a line: what comes next is another answer's.
fn line(stream: &mut (impl Read + Write)) -> Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < MESSAGE_MAX {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Asks and reads lines: so many, or up to one that is the last. One who says less is not waited for.
fn replies(stream: &mut (impl Read + Write), ask: &[u8], last: impl Fn(&str) -> bool, most: usize) -> Result<String> {
    stream.write_all(ask)?;
    let mut said = Vec::new();
    while said.len() < most {
        match line(stream) {
            Ok(line) => {
                let over = last(&line);
                said.push(line);
                if over {
                    break;
                }
            }
            Err(error) if said.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(said.join(", "))
}

/// Says one line after the other, and returns the codes of the answers. Source: RFC 5321 4.2, RFC 959 4.2.
fn codes(stream: &mut (impl Read + Write), asks: &[&str]) -> Result<String> {
    let mut said = Vec::new();
    for ask in asks {
        let code = write!(stream, "{ask}\r\n").and_then(|()| code(stream));
        said.push(format!(
            "{} {}",
            ask.split([' ', ':']).next().unwrap_or_default(),
            code.as_deref().unwrap_or("nothing")
        ));
        if code.is_err() {
            break;
        }
    }
    Ok(said.join(", "))
}

/// Reads an answer, of one line or more, and returns its code.
fn code(stream: &mut (impl Read + Write)) -> Result<String> {
    for _ in 0..LINES_MAX {
        let line = line(stream)?;
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line.split(' ').next().unwrap_or_default().to_owned());
        }
    }
    Err(Error::from(ErrorKind::InvalidData))
}

/// Reads so many bytes.
fn bytes(stream: &mut (impl Read + Write), length: usize) -> Result<Vec<u8>> {
    if length > MESSAGE_MAX {
        return Err(Error::from(ErrorKind::InvalidData));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Exchanges versions and reads the first packet: it comes from a process that has given everything up. Source: RFC 4253.
fn ssh(stream: &mut (impl Read + Write)) -> Result<String> {
    stream.write_all(b"SSH-2.0-bryo\r\n")?;
    Ok(bytes(stream, 6).map_or_else(|error| error.kind().to_string(), |head| format!("message {}", head[5])))
}

/// Asks to be let in as `root` without a password. Source: MySQL, "Connection Phase".
fn mysql(greeting: &[u8], stream: &mut (impl Read + Write)) -> Result<String> {
    let version = greeting[5..].split(|byte| *byte == 0).next().unwrap_or_default();
    let version = String::from_utf8_lossy(version).escape_debug().to_string();
    // CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION; the longest packet; utf8; 23 zeros; the user; no password.
    let body = [&[0, 0x82, 0, 0, 0, 0, 0, 1, 33][..], &[0; 23], b"root\0", &[0]].concat();
    let length = u32::try_from(body.len()).unwrap_or(0).to_le_bytes();
    stream.write_all(&[&length[..3], &[1], &body].concat())?;
    let head = bytes(stream, 4)?;
    let answer = bytes(stream, usize::from(head[0]) | usize::from(head[1]) << 8)?;
    let said = match answer.as_slice() {
        [0, ..] => "let in".to_owned(),
        [0xff, low, high, ..] => format!("error {}", u16::from_le_bytes([*low, *high])),
        [0xfe, ..] => "another way to log in".to_owned(),
        _ => "no answer that is known".to_owned(),
    };
    Ok(format!("MySQL {version}, {said}"))
}

/// Asks to be let in as `postgres`, and where that is granted has a row kept. Source: PostgreSQL, "Message Formats".
fn postgres(stream: &mut (impl Read + Write)) -> Result<String> {
    let parameters = b"user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(parameters.len() + 8).unwrap_or(0);
    stream.write_all(&[&length.to_be_bytes(), &0x0003_0000_u32.to_be_bytes()[..], parameters].concat())?;
    let mut said = Vec::new();
    if until_ready(stream, &mut said)? {
        let query =
            b"create table bryo_proof as select 'kept'; checkpoint; select * from bryo_proof; drop table bryo_proof\0";
        let length = u32::try_from(query.len() + 4).unwrap_or(0);
        stream.write_all(&[b"Q", &length.to_be_bytes()[..], query].concat())?;
        until_ready(stream, &mut said)?;
    }
    Ok(said.join(", "))
}

/// Reads messages up to the word that another question may come, and tells whether it came.
fn until_ready(stream: &mut (impl Read + Write), said: &mut Vec<String>) -> Result<bool> {
    for _ in 0..LINES_MAX {
        let head = bytes(stream, 5)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let body = bytes(stream, usize::try_from(length).unwrap_or(0).saturating_sub(4))?;
        let field = |key: u8| body.split(|b| *b == 0).find_map(|part| part.strip_prefix(&[key][..]));
        match head[0] {
            b'R' if body != [0; 4] => {
                said.push(format!("wants proof {}", body.get(3).copied().unwrap_or(0)));
                return Ok(false);
            }
            b'R' => said.push("let in".to_owned()),
            b'C' => said.push(String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned()),
            b'E' => {
                said.push(format!("error {}", String::from_utf8_lossy(field(b'C').unwrap_or_default())));
                // Before somebody is let in it is the last word.
                if said.len() == 1 {
                    return Ok(false);
                }
            }
            b'Z' => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// Connects as nobody, and has a message come back. Source: MQTT 3.1.1.
fn mqtt(stream: &mut (impl Read + Write)) -> Result<String> {
    // CONNECT with a clean session; the client's id is `bryo`.
    stream.write_all(b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04bryo")?;
    let answer = bytes(stream, 4)?;
    if answer[3] != 0 {
        return Ok(format!("MQTT code {}", answer[3]));
    }
    // SUBSCRIBE to `bryo`, and PUBLISH `kept` there.
    stream.write_all(b"\x82\x09\0\x01\0\x04bryo\0\x30\x0a\0\x04bryokept")?;
    let mut said = vec!["MQTT code 0".to_owned()];
    for _ in 0..2 {
        let head = bytes(stream, 2)?;
        let body = bytes(stream, usize::from(head[1]))?;
        said.push(if body.ends_with(b"kept") { "kept".to_owned() } else { format!("message {}", head[0] >> 4) });
    }
    said.sort();
    Ok(said.join(", "))
}

/// Binds as nobody and asks for the root of the directory. Source: RFC 4511.
fn ldap(stream: &mut (impl Read + Write)) -> Result<String> {
    stream.write_all(b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0")?;
    let bound = ldap_code(stream)?;
    // SearchRequest: the base "", its object alone, (objectClass=*).
    let body = b"\x02\x01\x02\x63\x20\x04\0\x0a\x01\0\x0a\x01\0\x02\x01\0\x02\x01\0\x01\x01\0\x87\x0bobjectClass\x30\0";
    let length = u8::try_from(body.len()).unwrap_or(0);
    stream.write_all(&[&[0x30, length], &body[..]].concat())?;
    Ok(format!("LDAP bind {bound}, search {}", ldap_code(stream)?))
}

/// Reads a message and returns the number of its operation, and its result where it has one.
fn ldap_code(stream: &mut (impl Read + Write)) -> Result<String> {
    let head = bytes(stream, 2)?;
    let length = match head[1] {
        short @ 0..0x80 => usize::from(short),
        long => bytes(stream, usize::from(long & 0x7f).min(4))?.iter().fold(0, |all, b| all << 8 | usize::from(*b)),
    };
    let body = bytes(stream, length)?;
    // The message's id, then the operation.
    let operation = body.get(3..).unwrap_or_default();
    let code = operation.windows(3).find(|part| part.starts_with(&[0x0a, 1])).map(|part| part[2]);
    let number = operation.first().map_or(0, |tag| tag & 0x1f);
    Ok(code.filter(|_| number != 4).map_or_else(|| format!("answer {number}"), |code| format!("code {code}")))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    /// Lets a server answer what it hears, part by part, and returns what the caller makes of it.
    fn talk(
        parts: &'static [(&'static [u8], &'static [u8])],
        ask: impl Fn(&mut TcpStream) -> Result<String>,
    ) -> String {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut stream = server.accept().unwrap().0;
            for (expected, answer) in parts {
                let mut heard = vec![0; expected.len()];
                stream.read_exact(&mut heard).unwrap();
                assert_eq!(heard, *expected);
                stream.write_all(answer).unwrap();
            }
        });
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let said = ask(&mut stream).unwrap_or_else(|error| format!("none: {}", error.kind()));
        drop(stream);
        thread.join().unwrap();
        said
    }

    #[test]
    fn what_is_kept_comes_back_and_a_refusal_shows() {
        let redis = |parts| talk(parts, |stream| by_port(6379, stream).unwrap());
        const ASKS: &[u8] = b"PING\r\nSET bryo-proof kept EX 60\r\nGET bryo-proof\r\nSAVE\r\n";
        assert_eq!(redis(&[(ASKS, b"+PONG\r\n+OK\r\n$4\r\nkept\r\n+OK\r\n")]), "+PONG, +OK, $4, kept, +OK");
        assert_eq!(redis(&[(ASKS, b"+PONG\r\n+OK\r\n$4\r\nkept\r\n-ERR\r\n")]), "+PONG, +OK, $4, kept, -ERR");
        assert_eq!(redis(&[(ASKS, b"-NOAUTH\r\n")]), "-NOAUTH");
    }

    #[test]
    fn a_dialogue_is_told_by_its_codes() {
        let ftp: &'static [(&[u8], &[u8])] =
            &[(b"USER anonymous\r\n", b"331-x\r\n331 Go on\r\n"), (b"PASS bryo@\r\n", b"500 OOPS: cannot\r\n")];
        let said = talk(ftp, |stream| by_greeting(21, b"220 (vsFTPd 3.0.3)", stream).unwrap());
        assert_eq!(said, "USER 331, PASS 500, PWD nothing");
        let ssh: &'static [(&[u8], &[u8])] = &[(b"SSH-2.0-bryo\r\n", b"\0\0\x04\x3c\x0a\x14")];
        assert_eq!(talk(ssh, |stream| by_greeting(22, b"SSH-2.0-x", stream).unwrap()), "message 20");
        assert_eq!(
            talk(&[(b"SSH-2.0-bryo\r\n", b"")], |stream| by_greeting(22, b"SSH-2.0-x", stream).unwrap()),
            "unexpected end of file"
        );
    }

    #[test]
    fn databases_say_whether_they_let_somebody_in() {
        let login = |answer: &'static [u8]| {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = server.local_addr().unwrap();
            std::thread::spawn(move || {
                let mut stream = server.accept().unwrap().0;
                stream.write_all(answer).unwrap();
                std::io::copy(&mut stream, &mut std::io::sink())
            });
            TcpStream::connect(address).unwrap()
        };
        let greeting = b"\x4a\0\0\0\x0a8.4.0\0salt";
        let mysql = |answer| by_greeting(3306, greeting, &mut login(answer)).unwrap().unwrap();
        assert_eq!(mysql(b"\x07\0\0\x02\0\0\0\x02\0\0\0"), "MySQL 8.4.0, let in");
        assert_eq!(mysql(b"\x03\0\0\x02\xff\x15\x04"), "MySQL 8.4.0, error 1045");
        let postgres = |answer| by_port(5432, &mut login(answer)).unwrap().unwrap();
        assert_eq!(postgres(b"R\0\0\0\x08\0\0\0\x0a"), "wants proof 10");
        assert_eq!(postgres(b"E\0\0\0\x13SFATAL\0C28000\0\0"), "error 28000");
        let kept = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IC\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
        assert_eq!(postgres(kept), "let in, SELECT 1");
    }

    #[test]
    fn messages_and_directories_are_asked_for() {
        let mqtt: &'static [(&[u8], &[u8])] = &[
            (b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04bryo", b"\x20\x02\0\0"),
            (b"\x82\x09\0\x01\0\x04bryo\0\x30\x0a\0\x04bryokept", b"\x90\x03\0\x01\0\x30\x0a\0\x04bryokept"),
        ];
        assert_eq!(talk(mqtt, |stream| by_port(1883, stream).unwrap()), "MQTT code 0, kept, message 9");
        let ldap: &'static [(&[u8], &[u8])] = &[
            (
                b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0",
                b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0",
            ),
            (b"\x30\x25", b"\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\x20\x04\0\x04\0"),
        ];
        assert_eq!(talk(ldap, |stream| by_port(389, stream).unwrap()), "LDAP bind code 0, search code 32");
    }
}
