// SPDX-License-Identifier: Apache-2.0
//! Skipping a test loudly.

use std::io::Write;

/// Says that a test did not run here, and why. With `BRYO_TEST_REQUIRE=1` that is a failure.
///
/// The line goes past the test harness' capture, and into the file that `scripts/test` counts.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    assert!(std::env::var_os("BRYO_TEST_REQUIRE").is_none_or(|v| v != "1"), "{test} cannot run here: {why}");
    let line = format!("SKIPPED {test}: {why}\n");
    let _shown = std::io::stderr().write_all(line.as_bytes());
    if let Some(file) = std::env::var_os("BRYO_TEST_SKIPS") {
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
        let _counted = opened.and_then(|mut f| f.write_all(line.as_bytes()));
    }
}

/// Tells whether a program is installed, and skips the test when it is not.
pub fn have(program: &str) -> bool {
    let dirs = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"];
    let found = dirs.iter().any(|d| std::path::Path::new(d).join(program).exists());
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}
