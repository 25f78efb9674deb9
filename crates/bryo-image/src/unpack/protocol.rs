// SPDX-License-Identifier: Apache-2.0
//! What parent and worker say to each other: one JSON message per packet, descriptors beside it.
//!
//! ```text
//! parent                                   worker
//!   <──────────────────────────────────── Reply 0: ready, or why not
//!   Request n: Unpack   + blob    ───────>
//!   Request n: Remove   + dir     ───────>  each in a thread of its own,
//!   Request n: Usage              ───────>  answered in any order
//!   Request n: Export   + output  ───────>
//!   <──────────────────────────────────── Reply n
//! ```
//!
//! The worker has read hostile archives: the parent parses its replies as strictly as any other input.

use std::os::fd::{BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Compression, LayerReport, Limits};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

/// The largest message in bytes: an export of some hundred layers.
pub(super) const MESSAGE_MAX: usize = 64 << 10;

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Request {
    pub id: u64,
    pub task: Task,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Task {
    /// Unpacks the archive read from the descriptor into `fs`, to be made in the directory of that name.
    Unpack {
        dir: String,
        diff_id: Option<Digest>,
        compression: Option<Compression>,
        blob_size: Option<u64>,
        limits: Limits,
    },
    /// Removes everything in the directory that the descriptor is.
    Remove,
    /// Counts the blocks of unpacked layers, by the names of their directories.
    Usage { layers: Vec<String> },
    /// Writes the merged layers, bottom to top, as an archive to the descriptor.
    Export { layers: Vec<Digest> },
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Reply {
    pub id: u64,
    pub outcome: std::result::Result<Outcome, Failure>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Outcome {
    Done,
    Unpacked(LayerReport),
    /// Bytes of each layer asked for.
    Usage(Vec<u64>),
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Failure {
    kind: String,
    text: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // A packet must hold it, and names in archives can be long.
        let text = error.chain().chars().take(4000).collect();
        Self { kind: error.kind().name().to_owned(), text }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(Kind::from_name(&failure.kind), failure.text)
    }
}

pub(super) fn send<T: Serialize>(socket: BorrowedFd<'_>, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let fail = || Error::new(Kind::Io, "send to the unpacking process");
    let bytes = serde_json::to_vec(message).map_err(|error| fail().with_source(error))?;
    if bytes.len() > MESSAGE_MAX {
        return Err(Error::new(Kind::Limit, "send to the unpacking process: message too long"));
    }
    bryo_sys::fd::send(socket, &bytes, fds).map_err(|error| fail().with_source(error))
}

/// Receives a message; `None` when the peer is gone.
pub(super) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<Option<(T, Vec<OwnedFd>)>> {
    let fail = || Error::new(Kind::Io, "receive from the unpacking process");
    let mut buffer = vec![0; MESSAGE_MAX];
    let (len, fds) = bryo_sys::fd::receive(socket, &mut buffer).map_err(|error| fail().with_source(error))?;
    if len == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&buffer[..len]).map_err(|error| fail().with_source(error))?;
    Ok(Some((message, fds)))
}
