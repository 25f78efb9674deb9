// SPDX-License-Identifier: Apache-2.0
//! A root file system's archive becomes an image of one layer.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Map, Value, json};

use super::change::Change;
use super::docker::{self, MANIFEST_TYPE};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::reference::Reference;
use crate::registry::Platform;
use crate::store::{ImageRecord, NewImage, Store};
use crate::unpack::{LayerReport, Limits, UnpackJob, Worker};

/// How to import.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The image's name, if it gets one.
    pub reference: Option<Reference>,
    /// Changes to its configuration, in order.
    pub changes: Vec<Change>,
    /// A remark for its history.
    pub message: Option<String>,
    /// The platform it is for; `None` for this machine's.
    pub platform: Option<Platform>,
    /// What it may cost.
    pub limits: Limits,
}

/// Imports an archive, compressed or not, from a reader. The blob is kept as it came.
///
/// # Errors
/// What can be wrong with an archive; nothing is left then. [`Kind::NoSpace`].
pub fn import(store: &Store, worker: &Worker, input: &mut dyn Read, options: &ImportOptions) -> Result<ImageRecord> {
    let before = store.snapshot();
    let pin = store.pin()?;
    let result = import_pinned(store, worker, input, options);
    drop(pin);
    if result.is_err() {
        store.discard_new(before.as_ref(), worker);
    }
    result
}

fn import_pinned(store: &Store, worker: &Worker, input: &mut dyn Read, options: &ImportOptions) -> Result<ImageRecord> {
    let (digest, size) = store.put_blob_of_unknown_digest(input)?;
    let job = UnpackJob { diff_id: None, compression: None, blob_size: Some(size), limits: options.limits };
    let blob = store.open_blob(&digest)?;
    let unpacked = worker.unpack(job, blob.into())?.wait()?;
    let report = unpacked.commit()?;
    enter(store, &digest, &report, options)
}

fn enter(store: &Store, digest: &Digest, report: &LayerReport, options: &ImportOptions) -> Result<ImageRecord> {
    let config = config(report, options);
    let config = serde_json::to_vec(&config)
        .map_err(|error| Error::new(Kind::Io, "write image configuration").with_source(error))?;
    let config_digest = store.put_blob(&config)?;
    let manifest = docker::manifest(
        Descriptor::new(MediaType::ImageConfig, config.len() as u64, &config_digest),
        vec![Descriptor::new(report.compression.media_type().into(), report.compressed_size, digest)],
    )?;
    store.commit_image(&NewImage {
        reference: options.reference.as_ref().map(Reference::to_string),
        manifest: store.put_blob(&manifest)?,
        size: manifest.len() as u64,
        media_type: MANIFEST_TYPE.to_owned(),
        config: config_digest,
        source: None,
    })
}

fn config(report: &LayerReport, options: &ImportOptions) -> Value {
    let mut config = Map::new();
    for change in &options.changes {
        change.apply(&mut config);
    }
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let created = now();
    let message = options.message.as_deref().unwrap_or("imported");
    let mut document = json!({
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [report.diff_id] },
        "history": [{ "created": created, "comment": message }],
    });
    if let Some(variant) = platform.variant {
        document["variant"] = json!(variant);
    }
    document
}

/// Returns the time now as configurations have it.
pub(super) fn now() -> String {
    rfc3339(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Writes seconds since the epoch as a UTC date. The civil calendar repeats every 400 years of 146,097 days.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Counted from 1 March of year 0, so that a leap day comes last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
            (1_795_485_758, "2026-11-24T02:02:38Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
        }
    }
}
