// SPDX-License-Identifier: Apache-2.0
//! Asking rsync's daemon: its modules, what lies in each, and one file. Source: `csprotocol.txt` and the behaviour of
//! version 27 of the protocol, which every daemon still speaks: whole numbers have 32 bits, lowest byte first.
//!
//! Its greeting is the same whether or not it can serve: it becomes another user only for a module.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::SocketAddr;

use super::probe::Talk;

/// How the daemon's greeting begins, and its word about itself.
pub(super) const GREETING: &[u8] = b"@RSYNCD:";

/// What the caller speaks.
const VERSION: &str = "@RSYNCD: 27.0\n";

/// How many modules are looked into.
const MODULES_MAX: usize = 4;

/// How much of a module is listed: files, and bytes of a name.
const FILES_MAX: usize = 1000;
const NAME_MAX: usize = 4096;

/// How much of a file is read, in bytes.
const FILE_MAX: usize = 1 << 20;

/// What is left out of the list: all but the first level.
const EXCLUDE: &[u8] = b"/*/*";

/// The tag of data among what a daemon sends; others are messages.
const DATA: u8 = 7;

/// Flags of an entry of the list. Source: `rsync.h`.
const SAME_NAME: u8 = 0x20;
const LONG_NAME: u8 = 0x40;
const SAME_MODE: u8 = 0x02;
const SAME_TIME: u8 = 0x80;

/// Asks for all of it and says what came.
pub(super) fn ask(address: SocketAddr) -> Result<String> {
    let mut stream = greeted(address)?;
    stream.get_mut().write_all(b"#list\n")?;
    let mut names = Vec::new();
    for line in lines(&mut stream)? {
        if line.starts_with("@ERROR") {
            return Ok(line);
        }
        names.push(line.split_whitespace().next().unwrap_or_default().to_owned());
    }
    let mut said = vec![format!("{} modules", names.len())];
    for name in names.iter().take(MODULES_MAX) {
        said.push(format!("{name}: {}", module(address, name)?));
    }
    Ok(said.join("; "))
}

/// Connects, and exchanges greetings.
fn greeted(address: SocketAddr) -> Result<BufReader<Talk>> {
    let mut stream = BufReader::new(Talk::begin(address)?);
    line(&mut stream)?;
    stream.get_mut().write_all(VERSION.as_bytes())?;
    Ok(stream)
}

fn line(stream: &mut BufReader<Talk>) -> Result<String> {
    let mut line = Vec::new();
    stream.take(NAME_MAX as u64).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Reads what the daemon says up to its own last word, which is left out but where it is an error.
fn lines(stream: &mut BufReader<Talk>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    while found.len() < FILES_MAX {
        let line = line(stream)?;
        if line.is_empty() && stream.buffer().is_empty() || line.starts_with("@RSYNCD:") {
            break;
        }
        let over = line.starts_with("@ERROR");
        found.push(line);
        if over {
            break;
        }
    }
    Ok(found)
}

/// Enters a module, lists it and reads the first file in it.
fn module(address: SocketAddr, name: &str) -> Result<String> {
    let mut stream = greeted(address)?;
    writeln!(stream.get_mut(), "{name}")?;
    let mut word = line(&mut stream)?;
    // Before it there may be a message of the day.
    for _ in 0..FILES_MAX {
        if word.starts_with('@') || word.is_empty() && stream.buffer().is_empty() {
            break;
        }
        word = line(&mut stream)?;
    }
    if word != "@RSYNCD: OK" {
        // A challenge has random bytes behind it.
        return Ok(if word.starts_with("@RSYNCD: AUTHREQD") { "wants a password".to_owned() } else { word });
    }
    let mut ask = format!("--server\n--sender\n-r\n.\n{name}/\n\n").into_bytes();
    ask.extend(number(EXCLUDE.len()));
    ask.extend(EXCLUDE);
    ask.extend(number(0));
    stream.get_mut().write_all(&ask)?;
    let mut seed = [0; 4];
    stream.read_exact(&mut seed)?;
    let mut data = Data { stream, left: 0 };
    match list(&mut data) {
        Ok(files) => {
            let read = files.iter().position(|(_, is_file)| *is_file).map(|nth| file(&mut data, nth)).transpose();
            let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
            let read = match read {
                Ok(read) => read.map_or_else(String::new, |bytes| format!(", the first file has {bytes} bytes")),
                Err(error) => format!(", {error}"),
            };
            Ok(format!("{}{read}", names.join(" ")))
        }
        Err(error) => Ok(error.to_string()),
    }
}

fn number(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(0).to_le_bytes()
}

/// The data in what a daemon sends. A message in its place is an error.
struct Data<R> {
    stream: R,
    left: usize,
}

impl<R: Read> Data<R> {
    fn exact<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.exact()?))
    }
}

impl<R: Read> Read for Data<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.left == 0 {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head)?;
            let [a, b, c, tag] = head;
            let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
            if tag != DATA {
                let mut text = vec![0; length.min(NAME_MAX)];
                self.stream.read_exact(&mut text)?;
                return Err(Error::other(String::from_utf8_lossy(&text).trim().to_owned()));
            }
            self.left = length;
        }
        let most = buffer.len().min(self.left);
        let read = self.stream.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

/// Reads the list of files: each name, and whether it is one of a regular file; in the order that both sides number
/// them in.
fn list<R: Read>(data: &mut Data<R>) -> Result<Vec<(String, bool)>> {
    let (mut files, mut name, mut mode) = (Vec::new(), Vec::new(), 0);
    loop {
        let [flags] = data.exact()?;
        if flags == 0 {
            break;
        }
        let kept = if flags & SAME_NAME != 0 { usize::from(data.exact::<1>()?[0]) } else { 0 };
        let length = if flags & LONG_NAME != 0 { data.number()? as usize } else { usize::from(data.exact::<1>()?[0]) };
        if length > NAME_MAX || files.len() >= FILES_MAX || kept > name.len() {
            return Err(Error::from(ErrorKind::InvalidData));
        }
        name.truncate(kept);
        let end = name.len();
        name.resize(end + length, 0);
        data.read_exact(&mut name[end..])?;
        if data.number()? == u32::MAX {
            data.exact::<8>()?;
        }
        if flags & SAME_TIME == 0 {
            data.number()?;
        }
        if flags & SAME_MODE == 0 {
            mode = data.number()?;
        }
        files.push((name.clone(), mode & 0o170_000 == 0o100_000));
    }
    // Whether some could not be looked at.
    let failed = data.number()?;
    if failed != 0 {
        return Err(Error::other("not all of it can be listed"));
    }
    files.sort();
    Ok(files.into_iter().map(|(name, is_file)| (String::from_utf8_lossy(&name).into_owned(), is_file)).collect())
}

/// Reads a file by its number, and returns its length in bytes.
fn file(data: &mut Data<BufReader<Talk>>, nth: usize) -> Result<usize> {
    // Of the file here there are no blocks: their count, their length, that of their sums, the rest.
    let ask = [number(nth), number(0), number(0), number(2), number(0)].concat();
    data.stream.get_mut().write_all(&ask)?;
    for _ in 0..5 {
        data.number()?;
    }
    let mut length = 0;
    loop {
        let part = data.number()? as usize;
        if part == 0 || length + part > FILE_MAX {
            return Ok(length + part);
        }
        std::io::copy(&mut data.take(part as u64), &mut std::io::sink())?;
        length += part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wraps what a daemon sends.
    fn frame(tag: u8, data: &[u8]) -> Vec<u8> {
        let [a, b, c, _] = number(data.len());
        [&[a, b, c, tag][..], data].concat()
    }

    #[test]
    fn a_list_is_read_in_the_order_that_both_sides_count_in() {
        let entry = |flags: u8, name: &[u8], rest: &[&[u8]]| {
            [&[flags, u8::try_from(name.len()).unwrap()], name, &rest.concat()].concat()
        };
        let mode = |mode: u32| mode.to_le_bytes();
        // One without any flag is the end.
        const TOP: u8 = 1;
        let mut data = entry(TOP, b"up", &[&number(5), &number(1), &mode(0o100_644)]);
        // Time and mode are those of the one before, and so is the beginning of the name.
        data.extend([SAME_NAME | SAME_TIME | SAME_MODE, 1, 1]);
        data.extend([&b"n"[..], &number(9)].concat());
        data.extend(entry(TOP, b".", &[&number(4096), &number(1), &mode(0o040_755)]));
        data.extend([&[0][..], &number(0)].concat());
        let (one, two) = data.split_at(7);
        let stream = [frame(DATA, one), frame(DATA, two)].concat();
        let found = list(&mut Data { stream: &stream[..], left: 0 }).unwrap();
        assert_eq!(found, [(".".to_owned(), false), ("un".to_owned(), true), ("up".to_owned(), true)]);
        let denied = frame(8, b"rsync: [sender] opendir failed: Permission denied (13)\n");
        let error = list(&mut Data { stream: &denied[..], left: 0 }).unwrap_err();
        assert!(error.to_string().ends_with("Permission denied (13)"), "{error}");
    }

    #[test]
    fn a_module_that_is_refused_shows() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            for answer in ["data  \tx\n@RSYNCD: EXIT\n", "hello\n@ERROR: setgroups failed\n"] {
                let mut stream = server.accept().unwrap().0;
                stream.write_all(b"@RSYNCD: 32.0 md5\n").unwrap();
                let mut heard = vec![0; VERSION.len() + 5];
                stream.read_exact(&mut heard).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(ask(address).unwrap(), "1 modules; data: @ERROR: setgroups failed");
        thread.join().unwrap();
    }
}
