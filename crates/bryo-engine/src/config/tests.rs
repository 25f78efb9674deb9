// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::error::Kind;

fn parse(text: &str) -> Result<Config> {
    let mut config = Config::default();
    config.apply(Path::new("c.toml"), text).map(|()| config)
}

fn refusal(text: &str) -> String {
    let error = parse(text).expect_err(text);
    assert_eq!(error.kind(), Kind::InvalidConfig);
    error.to_string()
}

/// The template with every key in force: prose has a space after its `#`.
fn uncommented() -> String {
    let lines = Config::template().lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_template_is_the_default() {
    assert_eq!(parse(Config::template()).unwrap(), Config::default());
    assert_eq!(parse(&uncommented()).unwrap(), Config::default());
}

#[test]
fn the_template_names_every_key_with_its_default() {
    let keys = |text: &str| -> Vec<String> {
        let settings = text.lines().filter(|line| !line.starts_with("# ") && line.contains(" = "));
        settings.map(str::to_owned).collect()
    };
    assert_eq!(keys(&uncommented()), keys(&Config::default().to_toml()));
}

#[test]
fn every_key_is_read_and_written() {
    let text = "default-user = \"image\"\nnetwork = \"none\"\npull = \"never\"\nlandlock = \"require\"\n\
        pids-limit = -1\n\n\
        [registries]\ninsecure = [\"localhost:5000\", \"[::1]:5000\"]\n\n\
        [registries.mirrors]\n\"docker.io\" = [\"m.example.org/hub\"]\n\n\
        [limits]\nmax-layer-size = \"1g\"\nmax-unpacked-size = 1025\nmax-ratio = 3\nratio-from = \"4k\"\nmax-entries = 5\n\
        max-path-length = 6\nmax-path-depth = 7\nmax-zstd-window = \"8m\"\n";
    let config = parse(text).unwrap();
    assert_eq!((config.default_user, config.network, config.pull), (DefaultUser::Image, Network::None, Pull::Never));
    assert_eq!((config.landlock, config.insecure.len(), config.pids_limit), (Some(true), 2, None));
    assert_eq!(config.mirrors["docker.io"], ["m.example.org/hub"]);
    let limits = Limits {
        compressed: 1 << 30,
        uncompressed: 1025,
        ratio: 3,
        ratio_floor: 4096,
        entries: 5,
        path_len: 6,
        depth: 7,
        zstd_window_log: 23,
    };
    assert_eq!(config.limits, limits);
    assert_eq!(config.to_toml(), text);
}

#[test]
fn a_later_file_replaces_key_by_key() {
    let mut config = parse("network = \"host\"\n[limits]\nmax-ratio = 7\n[registries.mirrors]\na = [\"x\"]\n").unwrap();
    config
        .apply(Path::new("d"), "pull = \"never\"\n[limits]\nmax-entries = 9\n[registries.mirrors]\nb = [\"y\"]\n")
        .unwrap();
    assert_eq!((config.network, config.pull), (Network::Host, Pull::Never));
    assert_eq!((config.limits.ratio, config.limits.entries, config.mirrors.len()), (7, 9, 2));
}

#[test]
fn a_wrong_file_changes_nothing() {
    let mut config = Config::default();
    assert!(config.apply(Path::new("c"), "network = \"host\"\npull = 5\n").is_err());
    assert_eq!(config, Config::default());
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, message) in [
        ("\n defualt-user = \"image\"", "c.toml:2:2: unknown key \"defualt-user\"; did you mean \"default-user\"?"),
        ("[limits]\nmax-entry = 5", "c.toml:2:1: unknown key \"max-entry\" in [limits]; did you mean \"max-entries\"?"),
        ("[colours]", "c.toml:1:2: unknown key \"colours\"; known are default-user, network"),
        ("network = \"bridged\"", "c.toml:1:11: \"bridged\" is not known here; \"private\", \"none\", \"host\" are"),
        ("pids-limit = 0", "c.toml:1:14: expected a number above 0, or -1 for no limit"),
        ("pids-limit = \"5\"", "c.toml:1:14: expected a number above 0, or -1"),
        ("pull = true", "c.toml:1:8: expected a word in quotes"),
        ("[registries]\ninsecure = [\"a:1\", \"http://b\"]", "c.toml:2:20: \"http://b\" is not HOST[:PORT]"),
        ("[registries]\ninsecure = \"a\"", "c.toml:2:12: expected a list"),
        ("[registries.mirrors]\n\"\" = []", "c.toml:2:1: \"\" is not HOST[:PORT]"),
        ("limits = 5", "c.toml:1:10: this is a section"),
        ("[limits]\nmax-ratio = 0", "c.toml:2:13: expected a number above 0"),
        ("[limits]\nmax-ratio = -1", "c.toml:2:13: expected a number above 0"),
        ("[limits]\nmax-layer-size = \"5x\"", "c.toml:2:18: invalid size \"5x\""),
        ("[limits]\nmax-layer-size = \"0g\"", "c.toml:2:18: expected a size above 0"),
        ("[limits]\nmax-zstd-window = 1", "c.toml:2:19: a window is between"),
        ("pull = \"never\"\npull = \"never\"", "c.toml:2:1: "),
        ("pull = ", "c.toml:1:8: "),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with(message), "{refusal}");
        assert!(!refusal.contains('\n'), "{refusal}");
    }
}

#[test]
fn files_that_are_not_there_say_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (none, site, user) = (dir.path().join("a/b"), dir.path().join("site"), dir.path().join("user"));
    assert_eq!(Config::load([&none, &site]).unwrap(), Config::default());
    std::fs::write(&site, "network = \"none\"\npull = \"never\"").unwrap();
    std::fs::write(&user, "network = \"host\"").unwrap();
    let config = Config::load([&site, &none, &user, &site.join("below")]).unwrap();
    assert_eq!((config.network, config.pull), (Network::Host, Pull::Never));
    assert_eq!(Config::load([dir.path()]).unwrap_err().kind(), Kind::Io);
    std::fs::write(&user, "netwrk = 1").unwrap();
    assert!(Config::load([&user]).unwrap_err().to_string().starts_with(user.to_str().unwrap()));
}
