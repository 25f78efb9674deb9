// SPDX-License-Identifier: Apache-2.0
//! Alpine's secdb: which version of which package has mended what. Source: secdb.alpinelinux.org, `/license.txt` and the
//! files beside it.

use serde::Deserialize;
use serde_json::Value;

use super::{Advisory, Feed, Range};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct File {
    distroversion: String,
    packages: Vec<Value>,
}

/// Reads one file: a repository of a release.
///
/// # Errors
///
/// [`Kind::Corrupt`](crate::Kind::Corrupt) when it is no such file.
pub fn parse(data: &[u8]) -> Result<Feed> {
    let file: File =
        serde_json::from_slice(data).map_err(|e| Error::corrupt("it is no file of Alpine's secdb").with_source(e))?;
    let ecosystem = format!("Alpine:{}", file.distroversion);
    let mut feed = Feed::default();
    for (n, value) in file.packages.iter().enumerate() {
        let package = &value["pkg"];
        let Some(name) = package["name"].as_str() else {
            feed.problem(format!("package {n} has no name"));
            continue;
        };
        for (version, flaws) in package["secfixes"].as_object().into_iter().flatten() {
            let words = flaws.as_array().into_iter().flatten().filter_map(Value::as_str);
            for words in words {
                // Several names of one flaw stand in one text.
                let mut names = words.split_whitespace().map(str::to_owned);
                let Some(id) = names.next() else { continue };
                let fixed = Range { fixed: Some(version.clone()), ..Range::default() };
                // Mended in 0 is: was never there.
                let ranges = if version == "0" { Vec::new() } else { vec![fixed] };
                feed.add(&ecosystem, name, Advisory { id, aliases: names.collect(), ranges, ..Advisory::default() });
            }
        }
    }
    Ok(feed)
}
