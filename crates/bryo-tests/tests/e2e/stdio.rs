// SPDX-License-Identifier: Apache-2.0
//! Standard input, output and error without a terminal.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bryo_tests::images::BUSYBOX;
use bryo_tests::{Home, User};
use sha2::Digest;

#[test]
fn without_interactive_standard_input_is_empty() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let output = home.bryo_fed(&["run", "--rm", "--network", "none", BUSYBOX, "cat"], b"never seen");
    assert_eq!(output.ok(), "");
}

#[test]
fn the_end_of_standard_input_is_passed_on() {
    for user in User::all() {
        let home = Home::shared(&user);
        let output = home.bryo_fed(&["run", "-i", "--rm", "--network", "none", BUSYBOX, "wc", "-c"], b"12345");
        assert_eq!(output.ok(), "5");
    }
}

#[test]
fn output_and_error_stay_apart() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let output = home.run(&[BUSYBOX, "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((output.ok(), output.stderr.as_str()), ("out".to_owned(), "err\n"));
}

#[test]
fn a_gibibyte_goes_through_intact() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let mut command = home.command(&["run", "-i", "--rm", "--network", "none", BUSYBOX, "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A cheap sequence without a short period, so that a lost or doubled block cannot go unseen.
    let writer = std::thread::spawn(move || {
        let (mut hash, mut state) = (sha2::Sha256::new(), 1_u64);
        let mut block = vec![0_u8; 1 << 20];
        for _ in 0..1024 {
            for word in block.chunks_exact_mut(8) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                word.copy_from_slice(&state.to_le_bytes());
            }
            hash.update(&block);
            stdin.write_all(&block).unwrap();
        }
        hash.finalize()
    });
    let (mut hash, mut total, mut buffer) = (sha2::Sha256::new(), 0_u64, vec![0; 1 << 20]);
    let mut stdout = child.stdout.take().unwrap();
    loop {
        let n = stdout.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        total += n as u64;
        hash.update(&buffer[..n]);
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(total, 1 << 30);
    assert_eq!(hash.finalize(), writer.join().unwrap());
}

#[test]
fn a_reader_that_goes_away_ends_the_payload() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let mut command = home.command(&["run", "--rm", "--network", "none", BUSYBOX, "yes"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4096]).unwrap();
    drop(stdout);
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("it still writes to nobody");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_background_job_of_the_payload_does_not_hold_bryo() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let start = Instant::now();
    assert_eq!(home.run(&[BUSYBOX, "sh", "-c", "sleep 600 & echo done"]).ok(), "done");
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn the_payload_holds_no_descriptor_of_the_caller() {
    for user in User::all() {
        let home = Home::shared(&user);
        // The caller's standard input, output and error are files here; one more is left open on purpose.
        let file = home.write("w/caller-file", "x");
        let script = format!(
            "exec 9<'{0}'; exec '{1}' run -i --rm --network none {2} sh -c 'ls -l /proc/self/fd' <'{0}' 2>&1 | cat",
            file.display(),
            bryo_tests::dirs::bryo().display(),
            BUSYBOX
        );
        let seen = home.tool("sh", &["-c", &script]).ok();
        assert!(!seen.contains("caller-file") && !seen.contains(" 9 ->"), "{seen}");
        assert!(seen.contains("pipe:"), "{seen}");
    }
}
