// SPDX-License-Identifier: Apache-2.0
//! `build`: package managers install in a step, whoever files are to belong to, with a range of ids and with a single one.
//!
//! The packages are the tests' own: what the network gives is not what is tested.

use bryo_tests::images::{self, PACKAGES};
use bryo_tests::user::Rung;
use bryo_tests::{Home, User};

use super::build::{build, inside, owners};

/// Builds a Dockerfile on both rungs, and returns the homes.
fn built(files: &[(&str, &str)], dockerfile: &str) -> Vec<(User, Home)> {
    let Some(image) = images::packages() else { return Vec::new() };
    let users = [User::with_range(), User::without_range()];
    let build_as = |user: User| {
        let home = Home::new(&user);
        home.load(&image);
        for (name, text) in files {
            home.write(&format!("c/{name}"), text);
        }
        build(&home, dockerfile, &[]).ok();
        (user, home)
    };
    users.into_iter().flatten().map(build_as).collect()
}

/// A package of rpm's whose files belong to several, one of them only since the script that is run after it.
const SPEC: &str = "\
Name: owned-test
Version: 1
Release: 1
Summary: x
License: MIT
BuildArch: noarch
Provides: /bin/sh
%description
x
%install
mkdir -p %{buildroot}/usr/share/owned-test %{buildroot}/usr/bin
cd %{buildroot}/usr/share/owned-test && touch of-root of-games of-mail
printf '#!/bin/sh\\necho by dnf\\n' > %{buildroot}/usr/bin/owned-test
%post
chown mail:mail /usr/share/owned-test/of-mail
%files
%attr(0644,root,root) /usr/share/owned-test/of-root
%attr(0640,games,games) /usr/share/owned-test/of-games
%attr(0644,root,root) /usr/share/owned-test/of-mail
%attr(0755,root,root) /usr/bin/owned-test
";

#[test]
fn dnf_installs_what_rpmbuild_has_made() {
    let dockerfile = format!(
        "FROM {PACKAGES} AS repository\nCOPY owned.spec /\n\
         RUN rpmbuild -bb --quiet /owned.spec && createrepo_c -q /root/rpmbuild/RPMS\n\
         FROM {PACKAGES}\nRUN --network=none --mount=type=bind,from=repository,source=/root/rpmbuild/RPMS,target=/repository \
         dnf -y -q --releasever=1 --repofrompath=t,/repository --nogpgcheck install owned-test && rpm -q owned-test\n"
    );
    for (user, home) in built(&[("owned.spec", SPEC)], &dockerfile) {
        assert_eq!(inside(&home, "owned-test"), "by dnf", "{user:?}");
        let owners = owners(&home, "localhost/built");
        for (name, owner) in [("of-root", "0/0"), ("of-games", "5/60"), ("of-mail", "8/8")] {
            let found = owners.get(&format!("usr/share/owned-test/{name}")).map(String::as_str);
            assert_eq!(found, Some(owner), "{name} of {user:?}");
        }
    }
}

#[test]
fn pip_installs_what_it_has_made() {
    let project = "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n\
                   [project]\nname = \"owned-test\"\nversion = \"1\"\n[project.scripts]\nowned-test = \"owned:main\"\n\
                   [tool.setuptools]\npackages = [\"owned\"]\n";
    let files = [("p/pyproject.toml", project), ("p/owned/__init__.py", "def main(): print('by pip')\n")];
    let dockerfile = format!(
        "FROM {PACKAGES}\nCOPY p /src/p\n\
         RUN --network=none pip install --no-index --no-build-isolation --break-system-packages /src/p\n\
         RUN useradd -m bob && chown -R bob: /src\nUSER bob\n\
         RUN --network=none python3 -m venv --without-pip --system-site-packages ~/v && \
         pip --python ~/v/bin/python install --no-index --no-build-isolation --ignore-installed /src/p && ~/v/bin/owned-test\n"
    );
    for (user, home) in built(&files, &dockerfile) {
        assert_eq!(inside(&home, "owned-test; /home/bob/v/bin/owned-test"), "by pip\nby pip", "{user:?}");
        let owners = owners(&home, "localhost/built");
        assert_eq!(owners.get("usr/local/bin/owned-test").map(String::as_str), Some("0/0"), "{user:?}");
        assert_eq!(owners.get("home/bob/v/bin/owned-test").map(String::as_str), Some("1000/1000"), "{user:?}");
    }
}

#[test]
fn npm_installs_what_it_has_packed() {
    if !images::has_npm() {
        return;
    }
    let package = "{\"name\": \"owned-test\", \"version\": \"1.0.0\", \"bin\": {\"owned-test\": \"run.js\"}, \
                   \"scripts\": {\"postinstall\": \"echo by npm > said\"}}";
    let run = "#!/usr/bin/env node\nprocess.stdout.write(require('fs').readFileSync(__dirname + '/said'));\n";
    let dockerfile = format!(
        "FROM {PACKAGES}\nCOPY p /src/p\nWORKDIR /src\n\
         RUN --network=none npm pack ./p && npm install -g --offline ./owned-test-1.0.0.tgz && owned-test\n\
         RUN --network=none useradd -m bob && su bob -c 'mkdir ~/app && cd ~/app && npm init -y && npm install --offline \
         /src/owned-test-1.0.0.tgz && node_modules/.bin/owned-test'\n"
    );
    for (user, home) in built(&[("p/package.json", package), ("p/run.js", run)], &dockerfile) {
        assert_eq!(
            inside(&home, "owned-test; /home/bob/app/node_modules/.bin/owned-test"),
            "by npm\nby npm",
            "{user:?}"
        );
        let owners = owners(&home, "localhost/built");
        let global = owners.get("usr/lib/node_modules/owned-test/run.js").map(String::as_str);
        assert_eq!(global, Some("0/0"), "{user:?}");
        // Whoever `su` has made of a process is only told so where there is a single id: what it makes is root's.
        let own = if user.rung == Rung::Subordinate { "1000/1000" } else { "0/0" };
        let found = owners.get("home/bob/app/node_modules/owned-test/run.js").map(String::as_str);
        assert_eq!(found, Some(own), "{user:?}");
    }
}
