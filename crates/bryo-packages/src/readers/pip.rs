// SPDX-License-Identifier: Apache-2.0
//! A Python distribution's metadata: `METADATA` of a wheel, `PKG-INFO` of an egg. Source: Python packaging
//! specifications, "Core metadata".

use super::{Said, fields};
use crate::error::{Error, Result};
use crate::package::{Package, Type};
use crate::tree::Tree;

/// Reads one distribution.
///
/// # Errors
///
/// That it has no name or no version.
pub fn parse(data: &[u8]) -> Result<Package> {
    let text = String::from_utf8_lossy(data).replace("\r\n", "\n");
    // What follows the first empty line is a description.
    let head = text.split("\n\n").next().unwrap_or_default();
    let mut package = Package::new(Type::Pypi, "", "");
    for (name, value) in fields(head) {
        match name.to_ascii_lowercase().as_str() {
            "name" => value.clone_into(&mut package.name),
            "version" => value.clone_into(&mut package.version),
            "license-expression" => package.licenses = vec![value.to_owned()],
            "license" if !value.is_empty() && package.licenses.is_empty() && !value.contains('\n') => {
                package.licenses = vec![value.to_owned()];
            }
            "author" if !value.is_empty() => package.supplier = Some(value.to_owned()),
            // What only an extra needs is not needed.
            "requires-dist" if !value.contains("extra ==") => package.depends.extend(required(value)),
            _ => (),
        }
    }
    if !Said::is_word(&package.name) || !Said::is_word(&package.version) {
        return Err(Error::corrupt("it has no name or no version that is one"));
    }
    Ok(package)
}

/// Adds the files of a package, from the `RECORD` beside its metadata. Source: Python packaging specifications, "Recording
/// installed projects". A script of what was installed with `--target` is named there as it was before it was moved, and
/// counts as the one in the target's own `bin`, too.
pub fn add_files(tree: &Tree, metadata: &str, package: &mut Package) {
    let Some(info) = metadata.strip_suffix("/METADATA") else { return };
    let Ok(record) = tree.document(&format!("{info}/RECORD")) else { return };
    let base = info.rsplit_once('/').map_or("", |(base, _)| base);
    let text = String::from_utf8_lossy(&record);
    for path in text.lines().filter_map(first_field) {
        let script = path.rsplit_once("/bin/").filter(|(above, _)| above.starts_with("..")).map(|(_, name)| name);
        let moved = script.and_then(|name| placed(base, format!("bin/{name}")));
        package.files.extend(moved.filter(|path| tree.file(path).is_ok()));
        package.files.extend(placed(base, path));
    }
}

/// Reads the first field of a line of comma-separated values; quoted where it has a comma or a quote.
fn first_field(line: &str) -> Option<String> {
    match line.strip_prefix('"') {
        None => line.split(',').next().filter(|path| !path.is_empty()).map(str::to_owned),
        Some(rest) => rest.split_once("\",").map(|(path, _)| path.replace("\"\"", "\"")),
    }
}

/// Returns where a path lies that is relative to a directory; nothing for one that leads out of the tree.
fn placed(base: &str, path: String) -> Option<String> {
    if path.starts_with('/') {
        return Some(path);
    }
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            "" | "." => (),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

fn required(value: &str) -> Option<String> {
    let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    let name = &value[..end.unwrap_or(value.len())];
    (!name.is_empty()).then(|| normal(name))
}

/// Writes a name as the index does. Source: PEP 503.
pub fn normal(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => (),
            '-' | '_' | '.' => out.push('-'),
            other => out.extend(other.to_lowercase()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_no_field() {
        let text =
            b"Metadata-Version: 2.1\r\nName: Foo.Bar\r\nVersion: 1.0\r\nRequires-Dist: requests[socks] (>=2)\r\n\
            Requires-Dist: pytest ; extra == 'test'\r\n\r\nName: evil\r\nVersion: 9\r\n";
        let package = parse(text).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("Foo.Bar", "1.0"));
        assert_eq!(package.depends, ["requests"]);
        assert_eq!(normal("Foo.__Bar"), "foo-bar");
        assert_eq!(first_field("\"a,b\",sha256=x,1").as_deref(), Some("a,b"));
        let placed = |path: &str| placed("usr/lib/python3/site-packages", path.to_owned());
        assert_eq!(placed("../../../bin/x").as_deref(), Some("/usr/bin/x"));
        assert_eq!(placed("x/__init__.py").as_deref(), Some("/usr/lib/python3/site-packages/x/__init__.py"));
        assert_eq!(placed("../../../../../x"), None);
        assert!(parse(b"Name: x\n\nVersion: 1").is_err());
        assert!(parse(b"Name: x\xff\nVersion: 1").is_err() && parse(b"Name: x\nVersion: 1").is_ok());
    }
}
