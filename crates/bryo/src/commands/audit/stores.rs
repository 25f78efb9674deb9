// SPDX-License-Identifier: Apache-2.0
//! Images in the stores of Podman and Docker, read from their files: neither has to run.
//!
//! Guarantees: nothing is written, locked or executed; no link of an image leads out of its layer. What cannot be read is
//! a problem of the outcome. Sources: containers/storage, "store.go" and "images.go"; moby, "layer/filestore.go".

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bryo_audit::facts::image::{self, Image};
use bryo_identity::rung::Host;
use bryo_identity::subid::Range;
use bryo_image::digest::Digest;
use bryo_image::members::{Entry, EntryKind};
use bryo_packages::tree::{self, Limits, Tree, Visit};
use rustix::fs::FileType;
use serde_json::Value;

use crate::errors::{Error, Result};

/// The longest description in a store, in bytes.
const DOCUMENT_MAX: u64 = 64 << 20;

/// An image in a store.
#[derive(Debug)]
struct Stored {
    /// Its configuration.
    config: Value,
    /// Its layers, the lowest first.
    layers: Vec<PathBuf>,
}

/// Whose ids the files of a store have.
#[derive(Debug, Default)]
struct Ids {
    /// Who root inside is; root itself without one.
    own: Option<(u32, u32)>,
    users: Vec<Range>,
    groups: Vec<Range>,
}

/// Finds an image in the stores of an engine; nothing if there is no such store, or it has no such image. What of its files
/// could not be read is returned beside it.
pub fn find(engine: &str, name: &str) -> Result<Option<(Image, Vec<String>)>> {
    let root = rustix::process::geteuid().is_root();
    let look = |dir: PathBuf| if engine == "podman" { containers_storage(&dir, name) } else { docker(&dir, name) };
    let found = dirs(engine).into_iter().map(look).find_map(Result::transpose).transpose()?;
    let ids = if root { Ids::default() } else { Ids::of_caller() };
    found.map(|stored| stored.read(name, &ids)).transpose()
}

/// Lists where an engine keeps its images, for the caller.
pub fn dirs(engine: &str) -> Vec<PathBuf> {
    let root = rustix::process::geteuid().is_root();
    match engine {
        "podman" if root => vec!["/var/lib/containers/storage".into()],
        "podman" => crate::paths::containers_storage().into_iter().collect(),
        _ => vec!["/var/lib/docker".into()],
    }
}

/// Tells whether an engine keeps containers here.
pub fn has_containers(engine: &str) -> bool {
    dirs(engine).iter().any(|dir| {
        let listed = |driver: &str| {
            let list = document(&dir.join(format!("{driver}-containers/containers.json"))).ok().flatten();
            list.is_some_and(|list| list.as_array().is_some_and(|all| !all.is_empty()))
        };
        let docker = std::fs::read_dir(dir.join("containers")).is_ok_and(|mut all| all.next().is_some());
        docker || listed("overlay") || listed("vfs")
    })
}

/// Reads a description; nothing if there is none.
fn document(path: &Path) -> Result<Option<Value>> {
    let failed = |error: &std::io::Error| Error::io(format!("read {}", path.display()), error);
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => (),
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    file.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(Error::message(format!("read {}: it is too long", path.display())));
    }
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| Error::message(format!("read {}: {error}", path.display())))
}

/// Tells whether a name in a store is the one that was asked for: the whole, with or without `latest`, or one that lacks
/// what engines put before a short name. An image of another registry is another image.
fn is_called(known: &str, name: &str) -> bool {
    let known = [known, known.strip_suffix(":latest").unwrap_or(known)];
    let prefixes = ["", "localhost/", "docker.io/library/", "docker.io/"];
    known.iter().any(|known| prefixes.iter().any(|prefix| known.strip_prefix(prefix) == Some(name)))
}

/// Tells whether a text is one component of a path: an id that a description names.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn wrong(dir: &Path, what: &str) -> Error {
    Error::message(format!("read {}: {what}", dir.display()))
}

/// Finds an image of Podman, Buildah or CRI-O, of either driver.
fn containers_storage(dir: &Path, name: &str) -> Result<Option<Stored>> {
    for driver in ["overlay", "vfs"] {
        let Some(images) = document(&dir.join(format!("{driver}-images/images.json")))? else { continue };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let images = images.as_array().into_iter().flatten();
        let called = |image: &&Value| {
            let names = image["names"].as_array().into_iter().flatten();
            let id = text(&image["id"]);
            names.into_iter().any(|known| is_called(&text(known), name)) || name.len() >= 12 && id.starts_with(name)
        };
        let Some(image) = images.into_iter().find(called) else { continue };
        let id = text(&image["id"]);
        if !is_id(&id) {
            return Err(wrong(dir, "an image has no id"));
        }
        let key = format!("={}", STANDARD.encode(format!("sha256:{id}")));
        let config = document(&dir.join(format!("{driver}-images/{id}/{key}")))?;
        let config = config.ok_or_else(|| wrong(dir, &format!("image {id} has no configuration")))?;
        let layers = document(&dir.join(format!("{driver}-layers/layers.json")))?.unwrap_or_default();
        let parent = |layer: &str| {
            let found = layers.as_array()?.iter().find(|known| known["id"] == layer)?;
            found["parent"].as_str().map(str::to_owned)
        };
        let mut chain: Vec<String> = Vec::new();
        let mut next = image["layer"].as_str().map(str::to_owned);
        while let Some(layer) = next.filter(|layer| is_id(layer) && !chain.contains(layer)) {
            next = parent(&layer);
            chain.push(layer);
        }
        let layers = if driver == "vfs" {
            // Each layer is a whole tree there.
            chain.iter().take(1).map(|layer| dir.join("vfs/dir").join(layer)).collect()
        } else {
            chain.iter().rev().map(|layer| dir.join("overlay").join(layer).join("diff")).collect()
        };
        return Ok(Some(Stored { config, layers }));
    }
    Ok(None)
}

/// Finds an image of Docker, of the driver overlay2.
fn docker(dir: &Path, name: &str) -> Result<Option<Stored>> {
    let base = dir.join("image/overlay2");
    let Some(all) = document(&base.join("repositories.json"))? else { return Ok(None) };
    let repositories = all["Repositories"].as_object().into_iter().flatten();
    let mut names = repositories.filter_map(|(_, tags)| tags.as_object()).flatten();
    let Some(id) = names.find(|(known, _)| is_called(known, name)).and_then(|(_, id)| id.as_str()) else {
        return Ok(None);
    };
    let hex = id.strip_prefix("sha256:").filter(|hex| is_id(hex)).ok_or_else(|| wrong(dir, "an image has no id"))?;
    let config = document(&base.join("imagedb/content/sha256").join(hex))?;
    let config = config.ok_or_else(|| wrong(dir, &format!("image {hex} has no configuration")))?;
    let mut chain: Option<String> = None;
    let mut layers = Vec::new();
    for diff in config["rootfs"]["diff_ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let id = match &chain {
            None => diff.to_owned(),
            Some(below) => Digest::sha256_of(format!("{below} {diff}").as_bytes()).as_str().to_owned(),
        };
        let hex = id.strip_prefix("sha256:").filter(|hex| is_id(hex)).ok_or_else(|| wrong(dir, "a layer has no id"))?;
        let path = base.join("layerdb/sha256").join(hex).join("cache-id");
        let cache = std::fs::read_to_string(&path);
        let cache = cache.map_err(|error| Error::io(format!("read {}", path.display()), &error))?;
        let cache = Some(cache.trim()).filter(|cache| is_id(cache)).ok_or_else(|| wrong(&path, "it is no id"))?;
        layers.push(dir.join("overlay2").join(cache).join("diff"));
        chain = Some(id);
    }
    Ok(Some(Stored { config, layers }))
}

impl Stored {
    fn read(&self, name: &str, ids: &Ids) -> Result<(Image, Vec<String>)> {
        let mut made = Image {
            name: name.to_owned(),
            reference: Some(name.to_owned()),
            config: self.config.clone(),
            has_files: true,
            ..Image::default()
        };
        let (starts, mut unread) = (made.starts(), Vec::new());
        for (at, layer) in self.layers.iter().enumerate() {
            let tree = Tree::open(layer, Limits::default())?;
            let walked = tree.walk(&mut |entry| {
                match member(entry, ids, &starts) {
                    Ok((member, content)) if entry.hides() => {
                        for hiding in hiding(entry, member) {
                            made.apply(at, hiding, None);
                        }
                        drop(content);
                    }
                    Ok((member, content)) => made.apply(at, member, content),
                    Err(error) => unread.push(error.chain()),
                }
                Visit::Enter
            })?;
            let told = walked.problems.into_iter();
            unread.extend(told.map(|(path, error)| format!("{}/{path}: {}", layer.display(), error.chain())));
        }
        Ok((made, unread))
    }
}

/// What an archive has in the place of an entry that hides others: the directory and a mark in it, or a mark.
fn hiding(entry: &tree::Entry<'_>, member: Entry) -> Vec<Entry> {
    let mark = |path: Vec<u8>| Entry { path, kind: EntryKind::File, ..member.clone() };
    if entry.kind == FileType::Directory {
        let opaque = mark([entry.path, b"/.wh..wh..opq"].concat());
        return vec![member, opaque];
    }
    let dir = &entry.path[..entry.path.len() - entry.name().len()];
    vec![mark([dir, b".wh.", entry.name()].concat())]
}

/// Describes an entry as a layer's archive does.
fn member(entry: &tree::Entry<'_>, ids: &Ids, starts: &[String]) -> bryo_packages::Result<(Entry, Option<Vec<u8>>)> {
    let stat = entry.stat()?;
    let kind = match entry.kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Special,
    };
    let (uid, gid) = ids.inside(stat.st_uid, stat.st_gid);
    let mut made = Entry {
        path: entry.path.to_vec(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid,
        gid,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        link: if kind == EntryKind::Symlink { entry.target()? } else { Vec::new() },
        attributes: Vec::new(),
    };
    if kind != EntryKind::File {
        return Ok((made, None));
    }
    if made.mode & 0o111 != 0
        && let Ok(file) = entry.open()
        && rustix::fs::fgetxattr(file.into_file(), c"security.capability", &mut [0_u8; 64][..]).is_ok()
    {
        made.attributes.push(b"security.capability".to_vec());
    }
    let wanted = image::wanted(&String::from_utf8_lossy(entry.path), &made, starts);
    let content = match usize::try_from(wanted) {
        Ok(most) if most > 0 && made.size <= wanted => Some(entry.open()?.whole(most)?),
        _ => None,
    };
    Ok((made, content))
}

impl Ids {
    /// The ids of a store that the caller owns: root inside is the caller, the others are the caller's subordinate ids.
    fn of_caller() -> Self {
        let Host { caller, uids: users, gids: groups, .. } = Host::probe();
        Self { own: Some((caller.uid.get(), caller.gid.get())), users, groups }
    }

    /// Returns the ids inside of a file's owner and group.
    fn inside(&self, uid: u32, gid: u32) -> (u64, u64) {
        let Some((own_uid, own_gid)) = self.own else { return (uid.into(), gid.into()) };
        (inside(uid, own_uid, &self.users), inside(gid, own_gid, &self.groups))
    }
}

fn inside(id: u32, own: u32, ranges: &[Range]) -> u64 {
    /// What the kernel shows of an id that is in no map.
    const OVERFLOW: u64 = 65534;
    if id == own {
        return 0;
    }
    let mut next = 1;
    for range in ranges {
        if let Some(at) = id.checked_sub(range.start.get()).filter(|at| *at < range.count) {
            return next + u64::from(at);
        }
        next += u64::from(range.count);
    }
    OVERFLOW
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef";

    fn write(dir: &Path, path: &str, text: &str) {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Two layers: one file in each, and one that the second replaces.
    fn layers(dir: &Path, lower: &str, upper: &str) {
        write(dir, &format!("{lower}/etc/passwd"), "root:x:0:0::/:\napp:x:0:0::/:\n");
        write(dir, &format!("{upper}/etc/passwd"), "root:x:0:0::/:\napp:x:7:7::/:\n");
        write(dir, &format!("{lower}/bin/x"), "");
        std::os::unix::fs::symlink("/bin/x", dir.join(upper).join("link")).unwrap();
    }

    fn read(stored: Stored) -> Image {
        let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (image, unread) = stored.read("x", &Ids { own: Some(own), ..Ids::default() }).unwrap();
        assert_eq!(unread, [""; 0]);
        image
    }

    fn is_whole(image: &Image) {
        assert_eq!(image.text("User"), "app");
        assert_eq!(image.accounts().users["app"].0, 7);
        assert_eq!(image.find("/link").map(|(path, file)| (path, file.uid)), Some(("bin/x".to_owned(), 0)));
    }

    #[test]
    fn images_of_podman_are_found_in_its_files() {
        for driver in ["overlay", "vfs"] {
            let dir = tempfile::tempdir().unwrap();
            let images = format!(r#"[{{"id": "{ID}", "names": ["localhost/app:latest"], "layer": "b"}}]"#);
            write(dir.path(), &format!("{driver}-images/images.json"), &images);
            let key = STANDARD.encode(format!("sha256:{ID}"));
            write(dir.path(), &format!("{driver}-images/{ID}/={key}"), r#"{"config": {"User": "app"}}"#);
            write(dir.path(), &format!("{driver}-layers/layers.json"), r#"[{"id": "a"}, {"id": "b", "parent": "a"}]"#);
            layers(dir.path(), "overlay/a/diff", "overlay/b/diff");
            layers(dir.path(), "vfs/dir/b", "vfs/dir/unused");
            write(dir.path(), "vfs/dir/b/etc/passwd", "root:x:0:0::/:\napp:x:7:7::/:\n");
            std::os::unix::fs::symlink("/bin/x", dir.path().join("vfs/dir/b/link")).unwrap();
            for name in ["localhost/app:latest", "localhost/app", "app", "app:latest", ID] {
                is_whole(&read(containers_storage(dir.path(), name).unwrap().unwrap()));
            }
            assert!(containers_storage(dir.path(), "pp").unwrap().is_none());
        }
        assert!(containers_storage(Path::new("/nonexistent"), "app").unwrap().is_none());
    }

    #[test]
    fn images_of_docker_are_found_in_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let base = "image/overlay2";
        let id = format!("sha256:{ID}");
        let all = format!(r#"{{"Repositories": {{"app": {{"app:1": "{id}"}}}}}}"#);
        write(dir.path(), &format!("{base}/repositories.json"), &all);
        let config = r#"{"config": {"User": "app"}, "rootfs": {"diff_ids": ["sha256:aa", "sha256:bb"]}}"#;
        write(dir.path(), &format!("{base}/imagedb/content/sha256/{ID}"), config);
        let chain = Digest::sha256_of(b"sha256:aa sha256:bb");
        write(dir.path(), &format!("{base}/layerdb/sha256/aa/cache-id"), "low");
        write(dir.path(), &format!("{base}/layerdb/sha256/{}/cache-id", chain.hex()), "high");
        layers(dir.path(), "overlay2/low/diff", "overlay2/high/diff");
        is_whole(&read(docker(dir.path(), "app:1").unwrap().unwrap()));
        assert!(docker(dir.path(), "app:2").unwrap().is_none());
        // Whoever may write there leads nowhere else.
        write(dir.path(), &format!("{base}/layerdb/sha256/aa/cache-id"), "../../../etc");
        assert!(docker(dir.path(), "app:1").is_err());
    }

    #[test]
    fn ids_are_those_inside() {
        let range = |start, count| Range { start: bryo_identity::HostId::new(start).unwrap(), count };
        let ranges = [range(100_000, 10), range(300_000, 5)];
        let all = [1000, 100_000, 100_009, 300_000, 5].map(|id| inside(id, 1000, &ranges));
        assert_eq!(all, [0, 1, 10, 11, 65534]);
    }
}
