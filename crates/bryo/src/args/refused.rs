// SPDX-License-Identifier: Apache-2.0
//! Docker's flags that this version does not carry out.
//!
//! A limit that is not enforced or a device that is not there would be found out too late, so each of these is
//! understood, and refuses to start with its reason. Values that ask for nothing (`--memory 0`, `--restart no`,
//! `--pid private`) are accepted.

use bryo_engine::error::{Error, Kind, Result};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::shape;

/// A flag that is refused.
pub(super) struct Refusal {
    pub(super) long: &'static str,
    short: Option<char>,
    takes: Takes,
    why: &'static str,
}

/// What follows the flag.
pub(super) enum Takes {
    /// Nothing: it is a switch, and `=false` asks for nothing, or `=true` does.
    Switch { harmless: bool },
    /// A value; these ones ask for nothing.
    Value { harmless: &'static [&'static str] },
}

impl Refusal {
    const fn value(long: &'static str, why: &'static str) -> Self {
        Self { long, short: None, takes: Takes::Value { harmless: &[] }, why }
    }

    const fn switch(long: &'static str, why: &'static str) -> Self {
        Self { long, short: None, takes: Takes::Switch { harmless: false }, why }
    }

    const fn but(mut self, harmless: &'static [&'static str]) -> Self {
        self.takes = Takes::Value { harmless };
        self
    }

    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    #[cfg(test)]
    pub(super) fn is_switch(&self) -> bool {
        matches!(self.takes, Takes::Switch { .. })
    }

    fn arg(&self) -> Arg {
        let mut arg = Arg::new(self.long).long(self.long).hide(true);
        if let Some(short) = self.short {
            arg = arg.short(short);
        }
        match self.takes {
            Takes::Switch { .. } => shape::switch(arg.action(ArgAction::Set)),
            Takes::Value { .. } => arg.action(ArgAction::Append),
        }
    }

    /// Returns the words to refuse, if the flag was given and asks for something.
    fn asked(&self, matches: &ArgMatches) -> Option<String> {
        match self.takes {
            Takes::Switch { harmless } => {
                let asked = matches.get_one::<bool>(self.long).is_some_and(|value| *value != harmless);
                asked.then(|| format!("--{}", self.long))
            }
            Takes::Value { harmless } => {
                let mut values = matches.get_many::<String>(self.long).into_iter().flatten();
                let asked = values.find(|value| !harmless.contains(&value.as_str()));
                asked.map(|value| format!("--{} {value}", self.long))
            }
        }
    }
}

const MEMORY: &str = "control groups of version 2 have no such limit; use --memory and --memory-swap";
const REAL_TIME: &str = "control groups of version 2 have no such limit; use --cpus";
const BLOCK: &str = "limits of single devices are not enforced by this version; use --blkio-weight for a share of all";
const OOM: &str = "the kernel's choice when memory runs out cannot be changed by this version; leave it out";
const CGROUP: &str = "the place and the content of control groups are not for the caller to choose; leave it out";
const ADDRESS: &str = "of the addresses only the IPv4 one can be chosen: --ip; leave it out";
const PEERS: &str = "containers find one another in a network: bryo network create NAME, and --network NAME for both";
const DEVICE: &str = "a device of the host cannot be handed to a user namespace by this version; leave it out";
const ATTACH: &str = "standard output and standard error are always attached; leave it out, and use -i for input";
const SHARED: &str = "namespaces are never shared with the host or another container in this version; leave it out";
const WINDOWS: &str = "it has a meaning on Windows only; leave it out";

/// All of them.
pub(super) const REFUSED: &[Refusal] = &[
    Refusal::value("attach", ATTACH).short('a'),
    Refusal::value("ip6", ADDRESS),
    Refusal::value("mac-address", ADDRESS),
    Refusal::value("link-local-ip", ADDRESS),
    Refusal::value("link", PEERS),
    Refusal::value("memory-swappiness", MEMORY).but(&["-1"]),
    Refusal::value("kernel-memory", MEMORY).but(&["0", ""]),
    Refusal::value("cpu-rt-period", REAL_TIME).but(&["0"]),
    Refusal::value("cpu-rt-runtime", REAL_TIME).but(&["0"]),
    Refusal::value("blkio-weight-device", BLOCK),
    Refusal::value("device-read-bps", BLOCK),
    Refusal::value("device-read-iops", BLOCK),
    Refusal::value("device-write-bps", BLOCK),
    Refusal::value("device-write-iops", BLOCK),
    Refusal::switch("oom-kill-disable", OOM),
    Refusal::value("oom-score-adj", OOM).but(&["0"]),
    Refusal::value("cgroup-parent", CGROUP).but(&[""]),
    Refusal::value("cgroup-conf", CGROUP),
    Refusal::value("cgroupns", SHARED).but(&["private", ""]),
    Refusal::value("ipc", SHARED).but(&["private", "none", ""]),
    Refusal::value("pid", SHARED).but(&["private", ""]),
    Refusal::value("uts", SHARED).but(&["private", ""]),
    Refusal::value("volumes-from", "volumes are named, not inherited; name them with -v NAME:PATH"),
    Refusal::value("volume-driver", "volumes are directories of the store; leave it out").but(&["local", ""]),
    Refusal::value("storage-opt", "the size of the writable layer cannot be limited; leave it out"),
    Refusal::value("device", DEVICE),
    Refusal::value("device-cgroup-rule", DEVICE),
    Refusal::value("gpus", DEVICE),
    Refusal::value("runtime", "bryo starts containers itself; leave it out"),
    Refusal::value("domainname", "a NIS domain name is not set by this version; put the domain into --hostname")
        .but(&[""]),
    Refusal::switch("use-api-socket", "there is no engine's socket to share; leave it out"),
    Refusal {
        takes: Takes::Switch { harmless: true },
        ..Refusal::switch(
            "disable-content-trust",
            "signatures are not checked by this version; name the image by digest",
        )
    },
    Refusal::value("isolation", WINDOWS).but(&["default", ""]),
    Refusal::value("io-maxbandwidth", WINDOWS).but(&["0"]),
    Refusal::value("io-maxiops", WINDOWS).but(&["0"]),
    Refusal::value("cpu-count", WINDOWS).but(&["0"]),
    Refusal::value("cpu-percent", WINDOWS).but(&["0"]),
];

/// What was asked for in vain: the flag in the words of the command line, and why.
#[derive(Debug, Clone, Default)]
pub(super) struct Refused(Option<(String, &'static str)>);

impl Refused {
    /// Refuses to go on if one of these flags was given.
    pub(super) fn check(self) -> Result<()> {
        match self.0 {
            None => Ok(()),
            Some((flag, why)) => Err(Error::new(Kind::Unsupported, format!("{flag}: {why}; nothing was started"))),
        }
    }
}

impl FromArgMatches for Refused {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self(REFUSED.iter().find_map(|refusal| Some((refusal.asked(matches)?, refusal.why)))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Refused {
    fn augment_args(command: Command) -> Command {
        command.args(REFUSED.iter().map(Refusal::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
