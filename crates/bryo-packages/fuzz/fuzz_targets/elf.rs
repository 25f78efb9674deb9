// SPDX-License-Identifier: Apache-2.0
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    use std::io::Write;
    let Ok(mut file) = tempfile::tempfile() else { return };
    if file.write_all(data).is_ok() {
        let _ = bryo_packages::readers::elf::packages(bryo_packages::tree::Bytes::of(file, "fuzz"));
    }
});
