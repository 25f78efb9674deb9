// SPDX-License-Identifier: Apache-2.0
//! `bryo why-root` and `bryo harden`: stock services become images that are nobody's, and that is proven; what cannot
//! be without root is told.

use std::time::Duration;

use bryo_tests::host::Process;
use bryo_tests::images::{BUSYBOX, path};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::program::eventually;
use bryo_tests::services::Service;
use bryo_tests::tar::{Entry, Tar};
use bryo_tests::{Home, User};
use rustix::process::Signal;
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
            (image[0]["Config"]["User"].clone(), image[0]["Config"]["Labels"].clone())
        };
        assert_eq!(config(target), config("localhost/built:1"));
        assert!(config(target).1["dev.bryo.hardened-from"].as_str().unwrap().starts_with("sha256:"));
        // What is hardened stays what it is.
        let id = |name: &str| home.bryo(&["inspect", "-f", "{{.Id}}", name]).text();
        let again = home.bryo(&["harden", "-t", "localhost/twice:1", target]).ok();
        assert!(again.contains("hardened already"), "{again}");
        assert_eq!(id("localhost/twice:1"), id(target));
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

/// An image with the account of a service, and its files.
fn of_a_service(home: &Home, name: &str, script: &str) -> String {
    let passwd = "root:x:0:0::/root:/bin/sh\nsvc:x:105:106::/var/lib/svc:/bin/false\n";
    let entry = |name, kind, mode, ids, data| Entry { name, kind, mode, ids, link: "", data };
    let files = Tar::default()
        .file("etc/passwd", 0o644, passwd.as_bytes())
        .file("etc/group", 0o644, b"root:x:0:\nsvc:x:106:\n")
        .entry(entry("etc/svc/", b'5', 0o750, (0, 106), b""))
        .entry(entry("etc/svc/secret", b'0', 0o640, (0, 106), b"the group's"))
        .entry(entry("etc/other", b'0', 0o640, (0, 107), b"not the group's"))
        .dir("var/lib/dpkg/", 0o755)
        .file("var/lib/dpkg/status", 0o644, b"Package: x\n");
    scripted(home, name, script, files)
}

#[test]
fn a_service_gets_what_it_asks_for_and_no_more() {
    // Each control is beside what must not come through.
    let script = "set -e\nrefused() { if \"$@\" 2>/tmp/why; then echo \"$* came through\"; exit 1; fi; }\n\
        mkdir -p /run/svc && chown -R svc:svc /run/svc && chgrp svc /run/svc\n\
        if [ \"$(id -u)\" != 0 ]; then\n\
        refused chown 105 /run/svc; grep -q 'not permitted' /tmp/why\n\
        cat /etc/svc/secret\nrefused cat /etc/other; grep -q denied /tmp/why\n\
        refused sh -c 'echo >> /etc/svc/secret'\n\
        mkdir /var/lib/new /var/new && mv /var/lib/new /var/lib/renamed && rmdir /var/lib/renamed\n\
        refused mv /var/lib/dpkg /var/lib/away; grep -q 'not permitted' /tmp/why\n\
        refused sh -c 'echo >> /var/lib/dpkg/status'\nfi\nexec httpd -f -p 81";
    for user in users() {
        let home = Home::new(&user);
        let image = of_a_service(&home, "svc", script);
        let mut run = home.start(&["run", "--rm", "--name", "svc", &image]);
        eventually("it listens", || {
            assert!(run.runs(), "it ended");
            let asked = home.bryo(&["exec", "svc", "grep", "-q", ":0051 ", "/proc/net/tcp", "/proc/net/tcp6"]);
            asked.status.success().then_some(())
        });
        home.bryo(&["rm", "-f", "svc"]).ok();
        run.wait_for(Duration::from_secs(30));
        let context = home.mkdir("context");
        let file = context.join("Dockerfile").display().to_string();
        let text = home.bryo(&["harden", "-t", "localhost/new:1", "--dockerfile", &file, &image]).ok();
        assert!(text.contains("does the same"), "{text}");
        // So is what the Dockerfile makes.
        home.bryo(&["build", "-q", "-t", "localhost/built:1", &context.display().to_string()]).ok();
        let tried = "cat /etc/svc/secret && mkdir /var/lib/new && ! cat /etc/other && id -u";
        for image in ["localhost/new:1", "localhost/built:1"] {
            let said = home.run(&["--entrypoint", "sh", image, "-c", tried]).ok();
            assert_eq!(said, "the group's65532", "{image}");
        }
    }
}

#[test]
fn an_interrupted_proof_leaves_no_container_and_no_image() {
    for user in users() {
        let home = Home::new(&user);
        let image = scripted(&home, "slow", "exec sleep 300", Tar::default());
        let left = || (home.bryo(&["ps", "-aq"]).ok(), home.bryo(&["images", "-aq"]).ok().lines().count());
        assert_eq!(left(), (String::new(), 1));
        for (number, signal) in [(15, Signal::TERM), (2, Signal::INT)] {
            let run = home.start(&["harden", "--settle", "600", "-t", "localhost/new:1", &image]);
            eventually("both run", || (home.bryo(&["ps", "-q"]).ok().lines().count() == 2).then_some(()));
            run.signal(signal);
            run.wait_for(Duration::from_secs(30)).code(128 + number);
            assert_eq!(left(), (String::new(), 1));
        }
        // What cannot be answered leaves no container either: they end with the command.
        let run = home.start(&["harden", "--settle", "600", "-t", "localhost/new:1", &image]);
        eventually("both run", || (home.bryo(&["ps", "-q"]).ok().lines().count() == 2).then_some(()));
        run.signal(Signal::KILL);
        run.wait_for(Duration::from_secs(30));
        eventually("both are gone", || home.bryo(&["ps", "-aq"]).ok().is_empty().then_some(()));
    }
}

#[test]
fn what_a_service_fails_by_without_root_is_taken_out() {
    for user in users() {
        let home = Home::new(&user);
        // It is as strict as the real one: it serves nobody who may not give the groups away.
        let privoxy = "#!/bin/sh\n[ \"$1\" = --user ] && [ \"$(id -u)\" != 0 ] && { echo cannot; exit 1; }\nexec httpd -f -p 81\n";
        let rsync = "#!/bin/sh\ngrep -q '^uid' /etc/rsyncd.conf && [ \"$(id -u)\" != 0 ] && { echo cannot; exit 1; }\n\
            exec httpd -f -p 82\n";
        let files = Tar::default()
            .file("usr/bin/privoxy", 0o755, privoxy.as_bytes())
            .file("usr/bin/rsync", 0o755, rsync.as_bytes())
            .file("etc/rsyncd.conf", 0o644, b"uid = nobody\n[m]\npath = /m\n");
        let image = scripted(&home, "strict", "rsync --daemon &\nexec privoxy --user privoxy /etc/config", files);
        assert!(why(&home, &image).contains(&("user-directive".to_owned(), "harden".to_owned())));
        let [dockerfile, pod] = ["Dockerfile", "pod.yaml"].map(|name| home.path.join(name).display().to_string());
        let documents = ["--dockerfile", &dockerfile, "--kubernetes", &pod];
        let harden = |target: &str| {
            let words = [&["harden", "-f", "json", "-t", target], &documents[..], &[image.as_str()]].concat();
            serde_json::from_str::<Value>(&home.bryo(&words).ok()).unwrap()
        };
        let report = harden("localhost/new:1");
        let taken =
            json!(["taken out of /etc/rsyncd.conf:1: uid = nobody", "taken out of each call of privoxy: --user"]);
        assert_eq!(report["taken_out"], taken);
        assert_eq!(harden("localhost/again:1")["digest"], report["digest"]);
        assert!(std::fs::read_to_string(&pod).unwrap().contains("/etc/rsyncd.conf:1: uid = nobody"));
        // The Dockerfile makes the same of it.
        let context = home.mkdir("context").display().to_string();
        home.bryo(&["build", "-q", "-t", "localhost/built:1", "-f", &dockerfile, &context]).ok();
        let seen = |image: &str| {
            let tried = "stat -c %a:%u:%g /etc/rsyncd.conf; cat /etc/rsyncd.conf";
            home.run(&["--user", "root", "--entrypoint", "sh", image, "-c", tried]).text()
        };
        assert_eq!(seen("localhost/new:1"), seen("localhost/built:1"));
        assert!(seen("localhost/new:1").starts_with("644:0:0\n# taken out by bryo harden: uid = nobody\n[m]\n"));
        // Words of the image's own lose the flag themselves.
        let layer = Tar::default().file("usr/bin/privoxy", 0o755, privoxy.as_bytes()).finish();
        let archive = home.path.join("direct.tar");
        let config = json!({"Entrypoint": ["privoxy", "--user", "privoxy"], "Cmd": ["/x"], "Env": [path()]});
        Image::new("localhost/direct:1", vec![busybox_layer(), layer], config).archive(&archive);
        home.load(&archive);
        home.bryo(&["harden", "-t", "localhost/direct:2", "localhost/direct:1"]).ok();
        let image: Value = serde_json::from_str(&home.bryo(&["inspect", "localhost/direct:2"]).ok()).unwrap();
        assert_eq!(
            (&image[0]["Config"]["Entrypoint"], &image[0]["Config"]["Cmd"]),
            (&json!(["privoxy"]), &json!(["/x"]))
        );
    }
}

#[test]
fn what_is_not_proven_leaves_nothing_and_is_told_once() {
    for user in users() {
        let home = Home::new(&user);
        let count = || {
            let blobs = std::fs::read_dir(home.store().join("images/blobs/sha256")).unwrap().count();
            (blobs, home.bryo(&["images", "-aq"]).ok(), home.bryo(&["ps", "-aq"]).ok())
        };
        let broken = scripted(&home, "broken", "exit 3", Tar::default());
        let before = count();
        home.bryo(&["harden", "-t", "localhost/new:1", &broken]).code(1);
        assert_eq!(count(), before);
        let report = home.bryo(&["harden", "-f", "json", "-t", "localhost/new:1", "--", &broken, "x"]);
        let report: Value = serde_json::from_str(&report.code(1)).unwrap();
        assert_eq!(report["name"], Value::Null);
        // A program that is not there fails in the process that would have watched over it.
        let archive = home.path.join("none.tar");
        let config = json!({"Entrypoint": ["/none"], "Env": [path()]});
        Image::new("localhost/none:1", vec![busybox_layer()], config).archive(&archive);
        home.load(&archive);
        let before = count();
        let text = home.bryo(&["harden", "-t", "localhost/new:1", "localhost/none:1"]).code(1);
        assert_eq!(text.matches("not proven").count(), 1, "{text}");
        assert!(text.contains("unproven") && text.contains("127"), "{text}");
        assert_eq!(count(), before);
        // What had a name before keeps it.
        let good = scripted(&home, "good", "exec sleep 300", Tar::default());
        home.bryo(&["harden", "-t", "localhost/kept:1", &good]).ok();
        home.bryo(&["harden", "-t", "localhost/kept:2", "-e", "A=1", &good, "/none"]).ok();
        home.bryo(&["inspect", "localhost/kept:1"]).ok();
    }
}

#[test]
fn it_speaks_the_language_of_its_base() {
    if !bryo_tests::skip::have("skopeo") {
        return;
    }
    for user in users() {
        let home = Home::new(&user);
        let oci = scripted(&home, "language", "exec sleep 300", Tar::default());
        let archive = home.path.join("language.tar").display().to_string();
        let dir = home.mkdir("docker").display().to_string();
        home.tool(
            "skopeo",
            &["copy", "-q", "--format", "v2s2", &format!("oci-archive:{archive}"), &format!("dir:{dir}")],
        )
        .ok();
        let docker = home.bryo(&["pull", "-q", &format!("dir:{dir}")]).text();
        for (base, of_manifest, of_layer) in [
            (oci.as_str(), "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
            (
                docker.trim(),
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
        ] {
            home.bryo(&["harden", "-t", "localhost/new:1", base]).ok();
            let read = |path: &str| -> Value {
                serde_json::from_slice(&std::fs::read(home.store().join("images").join(path)).unwrap()).unwrap()
            };
            let index = read("index.json");
            let new = index["manifests"]
                .as_array()
                .unwrap()
                .iter()
                .find(|entry| entry["annotations"].to_string().contains("localhost/new:1"));
            let new = new.unwrap();
            assert_eq!(new["mediaType"], of_manifest);
            let manifest = read(&format!("blobs/{}", new["digest"].as_str().unwrap().replace(':', "/")));
            assert_eq!(manifest["mediaType"], of_manifest);
            assert_eq!(manifest["layers"].as_array().unwrap().last().unwrap()["mediaType"], of_layer);
        }
    }
}

#[test]
fn a_build_is_hardened_or_fails() {
    for user in users() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let context = home.mkdir("context").display().to_string();
        let build = |text: &str, flags: &[&str]| {
            home.write("context/Dockerfile", format!("FROM {BUSYBOX}\n{text}"));
            home.bryo(&[&["build", "--harden", "-t", "localhost/built:1"], flags, &[context.as_str()]].concat())
        };
        let report = build("CMD [\"httpd\", \"-f\", \"-p\", \"81\"]\n", &["--require-nonroot"]);
        report.ok();
        let image: Value = serde_json::from_str(&home.bryo(&["inspect", "localhost/built:1"]).ok()).unwrap();
        assert_eq!(image[0]["Config"]["User"], "65532:65532");
        // What was built before it was hardened has no name and is gone.
        assert_eq!(home.bryo(&["images", "-aq"]).ok().lines().count(), 2);
        let wants = "CMD [\"sh\", \"-c\", \"[ $(id -u) = 0 ] && exec httpd -f -p 82; exit 1\"]\n";
        home.bryo(&["rmi", "localhost/built:1"]).ok();
        let output = build(wants, &[]);
        output.fails(1, &["different", "not proven"]);
        home.bryo(&["inspect", "localhost/built:1"]).fails(1, &["localhost/built:1"]);
        assert_eq!(home.bryo(&["images", "-aq"]).ok().lines().count(), 1);
        assert_eq!(home.bryo(&["ps", "-aq"]).ok(), "");
    }
}
