// SPDX-License-Identifier: Apache-2.0
//! Installs a system call filter.

use crate::error::{Error, Result, raw};

/// One instruction of classic BPF: `struct sock_filter` of `linux/filter.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockFilter {
    /// The operation.
    pub code: u16,
    /// How many instructions to skip when a jump's condition holds.
    pub jt: u8,
    /// How many instructions to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// `struct sock_fprog` of `linux/filter.h`.
#[repr(C)]
struct SockFprog {
    len: libc::c_ushort,
    filter: *const SockFilter,
}

/// Installs a filter on the calling thread and everything it will start. Source: `seccomp(2)`.
///
/// # Errors
///
/// `EINVAL` for a program the kernel does not accept or one that is too long, `EACCES` without `no_new_privs`.
pub fn install(program: &[SockFilter], flags: u32) -> Result<()> {
    install_with(program, flags.into()).map(drop)
}

/// Installs a filter and returns what the kernel answers: a descriptor, if the flags ask for one.
pub(crate) fn install_with(program: &[SockFilter], flags: libc::c_ulong) -> Result<i64> {
    let len = libc::c_ushort::try_from(program.len())
        .map_err(|_| Error::new("seccomp", "program too long", rustix::io::Errno::INVAL))?;
    let fprog = SockFprog { len, filter: program.as_ptr() };
    // SAFETY: `fprog` describes exactly the instructions of `program`, and both outlive the call.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog) };
    raw("seccomp", || format!("SECCOMP_SET_MODE_FILTER, {} instructions", program.len()), ret)
}
