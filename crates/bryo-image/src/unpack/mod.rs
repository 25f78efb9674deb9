// SPDX-License-Identifier: Apache-2.0
//! Layers unpacked: a stream of compressed bytes becomes a directory tree, or nothing at all.
//!
//! Guarantees: every path is resolved by descriptor inside the layer's own root; the tree's diff id was
//! computed from the very bytes that made it; a failure leaves nothing. Trusts: nothing in the stream.
//! Faces: archives crafted to leave their root, to exhaust disk, memory or time, or to mean different
//! things to different readers.
//!
//! ```text
//! parent (the caller's ids)                  worker (root inside the map, confined to the store)
//! Worker::start ───────────────────────────> opens nothing more, drops what it does not need
//! unpack(job) ── job, blob descriptor ─────> thread: decompress + hash ──buffers──> thread: parse + apply
//! wait() <────── diff id matched ──────────  the tree is complete in .tmp-…/fs
//! commit(): .tmp-… becomes <diff id>         (only when the caller has verified the blob's digest too)
//! ```

mod apply;
mod child;
mod entry;
mod export;
mod implied;
mod metadata;
mod missing;
mod pax;
mod protocol;
mod sparse;
mod stream;
mod tar;
mod tree;
mod usage;
mod worker;
mod writer;

use serde::{Deserialize, Serialize};

pub use export::{Part, Unreadable, export};
pub use implied::implied;
pub use tree::is_opaque;
pub use usage::{TreeUsage, usage};
pub use worker::{UnpackHandle, Unpacked, Worker};

pub(crate) use apply::write_member;
pub(crate) use entry::{RootPath, shown};
pub(crate) use export::{DEPTH_MAX, open_directory};
pub(crate) use metadata::allowed;
pub(crate) use stream::sniff;
pub(crate) use tar::{Member, MemberKind, TarReader};
pub(crate) use tree::{names, stat};
pub(crate) use writer::{ArchiveWriter, attributes, is_record};

use crate::compress::{Compressed, Form};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

/// What an image may cost at most. Exceeding one of these is [`Kind::Limit`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limits {
    /// The size of a layer's blob in bytes.
    pub compressed: u64,
    /// The size of a layer's archive, and of any file in it, in bytes.
    pub uncompressed: u64,
    /// How many times its size a blob may become, counted from `ratio_floor` bytes on.
    pub ratio: u64,
    /// The uncompressed size in bytes up to which no ratio is too large: zeros compress very well.
    pub ratio_floor: u64,
    /// The number of archive members in a layer.
    pub entries: u64,
    /// The length of a path in bytes.
    pub path_len: usize,
    /// The number of components of a path.
    pub depth: usize,
    /// The binary logarithm of zstd's window, which is memory.
    pub zstd_window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            compressed: 64 << 30,
            uncompressed: 128 << 30,
            ratio: 200,
            ratio_floor: 512 << 20,
            entries: 4_000_000,
            path_len: 4095,
            depth: 256,
            zstd_window_log: 27,
        }
    }
}

/// How a layer's archive is compressed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, with any number of members.
    Gzip,
    /// RFC 8878, with any number of frames.
    Zstd,
}

impl Compression {
    /// Tells the compression from a layer's media type.
    ///
    /// # Errors
    /// [`Kind::UnsupportedMedia`] for anything but a tar layer of the OCI or Docker types.
    pub fn from_media_type(media_type: &str) -> Result<Self> {
        match media_type {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Self::None),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Ok(Self::Gzip),
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Self::Zstd),
            other => {
                let what = format!("unpack layer of media type {other:?}");
                Err(Error::new(Kind::UnsupportedMedia, what))
            }
        }
    }

    /// Returns the OCI media type of a layer so compressed.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// Compresses what is read.
    pub fn compress<'a>(self, input: impl std::io::Read + 'a) -> Box<dyn std::io::Read + 'a> {
        match self {
            Self::None => Box::new(input),
            Self::Gzip => Box::new(Compressed::new(Form::Gzip, input)),
            Self::Zstd => Box::new(Compressed::new(Form::Zstd, input)),
        }
    }
}

/// One layer to unpack.
#[derive(Clone, Debug)]
pub struct UnpackJob {
    /// The diff id it must have; `None` to compute it.
    pub diff_id: Option<Digest>,
    /// The compression its media type declares, which the content must confirm; `None` to go by content.
    pub compression: Option<Compression>,
    /// The blob's exact size in bytes, if it is known.
    pub blob_size: Option<u64>,
    /// What it may cost.
    pub limits: Limits,
}

/// What an unpacked layer was.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LayerReport {
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// The size of the blob in bytes.
    pub compressed_size: u64,
    /// The size of the archive in bytes.
    pub uncompressed_size: u64,
    /// The compression that was found.
    pub compression: Compression,
    /// The number of archive members.
    pub entries: u64,
    /// The number of device nodes left out: the kernel does not let a user make them.
    pub devices_skipped: u64,
    /// The number of extended attributes left out by the allowlist or the file system.
    pub xattrs_dropped: u64,
}

#[cfg(test)]
mod tests;
