// SPDX-License-Identifier: Apache-2.0
//! The archive's reader: one header and its extensions become one member, with one meaning.
//!
//! Field decoding is the `tar` crate's; the order of headers is decided here, strictly, since every known escape by
//! "two parsers see different files" (CVE-2025-62518, CVE-2026-33055) lives there. Memory is bounded: no size in a
//! header is believed before the bytes came.
//!
//! Sources: POSIX.1-2017 `pax`; GNU tar manual, "Basic Tar Format".

use std::io::BufRead;

use tar::{EntryType, Header};

use super::Limits;
use super::pax::{PAX_MAX, Pax};
use super::sparse::{self, SparseMap};
use crate::error::{Error, Kind, Result};

const BLOCK: u64 = 512;
/// The largest size that a header's octal field can say; above it, an extended header must.
const OCTAL_MAX: u64 = 0o77_777_777_777;

/// What a member is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MemberKind {
    /// A regular file with data.
    Regular,
    /// Another name of an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character or block device.
    Device,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One member of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The name as it is in the archive: not checked in any way.
    pub name: Vec<u8>,
    /// The target of a link: not checked in any way.
    pub link: Vec<u8>,
    pub kind: MemberKind,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// The owner's id inside.
    pub uid: u64,
    /// The group's id inside.
    pub gid: u64,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
    /// Bytes of data in the archive.
    pub size: u64,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data goes in a sparse file.
    pub sparse: Option<SparseMap>,
}

/// Reads members one after the other.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    input: R,
    limits: Limits,
    /// Data of the current member that is not read yet, without padding.
    data: u64,
    padding: u64,
    position: u64,
    entries: u64,
    /// Whether an archive must have its end mark: one of known digest is whole anyway.
    end_mark_needed: bool,
}

/// Headers that come before the member they describe.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_link.is_none() && self.pax.is_none()
    }
}

impl<R: BufRead> TarReader<R> {
    /// Starts at the beginning of an archive.
    pub fn new(input: R, limits: Limits, end_mark_needed: bool) -> Self {
        Self { input, limits, data: 0, padding: 0, position: 0, entries: 0, end_mark_needed }
    }

    /// Returns the offset in bytes of the next byte of the archive: after [`next`](Self::next), of the member's data.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the number of members so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Reads the next member's headers, skipping what is left of the current one's data.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for what is malformed, truncated or ambiguous; [`Kind::Limit`].
    pub fn next(&mut self) -> Result<Option<Member>> {
        self.skip_data()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.read_header()? else {
                return match extensions.is_empty() {
                    true => Ok(None),
                    false => Err(corrupt("extended header without a member")),
                };
            };
            let header = Header::from_byte_slice(&block);
            verify_checksum(header)?;
            self.entries += 1;
            if self.entries > self.limits.entries {
                let what = format!("read archive: more than {} members", self.limits.entries);
                return Err(Error::new(Kind::Limit, what));
            }
            match header.entry_type() {
                EntryType::XHeader => {
                    let pax = Pax::parse(&self.read_extension(header)?)?;
                    put_once(&mut extensions.pax, pax)?;
                }
                EntryType::XGlobalHeader => Pax::check_global(&self.read_extension(header)?)?,
                EntryType::GNULongName => {
                    let name = until_nul(self.read_extension(header)?)?;
                    put_once(&mut extensions.long_name, name)?;
                }
                EntryType::GNULongLink => {
                    let link = until_nul(self.read_extension(header)?)?;
                    put_once(&mut extensions.long_link, link)?;
                }
                _ => return self.member(header, extensions).map(Some),
            }
        }
    }

    /// Hands the current member's data to `sink`, piece by piece, without copying.
    pub fn each_piece(&mut self, mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while self.data > 0 {
            let available = self.input.fill_buf().map_err(read_error)?;
            if available.is_empty() {
                return Err(corrupt("truncated in the middle of a member"));
            }
            let len = usize::try_from(self.data).map_or(available.len(), |data| data.min(available.len()));
            sink(&available[..len])?;
            self.advance(len);
            self.data -= len as u64;
        }
        Ok(())
    }

    /// Reads the current member's data into memory.
    ///
    /// # Errors
    /// [`Kind::Limit`] above `max` bytes.
    pub fn read_data(&mut self, max: u64) -> Result<Vec<u8>> {
        if self.data > max {
            return Err(Error::new(Kind::Limit, format!("read archive: a member above {max} bytes")));
        }
        let mut bytes = Vec::new();
        self.each_piece(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn advance(&mut self, len: usize) {
        self.input.consume(len);
        self.position += len as u64;
    }

    fn skip_data(&mut self) -> Result<()> {
        self.data += std::mem::take(&mut self.padding);
        self.each_piece(|_| Ok(()))
    }

    /// Reads one header block; `None` at the end of the archive.
    fn read_header(&mut self) -> Result<Option<[u8; 512]>> {
        let mut block = [0; 512];
        match self.read_block(&mut block)? {
            0 if self.end_mark_needed => Err(corrupt("truncated: no end mark")),
            0 => Ok(None),
            512 if block.iter().any(|byte| *byte != 0) => Ok(Some(block)),
            512 => {
                self.expect_zeros()?;
                Ok(None)
            }
            _ => Err(corrupt("truncated in the middle of a header")),
        }
    }

    fn read_block(&mut self, block: &mut [u8; 512]) -> Result<usize> {
        let mut len = 0;
        while len < block.len() {
            let available = self.input.fill_buf().map_err(read_error)?;
            if available.is_empty() {
                break;
            }
            let n = available.len().min(block.len() - len);
            block[len..len + n].copy_from_slice(&available[..n]);
            self.advance(n);
            len += n;
        }
        Ok(len)
    }

    /// Checks that nothing but padding follows the end mark: other readers would go on to a second archive.
    fn expect_zeros(&mut self) -> Result<()> {
        loop {
            let available = self.input.fill_buf().map_err(read_error)?;
            if available.is_empty() {
                return Ok(());
            }
            if available.iter().any(|byte| *byte != 0) {
                return Err(corrupt("data after the end mark"));
            }
            let len = available.len();
            self.advance(len);
        }
    }

    /// Reads the data of a header that describes the next member.
    fn read_extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = size_field(header)?;
        self.begin_data(size)?;
        let bytes = self.read_data(PAX_MAX)?;
        self.skip_data()?;
        Ok(bytes)
    }

    fn begin_data(&mut self, size: u64) -> Result<()> {
        if size > self.limits.uncompressed {
            let what = format!("read archive: a member above {} bytes", self.limits.uncompressed);
            return Err(Error::new(Kind::Limit, what));
        }
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(())
    }

    fn member(&mut self, header: &Header, extensions: Extensions) -> Result<Member> {
        let pax = extensions.pax.unwrap_or_default();
        let gnu_sparse = header.entry_type() == EntryType::GNUSparse;
        let name = one_of(extensions.long_name, pax.path, || header.path_bytes().into_owned())?;
        let link = one_of(extensions.long_link, pax.link, || {
            header.link_name_bytes().map(|bytes| bytes.into_owned()).unwrap_or_default()
        })?;
        let kind = kind_of(header.entry_type(), &name)?;
        let size = member_size(header, pax.size)?;
        if size != 0 && kind != MemberKind::Regular {
            return Err(corrupt("data in a member that is no regular file"));
        }
        let mut member = Member {
            name,
            link,
            kind,
            mode: u32::try_from(number_field(header.mode().map(u64::from), &header.as_old().mode)? & 0o7777)
                .unwrap_or_default(),
            uid: pax.uid.map_or_else(|| number_field(header.uid(), &header.as_old().uid), Ok)?,
            gid: pax.gid.map_or_else(|| number_field(header.gid(), &header.as_old().gid), Ok)?,
            mtime: pax.mtime.map_or_else(|| mtime_field(header), Ok)?,
            size,
            xattrs: pax.xattrs,
            sparse: None,
        };
        if gnu_sparse {
            if pax.sparse.is_used() {
                return Err(corrupt("two sparse formats at once"));
            }
            let map = self.gnu_sparse_map(header, size)?;
            member.sparse = Some(map);
        }
        self.begin_data(size)?;
        if pax.sparse.is_used() {
            self.pax_sparse(&mut member, pax.sparse)?;
        }
        if member.sparse.as_ref().is_some_and(|map| map.real_size > self.limits.uncompressed) {
            return Err(Error::new(Kind::Limit, "read archive: a sparse file above the limit"));
        }
        Ok(member)
    }

    fn gnu_sparse_map(&mut self, header: &Header, size: u64) -> Result<SparseMap> {
        let gnu = header.as_gnu().ok_or_else(|| corrupt("sparse member without a gnu header"))?;
        let mut chunks = sparse::from_gnu_header(gnu)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = [0; 512];
            if self.read_block(&mut block)? != block.len() {
                return Err(corrupt("truncated in a sparse map"));
            }
            more = sparse::add_gnu_extension(&mut chunks, &block)?;
        }
        let real_size = gnu.real_size().map_err(field_error)?;
        SparseMap::checked(real_size, chunks, size)
    }

    fn pax_sparse(&mut self, member: &mut Member, sparse: super::pax::PaxSparse) -> Result<()> {
        if member.kind != MemberKind::Regular {
            return Err(corrupt("sparse map of a member that is no regular file"));
        }
        let real_size = sparse.real_size.ok_or_else(|| corrupt("sparse map without a size"))?;
        let chunks = match (sparse.major, sparse.minor) {
            (Some(1), Some(0)) => self.read_sparse_map()?,
            (None, None) | (Some(0), Some(0 | 1)) => sparse::from_pax(&sparse)?,
            _ => return Err(corrupt("unknown sparse format")),
        };
        member.size = self.data;
        member.sparse = Some(SparseMap::checked(real_size, chunks, self.data)?);
        if let Some(name) = sparse.name {
            member.name = name;
        }
        Ok(())
    }

    /// Reads the map of format 1.0: decimal numbers, one a line, padded to whole blocks, before the data.
    fn read_sparse_map(&mut self) -> Result<Vec<(u64, u64)>> {
        let mut numbers = Vec::new();
        let mut wanted = 1;
        let mut current: Option<u64> = None;
        while numbers.len() < wanted {
            let mut block = [0; 512];
            if self.data < BLOCK || self.read_block(&mut block)? != block.len() {
                return Err(corrupt("truncated sparse map"));
            }
            self.data -= BLOCK;
            for byte in block {
                match byte {
                    b'0'..=b'9' => {
                        let next = current.unwrap_or(0).checked_mul(10);
                        let next = next.and_then(|number| number.checked_add(u64::from(byte - b'0')));
                        current = Some(next.ok_or_else(|| corrupt("number in a sparse map"))?);
                    }
                    b'\n' => numbers.push(current.take().ok_or_else(|| corrupt("number in a sparse map"))?),
                    _ => return Err(corrupt("number in a sparse map")),
                }
                if numbers.len() == 1 && wanted == 1 {
                    let count = usize::try_from(numbers[0]).unwrap_or(usize::MAX);
                    if count > sparse::CHUNKS_MAX {
                        return Err(Error::new(Kind::Limit, "read sparse map: too many chunks"));
                    }
                    wanted = 1 + 2 * count;
                }
                if numbers.len() == wanted {
                    break; // The rest of the block is padding.
                }
            }
        }
        let mut chunks = Vec::new();
        for pair in numbers[1..].chunks_exact(2) {
            sparse::add(&mut chunks, pair[0], pair[1])?;
        }
        Ok(chunks)
    }
}

/// Takes the name from the one place that has it: two long forms at once have no common meaning.
fn one_of(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>, header: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>> {
    match (gnu, pax) {
        (Some(_), Some(_)) => Err(corrupt("gnu and pax long names for one member")),
        (Some(name), None) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(header()),
    }
}

fn kind_of(entry_type: EntryType, name: &[u8]) -> Result<MemberKind> {
    Ok(match entry_type {
        // Before POSIX, a directory was a file with a slash; readers still take it so.
        EntryType::Regular if name.ends_with(b"/") => MemberKind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => MemberKind::Regular,
        EntryType::Link => MemberKind::HardLink,
        EntryType::Symlink => MemberKind::Symlink,
        EntryType::Char | EntryType::Block => MemberKind::Device,
        EntryType::Directory => MemberKind::Directory,
        EntryType::Fifo => MemberKind::Fifo,
        other => {
            let what = format!("member of unknown type {:#04x}", other.as_byte());
            return Err(corrupt(&what));
        }
    })
}

/// Returns the number of data bytes. An extended header may say what the field cannot, not contradict it.
fn member_size(header: &Header, pax: Option<u64>) -> Result<u64> {
    let field = size_field(header)?;
    match pax {
        Some(size) if size != field && size <= OCTAL_MAX => Err(corrupt("two different sizes of one member")),
        Some(size) => Ok(size),
        None => Ok(field),
    }
}

fn size_field(header: &Header) -> Result<u64> {
    number_field(header.entry_size(), &header.as_old().size)
}

fn mtime_field(header: &Header) -> Result<(i64, u32)> {
    let field = &header.as_old().mtime;
    // A set top bit with all ones is a negative number in GNU's base-256 form.
    if field[0] == 0xff {
        let bytes: [u8; 8] = std::array::from_fn(|at| field[4 + at]);
        return Ok((i64::from_be_bytes(bytes), 0));
    }
    let seconds = number_field(header.mtime(), field)?;
    Ok((i64::try_from(seconds).map_err(|_| corrupt("time out of range"))?, 0))
}

/// Returns a decoded field; an empty one is zero.
fn number_field(decoded: std::io::Result<u64>, field: &[u8]) -> Result<u64> {
    match decoded {
        Ok(number) => Ok(number),
        Err(_) if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(0),
        Err(error) => Err(field_error(error)),
    }
}

/// Checks the header's sum, of unsigned bytes or, as some ancient writers have it, of signed ones.
fn verify_checksum(header: &Header) -> Result<()> {
    let expected = header.cksum().map_err(field_error)?;
    let (mut unsigned, mut signed) = (0_u32, 0_i32);
    for (at, byte) in header.as_bytes().iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += u32::from(byte);
        signed += i32::from(byte.cast_signed());
    }
    if expected != unsigned && i64::from(expected) != i64::from(signed) {
        return Err(corrupt("wrong header checksum"));
    }
    Ok(())
}

/// Cuts a long name at its terminating NUL; what follows must be NULs too.
fn until_nul(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        if bytes[end..].iter().any(|byte| *byte != 0) {
            return Err(corrupt("nul in a long name"));
        }
        bytes.truncate(end);
    }
    if bytes.is_empty() {
        return Err(corrupt("empty long name"));
    }
    Ok(bytes)
}

fn put_once<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(corrupt("repeated extended header")),
    }
}

fn corrupt(why: &str) -> Error {
    Error::new(Kind::Corrupt, format!("read archive: {why}"))
}

fn field_error(error: std::io::Error) -> Error {
    corrupt("malformed header field").with_source(error)
}

fn read_error(error: std::io::Error) -> Error {
    Error::from_read("read archive", error)
}
