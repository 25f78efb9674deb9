// SPDX-License-Identifier: Apache-2.0
//! A machine whose `/dev/net/tun` has another mode: on bare machines it is root's alone.

use std::process::Command;

use crate::skip::{have, skip};
use crate::user::is_root;

/// Makes a command that sees a `/dev/net/tun` of root's with a mode, such as `0600`; `None` (and a skip) where that
/// cannot be done. The machine's own device is left alone: what the command sees is in a mount namespace of its own.
pub fn with_tun(command: &Command, mode: &str) -> Option<Command> {
    if !is_root() {
        skip("another /dev/net/tun needs root");
        return None;
    }
    if !have("unshare") || !have("mknod") {
        return None;
    }
    let script = "mount -t tmpfs -o mode=0755 none /dev/net && mknod -m \"$1\" /dev/net/tun c 10 200 && shift && \
                  exec \"$@\"";
    let mut moved = Command::new("unshare");
    moved.args(["--mount", "sh", "-c", script, "sh", mode]).arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        moved.current_dir(directory);
    }
    Some(moved)
}
