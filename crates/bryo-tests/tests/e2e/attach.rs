// SPDX-License-Identifier: Apache-2.0
//! `attach`, `start -a`, and `run` where it can be let go of: who sees a container's output, and who types.

use std::io::{Read, Write};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bryo_tests::host::Process;
use bryo_tests::images::BUSYBOX;
use bryo_tests::program::eventually;
use bryo_tests::pty::Terminal;
use bryo_tests::{Detached, Home, User};
use rustix::process::Signal;

/// A command whose output is seen while it runs.
struct Client {
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Client {
    fn start(home: &Home, words: &[&str]) -> Self {
        let mut command = home.command(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let (mut stdout, of_thread) = (child.stdout.take().unwrap(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stdout.read(&mut buffer) {
                of_thread.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { child, seen }
    }

    fn types(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn sees(&self, text: &str) {
        let start = Instant::now();
        while !self.seen().contains(text) {
            assert!(start.elapsed() < Duration::from_secs(30), "never saw {text:?} in {:?}", self.seen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        Process(self.child.id()).signal(signal);
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        eventually("the command ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Says everything that it hears, and ends with 3 at the word `end`.
const ECHO: &str =
    "echo ready; while read x; do test \"$x\" = end && exit 3; echo heard $x; done; echo silence; exit 4";

#[test]
fn one_who_attaches_sees_and_types() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::script(&home, &["-i"], ECHO);
        container.says("ready");
        let mut first = Client::start(&home, &["attach", &container.name]);
        first.types("one\n");
        first.sees("heard one");
        // What was said before is for `logs`.
        assert!(!first.seen().contains("ready"));
        // The end of his input is not that of all input: somebody else goes on.
        drop(first.child.stdin.take());
        std::thread::sleep(Duration::from_millis(300));
        let mut second = Client::start(&home, &["attach", &container.name]);
        second.types("two\n");
        second.sees("heard two");
        first.sees("heard two");
        let mut third = Client::start(&home, &["attach", "--no-stdin", &container.name]);
        third.types("three\n");
        // One that has come is there when its first word is.
        std::thread::sleep(Duration::from_millis(300));
        second.types("again\n");
        third.sees("heard again");
        second.types("end\n");
        for client in [&mut first, &mut second, &mut third] {
            assert_eq!(client.wait().code(), Some(3));
        }
        assert_eq!(container.said(), "ready\nheard one\nheard two\nheard again");
    }
}

#[test]
fn output_and_error_stay_apart_and_whole() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let script = "read go; seq 1 100000; seq 1 100000 | sed s/^/e/ >&2";
    let container = Detached::script(&home, &["-i"], script);
    let mut attach = home.start_fed(&["attach", &container.name]);
    let socket = || container.monitor().descriptors().values().filter(|d| d.starts_with("socket:")).count();
    eventually("it is attached", || (socket() > 1).then_some(()));
    assert!(attach.feed(b"go\n"));
    let output = attach.wait();
    let numbers: Vec<String> = (1..=100_000).map(|n| n.to_string()).collect();
    assert!(output.ok() == numbers.join("\n"));
    assert!(output.stderr == numbers.iter().map(|n| format!("e{n}\n")).collect::<String>());
}

#[test]
fn what_is_started_attached_ends_with_its_input() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::named(&home);
        let words = ["create", "-i", "--network", "none", "--name", &container.name, BUSYBOX, "sh", "-c", ECHO];
        home.bryo(&words).ok();
        let output = home.bryo_fed(&["start", "-ai", &container.name], b"one\n");
        assert_eq!(output.code(4), "ready\nheard one\nsilence");
        // Every word is there, however fast it ends, and again.
        assert_eq!(home.bryo_fed(&["start", "-a", "-i", &container.name], b"end\n").code(3), "ready");
        home.bryo(&["start", "-a", &container.name, "another"]).fails(1, &["only one"]);
    }
}

#[test]
fn signals_go_to_the_container_unless_they_are_not_to() {
    for user in User::all() {
        let home = Home::shared(&user);
        let script =
            "trap 'echo got it; exit 7' TERM; trap 'echo interrupted' INT; echo ready; while :; do sleep 0.1; done";
        let container = Detached::script(&home, &[], script);
        container.says("ready");
        let mut deaf = Client::start(&home, &["attach", "--sig-proxy=false", &container.name]);
        let mut client = Client::start(&home, &["attach", &container.name]);
        std::thread::sleep(Duration::from_millis(300));
        client.signal(Signal::INT);
        client.sees("interrupted");
        deaf.sees("interrupted");
        deaf.signal(Signal::TERM);
        assert_eq!(deaf.wait().code(), Some(0));
        assert_eq!(container.status(), "running");
        client.signal(Signal::TERM);
        assert_eq!(client.wait().code(), Some(7));
        assert!(client.seen().ends_with("got it\n"), "{}", client.seen());
        container.until("exited");
    }
}

#[test]
fn on_a_terminal_keys_let_go_and_another_can_attach() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::busybox(&home, &["-it"], &["sh"]);
        let attach =
            |words: &[&str]| Terminal::start(&home.command(&[&["attach"], words, &[&container.name]].concat()));
        let mut tty = attach(&[]);
        tty.typed("tty; stty size; echo to$((40+2))ld\n");
        for text in ["/dev/pts/", "24 80", "to42ld"] {
            tty.expect(text);
        }
        tty.resize(33, 111);
        std::thread::sleep(Duration::from_millis(300));
        tty.typed("stty size\n");
        tty.expect("33 111");
        let settings = format!("{:?}", Terminal::start(&home.user.command(&home.path, "true")).settings());
        tty.typed("left=behind\u{10}\u{11}");
        assert_eq!(tty.wait().code(), Some(0), "{}", tty.screen());
        assert_eq!(format!("{:?}", tty.settings()), settings);
        assert_eq!(container.status(), "running");
        // The same shell, with what was typed before.
        let mut tty = attach(&["--detach-keys", "ctrl-a,x"]);
        tty.typed("\necho was $left\n");
        tty.expect("was behind");
        tty.typed("\u{1}x");
        assert_eq!(tty.wait().code(), Some(0), "{}", tty.screen());
        let mut tty = attach(&[]);
        tty.typed("\nexit 9\n");
        assert_eq!(tty.wait().code(), Some(9), "{}", tty.screen());
        assert_eq!((container.status(), container.state("ExitCode").as_i64()), ("exited".into(), Some(9)));
        home.bryo(&["attach", "--detach-keys", "nonsense", &container.name]).fails(1, &["nonsense"]);
    }
}

#[test]
fn a_run_on_a_terminal_can_be_let_go_of() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::named(&home);
        let words = ["run", "-it", "--network", "none", "--name", &container.name, BUSYBOX, "sh"];
        let mut tty = Terminal::start(&home.command(&words));
        tty.typed("stty size; left=behind; echo re''ady\n");
        tty.expect("ready");
        tty.expect("24 80");
        tty.typed("\u{10}\u{11}");
        assert_eq!(tty.wait().code(), Some(0), "{}", tty.screen());
        assert_eq!(container.status(), "running");
        let mut tty = Terminal::start(&home.command(&["attach", &container.name]));
        tty.typed("\necho was $left; exit 5\n");
        assert_eq!(tty.wait().code(), Some(5), "{}", tty.screen());
        assert!(tty.screen().contains("was behind"));
        // Started again with a terminal of the size of this one.
        let mut tty = Terminal::start(&home.command(&["start", "-ai", &container.name]));
        tty.typed("stty size; exit 6\n");
        tty.expect("24 80");
        assert_eq!(tty.wait().code(), Some(6), "{}", tty.screen());
    }
}

#[test]
fn a_terminal_that_is_closed_leaves_the_container_alone() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::named(&home);
    let words = ["run", "-it", "--network", "none", "--name", &container.name, BUSYBOX, "sh"];
    let mut tty = Terminal::start(&home.command(&words));
    tty.typed("echo re''ady\n");
    tty.expect("ready");
    let payload = container.payload();
    drop(tty);
    std::thread::sleep(Duration::from_millis(500));
    assert!(payload.lives());
    let mut tty = Terminal::start(&home.command(&["attach", &container.name]));
    tty.typed("\nexit 5\n");
    assert_eq!(tty.wait().code(), Some(5), "{}", tty.screen());
}

/// The output of a payload is waited for by all who are attached, but not for ever.
#[test]
fn a_client_that_stands_still_does_not_hold_the_container_up_for_ever() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let script = "read go; i=0; while :; do head -c 100000 /dev/zero | tr '\\0' x; i=$((i+1)); echo $i > /tmp/n; done";
    let container = Detached::script(&home, &["-i", "--log-opt", "max-size=1m", "--log-opt", "max-file=2"], script);
    let written = || container.exec(&["cat", "/tmp/n"]).text().parse::<u32>().unwrap_or(0);
    let mut command = home.command(&["attach", &container.name]);
    let mut stopped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut other = Client::start(&home, &["attach", &container.name]);
    std::thread::sleep(Duration::from_millis(300));
    Process(stopped.id()).signal(Signal::STOP);
    other.types("go\n");
    // Nothing moves while there is hope: what it has not seen yet would be lost to it.
    std::thread::sleep(Duration::from_secs(4));
    let before = written();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(written(), before);
    eventually("the container goes on", || (written() > before + 10).then_some(()));
    Process(stopped.id()).signal(Signal::CONT);
    let status = eventually("the client ends", || stopped.try_wait().unwrap());
    let mut why = String::new();
    stopped.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert!(status.code() == Some(1) && why.contains("not taken"), "{status:?} {why}");
    assert_eq!(container.status(), "running");
    drop(other.child.stdout.take());
}

#[test]
fn one_whose_output_nobody_reads_still_hears_signals() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::busybox(&home, &["--log-driver", "none"], &["yes"]);
    let mut command = home.command(&["attach", "--sig-proxy=false", &container.name]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    Process(child.id()).signal(Signal::TERM);
    let status = eventually("the client ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert_eq!(container.status(), "running");
}

#[test]
fn clients_that_are_killed_or_whose_reader_is_gone_are_forgotten() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::script(&home, &[], "while :; do echo tick; sleep 0.05; done");
    let sockets = || container.monitor().descriptors().values().filter(|d| d.starts_with("socket:")).count();
    let before = sockets();
    let clients: Vec<Client> = (0..8).map(|_| Client::start(&home, &["attach", &container.name])).collect();
    for client in &clients {
        client.sees("tick");
        client.signal(Signal::KILL);
    }
    let mut command = home.command(&["attach", &container.name]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 5]).unwrap();
    assert!(eventually("the command ends", || child.try_wait().unwrap()).success());
    eventually("they are forgotten", || (sockets() == before).then_some(()));
    assert_eq!(container.status(), "running");
}

#[test]
fn there_must_be_something_to_attach_to() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let ended = Detached::busybox(&home, &[], &["true"]);
    ended.until("exited");
    home.bryo(&["attach", &ended.name]).fails(1, &[&ended.name, "not running"]);
    home.bryo(&["attach", "no-such-container"]).fails(1, &["no such container"]);
    let foreground = Detached::named(&home);
    let words = ["run", "--rm", "--network", "none", "--name", &foreground.name, BUSYBOX, "sleep", "100000"];
    let run = home.start(&words);
    eventually("it runs", || home.bryo(&["ps"]).ok().contains(&foreground.name).then_some(()));
    home.bryo(&["attach", &foreground.name]).fails(1, &["foreground"]);
    home.bryo(&["stop", "-t", "0", &foreground.name]).ok();
    run.wait().code(128 + 9);
}
