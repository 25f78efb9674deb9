// SPDX-License-Identifier: Apache-2.0
//! From the configuration to TOML.

use super::{Config, DefaultUser};
use crate::options::Pull;

pub(super) fn to_toml(config: &Config) -> String {
    let default_user = match config.default_user {
        DefaultUser::Nonroot => "nonroot",
        DefaultUser::Image => "image",
    };
    let network = config.network.as_str();
    let pull = match config.pull {
        Pull::Missing => "missing",
        Pull::Always => "always",
        Pull::Never => "never",
    };
    let landlock = match config.landlock {
        None => "auto",
        Some(false) => "off",
        Some(true) => "require",
    };
    let pids_limit = config.pids_limit.map_or_else(|| "-1".to_owned(), |n| n.to_string());
    let limits = &config.limits;
    let mut text = format!(
        "default-user = \"{default_user}\"\nnetwork = \"{network}\"\npull = \"{pull}\"\nlandlock = \"{landlock}\"\n\
         pids-limit = {pids_limit}\n\n\
         [registries]\ninsecure = {}\n\n[registries.mirrors]\n",
        list(&config.insecure)
    );
    for (host, mirrors) in &config.mirrors {
        text.push_str(&format!("\"{host}\" = {}\n", list(mirrors)));
    }
    let lines = [
        "\n[limits]".to_owned(),
        format!("max-layer-size = {}", size(limits.compressed)),
        format!("max-unpacked-size = {}", size(limits.uncompressed)),
        format!("max-ratio = {}", limits.ratio),
        format!("ratio-from = {}", size(limits.ratio_floor)),
        format!("max-entries = {}", limits.entries),
        format!("max-path-length = {}", limits.path_len),
        format!("max-path-depth = {}", limits.depth),
        format!("max-zstd-window = {}\n", size(1 << limits.zstd_window_log)),
    ];
    text + &lines.join("\n")
}

/// Hosts have passed [`super::read`], so there is nothing to escape in them.
fn list(hosts: &[String]) -> String {
    let quoted: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// The largest unit that leaves a whole number.
fn size(bytes: u64) -> String {
    match [(30, 'g'), (20, 'm'), (10, 'k')].into_iter().find(|(shift, _)| bytes.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("\"{}{unit}\"", bytes >> shift),
        None => bytes.to_string(),
    }
}
