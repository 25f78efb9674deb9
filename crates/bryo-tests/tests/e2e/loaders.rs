// SPDX-License-Identifier: Apache-2.0
//! Programs of an image that lead back to bryo's own file, in whatever way the kernel opens files for `execve`
//! (CVE-2019-5736). With Landlock off: nothing but the look before stands in the way. On the single-id rung the file may
//! be the caller's, and with it whoever runs inside.

#![cfg(target_arch = "x86_64")]

use bryo_tests::images::path;
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
    // Descriptors that bryo itself needs until the last moment, and what lies above what they are.
    tar = tar.file("elf-fd-out", 0o755, &program(Some("/proc/self/fd/3/../../../bin/sh")));
    tar = tar.file("elf-root-out", 0o755, &program(Some("/proc/self/root/loader")));
    let config = json!({"Env": [path()]});
    let file = home.path.join("loaders.tar");
    Image::new("localhost/loaders:1", vec![busybox_layer(), tar.finish()], config).archive(&file);
    home.load(&file);
}

#[test]
fn no_program_is_run_by_the_engines_own_file() {
    for user in User::all() {
        let home = Home::new(&user);
        image(&home);
        for kind in ["link", "elf", "elf-link", "elf-fd", "elf-root", "script", "script-of-elf", "return", "0chain"] {
            for words in [&OFF[..], &[]] {
                let run = home.run(&[words, &["localhost/loaders:1", &format!("/{kind}-out")]].concat());
                run.fails(126, &["leads to a file of a process"]);
            }
        }
        // The same files are run when they lead to where they should.
        for kind in ["elf", "script", "script-of-elf", "return", "0chain"] {
            let run = home.run(&[&OFF[..], &["localhost/loaders:1", &format!("/{kind}-in")]].concat());
            assert_eq!(run.ok(), "loaded", "{kind}");
        }
    }
}

#[test]
fn what_the_kernel_has_no_format_for_needs_landlock() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let run = home.run(&[&OFF[..], &[bryo_tests::images::BUSYBOX, "badformat"]].concat());
    run.fails(126, &["no program of this machine", "without Landlock"]);
}
