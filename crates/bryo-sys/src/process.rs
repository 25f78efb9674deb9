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
