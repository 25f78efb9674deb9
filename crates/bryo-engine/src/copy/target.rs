// SPDX-License-Identifier: Apache-2.0
//! Where a copy goes. Source: Docker's `docker cp` reference.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bryo_image::carry::{Head, Top};

use crate::error::{Error, Kind, Result};

/// What a copy is called while it is carried; its name is given where it arrives.
pub(super) const CARRIED: &[u8] = b"copy";

/// What is at the place that was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    Directory,
    Other,
}

/// A path as it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'a>(pub &'a str);

impl Written<'_> {
    /// Tells whether it can only be a directory's.
    pub fn is_directory(self) -> bool {
        self.0.ends_with('/') || self.is_content()
    }

    /// Tells whether it means what is in a directory, and not the directory.
    pub fn is_content(self) -> bool {
        self.0.ends_with("/.") || Path::new(self.0).file_name().is_none()
    }

    /// Returns its last component.
    pub fn base(self) -> Vec<u8> {
        Path::new(self.0).file_name().map_or_else(|| b".".to_vec(), |name| name.as_bytes().to_vec())
    }
}

/// Decides into which directory a thing goes, and what it is called there. `path` is where the written path leads, with
/// every link followed.
pub(super) fn decide(
    head: Head,
    from: Written<'_>,
    to: Written<'_>,
    path: &Path,
    there: There,
) -> Result<(Vec<u8>, Top)> {
    let bad = |why: &str| Error::new(Kind::Source, format!("cannot copy to {:?}: {why}", to.0));
    let whole = || path.as_os_str().as_bytes().to_vec();
    let named = || {
        let name = path.file_name().ok_or_else(|| bad("it has no name"))?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok((parent.as_os_str().as_bytes().to_vec(), Top::Named(name.as_bytes().to_vec())))
    };
    match (head.directory, there) {
        (true, There::Directory) if from.is_content() => Ok((whole(), Top::Itself)),
        (_, There::Directory) => Ok((whole(), Top::Named(from.base()))),
        (true, There::Other) => Err(bad("it is no directory, and a directory is copied")),
        (false, There::Nothing) if to.is_directory() => Err(bad("there is no such directory")),
        (false, There::Other) if to.is_directory() => Err(bad("it is no directory")),
        (_, There::Nothing | There::Other) => named(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_goes_where_dockers_goes() {
        let (file, dir) = (Head { directory: false }, Head { directory: true });
        let named = |name: &str| Top::Named(name.as_bytes().to_vec());
        for (head, from, to, there, expected) in [
            (file, "a/f", "/d/g", There::Nothing, Some(("/d", named("g")))),
            (file, "a/f", "/d/g/", There::Nothing, None),
            (file, "a/f", "/d/g", There::Other, Some(("/d", named("g")))),
            (file, "a/f", "/d/g/", There::Other, None),
            (file, "a/f", "/d/g", There::Directory, Some(("/d/g", named("f")))),
            (file, "a/f", "/", There::Directory, Some(("/", named("f")))),
            (dir, "a/s", "/d/g", There::Nothing, Some(("/d", named("g")))),
            (dir, "a/s", "/d/g/", There::Nothing, Some(("/d", named("g")))),
            (dir, "a/s", "/d/g", There::Other, None),
            (dir, "a/s", "/d/g", There::Directory, Some(("/d/g", named("s")))),
            (dir, "a/s/", "/d/g", There::Directory, Some(("/d/g", named("s")))),
            (dir, "a/s/.", "/d/g", There::Directory, Some(("/d/g", Top::Itself))),
            (dir, "a/s/.", "/d/g", There::Nothing, Some(("/d", named("g")))),
            (dir, ".", "/d/g", There::Directory, Some(("/d/g", Top::Itself))),
            (dir, "/", "/d/g", There::Directory, Some(("/d/g", Top::Itself))),
        ] {
            let path = Path::new(to.trim_end_matches('/'));
            let path = if to == "/" { Path::new("/") } else { path };
            let found = decide(head, Written(from), Written(to), path, there).ok();
            let expected = expected.map(|(dir, top)| (dir.as_bytes().to_vec(), top));
            assert_eq!(found, expected, "{from} {to} {there:?}");
        }
    }
}
