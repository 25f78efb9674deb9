// SPDX-License-Identifier: Apache-2.0
//! `bryo top`: the processes of a container.

use std::process::ExitCode;
use std::time::Duration;

use bryo_engine::processes::{Process, machine_memory};
use clap::Args;
use jiff::Timestamp;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Flags of `bryo top`.
#[derive(Debug, Args)]
pub struct Top {
    /// Name, id, or beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Options of ps: -ef, aux, or -o and columns: pid, ppid, ipid, user, uid, huid, group, gid, hgid, c, pcpu, pmem, vsz,
    /// rss, nlwp, ni, stat, tty, stime, lstart, etime, time, comm, args
    #[arg(value_name = "PS OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// A column: its names, its title, and what it shows.
type Column = (&'static [&'static str], &'static str, fn(&Process) -> String);

/// The columns, with the names that `ps` and Podman have for them. Users and groups are those inside, numbers of processes
/// those of the host.
const COLUMNS: [Column; 25] = [
    (&["uidname"], "UID", |p| p.user.clone()),
    (&["user", "euser", "uname"], "USER", |p| p.user.clone()),
    (&["uid", "euid"], "UID", |p| number(p.uid)),
    (&["huid", "huser"], "HUID", |p| p.host_uid.to_string()),
    (&["group", "egroup"], "GROUP", |p| p.group.clone()),
    (&["gid", "egid"], "GID", |p| number(p.gid)),
    (&["hgid", "hgroup"], "HGID", |p| p.host_gid.to_string()),
    (&["pid", "hpid"], "PID", |p| p.pid.to_string()),
    (&["ppid"], "PPID", |p| p.parent.to_string()),
    (&["ipid", "nspid"], "IPID", |p| p.inside.to_string()),
    (&["c"], "C", |p| format!("{:.0}", share(p).floor())),
    (&["pcpu", "%cpu"], "%CPU", |p| format!("{:.1}", share(p))),
    (&["pmem", "%mem"], "%MEM", |p| format!("{:.1}", memory_share(p))),
    (&["vsz", "vsize"], "VSZ", |p| (p.virtual_bytes / 1024).to_string()),
    (&["rss", "rssize"], "RSS", |p| (p.resident_bytes / 1024).to_string()),
    (&["nlwp", "thcount"], "NLWP", |p| p.threads.to_string()),
    (&["ni", "nice"], "NI", |p| p.nice.to_string()),
    (&["stat", "state", "s"], "STAT", |p| p.state.to_string()),
    (&["tty", "tt", "tname"], "TTY", |p| p.terminal.map_or_else(|| "?".to_owned(), |n| format!("pts/{n}"))),
    (&["stime", "start"], "STIME", |p| started(p.started)),
    (&["lstart"], "STARTED", |p| shown(p.started, "%a %b %e %H:%M:%S %Y")),
    (&["etime"], "ELAPSED", |p| elapsed(p.age)),
    (&["time", "cputime"], "TIME", |p| clock(p.cpu)),
    (&["comm", "ucmd"], "COMMAND", |p| p.name.clone()),
    (&["args", "cmd", "command"], "CMD", Process::command),
];

/// What `ps -ef` shows, and Docker.
const FULL: [&str; 8] = ["uidname", "pid", "ppid", "c", "stime", "tty", "time", "args"];

/// What `ps aux` shows.
const USERS: [&str; 11] = ["user", "pid", "pcpu", "pmem", "vsz", "rss", "tty", "stat", "stime", "time", "args"];

impl Verb for Top {
    const NAME: &'static str = "top";
    const ABOUT: &'static str = "Show the processes of a container";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let columns = chosen(&self.options)?;
        let engine = context.engine()?;
        let record = engine.containers().find(&self.container)?;
        let processes = engine.processes(&record)?;
        let titles: Vec<&str> = columns.iter().map(|(_, title, _)| *title).collect();
        let rows = processes.iter().map(|p| columns.iter().map(|(_, _, show)| show(p)).collect());
        output::print(&output::table(&titles, rows))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Finds the columns that options of `ps` ask for.
fn chosen(options: &[String]) -> Result<Vec<Column>> {
    let mut names: Vec<String> = Vec::new();
    let mut users = false;
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let plain = option.trim_start_matches('-');
        // Which processes are shown is said already; what is left are columns.
        if plain.strip_suffix('o').is_some_and(|before| before.chars().all(|c| "eAax".contains(c))) {
            let list = rest.next().ok_or_else(|| Error::message(format!("ps option {option}: which columns?")))?;
            names.extend(list.split([',', ' ']).map(str::to_owned));
        } else if let Some(list) = plain.strip_prefix('o').filter(|_| option.starts_with("-o")) {
            names.extend(list.split([',', ' ']).map(str::to_owned));
        } else if option.split(',').all(|name| column(name).is_some()) {
            names.extend(option.split(',').map(str::to_owned));
        } else if plain.chars().all(|c| "eAaxuwfF".contains(c)) {
            users |= plain.contains('u');
        } else {
            let why = format!("ps option {option:?} is not known");
            return Err(Error::message(why).hint("bryo top --help, for the columns there are"));
        }
    }
    if names.is_empty() {
        let default: &[&str] = if users { &USERS } else { &FULL };
        names.extend(default.iter().map(|name| (*name).to_owned()));
    }
    let found = names.iter().filter(|name| !name.is_empty()).map(|name| {
        let unknown = || Error::message(format!("ps column {name:?} is not known")).hint("bryo top --help");
        column(name).ok_or_else(unknown)
    });
    found.collect()
}

fn column(name: &str) -> Option<Column> {
    let name = name.to_lowercase();
    COLUMNS.iter().find(|(names, _, _)| names.contains(&name.as_str())).copied()
}

fn number(id: Option<u32>) -> String {
    id.map_or_else(|| "?".to_owned(), |id| id.to_string())
}

/// Returns how much of one processor it has had while it lived, in percent.
fn share(process: &Process) -> f64 {
    let age = process.age.as_secs_f64();
    if age > 0.0 { process.cpu.as_secs_f64() * 100.0 / age } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn memory_share(process: &Process) -> f64 {
    machine_memory().map_or(0.0, |total| process.resident_bytes as f64 * 100.0 / total as f64)
}

/// Writes when a process was started: the time, or the day when that is not today.
fn started(at: i64) -> String {
    let age = Timestamp::now().as_second().saturating_sub(at);
    shown(at, if age < 24 * 3600 { "%H:%M" } else { "%b%d" })
}

fn shown(at: i64, format: &str) -> String {
    Timestamp::from_second(at).map_or_else(|_| "?".to_owned(), |time| time.strftime(format).to_string())
}

/// Writes a span as `[DD-]HH:MM:SS`.
fn clock(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let days = if days > 0 { format!("{days}-") } else { String::new() };
    format!("{days}{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60)
}

/// Writes a span as `[[DD-]HH:]MM:SS`.
fn elapsed(span: Duration) -> String {
    let text = clock(span);
    text.strip_prefix("00:").map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_ps_choose_columns() {
        let titles = |options: &[&str]| -> Vec<&str> {
            let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
            chosen(&options).unwrap().iter().map(|(_, title, _)| *title).collect()
        };
        let full = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
        for options in [&[][..], &["-ef"], &["-e", "-f"], &["ax"]] {
            assert_eq!(titles(options), full, "{options:?}");
        }
        assert_eq!(titles(&["aux"])[..4], ["USER", "PID", "%CPU", "%MEM"]);
        for options in [&["-o", "pid,args"][..], &["-eo", "pid,args"], &["-opid,args"], &["pid", "args"], &["pid,args"]]
        {
            assert_eq!(titles(options), ["PID", "CMD"], "{options:?}");
        }
        for bad in [&["-o"][..], &["-o", "nosuch"], &["--forest"], &["-p"]] {
            let bad: Vec<String> = bad.iter().map(|o| (*o).to_owned()).collect();
            assert!(chosen(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spans_are_as_ps_writes_them() {
        assert_eq!(clock(Duration::from_secs(90_061)), "1-01:01:01");
        assert_eq!(
            (elapsed(Duration::from_secs(61)), elapsed(Duration::from_secs(3661))),
            ("01:01".into(), "01:01:01".into())
        );
    }
}
