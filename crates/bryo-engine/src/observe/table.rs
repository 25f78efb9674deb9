// SPDX-License-Identifier: Apache-2.0
//! What system calls are about: which argument is a path, and what is done to it. Source: the manual page of each.

use serde::{Deserialize, Serialize};

/// What a call wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Open a file for reading, or look at it.
    Read,
    /// Open a file for writing.
    Write,
    /// Make a file, a directory, a link.
    Create,
    /// Make a device.
    Device,
    /// Remove something.
    Remove,
    /// Give something another name.
    Rename,
    /// Change a mode, a time, an attribute.
    Change,
    /// Give a file away.
    Own,
    /// Execute a program.
    Execute,
    /// Have a directory as the working directory.
    Enter,
    /// Have a directory as the root.
    Root,
    /// Mount or unmount.
    Mount,
    /// Have an address of its own.
    Bind,
    /// Wait for connections.
    Listen,
    /// Reach somebody.
    Connect,
    /// Make a socket.
    Socket,
    /// Become another user.
    User,
    /// Have other groups.
    Group,
    /// Send a signal.
    Signal,
    /// Name the machine.
    Name,
    /// Set the clock.
    Clock,
    /// Raise a limit.
    Limit,
    /// Have a higher priority.
    Priority,
    /// Look into another process.
    Inspect,
    /// Make or join namespaces.
    Namespace,
    /// Keep memory from being swapped out.
    Memory,
    /// Steer the kernel.
    Kernel,
    /// Change what it is permitted.
    Privilege,
    /// Something else.
    Other,
}

/// Where a call says which file it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// A path; relative to where the thread is.
    Path(usize),
    /// A path; relative to the directory of a descriptor.
    In(usize, usize),
    /// A descriptor.
    Fd(usize),
}

/// Where an address of a socket is: the pointer and the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address(pub usize, pub usize);

/// What is known of a call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    pub verb: Option<Verb>,
    pub file: Option<At>,
    /// The second file, of renaming and linking.
    pub to: Option<At>,
    pub address: Option<Address>,
    /// Flags of `open(2)`: the argument that they are, or that points to them.
    pub flags: Option<Flags>,
    /// Ids that are asked for.
    pub ids: [Option<usize>; 2],
}

/// Where the flags of an opening are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flags {
    /// In an argument.
    Here(usize),
    /// At the beginning of what an argument points to.
    There(usize),
    /// As `creat(2)` has them.
    Creat,
}

/// Tells what a call is about.
pub(super) fn shape(name: &str) -> Shape {
    let verb = |verb| Shape { verb: Some(verb), ..Shape::default() };
    let on = |what, file| Shape { file: Some(file), ..verb(what) };
    let two = |what, file, to| Shape { to: Some(to), ..on(what, file) };
    let open = |file, flags| Shape { flags: Some(flags), ..on(Verb::Read, file) };
    let own = |file, uid| Shape { ids: [Some(uid), Some(uid + 1)], ..on(Verb::Own, file) };
    let socket = |what, a, b| Shape { file: Some(At::Fd(0)), address: Some(Address(a, b)), ..verb(what) };
    let id = |what, n| Shape { ids: [Some(n), None], ..verb(what) };
    match name {
        "open" => open(At::Path(0), Flags::Here(1)),
        "creat" => open(At::Path(0), Flags::Creat),
        "openat" => open(At::In(0, 1), Flags::Here(2)),
        "openat2" => open(At::In(0, 1), Flags::There(2)),
        "stat" | "lstat" | "stat64" | "lstat64" | "readlink" | "statfs" | "getxattr" | "lgetxattr" | "listxattr" => {
            on(Verb::Read, At::Path(0))
        }
        "newfstatat" | "fstatat64" | "statx" | "readlinkat" => on(Verb::Read, At::In(0, 1)),
        "mkdir" => on(Verb::Create, At::Path(0)),
        "mkdirat" => on(Verb::Create, At::In(0, 1)),
        "symlink" => on(Verb::Create, At::Path(1)),
        "symlinkat" => on(Verb::Create, At::In(1, 2)),
        "link" => two(Verb::Create, At::Path(1), At::Path(0)),
        "linkat" => two(Verb::Create, At::In(2, 3), At::In(0, 1)),
        "mknod" => Shape { ids: [Some(1), None], ..on(Verb::Create, At::Path(0)) },
        "mknodat" => Shape { ids: [Some(2), None], ..on(Verb::Create, At::In(0, 1)) },
        "unlink" | "rmdir" => on(Verb::Remove, At::Path(0)),
        "unlinkat" => on(Verb::Remove, At::In(0, 1)),
        "rename" => two(Verb::Rename, At::Path(0), At::Path(1)),
        "renameat" | "renameat2" => two(Verb::Rename, At::In(0, 1), At::In(2, 3)),
        "chmod" | "truncate" | "truncate64" | "utime" | "utimes" | "setxattr" | "lsetxattr" | "removexattr"
        | "lremovexattr" => on(Verb::Change, At::Path(0)),
        "fchmodat" | "fchmodat2" | "utimensat" | "futimesat" => on(Verb::Change, At::In(0, 1)),
        "fchmod" | "fsetxattr" | "fremovexattr" => on(Verb::Change, At::Fd(0)),
        "chown" | "lchown" | "chown32" | "lchown32" => own(At::Path(0), 1),
        "fchown" | "fchown32" => own(At::Fd(0), 1),
        "fchownat" => own(At::In(0, 1), 2),
        "execve" => on(Verb::Execute, At::Path(0)),
        "execveat" => on(Verb::Execute, At::In(0, 1)),
        "chdir" => on(Verb::Enter, At::Path(0)),
        "fchdir" => on(Verb::Enter, At::Fd(0)),
        "chroot" | "pivot_root" => on(Verb::Root, At::Path(0)),
        "mount" => on(Verb::Mount, At::Path(1)),
        "umount" | "umount2" => on(Verb::Mount, At::Path(0)),
        "move_mount" | "open_tree" | "mount_setattr" | "fsopen" | "fsconfig" | "fsmount" | "fspick" => {
            verb(Verb::Mount)
        }
        "bind" => socket(Verb::Bind, 1, 2),
        "connect" => socket(Verb::Connect, 1, 2),
        "sendto" => socket(Verb::Connect, 4, 5),
        "listen" => on(Verb::Listen, At::Fd(0)),
        "socket" | "socketpair" => verb(Verb::Socket),
        "setuid" | "setuid32" | "setfsuid" => id(Verb::User, 0),
        "setreuid" | "setreuid32" | "setresuid" | "setresuid32" => id(Verb::User, 1),
        "setgid" | "setgid32" | "setfsgid" => id(Verb::Group, 0),
        "setregid" | "setregid32" | "setresgid" | "setresgid32" => id(Verb::Group, 1),
        "setgroups" | "setgroups32" => verb(Verb::Group),
        "kill" | "tkill" | "rt_sigqueueinfo" | "pidfd_send_signal" => id(Verb::Signal, 0),
        "tgkill" | "rt_tgsigqueueinfo" => id(Verb::Signal, 1),
        _ => named(name).map_or_else(Shape::default, verb),
    }
}

/// Calls that only their name tells of.
fn named(name: &str) -> Option<Verb> {
    Some(match name {
        "sethostname" | "setdomainname" => Verb::Name,
        "settimeofday" | "clock_settime" | "clock_adjtime" | "adjtimex" | "stime" => Verb::Clock,
        "setrlimit" | "prlimit64" => Verb::Limit,
        "setpriority" | "nice" | "ioprio_set" | "sched_setscheduler" | "sched_setparam" | "sched_setattr"
        | "sched_setaffinity" | "mbind" | "set_mempolicy" | "move_pages" => Verb::Priority,
        "ptrace" | "process_vm_readv" | "process_vm_writev" | "kcmp" | "pidfd_getfd" => Verb::Inspect,
        "unshare" | "setns" | "clone" | "clone3" => Verb::Namespace,
        "mlock" | "mlock2" | "mlockall" | "shmctl" => Verb::Memory,
        "init_module" | "finit_module" | "delete_module" | "kexec_load" | "kexec_file_load" | "reboot" | "swapon"
        | "swapoff" | "bpf" | "perf_event_open" | "syslog" | "acct" | "quotactl" | "iopl" | "ioperm" | "keyctl"
        | "add_key" | "request_key" | "io_uring_setup" | "userfaultfd" | "vhangup" | "lookup_dcookie" => Verb::Kernel,
        "capset" | "prctl" | "seccomp" => Verb::Privilege,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_where_the_manual_pages_have_them() {
        assert_eq!(shape("openat2").flags, Some(Flags::There(2)));
        assert_eq!(shape("symlinkat").file, Some(At::In(1, 2)));
        assert_eq!((shape("linkat").file, shape("linkat").to), (Some(At::In(2, 3)), Some(At::In(0, 1))));
        assert_eq!(shape("fchownat").ids, [Some(2), Some(3)]);
        assert_eq!(shape("sendto").address, Some(Address(4, 5)));
        assert_eq!((shape("reboot").verb, shape("getpid").verb), (Some(Verb::Kernel), None));
    }
}
