// SPDX-License-Identifier: Apache-2.0
//! Databases, binaries and advisories that somebody has damaged on purpose: none makes a reader fail, wait or grow.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::time::{Duration, Instant};

use bryo_packages::advisories::{Feed, alpine, debian, epss, kev, osv, vex};
use bryo_packages::package::Distro;
use bryo_packages::readers::{apk, cargo, dpkg, elf, gem, npm, pip, rpm};
use bryo_packages::tree::Bytes;
use proptest::prelude::*;

/// Makes an rpm header with a name, a version and a release.
fn header() -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, text) in [(1000u32, "hello"), (1001, "1.2"), (1002, "3"), (1022, "noarch")] {
        for word in [tag, 6, u32::try_from(data.len()).unwrap(), 1] {
            index.extend(word.to_be_bytes());
        }
        data.extend(text.as_bytes());
        data.push(0);
    }
    // Longer than what a page keeps to itself.
    data.resize(data.len() + 3000, 0);
    let mut out = Vec::new();
    for n in [index.len() / 16, data.len()] {
        out.extend(u32::try_from(n).unwrap().to_be_bytes());
    }
    out.extend(index);
    out.extend(data);
    out
}

fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

fn varint(n: usize) -> Vec<u8> {
    let low = u8::try_from(n & 0x7f).unwrap();
    if n < 0x80 { vec![low] } else { vec![u8::try_from(n >> 7).unwrap() | 0x80, low] }
}

/// Makes a database of sqlite with a table `Packages` of one row, of which a part overflows.
fn sqlite() -> Vec<u8> {
    const PAGE: usize = 1024;
    let mut schema = vec![6, 23, 29, 29, 1, 13];
    schema.extend(b"tablePackagesPackages\x02");
    let mut first = vec![0; PAGE];
    put(&mut first, 0, b"SQLite format 3\0");
    put(&mut first, 16, &u16::try_from(PAGE).unwrap().to_be_bytes());
    let at = PAGE - schema.len() - 2;
    put(&mut first, 100, &[13, 0, 0, 0, 1]);
    put(&mut first, 108, &u16::try_from(at).unwrap().to_be_bytes());
    put(&mut first, at, &[u8::try_from(schema.len()).unwrap(), 1]);
    put(&mut first, at + 2, &schema);
    let blob = header();
    let kind = varint(blob.len() * 2 + 12);
    let kind = if blob.len() * 2 + 12 > 0x3fff { panic!("longer than two bytes say") } else { kind };
    let mut row = vec![u8::try_from(2 + kind.len()).unwrap(), 0];
    row.extend(&kind);
    row.extend(&blob);
    let least = (PAGE - 12) * 32 / 255 - 23;
    let fitting = least + (row.len() - least) % (PAGE - 4);
    let local = if fitting <= PAGE - 35 { fitting } else { least };
    let mut cell = varint(row.len());
    cell.push(1);
    cell.extend(&row[..local]);
    cell.extend(3u32.to_be_bytes());
    let mut second = vec![0; PAGE];
    let at = PAGE - cell.len();
    put(&mut second, 0, &[13, 0, 0, 0, 1]);
    put(&mut second, 8, &u16::try_from(at).unwrap().to_be_bytes());
    put(&mut second, at, &cell);
    let mut out = [first, second].concat();
    let rest: Vec<&[u8]> = row[local..].chunks(PAGE - 4).collect();
    for (n, part) in rest.iter().enumerate() {
        let next = if n + 1 < rest.len() { 4 + u32::try_from(n).unwrap() } else { 0 };
        let mut page = next.to_be_bytes().to_vec();
        page.extend(*part);
        page.resize(PAGE, 0);
        out.extend(page);
    }
    out
}

/// Makes a database of rpm's own form with one package.
fn ndb() -> Vec<u8> {
    let blob = header();
    let mut out = vec![0; 4096];
    put(&mut out, 0, b"RpmP");
    put(&mut out, 12, &1u32.to_le_bytes());
    for at in (32..4096).step_by(16) {
        put(&mut out, at, b"Slot");
    }
    put(&mut out, 36, &1u32.to_le_bytes());
    put(&mut out, 40, &256u32.to_le_bytes());
    out.extend(b"BlbS");
    for word in [1, 0, u32::try_from(blob.len()).unwrap()] {
        out.extend(word.to_le_bytes());
    }
    out.extend(blob);
    out
}

/// Makes a hash of Berkeley DB with one value on a chain of pages.
fn bdb() -> Vec<u8> {
    const PAGE: usize = 1024;
    let blob = header();
    let mut meta = vec![0; PAGE];
    put(&mut meta, 12, &0x0006_1561u32.to_le_bytes());
    put(&mut meta, 20, &u32::try_from(PAGE).unwrap().to_le_bytes());
    let parts: Vec<&[u8]> = blob.chunks(PAGE - 26).collect();
    put(&mut meta, 32, &u32::try_from(parts.len() + 1).unwrap().to_le_bytes());
    let mut hash = vec![0; PAGE];
    put(&mut hash, 20, &2u16.to_le_bytes());
    hash[25] = 13;
    let (key, value) = (PAGE - 5, PAGE - 5 - 12);
    put(&mut hash, 26, &u16::try_from(key).unwrap().to_le_bytes());
    put(&mut hash, 28, &u16::try_from(value).unwrap().to_le_bytes());
    put(&mut hash, key, &[1, 1, 0, 0, 0]);
    put(&mut hash, value, &[3, 0, 0, 0]);
    put(&mut hash, value + 4, &2u32.to_le_bytes());
    put(&mut hash, value + 8, &u32::try_from(blob.len()).unwrap().to_le_bytes());
    let mut out = [meta, hash].concat();
    for (n, part) in parts.iter().enumerate() {
        let mut page = vec![0; PAGE];
        let next = if n + 1 < parts.len() { u32::try_from(n).unwrap() + 3 } else { 0 };
        put(&mut page, 16, &next.to_le_bytes());
        put(&mut page, 22, &u16::try_from(part.len()).unwrap().to_le_bytes());
        page[25] = 7;
        put(&mut page, 26, part);
        out.extend(page);
    }
    out
}

fn executable() -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(br#"{"packages":[{"name":"libc","version":"0.2.1","dependencies":[0]}]}"#).unwrap();
    let crates = out.finish().unwrap();
    let mut modules = b"\xff Go buildinf:\x08\x02".to_vec();
    modules.resize(32, 0);
    modules.extend(
        b"\x08go1.21.3\x4f0123456789abcdefpath\tx\nmod\tx\tv1.0.0\th\ndep\tgithub.com/a/b\tv1.0.0\n0123456789abcdef",
    );
    let names = b"\0.dep-v0\0.go.buildinfo\0.shstrtab\0";
    let mut out = vec![0u8; 64];
    put(&mut out, 0, b"\x7fELF\x02\x01");
    let parts: [&[u8]; 3] = [&crates, &modules, names];
    let mut table = vec![0u8; 64];
    for (part, name) in parts.iter().zip([1u32, 9, 23]) {
        let mut section = [0u8; 64];
        put(&mut section, 0, &name.to_le_bytes());
        put(&mut section, 24, &(out.len() as u64).to_le_bytes());
        put(&mut section, 32, &(part.len() as u64).to_le_bytes());
        table.extend(section);
        out.extend(*part);
    }
    let at = out.len() as u64;
    put(&mut out, 40, &at.to_le_bytes());
    for (at, n) in [(58, 64u16), (60, 4), (62, 3)] {
        put(&mut out, at, &n.to_le_bytes());
    }
    out.extend(table);
    out
}

fn bytes(data: &[u8]) -> Bytes {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(data).unwrap();
    Bytes::of(file, "hostile")
}

/// Reads something as everything that it could be said to be.
fn read_all(data: &[u8]) {
    let _ = rpm::sqlite::packages(data, Some(data), true);
    let _ = rpm::ndb::packages(data, true);
    let _ = rpm::bdb::packages(data, true);
    let _ = rpm::header::package(data, true);
    let _ = elf::packages(bytes(data));
    let _ = cargo::parse(data);
    let _ = (dpkg::parse(data, false), dpkg::parse(data, true), apk::parse(data, true));
    let _ = (pip::parse(data), npm::module(data), npm::lock(data), gem::parse(data), Distro::parse(data));
    let mut feed = Feed::default();
    osv::record(data, "hostile", &mut feed);
    let _ = (osv::export(std::io::Cursor::new(data)), debian::parse(data), alpine::parse(data));
    let _ = (vex::parse(data), kev::parse(data), epss::parse(data));
}

#[test]
fn what_is_made_here_is_read_whole() {
    let names = |packages: Vec<bryo_packages::package::Package>| -> Vec<String> {
        packages.into_iter().map(|p| format!("{} {}", p.name, p.version)).collect()
    };
    for said in [
        rpm::sqlite::packages(&sqlite(), None, false),
        rpm::ndb::packages(&ndb(), false),
        rpm::bdb::packages(&bdb(), false),
    ] {
        let said = said.unwrap();
        assert!(said.problems.is_empty(), "{:?}", said.problems);
        assert_eq!(names(said.packages), ["hello 1.2-3"]);
    }
    let said = elf::packages(bytes(&executable())).unwrap();
    assert!(said.problems.is_empty(), "{:?}", said.problems);
    assert_eq!(names(said.packages), ["libc 0.2.1", "stdlib 1.21.3", "x v1.0.0", "github.com/a/b v1.0.0"]);
}

/// Seeds that are whole, of every form.
fn seed() -> impl Strategy<Value = Vec<u8>> {
    let texts: [&[u8]; 8] = [
        b"Package: a\nStatus: install ok installed\nVersion: 1\nDepends: b (>= 1) | c, d\nSource: s (2)\n\n",
        b"P:a\nV:1\nA:x\no:b\nD:c=1 !d\np:so:x=1\nF:usr\nR:file\n\n",
        b"Name: a\nVersion: 1\nRequires-Dist: b ; extra == 'x'\n\nbody",
        br#"{"name":"a","version":"1","dependencies":{"b":"1"},"packages":{"node_modules/a":{"version":"1"}}}"#,
        b"s.name = \"a\".freeze\ns.version = \"1\"\ns.add_dependency(%q<b>.freeze, [])",
        br#"{"id":"X","modified":"2026","affected":[{"package":{"ecosystem":"npm","name":"a"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1"}]}]}]}"#,
        br#"{"a":{"CVE-1":{"releases":{"bookworm":{"status":"open","urgency":"low"}}}}}"#,
        b"#x,score_date:2026\ncve,epss,percentile\nCVE-1,0.5,0.5\n",
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| text.to_vec()).collect();
    all.extend([sqlite(), ndb(), bdb(), header(), executable()]);
    prop::sample::select(all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn damage_of_any_sort_is_survived(
        mut data in seed(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..24),
        words in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec![0u32, 1, 0xffff, 0x7fff_ffff, 0xffff_ffff])), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        for (at, word) in words {
            let at = at.index(data.len());
            let end = data.len().min(at + 4);
            let length = end - at;
            data[at..end].copy_from_slice(&word.to_be_bytes()[..length]);
        }
        if let Some(cut) = cut {
            data.truncate(cut.index(data.len() + 1));
        }
        let begun = Instant::now();
        read_all(&data);
        prop_assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn noise_is_survived(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        read_all(&data);
    }
}
