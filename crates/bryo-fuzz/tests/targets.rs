// SPDX-License-Identifier: Apache-2.0
//! Every reader comes back from whatever it is given: soon, without a panic, and without keeping the machine's memory.
//! `BRYO_FUZZ_SECONDS` is how long each is tried (one second without it), `BRYO_FUZZ_TARGET` the only one to try.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use bryo_fuzz::mutate::{Random, mutate};
use bryo_fuzz::{TARGETS, Target};

/// Longer than any text of the length that is made here may take, on a machine that has other work.
const SLOW: Duration = Duration::from_secs(5);
/// How much memory the process may have had at once, in KiB.
const MEMORY_MAX: u64 = 1 << 20;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads one text, and says how to have it again if it is too much.
fn read(target: &Target, number: u64, data: &[u8]) {
    let begun = Instant::now();
    let done = std::panic::catch_unwind(|| (target.read)(data));
    let took = begun.elapsed();
    if done.is_err() || took > SLOW {
        let file = std::env::temp_dir().join(format!("bryo-fuzz-{}-{number}", target.name));
        std::fs::write(&file, data).unwrap();
        panic!("{} number {number}, {took:?}: {}", target.name, file.display());
    }
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn every_reader_comes_back() {
    let seconds = variable("BRYO_FUZZ_SECONDS").map_or(1, |text| text.parse().unwrap());
    let only = variable("BRYO_FUZZ_TARGET");
    for target in TARGETS.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name)) {
        let seeds = (target.seeds)();
        seeds.iter().for_each(|seed| read(target, 0, seed));
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut number = 0;
        while Instant::now() < end {
            number += 1;
            let mut random = Random::new(number);
            let mut data = seeds[random.below(seeds.len())].clone();
            mutate(&mut random, &mut data, &seeds);
            read(target, number, &data);
        }
        eprintln!("{}: {number} texts, {} MiB at most", target.name, peak() >> 10);
        assert!(number > 0 && peak() < MEMORY_MAX, "{}: {} KiB", target.name, peak());
    }
}

#[test]
fn the_same_number_makes_the_same_text() {
    let seeds = (TARGETS[0].seeds)();
    let made = |number| {
        let mut data = seeds[0].clone();
        mutate(&mut Random::new(number), &mut data, &seeds);
        data
    };
    assert_eq!(made(7), made(7));
    assert!((1..50).any(|number| made(number) != made(number + 1)));
}

/// The list for `cargo fuzz` is the list that is here.
#[test]
fn every_target_is_one_of_cargo_fuzz() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".rs").to_owned())
        .collect();
    files.sort();
    let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
}
