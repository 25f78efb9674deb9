// SPDX-License-Identifier: Apache-2.0
//! Git repositories as contexts and as sources of `ADD`, through the program `git` of this machine.
//!
//! Guarantees: what is checked out is the commit that was named, if one was; hooks are not run, and no other program is
//! asked for anything by a repository's configuration; what a Dockerfile names is fetched without the caller's logins and
//! from no directory of this machine. Trusts: the caller's own configuration of `git`, with its credentials, for what the
//! caller names. Faces: repositories made by anyone, whose links lead anywhere: what is in them is only opened below their
//! root.

use std::path::Path;
use std::process::{Command, Stdio};

use bryo_engine::error::Error as EngineError;
use bryo_sys::root::Root;
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Kind, Result, wrong};

/// Where the program is looked for: never where an environment says.
const DIRS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// A repository, a commit of it and a directory in that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Repository {
    url: String,
    /// A branch, a tag or a commit; nothing for what the repository itself says.
    reference: Option<String>,
    directory: Option<String>,
}

/// Who asks for a repository, and so whose logins are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asker<'a> {
    /// The caller, with everything that `git` finds of the caller's.
    Caller,
    /// A Dockerfile, with an agent for `ssh` if the build was given one, and nothing else.
    Dockerfile(Option<&'a Path>),
}

/// What was checked out.
#[derive(Debug)]
pub struct Checkout {
    root: Root,
    /// The commit.
    pub commit: String,
    _place: tempfile::TempDir,
}

impl Repository {
    /// Reads `URL[#[REFERENCE][:DIRECTORY]]`. Other addresses than those of repositories are none.
    pub fn parse(text: &str) -> Option<Self> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        let known = match scheme {
            Some("git" | "ssh") => true,
            Some("https" | "http" | "file") => url.trim_end_matches('/').ends_with(".git"),
            Some(_) => false,
            None => url.starts_with("git@") && url.contains(':') || url.starts_with("github.com/"),
        };
        let url = if url.starts_with("github.com/") { format!("https://{url}") } else { url.to_owned() };
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        known.then(|| Self { url, reference: some(reference), directory: some(directory) })
    }

    /// Checks it out into a directory of its own below `place`; with its history, if that is to be kept.
    ///
    /// # Errors
    ///
    /// What `git` says.
    pub fn check_out(&self, place: &Path, keep_history: bool, asker: Asker<'_>) -> Result<Checkout> {
        self.refuse(asker)?;
        let fail = |e| Error::from(EngineError::io("cannot make a directory in", place, e));
        std::fs::create_dir_all(place).map_err(fail)?;
        // Called as other things that a build unpacks, so that what a killed one has left is found.
        let dir = tempfile::Builder::new().prefix("context-").tempdir_in(place).map_err(fail)?;
        let git = |args: &[&str]| self.git(dir.path(), args, asker);
        git(&["init", "--quiet"])?;
        let wanted = self.reference.as_deref().unwrap_or("HEAD");
        let found = match git(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", &self.url, wanted]) {
            Ok(_) => "FETCH_HEAD",
            // A server need not give away a commit that no name stands for: then all is fetched that names stand for.
            Err(_) if is_commit(wanted) => {
                git(&["fetch", "--quiet", "--tags", "--", &self.url, "+refs/heads/*:refs/remotes/origin/*"])?;
                wanted
            }
            Err(error) => return Err(error),
        };
        git(&["-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", found])?;
        let commit = git(&["rev-parse", "HEAD"])?;
        if dir.path().join(".gitmodules").is_file() {
            git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        if !keep_history {
            git(&["submodule", "--quiet", "foreach", "--recursive", "rm -f .git"])?;
            std::fs::remove_dir_all(dir.path().join(".git")).map_err(fail)?;
        }
        let root = Root::open(dir.path()).map_err(EngineError::from)?;
        Ok(Checkout { root: self.inner(root)?, commit: commit.trim().to_owned(), _place: dir })
    }

    /// Refuses what anybody on the way could change, and what would be taken for a flag.
    fn refuse(&self, asker: Asker<'_>) -> Result<()> {
        if let Asker::Dockerfile(agent) = asker {
            if self.url.starts_with("file://") {
                let why = "a Dockerfile gets nothing of this machine but the context; it can be the context itself";
                return Err(wrong(format!("{}: {why}", self.url)));
            }
            if self.is_ssh() && agent.is_none() {
                let why = "your keys are not a Dockerfile's; --ssh default gives it the use of those of your agent";
                return Err(wrong(format!("{}: {why}", self.url)));
            }
        }
        let plain = self.url.starts_with("http://") || self.url.starts_with("git://");
        if plain && !self.reference.as_deref().is_some_and(is_commit) {
            let why =
                "anybody on the way can change it; a whole commit, #COMMIT, says what it is, or https:// who gives it";
            return Err(wrong(format!("{}: {why}", self.url)));
        }
        if self.reference.as_deref().is_some_and(|name| name.starts_with('-')) {
            return Err(wrong(format!("{}: no branch begins with -", self.url)));
        }
        Ok(())
    }

    /// Opens the directory that is meant, wherever links in the repository lead.
    fn inner(&self, root: Root) -> Result<Root> {
        let Some(directory) = &self.directory else { return Ok(root) };
        let path = Path::new("/").join(directory);
        let opened = root.open_at(&path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        let opened = opened.map_err(|_| wrong(format!("{}: there is no directory {directory:?} in it", self.url)))?;
        Ok(Root::from_fd(opened))
    }

    fn is_ssh(&self) -> bool {
        self.url.starts_with("ssh://") || self.url.starts_with("git@")
    }

    fn git(&self, dir: &Path, args: &[&str], asker: Asker<'_>) -> Result<String> {
        let program = DIRS.iter().map(|dir| Path::new(dir).join("git")).find(|path| path.exists());
        let program = program.ok_or_else(|| wrong(format!("{}: git is not installed", self.url)))?;
        let mut command = Command::new(program);
        command.arg("-C").arg(dir);
        command.args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "protocol.ext.allow=never",
        ]);
        if !self.url.starts_with("file://") {
            command.args(["-c", "protocol.file.allow=never"]);
        }
        if asker != Asker::Caller {
            command.args(["-c", "credential.helper="]);
        }
        command.args(args).stdin(Stdio::null());
        // Nobody answers questions, and no other repository is meant.
        command.env("GIT_TERMINAL_PROMPT", "0");
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"] {
            command.env_remove(name);
        }
        if let Asker::Dockerfile(agent) = asker {
            without_logins(&mut command, dir, agent);
        }
        let output = command.output().map_err(|e| EngineError::io("cannot run", "git".as_ref(), e))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("git has failed and says nothing");
        Err(Error::new(Kind::Dockerfile, format!("{}: {why}", self.url)))
    }
}

impl Checkout {
    /// Returns the directory.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

/// Lets a command find nothing that is the caller's: no configuration, no passwords, no keys but those of an agent.
fn without_logins(command: &mut Command, home: &Path, agent: Option<&Path>) {
    for name in ["GIT_ASKPASS", "SSH_ASKPASS", "GIT_SSH", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT", "SSH_AUTH_SOCK"]
    {
        command.env_remove(name);
    }
    command.env_remove("XDG_CONFIG_HOME").env("HOME", home).env("GIT_CONFIG_GLOBAL", "/dev/null");
    // Which hosts are known is found by the account, not by HOME.
    command.env("GIT_SSH_COMMAND", "ssh -F /dev/null -o IdentityFile=none -o BatchMode=yes");
    if let Some(agent) = agent {
        command.env("SSH_AUTH_SOCK", agent);
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_addresses() {
        let parse = |text: &str| Repository::parse(text).map(|r| (r.url, r.reference, r.directory));
        let of = |url: &str, reference: Option<&str>, directory: Option<&str>| {
            Some((url.to_owned(), reference.map(str::to_owned), directory.map(str::to_owned)))
        };
        assert_eq!(parse("https://x/y.git"), of("https://x/y.git", None, None));
        assert_eq!(parse("https://x/y.git#main:a/b"), of("https://x/y.git", Some("main"), Some("a/b")));
        assert_eq!(parse("git@x:y#:a"), of("git@x:y", None, Some("a")));
        assert_eq!(parse("github.com/x/y"), of("https://github.com/x/y", None, None));
        for text in ["https://x/y", "y.git", "ext::sh.git", "ext://sh.git", "./git@x"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_could_be_changed_on_the_way_is_refused() {
        let refused = |text: &str| Repository::parse(text).unwrap().refuse(Asker::Caller).is_err();
        assert!(refused("http://x/y.git") && refused("git://x/y#main") && refused("https://x/y.git#--upload-pack=x"));
        assert!(!refused(&format!("git://x/y#{}", "0".repeat(40))) && !refused("https://x/y.git#main"));
    }

    #[test]
    fn a_dockerfile_names_no_repository_of_the_callers() {
        let refused = |text: &str, agent| {
            let asked = Repository::parse(text).unwrap().refuse(Asker::Dockerfile(agent));
            asked.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let agent = Some(Path::new("/agent"));
        assert!(refused("file:///home/me/x.git", agent).contains("nothing of this machine"));
        assert!(refused("git@x:y", None).contains("--ssh default") && refused("ssh://x/y", None).contains("--ssh"));
        assert_eq!(refused("git@x:y", agent) + &refused("https://x/y.git", None), "");
    }
}
