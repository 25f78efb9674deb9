// SPDX-License-Identifier: Apache-2.0
//! CISA's catalogue of flaws that are known to be exploited. Source: cisa.gov, "Known Exploited Vulnerabilities Catalog",
//! its JSON schema.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Catalogue {
    #[serde(default, rename = "dateReleased")]
    released: Option<String>,
    vulnerabilities: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "cveID")]
    id: String,
    #[serde(default, rename = "dateAdded")]
    added: String,
}

/// The catalogue: when each was added.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Kev {
    /// When it was published: RFC 3339.
    pub date: Option<String>,
    /// The names of the flaws, and the days on which they were added.
    pub added: BTreeMap<String, String>,
}

/// Reads the catalogue.
///
/// # Errors
///
/// [`Kind::Corrupt`](crate::Kind::Corrupt) when it is none.
pub fn parse(data: &[u8]) -> Result<Kev> {
    let read: Catalogue =
        serde_json::from_slice(data).map_err(|e| Error::corrupt("it is no catalogue of CISA").with_source(e))?;
    let added = read.vulnerabilities.into_iter().map(|entry| (entry.id, entry.added)).collect();
    Ok(Kev { date: read.released, added })
}
