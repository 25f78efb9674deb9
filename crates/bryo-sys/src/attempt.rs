// SPDX-License-Identifier: Apache-2.0
//! Attempts: system calls that a confined process should be refused, made only for their errno.
//!
//! Each call is given what makes it fail for a reason of its own once it is past the guards: a bad descriptor, a null
//! pointer, an impossible flag. So a refusal is told from a failure, and where nothing refuses, nothing happens
//! either, except for the few whose documentation says what they leave behind. For a process that is its own and ends
//! soon after.

use rustix::io::Errno;

use crate::error::raw;

/// A call to be attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attempt {
    /// `init_module` with no image: `EFAULT` or `EINVAL` past the guards.
    InitModule,
    /// `finit_module` with no descriptor: `EBADF`.
    FinitModule,
    /// `kexec_load` with impossible flags: `EINVAL`.
    KexecLoad,
    /// `bpf`, making a map without a description of it: `EFAULT` or `EINVAL`.
    Bpf,
    /// `perf_event_open` without a description of the event: `EFAULT`.
    PerfEventOpen,
    /// `userfaultfd` with impossible flags: `EINVAL`.
    Userfaultfd,
    /// `io_uring_setup` without parameters: `EFAULT`.
    IoUringSetup,
    /// `add_key` to the session's keyring. It leaves a key there.
    AddKey,
    /// `keyctl`, asking for the user's keyring, which all processes of the user share.
    UserKeyring,
    /// `unshare`, a new user namespace. It changes the process.
    UnshareUser,
    /// `unshare`, a new mount namespace. It changes the process.
    UnshareMount,
    /// `clone3` without arguments: `EINVAL`.
    Clone3,
    /// `setns` with no descriptor: `EBADF`.
    Setns,
    /// `mount`, a file system in memory over `/tmp`. It changes the process's mount namespace.
    Mount,
    /// `fsopen`, a configuration context for a file system in memory. It leaves a descriptor.
    Fsopen,
    /// `umount2` of `/proc`. It changes the process's mount namespace.
    Unmount,
    /// `pivot_root` to a place that is none.
    PivotRoot,
    /// `open_by_handle_at` with no handle: `EFAULT`.
    OpenByHandle,
    /// `reboot` with a wrong magic number: `EINVAL`.
    Reboot,
    /// `swapon` of a file that is none: `ENOENT`.
    Swapon,
    /// `syslog`, the size of the kernel's log.
    Syslog,
    /// `ioctl(TIOCSTI)` on no descriptor: `EBADF`.
    PushInput,
    /// `ptrace`, seizing a process by number. It leaves that process traced until this one ends.
    Seize(u32),
    /// A 32-bit system call by `int 0x80`: the number of the process.
    Int80,
    /// A system call of the x32 interface: the number of the process.
    X32,
}

impl Attempt {
    /// Makes the attempt.
    ///
    /// # Errors
    ///
    /// What the kernel, or whoever stands before it, answers.
    pub fn make(self) -> rustix::io::Result<()> {
        match self {
            Self::Int80 => int80(),
            other => {
                let (number, args) = other.call();
                let [a, b, c, d, e] = args;
                // SAFETY: each row of `call` passes integers, null pointers, and pointers to constant strings ending
                // in NUL, so no memory of this process is written; what the call changes is the process's own state
                // in the kernel.
                let ret = unsafe { libc::syscall(number, a, b, c, d, e) };
                raw("attempt", String::new, ret).map(drop).map_err(|e| e.errno())
            }
        }
    }

    /// Returns the number of the call and its arguments: integers, null, or constant strings.
    fn call(self) -> (libc::c_long, [libc::c_long; 5]) {
        let text = |s: &'static std::ffi::CStr| s.as_ptr() as libc::c_long;
        match self {
            Self::InitModule => (libc::SYS_init_module, [0, 0, text(c""), 0, 0]),
            Self::FinitModule => (libc::SYS_finit_module, [NO_FD, text(c""), 0, 0, 0]),
            Self::KexecLoad => (libc::SYS_kexec_load, [0, 0, 0, -1, 0]),
            Self::Bpf => (libc::SYS_bpf, [0, 0, 0, 0, 0]),
            Self::PerfEventOpen => (libc::SYS_perf_event_open, [0, 0, -1, NO_FD, 0]),
            Self::Userfaultfd => (libc::SYS_userfaultfd, [-1, 0, 0, 0, 0]),
            Self::IoUringSetup => (libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
            Self::AddKey => {
                (libc::SYS_add_key, [text(c"user"), text(c"bryo-demo"), text(c"x"), 1, KEY_SPEC_SESSION_KEYRING])
            }
            Self::UserKeyring => (libc::SYS_keyctl, [0, KEY_SPEC_USER_KEYRING, 1, 0, 0]),
            Self::UnshareUser => (libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0]),
            Self::UnshareMount => (libc::SYS_unshare, [libc::CLONE_NEWNS.into(), 0, 0, 0, 0]),
            Self::Clone3 => (libc::SYS_clone3, [0, 0, 0, 0, 0]),
            Self::Setns => (libc::SYS_setns, [NO_FD, 0, 0, 0, 0]),
            Self::Mount => (libc::SYS_mount, [text(c"tmpfs"), text(c"/tmp"), text(c"tmpfs"), 0, 0]),
            Self::Fsopen => (libc::SYS_fsopen, [text(c"tmpfs"), 1, 0, 0, 0]),
            Self::Unmount => (libc::SYS_umount2, [text(c"/proc"), libc::MNT_DETACH.into(), 0, 0, 0]),
            Self::PivotRoot => (libc::SYS_pivot_root, [text(c"/proc/none"), text(c"/proc/none"), 0, 0, 0]),
            Self::OpenByHandle => (libc::SYS_open_by_handle_at, [libc::AT_FDCWD.into(), 0, 0, 0, 0]),
            Self::Reboot => (libc::SYS_reboot, [0, 0, 0, 0, 0]),
            Self::Swapon => (libc::SYS_swapon, [text(c"/proc/none"), 0, 0, 0, 0]),
            Self::Syslog => (libc::SYS_syslog, [SYSLOG_ACTION_SIZE_BUFFER, 0, 0, 0, 0]),
            Self::PushInput => (libc::SYS_ioctl, [NO_FD, TIOCSTI, text(c"x"), 0, 0]),
            Self::Seize(pid) => (libc::SYS_ptrace, [PTRACE_SEIZE, pid.into(), 0, 0, 0]),
            Self::X32 | Self::Int80 => (X32_GETPID, [0; 5]),
        }
    }
}

/// A descriptor that is none.
const NO_FD: libc::c_long = -1;
/// `linux/keyctl.h`.
const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;
/// `linux/keyctl.h`.
const KEY_SPEC_USER_KEYRING: libc::c_long = -4;
/// `syslog(2)`.
const SYSLOG_ACTION_SIZE_BUFFER: libc::c_long = 10;
/// `asm-generic/ioctls.h`.
const TIOCSTI: libc::c_long = 0x5412;
/// `linux/ptrace.h`.
const PTRACE_SEIZE: libc::c_long = 0x4206;

/// `getpid` with `__X32_SYSCALL_BIT` of `asm/unistd.h`; no other machine has that interface.
#[cfg(target_arch = "x86_64")]
const X32_GETPID: libc::c_long = 0x4000_0000 | libc::SYS_getpid;
#[cfg(not(target_arch = "x86_64"))]
const X32_GETPID: libc::c_long = 0x4000_0000;

/// Asks for the process's number by the 32-bit gate. Without 32-bit support in the kernel it raises `SIGSEGV`.
#[cfg(target_arch = "x86_64")]
fn int80() -> rustix::io::Result<()> {
    /// `__NR_getpid` of `asm/unistd_32.h`.
    const GETPID: i32 = 20;
    let ret: i32;
    // SAFETY: `getpid` takes no arguments and touches no memory; the gate of older kernels clobbers r8 to r11.
    unsafe {
        core::arch::asm!(
            "int 0x80",
            inlateout("eax") GETPID => ret,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    if ret < 0 { Err(Errno::from_raw_os_error(-ret)) } else { Ok(()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn int80() -> rustix::io::Result<()> {
    Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_arguments_are_told_from_a_refusal() {
        assert_eq!(Attempt::PushInput.make(), Err(Errno::BADF));
        assert_eq!(Attempt::Setns.make(), Err(Errno::BADF));
        assert_eq!(Attempt::Clone3.make(), Err(Errno::INVAL));
        // Nobody has this number: `PID_MAX_LIMIT` is 2^22.
        assert_eq!(Attempt::Seize(1 << 30).make(), Err(Errno::SRCH));
    }
}
