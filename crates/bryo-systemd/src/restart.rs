// SPDX-License-Identifier: Apache-2.0
//! The unit that starts containers again after a boot.

use std::path::Path;

use crate::{Scope, words};

/// Its name.
pub const NAME: &str = "bryo-restart.service";

/// Returns the target that it is started with.
pub fn wanted_by(scope: Scope) -> &'static str {
    match scope {
        Scope::System => "multi-user.target",
        Scope::User => "default.target",
    }
}

/// Returns its text.
///
/// The containers live in its control group. They are not stopped by a command when the machine goes down, since what
/// was stopped would stay so; the manager asks all of them to end, as it does with everything.
pub fn text(program: &Path, scope: Scope) -> String {
    let start = words::join([&*program.to_string_lossy(), "start", "--all", "--filter", "should-start-on-boot=true"]);
    let online = match scope {
        Scope::System => "Wants=network-online.target\nAfter=network-online.target\nRequiresMountsFor=/var/lib/bryo\n",
        Scope::User => "",
    };
    let target = wanted_by(scope);
    format!(
        "[Unit]\n\
         Description=Start the containers that are to run after a boot\n\
         {online}\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         Delegate=yes\n\
         ExecStart={start}\n\
         \n\
         [Install]\n\
         WantedBy={target}\n"
    )
}
