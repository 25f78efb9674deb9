// SPDX-License-Identifier: Apache-2.0
//! The end-to-end tests: one program, a module a feature.
//!
//! One part is run by its name: `scripts/test -p bryo-tests network::`. Tests that need what a machine does not have
//! say so loudly and are counted.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod attach;
mod audit;
mod bad_input;
mod build;
mod build_bad;
mod build_corpus;
mod build_exchange;
mod build_mounts;
mod build_owners;
mod build_packages;
mod build_stages;
mod build_view;
mod changes;
mod config;
mod confinement;
mod connecting;
mod copy;
mod crash;
mod demo;
mod doctor;
mod drift;
mod escapes;
mod events;
mod exec;
mod exits;
mod faults;
mod files;
mod full_disk;
mod handbook;
mod harden;
mod host_system;
mod identity;
mod inspect;
mod life;
mod limits;
mod list;
mod loaders;
mod login;
mod logs;
mod network;
mod networks;
mod observe;
mod policy;
mod ports;
mod processes;
mod proxies;
mod prune;
mod pull;
mod quadlet;
mod radius;
mod restart;
mod run;
mod sbom;
mod services;
mod stdio;
mod store;
mod support;
mod systemd;
mod tty;
mod unpack;
mod users;
mod volume_commands;
mod volumes;
mod vulns;

/// A module that nobody names is a test that never runs.
#[test]
fn every_module_is_named() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    let main = std::fs::read_to_string(dir.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap();
        assert!(module == "main" || main.contains(&format!("\nmod {module};\n")), "{name} is not run");
    }
}
