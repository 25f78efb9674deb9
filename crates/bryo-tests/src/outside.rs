// SPDX-License-Identifier: Apache-2.0
//! A machine with a world around it: two network namespaces and a cable between them, both the tests' own.
//!
//! Where a test must see what leaves a machine, and what comes back, this is the machine. Nothing of the real network
//! is touched or needed. Making it needs root.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
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

/// The machine's IPv6 address.
pub const MACHINE_6: &str = "2001:db8::2";
/// The world's IPv6 address.
pub const WORLD_6: &str = "2001:db8::1";

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

    /// Does something on the machine.
    pub fn at_the_machine<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        at(self.machine, act)
    }

    /// Does something in the world.
    pub fn in_the_world<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        at(self.world, act)
    }

    /// Gives the machine and the world IPv6 addresses, and the machine a route to the world.
    pub fn with_ipv6(self) -> Self {
        for (place, address) in [(self.machine, MACHINE_6), (self.world, WORLD_6)] {
            self.on(place, &["ip", "addr", "add", &format!("{address}/64"), "dev", "out", "nodad"]);
        }
        self.on(self.machine, &["ip", "-6", "route", "add", "default", "via", WORLD_6]);
        self
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
    // The socket stays where it was made.
    at(place, || TcpListener::bind((address, 0)).unwrap())
}

/// Does something in a network namespace: a thread of its own goes there.
fn at<T: Send>(place: Process, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            let namespace = std::fs::File::open(format!("/proc/{}/ns/net", place.0)).unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        });
        there.join().unwrap()
    })
}
