// SPDX-License-Identifier: Apache-2.0
//! Programs of an image that lead back to bryo's own file, in whatever way the kernel opens files for `execve`
//! (CVE-2019-5736), with Landlock and without. On the single-id rung the file may be the caller's, and with it whoever
//! runs inside.

#![cfg(target_arch = "x86_64")]

use bryo_tests::host::mark;
use bryo_tests::images::{BUSYBOX, DEBIAN, path};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::tar::Tar;
use bryo_tests::{Home, User};
use serde_json::json;

const OFF: [&str; 2] = ["--security-opt", "landlock=off"];

/// A 64-bit program that writes `loaded` and ends, or that asks for a loader, which is what runs then.
fn program(loader: Option<&str>) -> Vec<u8> {
    // write(1, text, 7); exit(0)
    const CODE: &[u8] = b"\xb8\x01\0\0\0\xbf\x01\0\0\0\x48\x8d\x35\x10\0\0\0\xba\x07\0\0\0\x0f\x05\
                          \xb8\x3c\0\0\0\x31\xff\x0f\x05loaded\n";
    // A loader and what it loads are in memory at one time.
    let base: u64 = if loader.is_some() { 0x1000_0000 } else { 0x2000_0000 };
    let text = 64 + 2 * 56;
    let loader = loader.map(|l| [l.as_bytes(), b"\0"].concat()).unwrap_or_default();
    let content = if loader.is_empty() { CODE.to_vec() } else { loader.clone() };
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [base + text, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [0_u16, 0, 64, 56, 2, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let size = text + content.len() as u64;
    let interp = if loader.is_empty() { (0_u32, 0) } else { (3, loader.len() as u64) };
    for (kind, flags, offset, address, length) in
        [(interp.0, 4_u32, text, base + text, interp.1), (1, 5, 0, base, size)]
    {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset, address, address, length, length, 0x1000] {
            file.extend(u64::to_le_bytes(word));
        }
    }
    file.extend(content);
    file
}

/// An image in which everything that ends in `-out` leads to bryo's own file, and in `-in` to a file of the image.
fn image(home: &Home) {
    let mut tar = Tar::default().symlink("out", "/proc/self/exe").dir("a\r/", 0o755);
    tar = tar.file("loader", 0o755, &program(None));
    for (name, end) in [("out", "/proc/self/exe"), ("in", "/loader")] {
        tar = tar.file(&format!("elf-{name}"), 0o755, &program(Some(end)));
        tar = tar.file(&format!("script-{name}"), 0o755, format!("#!{end}\n").as_bytes());
        tar = tar.file(&format!("return-{name}"), 0o755, format!("#!/a\r/..{end}\n").as_bytes());
        // The kernel opens an interpreter through five scripts.
        for n in 0..5 {
            let next = if n < 4 { format!("/{}chain-{name}", n + 1) } else { end.to_owned() };
            tar = tar.file(&format!("{n}chain-{name}"), 0o755, format!("#!{next}\n").as_bytes());
        }
        tar = tar.file(&format!("script-of-elf-{name}"), 0o755, format!("#!/elf-{name}\n").as_bytes());
    }
    tar = tar.symlink("link-out", "/out").file("elf-link-out", 0o755, &program(Some("/out")));
    // A descriptor, and what lies above what it is.
    for fd in 3..12 {
        let up = format!("/proc/self/fd/{fd}/../../../../../bin/sh");
        tar = tar.file(&format!("elf-{fd}-out"), 0o755, &program(Some(&up)));
    }
    let config = json!({"Env": [path()]});
    let file = home.path.join("loaders.tar");
    Image::new("localhost/loaders:1", vec![busybox_layer(), tar.finish()], config).archive(&file);
    home.load(&file);
}

#[test]
fn programs_are_found_through_everything_that_the_kernel_follows() {
    for user in User::all() {
        let home = Home::new(&user);
        image(&home);
        for words in [&OFF[..], &[]] {
            let run = |name: &str| home.run(&[words, &["localhost/loaders:1", name]].concat());
            for kind in ["elf", "script", "script-of-elf", "return", "0chain"] {
                assert_eq!(run(&format!("/{kind}-in")).ok(), "loaded", "{kind}");
            }
            let fds: Vec<String> = (3..12).map(|fd| format!("elf-{fd}")).collect();
            let kinds = ["link", "elf", "elf-link", "script", "script-of-elf", "return", "0chain"];
            for kind in kinds.into_iter().chain(fds.iter().map(String::as_str)) {
                let output = run(&format!("/{kind}-out"));
                assert!(matches!(output.status.code(), Some(126 | 127)) && output.stdout.is_empty(), "{output}");
            }
        }
    }
}

/// The same with what bryo needs to run as a program of the image: where its own file were executed, it would say so.
#[test]
fn the_engines_own_file_is_never_run_inside() {
    let users = [User::without_range(), User::with_range()];
    if bryo_tests::images::debian().is_none() {
        return;
    }
    for user in users.into_iter().flatten() {
        let home = Home::shared(&user);
        let volume = format!("v{}:/v", mark());
        let links = "cd /v; ln -s /proc/self/exe link; echo '#!/proc/self/exe' > script; ln -s /bin/echo echo; \
                     for n in 0 1 2 3; do echo \"#!/v/$((n + 1))\" > $n; done; echo '#!/proc/self/exe' > 4; echo '#!/lost' > lost; \
                     chmod +x script lost ?";
        home.run(&["-v", &volume, DEBIAN, "sh", "-c", links]).ok();
        for words in [&OFF[..], &[]] {
            let run = |name| home.run(&[words, &["-v", &volume, DEBIAN, name, "--version"]].concat());
            for name in ["/v/link", "/v/script", "/v/0", "/proc/self/exe", "/proc/1/exe"] {
                let output = run(name);
                assert!(matches!(output.status.code(), Some(126 | 127)) && output.stdout.is_empty(), "{output}");
            }
            assert!(run("/v/echo").ok().starts_with("echo (GNU coreutils)"));
            run("/v/lost").fails(127, &["/v/lost", "interpreter that does not exist"]);
            // What enters a container finds programs that something in it may have made a moment ago.
            let name = format!("c{}", mark());
            let start = ["run", "-d", "--rm", "--name", &name, "--network", "none", "-v", &volume];
            home.bryo(&[&start[..], words, &[DEBIAN, "sleep", "600"]].concat()).ok();
            let enter = |program| home.bryo(&["exec", &name, program, "--version"]);
            for program in ["/v/link", "/v/script", "/v/0", "/proc/self/exe"] {
                let output = enter(program);
                assert!(matches!(output.status.code(), Some(126 | 127)) && output.stdout.is_empty(), "{output}");
            }
            assert!(enter("/v/echo").ok().starts_with("echo (GNU coreutils)"));
            home.bryo(&["rm", "-f", &name]).ok();
        }
    }
}

#[test]
fn a_program_that_cannot_be_executed_says_why_with_landlock_and_without() {
    for user in User::all() {
        let home = Home::shared(&user);
        for words in [&OFF[..], &[]] {
            let run = |name| home.run(&[words, &[BUSYBOX, name]].concat());
            run("no-such-program").fails(127, &["no-such-program", "not found"]);
            run("/no/such/program").fails(127, &["/no/such/program", "not found"]);
            run("notexec").fails(126, &["notexec", "denied"]);
            run("/etc").fails(126, &["/etc", "denied"]);
            run("badformat").fails(126, &["badformat", "no program"]);
        }
    }
}
