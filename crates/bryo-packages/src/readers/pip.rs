// SPDX-License-Identifier: Apache-2.0
//! A Python distribution's metadata: `METADATA` of a wheel, `PKG-INFO` of an egg. Source: Python packaging
//! specifications, "Core metadata".

use super::fields;
use crate::error::{Error, Result};
use crate::package::{Package, Type};

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
    if package.name.is_empty() || package.version.is_empty() {
        return Err(Error::corrupt("it has no name or no version"));
    }
    Ok(package)
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
        assert!(parse(b"Name: x\n\nVersion: 1").is_err());
    }
}
