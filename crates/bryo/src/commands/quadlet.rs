// SPDX-License-Identifier: Apache-2.0
//! `bryo quadlet`: units of systemd from Quadlet files. Under the name of a generator systemd calls it itself.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bryo_engine::error::Kind;
use bryo_systemd::{Generated, Generator, Scope, search};
use clap::Args;

use crate::cli::{self, Verb};
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::{output, paths};

/// The names under which systemd calls bryo, and the words that they stand for.
const GENERATORS: [(&str, &str); 2] = [("bryo-system-generator", "--system"), ("bryo-user-generator", "--user")];

/// Make systemd units of Quadlet files
///
/// Reads .container, .volume and .network files where Podman documents them (/etc/containers/systemd and its like), if
/// Podman's own generator does not, and from bryo/systemd beside them. QUADLET_UNIT_DIRS names other directories.
#[derive(Debug, Args)]
pub struct Quadlet {
    /// Where systemd wants the units: normal, early, late; all are written to the first
    #[arg(value_name = "DIR", num_args = 0..=3, required_unless_present_any = ["dryrun", "version"])]
    dirs: Vec<PathBuf>,
    /// For the caller's own manager
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// For the machine's manager (the default)
    #[arg(long)]
    system: bool,
    /// Prints the units, and writes nothing
    #[arg(long, visible_alias = "dry-run")]
    dryrun: bool,
    /// Tells the reasons on standard error, and not in the kernel's log
    #[arg(long)]
    no_kmsg_log: bool,
    /// Tells which directories were read
    #[arg(long, short)]
    verbose: bool,
    /// Prints the version
    #[arg(long)]
    version: bool,
}

/// Puts the command into the words that a generator is called with, and a second hyphen before Podman's long flags.
pub fn called(mut words: Vec<OsString>) -> Vec<OsString> {
    let name = words.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    if let Some((_, scope)) = GENERATORS.iter().find(|(generator, _)| name == *generator) {
        words.splice(0..1, ["bryo", "quadlet", scope].map(OsString::from));
    }
    if words.get(1).is_some_and(|word| word == Quadlet::NAME) {
        for word in words.iter_mut().skip(2) {
            let long = word.to_str().filter(|text| text.len() > 2 && text.starts_with('-') && !text.starts_with("--"));
            if let Some(text) = long.map(|text| format!("-{text}")) {
                *word = text.into();
            }
        }
    }
    words
}

impl Verb for Quadlet {
    const NAME: &'static str = "quadlet";
    const ABOUT: &'static str = "Make systemd units of Quadlet files";

    fn run(self, _context: &Context) -> Result<ExitCode> {
        if self.version {
            output::print(concat!(env!("CARGO_PKG_VERSION"), "\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let scope = if self.user { Scope::User } else { Scope::System };
        let program = std::env::current_exe().map_err(|e| Error::io("find out where bryo is", &e))?;
        let generator = Generator { scope, program: &program, check: &understands };
        let dirs = directories(scope);
        if self.verbose {
            dirs.iter().for_each(|dir| self.tell(6, &format!("reading {}", dir.display())));
        }
        let Generated { units, mut problems } = generator.generate(&dirs);
        let generated = Generated { units, problems: Vec::new() };
        if self.dryrun {
            for unit in &generated.units {
                output::print(&format!("---{}---\n{}\n", unit.name, unit.text))?;
            }
        } else if let Some(dir) = self.dirs.first() {
            problems.extend(generated.write(dir));
        }
        for problem in &problems {
            self.tell(3, &problem.to_string());
        }
        Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Quadlet {
    /// Tells something where it is looked for: a generator's own output goes nowhere, and no journal runs yet. Source:
    /// `systemd.generator(7)`.
    fn tell(&self, level: u8, text: &str) {
        let text = output::line(text);
        let log = (!self.dryrun && !self.no_kmsg_log && !self.user).then(|| {
            let mut log = std::fs::OpenOptions::new().append(true).open("/dev/kmsg")?;
            log.write_all(format!("<{level}>bryo-quadlet[{}]: {text}\n", std::process::id()).as_bytes())
        });
        if !matches!(log, Some(Ok(()))) {
            output::complain(&format!("bryo: {text}\n"));
        }
    }
}

/// Returns the directories to read.
fn directories(scope: Scope) -> Vec<PathBuf> {
    if let Some(dirs) = paths::quadlet_dirs() {
        return dirs;
    }
    let user = match scope {
        Scope::System => None,
        Scope::User => Some(search::User {
            uid: rustix::process::getuid().as_raw(),
            config: paths::config_home().ok(),
            runtime: paths::session(),
        }),
    };
    search::directories(user.as_ref(), !search::podman_generates(scope))
}

/// Tells whether the command line understands a command, without doing it. Files that are not there may come.
fn understands(words: &[&str]) -> std::result::Result<(), String> {
    match cli::understand(words) {
        Err(Error::Engine(error)) if error.kind() == Kind::Source => Ok(()),
        Err(error) => {
            let said = error.text().unwrap_or_default();
            let why = said.strip_suffix("; nothing was started").unwrap_or(&said);
            Err(why.to_owned())
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let words = called(text.split(' ').map(OsString::from).collect());
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn generators_are_the_command_by_another_name() {
        assert_eq!(words("/usr/lib/x/bryo-user-generator /n /e /l"), ["bryo", "quadlet", "--user", "/n", "/e", "/l"]);
        assert_eq!(words("bryo-system-generator -dryrun"), ["bryo", "quadlet", "--system", "--dryrun"]);
        assert_eq!(words("bryo quadlet -user -v --dryrun"), ["bryo", "quadlet", "--user", "-v", "--dryrun"]);
        assert_eq!(words("bryo run -it x"), ["bryo", "run", "-it", "x"]);
    }

    #[test]
    fn the_command_line_says_what_it_does_not_understand() {
        assert_eq!(understands(&["run", "--memory", "1g", "host:"]), Ok(()));
        assert_eq!(understands(&["run", "-v", "/no/such/path:/x", "host:"]), Ok(()));
        let why = |words: &[&str]| understands(words).unwrap_err();
        assert!(why(&["run", "--device", "/dev/x", "host:"]).starts_with("--device /dev/x: "));
        assert!(!why(&["run", "--device", "/dev/x", "host:"]).contains("nothing was started"));
        assert!(why(&["run", "--no-such", "x", "host:"]).contains("--no-such"));
        assert!(why(&["run", "-v", "/:relative", "host:"]).contains("absolute path"));
        assert!(why(&["network", "create", "--subnet", "x", "name"]).contains("subnet"));
    }
}
