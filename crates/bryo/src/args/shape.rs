// SPDX-License-Identifier: Apache-2.0
//! The grammar of flags: switches that take `=false`, values that may begin with a hyphen, the last one wins.
//!
//! These are the habits of the Go flag library behind Docker's command line, which scripts rely on.

use clap::{Arg, ArgAction, Command};

/// Adds flags to a command and gives them Docker's grammar. `-h` stays free for the host name.
///
/// The command keeps its own description: the derived code would put the documentation of a struct in its place.
pub(super) fn like_docker(command: Command, add: fn(Command) -> Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    add(command)
        .about(about)
        .next_help_heading(None::<&str>)
        .disable_help_flag(true)
        .args_override_self(true)
        .mut_args(shape)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print this help"))
        .override_usage("bryo run [OPTIONS] IMAGE [COMMAND [ARG]...]")
}

fn shape(arg: Arg) -> Arg {
    match arg.get_action() {
        ArgAction::SetTrue => switch(arg).action(ArgAction::Set).default_value("false").hide_default_value(true),
        _ if arg.is_positional() || arg.is_require_equals_set() => arg,
        _ => arg.allow_hyphen_values(true),
    }
}

/// Makes an argument a switch: bare it is true, `=true` and `=false` are written out.
pub(super) fn switch(arg: Arg) -> Arg {
    arg.num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(boolean)
        .value_name("BOOL")
        .hide_possible_values(true)
}

/// Source: Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true and false are known".to_owned()),
    }
}
