// SPDX-License-Identifier: Apache-2.0
//! Files that are put aside when they have their size: `FILE.1`, then `FILE.2`, and so on. A file keeps its number, so
//! that putting aside is one rename, after which a reader still knows what came before and after its file.

use std::path::Path;

/// Returns the name of a file that was put aside.
pub(crate) fn name(file: &str, n: u64) -> String {
    format!("{file}.{n}")
}

/// Returns the numbers of the files that were put aside, oldest first.
pub(crate) fn numbers(dir: &Path, file: &str) -> Vec<u64> {
    let number = |entry: std::fs::DirEntry| -> Option<u64> {
        entry.file_name().to_str()?.strip_prefix(file)?.strip_prefix('.')?.parse().ok()
    };
    let mut numbers: Vec<u64> = std::fs::read_dir(dir).into_iter().flatten().flatten().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}
