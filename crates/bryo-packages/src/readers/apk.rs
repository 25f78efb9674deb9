// SPDX-License-Identifier: Apache-2.0
//! apk's `installed`: lines of one letter, a colon and a value; an empty line ends a package. Source: Alpine's wiki,
//! "Apk spec", "Installed Database V2".

use super::Said;
use crate::package::{Package, Source, Type};

/// Reads the database, with the files of packages where they are asked for. A package that is damaged is told, and the
/// others are read.
pub fn parse(data: &[u8], files: bool) -> Said {
    let text = String::from_utf8_lossy(data);
    let mut said = Said::default();
    for paragraph in super::dpkg::paragraphs(&text) {
        match package(paragraph, files) {
            Ok(package) => said.packages.push(package),
            Err(why) => said.problem(format!("{}: {why}", Said::beginning(paragraph))),
        }
    }
    said
}

fn package(paragraph: &str, files: bool) -> Result<Package, &'static str> {
    let mut package = Package::new(Type::Apk, "", "");
    let mut origin = None;
    let mut dir = "";
    for line in paragraph.lines() {
        let (letter, value) = line.split_once(':').ok_or("a line of it is no field")?;
        match letter {
            "P" if !package.name.is_empty() => return Err("it is two packages in one"),
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
    if !Said::is_word(&package.name) || !Said::is_word(&package.version) {
        return Err("it has no name or no version that is one");
    }
    package.source = origin.map(|name| Source { name: name.to_owned(), version: package.version.clone() });
    Ok(package)
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
            noise\n\nP:musl\nV:1.2.4-r2\n";
        let said = parse(text.as_bytes(), true);
        let lost = ["P:nameless: it has no name or no version that is one", "noise: a line of it is no field"];
        assert_eq!(said.problems, lost);
        let found = said.packages;
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].origin(), ("busybox", "1.36.1-r15"));
        assert_eq!(found[0].depends, ["busybox", "so:libc.musl-x86_64.so.1"]);
        assert_eq!(found[0].provides, ["/bin/sh", "cmd:sh"]);
        assert_eq!(found[0].files, ["/bin/sh"]);
        assert_eq!(found[1].origin(), ("musl", "1.2.4-r2"));
        assert!(parse(text.as_bytes(), false).packages[0].files.is_empty());
    }
}
