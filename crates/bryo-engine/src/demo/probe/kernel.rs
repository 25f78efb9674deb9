// SPDX-License-Identifier: Apache-2.0
//! Attempts on the kernel: mounts, devices, interfaces with a history of holes.

use bryo_sys::Errno;
use bryo_sys::attempt::Attempt as Call;
use rustix::fs::{CWD, FileType, Mode};
use rustix::net::{AddressFamily, Protocol, SocketType, ipproto};

use super::{Attempt, Ending};

/// `linux/socket.h`; not every list of families has it.
const AF_ALG: u16 = 38;

/// An attempt that is one system call, and the errors that it only meets past every guard.
macro_rules! call {
    ($id:literal, $tried:literal, $gains:literal, $call:expr $(, $past:ident)*) => {
        Attempt { id: $id, tried: $tried, gains: $gains, make: |_| Ending::of($call.make(), &[$(Errno::$past),*]) }
    };
}

pub(super) const ATTEMPTS: &[Attempt] = &[
    call!("mount", "mount a file system", "files over files that others trust", Call::Mount),
    call!("fsopen", "mount by the newer calls (fsopen)", "the same, past old filters", Call::Fsopen),
    call!("unmount", "unmount /proc and what masks it", "what the masks hide", Call::Unmount),
    call!("mount-namespace", "make a mount namespace", "mounts of its own", Call::UnshareMount),
    call!("pivot-root", "change the root (pivot_root)", "a way out of the root", Call::PivotRoot, NOENT),
    Attempt {
        id: "chroot",
        tried: "change the root (chroot)",
        gains: "a way out of the root",
        make: |_| Ending::of(rustix::process::chroot("/"), &[]),
    },
    Attempt {
        id: "mknod",
        tried: "make a device file (mknod)",
        gains: "the host's disks",
        make: |_| {
            let path = format!("/tmp/.bryo-demo-{}", std::process::id());
            let device = rustix::fs::makedev(8, 0);
            let made = rustix::fs::mknodat(CWD, &path, FileType::BlockDevice, Mode::from_raw_mode(0o600), device);
            // What was made goes again; what was not cannot.
            let _ = std::fs::remove_file(&path);
            Ending::of(made, &[])
        },
    },
    call!(
        "open-by-handle",
        "open files by handle",
        "any file of the host's disk (\"shocker\")",
        Call::OpenByHandle,
        FAULT,
        BADF
    ),
    call!("module", "load a kernel module", "the kernel itself", Call::InitModule, FAULT, INVAL),
    call!("module-file", "load a kernel module from a file", "the kernel itself", Call::FinitModule, BADF),
    call!("kexec", "load another kernel", "the machine", Call::KexecLoad, INVAL),
    call!("reboot", "reboot the machine", "its end", Call::Reboot, INVAL),
    call!("swapon", "change the swap space", "other processes' memory", Call::Swapon, NOENT),
    call!("kernel-log", "read the kernel's log", "addresses of the kernel", Call::Syslog),
    Attempt {
        id: "raw-socket",
        tried: "open a raw socket",
        gains: "forged packets",
        make: |_| socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)),
    },
    Attempt {
        id: "packet-socket",
        tried: "open a packet socket",
        gains: "others' traffic, and a history of holes",
        make: |_| socket(AddressFamily::PACKET, SocketType::RAW, None),
    },
    Attempt {
        id: "crypto-socket",
        tried: "open a socket to the kernel's cipher code (AF_ALG)",
        gains: "the page cache of read-only files",
        make: |_| socket(AddressFamily::from_raw(AF_ALG), SocketType::SEQPACKET, None),
    },
    Attempt {
        id: "vsock-socket",
        tried: "open a socket to the hypervisor (AF_VSOCK)",
        gains: "the machine around the machine",
        make: |_| socket(AddressFamily::VSOCK, SocketType::STREAM, None),
    },
    call!("add-key", "add a key to the kernel's keyrings", "keys that other processes use", Call::AddKey),
    call!("user-keyring", "read the user's keyring (keyctl)", "the caller's keys", Call::UserKeyring, NOKEY),
    call!("bpf", "load programs into the kernel (bpf)", "the kernel's memory", Call::Bpf, FAULT, INVAL, TOOBIG),
    call!(
        "perf",
        "watch the machine (perf_event_open)",
        "side channels, and a history of holes",
        Call::PerfEventOpen,
        FAULT,
        INVAL
    ),
    call!(
        "userfaultfd",
        "stop the kernel at a page fault (userfaultfd)",
        "time to win a race",
        Call::Userfaultfd,
        INVAL
    ),
    call!(
        "io-uring",
        "use io_uring",
        "calls past the filter, and a history of holes",
        Call::IoUringSetup,
        FAULT,
        INVAL
    ),
    call!("push-input", "type into the terminal (TIOCSTI)", "commands in the caller's shell", Call::PushInput, BADF),
    call!("call-32-bit", "make 32-bit system calls", "a way round the filter", Call::Int80),
    call!("call-x32", "make x32 system calls", "a way round the filter", Call::X32),
    Attempt {
        id: "filter",
        tried: "run without a system call filter",
        gains: "the kernel's whole surface",
        make: |_| match rustix::thread::secure_computing_mode() {
            Ok(rustix::thread::SecureComputingMode::Filter) => Ending::Refused("the filter is on".into()),
            // The question itself is refused only by a filter.
            Err(e) => Ending::Refused(super::name(e)),
            Ok(_) => Ending::Possible("there is no filter".into()),
        },
    },
];

fn socket(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> Ending {
    Ending::of(rustix::net::socket(family, kind, protocol), &[])
}
