// SPDX-License-Identifier: Apache-2.0
//! A machine with a world around it: two network namespaces and a cable between them, both the tests' own.
//!
//! Where a test must see what leaves a machine, and what comes back, this is the machine. Nothing of the real network
//! is touched or needed. Making it needs root.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::host::{Process, mark};
use crate::program::{Running, eventually, tool};
use crate::skip::{have, skip};
use crate::user::is_root;

/// The address of the machine that the tests run bryo on.
pub const MACHINE: &str = "198.51.100.2";
/// The address of the world outside.
pub const WORLD: &str = "198.51.100.1";

/// The two namespaces. They are gone when it is dropped.
#[derive(Debug)]
pub struct Outside {
    machine: Process,
    world: Process,
    _holders: [Running; 2],
}

impl Outside {
    /// Makes the machine and its world; `None` (and a skip) where that cannot be done.
    pub fn new() -> Option<Self> {
        if !is_root() {
            skip("a network to stand in for the world needs root");
            return None;
        }
        if !have("ip") || !have("nsenter") {
            return None;
        }
        let ((first, machine), (second, world)) = (namespace(), namespace());
        let outside = Self { machine, world, _holders: [first, second] };
        let peer = world.0.to_string();
        outside.on(machine, &["ip", "link", "add", "out", "type", "veth", "peer", "name", "out", "netns", &peer]);
        for (place, address) in [(machine, MACHINE), (world, WORLD)] {
            outside.on(place, &["ip", "addr", "add", &format!("{address}/24"), "dev", "out"]);
            for device in ["lo", "out"] {
                outside.on(place, &["ip", "link", "set", device, "up"]);
            }
        }
        outside.on(machine, &["ip", "route", "add", "default", "via", WORLD]);
        Some(outside)
    }

    /// Runs a program of the host on the machine, and asserts that it succeeded.
    #[track_caller]
    pub fn on_the_machine(&self, words: &[&str]) {
        self.on(self.machine, words);
    }

    #[track_caller]
    fn on(&self, place: Process, words: &[&str]) {
        tool("nsenter", &[&[net(place).as_str(), "--"], words].concat());
    }

    /// Makes a command that runs on the machine.
    pub fn command(&self, command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered.args([net(self.machine).as_str(), "--"]).arg(command.get_program()).args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            entered.current_dir(directory);
        }
        entered
    }

    /// Listens in the world.
    pub fn listen_in_the_world(&self) -> TcpListener {
        listen(self.world, WORLD)
    }

    /// Opens the name service's port in the world.
    pub fn name_server_in_the_world(&self) -> UdpSocket {
        at(self.world, || UdpSocket::bind((WORLD, 53)).unwrap())
    }

    /// Listens on an address of the machine.
    pub fn listen_on_the_machine(&self, address: &str) -> TcpListener {
        listen(self.machine, address)
    }
}

fn net(place: Process) -> String {
    format!("--net=/proc/{}/ns/net", place.0)
}

/// Starts a process in a network namespace of its own.
fn namespace() -> (Running, Process) {
    let mark = mark();
    let mut command = Command::new("unshare");
    command.args(["--net", "sleep", &mark]);
    let holder = Running::start(command, false);
    let process = eventually("a network namespace", || Process::find(&["sleep", &mark]));
    (holder, process)
}

fn listen(place: Process, address: &str) -> TcpListener {
    let address = (address.to_owned(), 0);
    at(place, move || TcpListener::bind(address).unwrap())
}

/// A thread of its own goes there; the socket stays where it was made.
fn at<T: Send + 'static>(place: Process, make: impl FnOnce() -> T + Send + 'static) -> T {
    let there = std::thread::spawn(move || {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", place.0)).unwrap();
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network)).unwrap();
        make()
    });
    there.join().unwrap()
}
