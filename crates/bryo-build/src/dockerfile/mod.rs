// SPDX-License-Identifier: Apache-2.0
//! The Dockerfile language: from text to instructions, each with its place.
//!
//! Guarantees: whatever the text is, the answer is either instructions that are understood to the last flag, or a mistake
//! with its line and column. Variables are not replaced here: what they are is known when the steps before have run.

mod check;
mod command;
mod healthcheck;
mod heredoc;
pub mod mount;
mod read;
mod shape;
pub mod substitute;
#[cfg(test)]
mod tests;
mod words;

pub use check::{Checks, Finding, check};
pub use command::Command;
pub use healthcheck::{Healthcheck, duration};
pub use heredoc::Heredoc;
pub use read::{parse, parse_foreign, parse_trigger};

/// The longest Dockerfile, in bytes.
pub const LENGTH_MAX: usize = 4 << 20;

/// A mistake in a Dockerfile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub message: String,
}

/// Where something stands. Lines and columns are counted from 1.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Place {
    /// The first line.
    pub line: usize,
    /// The column in it.
    pub column: usize,
    /// The last line.
    pub last_line: usize,
}

/// A Dockerfile.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// What escapes a character, and a line's end.
    pub escape: char,
    /// What is checked, as the directive has it.
    pub checks: Checks,
    /// The arguments before the first stage.
    pub globals: Vec<Argument>,
    /// The stages, in order; at least one.
    pub stages: Vec<Stage>,
}

/// A stage: `FROM`, and all up to the next.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What it stands on, with variables.
    pub base: String,
    /// `--platform`, with variables.
    pub platform: Option<String>,
    /// Its name, in small letters.
    pub name: Option<String>,
    /// Where `FROM` stands.
    pub place: Place,
    /// `FROM` as it was written, in one line.
    pub text: String,
    /// The instructions.
    pub steps: Vec<Step>,
}

/// An instruction and its place.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is.
    pub instruction: Instruction,
    /// Where it stands.
    pub place: Place,
    /// As it was written, in one line.
    pub text: String,
}

/// `NAME[=VALUE]`, the value with variables.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Argument {
    /// The name.
    pub name: String,
    /// The default.
    pub default: Option<String>,
}

/// What can be said in a stage. Words are with their variables and quotes.
#[derive(Clone, Debug)]
pub enum Instruction {
    /// `ARG`.
    Arg(Vec<Argument>),
    /// `ENV`.
    Env(Vec<(String, String)>),
    /// `LABEL`.
    Label(Vec<(String, String)>),
    /// `RUN`.
    Run(Run),
    /// `COPY` and `ADD`.
    Copy(Box<Copy>),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `USER`.
    User(String),
    /// `WORKDIR`.
    Workdir(String),
    /// `VOLUME`.
    Volume(Vec<String>),
    /// `EXPOSE`.
    Expose(Vec<String>),
    /// `STOPSIGNAL`.
    Stopsignal(String),
    /// `HEALTHCHECK`; nothing for `NONE`.
    Healthcheck(Option<Healthcheck>),
    /// `ONBUILD`: an instruction for whoever builds on the result.
    Onbuild(String),
    /// `MAINTAINER`.
    Maintainer(String),
}

/// `RUN`.
#[derive(Clone, Debug)]
pub struct Run {
    /// What to run.
    pub command: Command,
    /// The here-documents of the command.
    pub heredocs: Vec<Heredoc>,
    /// The values of `--mount`, with variables.
    pub mounts: Vec<String>,
    /// Whether it has a network.
    pub network: Option<RunNetwork>,
}

/// `--network`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RunNetwork {
    /// What steps have.
    Default,
    /// Nothing but loopback.
    None,
}

/// `COPY` or `ADD`.
#[derive(Clone, Debug, Default)]
pub struct Copy {
    /// `ADD`: archives are unpacked, and addresses fetched.
    pub add: bool,
    /// `--from`, with variables: a stage or an image.
    pub from: Option<String>,
    /// `--chown`, with variables.
    pub chown: Option<String>,
    /// `--chmod`, with variables.
    pub chmod: Option<String>,
    /// `--checksum`, with variables.
    pub checksum: Option<String>,
    /// `--parents`: the directories above are made as well.
    pub parents: bool,
    /// `--link`: the step does not depend on what is below it.
    pub link: bool,
    /// `--unpack`: whether archives are unpacked.
    pub unpack: Option<bool>,
    /// `--keep-git-dir`: whether a repository comes with its history.
    pub keep_git_dir: bool,
    /// `--exclude`, with variables.
    pub excludes: Vec<String>,
    /// What to copy.
    pub sources: Vec<Source>,
    /// Where to.
    pub destination: String,
}

/// What is copied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A path, pattern or address, with variables.
    Path(String),
    /// A here-document, which becomes a file.
    Heredoc(Heredoc),
}

impl Instruction {
    /// Returns the word that it begins with.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Arg(_) => "ARG",
            Self::Env(_) => "ENV",
            Self::Label(_) => "LABEL",
            Self::Run(_) => "RUN",
            Self::Copy(copy) if copy.add => "ADD",
            Self::Copy(_) => "COPY",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Shell(_) => "SHELL",
            Self::User(_) => "USER",
            Self::Workdir(_) => "WORKDIR",
            Self::Volume(_) => "VOLUME",
            Self::Expose(_) => "EXPOSE",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Onbuild(_) => "ONBUILD",
            Self::Maintainer(_) => "MAINTAINER",
        }
    }

    /// Tells whether it only changes the configuration.
    pub fn is_configuration(&self) -> bool {
        !matches!(self, Self::Run(_) | Self::Copy(_) | Self::Workdir(_))
    }
}
