// SPDX-License-Identifier: Apache-2.0
//! Where Quadlet files are, and what is added to them. Source: `podman-systemd.unit(5)`, `systemd.unit(5)`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::Scope;
use crate::generate::Problem;
use crate::quadlet::{Source, is_kind};
use crate::unit::{File, split_name, template};

/// A user's directories that the environment names.
#[derive(Debug, Clone, Default)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// `XDG_CONFIG_HOME`, or what stands for it.
    pub config: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
}

/// Returns the directories of Quadlet files, those first whose files hide others. bryo's own come before those that
/// it has in common with Podman, which are read only where Podman's generator does not read them: of two engines that
/// run the same service, one would be the wrong one.
pub fn directories(user: Option<&User>, shared: bool) -> Vec<PathBuf> {
    let of = |engine: &str| -> Vec<PathBuf> {
        let below = |base: &Path| base.join(engine).join("systemd");
        match user {
            None => ["/run", "/etc", "/usr/share"].map(|base| below(base.as_ref())).to_vec(),
            Some(user) => {
                let mut dirs: Vec<PathBuf> = user.runtime.iter().chain(&user.config).map(|base| below(base)).collect();
                let everybody = |base: &str| below(base.as_ref()).join("users");
                for base in ["/etc", "/usr/share"] {
                    dirs.extend([everybody(base).join(user.uid.to_string()), everybody(base)]);
                }
                dirs
            }
        }
    };
    let mut dirs = of("bryo");
    if shared {
        dirs.extend(of("containers"));
    }
    dirs
}

/// Tells whether Podman makes units of the files in the directories that it documents.
pub fn podman_generates(scope: Scope) -> bool {
    let (kind, name) = match scope {
        Scope::System => ("system-generators", "podman-system-generator"),
        Scope::User => ("user-generators", "podman-user-generator"),
    };
    // Source: `systemd.generator(7)`; the first that is there counts, and a link to /dev/null masks it.
    let dirs = ["/run", "/etc", "/usr/local/lib", "/usr/lib", "/lib"];
    let places = dirs.iter().map(|dir| Path::new(dir).join("systemd").join(kind).join(name));
    places.into_iter().find(|place| place.symlink_metadata().is_ok()).is_some_and(|found| !is_masked(&found))
}

/// Reads all Quadlet files of directories, with their drop-ins.
pub(crate) fn read(dirs: &[PathBuf], scope: Scope) -> (Vec<Source>, Vec<Problem>) {
    let mut all = Vec::new();
    for dir in dirs {
        walk(dir, scope, &mut all);
    }
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for dir in &all {
        for (name, path) in files(dir) {
            let Some((stem, kind)) = split_name(&path).filter(|(_, kind)| is_kind(kind)) else { continue };
            if !seen.insert(name) || is_masked(&path) {
                continue;
            }
            match read_one(&path, &stem, &kind, &all) {
                Ok(file) => sources.push(Source { path, stem, kind, file }),
                Err(found) => problems.extend(found),
            }
        }
    }
    (sources, problems)
}

/// Adds a directory and those below it. A link to a directory is followed, and none is visited twice. What lies in
/// `users` is not the machine's, and what lies in a number is that user's.
fn walk(dir: &Path, scope: Scope, into: &mut Vec<PathBuf>) {
    let is_there = |path: &Path| path.canonicalize().ok().filter(|real| real.is_dir());
    let Some(real) = is_there(dir) else { return };
    if into.iter().any(|other| other.canonicalize().ok().as_ref() == Some(&real)) {
        return;
    }
    into.push(dir.to_owned());
    let mut below: Vec<PathBuf> = entries(dir);
    below.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let other_users = scope == Scope::System && name == "users";
        let one_users = name.bytes().all(|b| b.is_ascii_digit());
        !other_users && !one_users && !name.ends_with(".d") && path.is_dir()
    });
    below.iter().for_each(|path| walk(path, scope, into));
}

/// Returns what is in a directory, sorted.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn files(dir: &Path) -> Vec<(String, PathBuf)> {
    let named = |path: PathBuf| Some((path.file_name()?.to_str()?.to_owned(), path));
    entries(dir).into_iter().filter(|path| !path.is_dir()).filter_map(named).collect()
}

fn is_masked(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|real| real == Path::new("/dev/null"))
}

/// Reads a file and its drop-ins.
fn read_one(path: &Path, stem: &str, kind: &str, dirs: &[PathBuf]) -> Result<File, Vec<Problem>> {
    let mut file = File::default();
    for path in std::iter::once(path.to_owned()).chain(drop_ins(stem, kind, dirs)) {
        let text = std::fs::read_to_string(&path)
            .map_err(|e| vec![Problem::of_file(&path, format!("cannot read it: {e}"))])?;
        file.add(&path, &text).map_err(|wrong| wrong.into_iter().map(Problem::from).collect::<Vec<_>>())?;
    }
    Ok(file)
}

/// Returns the drop-ins of a file in the order in which they are read. Of those with one name, that counts which is
/// most the file's own, and among these that of the earliest directory.
fn drop_ins(stem: &str, kind: &str, dirs: &[PathBuf]) -> Vec<PathBuf> {
    let mut named: BTreeMap<String, PathBuf> = BTreeMap::new();
    for name in drop_in_dirs(stem, kind) {
        let mut here: BTreeMap<String, PathBuf> = BTreeMap::new();
        for dir in dirs {
            for (file, path) in files(&dir.join(&name)).into_iter().filter(|(file, _)| file.ends_with(".conf")) {
                here.entry(file).or_insert(path);
            }
        }
        named.extend(here);
    }
    named.into_values().filter(|path| !is_masked(path)).collect()
}

/// Returns the names of the directories of drop-ins, the most general first: `container.d`, `a-.container.d`,
/// `a-b.container.d`, and for an instance those of its template before its own.
fn drop_in_dirs(stem: &str, kind: &str) -> Vec<String> {
    let mut names = vec![format!("{kind}.d")];
    let mut add = |stem: &str| {
        let ends = stem.match_indices('-').map(|(n, _)| n + 1).filter(|n| *n < stem.len());
        names.extend(ends.map(|n| format!("{}.{kind}.d", &stem[..n])));
        names.push(format!("{stem}.{kind}.d"));
    };
    match template(stem) {
        Some((base, instance)) if !instance.is_empty() => {
            add(&base);
            names.push(format!("{stem}.{kind}.d"));
        }
        _ => add(stem),
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_go_from_the_general_to_the_own() {
        assert_eq!(drop_in_dirs("a", "volume"), ["volume.d", "a.volume.d"]);
        let dashed = ["container.d", "a-.container.d", "a-b-.container.d", "a-b-c.container.d"];
        assert_eq!(drop_in_dirs("a-b-c", "container"), dashed);
        assert_eq!(drop_in_dirs("a@", "container"), ["container.d", "a@.container.d"]);
        assert_eq!(drop_in_dirs("a@b", "container"), ["container.d", "a@.container.d", "a@b.container.d"]);
        assert!(template("a@b").is_some());
    }

    #[test]
    fn bryos_own_directories_come_first_and_podmans_only_where_podman_is_not() {
        let user = User { uid: 7, config: Some("/h/.config".into()), runtime: Some("/run/user/7".into()) };
        let of = |user: Option<&User>, shared| -> Vec<String> {
            directories(user, shared).iter().map(|d| d.display().to_string()).collect()
        };
        assert_eq!(of(None, false), ["/run/bryo/systemd", "/etc/bryo/systemd", "/usr/share/bryo/systemd"]);
        let system = of(None, true);
        assert_eq!(
            system[3..],
            ["/run/containers/systemd", "/etc/containers/systemd", "/usr/share/containers/systemd"]
        );
        let own = of(Some(&user), true);
        assert_eq!(own[..3], ["/run/user/7/bryo/systemd", "/h/.config/bryo/systemd", "/etc/bryo/systemd/users/7"]);
        assert!(own.contains(&"/etc/containers/systemd/users".into()) && own.len() == 12, "{own:?}");
    }

    #[test]
    fn files_hide_others_and_other_users_files_are_not_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        for path in ["first/sub/x", "first/users/x", "first/1000/x", "second/a.container.d/x", "first/a.container.d/x"]
        {
            std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        }
        let write = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).unwrap();
        write("first/a.container", "[Container]\nImage=first\n");
        write("second/a.container", "[Container]\nImage=second\n");
        write("first/sub/b.container", "[Container]\nImage=b\n");
        write("first/users/c.container", "[Container]\nImage=c\n");
        write("first/1000/d.container", "[Container]\nImage=d\n");
        write("first/notes.txt", "none");
        write("first/a.container.d/10.conf", "[Container]\nExec=ten\n");
        write("second/a.container.d/10.conf", "[Container]\nExec=hidden\n");
        write("second/a.container.d/05.conf", "[Container]\nExec=five\nLabel=a\n");
        write("second/e.container", "[Container\n");
        std::os::unix::fs::symlink("/dev/null", first.join("f.container")).unwrap();
        write("second/f.container", "[Container]\nImage=masked\n");
        // A link to itself is no reason to walk for ever.
        std::os::unix::fs::symlink(&first, first.join("again")).unwrap();
        let (sources, problems) = read(&[first.clone(), second], Scope::System);
        let names: Vec<&str> = sources.iter().map(|s| s.stem.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let values = |key| sources[0].file.all("Container", key).iter().map(|e| e.value.clone()).collect::<Vec<_>>();
        assert_eq!(values("Image"), ["first"]);
        assert_eq!(values("Exec"), ["five", "ten"]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("e.container:1: "), "{}", problems[0]);
        let (of_user, _) = read(&[first], Scope::User);
        assert!(of_user.iter().any(|s| s.stem == "c") && !of_user.iter().any(|s| s.stem == "d"));
    }
}
