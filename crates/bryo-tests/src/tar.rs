// SPDX-License-Identifier: Apache-2.0
//! Writing tar archives byte by byte, the hostile ones included. Source: POSIX.1 `pax`, ustar format.

/// An archive that grows.
#[derive(Debug, Default, Clone)]
pub struct Tar {
    bytes: Vec<u8>,
}

/// An entry to be.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The name as it stands in the header, however hostile.
    pub name: &'a str,
    /// The type flag: `b'0'` file, `b'1'` hard link, `b'2'` symbolic link, `b'3'` and `b'4'` devices, `b'5'` directory.
    pub kind: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub ids: (u32, u32),
    /// The target of a link.
    pub link: &'a str,
    /// The content of a file.
    pub data: &'a [u8],
}

impl Tar {
    /// Adds an entry.
    #[must_use]
    pub fn entry(mut self, entry: Entry<'_>) -> Self {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        assert!(entry.name.len() <= 100 && entry.link.len() <= 100, "long names need a pax header");
        put(0, entry.name.as_bytes());
        put(100, format!("{:07o}\0", entry.mode).as_bytes());
        put(108, format!("{:07o}\0", entry.ids.0).as_bytes());
        put(116, format!("{:07o}\0", entry.ids.1).as_bytes());
        put(124, format!("{:011o}\0", entry.data.len()).as_bytes());
        put(136, format!("{:011o}\0", 1_700_000_000).as_bytes());
        put(148, b"        ");
        put(156, &[entry.kind]);
        put(157, entry.link.as_bytes());
        put(257, b"ustar\x0000");
        put(329, b"0000001\0");
        put(337, b"0000003\0");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(entry.data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// Adds a file of root.
    #[must_use]
    pub fn file(self, name: &str, mode: u32, data: &[u8]) -> Self {
        self.entry(Entry { name, kind: b'0', mode, ids: (0, 0), link: "", data })
    }

    /// Adds a directory of root.
    #[must_use]
    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.owned_dir(name, mode, (0, 0))
    }

    /// Adds a directory of somebody.
    #[must_use]
    pub fn owned_dir(self, name: &str, mode: u32, ids: (u32, u32)) -> Self {
        self.entry(Entry { name, kind: b'5', mode, ids, link: "", data: b"" })
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, link: &str) -> Self {
        self.entry(Entry { name, kind: b'2', mode: 0o777, ids: (0, 0), link, data: b"" })
    }

    /// Adds a hard link.
    #[must_use]
    pub fn hardlink(self, name: &str, link: &str, mode: u32) -> Self {
        self.entry(Entry { name, kind: b'1', mode, ids: (0, 0), link, data: b"" })
    }

    /// Adds a pax header for the next entry. Each record is `key=value`.
    #[must_use]
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            // The length counts its own digits.
            let mut length = rest + rest.to_string().len();
            length = rest + length.to_string().len();
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(Entry { name: "PaxHeaders/x", kind: b'x', mode: 0o644, ids: (0, 0), link: "", data: &data })
    }

    /// Returns the archive with its end.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    /// Returns the archive cut off after some bytes.
    #[must_use]
    pub fn truncated(self, at: usize) -> Vec<u8> {
        let mut bytes = self.finish();
        bytes.truncate(at);
        bytes
    }
}
