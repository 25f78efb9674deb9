// SPDX-License-Identifier: Apache-2.0
//! dpkg's `status`, and the `status.d` of distroless images. Sources: `deb-control(5)`, `dpkg-query(1)`.

use std::collections::HashSet;

use super::{Said, fields};
use crate::package::{Package, Source, Type};
use crate::tree::Tree;

/// Reads paragraphs. In a status file only what is installed counts; a distroless image has no word for it. A paragraph
/// that is damaged is told, and the others are read.
pub fn parse(data: &[u8], distroless: bool) -> Said {
    let text = String::from_utf8_lossy(data);
    let mut said = Said::default();
    for paragraph in paragraphs(&text) {
        match package(paragraph, distroless) {
            Ok(package) => said.packages.extend(package),
            Err(why) => said.problem(format!("{}: {why}", Said::beginning(paragraph))),
        }
    }
    said
}

/// Splits at empty lines.
pub(super) fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").map(|part| part.trim_start_matches('\n')).filter(|part| !part.is_empty())
}

/// Reads one package; nothing for one that is not installed.
fn package(paragraph: &str, distroless: bool) -> Result<Option<Package>, &'static str> {
    let is_field = |line: &&str| line.starts_with([' ', '\t']) || line.contains(':');
    if !paragraph.lines().all(|line| is_field(&line)) {
        return Err("a line of it is no field");
    }
    let mut package = Package::new(Type::Deb, "", "");
    let mut source = None;
    let mut installed = distroless.then_some(true);
    let mut said_status = false;
    for (name, value) in fields(paragraph) {
        match name {
            "Package" if !package.name.is_empty() => return Err("it is two packages in one"),
            "Package" => value.clone_into(&mut package.name),
            // dpkg refuses these as well; the last of them would otherwise hide the first.
            "Version" if !package.version.is_empty() => return Err("it has two versions"),
            "Status" if said_status => return Err("it has two states"),
            "Version" => value.clone_into(&mut package.version),
            "Architecture" => package.arch = Some(value.to_owned()),
            "Maintainer" => package.supplier = Some(value.to_owned()),
            "Source" => source = Some(value),
            // Want, flag, state: what is half there can be vulnerable too, what left its settings behind cannot.
            "Status" => {
                said_status = true;
                let state = value.rsplit(' ').next().unwrap_or_default();
                installed = Some(!matches!(state, "not-installed" | "config-files"));
            }
            "Depends" | "Pre-Depends" => package.depends.extend(names(value)),
            "Provides" => package.provides.extend(names(value)),
            _ => (),
        }
    }
    match installed {
        _ if !Said::is_word(&package.name) => return Err("it has no name that is one"),
        None => return Err("it does not say whether it is installed"),
        Some(false) => return Ok(None),
        Some(true) if !Said::is_word(&package.version) => return Err("it has no version that is one"),
        Some(true) => (),
    }
    package.source = source.map(|source| from(source, &package.version));
    package.depends.sort();
    package.depends.dedup();
    Ok(Some(package))
}

/// Reads `NAME (VERSION)`; without a version it is the package's own.
fn from(source: &str, version: &str) -> Source {
    match source.split_once(' ') {
        Some((name, rest)) => {
            Source { name: name.to_owned(), version: rest.trim().trim_matches(['(', ')']).to_owned() }
        }
        None => Source { name: source.to_owned(), version: version.to_owned() },
    }
}

/// Reads the names of a list of relations.
fn names(value: &str) -> impl Iterator<Item = String> {
    value.split([',', '|']).filter_map(|relation| {
        let name = relation.trim().split([' ', '(', ':', '[', '\n']).next()?;
        (!name.is_empty()).then(|| name.to_owned())
    })
}

/// Adds the files of packages, from the lists that lie beside the status.
pub fn add_files(tree: &Tree, packages: &mut [Package]) {
    for package in packages.iter_mut().filter(|package| package.kind == Type::Deb) {
        let arch = package.arch.as_deref().unwrap_or_default();
        let names = [
            format!("var/lib/dpkg/info/{}.list", package.name),
            format!("var/lib/dpkg/info/{}:{arch}.list", package.name),
        ];
        if let Some(list) = names.iter().find_map(|name| tree.document(name).ok()) {
            package.files = lines(&list);
            continue;
        }
        // A distroless image has digests, with paths without a slash in front.
        if let Ok(list) = tree.document(&format!("var/lib/dpkg/status.d/{}.md5sums", package.name)) {
            let text = String::from_utf8_lossy(&list);
            let paths = text.lines().filter_map(|line| line.split_once("  "));
            package.files = paths.map(|(_, path)| format!("/{}", path.trim_start_matches('/'))).collect();
        }
    }
}

/// Lists what is no directory: what no other line lies in.
fn lines(data: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(data);
    let paths = || text.lines().filter(|line| line.starts_with('/') && *line != "/.");
    let above: HashSet<&str> = paths().filter_map(|path| Some(path.rsplit_once('/')?.0)).collect();
    paths().filter(|path| !above.contains(path)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc\n\
        Version: 2.36-9+deb12u4\nDepends: libgcc-s1, libcrypt1 (>= 1:4.4.10-10~) | other:any\nDescription: x\n \
        Package: fake\n .\n more\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
        Package: half\nStatus: install ok half-configured\nVersion: 2\nSource: half-src (1:2-3)\n\nPackage: broken\n";

    fn names(said: &Said) -> Vec<&str> {
        said.packages.iter().map(|p| p.name.as_str()).collect()
    }

    #[test]
    fn what_is_installed_is_listed_and_what_is_gone_is_not() {
        let said = parse(STATUS.as_bytes(), false);
        assert_eq!(names(&said), ["libc6", "half"]);
        assert_eq!(said.problems, ["Package: broken: it does not say whether it is installed"]);
        let found = said.packages;
        assert_eq!(found[0].origin(), ("glibc", "2.36-9+deb12u4"));
        assert_eq!(found[0].depends, ["libcrypt1", "libgcc-s1", "other"]);
        assert_eq!(found[1].origin(), ("half-src", "1:2-3"));
    }

    #[test]
    fn a_distroless_package_needs_no_status() {
        let one = b"Package: base-files\nVersion: 12\nArchitecture: amd64\n";
        assert_eq!(names(&parse(one, true)), ["base-files"]);
        assert_eq!(names(&parse(one, false)), [""; 0]);
    }

    #[test]
    fn what_is_damaged_is_told_and_the_rest_is_listed() {
        let good = "Package: good\nStatus: install ok installed\nVersion: 1\nMaintainer: Andr\u{e9} <a@b>\n\n";
        assert!(parse(good.as_bytes(), false).problems.is_empty(), "the control");
        for (bad, why) in [
            (b"Package: nov\nStatus: install ok installed\n".as_slice(), "Package: nov: it has no version that is one"),
            (b"Pack\xff\xfeage: x\nStatus: install ok installed\nVersion: 1\n", "no name that is one"),
            (b"Package: a\xff\nStatus: install ok installed\nVersion: 1\n", "no name that is one"),
            (b"Package: a\nStatus: install ok installed\nVersion: 1\xff\n", "no version that is one"),
            (b"garbage\n", "garbage: a line of it is no field"),
            (b"Package: a\nStatus: install ok installed\nVersion: 1\ngarbage\n", "a line of it is no field"),
            (b"Package: a\nStatus: install ok installed\nVersion: 1\nPackage: b\n", "two packages in one"),
            (b"Package: a\nStatus: install ok installed\nVersion: 1\nVersion: 9\n", "two versions"),
            (b"Package: a\nStatus: install ok installed\nVersion: 1\nStatus: x ok config-files\n", "two states"),
        ] {
            let said =
                parse(&[good.as_bytes(), bad, b"\n", &good.replace("good", "last").into_bytes()].concat(), false);
            assert_eq!(names(&said), ["good", "last"], "{why}");
            assert!(said.problems.len() == 1 && said.problems[0].ends_with(why), "{why} {:?}", said.problems);
        }
        let many = parse("x\n\n".repeat(100).as_bytes(), false);
        assert_eq!(many.problems.last().unwrap(), "and more of that sort");
        assert!(many.problems.len() < 10);
    }

    #[test]
    fn directories_are_no_files_of_a_package() {
        let list = b"/.\n/usr\n/usr/bin\n/usr/bin/a\n/usr/bin-x\n/usr/bin/b\n";
        assert_eq!(lines(list), ["/usr/bin/a", "/usr/bin-x", "/usr/bin/b"]);
    }
}
