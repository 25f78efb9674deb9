// SPDX-License-Identifier: Apache-2.0
//! Directories that a start makes, or gives to a service: those it means to write to.

use std::path::PathBuf;

use super::start::Started;
use crate::facts::image::Image;
use crate::shell::Simple;

/// Lists them, absolute; of names that only a shell knows none.
pub fn given(image: &Image) -> Vec<PathBuf> {
    let started = Started::read(image, &image.starts());
    let named = started.steps.iter().flat_map(|step| directories(&step.command));
    let plain = |path: &&str| path.starts_with('/') && !path.contains(|c: char| "$*?[`{".contains(c) || c.is_control());
    let mut found: Vec<PathBuf> = named.filter(plain).map(|path| PathBuf::from(path.trim_end_matches('/'))).collect();
    found.retain(|path| path.is_absolute() && !path.components().any(|part| part == std::path::Component::ParentDir));
    found.sort();
    found.dedup();
    found
}

fn directories(command: &Simple) -> Vec<&str> {
    let operands: Vec<&str> = command.operands().collect();
    let to_root = |owner: &&str| matches!(owner.split([':', '.']).next(), Some("root" | "0"));
    match command.program() {
        "mkdir" => operands,
        "install" if command.short('d') || command.has(&["--directory"]) => operands,
        // The first is the owner; with --reference there is none, and one more path does no harm.
        "chown" if operands.first().is_some_and(|owner| !to_root(owner)) => operands[1..].to_vec(),
        "find" if command.words.iter().any(|word| word == "chown") => operands.into_iter().take(1).collect(),
        _ => Vec::new(),
    }
}
