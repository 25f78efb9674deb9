// SPDX-License-Identifier: Apache-2.0
//! dpkg's `status`, and the `status.d` of distroless images. Sources: `deb-control(5)`, `dpkg-query(1)`.

use std::collections::HashSet;

use super::fields;
use crate::package::{Package, Source, Type};
use crate::tree::Tree;

/// Reads paragraphs. In a status file only what is installed counts; a distroless image has no word for it.
pub fn parse(data: &[u8], distroless: bool) -> Vec<Package> {
    let text = String::from_utf8_lossy(data);
    paragraphs(&text).filter_map(|paragraph| package(paragraph, distroless)).collect()
}

/// Splits at empty lines.
pub(super) fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").map(|part| part.trim_start_matches('\n')).filter(|part| !part.is_empty())
}

fn package(paragraph: &str, distroless: bool) -> Option<Package> {
    let mut package = Package::new(Type::Deb, "", "");
    let mut source = None;
    let mut installed = distroless;
    for (name, value) in fields(paragraph) {
        match name {
            "Package" => value.clone_into(&mut package.name),
            "Version" => value.clone_into(&mut package.version),
            "Architecture" => package.arch = Some(value.to_owned()),
            "Maintainer" => package.supplier = Some(value.to_owned()),
            "Source" => source = Some(value),
            // Want, flag, state: what is half there can be vulnerable too, what left its settings behind cannot.
            "Status" => {
                let state = value.rsplit(' ').next().unwrap_or_default();
                installed = !matches!(state, "not-installed" | "config-files");
            }
            "Depends" | "Pre-Depends" => package.depends.extend(names(value)),
            "Provides" => package.provides.extend(names(value)),
            _ => (),
        }
    }
    if !installed || package.name.is_empty() || package.version.is_empty() {
        return None;
    }
    package.source = source.map(|source| from(source, &package.version));
    package.depends.sort();
    package.depends.dedup();
    Some(package)
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

    #[test]
    fn what_is_installed_is_listed_and_what_is_gone_is_not() {
        let found = parse(STATUS.as_bytes(), false);
        let names: Vec<&str> = found.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["libc6", "half"]);
        assert_eq!(found[0].origin(), ("glibc", "2.36-9+deb12u4"));
        assert_eq!(found[0].depends, ["libcrypt1", "libgcc-s1", "other"]);
        assert_eq!(found[1].origin(), ("half-src", "1:2-3"));
    }

    #[test]
    fn a_distroless_package_needs_no_status() {
        let one = b"Package: base-files\nVersion: 12\nArchitecture: amd64\n";
        assert_eq!(parse(one, true).len(), 1);
        assert!(parse(one, false).is_empty());
    }

    #[test]
    fn directories_are_no_files_of_a_package() {
        let list = b"/.\n/usr\n/usr/bin\n/usr/bin/a\n/usr/bin-x\n/usr/bin/b\n";
        assert_eq!(lines(list), ["/usr/bin/a", "/usr/bin-x", "/usr/bin/b"]);
    }
}
