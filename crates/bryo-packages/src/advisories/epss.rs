// SPDX-License-Identifier: Apache-2.0
//! FIRST's guesses at how likely a flaw is to be exploited within thirty days. Source: first.org, "EPSS Data and
//! Statistics": CSV, perhaps compressed, with a comment before it.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::error::{Error, Kind, Result};

/// How long the file may be, in bytes, decompressed.
const FILE_MAX: u64 = 256 << 20;

/// The guesses, as sorted lines of `NAME,GUESS`.
#[derive(Clone, Debug, Default)]
pub struct Epss {
    /// When they were made, if the file says: RFC 3339.
    pub date: Option<String>,
    lines: Vec<u8>,
}

/// Reads the published file.
///
/// # Errors
///
/// [`Kind::Corrupt`] when it is none, [`Kind::Limit`].
pub fn parse(data: &[u8]) -> Result<Epss> {
    let mut text = Vec::new();
    let read = if data.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(data).take(FILE_MAX + 1).read_to_end(&mut text)
    } else {
        data.take(FILE_MAX + 1).read_to_end(&mut text)
    };
    read.map_err(|e| Error::corrupt("it cannot be decompressed").with_source(e))?;
    if text.len() as u64 > FILE_MAX {
        return Err(Error::new(Kind::Limit, format!("it is longer than {FILE_MAX} bytes")));
    }
    let text = String::from_utf8_lossy(&text);
    let comment = text.lines().next().and_then(|line| line.strip_prefix('#')).unwrap_or_default();
    let date = comment.split(',').find_map(|part| part.strip_prefix("score_date:")).map(str::to_owned);
    let mut lines: Vec<String> = text.lines().filter_map(line).collect();
    if lines.is_empty() {
        return Err(Error::corrupt("it has no line of name, guess and rank"));
    }
    lines.sort();
    Ok(Epss { date, lines: (lines.join("\n") + "\n").into_bytes() })
}

fn line(line: &str) -> Option<String> {
    let mut words = line.split(',');
    let (id, guess) = (words.next()?.trim(), words.next()?.trim());
    let number: f64 = guess.parse().ok()?;
    (id.starts_with("CVE-") && (0.0..=1.0).contains(&number)).then(|| format!("{id},{guess}"))
}

impl Epss {
    /// Takes what was written by [`Epss::to_bytes`].
    pub fn from_bytes(data: Vec<u8>) -> Self {
        let end = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
        let date = std::str::from_utf8(&data[..end]).ok().filter(|date| !date.is_empty()).map(str::to_owned);
        Self { date, lines: data.get(end + 1..).unwrap_or_default().to_vec() }
    }

    /// Writes it for later.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.date.clone().unwrap_or_default().into_bytes();
        out.push(b'\n');
        out.extend(&self.lines);
        out
    }

    /// Returns the guess for a flaw, from 0 to 1.
    pub fn get(&self, id: &str) -> Option<f64> {
        let (mut low, mut high) = (0, self.lines.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let start = self.lines[..middle].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
            let length = self.lines[start..].iter().position(|b| *b == b'\n')?;
            let line = std::str::from_utf8(&self.lines[start..start + length]).ok()?;
            let (name, guess) = line.split_once(',')?;
            match name.cmp(id) {
                std::cmp::Ordering::Equal => return guess.parse().ok(),
                std::cmp::Ordering::Less => low = start + length + 1,
                std::cmp::Ordering::Greater => high = start,
            }
        }
        None
    }
}
