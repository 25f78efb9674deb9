// SPDX-License-Identifier: Apache-2.0
//! From the spec's words to what the child executes, before there is a child.
//!
//! Everything that can be refused is refused here, in the caller's process, where nothing has happened yet. A request
//! that the launcher does not carry out is an error, never passed over.

use std::ffi::CString;
use std::path::{Component, Path, PathBuf};

use bryo_sys::clone::Namespaces;
use bryo_sys::exec::StringArray;
use bryo_sys::mount::Attr;
use oci_spec::runtime::{Linux, LinuxNamespaceType, Mount, PosixRlimit, PosixRlimitType, Process, Spec};
use rustix::process::{Resource, Rlimit};

use crate::caps::CapSets;
use crate::child::landlock;
use crate::error::{Error, Kind, Result};
use crate::plan::{Landlock, TcpPorts};
use crate::seccomp::{self, Program};

/// Everything the child needs.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub namespaces: Namespaces,
    pub hostname: Option<String>,
    pub sysctls: Vec<(PathBuf, String)>,
    pub mounts: Vec<MountOp>,
    pub masked: Vec<PathBuf>,
    pub read_only: Vec<PathBuf>,
    pub root_read_only: bool,
    pub process: PreparedProcess,
}

/// The process to be.
#[derive(Debug)]
pub(crate) struct PreparedProcess {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub caps: CapSets,
    pub rlimits: Vec<(Resource, Rlimit)>,
    pub no_new_privileges: bool,
    pub seccomp: Option<Program>,
    pub umask: u32,
    pub args: StringArray,
    pub env: StringArray,
    pub cwd: PathBuf,
    pub terminal: bool,
    /// Rows and columns.
    pub console_size: Option<(u16, u16)>,
    pub manner: Manner,
}

/// How a process is confined and connected where the spec has no words for it.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// The container has one id, and so no groups that could be set.
    pub single_id: bool,
    /// Changes of owners and ids are answered by somebody else.
    pub emulate_ids: bool,
    /// The payload is left stopped for an observer.
    pub observed: bool,
    pub landlock: Landlock,
    pub ports: Option<TcpPorts>,
    /// The payload gets a standard input.
    pub interactive: bool,
    /// The payload has no streams, and goes on when its parent ends.
    pub detached: bool,
    /// It is born in a control group that has the limits of the spec.
    pub grouped: bool,
}

/// One mount.
#[derive(Debug)]
pub(crate) struct MountOp {
    pub target: PathBuf,
    pub what: What,
    pub attr: Attr,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum What {
    /// A new file system.
    New { kind: &'static str, options: Vec<(String, Option<String>)> },
    /// A file or directory of the host.
    Bind { source: PathBuf, recursive: bool },
}

pub(crate) fn prepare(spec: &Spec, manner: Manner) -> Result<Prepared> {
    landlock::check_ports(&manner)?;
    let process = spec.process().as_ref().ok_or_else(|| invalid("the spec has no process"))?;
    let linux = spec.linux().as_ref().ok_or_else(|| invalid("the spec has no linux section"))?;
    refuse_unknown(spec, linux, process, &manner)?;
    let mounts = spec.mounts().iter().flatten().map(mount).collect::<Result<_>>()?;
    let paths = |list: &Option<Vec<String>>| list.iter().flatten().map(PathBuf::from).collect();
    Ok(Prepared {
        namespaces: namespaces(linux)?,
        hostname: spec.hostname().clone(),
        sysctls: sysctls(linux)?,
        mounts,
        masked: paths(linux.masked_paths()),
        read_only: paths(linux.readonly_paths()),
        root_read_only: spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false),
        process: prepare_process(process, linux, manner)?,
    })
}

/// Refuses what a spec may ask for and this launcher does not do.
fn refuse_unknown(spec: &Spec, linux: &Linux, process: &Process, manner: &Manner) -> Result<()> {
    let asked = [
        ("hooks", spec.hooks().is_some()),
        ("domainname", spec.domainname().is_some()),
        ("linux.resources", !manner.grouped && linux.resources().is_some()),
        ("linux.cgroupsPath", !manner.grouped && linux.cgroups_path().is_some()),
        ("linux.devices", linux.devices().as_ref().is_some_and(|d| !d.is_empty())),
        ("linux.mountLabel", linux.mount_label().is_some()),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.personality", linux.personality().is_some()),
        ("linux.timeOffsets", linux.time_offsets().as_ref().is_some_and(|t| !t.is_empty())),
        ("linux.rootfsPropagation", linux.rootfs_propagation().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        ("linux.netDevices", linux.net_devices().as_ref().is_some_and(|d| !d.is_empty())),
        ("process.oomScoreAdj", process.oom_score_adj().is_some()),
        ("process.execCPUAffinity", process.exec_cpu_affinity().is_some()),
        ("process.apparmorProfile", process.apparmor_profile().is_some()),
        ("process.selinuxLabel", process.selinux_label().is_some()),
        ("process.ioPriority", process.io_priority().is_some()),
        ("process.scheduler", process.scheduler().is_some()),
    ];
    match asked.iter().find(|(_, is)| *is) {
        Some((name, _)) => Err(invalid(format!("{name} cannot be enforced by this launcher"))),
        None => Ok(()),
    }
}

fn prepare_process(process: &Process, linux: &Linux, manner: Manner) -> Result<PreparedProcess> {
    let args: Vec<CString> = strings(process.args().iter().flatten())?;
    if args.is_empty() || args[0].is_empty() {
        return Err(invalid("no command to run"));
    }
    let user = process.user();
    let seccomp = linux.seccomp().as_ref().map(seccomp::compile).transpose();
    let seccomp = seccomp.map_err(|e| Error::new(Kind::Confinement, format!("seccomp profile: {e}")))?;
    let size = process
        .console_size()
        .as_ref()
        .and_then(|b| Some((u16::try_from(b.height()).ok()?, u16::try_from(b.width()).ok()?)));
    Ok(PreparedProcess {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        caps: CapSets::from_spec(process.capabilities().as_ref()),
        rlimits: process.rlimits().iter().flatten().map(rlimit).collect(),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        seccomp,
        umask: user.umask().unwrap_or(0o022),
        args: StringArray::new(args),
        env: StringArray::new(strings(process.env().iter().flatten())?),
        cwd: absolute(process.cwd())?,
        terminal: process.terminal().unwrap_or(false),
        console_size: size,
        manner,
    })
}

fn namespaces(linux: &Linux) -> Result<Namespaces> {
    let mut set = Namespaces::empty();
    for namespace in linux.namespaces().iter().flatten() {
        if namespace.path().is_some() {
            return Err(invalid(format!("joining a {} namespace by path", namespace.typ())));
        }
        set |= match namespace.typ() {
            LinuxNamespaceType::User => Namespaces::USER,
            LinuxNamespaceType::Mount => Namespaces::MOUNT,
            LinuxNamespaceType::Pid => Namespaces::PID,
            LinuxNamespaceType::Network => Namespaces::NET,
            LinuxNamespaceType::Ipc => Namespaces::IPC,
            LinuxNamespaceType::Uts => Namespaces::UTS,
            LinuxNamespaceType::Cgroup => Namespaces::CGROUP,
            LinuxNamespaceType::Time => return Err(invalid("a time namespace cannot be made by this launcher")),
        };
    }
    // Without its own user, mount and pid namespace a process could not be confined at all.
    let needed = Namespaces::USER | Namespaces::MOUNT | Namespaces::PID;
    if set.contains(needed) { Ok(set) } else { Err(invalid("the user, mount and pid namespaces must be new")) }
}

fn sysctls(linux: &Linux) -> Result<Vec<(PathBuf, String)>> {
    let entry = |(key, value): (&String, &String)| {
        let plain = key
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        if !plain {
            return Err(invalid(format!("sysctl {key:?} is not a name")));
        }
        Ok((Path::new("/proc/sys").join(key.replace('.', "/")), value.clone()))
    };
    linux.sysctl().iter().flatten().map(entry).collect()
}

fn mount(mount: &Mount) -> Result<MountOp> {
    let target = absolute(mount.destination())?;
    let mut attr = Attr::empty();
    let (mut bind, mut recursive) = (false, false);
    let mut options = Vec::new();
    for option in mount.options().iter().flatten() {
        match option.as_str() {
            "ro" => attr |= Attr::RDONLY,
            "nosuid" => attr |= Attr::NOSUID,
            "nodev" => attr |= Attr::NODEV,
            "noexec" => attr |= Attr::NOEXEC,
            "rw" | "suid" | "dev" | "exec" | "relatime" | "private" | "rprivate" => (),
            "bind" => bind = true,
            "rbind" => (bind, recursive) = (true, true),
            other => options.push(
                other
                    .split_once('=')
                    .map_or_else(|| (other.to_owned(), None), |(key, value)| (key.to_owned(), Some(value.to_owned()))),
            ),
        }
    }
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let what = if bind || kind == "bind" {
        if let Some((name, _)) = options.first() {
            return Err(invalid(format!("mount option {name:?} of {}", target.display())));
        }
        let source = mount.source().as_deref().ok_or_else(|| invalid("a bind mount without a source"))?;
        What::Bind { source: absolute(source)?, recursive }
    } else {
        What::New { kind: file_system(kind)?, options }
    };
    Ok(MountOp { target, what, attr })
}

/// The file systems that may be mounted in a user namespace and are of use to a container.
fn file_system(kind: &str) -> Result<&'static str> {
    let known = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2"];
    let found = known.iter().find(|k| **k == kind || (**k == "cgroup2" && kind == "cgroup"));
    found.copied().ok_or_else(|| invalid(format!("file system type {kind:?}")))
}

fn rlimit(limit: &PosixRlimit) -> (Resource, Rlimit) {
    let resource = match limit.typ() {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    };
    let value = |v: u64| (v != u64::MAX).then_some(v);
    (resource, Rlimit { current: value(limit.soft()), maximum: value(limit.hard()) })
}

/// An absolute path without `..`: what the spec writes down must be what is meant.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path.is_absolute() && path.components().all(|c| c != Component::ParentDir) {
        return Ok(path.to_owned());
    }
    Err(invalid(format!("{} is not an absolute path without \"..\"", path.display())))
}

fn strings<'a>(list: impl Iterator<Item = &'a String>) -> Result<Vec<CString>> {
    list.map(|s| CString::new(s.as_str()).map_err(|_| invalid(format!("{s:?} contains a NUL byte")))).collect()
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidPlan, message)
}
