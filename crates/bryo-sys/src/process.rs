// SPDX-License-Identifier: Apache-2.0
//! What a process says of itself to the kernel before it hands control to a payload.

use crate::error::{Result, raw};

/// Joins a new, anonymous session keyring, so that the caller's keys are out of reach. Source: `keyctl(2)`.
///
/// # Errors
///
/// `ENOSYS` on a kernel without keyrings; `EDQUOT` when the user has used up its keys.
pub fn new_session_keyring() -> Result<()> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING takes a name or NULL for an anonymous keyring.
    let ret = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, none) };
    raw("keyctl", || "KEYCTL_JOIN_SESSION_KEYRING".into(), ret).map(drop)
}

/// Returns the Landlock ABI of this kernel, 0 where there is none. Source: `landlock_create_ruleset(2)`.
pub fn landlock_abi() -> u8 {
    /// `LANDLOCK_CREATE_RULESET_VERSION` of `linux/landlock.h`.
    const VERSION: libc::c_uint = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag, no attributes and size 0 the call only returns a number.
    let ret = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    u8::try_from(ret).unwrap_or(0)
}
