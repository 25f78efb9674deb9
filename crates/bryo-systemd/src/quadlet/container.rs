// SPDX-License-Identifier: Apache-2.0
//! `.container` files: a service whose main process is `bryo run`.

use super::making::{Keys, Making, Way};
use super::service;
use crate::unit::{Entry, absolute, boolean};

mod shares;

const SELINUX: &str = "bryo sets no SELinux labels; leave it out";
const IDS: &str =
    "which ids a container has on the host is not for a unit to choose; leave it out, or say UserNS=keep-id";
const HEALTH: &str = "of health checks bryo has HealthCmd, HealthInterval, HealthTimeout, HealthRetries, HealthStartPeriod and \
    HealthStartInterval; leave it out";
const PODS: &str = "containers do not share the namespaces of a pod; connect them by a .network file";
const RETRY: &str = "a pull is tried again by itself; leave it out";

const KEYS: &Keys = &[
    ("Image", Way::Elsewhere),
    ("Rootfs", Way::Elsewhere),
    ("Exec", Way::Elsewhere),
    ("Entrypoint", Way::Elsewhere),
    ("ContainerName", Way::Elsewhere),
    ("ServiceName", Way::Elsewhere),
    ("Pull", Way::Last("--pull")),
    ("Notify", Way::Own(notify)),
    ("User", Way::Own(user)),
    ("Group", Way::Own(group)),
    ("GroupAdd", Way::Own(group_add)),
    ("UserNS", Way::Last("--userns")),
    ("UIDMap", Way::Never(IDS)),
    ("GIDMap", Way::Never(IDS)),
    ("SubUIDMap", Way::Never(IDS)),
    ("SubGIDMap", Way::Never(IDS)),
    ("RemapUsers", Way::Never(IDS)),
    ("RemapUid", Way::Never(IDS)),
    ("RemapGid", Way::Never(IDS)),
    ("RemapUidSize", Way::Never(IDS)),
    ("WorkingDir", Way::Last("--workdir")),
    ("EnvironmentFile", Way::Own(shares::environment_files)),
    ("Environment", Way::Own(environment)),
    (
        "EnvironmentHost",
        Way::Own(|m, v| {
            must_be(
                m,
                v,
                false,
                "the caller's variables are never passed on; name those that are needed with PodmanArgs=--env NAME",
            )
        }),
    ),
    (
        "HttpProxy",
        Way::Own(|m, v| must_be(m, v, false, "proxies of the host are not passed on; name them with Environment=")),
    ),
    ("RunInit", Way::Switch(&["--init"], &[])),
    ("Ulimit", Way::Each("--ulimit")),
    ("StopSignal", Way::Last("--stop-signal")),
    ("StopTimeout", Way::Own(stop_timeout)),
    ("Timezone", Way::Own(shares::timezone)),
    ("Volume", Way::Own(shares::volumes)),
    ("Mount", Way::Own(shares::mounts)),
    ("Tmpfs", Way::Each("--tmpfs")),
    ("ShmSize", Way::Last("--shm-size")),
    ("ReadOnly", Way::Switch(&["--read-only"], &["--read-only=false"])),
    (
        "ReadOnlyTmpfs",
        Way::Own(|m, v| {
            must_be(
                m,
                v,
                true,
                "/tmp, /run and their like are always writable, and in memory or gone with the container; leave it out",
            )
        }),
    ),
    (
        "VolatileTmp",
        Way::Own(|m, v| must_be(m, v, true, "/tmp is always writable, and gone with the container; leave it out")),
    ),
    ("AddCapability", Way::Words("--cap-add")),
    ("DropCapability", Way::Words("--cap-drop")),
    (
        "NoNewPrivileges",
        Way::Switch(&["--security-opt", "no-new-privileges"], &["--security-opt", "no-new-privileges=false"]),
    ),
    ("SeccompProfile", Way::Own(shares::seccomp)),
    ("Mask", Way::Own(|m, v| paths(m, v, "mask"))),
    ("Unmask", Way::Own(|m, v| paths(m, v, "unmask"))),
    ("AppArmor", Way::Never("containers have no AppArmor profile of their own; leave it out")),
    ("SecurityLabelDisable", Way::Switch(&[], &[])),
    ("SecurityLabelType", Way::Never(SELINUX)),
    ("SecurityLabelLevel", Way::Never(SELINUX)),
    ("SecurityLabelFileType", Way::Never(SELINUX)),
    ("SecurityLabelNested", Way::Never(SELINUX)),
    ("Sysctl", Way::Words("--sysctl")),
    ("AddDevice", Way::Words("--device")),
    ("Secret", Way::Each("--secret")),
    ("Memory", Way::Last("--memory")),
    ("PidsLimit", Way::Last("--pids-limit")),
    ("CgroupsMode", Way::Own(cgroups)),
    ("Network", Way::Own(shares::networks)),
    ("NetworkAlias", Way::Own(|m, v| shares::in_network(m, v, "--network-alias"))),
    ("IP", Way::Own(|m, v| shares::in_network(m, &v[v.len() - 1..], "--ip"))),
    ("IP6", Way::Own(|m, v| shares::in_network(m, &v[v.len() - 1..], "--ip6"))),
    ("PublishPort", Way::Each("--publish")),
    ("ExposeHostPort", Way::Each("--expose")),
    ("HostName", Way::Last("--hostname")),
    ("AddHost", Way::Each("--add-host")),
    ("DNS", Way::Each("--dns")),
    ("DNSSearch", Way::Each("--dns-search")),
    ("DNSOption", Way::Each("--dns-option")),
    ("HealthCmd", Way::Last("--health-cmd")),
    ("HealthInterval", Way::Last("--health-interval")),
    ("HealthTimeout", Way::Last("--health-timeout")),
    ("HealthRetries", Way::Last("--health-retries")),
    ("HealthStartPeriod", Way::Last("--health-start-period")),
    ("HealthStartInterval", Way::Last("--health-start-interval")),
    ("HealthOnFailure", Way::Own(health_on_failure)),
    ("HealthLogDestination", Way::Never(HEALTH)),
    ("HealthMaxLogCount", Way::Never(HEALTH)),
    ("HealthMaxLogSize", Way::Never(HEALTH)),
    ("HealthStartupCmd", Way::Never(HEALTH)),
    ("HealthStartupInterval", Way::Never(HEALTH)),
    ("HealthStartupRetries", Way::Never(HEALTH)),
    ("HealthStartupSuccess", Way::Never(HEALTH)),
    ("HealthStartupTimeout", Way::Never(HEALTH)),
    ("Label", Way::Words("--label")),
    ("Annotation", Way::Words("--annotation")),
    ("LogDriver", Way::Own(log_driver)),
    ("LogOpt", Way::Never("what a service says goes to the journal; leave it out")),
    ("ReloadCmd", Way::Own(reload_command)),
    ("ReloadSignal", Way::Own(reload_signal)),
    (
        "AutoUpdate",
        Way::Never("images are not updated behind a service's back; say Pull=always, and restart it by a timer"),
    ),
    ("Pod", Way::Never(PODS)),
    ("StartWithPod", Way::Never(PODS)),
    ("Retry", Way::Never(RETRY)),
    ("RetryDelay", Way::Never(RETRY)),
    ("ContainersConfModule", Way::Never("there is no containers.conf to read; leave it out")),
    ("PodmanArgs", Way::Elsewhere),
    ("GlobalArgs", Way::Elsewhere),
];

pub(super) fn make(making: &mut Making<'_>) {
    making.command = (&["run"], &["host:"]);
    service::pass_on(making);
    if let Some(entry) = making.last("ContainerName") {
        making.ask(entry, &["--name", &entry.value]);
    }
    making.keys(KEYS);
    for (entry, words) in making.passed_on("PodmanArgs") {
        making.add(entry, &words);
    }
    let name = making.source.describe().name;
    let payload = payload(making);
    let flags = ["run", "--name", &name, "--replace", "--rm"].map(str::to_owned);
    let line = making.command_line(&[&flags[..], &making.words, &payload].concat());
    the_service(making, &line, &name);
}

/// Returns the image and what is to run in it. An entrypoint of several words is its first word, with the others as the
/// first arguments.
fn payload(making: &mut Making<'_>) -> Vec<String> {
    let image = match (making.last("Image"), making.last("Rootfs")) {
        (Some(image), None) if [".image", ".build"].iter().any(|kind| image.value.ends_with(kind)) => {
            making.refuse(image, "bryo makes no units of .image and .build files; name the image itself");
            String::new()
        }
        (Some(image), None) => image.value.clone(),
        (None, Some(root)) => format!("rootfs:{}", absolute(&root.value, &root.place.file)),
        (Some(_), Some(root)) => {
            making.refuse(root, "a container has an image or a root file system, not both");
            String::new()
        }
        (None, None) => {
            making.refuse_file("Image= is missing in [Container]");
            String::new()
        }
    };
    let mut words = vec![image];
    if let Some(entry) = making.last("Entrypoint") {
        let mut entrypoint = match json_words(&entry.value) {
            Some(words) => words.into_iter(),
            None => vec![entry.value.clone()].into_iter(),
        };
        let first = entrypoint.next().unwrap_or_default();
        making.add(entry, &["--entrypoint", &first]);
        words.extend(entrypoint);
    }
    if let Some(entry) = making.last("Exec") {
        let exec = making.split(entry);
        words.extend(exec);
    }
    words
}

/// Reads a list of strings as JSON writes it, as far as an entrypoint is one.
fn json_words(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut words = Vec::new();
    let mut rest = inner;
    while !rest.is_empty() {
        let body = rest.strip_prefix('"')?;
        let mut word = String::new();
        let mut chars = body.char_indices();
        let end = loop {
            match chars.next()? {
                (n, '"') => break n + 1,
                (_, '\\') => word.push(match chars.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    c @ ('"' | '\\' | '/') => c,
                    _ => return None,
                }),
                (_, c) => word.push(c),
            }
        };
        words.push(word);
        rest = body[end..].trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) if !more.trim().is_empty() => more.trim_start(),
            None if rest.is_empty() => rest,
            _ => return None,
        };
    }
    Some(words)
}

/// Writes down how the service is started, stopped and looked at.
fn the_service(making: &mut Making<'_>, start: &str, name: &str) {
    // Ready when the payload runs: that is what the unit's own processes are told apart by.
    service::only(making, "Type", &["notify", "oneshot"]);
    service::only(making, "KillMode", &["mixed", "control-group"]);
    service::unless_said(making, "Type", "notify");
    service::unless_said(making, "KillMode", "mixed");
    service::unless_said(making, "Delegate", "yes");
    service::unless_said(making, "SyslogIdentifier", "%N");
    // To systemd a service that ends by these signals has ended well; bryo tells them as codes.
    making.output.push("Service", "SuccessExitStatus", "129 130 141 143");
    if making.service("DynamicUser").is_some_and(|entry| boolean(&entry.value) == Some(true)) {
        // Its user has no home to keep images in.
        service::unless_said(making, "StateDirectory", "%N");
    } else if making.is_system() && making.service("User").is_none() {
        making.output.push("Unit", "RequiresMountsFor", "/var/lib/bryo");
    }
    making.output.push("Service", "ExecStart", start);
    // The image's own signal asks it to end, and its own time is given to it.
    let stop = making.command_line(&["stop", "--ignore", name]);
    making.output.push("Service", "ExecStop", stop);
    let remove = making.command_line(&["rm", "--force", name]);
    making.output.push("Service", "ExecStopPost", format!("-{remove}"));
}

fn user(making: &mut Making<'_>, values: &[&Entry]) {
    let last = values[values.len() - 1];
    let group = making.last("Group").map_or_else(String::new, |group| format!(":{}", group.value));
    making.add(last, &["--user", &format!("{}{group}", last.value)]);
}

fn group(making: &mut Making<'_>, values: &[&Entry]) {
    if making.last("User").is_none() {
        making.refuse(values[values.len() - 1], "a group needs a user: say User= as well");
    }
}

fn group_add(making: &mut Making<'_>, values: &[&Entry]) {
    for entry in values {
        match entry.value.as_str() {
            "keep-groups" => making.refuse(entry, "the caller's groups are never kept; leave it out"),
            group => making.add(entry, &["--group-add", group]),
        }
    }
}

/// Passes on what assigns something. A name alone would be whatever the manager's environment has.
fn environment(making: &mut Making<'_>, values: &[&Entry]) {
    for entry in values {
        for word in making.split(entry) {
            match word.split_once('=') {
                Some((name, _)) if !name.is_empty() => making.add(entry, &["--env", &word]),
                _ => making.refuse(entry, format!("{word:?} assigns nothing: expected NAME=VALUE")),
            }
        }
    }
}

/// Accepts the value that says what is so anyway.
fn must_be(making: &mut Making<'_>, values: &[&Entry], accepted: bool, why: &str) {
    let last = values[values.len() - 1];
    if making.boolean(last) == Some(!accepted) {
        making.refuse(last, why);
    }
}

fn notify(making: &mut Making<'_>, values: &[&Entry]) {
    let last = values[values.len() - 1];
    match (last.value.as_str(), boolean(&last.value)) {
        ("healthy", _) => making.add(last, &["--sdnotify", "healthy"]),
        (_, Some(true)) => making.add(last, &["--sdnotify", "container"]),
        (_, Some(false)) => making.add(last, &["--sdnotify", "conmon"]),
        _ => making.refuse(last, "expected true, false or healthy"),
    }
}

/// Gives systemd's own time a lead over the container's, where the one would run out first.
fn stop_timeout(making: &mut Making<'_>, values: &[&Entry]) {
    /// `DefaultTimeoutStopSec=` of `systemd-system.conf(5)`.
    const SYSTEMDS: u64 = 90;
    const LEAD: u64 = 10;
    let last = values[values.len() - 1];
    making.add(last, &["--stop-timeout", &last.value]);
    let said = making.service("TimeoutStopSec").or_else(|| making.service("TimeoutSec")).is_some();
    if let Some(needed) =
        last.value.parse::<u64>().ok().map(|n| n.saturating_add(LEAD)).filter(|n| *n > SYSTEMDS && !said)
    {
        making.output.push("Service", "TimeoutStopSec", needed.to_string());
    }
}

fn paths(making: &mut Making<'_>, values: &[&Entry], option: &str) {
    for entry in values {
        for path in entry.value.split(':') {
            making.add(entry, &["--security-opt", &format!("{option}={path}")]);
        }
    }
}

fn cgroups(making: &mut Making<'_>, values: &[&Entry]) {
    let last = values[values.len() - 1];
    match last.value.as_str() {
        // What a service has anyway: its own group, with that of the container in it.
        "split" => (),
        "no-conmon" => making.refuse(last, "the container is always in the service's own group; leave it out"),
        mode => making.add(last, &["--cgroups", mode]),
    }
}

fn log_driver(making: &mut Making<'_>, values: &[&Entry]) {
    let last = values[values.len() - 1];
    match last.value.as_str() {
        "journald" | "passthrough" => (),
        "none" => {
            service::unless_said(making, "StandardOutput", "null");
            service::unless_said(making, "StandardError", "null");
        }
        _ => making.refuse(last, "what a service says goes to the journal; leave it out, or say none"),
    }
}

fn health_on_failure(making: &mut Making<'_>, values: &[&Entry]) {
    let last = values[values.len() - 1];
    if last.value != "none" {
        making.refuse(last, "a container that is unhealthy is shown as such, and goes on; leave it out, or say none");
    }
}

fn reload_command(making: &mut Making<'_>, values: &[&Entry]) {
    let last = values[values.len() - 1];
    if making.last("ReloadSignal").is_some() {
        making.refuse(last, "ReloadCmd and ReloadSignal exclude each other; leave one out");
    }
    let name = making.source.describe().name;
    let words = making.split(last);
    let line = making.command_line(&[vec!["exec".to_owned(), name], words].concat());
    making.output.push("Service", "ExecReload", line);
}

fn reload_signal(making: &mut Making<'_>, values: &[&Entry]) {
    let last = values[values.len() - 1];
    making.ask(last, &["--stop-signal", &last.value]);
    let name = making.source.describe().name;
    let line = making.command_line(&["kill", "--signal", &last.value, &name]);
    making.output.push("Service", "ExecReload", line);
}

#[cfg(test)]
mod tests {
    use super::json_words;

    #[test]
    fn an_entrypoint_may_be_a_list() {
        let words = |text| json_words(text);
        assert_eq!(words(r#"["/bin/sh", "-c", "echo \"a\" \\"]"#).unwrap(), ["/bin/sh", "-c", "echo \"a\" \\"]);
        assert_eq!(words("[]").unwrap(), Vec::<String>::new());
        for none in ["/bin/sh", "[a]", r#"["a" "b"]"#, r#"["a",]"#, r#"["a"#, r#"["\u0041"]"#] {
            assert_eq!(words(none), None, "{none}");
        }
    }
}
