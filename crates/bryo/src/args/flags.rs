// SPDX-License-Identifier: Apache-2.0
//! The flags that have an effect, by what they are about. Their documentation is the text of `bryo run --help`.

use std::path::PathBuf;

use bryo_engine::error::{Error, Kind, Result};
use bryo_engine::learned::Profile;
use bryo_engine::options::{self, HealthOptions, Limits, Mount, Networking, Restart, RunOptions, SdNotify, Seccomp};
use clap::Args;

use super::refused::Refused;
use super::{Environment, values};

/// Everything on the command line of `bryo run`.
#[derive(Debug, Clone, Args)]
pub(super) struct Flags {
    /// The image, and the command with its arguments in place of the image's own
    #[arg(value_name = "IMAGE", required = true, num_args = 1.., trailing_var_arg = true)]
    pub(super) image_and_command: Vec<String>,
    #[command(flatten)]
    pub(super) general: General,
    #[command(flatten)]
    pub(super) identity: Identity,
    #[command(flatten)]
    pub(super) process: Process,
    #[command(flatten)]
    pub(super) files: Files,
    #[command(flatten)]
    pub(super) confinement: Confinement,
    #[command(flatten)]
    pub(super) limits: LimitFlags,
    #[command(flatten)]
    pub(super) network: NetworkFlags,
    #[command(flatten)]
    pub(super) health: HealthFlags,
    #[command(flatten)]
    pub(super) labels: Labels,
    #[command(flatten)]
    pub(super) refused: Refused,
}

/// The container as a whole.
#[derive(Debug, Clone, Args)]
pub(super) struct General {
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Run in the background, and print the container's id
    #[arg(long, short)]
    pub(super) detach: bool,
    /// Keys that let go of a container that one is attached to
    #[arg(long, value_name = "KEYS")]
    pub(super) detach_keys: Option<String>,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// When to start it again after it has ended: no, on-failure[:MAX], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// What becomes of its output: local, which "bryo logs" reads, or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Size and number of the log's files: max-size=20m, max-file=5
    #[arg(long, value_name = "OPTION")]
    log_opt: Vec<String>,
    /// When to pull the image: always, missing or never
    #[arg(long, value_name = "WHEN")]
    pull: Option<String>,
    /// Platform of the image: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Show no progress of a pull
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Remove another container that has the name, whether it runs or not
    #[arg(long)]
    pub(super) replace: bool,
    /// Who tells systemd that a service is ready: conmon (bryo, when the program runs), healthy (bryo, when a health check
    /// has succeeded), container (the program itself) or ignore
    #[arg(long, value_name = "MODE")]
    sdnotify: Option<String>,
    /// Show what each rule of the policy says, and why, and start nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) explain: bool,
    /// Show what would be started, and start nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// How its health is checked.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Health")]
pub(super) struct HealthFlags {
    /// Line for the container's shell that says whether it is healthy, in place of the image's check
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between checks (default 30s)
    #[arg(long, value_name = "DURATION")]
    health_interval: Option<String>,
    /// Time after which a check has failed (default 30s)
    #[arg(long, value_name = "DURATION")]
    health_timeout: Option<String>,
    /// Time after a start in which failures do not count (default 0s)
    #[arg(long, value_name = "DURATION")]
    health_start_period: Option<String>,
    /// Time between checks in this period (default 5s)
    #[arg(long, value_name = "DURATION")]
    health_start_interval: Option<String>,
    /// Failures in a row that make it unhealthy (default 3)
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// Check nothing, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthFlags {
    pub(super) fn apply(self, options: &mut RunOptions) -> Result<()> {
        let time = |text: Option<String>| given(text).as_deref().map(options::duration).transpose();
        options.health = HealthOptions {
            disabled: self.no_healthcheck,
            command: given(self.health_cmd),
            interval: time(self.health_interval)?,
            timeout: time(self.health_timeout)?,
            start_period: time(self.health_start_period)?,
            start_interval: time(self.health_start_interval)?,
            retries: self.health_retries,
        };
        Ok(())
    }
}

impl General {
    pub(super) fn apply(self, env: &Environment<'_>, options: &mut RunOptions) -> Result<()> {
        options.name = given(self.name);
        options.remove = self.rm;
        options.restart = self.restart.as_deref().map_or(Ok(Restart::No), Restart::parse)?;
        if let Some(driver) = &self.log_driver {
            options.log.set_driver(driver)?;
        }
        for option in &self.log_opt {
            options.log.set_option(option)?;
        }
        options.pull = given(self.pull).as_deref().map(values::pull).transpose()?;
        options.platform = given(self.platform).map(values::platform).transpose()?;
        options.cidfile = self.cidfile.map(|file| env.here.join(file));
        if self.replace && options.name.is_none() {
            let why = "--replace removes the container that has the name: give one with --name";
            return Err(Error::new(Kind::InvalidOption, why));
        }
        options.sdnotify = self.sdnotify.as_deref().map_or(Ok(SdNotify::default()), SdNotify::parse)?;
        Ok(())
    }
}

/// Who runs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Identity")]
pub(super) struct Identity {
    /// User inside: NAME|UID[:GROUP|GID]; "root" is root inside, and still nobody on the host
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// Further group of the user, by name or id
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// "keep-id" makes the user inside the caller on the host; "auto" is the default: nobody inside is the caller
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
}

impl Identity {
    pub(super) fn apply(self, options: &mut RunOptions) -> Result<()> {
        options.user = given(self.user);
        options.groups = self.group_add;
        options.keep_id = given(self.userns).as_deref().map_or(Ok(false), values::keep_id)?;
        Ok(())
    }
}

/// What runs, and how it is connected to the caller.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Process")]
pub(super) struct Process {
    /// Pass standard input on
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(long, short)]
    tty: bool,
    /// Program that gets the command as its arguments; "" takes the image's own away
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Working directory
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<String>,
    /// Variable of the environment; NAME alone takes the caller's value
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// File of NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Variable to take out of the image's environment
    #[arg(long, value_name = "NAME")]
    unsetenv: Vec<String>,
    /// Run a small init that reaps orphans above the command
    #[arg(long)]
    init: bool,
    /// Limit of the process: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Pass signals on to the command (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        hide_possible_values = true)]
    sig_proxy: Option<bool>,
    /// Signal that asks it to end, in place of the image's
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds that it has to end before it is killed (default 10)
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<String>,
}

impl Process {
    pub(super) fn apply(self, env: &Environment<'_>, options: &mut RunOptions) -> Result<()> {
        options.interactive = self.interactive;
        options.tty = self.tty;
        options.entrypoint = self.entrypoint.map(|e| if e.is_empty() { Vec::new() } else { vec![e] });
        options.workdir = given(self.workdir).map(values::workdir).transpose()?;
        options.unset_env = self.unsetenv;
        for file in self.env_file {
            let text = env.read_text("the environment file", &file)?;
            options.env.extend(options::env_file(&text, env.variable)?);
        }
        for variable in self.env {
            values::variable(variable, env, options)?;
        }
        for limit in &self.ulimit {
            let limit = options::ulimit(limit)?;
            options.ulimits.retain(|earlier| earlier.typ() != limit.typ());
            options.ulimits.push(limit);
        }
        options.init = self.init;
        options.stop_signal = given(self.stop_signal).as_deref().map(options::stop_signal).transpose()?;
        options.stop_timeout = given(self.stop_timeout).map(values::seconds).transpose()?;
        options.no_signal_proxy = self.sig_proxy == Some(false);
        Ok(())
    }
}

/// What it sees of the disk.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Files")]
pub(super) struct Files {
    /// Share a path of the host or a named volume: SOURCE:TARGET[:ro,me]; "me" makes the user inside the caller
    #[arg(long, short, value_name = "VOLUME")]
    volume: Vec<String>,
    /// The same in words: type=bind|volume|tmpfs,source=...,target=...[,readonly][,me]
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,
    /// Directory in memory: TARGET[:size=64m,mode=1777,exec]
    #[arg(long, value_name = "TARGET")]
    tmpfs: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Make the whole root writable, not only the state directories
    #[arg(long)]
    writable: bool,
    /// Refuse every write but to volumes and memory, and prove it at the end: the root is still the image's, to the byte
    #[arg(long)]
    immutable: bool,
    /// Let programs be executed in every state directory, not only in those where the image has some
    #[arg(long)]
    exec_state: bool,
    /// Make the state directories read-only as well; --read-only=false is --writable
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        hide_possible_values = true)]
    read_only: Option<bool>,
}

impl Files {
    pub(super) fn apply(self, env: &Environment<'_>, options: &mut RunOptions) -> Result<()> {
        for text in &self.volume {
            options.mounts.push(Mount::parse_volume(text, env.here)?);
        }
        for text in &self.mount {
            options.mounts.push(Mount::parse_mount(text, env.here)?);
        }
        for text in &self.tmpfs {
            options.mounts.push(Mount::parse_tmpfs(text)?);
        }
        let shm_size = given(self.shm_size).as_deref().map(options::size).transpose()?;
        options.shm_size = shm_size.filter(|size| *size > 0);
        if self.writable && self.read_only == Some(true) {
            let why = "--writable and --read-only contradict each other; leave one of them out";
            return Err(Error::new(Kind::InvalidOption, why));
        }
        if self.immutable && (self.writable || self.read_only == Some(false)) {
            let why = "--immutable and --writable contradict each other; leave one of them out";
            return Err(Error::new(Kind::InvalidOption, why));
        }
        options.writable = self.writable || self.read_only == Some(false);
        options.immutable = self.immutable;
        options.strict_read_only = self.read_only == Some(true) || self.immutable;
        options.exec_state = self.exec_state;
        Ok(())
    }
}

/// What it is allowed to do.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Confinement")]
pub(super) struct Confinement {
    /// Capability to add, or ALL; it counts inside the container's own user namespace
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Capability to take away, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// seccomp=unconfined|FILE, landlock=off|require, no-new-privileges=false, systempaths=unconfined,
    /// mask=PATH, unmask=PATH|ALL
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Take everything away that a profile of bryo learn does not name
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    profile: Option<PathBuf>,
    /// Enforce nothing of --profile, and say afterwards what it would have refused
    #[arg(long, requires = "profile")]
    pub(super) would_break: bool,
    /// Give the user inside all that can be given: every capability of the container's own user namespace, no system
    /// call filter, nothing masked, no Landlock, a writable root. Still nobody on the host, and no devices of it
    #[arg(long)]
    privileged: bool,
    /// Kernel parameter of the container's own network and IPC namespaces: NAME=VALUE
    #[arg(long, value_name = "PARAMETER")]
    sysctl: Vec<String>,
}

impl Confinement {
    /// Single options come after `--privileged`, so that each can take back its part; the same goes for `--read-only`.
    pub(super) fn apply(self, env: &Environment<'_>, options: &mut RunOptions) -> Result<()> {
        if self.privileged {
            options.cap_add_all = true;
            options.security.seccomp = Seccomp::Unconfined;
            options.security.landlock = Some(false);
            options.security.unmask_all = true;
            options.writable = !options.strict_read_only;
        }
        for name in &self.cap_add {
            match name.to_ascii_lowercase().as_str() {
                "all" => options.cap_add_all = true,
                _ => options.cap_add.push(options::capability(name)?),
            }
        }
        for name in &self.cap_drop {
            match name.to_ascii_lowercase().as_str() {
                "all" => options.cap_drop_all = true,
                _ => options.cap_drop.push(options::capability(name)?),
            }
        }
        for text in &self.security_opt {
            options::security_option(text, &mut options.security, |file| {
                env.read("the seccomp profile", file.as_ref())
            })?;
        }
        if let Some(file) = &self.profile {
            options.profile = Some(Profile::parse(&env.read("the profile", file)?)?);
            Profile::check(options)?;
        }
        for text in &self.sysctl {
            let (name, value) = options::sysctl(text)?;
            options.sysctls.insert(name, value);
        }
        Ok(())
    }
}

/// What it uses.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitFlags {
    /// Memory: a number of bytes, with k, m or g
    #[arg(long, short, value_name = "SIZE")]
    memory: Option<String>,
    /// Memory and swap together, -1 for as much swap as there is (default twice the memory)
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Memory that is taken from it last
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Processors' worth of time, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Share of processor time when others want some too; 1024 is everybody's
    #[arg(long, short = 'c', value_name = "SHARES")]
    cpu_shares: Option<String>,
    /// Length of a period in microseconds (default 100000)
    #[arg(long, value_name = "TIME")]
    cpu_period: Option<String>,
    /// Processor time in each period, in microseconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    /// Processors it may use, such as 0-2,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes it may use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Processes and threads, -1 for no limit (default 2048)
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<String>,
    /// Share of disk traffic when others want some too, from 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<String>,
    /// "enabled" gives it a control group also without a limit, "disabled" only with one
    #[arg(long, value_name = "MODE")]
    cgroups: Option<String>,
}

impl LimitFlags {
    pub(super) fn apply(self, options: &mut RunOptions) -> Result<()> {
        let values = [
            self.memory,
            self.memory_swap,
            self.memory_reservation,
            self.cpus,
            self.cpu_shares,
            self.cpu_period,
            self.cpu_quota,
            self.cpuset_cpus,
            self.cpuset_mems,
            self.pids_limit,
            self.blkio_weight,
            self.cgroups,
        ];
        for (flag, value) in Limits::FLAGS.iter().zip(values) {
            options.limits.set(flag, &value.unwrap_or_default())?;
        }
        options.limits.check()
    }
}

/// What it reaches.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkFlags {
    /// private: outwards, and inwards what is published; none: loopback only; host: the host's own; container:NAME: that
    /// one's; or networks of bryo network create: NAME[,ALIAS...]
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Vec<String>,
    /// Name by which others find it in its network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// Address in its network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Publish a port, or a range: [[ADDRESS:]HOST:]PORT[/udp]; without HOST at a free port
    #[arg(long, short, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish every port that the image exposes, each at a free port
    #[arg(long, short = 'P')]
    publish_all: bool,
    /// Port that the command serves, for --publish-all and lists: PORT[/udp]
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,
    /// Host name
    #[arg(long, short = 'h', value_name = "NAME")]
    hostname: Option<String>,
    /// Line of /etc/hosts: NAME:ADDRESS
    #[arg(long, value_name = "HOST")]
    add_host: Vec<String>,
    /// Name server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Search domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of the resolver
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
}

impl NetworkFlags {
    pub(super) fn apply(self, options: &mut RunOptions) -> Result<()> {
        Networking { networks: self.network, aliases: self.network_alias, address: self.ip }.apply(options)?;
        for text in &self.publish {
            options.publish.extend(options::publish(text)?);
        }
        options.publish_all = self.publish_all;
        for text in &self.expose {
            options.expose.extend(options::expose(text)?);
        }
        options.hostname = given(self.hostname).map(values::hostname).transpose()?;
        for text in &self.add_host {
            options.hosts.push(values::host_line(text)?);
        }
        options.dns.servers = self.dns.into_iter().map(values::name_server).collect::<Result<_>>()?;
        options.dns.search =
            self.dns_search.into_iter().map(|d| values::resolver_word("search domain", d)).collect::<Result<_>>()?;
        options.dns.options =
            self.dns_option.into_iter().map(|o| values::resolver_word("resolver option", o)).collect::<Result<_>>()?;
        Ok(())
    }
}

/// What is written down about it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Labels")]
pub(super) struct Labels {
    /// Label: NAME[=VALUE]
    #[arg(long, short, value_name = "LABEL")]
    label: Vec<String>,
    /// File of labels, one a line
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Annotation of the runtime spec: NAME=VALUE
    #[arg(long, value_name = "ANNOTATION")]
    annotation: Vec<String>,
}

impl Labels {
    pub(super) fn apply(self, env: &Environment<'_>, options: &mut RunOptions) -> Result<()> {
        for file in &self.label_file {
            let text = env.read_text("the label file", file)?;
            let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
            for line in lines {
                options.labels.extend([options::key_value("label", line)?]);
            }
        }
        for text in &self.label {
            options.labels.extend([options::key_value("label", text)?]);
        }
        for text in &self.annotation {
            options.annotations.extend([options::key_value("annotation", text)?]);
        }
        Ok(())
    }
}

/// An empty value asks for the default, as scripts with an unset variable do.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
