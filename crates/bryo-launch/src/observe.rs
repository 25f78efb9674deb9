// SPDX-License-Identifier: Apache-2.0
//! Handing a payload to an observer before its first instruction.
//!
//! ```text
//! child                                        caller                          observer (bryo-engine)
//! asks to be watched by its parent (ptrace)
//! execve ──> stops ──────────────────────────> leaves it, with SIGSTOP
//!            stays stopped                                                     watches it, SIGCONT
//! ```
//!
//! Who watches has to have a right to look into the process. Before `execve` nobody has, since its memory is still a copy
//! of the caller's and not dumpable; afterwards it is of the container's user namespace, and whoever has
//! `CAP_SYS_PTRACE` there may. A process may always ask to be watched by its parent, who has made that namespace; so the
//! parent is there for the moment in between, and no instruction is missed. The child asks before its filter is
//! installed, which need not permit it.

use std::os::fd::AsFd;

use bryo_identity::userns::Child;
use bryo_sys::check;
use bryo_sys::trace::{self, Go};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::error::Result;
use crate::sync::ParentEnd;

/// Waits until the child has executed its payload and leaves it stopped there. One that fails before ends, and has told
/// why.
pub(crate) fn stop_at_payload(child: &Child, sync: &ParentEnd) -> Result<()> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    loop {
        let waited =
            rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(child.pidfd().as_fd()), options));
        let status = check("waitid", || child.pid().as_raw_nonzero().to_string(), waited)?;
        let Some(signal) = status.and_then(|s| s.trapping_signal().or_else(|| s.stopping_signal())) else {
            return Ok(());
        };
        let executed = signal == Signal::TRAP.as_raw();
        if executed && sync.is_closed() {
            trace::leave(child.pid(), Signal::STOP)?;
            return Ok(());
        }
        // What executes the payload is a program itself where there is no Landlock.
        trace::go_on(child.pid(), Go::Freely(if executed { 0 } else { signal }))?;
    }
}
