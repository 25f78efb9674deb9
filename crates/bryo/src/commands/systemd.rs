// SPDX-License-Identifier: Apache-2.0
//! `bryo systemd`: what systemd needs to know of bryo, written where it looks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bryo_systemd::{Scope, restart};
use clap::Args;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::{output, paths};

/// Write the unit that starts containers after a boot; as root, make Quadlet files known to systemd as well
///
/// Every file and link is told. Nothing is started now.
#[derive(Debug, Args)]
pub struct Install {}

/// Remove what "bryo systemd install" has written
#[derive(Debug, Args)]
pub struct Uninstall {}

/// What is written, and where.
struct Plan {
    scope: Scope,
    program: PathBuf,
    unit: PathBuf,
    /// Links: where they are and where they lead.
    links: Vec<(PathBuf, PathBuf)>,
}

impl Plan {
    fn new() -> Result<Self> {
        let program = std::env::current_exe().map_err(|e| Error::io("find out where bryo is", &e))?;
        let root = rustix::process::geteuid().is_root();
        let scope = if root { Scope::System } else { Scope::User };
        let units =
            if root { PathBuf::from("/etc/systemd/system") } else { paths::config_home()?.join("systemd/user") };
        let unit = units.join(restart::NAME);
        let wants = units.join(format!("{}.wants", restart::wanted_by(scope)));
        let mut links = vec![(wants.join(restart::NAME), Path::new("..").join(restart::NAME))];
        if root {
            for (kind, name) in
                [("system-generators", "bryo-system-generator"), ("user-generators", "bryo-user-generator")]
            {
                links.push((Path::new("/etc/systemd").join(kind).join(name), program.clone()));
            }
        }
        Ok(Self { scope, program, unit, links })
    }
}

impl Verb for Install {
    const NAME: &'static str = "install";
    const ABOUT: &'static str = "Start containers after a boot, and make Quadlet files known";

    fn run(self, _context: &Context) -> Result<ExitCode> {
        let plan = Plan::new()?;
        let text = restart::text(&plan.program, plan.scope);
        directory_of(&plan.unit)?;
        fs::write(&plan.unit, text).map_err(|e| Error::io(format!("write {}", plan.unit.display()), &e))?;
        output::print(&format!("written: {}\n", plan.unit.display()))?;
        for (link, to) in &plan.links {
            directory_of(link)?;
            let _ = fs::remove_file(link);
            let made = std::os::unix::fs::symlink(to, link);
            made.map_err(|e| Error::io(format!("link {}", link.display()), &e))?;
            output::print(&format!("linked:  {} -> {}\n", link.display(), to.display()))?;
        }
        match plan.scope {
            Scope::System => output::print("next:    systemctl daemon-reload, which reads Quadlet files\n")?,
            Scope::User if lingers() => (),
            Scope::User => {
                let words =
                    "next:    loginctl enable-linger, or they start at your next login and not at the next boot\n";
                output::print(words)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Verb for Uninstall {
    const NAME: &'static str = "uninstall";
    const ABOUT: &'static str = "Remove what install has written";

    fn run(self, _context: &Context) -> Result<ExitCode> {
        let plan = Plan::new()?;
        for path in plan.links.iter().map(|(link, _)| link).chain([&plan.unit]) {
            match fs::remove_file(path) {
                Ok(()) => output::print(&format!("removed: {}\n", path.display()))?,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => (),
                Err(e) => return Err(Error::io(format!("remove {}", path.display()), &e)),
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn directory_of(path: &Path) -> Result<()> {
    let Some(dir) = path.parent() else { return Ok(()) };
    fs::create_dir_all(dir).map_err(|e| Error::io(format!("make {}", dir.display()), &e))
}

/// Tells whether the caller's manager is started with the machine. Source: `loginctl(1)`, `enable-linger`.
fn lingers() -> bool {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = rustix::process::getuid().as_raw().to_string();
    let name = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid)).and_then(|line| line.split(':').next());
    name.is_some_and(|name| Path::new("/var/lib/systemd/linger").join(name).exists())
}
