// SPDX-License-Identifier: Apache-2.0
//! What hardening takes out of an image: the flags and directives by which a service fails that becomes who it is.
//!
//! A flag goes out of the configuration's own words. Where a script has it, a program in the way of the service's own
//! leaves it out: no script is changed.

use std::path::{Path, PathBuf};

use bryo_engine::harden::{Edit, Filter, Start, TakenOut};

use super::services::{self, Fate};
use super::start::Started;
use crate::facts::image::Image;

/// Lists what is taken out; of a call by its path in a script it is nothing.
pub fn taken_out(image: &Image) -> TakenOut {
    let words = image.starts();
    let started = Started::read(image, &words);
    let edit =
        |(path, content, lines): (String, &[u8], Vec<usize>)| Edit::new(Path::new("/").join(path), content, &lines);
    let mut taken = TakenOut {
        files: services::failing(image, &started).into_iter().map(edit).collect(),
        start: None,
        programs: Vec::new(),
    };
    for step in &started.steps {
        let Some((flags, Fate::TakenOut)) = services::flags(step) else { continue };
        let program = step.command.words[0].as_str();
        if step.at.is_none()
            && let Some(at) = words.iter().position(|word| word == program)
        {
            taken.start = Some(start(image, at, flags));
        } else if !step.guarded
            && !program.contains('/')
            && let Some((path, _)) = image.program(program)
        {
            let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            let filter = Filter { name: program.to_owned(), path: PathBuf::from("/").join(path), flags };
            if !taken.programs.contains(&filter) {
                taken.programs.push(filter);
            }
        }
    }
    taken
}

/// Leaves flags and their values out of the words behind a program.
fn start(image: &Image, program: usize, flags: &[&str]) -> Start {
    let [mut entrypoint, mut cmd] = ["Entrypoint", "Cmd"].map(|key| image.list(key));
    let mut taken = Vec::new();
    let words = [entrypoint.clone(), cmd.clone()].concat();
    let mut gone = vec![false; words.len()];
    let mut at = program + 1;
    while let Some(word) = words.get(at) {
        let with_value = flags.iter().any(|flag| word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')));
        let alone = flags.contains(&word.as_str());
        let count = if alone { 2 } else { usize::from(with_value) };
        let end = (at + count).min(words.len());
        gone[at..end].fill(true);
        taken.extend_from_slice(&words[at..end]);
        at = end.max(at + 1);
    }
    let mut gone = gone.into_iter();
    let mut stays = |_: &String| !gone.next().unwrap_or(false);
    entrypoint.retain(&mut stays);
    cmd.retain(&mut stays);
    Start { entrypoint, cmd, taken: taken.join(" ") }
}
