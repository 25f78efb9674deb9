// SPDX-License-Identifier: Apache-2.0
//! `build`: what steps get mounted that is not theirs to keep.

use bryo_tests::images::{self, BUSYBOX, DEBIAN};
use bryo_tests::program::tool;
use bryo_tests::{Home, User, skip};

use super::build::{build, ground, inside};

#[test]
fn keys_of_an_agent_are_used_and_not_seen() {
    if !skip::have("ssh-agent") || images::debian().is_none() {
        return;
    }
    for user in [User::with_range(), User::without_range()].into_iter().flatten() {
        let home = Home::shared(&user);
        let root = home.mkdir(&format!("ssh-{}", std::process::id()));
        let socket = root.join("agent").display().to_string();
        let key = root.join("key").display().to_string();
        let start = format!("ssh-agent -a {socket} | sed -n 's/.*PID=\\([0-9]*\\);.*/\\1/p'");
        let agent = home.tool("sh", &["-c", &start]).ok();
        home.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]).ok();
        home.tool("sh", &["-c", &format!("SSH_AUTH_SOCK={socket} ssh-add -q {key} 2>&1")]).ok();
        // Lists the keys (11), and tries to take all away (19): an answer is a length, a kind and what belongs to it.
        let script = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new($ENV{SSH_AUTH_SOCK}) or die $!; \
             sub ask { print $s pack('NC', 1, shift); $s->flush; read $s, my $l, 4; read $s, my $a, unpack('N', $l); $a } \
             my ($kind, $keys) = unpack('CN', ask(11)); my $other = unpack('C', ask(19)); print \"$kind $keys $other\\n\";";
        let dockerfile = format!(
            "FROM {DEBIAN}\nRUN --mount=type=ssh perl -e '{script}' > /said\nUSER games\n\
             RUN --mount=type=ssh,required,target=/tmp/agent perl -e '{script}' >/tmp/said && test $SSH_AUTH_SOCK = /tmp/agent\n\
             RUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /run/buildkit/ssh_agent.0 && test ! -e /tmp/agent\n"
        );
        home.write(&format!("ssh-{}/Dockerfile", std::process::id()), &dockerfile);
        let (name, context) = (format!("localhost/ssh-{}", std::process::id()), root.display().to_string());
        let args = ["build", "-t", &name, "--progress", "plain"];
        let said = home.bryo(&[&args[..], &["--ssh", &format!("default={socket}"), &context]].concat());
        tool("kill", &[agent.trim()]);
        said.ok();
        assert_eq!(home.run(&[&name, "cat", "/said", "/tmp/said"]).ok(), "12 1 5\n12 1 5", "{user:?}");
        let dockerfile = format!("FROM {DEBIAN}\nRUN --mount=type=ssh,required true\n");
        home.write(&format!("ssh-{}/Dockerfile", std::process::id()), &dockerfile);
        home.bryo(&[&args[..], &[&context]].concat()).fails(1, &["ssh default is required", "--ssh default"]);
        home.bryo(&["rmi", &name]).ok();
        std::fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn a_cache_is_filled_from_a_stage_when_it_is_made() {
    for user in User::all() {
        let home = ground(&user);
        let dockerfile = format!(
            "FROM {BUSYBOX} AS full\nRUN mkdir -p /d/sub && echo 1 > /d/sub/f && chown -R 5:6 /d\nFROM {BUSYBOX}\n\
             RUN --mount=type=cache,target=/k,from=full,source=/d,mode=0700 cat /k/sub/f > /x && stat -c %a /k >> /x && echo 2 > /k/sub/f\n\
             RUN --mount=type=cache,target=/k,from=full,source=/d cat /k/sub/f >> /x\n\
             RUN --mount=type=cache,target=/k,sharing=locked cat /k/sub/f >> /x\n"
        );
        build(&home, &dockerfile, &[]).ok();
        assert_eq!(inside(&home, "cat /x; ls -d /k 2>/dev/null || true"), "1\n700\n2\n2", "{user:?}");
        home.bryo(&["builder", "prune", "-f"]).ok();
        build(&home, &dockerfile, &["--no-cache"]).ok();
        assert_eq!(inside(&home, "head -1 /x"), "1", "what was pruned is made again");
    }
}
