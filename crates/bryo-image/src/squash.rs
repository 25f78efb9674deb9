// SPDX-License-Identifier: Apache-2.0
//! Layers that become one, which changes what is below in the same way.
//!
//! The topmost of several things of one name is what stays, with the bytes that it had in its own layer. What was removed
//! and made anew hides what is below it, so that a directory in its place says that it does (Source: OCI image
//! specification, "layer.md", "Opaque Whiteout"). A second name of a file whose first one is gone becomes the file.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;

use tar::{Archive, Builder, EntryType, Header};

use crate::archive::uncompressed;
use crate::copy::copy;
use crate::error::{Error, Kind, Result};
use crate::store::{Layer, Store};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The size of a block of an archive, in bytes.
const BLOCK: u64 = 512;
/// The size of an archive's end, in bytes.
const END: usize = 1024;

/// What a layer says of a name.
struct Item {
    path: Vec<u8>,
    what: What,
    /// Where it is in the archive, with what belongs to it.
    range: (u64, u64),
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum What {
    Directory,
    /// Another name of that one.
    Link(Vec<u8>),
    Other,
    Whiteout,
    Opaque,
}

/// Makes one archive of layers of the store, given bottom to top, in a file without a name.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::DigestMismatch`] if a layer is not there or damaged; [`Kind::NoSpace`].
pub fn squash_layers(store: &Store, layers: &[Layer]) -> Result<File> {
    let plain = |layer| {
        let mut spool = store.spool()?;
        uncompressed(store, layer, &mut spool)?;
        Ok(spool)
    };
    let mut files = layers.iter().map(plain).collect::<Result<Vec<_>>>()?;
    let mut output = store.spool()?;
    squash(&mut files, &mut output)?;
    output.seek(SeekFrom::Start(0)).map_err(|error| Error::io("read a layer", error))?;
    Ok(output)
}

/// Writes one archive that stands for several, given bottom to top and uncompressed.
///
/// # Errors
/// [`Kind::Corrupt`] if one is no archive; [`Kind::Io`] if one cannot be read or the result not written.
pub fn squash(layers: &mut [File], output: &mut dyn Write) -> Result<()> {
    let items = layers.iter_mut().map(list).collect::<Result<Vec<_>>>()?;
    let kept = choose(&items);
    for (layer, at) in kept.directories() {
        raw(&mut layers[layer], items[layer][at].range, output)?;
    }
    for path in &kept.opaque {
        let name = [path.as_slice(), b"/", OPAQUE].concat();
        marker(&name, output)?;
    }
    for (layer, file) in layers.iter_mut().enumerate() {
        // What a name that is gone stood for, and the name that has it now.
        let mut moved: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
        for (at, item) in items[layer].iter().enumerate().filter(|(at, _)| kept.has(layer, *at)) {
            match &item.what {
                What::Directory => (),
                What::Link(first) if !kept.is_from(first, layer) => {
                    let source = items[layer].iter().find(|other| other.path == *first && other.what == What::Other);
                    match (moved.get(first.as_slice()), source) {
                        (Some(now), _) => link(&item.path, now, output)?,
                        (None, Some(source)) => {
                            renamed(file, source.range, &item.path, output)?;
                            moved.insert(first, &item.path);
                        }
                        (None, None) => raw(file, items[layer][at].range, output)?,
                    }
                }
                _ => raw(file, item.range, output)?,
            }
        }
    }
    output.write_all(&[0; END]).map_err(|error| Error::io("write a layer", error))
}

/// What stays.
#[derive(Default)]
struct Kept {
    /// By layer and number.
    items: BTreeSet<(usize, usize)>,
    directories: BTreeMap<Vec<u8>, (usize, usize)>,
    /// The layer that a name is from.
    from: BTreeMap<Vec<u8>, usize>,
    /// Directories that hide what is below them, and whose layers do not say so themselves.
    opaque: BTreeSet<Vec<u8>>,
}

impl Kept {
    fn has(&self, layer: usize, at: usize) -> bool {
        self.items.contains(&(layer, at))
    }

    fn is_from(&self, path: &[u8], layer: usize) -> bool {
        self.from.get(path) == Some(&layer)
    }

    /// Lists the directories, those above first.
    fn directories(&self) -> impl Iterator<Item = (usize, usize)> {
        self.directories.values().copied()
    }
}

/// Goes from the top to the bottom: what is known already wins.
fn choose(items: &[Vec<Item>]) -> Kept {
    let mut kept = Kept::default();
    let mut hidden: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut says_itself: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (layer, list) in items.iter().enumerate().rev() {
        let mut hides: BTreeSet<Vec<u8>> = BTreeSet::new();
        for (at, item) in list.iter().enumerate() {
            if ancestors(&item.path).any(|dir| hidden.contains(dir)) {
                continue;
            }
            if item.what == What::Opaque {
                if !hidden.contains(&item.path) && says_itself.insert(item.path.clone()) {
                    kept.items.insert((layer, at));
                }
                hides.insert(item.path.clone());
                continue;
            }
            if item.what != What::Directory {
                hides.insert(item.path.clone());
            }
            match kept.from.get(&item.path) {
                // It was something else, or nothing, before it became a directory.
                Some(_) if item.what != What::Directory && kept.directories.contains_key(&item.path) => {
                    kept.opaque.insert(item.path.clone());
                }
                Some(_) => (),
                None if hidden.contains(&item.path) => (),
                None => {
                    kept.from.insert(item.path.clone(), layer);
                    kept.items.insert((layer, at));
                    if item.what == What::Directory {
                        kept.directories.insert(item.path.clone(), (layer, at));
                    }
                }
            }
        }
        hidden.extend(hides);
    }
    kept.opaque.retain(|path| !says_itself.contains(path));
    kept
}

/// Returns the directories above a path.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

/// Returns a name without what does not matter in it.
fn clean(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.collect::<Vec<_>>().join(&b'/')
}

fn list(file: &mut File) -> Result<Vec<Item>> {
    let fail = |error| Error::new(Kind::Corrupt, "read a layer").with_source(error);
    file.seek(SeekFrom::Start(0)).map_err(fail)?;
    let mut items = Vec::new();
    let mut begin = 0;
    let mut archive = Archive::new(&*file);
    for entry in archive.entries().map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let end = entry.raw_file_position() + entry.size().div_ceil(BLOCK) * BLOCK;
        let mut path = clean(&entry.path_bytes());
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        let dir = path.len() - name.len();
        let what = match entry.header().entry_type() {
            _ if name == OPAQUE => {
                path.truncate(dir.saturating_sub(1));
                What::Opaque
            }
            _ if name.starts_with(WHITEOUT) => {
                path.truncate(dir);
                path.extend_from_slice(&name[WHITEOUT.len()..]);
                What::Whiteout
            }
            EntryType::Directory => What::Directory,
            EntryType::Link => What::Link(clean(&entry.link_name_bytes().unwrap_or_default())),
            _ => What::Other,
        };
        items.push(Item { path, what, range: (begin, end) });
        begin = end;
    }
    Ok(items)
}

/// Copies a part of an archive as it is.
fn raw(file: &mut File, (begin, end): (u64, u64), output: &mut dyn Write) -> Result<()> {
    file.seek(SeekFrom::Start(begin)).map_err(|error| Error::io("read a layer", error))?;
    copy(&mut file.take(end - begin), output, "layer").map(drop)
}

/// Writes a file of an archive under another name.
fn renamed(file: &mut File, (begin, end): (u64, u64), name: &[u8], output: &mut dyn Write) -> Result<()> {
    let fail = |error| Error::io("read a layer", error);
    file.seek(SeekFrom::Start(begin)).map_err(fail)?;
    let (heading, data) = {
        let mut archive = Archive::new((&*file).take(end - begin));
        let Some(entry) = archive.entries().map_err(fail)?.next() else { return Ok(()) };
        let mut entry = entry.map_err(fail)?;
        let mut header = entry.header().clone();
        header.set_size(entry.size());
        let mut extensions = Vec::new();
        for extension in entry.pax_extensions().map_err(fail)?.into_iter().flatten() {
            let extension = extension.map_err(fail)?;
            // What is said of names and sizes is said anew.
            if let Ok(key) = extension.key()
                && !matches!(key, "path" | "linkpath" | "size")
            {
                extensions.push((key.to_owned(), extension.value_bytes().to_vec()));
            }
        }
        (heading(header, &extensions, name, None)?, begin + entry.raw_file_position())
    };
    output.write_all(&heading).map_err(|error| Error::io("write a layer", error))?;
    raw(file, (data, end), output)
}

fn link(name: &[u8], target: &[u8], output: &mut dyn Write) -> Result<()> {
    let heading = heading(plain(EntryType::Link), &[], name, Some(target))?;
    output.write_all(&heading).map_err(|error| Error::io("write a layer", error))
}

fn marker(name: &[u8], output: &mut dyn Write) -> Result<()> {
    let heading = heading(plain(EntryType::Regular), &[], name, None)?;
    output.write_all(&heading).map_err(|error| Error::io("write a layer", error))
}

fn plain(kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// Returns what comes before a thing's content.
fn heading(mut header: Header, pax: &[(String, Vec<u8>)], name: &[u8], target: Option<&[u8]>) -> Result<Vec<u8>> {
    let fail = |error| Error::io("write a layer", error);
    let mut builder = Builder::new(Vec::new());
    builder.append_pax_extensions(pax.iter().map(|(key, value)| (key.as_str(), value.as_slice()))).map_err(fail)?;
    match target {
        Some(target) => builder.append_link(&mut header, OsStr::from_bytes(name), OsStr::from_bytes(target)),
        None => builder.append_data(&mut header, OsStr::from_bytes(name), std::io::empty()),
    }
    .map_err(fail)?;
    let mut bytes = builder.into_inner().map_err(fail)?;
    // The end of an archive is not here.
    bytes.truncate(bytes.len() - END);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(entries: &[(&str, &str)]) -> File {
        let mut builder = Builder::new(tempfile::tempfile().unwrap());
        for (name, content) in entries {
            let mut header = plain(EntryType::Regular);
            if name.ends_with('/') {
                header.set_entry_type(EntryType::Directory);
                builder.append_data(&mut header, name, std::io::empty()).unwrap();
            } else if let Some(target) = content.strip_prefix("=> ") {
                header.set_entry_type(EntryType::Link);
                builder.append_link(&mut header, name, target).unwrap();
            } else {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, name, content.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn squashed(layers: &[&[(&str, &str)]]) -> Vec<(String, String)> {
        let mut files: Vec<File> = layers.iter().map(|entries| layer(entries)).collect();
        let mut out = Vec::new();
        squash(&mut files, &mut out).unwrap();
        let mut archive = Archive::new(out.as_slice());
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            if let Some(target) = entry.link_name().unwrap() {
                content = format!("=> {}", target.display());
            }
            (entry.path().unwrap().display().to_string(), content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn the_topmost_of_a_name_stays() {
        let found = squashed(&[&[("d/", ""), ("d/a", "1"), ("b", "1")], &[("d/a", "2")], &[("c", "3")]]);
        assert_eq!(found, pairs(&[("d/", ""), ("b", "1"), ("d/a", "2"), ("c", "3")]));
    }

    #[test]
    fn what_was_removed_is_gone_here_and_below() {
        let found = squashed(&[&[("d/", ""), ("d/a", "1"), ("b", "1")], &[(".wh.d", ""), (".wh.b", "")]]);
        assert_eq!(found, pairs(&[(".wh.d", ""), (".wh.b", "")]));
        let found = squashed(&[&[(".wh.b", "")], &[("b", "2")]]);
        assert_eq!(found, pairs(&[("b", "2")]), "a file replaces what is below by itself");
    }

    #[test]
    fn a_directory_in_the_place_of_something_else_hides_what_was_there() {
        let hides = pairs(&[("d/", ""), ("d/.wh..wh..opq", ""), ("d/n", "2")]);
        assert_eq!(squashed(&[&[(".wh.d", "")], &[("d/", ""), ("d/n", "2")]]), hides);
        assert_eq!(squashed(&[&[("d", "file")], &[("d/", ""), ("d/n", "2")]]), hides);
        let said = squashed(&[&[("d/", ""), ("d/a", "1")], &[("d/", ""), ("d/.wh..wh..opq", ""), ("d/n", "2")]]);
        assert_eq!(said, hides, "and once only");
    }

    #[test]
    fn a_second_name_outlives_the_first() {
        let found = squashed(&[&[("a", "1"), ("b", "=> a"), ("c", "=> a")], &[(".wh.a", "")]]);
        assert_eq!(found, pairs(&[("b", "1"), ("c", "=> b"), (".wh.a", "")]));
        let found = squashed(&[&[("a", "1"), ("b", "=> a")], &[("a", "2")]]);
        assert_eq!(found, pairs(&[("b", "1"), ("a", "2")]));
        let found = squashed(&[&[("a", "1"), ("b", "=> a")], &[("c", "2")]]);
        assert_eq!(found, pairs(&[("a", "1"), ("b", "=> a"), ("c", "2")]));
    }
}
