// SPDX-License-Identifier: Apache-2.0
//! `build`: what a person sees of it, on a terminal and without one.

use bryo_tests::User;
use bryo_tests::images::BUSYBOX;
use bryo_tests::pty::Terminal;

use super::build::{build, ground};

/// What clears the view before it is drawn anew: so many lines up, and all below.
const ANEW: &str = "A\u{1b}[J";

/// Returns the frames of a view that were drawn, each as its lines.
fn frames(screen: &str) -> Vec<Vec<&str>> {
    screen.split(ANEW).map(|frame| frame.lines().collect()).collect()
}

#[test]
fn a_terminal_shows_steps_with_their_time_and_the_one_that_fails_with_its_log_and_line() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let wide = "w".repeat(100);
    // The terminal gets its new size while the step sleeps for the first time.
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN echo first-{wide}; sleep 3; echo second-{wide}; sleep 1.5\nRUN echo its-log >&2; exit 7\n"
    );
    home.write("c/Dockerfile", &dockerfile);
    let context = home.path.join("c").display().to_string();
    let mut tty = Terminal::start(&home.command(&["build", "--no-cache", "-t", "localhost/built", &context]));
    tty.expect(" => => # 0.");
    tty.expect("first-www");
    let before = tty.screen();
    tty.resize(24, 50);
    tty.expect("second-www");
    assert_eq!(tty.wait().code(), Some(1));
    let screen = tty.screen();
    assert!(!screen.contains("#1 "), "no lines of the plain form: {screen}");
    let steps = |frame: &Vec<&str>| frame.iter().any(|line| line.starts_with(" => [2/3] RUN echo first-"));
    assert!(frames(&before).iter().any(steps), "{before}");
    let header = |line: &&&str| line.starts_with("[+] Building ") && line.ends_with("s (1/2)");
    assert!(frames(&before).iter().flatten().filter(header).count() > 0, "{before}");
    // Its time goes on while the step says nothing: each time is another one.
    let at = |line: &&&str| line.starts_with(" => [2/3] RUN") && line.ends_with('s');
    let times: std::collections::BTreeSet<&str> =
        frames(&screen).iter().flatten().filter(at).filter_map(|line| line.split_whitespace().last()).collect();
    assert!(times.len() >= 5, "{times:?}");
    // As wide as the terminal is at that moment, and never wider.
    let widest = |text: &str| text.lines().filter(|line| line.starts_with(" =>")).map(str::len).max();
    assert_eq!(widest(&before), Some(79), "{before}");
    let resized = screen.find("second-www").and_then(|said| screen[..said].rfind(ANEW)).unwrap();
    assert_eq!(widest(&screen[resized..]), Some(49), "{screen}");
    // What has failed stays, with all that it has said, and where it stands in the Dockerfile.
    let end = &screen[screen.rfind("\u{1b}[").unwrap()..];
    for part in [
        " => ERROR [3/3] RUN echo its-log",
        "------\r\n > [3/3] RUN",
        "its-log\r\n------",
        "Dockerfile:3\r\n",
        "   3 | >>> RUN echo its-log",
        "bryo: ",
        "exit code: 7",
    ] {
        assert!(end.contains(part), "no {part:?} in {end}");
    }
    assert!(!end.contains("[+] Building"), "nothing is left of the view: {end}");
}

#[test]
fn without_a_terminal_there_is_no_escape_sequence() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let text = format!("FROM {BUSYBOX}\nRUN printf '\\033[31mred\\033[2J\\n'; exit 3\n");
    for form in [&["--progress", "auto"][..], &["--progress", "plain"], &["--progress", "rawjson"]] {
        let said = build(&home, &text, &[&["--no-cache"], form].concat());
        said.fails(1, &["exit code: 3", "red"]);
        let all = [said.stderr.as_bytes(), &said.stdout].concat();
        assert!(!all.contains(&0x1b), "{form:?}: {said}");
    }
}
