// SPDX-License-Identifier: Apache-2.0
//! A group of the kernel's own, from its making to its end, where whoever runs the tests has a place for one. A process
//! with threads makes no child in it, so that this has a runner of one thread.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::time::{Duration, Instant};

use bryo_cgroup::{Cgroup, Handle, Kind, Request, enter};
use bryo_sys::clone::{Fork, Namespaces, fork_into_group};
use bryo_sys::exec::exit_now;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPidsBuilder, LinuxResources};
use rustix::process::{Signal, WaitId, WaitIdOptions};

fn resources() -> LinuxResources {
    let (mut memory, mut cpu, mut resources) = (LinuxMemory::default(), LinuxCpu::default(), LinuxResources::default());
    memory.set_limit(Some(64 << 20)).set_swap(Some(64 << 20));
    cpu.set_shares(Some(512));
    let pids = LinuxPidsBuilder::default().limit(5).build().unwrap();
    resources.set_devices(None).set_memory(Some(memory)).set_cpu(Some(cpu)).set_pids(Some(pids));
    resources
}

fn main() {
    let name = format!("bryo-{:012x}", std::process::id());
    let (resources, description) = (resources(), "a test of bryo");
    let request = Request { name: &name, description, resources: &resources, pids_by_default: false, stop: &[] };
    let group = match Cgroup::make(request) {
        Ok(group) => group,
        Err(e) if matches!(e.kind(), Kind::NoCgroup2 | Kind::NoPlace | Kind::NoManager | Kind::NotDelegated) => {
            println!("!!! SKIPPED: {e}");
            return;
        }
        Err(e) => panic!("{e}"),
    };
    let enforced = group.enforced();
    assert_eq!((enforced.memory, enforced.swap), (Some(64 << 20), Some(0)));
    assert_eq!((enforced.cpu_weight, enforced.pids), (Some(59), Some(5)));

    // Whoever is beside it already is brought nowhere.
    enter(group.path(), &[]).unwrap();
    let Fork::Parent { pidfd, .. } = fork_into_group(Namespaces::empty(), group.directory()).unwrap() else {
        loop {
            if std::hint::black_box(false) {
                exit_now(0);
            }
        }
    };
    let handle = Handle::open(group.path()).unwrap();
    let used = || handle.stats().cpu_usec.unwrap();
    assert_eq!((handle.stats().pids, handle.stats().pids_max), (Some(1), Some(5)));
    let start = used();
    let patience = Instant::now();
    while used() == start {
        assert!(patience.elapsed() < Duration::from_secs(10), "the child does not run");
    }
    handle.freeze().unwrap();
    let frozen = used();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(used(), frozen, "a frozen process takes no time");
    handle.thaw().unwrap();
    let patience = Instant::now();
    while used() == frozen {
        assert!(patience.elapsed() < Duration::from_secs(10), "the child does not go on");
    }

    let path = group.path().to_owned();
    assert!(!group.oom_killed());
    rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
    rustix::process::waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)), WaitIdOptions::EXITED).unwrap();
    drop(group);
    assert!(Handle::open(&path).is_err(), "the group is gone");
    println!("test a_group_limits_freezes_counts_and_goes ... ok");
}
