// SPDX-License-Identifier: Apache-2.0
//! A machine with another `/dev/net/tun`: on bare machines it is root's alone.

use std::process::Command;

use crate::skip::{have, skip};
use crate::user::is_root;

/// Makes a command that sees a `/dev/net/tun` of root's with a mode, such as `0600`; `None` (and a skip) where that
/// cannot be done.
pub fn with_tun(command: &Command, mode: &str) -> Option<Command> {
    with_device(command, mode, "10 200")
}

/// Makes a command that sees a `/dev/net/tun` which everybody may open and which is none, but `/dev/null`.
pub fn with_false_tun(command: &Command) -> Option<Command> {
    with_device(command, "0666", "1 3")
}

/// The machine's own device is left alone: what the command sees is in a mount namespace of its own.
fn with_device(command: &Command, mode: &str, numbers: &str) -> Option<Command> {
    if !is_root() {
        skip("another /dev/net/tun needs root");
        return None;
    }
    if !have("unshare") || !have("mknod") {
        return None;
    }
    let script = "mount -t tmpfs -o mode=0755 none /dev/net && mknod -m \"$1\" /dev/net/tun c $2 && shift 2 && \
                  exec \"$@\"";
    let mut moved = Command::new("unshare");
    moved.args(["--mount", "sh", "-c", script, "sh", mode, numbers]).arg(command.get_program());
    moved.args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        moved.current_dir(directory);
    }
    Some(moved)
}
