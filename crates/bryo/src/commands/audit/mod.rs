// SPDX-License-Identifier: Apache-2.0
//! `bryo audit`.

mod flaws;
mod show;
mod stores;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;

use bryo_audit::report::{self, Counts, audit_page};
use bryo_audit::{Auditor, Level, Outcome, Setting, Severity, settle, suppress};

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result, USAGE};
use crate::{output, pages};

/// The longest file of acceptances, in bytes.
const ALLOWS_MAX: u64 = 1 << 20;

/// Say what is wrong with images, containers, Dockerfiles, Compose files and Kubernetes manifests
///
/// A target is a file or directory, - for standard input, a container or image of bryo, an image by a transport
/// (docker://, oci:, oci-archive:, docker-archive:, dir:), docker: or podman: for the running containers of these engines
/// (docker:NAME for one), docker-daemon:IMAGE or containers-storage:IMAGE for their images. A directory with config.json
/// and rootfs is an OCI bundle. Nothing of a target is executed.
///
/// Ends with 0 if nothing is as bad as --fail-on says, with 1 if something is, and with 125 if a target could not be read.
#[derive(Debug, clap::Args)]
pub struct Audit {
    /// Audit the running containers of bryo, Docker and Podman
    #[arg(short, long)]
    all: bool,
    /// Read what is accepted from FILE: [[allow]] with rule, target, reason, until
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    allow: Option<PathBuf>,
    /// The address of Docker's or Podman's socket
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath, value_parser = socket)]
    socket: Option<PathBuf>,
    /// End with 1 from this severity on
    #[arg(long, value_name = "SEVERITY", default_value = "high")]
    fail_on: Severity,
    /// How to print what was found
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Write a page of HTML to FILE too, which needs nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// The version of Kubernetes whose policy counts
    #[arg(long, value_name = "VERSION", default_value = "1.37", value_parser = version)]
    kubernetes: u32,
    /// Nothing but the Pod Security Standards: baseline or restricted; any finding ends with 1
    #[arg(long, value_name = "LEVEL")]
    level: Option<Level>,
    /// Print the rules and end: as a table, json or markdown
    #[arg(long)]
    rules: bool,
    /// The stage of Dockerfiles that is built
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Images must come from this registry; may be given several times
    #[arg(long, value_name = "REGISTRY")]
    trust: Vec<String>,
    /// What to audit
    #[arg(value_name = "TARGET", required_unless_present_any = ["all", "rules"])]
    targets: Vec<String>,
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// Everything
    Json,
    /// For code hosts
    Sarif,
    /// For CI servers
    Junit,
    /// The table of rules for a page (--rules)
    #[value(hide = true)]
    Markdown,
}

/// Reads the address of a socket: a path, also in the form of `DOCKER_HOST`.
fn socket(text: &str) -> std::result::Result<PathBuf, String> {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.contains("://") {
        return Err(format!("{text:?} is no socket here: a path, or unix:// and a path"));
    }
    Ok(PathBuf::from(path))
}

/// Reads `1.37`.
fn version(text: &str) -> std::result::Result<u32, String> {
    let minor = text.trim_start_matches('v').strip_prefix("1.").and_then(|minor| minor.parse().ok());
    minor.ok_or_else(|| format!("{text:?} is no version such as 1.37"))
}

impl Verb for Audit {
    const NAME: &'static str = "audit";
    const ABOUT: &'static str = "Say what is wrong with images, containers and the files that describe them";
    const FAILURE: u8 = USAGE;

    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.rules {
            output::print(&show::rules(self.format)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let users = targets::Users::new(context);
        let user_of = |image: &str| users.of(image);
        let accounts_of = |image: &str| users.accounts_of(image);
        let auditor = Auditor {
            setting: Setting { kubernetes: self.kubernetes, registries: self.trust.clone(), ..Setting::default() },
            level: self.level,
            stage: self.stage.clone(),
            allows: self.allows()?,
            user_of: &user_of,
            accounts_of: &accounts_of,
            ..Auditor::default()
        };
        let targets = targets::Targets { context, socket: self.socket.clone(), auditor };
        let mut outcomes: Vec<Outcome> = self.targets.iter().flat_map(|target| targets.audit(target)).collect();
        if self.all {
            outcomes.extend(targets.running());
        }
        settle(&mut outcomes);
        pages::write(self.html.as_deref(), || audit_page::page(&outcomes))?;
        output::print(&self.report(&outcomes)?)?;
        Ok(self.code(&outcomes))
    }
}

impl Audit {
    fn allows(&self) -> Result<Vec<suppress::Allow>> {
        let Some(file) = &self.allow else { return Ok(Vec::new()) };
        let name = file.display();
        let meta = std::fs::metadata(file).map_err(|error| Error::io(format!("read {name}"), &error))?;
        if meta.len() > ALLOWS_MAX {
            return Err(Error::message(format!("read {name}: the file is too long")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| Error::io(format!("read {name}"), &error))?;
        suppress::parse(&text).map_err(|why| {
            let hint = "[[allow]] with rule = \"BRYO-001\", reason = \"...\" and perhaps target, subject and until";
            Error::message(format!("read {name}: {why}")).hint(hint)
        })
    }

    fn report(&self, outcomes: &[Outcome]) -> Result<String> {
        let written =
            |text: serde_json::Result<String>| text.map_err(|e| Error::message(format!("write the report: {e}")));
        match self.format {
            Format::Table | Format::Markdown => Ok(show::table(outcomes)),
            Format::Json => written(report::json(outcomes)),
            Format::Sarif => written(report::sarif(outcomes)),
            Format::Junit => {
                Ok(report::junit(outcomes, if self.level.is_some() { Severity::Info } else { self.fail_on }))
            }
        }
    }

    fn code(&self, outcomes: &[Outcome]) -> ExitCode {
        if Counts::of(outcomes).problems > 0 {
            return ExitCode::from(USAGE);
        }
        let worst = outcomes.iter().filter_map(Outcome::worst).max();
        let failed = worst.is_some_and(|worst| self.level.is_some() || worst >= self.fail_on);
        if failed { ExitCode::from(1) } else { ExitCode::SUCCESS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_named_by_path_or_address() {
        for text in ["/run/docker.sock", "unix:///run/docker.sock"] {
            assert_eq!(socket(text), Ok(PathBuf::from("/run/docker.sock")));
        }
        assert!(socket("tcp://127.0.0.1:2375").is_err());
    }
}
