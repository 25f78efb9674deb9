// SPDX-License-Identifier: Apache-2.0
//! Whole examples of everything that is read, made here: what is changed at random should begin as something.
#![allow(clippy::unwrap_used, reason = "what is made here is whole")]

use std::io::Write;

/// Makes an rpm header with a name, a version and a release.
pub fn header() -> Vec<u8> {
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
pub fn sqlite() -> Vec<u8> {
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
pub fn ndb() -> Vec<u8> {
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
pub fn bdb() -> Vec<u8> {
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

/// Makes a binary that says which crates and which modules of Go it is made of.
pub fn executable() -> Vec<u8> {
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

/// Returns examples of what package databases, lists and advisories are written as.
pub fn packages() -> Vec<Vec<u8>> {
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
    all
}

/// Returns examples of what is written for builders, clusters and other engines.
pub fn descriptions() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 7] = [
        b"# syntax=docker/dockerfile:1\nARG V=1\nFROM a:${V:-2} AS b\nRUN --mount=type=cache,target=/x <<E\necho $V\nE\nCOPY --from=b --chown=1:2 [\"a\", \"b\"]\nUSER 5\nHEALTHCHECK CMD true\n",
        b"FROM scratch\nENV a=1 b='2 3' c=\\\n4\nONBUILD RUN x\nENTRYPOINT [\"/x\"]\nVOLUME /a /b\nEXPOSE 80/tcp\n",
        b"services:\n  a:\n    image: x:${V:-1}\n    privileged: true\n    volumes: [\"/:/host:ro\"]\n    ports:\n      - 80:80\n",
        b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - &c\n    name: a\n    image: b\n    securityContext: {runAsUser: 0}\n  - *c\n---\n",
        br#"[{"Id":"a","Name":"/b","Config":{"User":"0","Env":["A=b"]},"HostConfig":{"Privileged":true,"Binds":["/:/x"]}}]"#,
        br#"{"ociVersion":"1.0.0","process":{"user":{"uid":0},"args":["a"],"cwd":"/"},"root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"pid"}]}}"#,
        b"*.o\n!a/b\n# x\n**/c?[d-e]\n",
    ];
    texts.map(<[u8]>::to_vec).into()
}

/// Returns examples of what decides on a start: a policy, signatures.
pub fn trust() -> Vec<Vec<u8>> {
    let files: [&[u8]; 4] = [
        include_bytes!("../../bryo-engine/src/policy/template.toml"),
        b"non-root = true\n[vulnerabilities]\nseverity = \"high\"\ngrace-days = 3\n[signed.\"a/b\"]\nkeys = [\"/a\"]\n",
        include_bytes!("../../bryo-signature/tests/data/blob.sigstore.json"),
        br#"{"Base64Signature":"MEUC","Payload":"e30=","Cert":{"Raw":"AAAA"},"Chain":[],"Bundle":{"SignedEntryTimestamp":"AAAA","Payload":{"body":"e30=","integratedTime":1,"logIndex":1,"logID":"00"}}}"#,
    ];
    files.map(<[u8]>::to_vec).into()
}
