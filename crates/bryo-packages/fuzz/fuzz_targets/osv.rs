// SPDX-License-Identifier: Apache-2.0
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bryo_packages::advisories::osv::record(data, "fuzz", &mut bryo_packages::advisories::Feed::default());
});
