// SPDX-License-Identifier: Apache-2.0
//! apk's `installed`: lines of one letter, a colon and a value; an empty line ends a package. Source: Alpine's wiki,
//! "Apk spec", "Installed Database V2".

use crate::package::{Package, Source, Type};

/// Reads the database, with the files of packages where they are asked for.
pub fn parse(data: &[u8], files: bool) -> Vec<Package> {
    let text = String::from_utf8_lossy(data);
    super::dpkg::paragraphs(&text).filter_map(|paragraph| package(paragraph, files)).collect()
}

fn package(paragraph: &str, files: bool) -> Option<Package> {
    let mut package = Package::new(Type::Apk, "", "");
    let mut origin = None;
    let mut dir = "";
    for line in paragraph.lines() {
        let Some((letter, value)) = line.split_once(':') else { continue };
        match letter {
            "P" => value.clone_into(&mut package.name),
            "V" => value.clone_into(&mut package.version),
            "A" => package.arch = Some(value.to_owned()),
            "L" => package.licenses.push(value.to_owned()),
            "m" => package.supplier = Some(value.to_owned()),
            "o" => origin = Some(value),
            "D" => package.depends.extend(names(value)),
            "p" => package.provides.extend(names(value)),
            "F" => dir = value,
            "R" if files && dir.is_empty() => package.files.push(format!("/{value}")),
            "R" if files => package.files.push(format!("/{dir}/{value}")),
            _ => (),
        }
    }
    if package.name.is_empty() || package.version.is_empty() {
        return None;
    }
    package.source = origin.map(|name| Source { name: name.to_owned(), version: package.version.clone() });
    Some(package)
}

/// Reads the names of a list; what must not be there is left out.
fn names(value: &str) -> impl Iterator<Item = String> {
    let names = value.split(' ').filter(|word| !word.is_empty() && !word.starts_with('!'));
    names.map(|word| word.split(['=', '<', '>', '~']).next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_origin_relations_and_files() {
        let text = "C:Q1\nP:busybox-binsh\nV:1.36.1-r15\nA:x86_64\nL:GPL-2.0-only\no:busybox\nD:busybox=1.36.1-r15 \
            !old so:libc.musl-x86_64.so.1\np:/bin/sh cmd:sh=1.36.1-r15\nF:bin\nR:sh\na:0:0:777\nZ:Q1\n\nP:nameless\n\n\
            P:musl\nV:1.2.4-r2\n";
        let found = parse(text.as_bytes(), true);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].origin(), ("busybox", "1.36.1-r15"));
        assert_eq!(found[0].depends, ["busybox", "so:libc.musl-x86_64.so.1"]);
        assert_eq!(found[0].provides, ["/bin/sh", "cmd:sh"]);
        assert_eq!(found[0].files, ["/bin/sh"]);
        assert_eq!(found[1].origin(), ("musl", "1.2.4-r2"));
        assert!(parse(text.as_bytes(), false)[0].files.is_empty());
    }
}
