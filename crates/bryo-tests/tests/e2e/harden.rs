// SPDX-License-Identifier: Apache-2.0
//! `bryo why-root` and `bryo harden`: stock services become images that are nobody's, and that is proven; what cannot
//! be without root is told.

use std::time::Duration;

use bryo_tests::host::Process;
use bryo_tests::images::path;
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::program::eventually;
use bryo_tests::services::Service;
use bryo_tests::tar::Tar;
use bryo_tests::{Home, User};
use serde_json::{Value, json};

/// Users with more than one id: with a single one no owner can be told from another.
fn users() -> Vec<User> {
    User::all().into_iter().filter(|user| user.range().is_some() || user.name == "root").collect()
}

/// Lists the kinds of reasons of an image, with who has to do something.
fn why(home: &Home, image: &str) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(&home.bryo(&["why-root", "-f", "json", image]).ok()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    report["reasons"].as_array().unwrap().iter().map(|r| (text(&r["cause"]), text(&r["by"]))).collect()
}

/// Asks a service that runs until it answers.
fn answers(home: &Home, service: &Service, image: &str) {
    let name = format!("{}-asked", service.name);
    let mut run = home.start(&["run", "--rm", "--network", "none", "--name", &name, image]);
    let inside = eventually("the container has a first process", || {
        let record = home.bryo(&["inspect", &name]);
        let pid = serde_json::from_slice::<Value>(&record.stdout).ok()?[0]["State"]["Pid"].as_u64()?;
        u32::try_from(pid).ok().filter(|p| *p > 0).map(Process)
    });
    let begin = std::time::Instant::now();
    loop {
        assert!(run.runs(), "{image} ended: {}", run.wait());
        let answer = service.ask(&home.user, &home.path, inside);
        let last = String::from_utf8_lossy(&answer.stdout).replace('\r', "");
        if last.contains(&service.answer.replace('\r', "")) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{image} says {last:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    home.bryo(&["rm", "-f", &name]).ok();
    run.wait_for(Duration::from_secs(30));
}

/// Hardens a service for each user, twice, and runs it as its own user; `expected` is why it wants root.
fn hardens(name: &str, expected: &[(&str, &str)]) {
    let service = Service::named(name);
    let mut digests = Vec::new();
    for user in users() {
        let Some(archive) = service.archive() else { return };
        let home = Home::new(&user);
        home.load(&archive);
        let found = why(&home, &service.image());
        for (cause, by) in expected {
            assert!(found.contains(&((*cause).to_owned(), (*by).to_owned())), "{cause} by {by}: {found:?}");
        }
        let target = format!("localhost/{name}-hardened:1");
        let harden = |target: &str| -> Value {
            let output = home.bryo(&["harden", "-f", "json", "-t", target, &service.image()]);
            serde_json::from_str(&output.ok()).unwrap()
        };
        let report = harden(&target);
        assert_eq!(report["proven"], true, "{report:#}");
        assert_eq!(report["user"], "65532:65532");
        let asked = report["proof"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|item| item["what"].as_str().unwrap().starts_with("answer on") && item["verdict"] == "equal");
        assert!(asked.is_some(), "{report:#}");
        assert_eq!(harden("localhost/again:1")["digest"], report["digest"], "the same gives the same");
        let image: Value = serde_json::from_str(&home.bryo(&["inspect", &target]).ok()).unwrap();
        let config = &image[0]["Config"];
        assert_eq!(config["User"], "65532:65532", "{config}");
        assert!(config["Labels"]["dev.bryo.writable"].as_str().unwrap().contains("/var"), "{config}");
        // By its own word it wants no root any more.
        let left = why(&home, &target);
        for cause in ["no-user", "user-root", "user-named", "group-zero"] {
            assert!(left.iter().all(|(other, _)| other != cause), "{left:?}");
        }
        answers(&home, &service, &target);
        digests.push(report["digest"].clone());
    }
    digests.dedup();
    assert!(digests.len() <= 1, "every user gets the same: {digests:?}");
}

#[test]
fn nginx_is_hardened_and_answers() {
    hardens(
        "nginx",
        &[
            ("no-user", "harden"),
            ("low-port", "harden"),
            ("user-directive", "nobody"),
            ("state-owner", "harden"),
            ("set-uid", "nobody"),
        ],
    );
}

#[test]
fn redis_is_hardened_and_answers() {
    hardens(
        "redis",
        &[
            ("no-user", "harden"),
            ("drops-privileges", "nobody"),
            ("changes-owner", "nobody"),
            ("state-owner", "harden"),
        ],
    );
}

#[test]
fn memcached_is_hardened_and_answers() {
    hardens("memcached", &[("no-user", "harden"), ("user-directive", "nobody")]);
}

/// An image of busybox whose entrypoint is a script, with other files.
fn scripted(home: &Home, name: &str, script: &str, files: Tar) -> String {
    let image = format!("localhost/{name}:1");
    let archive = home.path.join(format!("{name}.tar"));
    let layer = files.file("entry.sh", 0o755, format!("#!/bin/sh\n{script}\n").as_bytes()).finish();
    let config = json!({"Entrypoint": ["/entry.sh"], "Env": [path()]});
    Image::new(&image, vec![busybox_layer(), layer], config).archive(&archive);
    home.load(&archive);
    image
}

#[test]
fn what_cannot_be_without_root_is_told_and_gets_no_name() {
    for user in users() {
        let home = Home::new(&user);
        let harden = |image: &str| home.bryo(&["harden", "-t", "localhost/new:1", image]);
        let wants = "[ \"$(id -u)\" = 0 ] || { echo 'must be root'; exit 1; }\nexec sleep 300";
        let output = harden(&scripted(&home, "wants", wants, Tar::default()));
        let text = output.code(1);
        assert!(text.contains("state") && text.contains("different") && text.contains("exited with 1"), "{text}");
        assert!(text.contains("not proven"), "{text}");
        home.bryo(&["inspect", "localhost/new:1"]).fails(1, &["localhost/new:1"]);
        // One that works with no user proves nothing either.
        let text = harden(&scripted(&home, "broken", "exit 3", Tar::default())).code(1);
        assert!(text.contains("unproven"), "{text}");
        // Two that serve different ports are different.
        let ports = "[ \"$(id -u)\" = 0 ] && exec httpd -f -p 81\nexec httpd -f -p 82";
        let text = harden(&scripted(&home, "ports", ports, Tar::default())).code(1);
        assert!(text.contains("listens on") && text.contains(":81") && text.contains(":82"), "{text}");
        // And the same image without the condition is proven.
        let image = scripted(&home, "free", "exec httpd -f -p 81", Tar::default());
        assert!(harden(&image).ok().contains("does the same"));
        home.bryo(&["inspect", "localhost/new:1"]).ok();
    }
}

#[test]
fn a_start_that_becomes_another_user_unasked_goes_on_as_nobody() {
    for user in users() {
        let home = Home::new(&user);
        let gosu = "#!/bin/sh\n[ \"$(id -u)\" = 0 ] || { echo 'gosu: operation not permitted'; exit 1; }\n\
            shift\nexec \"$@\"\n";
        let files = Tar::default().file("usr/local/bin/gosu", 0o755, gosu.as_bytes());
        let image = scripted(&home, "drops", "exec gosu app sleep 300", files);
        assert!(why(&home, &image).contains(&("drops-privileges".to_owned(), "harden".to_owned())));
        let report = home.bryo(&["harden", "-f", "json", "-t", "localhost/new:1", "-u", "4000:5000", &image]);
        let report: Value = serde_json::from_str(&report.ok()).unwrap();
        assert_eq!(report["user"], "4000:5000");
        assert_eq!(report["programs"], json!(["/usr/local/lib/bryo/gosu"]));
        let said = |args: &[&str]| home.run(&[args, &["localhost/new:1", "-c", "gosu app id -u"]].concat()).text();
        assert_eq!(said(&["--entrypoint", "/bin/sh"]), "4000");
        // Root, who may still be asked for, gets the image's own.
        assert_eq!(said(&["--entrypoint", "/bin/sh", "--user", "root"]), "0");
    }
}

#[test]
fn a_key_that_a_group_may_read_needs_the_group() {
    let service = Service::named("postgres-debian");
    for user in users() {
        let Some(archive) = service.archive() else { return };
        let home = Home::new(&user);
        home.load(&archive);
        let harden = |flags: &[&str]| {
            home.bryo(&[&["harden", "-t", "localhost/pg:1"], flags, &[service.image().as_str()]].concat())
        };
        let text = harden(&[]).code(1);
        assert!(text.contains("different") && text.contains("--groups"), "{text}");
        assert!(harden(&["--groups"]).ok().contains("USER 65532: does the same"));
        answers(&home, &service, "localhost/pg:1");
    }
}

#[test]
fn the_documents_say_the_same() {
    let service = Service::named("redis");
    for user in users() {
        let Some(archive) = service.archive() else { return };
        let home = Home::new(&user);
        home.load(&archive);
        let [dockerfile, pod] = ["Dockerfile", "pod.yaml"].map(|name| home.path.join(name).display().to_string());
        let target = "localhost/redis-hardened:1";
        let image = service.image();
        home.bryo(&["harden", "-t", target, "--dockerfile", &dockerfile, "--kubernetes", &pod, &image]).ok();
        let audit = home.bryo(&["audit", "--level", "restricted", &pod]);
        audit.ok();
        let text = std::fs::read_to_string(&pod).unwrap();
        for word in [
            "runAsUser: 65532",
            "readOnlyRootFilesystem: true",
            "mountPath: \"/data\"",
            "image: \"localhost/redis-hardened:1\"",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let context = home.mkdir("context").display().to_string();
        home.bryo(&["build", "-q", "-t", "localhost/built:1", "-f", &dockerfile, &context]).ok();
        answers(&home, &service, "localhost/built:1");
        let config = |name: &str| {
            let image: Value = serde_json::from_str(&home.bryo(&["inspect", name]).ok()).unwrap();
            (image[0]["Config"]["User"].clone(), image[0]["Config"]["Labels"]["dev.bryo.writable"].clone())
        };
        assert_eq!(config(target), config("localhost/built:1"));
    }
}

#[test]
fn with_a_single_id_it_is_refused() {
    let Some(user) = User::without_range() else { return };
    let home = Home::new(&user);
    let image = scripted(&home, "single", "exec sleep 300", Tar::default());
    home.bryo(&["harden", "-t", "localhost/new:1", &image]).fails(125, &["single id", "bryo doctor"]);
}

#[test]
fn a_containers_own_words_count() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    let image = scripted(&home, "box", "exec \"$@\"", Tar::default());
    home.bryo(&["create", "--name", "asked", "--user", "5:5", "--entrypoint", "su", &image, "x", "-c", "y"]).ok();
    let found = why(&home, "asked");
    assert!(found.iter().any(|(cause, _)| cause == "drops-privileges"), "{found:?}");
    assert!(found.iter().all(|(cause, _)| cause != "no-user"), "{found:?}");
    let found = why(&home, &image);
    assert!(found.iter().all(|(cause, _)| cause != "drops-privileges"), "{found:?}");
}
