// SPDX-License-Identifier: Apache-2.0
//! Removing a container by force ends that container's process, and no other that has its number by now.

#![allow(clippy::unwrap_used, reason = "the helpers of a test panic like the test")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bryo_engine::container::{Confinement, Held, Id, Identity, ProcessId, Record, Status};
use bryo_engine::{Dirs, Engine, Policy};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

fn sleeper() -> (Child, i32, Option<ProcessId>) {
    let child = Command::new("sleep").arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    let process = ProcessId::of(pid, pidfd_open(pid, PidfdFlags::empty()).unwrap());
    (child, pid.as_raw_nonzero().get(), process)
}

fn record(id: &Id, pid: i32, process: Option<ProcessId>) -> Record {
    let identity = Identity {
        rung: "subordinate".into(),
        escapee: String::new(),
        user: "nonroot".into(),
        uid: 65532,
        gid: 65532,
        groups: Vec::new(),
        host_uid: None,
        host_gid: None,
        uid_map: Vec::new(),
        gid_map: Vec::new(),
    };
    Record {
        limits: Default::default(),
        id: id.clone(),
        name: "moss".into(),
        image: "host:".into(),
        image_id: None,
        created: "2026-01-01T00:00:00Z".into(),
        command: Vec::new(),
        auto_remove: false,
        labels: Default::default(),
        identity,
        confinement: Confinement::default(),
        state: Status { status: "running".into(), pid, process, ..Status::default() },
        layers: Vec::new(),
        health_check: None,
        options: bryo_engine::options::RunOptions::default(),
        spec: Default::default(),
    }
}

/// Removes a container by force whose supervisor reaps its process, if it has one, and gives it back a moment later;
/// returns whether that worked.
fn remove(engine: &Engine, held: Held, process: Option<&mut Child>) -> bool {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if let Some(process) = process {
                assert!(!process.wait().unwrap().success());
            }
            std::thread::sleep(Duration::from_millis(300));
            drop(held);
        });
        engine.remove_by_name("moss", true).is_ok()
    })
}

#[test]
fn only_the_containers_own_process_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = Dirs { data: dir.path().join("data"), runtime: dir.path().join("run") };
    let engine = Engine::open(dirs, Policy::default()).unwrap();
    let (mut own, pid, process) = sleeper();
    let (mut other, other_pid, _) = sleeper();

    // The container's process has ended, and its number is another's.
    let id = Id::random();
    let held = engine.containers().create(&id, "moss").unwrap();
    let text =
        serde_json::to_string(&process).unwrap().replace(&format!("\"Pid\":{pid},"), &format!("\"Pid\":{other_pid},"));
    assert!(text.contains(&other_pid.to_string()), "{text}");
    held.write(&record(&id, other_pid, serde_json::from_str(&text).unwrap())).unwrap();
    assert!(remove(&engine, held, None));
    assert_eq!(other.try_wait().unwrap(), None);

    let id = Id::random();
    let held = engine.containers().create(&id, "moss").unwrap();
    held.write(&record(&id, pid, process)).unwrap();
    assert!(remove(&engine, held, Some(&mut own)));
    other.kill().unwrap();
    other.wait().unwrap();
}
