// SPDX-License-Identifier: Apache-2.0
//! Cases of Dockerfiles.

use bryo_audit::Auditor;
use bryo_audit::identity::Accounts;

use super::{Case, check, of_kind};

pub const CASES: &[Case] = &[
    (1, "FROM debian:12\n", "FROM debian:12\nUSER 10001:10001\n"),
    (1, "FROM scratch\n", "FROM gcr.io/distroless/static:nonroot\n"),
    (2, "FROM a\nUSER root\n", "FROM a\nUSER root\nUSER 10001:10001\n"),
    (2, "FROM a\nUSER 0:1000\n", "FROM a AS b\nUSER 0\nFROM a\nUSER 5:5\n"),
    (2, "FROM a\nUSER \"root\"\n", "FROM a\nUSER app\n"),
    (2, "FROM a\nUSER 00\n", "FROM a\nUSER 10\n"),
    (3, "ARG U=0\nFROM a\nARG U\nUSER ${U}\n", "ARG U=10001\nFROM a\nARG U\nUSER ${U}\n"),
    (3, "FROM a\nENV R=root\nUSER $R\n", "FROM a\nENV R=app\nUSER $R\n"),
    (3, "FROM a\nARG U\nUSER $U\n", "FROM a\nUSER ${U:-10001}\n"),
    (4, "FROM a\nRUN useradd -o -u 0 app\nUSER app\n", "FROM a\nRUN useradd -u 10001 app\nUSER app\n"),
    (4, "FROM a\nUSER app\n", "FROM a\nRUN useradd -r app\nUSER app\n"),
    (4, "FROM a\nUSER node\n", "FROM node:22\nUSER node\n"),
    (4, "FROM scratch\nUSER nobody\n", "FROM a\nUSER nobody\n"),
    (4, "FROM a\nRUN sed -i s/1/0/ /etc/passwd\nUSER nobody\n", "FROM a\nRUN sed -i s/1/0/ /etc/group\nUSER nobody\n"),
    (
        4,
        "FROM b AS b\nRUN useradd -o -u 0 app\nFROM scratch\nCOPY --from=b /etc/passwd /etc/\nUSER app\n",
        "FROM b AS b\nRUN useradd -u 10001 app\nFROM scratch\nCOPY --from=b /etc/passwd /etc/\nUSER app\n",
    ),
    (4, "FROM a\nCOPY passwd /etc/passwd\nUSER nobody\n", "FROM a\nCOPY passwd /etc/passwd\nUSER 10001\n"),
    (5, "FROM a\nUSER 4294967296\n", "FROM a\nUSER 4294967294\n"),
    (5, "FROM a\nUSER +0\n", "FROM a\nUSER a-b_c\n"),
    (6, "FROM a AS b\nUSER 1000\nFROM c\n", "FROM a AS b\nUSER 1000\nFROM b\n"),
    (7, "FROM nginxinc/nginx-unprivileged:1\n", "FROM nginx:1\n"),
    (12, "FROM a\nONBUILD USER root\n", "FROM a\nONBUILD USER 10001\n"),
    (
        13,
        "FROM a\nRUN apt-get install -y sudo\nUSER 10001:10001\n",
        "FROM a\nRUN apt-get install -y less\nUSER 10001:10001\n",
    ),
    (13, "FROM a\nUSER 10001:10001\nCMD [\"sudo\", \"x\"]\n", "FROM a\nUSER 10001:10001\nCMD [\"x\"]\n"),
    (14, "FROM a\nUSER 1000:1000\n", "FROM a\nUSER 10001:10001\n"),
    (16, "FROM a\nUSER 10001:0\n", "FROM a\nUSER 10001:10001\n"),
    (22, "FROM a\nUSER 10001:10001\nEXPOSE 80\n", "FROM a\nUSER 10001:10001\nEXPOSE 8080\n"),
    (23, "FROM nginx:1\n", "FROM nginx:1\nUSER 10001:10001\n"),
    (24, "FROM a\nENTRYPOINT [\"gosu\", \"app\", \"x\"]\n", "FROM a\nENTRYPOINT [\"x\"]\n"),
    (
        24,
        "FROM a\nCOPY <<E /e.sh\n#!/bin/sh\nexec su-exec app \"$@\"\nE\nENTRYPOINT [\"/e.sh\"]\n",
        "FROM a\nCOPY <<E /e.sh\n#!/bin/sh\nexec \"$@\"\nE\nENTRYPOINT [\"/e.sh\"]\n",
    ),
    (25, "FROM a\nCMD chown -R app /data && x\n", "FROM a\nRUN chown -R app /data\nCMD x\n"),
    (27, "FROM a\nWORKDIR app\n", "FROM a\nWORKDIR /app\nWORKDIR sub\n"),
    (27, "FROM a\nCOPY x app/\n", "FROM a\nWORKDIR /x\nCOPY x app/\n"),
    (28, "FROM a\nWORKDIR /etc/app\n", "FROM a\nWORKDIR /etcetera\n"),
    (28, "FROM a\nVOLUME /proc\n", "FROM a\nVOLUME /data\n"),
    (29, "FROM a\nEXPOSE 22\n", "FROM a\nEXPOSE 2222\n"),
    (31, "FROM a\nRUN setcap cap_net_raw+ep /bin/ping\n", "FROM a\nRUN setcap -r /bin/ping\n"),
    (32, "FROM a\nCMD [\"supervisord\", \"-n\"]\n", "FROM a\nCMD [\"app\"]\n"),
    (33, "FROM a\nRUN chmod 4755 /bin/x\n", "FROM a\nRUN chmod 0755 /bin/x\n"),
    (33, "FROM a\nRUN chmod 2755 /bin/x\n", "FROM a\nRUN mkdir -p /data && chmod 2775 /data\n"),
    (33, "FROM a\nRUN chmod u+s /bin/x\n", "FROM a AS b\nRUN chmod u+s /bin/x\nFROM a\n"),
    (33, "FROM a\nCOPY --chmod=4755 x /bin/\n", "FROM a\nCOPY --chmod=755 x /bin/\n"),
    (34, "FROM a\nRUN true; sudo x\n", "FROM a\nRUN echo 'sudo x'\n"),
    (34, "FROM a\nRUN [\"sudo\", \"x\"]\n", "FROM a\nRUN [\"echo\", \"sudo\"]\n"),
    (34, "FROM a\nRUN echo 'app ALL=(ALL) NOPASSWD:ALL' >> /etc/sudoers\n", "FROM a\nRUN echo x >> /etc/motd\n"),
    (35, "FROM a\nRUN passwd -d root\n", "FROM a\nRUN passwd -l root\n"),
    (35, "FROM a\nRUN echo root:x | chpasswd\n", "FROM a\nRUN echo root:x\n"),
    (35, "FROM a\nRUN useradd -p x app\n", "FROM a\nRUN useradd app\n"),
    (36, "FROM a\nRUN chmod -R 777 /app\n", "FROM a\nRUN chmod 1777 /scratch\n"),
    (36, "FROM a\nCOPY --chown=app . /app\nUSER app\n", "FROM a\nCOPY --chown=root . /app\nUSER app\n"),
    (37, "FROM a\nCMD apt-get install -y x && x\n", "FROM a\nRUN apt-get install -y x\nCMD x\n"),
    (37, "FROM a\nHEALTHCHECK CMD pip install x\n", "FROM a\nHEALTHCHECK CMD curl -f http://localhost/\n"),
    (41, "FROM a\nRUN apt-get install -y gcc\n", "FROM a AS b\nRUN apt-get install -y gcc\nFROM a\n"),
    (42, "FROM a\nRUN apt-get update\n", "FROM a\nRUN apt-get update && apt-get install -y x\n"),
    (43, "FROM a\nRUN apt-get -y dist-upgrade\n", "FROM a\nRUN apt-get install -y x\n"),
    (44, "FROM a\nRUN apt-get install -y curl\n", "FROM a\nRUN apt-get install -y curl=7.88.1-10\n"),
    (44, "FROM a\nRUN pip install flask\n", "FROM a\nRUN pip install -r requirements.txt\n"),
    (44, "FROM a\nRUN npm install -g @x/y\n", "FROM a\nRUN npm install -g @x/y@1.2.3\n"),
    (44, "FROM a\nRUN apk add --no-cache curl\n", "FROM a\nRUN apk add --no-cache curl=8.1.2-r0\n"),
    (45, "FROM a\nRUN apk add x\n", "FROM a\nRUN apk add --no-cache x\n"),
    (
        45,
        "FROM a\nRUN apt-get update && apt-get install -y x\n",
        "FROM a\nRUN apt-get update && apt-get install -y x && rm -rf /var/lib/apt/lists/*\n",
    ),
    (46, "FROM a\nRUN apt-get install -y x\n", "FROM a\nRUN apt-get install -y --no-install-recommends x\n"),
    (47, "FROM a\nRUN pip install -i http://y x==1\n", "FROM a\nRUN pip install -i https://y x==1\n"),
    (47, "FROM a\nRUN curl -k https://x -o y\n", "FROM a\nRUN curl -fsSL https://x -o y\n"),
    (47, "FROM a\nENV NODE_TLS_REJECT_UNAUTHORIZED=0\n", "FROM a\nENV NODE_TLS_REJECT_UNAUTHORIZED=1\n"),
    (
        47,
        "FROM a\nRUN echo 'deb [trusted=yes] http://x y z' > /etc/apt/sources.list.d/x.list\n",
        "FROM a\nRUN echo 'deb [signed-by=/k] http://x y z' > /etc/apt/sources.list.d/x.list\n",
    ),
    (
        48,
        "FROM a\nADD https://x/y /y\n",
        "FROM a\nADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://x/y /y\n",
    ),
    (48, "FROM a\nRUN curl https://x | bash\n", "FROM a\nRUN curl https://x | jq .\n"),
    (49, "FROM a\nADD x.tar.gz /x\n", "FROM a\nCOPY x.tar.gz /x\n"),
    (50, "FROM debian\n", "FROM debian@sha256:0000000000000000000000000000000000000000000000000000000000000000\n"),
    (51, "FROM a\nCOPY --from=busybox /bin/sh /sh\n", "FROM a AS b\nFROM a\nCOPY --from=b /bin/sh /sh\n"),
    (
        51,
        "FROM a\nRUN --mount=type=bind,from=busybox,target=/x x\n",
        "FROM a AS b\nFROM a\nRUN --mount=type=bind,from=b,target=/x x\n",
    ),
    (52, "FROM a AS b\nFROM scratch\nCOPY --from=b / /\n", "FROM a AS b\nFROM scratch\nCOPY --from=b /app /app\n"),
    (53, "FROM a\nENV DB_PASSWORD=hunter2\n", "FROM a\nENV DB_PASSWORD_FILE=/run/secrets/db\n"),
    (53, "FROM a\nARG TOKEN=abc123\n", "FROM a\nARG TOKEN\n"),
    (53, "FROM a\nCOPY id_rsa /root/.ssh/id_rsa\n", "FROM a\nCOPY id_rsa.pub /root/.ssh/\n"),
    (53, "FROM a\nENV X=Zm9vYmFyMTIzNDU2Nzg5MEFCQ0RFRkdI\n", "FROM a\nENV X_SHA256=Zm9vYmFyMTIzNDU2Nzg5MEFCQ0RFRkdI\n"),
    (53, "FROM a\nRUN export TOKEN=abc123 && x\n", "FROM a\nRUN export TOKEN=$(cat /run/secrets/t) && x\n"),
    (53, "FROM a\nRUN git clone https://me:hunter2@host/x\n", "FROM a\nRUN git clone https://host/x\n"),
    (53, "FROM a\nCOPY .docker/config.json /root/.docker/\n", "FROM a\nCOPY config.json /app/\n"),
    (54, "FROM a\nCOPY .git /src/.git\n", "FROM a\nCOPY src /src\n"),
    (57, "FROM a\n", "FROM a\nHEALTHCHECK CMD x\n"),
    (84, "FROM a\nRUN --security=insecure x\n", "FROM a\nRUN --mount=type=tmpfs,target=/x x\n"),
    (84, "# syntax=evil/frontend\nFROM a\n", "# syntax=docker/dockerfile:1\nFROM a\n"),
    (99, "FROM a\nCMD x\n", "FROM a\nCMD [\"x\"]\n"),
    (99, "FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n", "FROM a\nENTRYPOINT [\"x\"]\nCMD [\"y\"]\n"),
    (100, "FROM a\n# hadolint ignore=DL3008\nRUN x\n", "FROM a\n# a remark\nRUN x\n"),
];

#[test]
fn cases_of_dockerfiles() {
    let audit = of_kind(bryo_audit::Kind::Dockerfile);
    CASES.iter().for_each(|case| check(case, &audit));
}

/// What lies beside a Dockerfile, and what is known of its base, says who a name is.
#[test]
fn names_are_those_of_the_accounts_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let accounts_of = |image: &str| {
        (image == "base:1").then(|| Accounts::parse(b"root:x:0:0::/:\napp:x:0:0::/:\nweb:x:10001:10001::/:\n", b""))
    };
    let user_of = |image: &str| (image == "base:1").then(|| "app".to_owned());
    let auditor = Auditor { accounts_of: &accounts_of, user_of: &user_of, ..Auditor::default() };
    let verdict = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        auditor.path(&dir.path().join(name)).remove(0).subjects[0].verdict
    };
    std::fs::write(dir.path().join("accounts"), "games:x:0:0::/:\nweb:x:5:5::/:\n").unwrap();
    for (text, expected) in [
        ("FROM base:1\nUSER app\n", "root"),
        ("FROM base:1\n", "root"),
        ("FROM base:1\nUSER web\n", "not root"),
        ("FROM base:1\nUSER none\n", "unproven"),
        ("FROM base:1\nRUN useradd none\nUSER none\n", "not root"),
        ("FROM base:2\nUSER app\n", "unproven"),
        ("FROM a\nCOPY accounts /etc/passwd\nUSER games\n", "root"),
        ("FROM a\nCOPY accounts /etc/passwd\nUSER web\n", "not root"),
        ("FROM a\nRUN echo 'zed:x:0:0::/:/bin/sh' >> /etc/passwd\nUSER zed\n", "root"),
    ] {
        assert_eq!(verdict("Dockerfile", text), expected, "{text}");
    }
    std::fs::write(dir.path().join("Dockerfile"), "FROM base:1\nUSER app\n").unwrap();
    for (service, expected) in [
        ("image: base:1, user: app", "root"),
        ("image: base:1, user: web", "not root"),
        ("image: base:2, user: app", "unproven"),
        ("image: base:2, user: nobody", "not root"),
        ("build: .", "root"),
        ("build: ., user: web", "not root"),
    ] {
        assert_eq!(verdict("compose.yaml", &format!("services: {{s: {{{service}}}}}\n")), expected, "{service}");
    }
}
