// SPDX-License-Identifier: Apache-2.0
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = bryo_packages::advisories::osv::export(std::io::Cursor::new(data));
});
