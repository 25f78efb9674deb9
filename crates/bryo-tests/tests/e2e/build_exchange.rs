// SPDX-License-Identifier: Apache-2.0
//! `build`: contexts from elsewhere, results for elsewhere, and steps that machines share.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::registry::Registry;
use bryo_tests::tar::Tar;
use bryo_tests::{Home, Output, User, skip};
use serde_json::Value;

fn ground(user: &User) -> Home {
    let home = Home::new(user);
    home.load(&images::busybox());
    home.write("c/a.txt", "a\n");
    home
}

#[track_caller]
fn build(home: &Home, dockerfile: &str, args: &[&str]) -> Output {
    home.write("c/Dockerfile", dockerfile);
    let context = home.path.join("c").display().to_string();
    home.bryo(&[&["build", "-t", "localhost/built", "--progress", "plain"], args, &[&context]].concat())
}

fn inside(home: &Home, script: &str) -> String {
    home.run(&["--user", "root", "--entrypoint", "/bin/sh", "localhost/built", "-c", script]).ok()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Writes an image as a layout, and returns a reader of its blobs with the descriptor of what is at its top.
fn layout(home: &Home, name: &str) -> (impl Fn(&Value) -> Value + use<>, Value) {
    let dir = home.path.join("layout");
    drop(fs::remove_dir_all(&dir));
    home.bryo(&["push", name, &format!("oci:{}", dir.display())]).ok();
    let top = json(&dir.join("index.json"))["manifests"][0].clone();
    let read = move |descriptor: &Value| {
        json(&dir.join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/")))
    };
    (read, top)
}

#[test]
fn steps_of_one_store_are_found_in_another() {
    for user in User::all() {
        let dockerfile =
            format!("FROM {BUSYBOX}\nRUN echo made > /x\nWORKDIR /w\nCOPY a.txt .\nRUN true\nRUN rm /etc/shadow\n");
        let (one, other) = (ground(&user), ground(&user));
        let kept = format!("type=local,dest={}", one.path.join("kept").display());
        build(&one, &dockerfile, &["--cache-to", &kept]).ok();
        assert!(!one.bryo(&["images"]).ok().contains("cache"), "the image of steps is nobody's");
        one.tool_as_owner("chmod", &["-R", "a+rX", &one.path.display().to_string()]);
        let from = format!("type=local,src={}", one.path.join("kept").display());
        let said = build(&other, &dockerfile, &["--cache-from", &from]);
        said.ok();
        assert_eq!(said.stderr.matches("CACHED").count(), 5, "{said}");
        assert_eq!(inside(&other, "cat /x /w/a.txt; ls /etc/shadow 2>/dev/null || true"), "made\na");
        let names = other.bryo(&["images", "--format", "{{.Repository}}"]).ok();
        assert!(!names.contains("cache") && !names.contains("none"), "{names}");
        // What is not there is no reason to stop.
        let said = build(&other, &dockerfile, &["--cache-from", "type=local,src=/none"]);
        said.ok();
        assert!(said.stderr.contains("going on without"), "{said}");
        build(&other, &dockerfile, &["--cache-to", "type=inline"]).fails(125, &["type=inline"]);
    }
}

#[test]
fn steps_travel_through_a_registry() {
    let (Some(user), Some(registry)) = (User::with_range(), Registry::start(false)) else { return };
    let dockerfile = format!("FROM {BUSYBOX}\nRUN echo made > /x\nCOPY a.txt /y\n");
    let name = format!("type=registry,ref={}/cache:1", registry.host);
    let (one, other) = (ground(&user), ground(&user));
    for home in [&one, &other] {
        home.write(".config/bryo/config.toml", format!("[registries]\ninsecure = [\"{}\"]\n", registry.host));
    }
    build(&one, &dockerfile, &["--cache-to", &name]).ok();
    let said = build(&other, &dockerfile, &["--cache-from", &name]);
    said.ok();
    assert_eq!(said.stderr.matches("CACHED").count(), 2, "{said}");
    assert!(!other.bryo(&["images"]).ok().contains(&registry.host));
    // A plain image is no cache.
    let image = registry.put(&images::busybox(), "busybox:1");
    let said = build(&other, &dockerfile, &["--cache-from", &image]);
    said.ok();
    assert!(said.stderr.contains("no cache of a build"), "{said}");
}

#[test]
fn layers_are_compressed_as_is_wanted_and_manifests_annotated() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let dockerfile = format!("FROM {BUSYBOX}\nCOPY a.txt /x\n");
    for (way, suffix) in [("gzip", "+gzip"), ("zstd", "+zstd"), ("uncompressed", ".tar")] {
        build(&home, &dockerfile, &["--compression", way, "--annotation", "org.example.a=b c"]).ok();
        let (read, top) = layout(&home, "localhost/built");
        let manifest = read(&top);
        assert!(manifest["layers"][1]["mediaType"].as_str().unwrap().ends_with(suffix), "{manifest}");
        assert_eq!(manifest["annotations"]["org.example.a"], "b c");
        assert_eq!(inside(&home, "cat /x"), "a");
    }
    assert!(build(&home, &dockerfile, &["--compression", "zstd"]).stderr.contains("CACHED"));
    build(&home, &dockerfile, &["--compression", "lzma"]).fails(125, &["zstd"]);
}

#[test]
fn one_layer_stands_for_all_that_the_build_adds() {
    for user in User::all() {
        let home = ground(&user);
        let dockerfile = format!(
            "FROM {BUSYBOX}\nRUN mkdir /d /e && echo 1 > /d/1 && echo 1 > /f && ln /f /g && rm /etc/shadow\n\
             RUN rm -r /home /f && echo 2 > /d/2\nRUN mkdir /home && echo 3 > /home/3 && rmdir /e\nCMD [\"x\"]\n"
        );
        let listed = || {
            inside(
                &home,
                "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o -path /etc -prune -o -type f -print | sort; cat /d/* /g /home/*; stat -c %a /d /home; ls -a /home /etc",
            )
        };
        build(&home, &dockerfile, &[]).ok();
        let expected = listed();
        let id = |_: ()| home.bryo(&["images", "-q", "--no-trunc", "localhost/built"]).ok();
        for _ in 0..2 {
            build(&home, &dockerfile, &["--squash"]).ok();
            assert_eq!(listed(), expected, "{user:?}");
        }
        let (read, top) = layout(&home, "localhost/built");
        let manifest = read(&top);
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        let config = read(&manifest["config"]);
        let made = config["history"].as_array().unwrap().iter().filter(|step| step["empty_layer"] != true).count();
        assert_eq!((made, &config["config"]["Cmd"][0]), (2, &Value::from("x")));
        let squashed = id(());
        build(&home, &dockerfile, &["--squash"]).ok();
        assert_eq!(id(()), squashed);
    }
}

#[test]
fn several_platforms_become_one_index_that_is_pushed_whole() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    let home = ground(&user);
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY <<E /arch\n$TARGETARCH\nE\nCOPY a.txt /\nUSER 5\n";
    build(&home, dockerfile, &["--platform", "linux/amd64,linux/arm64", "--provenance"]).ok();
    home.bryo(&["system", "prune", "-f"]).ok();
    let (read, top) = layout(&home, "localhost/built");
    let index = read(&top);
    let manifests = index["manifests"].as_array().unwrap();
    let platforms: Vec<&str> = manifests.iter().map(|m| m["platform"]["architecture"].as_str().unwrap()).collect();
    assert_eq!(platforms, ["amd64", "arm64", "unknown", "unknown"]);
    for (image, statement) in manifests[..2].iter().zip(&manifests[2..]) {
        assert_eq!(statement["annotations"]["vnd.docker.reference.digest"], image["digest"]);
        let statement = read(&read(statement)["layers"][0]);
        assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
        let subject = statement["subject"][0]["digest"]["sha256"].as_str().unwrap();
        assert_eq!(format!("sha256:{subject}"), image["digest"].as_str().unwrap());
        assert_eq!(read(&read(image)["config"])["architecture"], image["platform"]["architecture"]);
    }
    let target = format!("{}/all:1", registry.host);
    let digest = home.bryo(&["push", "-q", "--tls-verify=false", "localhost/built", &target]).ok();
    assert_eq!(digest, top["digest"].as_str().unwrap());
    assert_eq!(registry.manifest(&target)["manifests"], index["manifests"]);
    // Somebody else takes from it what fits.
    let other = Home::new(&user);
    other.bryo(&["pull", "--tls-verify=false", "--platform", "linux/arm64", &target]).ok();
    assert_eq!(other.bryo(&["inspect", &target]).json()[0]["Architecture"], "arm64");
    let archive = home.path.join("all.tar").display().to_string();
    home.bryo(&["save", "--format", "oci-archive", "-o", &archive, "localhost/built"]).ok();
    home.tool_as_owner("chmod", &["-R", "a+rX", &home.path.display().to_string()]);
    other.bryo(&["load", "-i", &archive]).ok();
    let foreign = format!("FROM {BUSYBOX}\nRUN true\n");
    build(&home, &foreign, &["--platform", "linux/s390x"]).fails(1, &["pull localhost/busybox"]);
}

#[test]
fn what_is_attested_is_what_was_asked_for_and_no_secret() {
    let Some(user) = User::with_range() else { return };
    let home = ground(&user);
    home.write("s", "a-secret-of-this-test");
    let dockerfile =
        format!("FROM {BUSYBOX}\nARG A\nRUN --mount=type=secret,id=s test -s /run/secrets/s && echo $A > /x\n");
    let mut digests = Vec::new();
    for mode in ["--provenance=mode=min", "--provenance=mode=max", "--provenance=mode=max"] {
        let secret = format!("id=s,src={}", home.path.join("s").display());
        let args = ["--build-arg", "A=value", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--secret", &secret, mode];
        build(&home, &dockerfile, &args).ok();
        let (read, top) = layout(&home, "localhost/built");
        let index = read(&top);
        let statement = read(&read(&index["manifests"][1])["layers"][0]);
        let definition = &statement["predicate"]["buildDefinition"];
        let uri = definition["resolvedDependencies"][0]["uri"].as_str().unwrap();
        assert!(uri.starts_with("pkg:docker/localhost/busybox@latest?platform=linux%2F"), "{uri}");
        assert_eq!(definition["externalParameters"]["args"]["build-arg:A"] == "value", mode.ends_with("max"));
        assert!(!statement.to_string().contains("a-secret"));
        assert_eq!(statement["predicate"]["runDetails"]["metadata"]["startedOn"], "2023-11-14T22:13:20Z");
        digests.push(top["digest"].clone());
    }
    assert_eq!(digests[1], digests[2], "a statement with a time that is said is the same each time");
    assert_eq!(inside(&home, "cat /x"), "value");
}

/// Makes a repository with two commits, a branch and a tag; returns its address and the first commit.
fn repository(home: &Home) -> (String, String) {
    let dir = home.mkdir("r.git");
    let dir = dir.display().to_string();
    let git = |args: &[&str]| {
        let author = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"];
        home.tool("git", &[&["-C", &dir][..], &author, args].concat()).ok()
    };
    git(&["init", "-q", "-b", "main"]);
    home.write("r.git/Dockerfile", format!("FROM {BUSYBOX}\nCOPY . /r\n"));
    home.write("r.git/sub/Dockerfile", format!("FROM {BUSYBOX}\nCOPY f /x\n"));
    home.write("r.git/sub/f", "first\n");
    std::os::unix::fs::symlink("/etc", home.path.join("r.git/etc")).unwrap();
    git(&["add", "."]);
    git(&["commit", "-qm", "first"]);
    let first = git(&["rev-parse", "HEAD"]);
    home.write("r.git/sub/f", "second\n");
    git(&["commit", "-qam", "second"]);
    git(&["tag", "v2"]);
    (format!("file://{dir}"), first)
}

#[test]
fn a_repository_is_a_context_and_a_source() {
    let Some(user) = User::ordinary() else { return };
    if !skip::have("git") {
        return;
    }
    let home = ground(&user);
    let (url, first) = repository(&home);
    let built = |context: &str| home.bryo(&["build", "-q", "-t", "localhost/built", context]);
    built(&url).ok();
    assert_eq!(inside(&home, "ls -A /r | tr '\\n' ' '; readlink /r/etc"), "Dockerfile etc sub /etc");
    for (fragment, content) in [("#main:sub", "second"), ("#:sub", "second"), ("#v2:sub", "second")] {
        built(&format!("{url}{fragment}")).ok();
        assert_eq!(inside(&home, "cat /x"), content, "{fragment}");
    }
    built(&format!("{url}#{first}:sub")).ok();
    assert_eq!(inside(&home, "cat /x"), "first");
    built(&format!("{url}#none")).fails(1, &["none"]);
    built(&format!("{url}#main:etc")).fails(1, &["no directory \"etc\""]);
    built("http://127.0.0.1/x.git").fails(1, &["anybody on the way"]);
    let add = |flags: &str, from: &str| build(&home, &format!("FROM {BUSYBOX}\nADD {flags} {from} /r\n"), &[]);
    // What is the caller's is not the Dockerfile's: neither repositories of this machine nor keys.
    add("", &url).fails(1, &["nothing of this machine but the context"]);
    add("", "git@localhost:x").fails(1, &["--ssh default"]);
    let (second, served) = served(&home);
    add("--chown=5", &format!("{served}#{second}:sub")).ok();
    assert_eq!(inside(&home, "cat /r/f; stat -c %u /r/f; ls -A /r | wc -l"), "second\n5\n2");
    assert!(add("--chown=5", &format!("{served}#{second}:sub")).stderr.contains("CACHED"));
    add("--keep-git-dir", &format!("{served}#{second}")).ok();
    assert_eq!(inside(&home, "test -f /r/.git/HEAD && echo kept"), "kept");
    add(&format!("--checksum={first}"), &format!("{served}#{second}")).fails(1, &["the commit is", &first]);
    let left = fs::read_dir(home.store().join("build")).unwrap().flatten().map(|entry| entry.file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("context-")));
}

/// Serves the repository as files; returns its second commit and the address.
fn served(home: &Home) -> (String, String) {
    use std::io::Write;
    let git = home.path.join("r.git/.git");
    let dir = git.display().to_string();
    home.tool("git", &["-C", &dir, "update-server-info"]).ok();
    let second = home.tool("git", &["-C", &dir, "rev-parse", "v2"]).ok();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = request.split_whitespace().nth(1).and_then(|path| path.strip_prefix("/x.git/"));
            let path = path.and_then(|path| path.split('?').next()).unwrap_or("none");
            let answer = match fs::read(git.join(path)) {
                Ok(bytes) => [
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())
                        .as_bytes(),
                    &bytes,
                ]
                .concat(),
                Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            };
            // One that has heard enough is gone.
            let _gone = stream.write_all(&answer);
        }
    });
    (second, format!("http://127.0.0.1:{port}/x.git"))
}

/// Answers one request with a file.
fn serve(content: Vec<u8>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _request = stream.read(&mut [0; 4096]).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len()).unwrap();
        stream.write_all(&content).unwrap();
    });
    format!("http://127.0.0.1:{port}/context.tar")
}

#[test]
fn an_address_is_a_context() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let dockerfile = format!("FROM {BUSYBOX}\nCOPY f /x\n");
    let archive = Tar::default().file("f", 0o644, b"fetched\n").file("Dockerfile", 0o644, dockerfile.as_bytes());
    home.bryo(&["build", "-q", "-t", "localhost/built", &serve(archive.finish())]).ok();
    assert_eq!(inside(&home, "cat /x"), "fetched");
    let alone = format!("FROM {BUSYBOX}\nRUN echo alone > /x\n").into_bytes();
    home.bryo(&["build", "-q", "-t", "localhost/built", &serve(alone)]).ok();
    assert_eq!(inside(&home, "cat /x"), "alone");
    home.bryo(&["build", "http://192.0.2.1/x.tar"]).fails(1, &["plain HTTP"]);
    home.bryo(&["build", "ftp://127.0.0.1/x.tar"]).fails(1, &["https://"]);
    let left = fs::read_dir(home.store().join("build")).unwrap().flatten().map(|entry| entry.file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("context-")));
}
