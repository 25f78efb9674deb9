// SPDX-License-Identifier: Apache-2.0
//! Files that want root: state that belongs to others, programs that change the user, and whose packages they are.

use std::collections::BTreeMap;

use bryo_engine::derive::{KEPT, PACKAGES};
use bryo_image::members::EntryKind;

use super::start::Started;
use super::{Cause, Reason, Remedy};
use crate::facts::image::{File, Image};
use crate::identity::{Effective, Verdict};
use crate::judge::files::may;

/// The largest list of a package's files that is read, in bytes.
pub(super) const LIST_MAX: u64 = 4 << 20;

/// How many directories are named in one reason.
const NAMED_MAX: usize = 12;

/// What to do about state that the image's own user, who is not root, has not.
const NOT_WRITTEN: &str =
    "nothing, as long as the image's own user does not write there; else give it to that one in the build";

/// Directories whose own directories are state.
const PARENTS: [&str; 7] = ["var/lib", "var/cache", "var/log", "var/spool", "var/www", "run", "srv"];

/// Tells whether a file says which package other files are of.
pub(super) fn is_package_list(path: &str) -> bool {
    path.starts_with("var/lib/dpkg/info/") && path.ends_with(".list")
        || matches!(path, "lib/apk/db/installed" | "usr/lib/apk/db/installed")
}

/// State directories that a user who is not root cannot write to.
pub(super) fn state(image: &Image, who: &Effective) -> Vec<Reason> {
    let nonroot = Effective { verdict: Verdict::NotRoot, uid: Some(65532), gid: Some(65532), groups: Vec::new() };
    let own = who.verdict == Verdict::NotRoot;
    let who = if own { who } else { &nonroot };
    // To a user of the image's own, nobody gives what is neither declared nor root's.
    let author = |file: &File| own && file.uid != 0;
    let closed = |file: &File| file.kind == EntryKind::Directory && !may(who, file, 2);
    let mut found = Vec::new();
    let mut seen = Vec::new();
    let dirs = [("working directory", image.text("WorkingDir"))];
    let named = dirs.into_iter().chain(image.names("Volumes").into_iter().map(|volume| ("volume", volume)));
    for (what, dir) in named.filter(|(_, dir)| dir.len() > 1) {
        match image.find(dir) {
            Some((path, file)) if closed(file) && !seen.contains(&path) => {
                let by = if author(file) { Remedy::Author } else { Remedy::Harden };
                found.push(owned(what, &path, image, by));
                seen.push(path);
            }
            None => {
                let what = format!("{what} {dir} is not there, and would be made as root's");
                let mut reason = Reason::new(Cause::StateOwner, what, Remedy::Harden, "make it in the build");
                reason.file = Some(dir.to_owned());
                found.push(reason);
            }
            _ => {}
        }
    }
    let mut roots = Vec::new();
    for (path, file) in image.files.iter().filter(|(path, file)| is_state(path) && closed(file)) {
        if seen.contains(path) || (file.uid == 0 && is_kept(path)) {
            continue;
        }
        let by = if own { Remedy::Nobody } else { Remedy::Harden };
        if file.uid == 0 { roots.push(path.as_str()) } else { found.push(owned("state directory", path, image, by)) }
    }
    if !roots.is_empty() {
        let more = roots.len().saturating_sub(NAMED_MAX);
        let mut names = roots[..roots.len().min(NAMED_MAX)].iter().map(|dir| format!("/{dir}")).collect::<Vec<_>>();
        names.extend((more > 0).then(|| format!("{more} more")));
        let what = format!("state directories of root: {}", names.join(", "));
        let (by, remedy) = match own {
            true => (Remedy::Nobody, NOT_WRITTEN),
            false => (Remedy::Harden, "give those that the service writes to its user"),
        };
        found.push(Reason::new(Cause::StateOwner, what, by, remedy));
    }
    found
}

/// Tells whether a directory is one of a service's state.
pub(crate) fn is_state(path: &str) -> bool {
    let Some((parent, _)) = path.rsplit_once('/') else { return false };
    PARENTS.contains(&parent) && !PACKAGES.iter().any(|dir| dir.strip_prefix('/') == Some(path))
}

/// Tells whether a path is, or is below, what hardening leaves to root.
fn is_kept(path: &str) -> bool {
    KEPT.iter().any(|dir| std::path::Path::new("/").join(path).starts_with(dir))
}

fn owned(what: &str, path: &str, image: &Image, by: Remedy) -> Reason {
    let who = image.files.get(path).map_or(0, |file| file.uid);
    let accounts = image.accounts();
    let name = accounts.users.iter().find(|(_, (uid, _))| u64::from(*uid) == who).map(|(name, _)| name.as_str());
    let what = format!("{what} /{path} belongs to {}", name.unwrap_or("another user"));
    let remedy = match by {
        Remedy::Harden => "give it to the user",
        Remedy::Author => "give it to the user in the build",
        Remedy::Nobody => {
            "nothing, as long as the image's own user does not write there; else give it to that in the build"
        }
    };
    Reason::new(Cause::StateOwner, what, by, remedy).at(image, path, None)
}

/// Programs that become another user or group, or have capabilities, and that everybody may execute.
pub(super) fn set_id(image: &Image, started: &Started) -> Vec<Reason> {
    let mut found = Vec::new();
    for (path, file) in image.files.iter().filter(|(_, file)| file.kind == EntryKind::File && file.mode & 0o111 != 0) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let called = started.names(name);
        let reached = if called { "the start calls it" } else { "the start does not name it" };
        let (by, remedy) = match called {
            true => (Remedy::Author, "without root it has no effect under no_new_privs: do without it"),
            false => (Remedy::Nobody, "nothing: no_new_privs takes its effect away; or chmod a-s in the build"),
        };
        let mut add = |cause, what: &str| {
            let reason = Reason::new(cause, format!("{what}; {reached}"), by, remedy);
            found.push(reason.at(image, path, None));
        };
        if file.mode & 0o4000 != 0 {
            add(Cause::SetUid, "set-user-id");
        }
        if file.mode & 0o2000 != 0 {
            add(Cause::SetGid, "set-group-id");
        }
        if file.capable {
            add(Cause::FileCapabilities, "file capabilities");
        }
    }
    found
}

/// Says of which package the files of the reasons are.
pub(super) fn packages(image: &Image, reasons: &mut [Reason]) {
    let wanted: BTreeMap<String, Option<String>> =
        reasons.iter().filter_map(|reason| Some((reason.file.clone()?, None))).collect();
    let mut owners = wanted;
    for (path, file) in image.files.iter().filter(|(path, _)| is_package_list(path)) {
        let Some(text) = file.content.as_deref() else { continue };
        let text = String::from_utf8_lossy(text);
        match path.strip_prefix("var/lib/dpkg/info/").and_then(|name| name.strip_suffix(".list")) {
            Some(package) => {
                let package = package.split(':').next().unwrap_or(package);
                text.lines().for_each(|line| own(&mut owners, line, package));
            }
            None => of_apk(&text, &mut owners),
        }
    }
    for reason in reasons {
        reason.package = reason.file.as_ref().and_then(|file| owners.get(file).cloned().flatten());
    }
}

/// Gives a path to a package, by both of the names that a merged `/usr` has for it.
fn own(owners: &mut BTreeMap<String, Option<String>>, path: &str, package: &str) {
    for path in [path.to_owned(), format!("/usr{path}")] {
        if let Some(owner) = owners.get_mut(&path) {
            owner.get_or_insert_with(|| package.to_owned());
        }
    }
}

/// Reads the database of Alpine: `P:` is a package, `F:` a directory of it, `R:` a file in that.
fn of_apk(text: &str, owners: &mut BTreeMap<String, Option<String>>) {
    let (mut package, mut dir) = ("", "");
    for line in text.lines() {
        match line.split_at_checked(2) {
            Some(("P:", name)) => package = name,
            Some(("F:", name)) => dir = name,
            Some(("R:", name)) => own(owners, &format!("/{dir}/{name}").replace("//", "/"), package),
            _ => {}
        }
    }
}
