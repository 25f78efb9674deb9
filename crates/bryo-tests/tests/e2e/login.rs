// SPDX-License-Identifier: Apache-2.0
//! `login` and `logout`, with a registry that wants to know who asks.

use std::os::unix::fs::PermissionsExt;

use bryo_tests::host::mark;
use bryo_tests::images;
use bryo_tests::pty::Terminal;
use bryo_tests::registry::{LOGIN, Registry};
use bryo_tests::{Home, User};

const INSECURE: &str = "--tls-verify=false";

#[test]
fn a_login_is_kept_used_and_forgotten() {
    let (user, password) = LOGIN;
    for who in User::all_without_images() {
        let Some(registry) = Registry::start(true) else { return };
        let name = registry.put(&images::busybox(), "private/busybox:1");
        let home = Home::new(&who);
        home.bryo(&["pull", INSECURE, &name]).fails(125, &[&registry.host]);
        let words = ["login", INSECURE, "-u", user, "--password-stdin", &registry.host];
        let output = home.bryo_fed(&words, format!("{password}\n").as_bytes());
        assert_eq!(output.ok(), "Login Succeeded");
        let file = home.path.join(".config/containers/auth.json");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(home.bryo(&["login", "--get-login", &registry.host]).ok(), user);
        home.bryo(&["pull", INSECURE, &name]).ok();
        let copied = home.path.join("copied.tar").display().to_string();
        // Skopeo finds the same file.
        home.tool(
            "skopeo",
            &["copy", "--src-tls-verify=false", &format!("docker://{name}"), &format!("oci-archive:{copied}")],
        )
        .ok();

        let gone = home.bryo(&["logout", &registry.host]).ok();
        assert_eq!(gone, format!("Removing login credentials for {}", registry.host));
        assert_eq!(home.bryo(&["logout", &registry.host]).ok(), format!("Not logged in to {}", registry.host));
        home.bryo(&["login", "--get-login", &registry.host]).fails(1, &["not logged in"]);
        home.bryo(&["pull", INSECURE, &name]).fails(125, &[&registry.host]);
    }
}

#[test]
fn a_login_that_is_refused_is_not_kept_and_not_shown() {
    let (Some(who), Some(registry)) = (User::ordinary(), Registry::start(true)) else { return };
    let home = Home::new(&who);
    let secret = mark();
    let output =
        home.bryo_fed(&["login", INSECURE, "-u", LOGIN.0, "--password-stdin", &registry.host], secret.as_bytes());
    assert!(!output.fails(1, &["log in", &registry.host]).contains(&secret), "{output}");
    assert!(!home.path.join(".config/containers/auth.json").exists());
    // Without the word it is not sent over plain HTTP either.
    home.bryo_fed(&["login", "-u", LOGIN.0, "--password-stdin", &registry.host], LOGIN.1.as_bytes()).fails(1, &[]);
    assert!(!home.path.join(".config/containers/auth.json").exists());
    home.bryo(&["login", INSECURE, &registry.host]).fails(1, &["--password-stdin"]);
    home.bryo(&["login", "no registry"]).fails(1, &["no registry"]);
}

#[test]
fn a_person_is_asked_and_the_password_is_not_shown() {
    let (Some(who), Some(registry)) = (User::ordinary(), Registry::start(true)) else { return };
    let home = Home::new(&who);
    let mut tty = Terminal::start(&home.command(&["login", INSECURE, &registry.host]));
    tty.expect("Username: ");
    tty.typed(&format!("{}\n", LOGIN.0));
    tty.expect("Password: ");
    tty.typed(&format!("{}\n", LOGIN.1));
    assert_eq!(tty.wait().code(), Some(0), "{}", tty.screen());
    assert!(tty.screen().contains(LOGIN.0) && !tty.screen().contains(LOGIN.1), "{}", tty.screen());
    assert!(tty.settings().local_modes.contains(rustix::termios::LocalModes::ECHO));
    assert_eq!(home.bryo(&["login", "--get-login", &registry.host]).ok(), LOGIN.0);
}
