// SPDX-License-Identifier: Apache-2.0
//! The process of a container: command, environment, working directory, user.

use std::path::PathBuf;

use oci_spec::runtime::{
    BoxBuilder, LinuxCapabilities, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, UserBuilder,
};

use super::capabilities::Granted;
use super::{Input, absolute, files};
use crate::error::{Error, Kind, Result};
use crate::options::Pids;

/// Where programs are found when the image does not say. Source: Docker's default.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn of(input: &Input<'_>, granted: &Granted) -> Result<Process> {
    let options = input.options;
    let facts = input.facts;
    let user = UserBuilder::default().uid(facts.uid).gid(facts.gid).additional_gids(facts.groups.clone());
    let user = user.build().map_err(|e| Error::new(Kind::InvalidOption, e.to_string()))?;
    let set = |caps: &oci_spec::runtime::Capabilities| Some(caps.clone());
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(set(&granted.set))
        .set_permitted(set(&granted.set))
        .set_effective(set(&granted.set))
        .set_inheritable(set(&granted.ambient))
        .set_ambient(set(&granted.ambient));
    let size = input.host.terminal.filter(|_| options.tty).and_then(|(rows, columns)| {
        BoxBuilder::default().height(u64::from(rows)).width(u64::from(columns)).build().ok()
    });
    let mut process = Process::default();
    process
        .set_terminal(Some(options.tty))
        .set_console_size(size)
        .set_user(user)
        .set_args(Some(command(input)?))
        .set_env(Some(environment(input)))
        .set_cwd(directory(input))
        .set_capabilities(Some(capabilities))
        .set_rlimits(Some(options.ulimits.iter().cloned().chain(processes(input)).collect()))
        .set_no_new_privileges(Some(!options.security.new_privileges));
    Ok(process)
}

/// The number of processes that each user of the container may have when nobody says: what stops a fork bomb where the
/// container has no control group of its own. Source: `getrlimit(2)`; since Linux 5.14 it is counted for each user
/// namespace by itself, and no capability in one gets over it. Before that it would be counted over all containers.
fn processes(input: &Input<'_>) -> Option<PosixRlimit> {
    let asked = input.options.limits.pids != Pids::Default;
    let own = input.options.ulimits.iter().any(|limit| limit.typ() == PosixRlimitType::RlimitNproc);
    if asked || own || input.host.kernel < (5, 14) {
        return None;
    }
    // Nobody can let others have more than he may himself.
    let most = input.pids_limit?.min(input.host.processes.unwrap_or(u64::MAX));
    PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNproc).soft(most).hard(most).build().ok()
}

/// Entrypoint and command as Docker joins them: a new entrypoint takes the image's command away.
fn command(input: &Input<'_>) -> Result<Vec<String>> {
    let config = input.image.and_then(|i| i.config().as_ref());
    let of_image = |get: fn(&oci_spec::image::Config) -> &Option<Vec<String>>| {
        config.and_then(|c| get(c).clone()).unwrap_or_default()
    };
    let options = input.options;
    let mut command = match &options.entrypoint {
        Some(entrypoint) => entrypoint.clone(),
        None => of_image(oci_spec::image::Config::entrypoint),
    };
    if !options.command.is_empty() {
        command.extend(options.command.iter().cloned());
    } else if options.entrypoint.is_none() {
        command.extend(of_image(oci_spec::image::Config::cmd));
    }
    if command.is_empty() && input.image.is_none() {
        // A bare root file system: what a person would want there.
        command.push(input.facts.shell.to_string_lossy().into_owned());
    }
    if command.first().is_none_or(String::is_empty) {
        let why = format!("{} says nothing about what to run; give a command after the image", options.image);
        return Err(Error::new(Kind::NoCommand, why));
    }
    Ok(command)
}

/// The environment: built from the image and the options, never inherited. An entry of the image without `=` is
/// dropped: it is no variable, and reading it as "the caller's value" gave the host away (CVE-2026-57231).
fn environment(input: &Input<'_>) -> Vec<String> {
    let options = input.options;
    let name = |entry: &str| entry.split_once('=').map_or(entry, |(n, _)| n).to_owned();
    let mut env: Vec<String> = Vec::new();
    let mut set = |entry: String| match env.iter_mut().find(|e| name(e) == name(&entry)) {
        Some(old) => *old = entry,
        None => env.push(entry),
    };
    set(PATH.to_owned());
    set(format!("HOSTNAME={}", files::host_name(input)));
    set(format!("HOME={}", input.facts.home.display()));
    if options.tty {
        set("TERM=xterm".to_owned());
    }
    let config = input.image.and_then(|i| i.config().as_ref());
    let of_image = config.and_then(|c| c.env().as_ref()).into_iter().flatten();
    for entry in of_image.filter(|e| e.split_once('=').is_some_and(|(n, _)| !n.is_empty())) {
        if !options.unset_env.contains(&name(entry)) {
            set(entry.clone());
        }
    }
    for entry in &options.env {
        set(entry.clone());
    }
    env
}

fn directory(input: &Input<'_>) -> PathBuf {
    let config = input.image.and_then(|i| i.config().as_ref());
    let of_image = config.and_then(|c| c.working_dir().clone()).filter(|d| !d.is_empty()).map(PathBuf::from);
    let wanted = input.options.workdir.clone().or(of_image).unwrap_or_else(|| "/".into());
    // What an image says may climb; joined on the root there is nothing above to climb to.
    let mut clean = PathBuf::from("/");
    for part in absolute(&wanted).components() {
        match part {
            std::path::Component::Normal(part) => clean.push(part),
            std::path::Component::ParentDir => {
                clean.pop();
            }
            _ => (),
        }
    }
    clean
}
