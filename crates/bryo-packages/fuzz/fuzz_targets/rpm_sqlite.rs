// SPDX-License-Identifier: Apache-2.0
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // The first half is the database, the second its log.
    let (database, log) = data.split_at(data.len() / 2);
    let _ = bryo_packages::readers::rpm::sqlite::packages(data, None, true);
    let _ = bryo_packages::readers::rpm::sqlite::packages(database, Some(log), true);
});
