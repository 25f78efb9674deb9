// SPDX-License-Identifier: Apache-2.0
//! rpm's database, in its three forms. Each is a store of headers, one a package.

pub mod bdb;
pub mod header;
pub mod ndb;
pub mod sqlite;

use super::Said;

/// How many problems with single headers are told.
const TOLD: usize = 5;

/// Reads headers; a damaged one is told, and the others are read.
fn headers<'a>(blobs: impl Iterator<Item = std::borrow::Cow<'a, [u8]>>, files: bool) -> Said {
    let mut said = Said::default();
    for blob in blobs {
        match header::package(&blob, files) {
            Ok(package) => said.packages.extend(package),
            Err(e) if said.problems.len() < TOLD => said.problems.push(e.chain()),
            Err(_) => (),
        }
    }
    said
}
