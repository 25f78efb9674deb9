// SPDX-License-Identifier: Apache-2.0
//! A module's `package.json`, and `package-lock.json`. Sources: npm's `package.json(5)`, `package-lock.json(5)`.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::package::{Package, Type};

/// How deep old lock files nest.
const DEPTH_MAX: usize = 64;

/// Reads one module; a file without a name or version describes part of one.
///
/// # Errors
///
/// That it is no object of JSON.
pub fn module(data: &[u8]) -> Result<Option<Package>> {
    let value = json(data)?;
    let text = |key: &str| value[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (Some(name), Some(version)) = (text("name"), text("version")) else { return Ok(None) };
    let mut package = Package::new(Type::Npm, name, version);
    package.licenses.extend(text("license").or_else(|| value["license"]["type"].as_str().map(str::to_owned)));
    package.supplier = text("author").or_else(|| value["author"]["name"].as_str().map(str::to_owned));
    package.depends = value["dependencies"].as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default();
    Ok(Some(package))
}

/// Reads a lock file, without what is only for developers.
///
/// # Errors
///
/// That it is no object of JSON, or that its packages are none.
pub fn lock(data: &[u8]) -> Result<Vec<Package>> {
    let value = json(data)?;
    let mut found = Vec::new();
    if ["packages", "dependencies"].iter().any(|key| !value[key].is_null() && !value[key].is_object()) {
        return Err(Error::corrupt("its packages are no object"));
    }
    if let Some(packages) = value["packages"].as_object() {
        for (path, entry) in packages {
            let Some((_, name)) = path.rsplit_once("node_modules/") else { continue };
            let name = entry["name"].as_str().unwrap_or(name);
            take(&mut found, name, entry);
        }
    } else {
        nested(&value["dependencies"], &mut found, 0);
    }
    Ok(found)
}

fn nested(entries: &Value, found: &mut Vec<Package>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    for (name, entry) in entries.as_object().into_iter().flatten() {
        take(found, name, entry);
        nested(&entry["dependencies"], found, depth + 1);
    }
}

fn take(found: &mut Vec<Package>, name: &str, entry: &Value) {
    let developers = entry["dev"].as_bool() == Some(true) || entry["link"].as_bool() == Some(true);
    if let Some(version) = entry["version"].as_str().filter(|_| !developers) {
        let mut package = Package::new(Type::Npm, name, version);
        for key in ["dependencies", "requires"] {
            let names = entry[key].as_object().into_iter().flatten().filter(|(_, v)| v.is_string());
            package.depends.extend(names.map(|(name, _)| name.clone()));
        }
        found.push(package);
    }
}

fn json(data: &[u8]) -> Result<Value> {
    let data = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    let value: Value = serde_json::from_slice(data).map_err(|e| Error::corrupt("it is no JSON").with_source(e))?;
    if value.is_object() { Ok(value) } else { Err(Error::corrupt("it is no object of JSON")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_parts_of_modules_are_told_apart() {
        let whole = br#"{"name":"@a/b","version":"1.2.3","license":{"type":"MIT"},"dependencies":{"c":"^1"}}"#;
        let package = module(whole).unwrap().unwrap();
        assert_eq!((package.name.as_str(), package.depends.as_slice()), ("@a/b", ["c".to_owned()].as_slice()));
        assert!(module(br#"{"type":"module"}"#).unwrap().is_none());
        assert!(module(b"{").is_err() && module(b"[]").is_err());
        assert!(lock(b"[]").is_err() && lock(br#"{"packages":[]}"#).is_err() && lock(b"{}").unwrap().is_empty());
    }

    #[test]
    fn both_forms_of_lock_are_read_without_what_developers_need() {
        let new = br#"{"lockfileVersion":3,"packages":{"":{"name":"root","version":"1"},
            "node_modules/a":{"version":"1.0.0"},"node_modules/a/node_modules/@s/b":{"version":"2.0.0"},
            "node_modules/d":{"version":"3.0.0","dev":true}}}"#;
        let old = br#"{"lockfileVersion":1,"dependencies":{"a":{"version":"1.0.0","requires":{"b":"2"},
            "dependencies":{"@s/b":{"version":"2.0.0"}}},"d":{"version":"3","dev":true}}}"#;
        for text in [new.as_slice(), old] {
            let found: Vec<_> = lock(text).unwrap().into_iter().map(|p| (p.name, p.version)).collect();
            assert_eq!(found, [("a".into(), "1.0.0".into()), ("@s/b".to_owned(), "2.0.0".to_owned())]);
        }
    }
}
