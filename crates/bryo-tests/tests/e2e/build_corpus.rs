// SPDX-License-Identifier: Apache-2.0
//! `build`, instruction by instruction: what each Dockerfile of the corpus in `tests/build` makes, beside what the
//! Dockerfile reference demands, and beside what buildah makes of it.

use std::path::{Path, PathBuf};

use bryo_tests::cases::{Case, read};
use bryo_tests::flat::Flat;
use bryo_tests::program::tool;
use bryo_tests::tar::{Entry, Tar};
use bryo_tests::{Home, Output, User, images, skip};

/// What the Dockerfiles stand on: the busybox image of the tests.
const BASE: &str = "localhost/base:latest";

/// A builder and what it builds with.
struct Ground {
    home: Home,
    base: Flat,
    nothing: Flat,
}

impl Ground {
    fn new(user: &User) -> Self {
        let home = Home::new(user);
        home.load(&images::busybox());
        home.bryo(&["tag", images::BUSYBOX, BASE]).ok();
        context(&home);
        let archive = home.path.join("base.tar");
        home.bryo(&["save", "--format", "oci-archive", "-o", &archive.display().to_string(), BASE]).ok();
        Self { base: Flat::read(&archive), nothing: Flat::scratch(), home }
    }

    fn bryo(&self, case: &Case, out: &Path) -> Output {
        let output = format!("type=oci,dest={}", out.display());
        let context = self.home.path.join("c").display().to_string();
        let mut args = vec!["build", "--progress", "plain", "-t", "localhost/built", "-o", &output];
        args.extend(case.args.iter().map(String::as_str));
        args.push(&context);
        self.home.bryo(&args)
    }

    fn buildah(&self, case: &Case, out: &Path) -> Output {
        let context = self.home.path.join("c").display().to_string();
        let (root, run) = (self.home.path.join("buildah"), self.home.path.join("run/buildah"));
        let (root, run) = (root.display().to_string(), run.display().to_string());
        let global = ["--root", &root, "--runroot", &run, "--storage-driver", "overlay"];
        if !Path::new(&root).exists() {
            let archive = format!("oci-archive:{}", images::busybox().display());
            self.home.tool("buildah", &[&global[..], &["pull", "-q", &archive]].concat()).ok();
            self.home.tool("buildah", &[&global[..], &["tag", images::BUSYBOX, BASE]].concat()).ok();
        }
        let build = ["bud", "--isolation", "chroot", "--format", "docker", "--pull-never", "-t", "localhost/built"];
        let mut args = [&global[..], &build[..]].concat();
        args.extend(case.args.iter().map(String::as_str));
        args.push(&context);
        let built = self.home.tool("buildah", &args);
        if built.status.success() {
            drop(std::fs::remove_dir_all(out.with_extension("dir")));
            let out = format!("dir:{}", out.with_extension("dir").display());
            self.home.tool("buildah", &[&global[..], &["push", "-q", "localhost/built", &out]].concat()).ok();
        }
        built
    }

    /// Builds a case; what it makes is not what is demanded if there is an answer.
    fn judge(&self, case: &Case, builder: fn(&Self, &Case, &Path) -> Output, ours: bool) -> Option<String> {
        self.home.write("c/Dockerfile", &case.dockerfile);
        // A step of another builder may have written to it.
        self.home.write("c/a.txt", "a\n");
        let ignore = self.home.path.join("c/.dockerignore");
        match &case.ignore {
            Some(text) => drop(self.home.write("c/.dockerignore", text)),
            None => drop(std::fs::remove_file(ignore)),
        }
        let out: PathBuf = self.home.path.join("out.tar");
        drop(std::fs::remove_file(&out));
        let built = builder(self, case, &out);
        if let Some(words) = &case.fails {
            let refused = !built.status.success() && (!ours || built.stderr.contains(words));
            return (!refused).then(|| format!("was not refused with {words:?}:\n{built}"));
        }
        if !built.status.success() {
            return Some(format!("failed:\n{built}"));
        }
        let flat = match ours {
            true => Flat::read(&out),
            false => Flat::read_plain(&out.with_extension("dir")).without_buildahs_own(),
        };
        let from = case.dockerfile.lines().rfind(|line| line.starts_with("FROM "));
        let base = if from.is_some_and(|line| line.starts_with("FROM scratch")) { &self.nothing } else { &self.base };
        let found = [flat.files_beyond(base), flat.config_beyond(base)];
        let same = found == [case.files.clone(), case.config.clone()];
        (!same).then(|| {
            format!("makes\n{}\nand not\n{}\n", lines(&found), lines(&[case.files.clone(), case.config.clone()]))
        })
    }
}

fn lines(parts: &[Vec<String>; 2]) -> String {
    parts.iter().flatten().map(|line| format!("    {line}\n")).collect()
}

/// Writes the files that the Dockerfiles copy.
fn context(home: &Home) {
    for (name, content) in [
        ("a.txt", "a\n"),
        ("b.txt", "b\n"),
        (".hidden", "h\n"),
        ("dir/c.txt", "c\n"),
        ("dir/sub/d.md", "d\n"),
        ("with space.txt", "s\n"),
        ("x[1].txt", "x\n"),
    ] {
        home.write(&format!("c/{name}"), content);
    }
    let script = home.write("c/run.sh", "#!/bin/sh\necho ran\n");
    let path = |name: &str| home.path.join("c").join(name);
    tool("chmod", &["-R", "u=rwX,go=rX", &path(".").display().to_string()]);
    tool("chmod", &["750", &script.display().to_string()]);
    std::os::unix::fs::symlink("dir/c.txt", path("link")).unwrap();
    std::os::unix::fs::symlink("dir", path("dirlink")).unwrap();
    let entry = Entry { name: "in", kind: b'0', mode: 0o640, ids: (7, 8), link: "", data: b"in\n" };
    home.write("c/arc/in.tar", Tar::default().entry(entry).dir("tree/", 0o700).finish());
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        tool(program, &["-kqf", &path("arc/in.tar").display().to_string()]);
    }
    tool("chown", &["-R", &home.user.name, &path(".").display().to_string()]);
}

fn corpus(instruction: &str) -> Vec<Case> {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/build").join(instruction))
}

fn check(instruction: &str) {
    let Some(user) = User::with_range() else { return };
    let ground = Ground::new(&user);
    let wrong = |case: &Case| Some(format!("{}: {}", case.name, ground.judge(case, Ground::bryo, true)?));
    let wrong: Vec<String> = corpus(instruction).iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{} of {instruction}:\n{}", wrong.len(), wrong.join("\n"));
}

macro_rules! corpora {
    ($($test:ident $file:literal)*) => {
        const ALL: &[&str] = &[$($file),*];
        $(#[test] fn $test() { check($file) })*
    };
}

corpora! {
    add_makes_what_is_demanded "add"
    arguments_are_what_is_demanded "arg"
    commands_are_what_is_demanded "command"
    copy_makes_what_is_demanded "copy"
    env_is_what_is_demanded "env"
    heredocs_make_what_is_demanded "heredoc"
    the_language_is_read_as_demanded "language"
    metadata_is_what_is_demanded "metadata"
    mounts_are_what_is_demanded "mount"
    run_makes_what_is_demanded "run"
    stages_make_what_is_demanded "stage"
    users_and_directories_are_what_is_demanded "user"
}

#[test]
fn the_corpus_is_whole() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/build");
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    let mut all = ALL.to_vec();
    all.sort_unstable();
    assert_eq!(names, all, "a file of the corpus that is not run");
    assert!(all.iter().map(|name| corpus(name).len()).sum::<usize>() >= 150);
}

#[test]
#[ignore = "it takes minutes: just conformance"]
fn buildah_makes_the_same_where_nothing_else_is_said() {
    if !skip::have("buildah") {
        return;
    }
    let Some(user) = User::with_range() else { return };
    let all: Vec<(&str, Case)> =
        ALL.iter().flat_map(|file| corpus(file).into_iter().map(|case| (*file, case))).collect();
    let judge = |cases: &[(&str, Case)]| {
        let ground = Ground::new(&user);
        let differs = |(file, case): &(&str, Case)| {
            let why = ground.judge(case, Ground::buildah, false)?;
            eprintln!("{file}: {}: {why}", case.name);
            Some((case.buildah.is_none(), format!("{file}: {}: {why}", case.name)))
        };
        cases.iter().filter_map(differs).collect::<Vec<_>>()
    };
    let differ: Vec<(bool, String)> = std::thread::scope(|scope| {
        let parts: Vec<_> = all.chunks(all.len().div_ceil(2)).map(|part| scope.spawn(|| judge(part))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    let (count, same) = (all.len(), all.len() - differ.len());
    let wrong: Vec<&str> = differ.iter().filter(|(wrong, _)| *wrong).map(|(_, why)| why.as_str()).collect();
    assert!(wrong.is_empty(), "{} of {count} cases differ without a reason:\n{}", wrong.len(), wrong.join("\n"));
    eprintln!("buildah: {same} of {count} cases are the same");
}
