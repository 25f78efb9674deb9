// SPDX-License-Identifier: Apache-2.0
//! Stock images that declare root answer their protocol without any flag.

use std::time::Duration;

use bryo_tests::host::Process;
use bryo_tests::program::eventually;
use bryo_tests::services::Service;
use bryo_tests::{Home, User};

/// Runs a service as each user that can be had here, asks it, and stops it as its image wishes.
fn answers(name: &str) {
    let service = Service::named(name);
    for user in User::all() {
        if name == "postgres-debian" && user.range().is_none() && user.name != "root" {
            // With one id the key of Debian's cluster belongs to the server and not to root, and the server insists on
            // a mode that Debian does not give it then. Only other ids, or `ssl = off`, help.
            continue;
        }
        let Some(archive) = service.archive() else { return };
        let home = Home::new(&user);
        home.load(&archive);
        let mut run = home.start(&["run", "--rm", "--name", name, &service.image()]);
        let inside = eventually("the container has a first process", || {
            let record = home.bryo(&["inspect", name]);
            let pid = serde_json::from_slice::<serde_json::Value>(&record.stdout).ok()?[0]["State"]["Pid"].as_u64()?;
            u32::try_from(pid).ok().filter(|p| *p > 0).map(Process)
        });
        let start = std::time::Instant::now();
        let mut last = String::new();
        loop {
            assert!(run.runs(), "{name} for {} ended: {}", user.name, run.wait());
            assert!(start.elapsed() < Duration::from_secs(60), "{name} for {} says {last:?}", user.name);
            let answer = service.ask(&user, &home.path, inside);
            last = String::from_utf8_lossy(&answer.stdout).replace('\r', "");
            if last.contains(&service.answer.replace('\r', "")) {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        // Nobody in it is root, inside or outside.
        for process in Process::every() {
            if process.namespace("pid") == inside.namespace("pid") {
                assert!(process.ids("Uid").iter().all(|id| user.may_own(*id)), "{:?}", process.read("cmdline"));
            }
        }
        run.signal(rustix::process::Signal::TERM);
        let asked = std::time::Instant::now();
        while run.runs() && asked.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(50));
        }
        // A start script as process 1 that handles no signal is deaf to them, in every engine.
        if run.runs() {
            home.bryo(&["rm", "-f", name]).ok();
        }
        run.wait_for(Duration::from_secs(60));
    }
}

#[test]
fn nginx_answers_on_port_80() {
    answers("nginx");
}

#[test]
fn redis_answers() {
    answers("redis");
}

#[test]
fn postgres_makes_its_cluster_and_answers() {
    answers("postgres");
}

#[test]
fn debians_postgres_cluster_answers() {
    answers("postgres-debian");
}

#[test]
fn apache_answers_on_port_80() {
    answers("apache2");
}

#[test]
fn memcached_answers() {
    answers("memcached");
}
