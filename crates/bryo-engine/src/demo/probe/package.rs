// SPDX-License-Identifier: Apache-2.0
//! Attempts to install a package, with the image's own tools: a real package, made here, without dependencies.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Attempt, Ending, HostFacts};

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        id: "install-dpkg",
        tried: "install a package with dpkg",
        gains: "its own programs among the system's",
        make: |_| install("/usr/bin/dpkg", &["--install"]),
    },
    Attempt {
        id: "install-apt",
        tried: "install a package with apt",
        gains: "its own programs among the system's",
        make: install_apt,
    },
];

fn install_apt(_: &HostFacts) -> Ending {
    install("/usr/bin/apt-get", &["install", "--yes", "--quiet", "--allow-downgrades"])
}

fn install(program: &str, arguments: &[&str]) -> Ending {
    if !Path::new(program).exists() {
        return Ending::Absent(format!("no {program} here"));
    }
    let path = format!("/tmp/bryo-demo-{}.deb", std::process::id());
    if let Err(e) = std::fs::write(&path, package()) {
        return Ending::Absent(format!("{path}: {e}"));
    }
    let output = Command::new(program)
        .args(arguments)
        .arg(&path)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    // The directory is the container's own and ends with it.
    let _ = std::fs::remove_file(&path);
    match output {
        Ok(output) if output.status.success() => Ending::Possible("it was installed".into()),
        Ok(output) => Ending::Refused(reason(&String::from_utf8_lossy(&output.stderr))),
        Err(e) => Ending::of_io::<()>(Err(e)),
    }
}

/// Finds the line that says why, without the program's prefix.
fn reason(stderr: &str) -> String {
    let line = stderr.lines().find(|l| !l.trim().is_empty() && !l.starts_with("W:")).unwrap_or("it failed");
    let line = line.trim_start_matches("E: ").trim_start_matches("dpkg: error: ");
    line.chars().take(60).collect::<String>().escape_debug().to_string()
}

/// Makes an empty Debian package. Source: `deb(5)`, `ar(5)`.
fn package() -> Vec<u8> {
    let control = "Package: bryo-demo\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
                   Description: an empty package, to see whether it can be installed\n";
    let mut archive = b"!<arch>\n".to_vec();
    member(&mut archive, "debian-binary", b"2.0\n");
    member(&mut archive, "control.tar", &tar(&[("./control", control.as_bytes())]));
    member(&mut archive, "data.tar", &tar(&[]));
    archive
}

fn member(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len());
    archive.extend(header.as_bytes());
    archive.extend(content);
    if !content.len().is_multiple_of(2) {
        archive.push(b'\n');
    }
}

/// Makes an archive of regular files. Source: POSIX `ustar`.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; 512];
        let mut field = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        field(0, name);
        field(100, "0000644\0");
        field(108, "0000000\0");
        field(116, "0000000\0");
        field(124, &format!("{:011o}\0", content.len()));
        field(136, "00000000000\0");
        field(148, "        ");
        field(156, "0");
        field(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(*content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_one_for_the_tool_that_is_the_judge() {
        if !Path::new("/usr/bin/dpkg-deb").exists() {
            return;
        }
        let path = std::env::temp_dir().join(format!("bryo-demo-test-{}.deb", std::process::id()));
        std::fs::write(&path, package()).unwrap();
        let output = Command::new("/usr/bin/dpkg-deb").arg("--info").arg(&path).output().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Package: bryo-demo"));
    }

    #[test]
    fn the_reason_is_one_short_line() {
        assert_eq!(reason("W: x\nE: Could not open lock file\nmore"), "Could not open lock file");
        assert_eq!(reason(""), "it failed");
    }
}
