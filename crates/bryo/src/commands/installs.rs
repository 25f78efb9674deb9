// SPDX-License-Identifier: Apache-2.0
//! Which line of a Dockerfile does what a container was refused: what is installed belongs into the image.

use bryo_audit::shell::{Simple, commands_of};
use bryo_engine::run::Hints;
use bryo_launch::relay::Installer;

/// Says to whoever was refused to install something where that belongs.
pub(super) fn hint(command: &[String], hints: Hints) -> Option<String> {
    let refused = hints.read_only || hints.not_permitted || hints.installer.is_some();
    let line = refused.then(|| line(command, hints.installer)).flatten()?;
    Some(format!("nothing is installed in a container that runs; in the image's Dockerfile: {line}"))
}

/// Returns the line for a command that installs something, or for a package manager that has said that it may not.
fn line(command: &[String], said: Option<Installer>) -> Option<String> {
    let commands = commands_of(command);
    let fetched = commands.iter().zip(commands.iter().skip(1));
    let mut piped = fetched.filter(|(from, to)| from.piped && is_fetcher(from) && is_shell(to)).map(|(from, _)| from);
    let found = commands.iter().find_map(of);
    found.or_else(|| piped.next().map(through_shell)).or_else(|| commands.iter().find_map(program)).or_else(|| {
        // In a shell at a terminal only the words of who was refused tell.
        Some(match said? {
            Installer::Apt => run(&apt("PACKAGE")),
            Installer::Apk => run("apk add --no-cache PACKAGE"),
            Installer::Dnf => run("dnf install -y PACKAGE && dnf clean all"),
            Installer::Zypper => run("zypper --non-interactive install PACKAGE && zypper clean"),
            Installer::Pip => run("pip install --no-cache-dir PACKAGE"),
            Installer::Npm => run("npm install PACKAGE"),
            Installer::Gem => run("gem install PACKAGE"),
        })
    })
}

fn run(command: &str) -> String {
    format!("RUN {command}")
}

fn apt(packages: &str) -> String {
    format!("apt-get update && apt-get install -y --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*")
}

/// Reads one command.
fn of(simple: &Simple) -> Option<String> {
    let mut operands: Vec<&str> = simple.operands().collect();
    let python = simple.program().starts_with("python") && simple.value(&["-m"]) == Some("pip");
    if python {
        operands.retain(|word| *word != "pip");
    }
    let verb = *operands.first()?;
    let rest = operands[1..].join(" ");
    let what = if rest.is_empty() { "PACKAGE".to_owned() } else { rest };
    // What is behind the verb, with its flags: versions and places are said by them.
    let whole = || simple.shown();
    Some(run(&match (simple.program(), verb) {
        ("apt" | "apt-get" | "aptitude", "install" | "reinstall") => apt(&what),
        ("apt" | "apt-get" | "aptitude", "upgrade" | "dist-upgrade" | "full-upgrade") => {
            "apt-get update && apt-get upgrade -y && rm -rf /var/lib/apt/lists/*".to_owned()
        }
        ("apk", "add") => format!("apk add --no-cache {what}"),
        ("apk", "upgrade") => "apk upgrade --no-cache".to_owned(),
        (manager @ ("dnf" | "microdnf" | "yum" | "tdnf"), "install" | "reinstall") => {
            format!("{manager} install -y {what} && {manager} clean all")
        }
        (manager @ ("dnf" | "microdnf" | "yum" | "tdnf"), "update" | "upgrade") => {
            format!("{manager} {verb} -y && {manager} clean all")
        }
        ("zypper", "install" | "in") => format!("zypper --non-interactive install {what} && zypper clean"),
        ("npm", "install" | "i" | "ci" | "add") | ("yarn" | "pnpm", "add" | "install") => whole(),
        ("gem" | "cargo" | "go", "install") => whole(),
        (pip, "install") if python || pip.starts_with("pip") => {
            let cached = if simple.has(&["--no-cache-dir"]) { "" } else { " --no-cache-dir" };
            format!("{}{cached}", whole())
        }
        ("dpkg", file) if simple.short('i') || simple.has(&["--install"]) => {
            return Some(format!("COPY {} /tmp/, then RUN dpkg -i /tmp/{}", named(file), named(file)));
        }
        ("rpm", file) if simple.short('i') || simple.short('U') || simple.has(&["--install", "--upgrade"]) => {
            return Some(format!("COPY {} /tmp/, then RUN rpm -U /tmp/{}", named(file), named(file)));
        }
        _ => return None,
    }))
}

fn named(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_fetcher(simple: &Simple) -> bool {
    matches!(simple.program(), "curl" | "wget")
}

fn is_shell(simple: &Simple) -> bool {
    matches!(simple.program(), "sh" | "bash" | "dash" | "ash" | "zsh")
}

/// A script that is fetched and executed at once.
fn through_shell(fetch: &Simple) -> String {
    run(&format!("{} | sh", fetch.shown()))
}

/// A program that is fetched into a file.
fn program(simple: &Simple) -> Option<String> {
    let address = simple.operands().find(|word| word.starts_with("http://") || word.starts_with("https://"));
    let address = address.filter(|_| is_fetcher(simple))?;
    let output = simple.value(&["-o", "--output", "--output-document"]);
    let wget = || simple.value(&["-O"]).filter(|_| simple.program() == "wget");
    let written = output.or_else(wget).or(simple.outputs.last().map(String::as_str)).unwrap_or(address);
    Some(format!("ADD --chmod=755 {address} /usr/local/bin/{}", named(written)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_shell(script: &str) -> Option<String> {
        line(&["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()], None)
    }

    #[test]
    fn every_way_to_install_has_a_line() {
        for (script, expected) in [
            ("apt-get update && apt-get install -y curl git", "apt-get install -y --no-install-recommends curl git"),
            ("apt install x=1", "install -y --no-install-recommends x=1 &&"),
            ("dpkg -i /tmp/a_1.deb", "COPY a_1.deb /tmp/, then RUN dpkg -i /tmp/a_1.deb"),
            ("apk add bash", "RUN apk add --no-cache bash"),
            ("microdnf install tar", "RUN microdnf install -y tar && microdnf clean all"),
            ("dnf -y install tar", "RUN dnf install -y tar"),
            ("yum install tar", "RUN yum install -y tar"),
            ("rpm -Uvh a.rpm", "RUN rpm -U /tmp/a.rpm"),
            ("zypper in tar", "RUN zypper --non-interactive install tar"),
            ("pip install six==1.16.0", "RUN pip install six==1.16.0 --no-cache-dir"),
            ("python3 -m pip install six", "RUN python3 -m pip install six --no-cache-dir"),
            ("npm install -g left-pad", "RUN npm install -g left-pad"),
            ("gem install rake", "RUN gem install rake"),
            ("cargo install ripgrep", "RUN cargo install ripgrep"),
            ("go install example.org/x@latest", "RUN go install example.org/x@latest"),
            ("curl -fsSL https://x.org/i.sh | sh", "RUN curl -fsSL https://x.org/i.sh | sh"),
            (
                "curl -o /tmp/t https://x.org/b && chmod +x /tmp/t && /tmp/t",
                "ADD --chmod=755 https://x.org/b /usr/local/bin/t",
            ),
            ("wget https://x.org/tool", "ADD --chmod=755 https://x.org/tool /usr/local/bin/tool"),
        ] {
            let found = of_shell(script).unwrap_or_else(|| panic!("{script}"));
            assert!(found.contains(expected), "{script}: {found}");
        }
        for script in ["echo apt-get install x", "apt list", "touch /x", "npm run build", "pip list", "rpm -qa"] {
            assert_eq!(of_shell(script), None, "{script}");
        }
    }

    #[test]
    fn only_who_was_refused_is_told() {
        let apt = ["apt-get", "install", "curl"].map(str::to_owned);
        assert_eq!(hint(&apt, Hints::default()), None);
        let refused = Hints { not_permitted: true, ..Hints::default() };
        assert!(hint(&apt, refused).unwrap().contains("Dockerfile: RUN apt-get update"));
        assert_eq!(hint(&["touch".to_owned(), "/x".to_owned()], refused), None);
    }

    #[test]
    fn at_a_terminal_the_managers_words_tell() {
        let shell = ["bash".to_owned()];
        assert_eq!(line(&shell, None), None);
        assert!(line(&shell, Some(Installer::Apt)).unwrap().contains("apt-get install"));
    }
}
