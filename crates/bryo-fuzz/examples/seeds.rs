// SPDX-License-Identifier: Apache-2.0
//! Writes the examples of every target below a directory, in one of the target's name: where `cargo fuzz` begins.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let top = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "fuzz/corpus".into()));
    for target in bryo_fuzz::TARGETS {
        let dir = top.join(target.name);
        std::fs::create_dir_all(&dir)?;
        for (n, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(dir.join(format!("example-{n}")), seed)?;
        }
    }
    Ok(())
}
