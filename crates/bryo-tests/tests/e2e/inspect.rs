// SPDX-License-Identifier: Apache-2.0
//! `inspect` and `info`: what scripts for Docker and Podman read there is where they look for it.

use bryo_tests::host::mark;
use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::{Detached, Home, User};
use serde_json::json;

fn home(user: &User) -> Home {
    let home = Home::new(user);
    home.load(&images::busybox());
    home
}

#[test]
fn a_container_is_described_as_docker_describes_it() {
    let Some(user) = User::with_range() else { return };
    let home = home(&user);
    let share = home.path.join("share");
    std::fs::create_dir(&share).unwrap();
    let bind = format!("{}:/bind:ro", share.display());
    let flags = ["-v", &bind, "-v", "data:/data", "--tmpfs", "/scratch:size=1m", "-e", "A=b", "-l", "tier=web"];
    let more = ["--restart", "on-failure:3", "--user", "5000", "-w", "/tmp", "--stop-signal", "INT", "--expose", "80"];
    let limits = ["--ulimit", "nofile=100:200", "--add-host", "db:10.0.0.9", "--health-cmd", "true"];
    let name = mark();
    let words = [&flags[..], &more, &limits, &["--network", "none", "--entrypoint", "sleep", BUSYBOX, "300"]].concat();
    let container = Detached::run(&home, &name, &words);
    let seen = container.inspect();

    let image = home.bryo(&["inspect", "--format", "{{.Id}}", BUSYBOX]).ok();
    assert_eq!((&seen["Image"], &seen["ImageName"]), (&json!(image), &json!(BUSYBOX)));
    assert_eq!((&seen["Path"], &seen["Args"]), (&json!("sleep"), &json!(["300"])));
    let state = &seen["State"];
    assert_eq!((&state["Running"], &state["Paused"], &state["ExitCode"]), (&json!(true), &json!(false), &json!(0)));
    assert_eq!(state["FinishedAt"], "0001-01-01T00:00:00Z");
    assert!(["starting", "healthy"].contains(&state["Health"]["Status"].as_str().unwrap()), "{state}");

    let config = &seen["Config"];
    assert_eq!((&config["User"], &config["WorkingDir"]), (&json!("5000"), &json!("/tmp")));
    assert_eq!((&config["Entrypoint"], &config["Cmd"]), (&json!(["sleep"]), &json!(["300"])));
    assert_eq!((&config["Labels"], &config["StopSignal"]), (&json!({"tier": "web"}), &json!("SIGINT")));
    assert!(config["Env"].as_array().unwrap().contains(&json!("A=b")), "{config}");
    assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}}));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "/bin/sh", "-c", "true"]));

    let host = &seen["HostConfig"];
    assert_eq!(host["Binds"], json!([bind, "data:/data"]));
    assert_eq!((&host["Tmpfs"], &host["NetworkMode"]), (&json!({"/scratch": "size=1048576"}), &json!("none")));
    assert_eq!(host["RestartPolicy"], json!({"Name": "on-failure", "MaximumRetryCount": 3}));
    assert_eq!(host["Ulimits"], json!([{"Name": "nofile", "Soft": 100, "Hard": 200}]));
    assert_eq!((&host["ExtraHosts"], &host["Privileged"]), (&json!(["db:10.0.0.9"]), &json!(false)));

    let volume = home.bryo(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"]).ok();
    let mounts = seen["Mounts"].as_array().unwrap();
    let of = |kind: &str| mounts.iter().find(|mount| mount["Type"] == kind).unwrap();
    assert_eq!((&of("volume")["Name"], &of("volume")["Source"]), (&json!("data"), &json!(volume)));
    assert_eq!((&of("bind")["RW"], &of("bind")["Destination"]), (&json!(false), &json!("/bind")));
    // And what only bryo has.
    assert_eq!((&seen["Identity"]["Uid"], &seen["Confinement"]["Seccomp"]), (&json!(5000), &json!(true)));

    home.bryo(&["kill", &container.name]).ok();
    container.wait();
    let state = container.inspect()["State"].clone();
    assert_eq!((&state["Status"], &state["Running"], &state["Pid"]), (&json!("exited"), &json!(false), &json!(0)));
    assert_eq!(state["ExitCode"], 137);
}

#[test]
fn templates_of_scripts_are_filled_in() {
    let Some(user) = User::with_range() else { return };
    let home = home(&user);
    let name = mark();
    home.bryo(&["run", "-d", "--name", &name, "-p", "80", BUSYBOX, "sleep", "300"]).ok();
    let of = |format: &str| home.bryo(&["inspect", "-f", format, &name]).ok();
    let port = of(r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#);
    assert_eq!(home.bryo(&["port", &name, "80"]).ok().lines().next().unwrap(), format!("0.0.0.0:{port}"));
    assert_eq!(of("{{.State.Running}} {{.RestartCount}} {{.HostConfig.AutoRemove}}"), "true 0 false");
    assert_eq!(of("{{range .Config.Cmd}}<{{.}}>{{end}}"), "<sleep><300>");
    assert_eq!(of("{{json .HostConfig.PortBindings}}"), r#"{"80/tcp":[{"HostIp":"","HostPort":""}]}"#);
    let listed = home.bryo(&["ps", "--format", "json"]).json();
    assert!(listed.get("Label").is_none() && listed["Labels"] == "", "{listed}");
    home.bryo(&["rm", "-f", &name]).ok();
}

#[test]
fn the_host_is_described_at_a_glance() {
    for user in User::all() {
        let home = home(&user);
        let _made = Detached::create(&home, &mark(), &[BUSYBOX, "true"]);
        let of = |format: &str| home.bryo(&["info", "-f", format]).ok();
        assert_eq!(of("{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.Images}}"), "1 0 1 1");
        assert_eq!(of("{{.OSType}} {{.Driver}} {{.DefaultRuntime}}"), "linux overlay bryo");
        assert_eq!(of("{{.ServerVersion}}"), home.bryo(&["version", "--format", "{{.Server.Version}}"]).ok());
        assert!(home.bryo(&["system", "info"]).ok().contains("\nKernel Version: "));
    }
}
