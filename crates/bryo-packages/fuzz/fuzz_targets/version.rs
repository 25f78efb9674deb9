// SPDX-License-Identifier: Apache-2.0
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    use bryo_packages::version::Scheme;
    let text = String::from_utf8_lossy(data);
    let (a, b) = text.split_once(char::from(0)).unwrap_or((&text, ""));
    for scheme in [
        Scheme::Dpkg,
        Scheme::Apk,
        Scheme::Rpm,
        Scheme::Pep440,
        Scheme::Semver,
        Scheme::Golang,
        Scheme::Rubygems,
    ] {
        assert_eq!(scheme.compare(a, b), scheme.compare(b, a).map(std::cmp::Ordering::reverse));
    }
});
