// SPDX-License-Identifier: Apache-2.0
//! Programs in the place of those that become another user: they run their command as who they are.
//!
//! `gosu` and its kin fail for whoever is not root. A start that calls one without asking first who it is gets another
//! one of that name, in a directory of its own at the head of `PATH`: nothing of the image is replaced, and root, who
//! may still be asked for, gets the image's own.

use std::path::{Path, PathBuf};

use super::taken::Filter;
use crate::derive::Hardening;
use crate::shell::quoted;

/// Where they lie.
pub const DIR: &str = "/usr/local/lib/bryo";

/// How each takes its own words away from those of the command.
const PROGRAMS: [(&str, &str); 8] = [
    ("gosu", USER_FIRST),
    ("su-exec", USER_FIRST),
    ("s6-setuidgid", USER_FIRST),
    ("setpriv", FLAGS_ONLY),
    ("chpst", VALUED_FLAGS),
    ("runuser", RUNUSER),
    ("sudo", VALUED_FLAGS),
    ("su", RUNUSER),
];

/// The first word is the user.
const USER_FIRST: &str = "shift\nexec \"$@\"\n";

/// Flags with their values behind `=`, as all scripts that we know write them; some have theirs in the next word.
const FLAGS_ONLY: &str = "while [ $# -gt 0 ]; do\n\tcase $1 in\n\t--) shift; break ;;\n\
    \t--reuid | --regid | --ruid | --euid | --rgid | --egid | --groups | --inh-caps | --bounding-set | --ambient-caps) shift 2 ;;\n\
    \t-*) shift ;;\n\t*) break ;;\n\tesac\ndone\nexec \"$@\"\n";

/// `-u USER` and the like, then the command.
const VALUED_FLAGS: &str = "while [ $# -gt 0 ]; do\n\tcase $1 in\n\t--) shift; break ;;\n\
    \t-u | -U | -g | -b | -/ | -n | -l | -m | -d | -o | -p | -f | -c | -r | -t | -e) shift 2 ;;\n\
    \t-*) shift ;;\n\t*) break ;;\n\tesac\ndone\nexec \"$@\"\n";

/// `USER -c LINE`, `-u USER COMMAND`, or a shell.
const RUNUSER: &str = "line= shell=/bin/sh seen=\nwhile [ $# -gt 0 ]; do\n\tcase $1 in\n\
    \t--) shift; break ;;\n\t-c | --command) line=$2; shift 2 ;;\n\t-s | --shell) shell=$2; shift 2 ;;\n\
    \t-u | --user) seen=1; shift 2 ;;\n\t-g | -G) shift 2 ;;\n\t-*) shift ;;\n\
    \t*) [ \"$seen\" ] && break; seen=1; shift ;;\n\tesac\ndone\n\
    [ \"$line\" ] && exec \"$shell\" -c \"$line\" \"$@\"\n[ $# -gt 0 ] && exec \"$@\"\nexec \"$shell\"\n";

/// Makes what the calls need. A call by a path is none that could be answered here.
pub(super) fn of(droppers: &[String]) -> Hardening {
    let made = |name: &String| Some((Path::new(DIR).join(name), shim(name)?));
    let mut programs: Vec<(PathBuf, String)> = droppers.iter().filter_map(made).collect();
    programs.sort();
    programs.dedup();
    Hardening { programs, ..Hardening::default() }
}

/// Makes a program that calls another one without some of its flags and their values.
pub(super) fn without(filter: &Filter) -> (PathBuf, String) {
    let Filter { name, path, flags } = filter;
    let with_value: Vec<String> = flags.iter().map(|flag| format!("{flag}=*")).collect();
    let body = format!(
        "n=$#\nwhile [ $n -gt 0 ]; do\n\tword=$1\n\tshift\n\tn=$((n - 1))\n\tcase $word in\n\
         \t{}) [ $n = 0 ] || {{ shift; n=$((n - 1)); }} ;;\n\t{}) ;;\n\t*) set -- \"$@\" \"$word\" ;;\n\tesac\n\
         done\nexec {} \"$@\"\n",
        flags.join(" | "),
        with_value.join(" | "),
        quoted(&path.to_string_lossy())
    );
    (Path::new(DIR).join(name), script(name, &body))
}

/// Returns the program in the place of one that becomes another user.
pub fn shim(name: &str) -> Option<String> {
    PROGRAMS.iter().find(|(program, _)| *program == name).map(|(name, body)| script(name, body))
}

/// Tells whether what lies in [`DIR`] under a name is, byte for byte, one of the programs that are made here. Whoever
/// makes an image may put others there.
pub fn is_ours(name: &str, content: &[u8]) -> bool {
    if let Some(own) = shim(name) {
        return content == own.as_bytes();
    }
    std::str::from_utf8(content).ok().and_then(|text| filter_of(name, text)).is_some_and(|filter| {
        // Its words may not be more than flags, and it may call nothing but what it is named after.
        let is_flag = |flag: &String| {
            flag.starts_with('-') && flag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let same = filter.path.file_name() == Some(name.as_ref());
        same && filter.flags.iter().all(is_flag) && content == without(&filter).1.as_bytes()
    })
}

/// Reads from a program of [`without`] what it was made of.
fn filter_of(name: &str, text: &str) -> Option<Filter> {
    let (_, rest) = text.split_once("case $word in\n\t")?;
    let (flags, rest) = rest.split_once(") [ $n = 0 ]")?;
    let (_, rest) = rest.rsplit_once("\nexec ")?;
    let word = rest.strip_suffix(" \"$@\"\n")?;
    let inner = word.strip_prefix('\'').and_then(|word| word.strip_suffix('\''));
    let path = inner.map_or_else(|| word.to_owned(), |inner| inner.replace("'\\''", "'"));
    Some(Filter { name: name.to_owned(), path: path.into(), flags: flags.split(" | ").map(str::to_owned).collect() })
}

fn script(name: &str, body: &str) -> String {
    format!(
        "#!/bin/sh\n# Made by bryo harden: the user is nobody already, and {name} has nobody to become.\n\
         if [ \"$(id -u)\" = 0 ]; then\n\tPATH=${{PATH#{DIR}:}}\n\texport PATH\n\texec {name} \"$@\"\nfi\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    /// Runs a program of ours as nobody and returns what its command says.
    fn said(dir: &Path, name: &str, arguments: &[&str]) -> String {
        let hardening = of(&[name.to_owned()]);
        // Whoever runs this may be root.
        let text = hardening.programs[0].1.replace("$(id -u)", "7");
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new("sh").arg(path).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn each_runs_its_command() {
        let dir = tempfile::tempdir().unwrap();
        for (name, arguments) in [
            ("gosu", &["app:app", "echo", "a", "b c"][..]),
            ("su-exec", &["1000:1000", "echo", "a", "b c"]),
            ("s6-setuidgid", &["app", "echo", "a", "b c"]),
            ("setpriv", &["--reuid=app", "--regid", "app", "--clear-groups", "--", "echo", "a", "b c"]),
            ("setpriv", &["--init-groups", "echo", "a", "b c"]),
            ("chpst", &["-u", "app:app", "-P", "echo", "a", "b c"]),
            ("runuser", &["-u", "app", "--", "echo", "a", "b c"]),
            ("runuser", &["app", "-c", "echo a 'b c'"]),
            ("su", &["-s", "/bin/sh", "app", "-c", "echo a 'b c'"]),
            ("su", &["-", "app", "-c", "echo a 'b c'"]),
            ("sudo", &["-E", "-u", "app", "echo", "a", "b c"]),
        ] {
            assert_eq!(said(dir.path(), name, arguments), "a b c\n", "{name} {arguments:?}");
        }
    }

    #[test]
    fn flags_and_their_values_are_left_out_and_the_rest_comes_through() {
        let dir = tempfile::tempdir().unwrap();
        let filter = Filter { name: "echo".into(), path: "/bin/echo".into(), flags: vec!["--user".into()] };
        let text = without(&filter).1.replace("$(id -u)", "7");
        let path = dir.path().join("echo");
        std::fs::write(&path, text).unwrap();
        for (arguments, expected) in [
            (&["--x", "--user", "a", "b  c", "--user=d", ""][..], "--x b  c \n"),
            (&["--user"], "\n"),
            (&["--users", "a"], "--users a\n"),
        ] {
            let output = Command::new("sh").arg(&path).args(arguments).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        }
    }

    #[test]
    fn only_what_was_made_here_is_ours() {
        for (name, body) in PROGRAMS {
            let text = script(name, body);
            assert!(is_ours(name, text.as_bytes()), "{name}");
            assert!(!is_ours(name, format!("{text}\n").as_bytes()) && !is_ours("other", text.as_bytes()), "{name}");
        }
        let flags = vec!["--user".to_owned(), "-u".to_owned()];
        let text = |path: &str| without(&Filter { name: "a".into(), path: path.into(), flags: flags.clone() }).1;
        assert!(is_ours("a", text("/usr/bin/a").as_bytes()) && is_ours("a", text("/it's/a").as_bytes()));
        assert!(!is_ours("gosu", text("/usr/bin/a").as_bytes()) && !is_ours("a", text("/usr/bin/b").as_bytes()));
        let other = text("/usr/bin/a").replace("--user | -u)", "--user | $(x))");
        assert!(!is_ours("a", other.as_bytes()) && !is_ours("a", b"#!/bin/sh\n") && !is_ours("a", b""));
    }

    #[test]
    fn only_names_that_are_known_get_one_and_each_one() {
        let names = ["gosu", "gosu", "/usr/sbin/gosu", "other", "chpst"].map(str::to_owned);
        let made: Vec<PathBuf> = of(&names).programs.into_iter().map(|(path, _)| path).collect();
        assert_eq!(made, ["/usr/local/lib/bryo/chpst", "/usr/local/lib/bryo/gosu"].map(PathBuf::from));
    }
}
