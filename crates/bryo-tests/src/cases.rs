// SPDX-License-Identifier: Apache-2.0
//! The corpus of Dockerfiles: what each is, and what the Dockerfile reference demands of it.
//!
//! A file has many cases:
//!
//! ```text
//! === a name
//! FROM localhost/base
//! COPY a.txt /x
//! --- files
//! 644 0:0 /x = a\n
//! --- config
//! Cmd ["a"]
//! ```
//!
//! `files` is all that the result has and its base has not, or has otherwise; `- /path` is gone. `config` is every key
//! that is another one than the base's; `$PATH` stands for the base's. What is not there has to be nothing. `fails` has
//! words of an error instead. `args` are arguments of the command line, `ignore` is a `.dockerignore`; `buildah` says
//! why buildah makes something else, if it does.

use std::path::Path;

/// A Dockerfile and what is demanded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// The Dockerfile.
    pub dockerfile: String,
    /// Arguments of the command line.
    pub args: Vec<String>,
    /// The `.dockerignore`.
    pub ignore: Option<String>,
    /// The files that differ from the base's.
    pub files: Vec<String>,
    /// The keys of the configuration that differ from the base's.
    pub config: Vec<String>,
    /// Words of the error, where there is to be one.
    pub fails: Option<String>,
    /// Why buildah makes something else.
    pub buildah: Option<String>,
}

/// Reads the cases of a file.
pub fn read(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut cases = parse(&text);
    cases.iter_mut().for_each(|case| {
        case.files.sort();
        case.config.sort();
    });
    cases
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut section = "";
    for line in text.split('\n') {
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Case { name: name.to_owned(), ..Case::default() });
            section = "dockerfile";
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(name) = line.strip_prefix("--- ") {
            section = name;
            if name == "ignore" {
                case.ignore = Some(String::new());
            }
            continue;
        }
        match section {
            "dockerfile" => case.dockerfile += &format!("{line}\n"),
            "ignore" => case.ignore.get_or_insert_default().push_str(&format!("{line}\n")),
            _ if line.is_empty() => (),
            "args" => case.args.push(line.to_owned()),
            "files" => case.files.push(line.to_owned()),
            "config" => case.config.push(line.to_owned()),
            "fails" => case.fails = Some(line.to_owned()),
            "buildah" => case.buildah = Some(line.to_owned()),
            other => panic!("{}: there is no section {other:?}", case.name),
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_sections() {
        let cases = parse("words\n=== a\nFROM x\n\n--- files\n1 /y\n\n--- ignore\nz\n=== b\n--- fails\nno\n");
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[0].dockerfile, "FROM x\n\n");
        assert_eq!((cases[0].files.as_slice(), cases[0].ignore.as_deref()), (&["1 /y".to_owned()][..], Some("z\n")));
        assert_eq!(cases[1].fails.as_deref(), Some("no"));
    }
}
