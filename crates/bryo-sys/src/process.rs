// SPDX-License-Identifier: Apache-2.0
//! What a process says of itself to the kernel before it hands control to a payload.

use std::ffi::CStr;

use rustix::io::Errno;

use crate::error::{Error, Result, raw};

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

/// Puts a name in the place of this process's command line and environment, as others see them in `/proc`: a process that
/// stays in a container, or enters one, was called with what is the caller's alone. Source: `proc_pid_stat(5)`,
/// `arg_start` to `env_end`.
///
/// The arguments of [`std::env::args`] and the variables of [`std::env::vars`] are gone with them.
///
/// # Errors
///
/// When `/proc` does not tell where they are.
pub fn forget_command_line(name: &CStr) -> Result<()> {
    let none = || Error::new("read", "/proc/self/stat", Errno::NODATA);
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(|_| none())?;
    // The name in parentheses may have any character; after it come the fields from the third on.
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or_else(none)?.1.split_whitespace().collect();
    let place = |n: usize| fields.get(n - 3).and_then(|text| text.parse::<usize>().ok()).ok_or_else(none);
    let name = name.to_bytes_with_nul();
    for (start, end, text) in [(place(48)?, place(49)?, name), (place(50)?, place(51)?, &b""[..])] {
        let length = end.checked_sub(start).filter(|_| start > 0).ok_or_else(none)?;
        let memory: *mut u8 = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: the kernel put the strings there before the program began, in memory that stays this process's and
        // writable; nothing of ours keeps references to them, and this process has one thread. What reads them later
        // finds strings of no length, and at the end the zero byte that ended the last one.
        let memory = unsafe { std::slice::from_raw_parts_mut(memory, length) };
        memory.fill(0);
        let text = &text[..text.len().min(length)];
        memory[..text.len()].copy_from_slice(text);
    }
    Ok(())
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

/// Runs something with the file system ids of another user: what it makes belongs to that user, and what that user may
/// not do fails. Capabilities over files are gone meanwhile when this is root inside. Source: `setfsuid(2)`.
///
/// # Errors
///
/// `EPERM` when this thread may not take an id, or cannot have its own back: then it must not go on.
pub fn with_fs_ids<T>(uid: u32, gid: u32, act: impl FnOnce() -> T) -> Result<T> {
    // Groups first: afterwards the capability for that is still there, but not the other way round everywhere.
    let old_gid = set_fs_id(libc::SYS_setfsgid, gid)?;
    let old_uid = match set_fs_id(libc::SYS_setfsuid, uid) {
        Ok(old) => old,
        Err(error) => {
            set_fs_id(libc::SYS_setfsgid, old_gid)?;
            return Err(error);
        }
    };
    let result = act();
    set_fs_id(libc::SYS_setfsuid, old_uid)?;
    set_fs_id(libc::SYS_setfsgid, old_gid)?;
    Ok(result)
}

/// Sets one of the two and returns what it was. The call itself reports no failure; asking again does.
fn set_fs_id(call: libc::c_long, id: u32) -> Result<u32> {
    let set = |id: u32| {
        // SAFETY: takes an integer and returns the id that was set before.
        let old = unsafe { libc::syscall(call, id) };
        u32::try_from(old & 0xffff_ffff).unwrap_or(u32::MAX)
    };
    let old = set(id);
    // Never an id, so that nothing changes.
    if set(u32::MAX) == id { Ok(old) } else { Err(Error::new("setfsuid", id.to_string(), Errno::PERM)) }
}
