// SPDX-License-Identifier: Apache-2.0
//! `bryo login` and `bryo logout`: what a registry is shown, kept where Podman and Skopeo find it as well.

use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use bryo_image::reference::Reference;
use bryo_image::registry::{Credential, login};
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::{output, paths};

/// The registry that is meant where none is named, as in names of images.
const DEFAULT: &str = "docker.io";

/// The longest password that is read, in bytes.
const PASSWORD_MAX: u64 = 64 << 10;

/// Log in to a registry
#[derive(Debug, clap::Args)]
pub struct Login {
    /// Log in as this user
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// With this password, which others on the machine can see
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Print who is logged in, and do nothing else
    #[arg(long, conflicts_with_all = ["username", "password", "password_stdin"])]
    get_login: bool,
    /// Keep it in FILE
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    #[command(flatten)]
    tls: super::pull::Tls,
    /// The registry: docker.io, if none is named
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Log out of a registry
#[derive(Debug, clap::Args)]
pub struct Logout {
    /// Take it out of FILE
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Log out of all registries
    #[arg(short, long, conflicts_with = "registry")]
    all: bool,
    /// The registry: docker.io, if none is named
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

impl Verb for Login {
    const NAME: &'static str = "login";
    const ABOUT: &'static str = "Log in to a registry";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let domain = domain(self.registry.as_deref())?;
        let mut auth = paths::auth();
        auth.files.splice(..0, self.authfile.clone());
        let known = auth.find(&domain, "").map(|found| match found {
            Some(Credential::Password { user, .. }) => Some(user),
            _ => None,
        });
        if self.get_login {
            let user = known?.ok_or_else(|| Error::message(format!("not logged in to {domain}")))?;
            output::print(&format!("{}\n", output::line(&user)))?;
            return Ok(ExitCode::SUCCESS);
        }
        let credential = self.credential(known.unwrap_or_default())?;
        let options = context.registry(self.tls.insecure_host(&domain))?;
        login::check(&domain, &credential, &options)?;
        let file = paths::login(self.authfile.as_deref())?;
        login::keep(&file, &domain, &credential)?;
        let place = file.display().to_string();
        output::complain(&format!("The password is kept in {}, which only you can read.\n", output::line(&place)));
        output::print("Login Succeeded\n")?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Login {
    fn credential(&self, known: Option<String>) -> Result<Credential> {
        let user = match &self.username {
            Some(user) => user.clone(),
            None => {
                let known = known.unwrap_or_default();
                let shown = if known.is_empty() { String::new() } else { format!(" ({})", output::line(&known)) };
                let asked = ask(&format!("Username{shown}: "), true)?;
                if asked.is_empty() { known } else { asked }
            }
        };
        let password = match &self.password {
            Some(password) => {
                output::complain("Others on this machine can see a --password; --password-stdin hides it.\n");
                password.clone()
            }
            None if self.password_stdin => {
                let mut text = String::new();
                let read = std::io::stdin().lock().take(PASSWORD_MAX).read_to_string(&mut text);
                read.map_err(|e| Error::io("read the password from standard input", &e))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            None => ask("Password: ", false)?,
        };
        if user.is_empty() || user.contains(':') || password.is_empty() {
            return Err(Error::message("a login needs a name, which has no colon, and a password"));
        }
        Ok(Credential::Password { user, password })
    }
}

impl Verb for Logout {
    const NAME: &'static str = "logout";
    const ABOUT: &'static str = "Log out of a registry";

    fn run(self, _context: &Context) -> Result<ExitCode> {
        let domain = if self.all { None } else { Some(domain(self.registry.as_deref())?) };
        let of_containers = |file: &PathBuf| file.ends_with("containers/auth.json");
        let files = match &self.authfile {
            Some(file) => vec![file.clone()],
            // Docker's own file is Docker's.
            None => {
                [paths::login(None)?].into_iter().chain(paths::auth().files.into_iter().filter(of_containers)).collect()
            }
        };
        let mut found = false;
        for file in &files {
            found |= login::forget(file, domain.as_deref())?;
        }
        let Some(domain) = domain else {
            output::print("Removed login credentials for all registries\n")?;
            return Ok(ExitCode::SUCCESS);
        };
        if found {
            output::print(&format!("Removing login credentials for {domain}\n"))?;
        } else {
            output::print(&format!("Not logged in to {domain}\n"))?;
        }
        if self.authfile.is_none() && paths::auth().find(&domain, "").is_ok_and(|left| left.is_some()) {
            output::complain(&format!("Docker's own file still has a login for it: docker logout {domain}\n"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns the host of a registry: an address with a scheme or a path is somebody's habit.
fn domain(registry: Option<&str>) -> Result<String> {
    let Some(text) = registry else { return Ok(DEFAULT.to_owned()) };
    let bare = text.trim_start_matches("https://").trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or_default();
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { DEFAULT } else { host };
    match format!("{host}/x").parse::<Reference>() {
        Ok(reference) if reference.domain() == host => Ok(host.to_owned()),
        _ => Err(Error::message(format!("invalid registry {text:?}: expected HOST[:PORT]"))),
    }
}

/// Asks on the terminal.
fn ask(question: &str, echo: bool) -> Result<String> {
    let stdin = std::io::stdin();
    if !isatty(&stdin) {
        let why = "there is no terminal to ask for a name and a password";
        return Err(Error::message(why).hint("--username NAME --password-stdin"));
    }
    let failed = |e: std::io::Error| Error::io("ask on the terminal", &e);
    output::complain(question);
    let _hidden = if echo { None } else { Hidden::new() };
    let mut line = String::new();
    stdin.lock().take(PASSWORD_MAX).read_line(&mut line).map_err(failed)?;
    if !echo {
        output::complain("\n");
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed. Dropping it restores the terminal.
struct Hidden(Termios);

impl Hidden {
    fn new() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO;
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &hidden).ok()?;
        Some(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}
