// SPDX-License-Identifier: Apache-2.0

use super::*;

fn steps(text: &str) -> Vec<Step> {
    let mut dockerfile = parse(&format!("FROM x\n{text}")).unwrap_or_else(|e| panic!("{text:?}: {e:?}"));
    dockerfile.stages.pop().unwrap().steps
}

fn step(text: &str) -> Instruction {
    let mut steps = steps(text);
    assert_eq!(steps.len(), 1, "{text:?}");
    steps.pop().unwrap().instruction
}

fn refused(text: &str) -> Mistake {
    parse(text).err().unwrap_or_else(|| panic!("{text:?} is understood"))
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn copy(text: &str) -> Copy {
    match step(text) {
        Instruction::Copy(copy) => *copy,
        other => panic!("{other:?}"),
    }
}

fn run(text: &str) -> Run {
    match step(text) {
        Instruction::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

#[test]
fn stages_have_bases_names_and_platforms() {
    let text = "ARG V=1\nARG A B=2\nFROM --platform=$TARGETPLATFORM base:$V AS Build\nRUN a\nfrom build as two\nFROM scratch\n";
    let dockerfile = parse(text).unwrap();
    let globals: Vec<_> = dockerfile.globals.iter().map(|a| (a.name.as_str(), a.default.as_deref())).collect();
    assert_eq!(globals, [("V", Some("1")), ("A", None), ("B", Some("2"))]);
    let stages: Vec<_> = dockerfile.stages.iter().map(|s| (s.base.as_str(), s.name.as_deref())).collect();
    assert_eq!(stages, [("base:$V", Some("build")), ("build", Some("two")), ("scratch", None)]);
    assert_eq!(dockerfile.stages[0].platform.as_deref(), Some("$TARGETPLATFORM"));
    assert_eq!(dockerfile.stages[0].place, Place { line: 3, column: 1, last_line: 3 });
}

#[test]
fn commands_have_two_forms() {
    assert_eq!(run(r#"RUN ["a", "b c"]"#).command, Command::Exec(strings(&["a", "b c"])));
    assert_eq!(run("RUN a 'b c' # d").command, Command::Shell("a 'b c' # d".to_owned()));
    assert_eq!(run("RUN [\"a\", 'b']").command, Command::Shell("[\"a\", 'b']".to_owned()));
    assert_eq!(run("RUN a \\\n  # no\n\n  && b").command, Command::Shell("a   && b".to_owned()));
    assert_eq!(run("# escape=x\nRUN a\\\n b").command, Command::Shell("a b".to_owned()));
    assert!(matches!(step("CMD a b"), Instruction::Cmd(Command::Shell(line)) if line == "a b"));
    assert!(matches!(step("ENTRYPOINT [\"a\"]"), Instruction::Entrypoint(Command::Exec(words)) if words == ["a"]));
    assert!(matches!(step("SHELL [\"/bin/bash\", \"-c\"]"), Instruction::Shell(words) if words == ["/bin/bash", "-c"]));
}

#[test]
fn the_escape_directive_is_followed() {
    let dockerfile = parse("# escape=`\nFROM x\nRUN a `\n  b\nRUN c\\\n").unwrap();
    assert_eq!(dockerfile.escape, '`');
    let lines: Vec<_> = dockerfile.stages[0].steps.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(lines, ["RUN a   b", "RUN c\\"]);
    assert_eq!(refused("# escape=x\nFROM x\n").place.line, 1);
}

#[test]
fn heredocs_belong_to_their_instruction() {
    let cases = [
        ("RUN <<E\na\nb\nE\nRUN c", "<<E", "a\nb\n"),
        ("RUN cat <<E > /f\na\nE\nRUN c", "cat <<E > /f", "a\n"),
        ("RUN --network=none python3 <<-'E'\n\ta\n\tE\nRUN c", "python3 <<-'E'", "\ta\n"),
        ("RUN a && \\\n  cat <<E\nFROM y\nE\nRUN c", "a &&   cat <<E", "FROM y\n"),
    ];
    for (text, line, body) in cases {
        let steps = steps(text);
        assert_eq!(steps.len(), 2, "{text}");
        let Instruction::Run(run) = &steps[0].instruction else { panic!("{text}") };
        assert_eq!(run.command, Command::Shell(line.to_owned()), "{text}");
        assert_eq!(run.heredocs.len(), 1, "{text}");
        assert_eq!(run.heredocs[0].body, body, "{text}");
    }
    let two = run("RUN <<A cat && <<B cat\n1\nA\n2\nB");
    let bodies: Vec<_> = two.heredocs.iter().map(|h| (h.name.as_str(), h.body.as_str())).collect();
    assert_eq!(bodies, [("A", "1\n"), ("B", "2\n")]);
    let copied = copy("COPY <<a.txt <<\"b.txt\" plain /d/\nx\na.txt\ny\nb.txt");
    let names: Vec<_> = copied
        .sources
        .iter()
        .map(|source| match source {
            Source::Heredoc(heredoc) => (heredoc.name.as_str(), heredoc.expand),
            Source::Path(path) => (path.as_str(), false),
        })
        .collect();
    assert_eq!(names, [("a.txt", true), ("b.txt", false), ("plain", false)]);
}

#[test]
fn places_span_whole_instructions() {
    let steps = steps("\n  RUN a \\\n   b\nRUN <<E\nx\nE\nUSER u\n");
    let places: Vec<_> = steps.iter().map(|s| (s.place.line, s.place.column, s.place.last_line)).collect();
    assert_eq!(places, [(3, 3, 4), (5, 1, 7), (8, 1, 8)]);
}

#[test]
fn run_has_mounts_and_a_network() {
    let run = run("RUN --mount=type=cache,target=/c --mount=type=secret,id=$ID --network=none x");
    assert_eq!(run.mounts, ["type=cache,target=/c", "type=secret,id=$ID"]);
    assert_eq!(run.network, Some(RunNetwork::None));
    for (text, words) in [
        ("RUN --mount=type=ssh,key=x x", "key"),
        ("RUN --mount=type=cache x", "target"),
        ("RUN --network=host x", "host"),
        ("RUN --security=insecure x", "--security"),
        ("RUN --device=x y", "--device"),
        ("RUN --mount x", "value"),
        ("RUN", "command"),
        ("RUN --network=none", "command"),
    ] {
        let mistake = refused(&format!("FROM x\n\n{text}\n"));
        assert!(mistake.message.contains(words), "{text}: {}", mistake.message);
        assert_eq!(mistake.place.line, 3, "{text}");
    }
}

#[test]
fn copy_and_add_have_their_own_flags() {
    let one = copy("COPY --from=b --chown=1:2 --chmod=u+x --link --parents --exclude=a --exclude=b x y /z/");
    assert_eq!(
        (one.from.as_deref(), one.chown.as_deref(), one.chmod.as_deref()),
        (Some("b"), Some("1:2"), Some("u+x"))
    );
    assert!(one.link && one.parents && !one.add);
    assert_eq!(one.excludes, ["a", "b"]);
    assert_eq!(one.sources, [Source::Path("x".to_owned()), Source::Path("y".to_owned())]);
    assert_eq!(one.destination, "/z/");
    let list = copy("COPY [\"a b\", \"c d\"]");
    assert_eq!((list.sources[0].clone(), list.destination.as_str()), (Source::Path("a b".to_owned()), "c d"));
    assert!(!copy("COPY --link=false a b").link);
    let add = copy("ADD --checksum=sha256:00 --unpack=false http://x/y /z");
    assert!(add.add && add.unpack == Some(false) && add.checksum.is_some());
    for text in ["COPY --checksum=a b c", "ADD --from=a b c", "COPY --chwon=1 a b", "COPY --link=perhaps a b", "COPY a"]
    {
        assert_eq!(refused(&format!("FROM x\n{text}\n")).place.line, 2, "{text}");
    }
}

#[test]
fn flags_that_are_not_known_are_named_with_their_column() {
    let mistake = refused("FROM x\nCOPY --chwon=1 a b\n");
    assert_eq!((mistake.place.line, mistake.place.column), (2, 8));
    assert!(mistake.message.contains("--chwon") && mistake.message.contains("--chown"), "{}", mistake.message);
}

#[test]
fn health_checks_are_read() {
    let Instruction::Healthcheck(Some(check)) =
        step("HEALTHCHECK --interval=1m --timeout=3s --start-period=5s --start-interval=1s --retries=2 CMD a b")
    else {
        panic!()
    };
    assert_eq!(check.command, Command::Shell("a b".to_owned()));
    assert_eq!((check.interval, check.retries), (Some(60_000_000_000), Some(2)));
    assert!(matches!(step("HEALTHCHECK NONE"), Instruction::Healthcheck(None)));
    for text in
        ["HEALTHCHECK --interval=5 CMD a", "HEALTHCHECK --x=1s CMD a", "HEALTHCHECK a", "HEALTHCHECK --retries=1 NONE"]
    {
        assert_eq!(refused(&format!("FROM x\n{text}\n")).place.line, 2, "{text}");
    }
}

#[test]
fn onbuild_keeps_an_instruction_that_is_understood() {
    let text = "ONBUILD RUN a \\\n  b\nONBUILD COPY . /x\nONBUILD RUN <<E\nc\nE\n";
    let kept: Vec<_> = steps(text)
        .into_iter()
        .map(|step| match step.instruction {
            Instruction::Onbuild(text) => text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kept, ["RUN a   b", "COPY . /x", "RUN <<E\nc\nE"]);
    let again = parse_trigger(&kept[2]).unwrap();
    assert!(matches!(again.instruction, Instruction::Run(run) if run.heredocs[0].body == "c\n"));
    for text in ["ONBUILD FROM y", "ONBUILD MAINTAINER m", "ONBUILD ONBUILD RUN a", "ONBUILD RUN --x a", "ONBUILD"] {
        assert_eq!(refused(&format!("FROM x\n{text}\n")).place.line, 2, "{text}");
    }
    assert!(parse_trigger("RUN a\nRUN b").is_err());
    assert!(parse_trigger("FROM b\nRUN b").is_err());
}

#[test]
fn the_rest_is_words() {
    assert!(matches!(step("ENV A=1 B=\"2 3\""), Instruction::Env(pairs) if pairs.len() == 2));
    assert!(matches!(step("LABEL a b c"), Instruction::Label(pairs) if pairs == [("a".into(), "b c".into())]));
    assert!(matches!(step("EXPOSE 80 443/tcp"), Instruction::Expose(ports) if ports == ["80", "443/tcp"]));
    assert!(matches!(step("VOLUME [\"/a b\"]"), Instruction::Volume(paths) if paths == ["/a b"]));
    assert!(matches!(step("VOLUME /a /b"), Instruction::Volume(paths) if paths == ["/a", "/b"]));
    assert!(matches!(step("USER a:b"), Instruction::User(user) if user == "a:b"));
    assert!(matches!(step("WORKDIR /a b"), Instruction::Workdir(path) if path == "/a b"));
    assert!(matches!(step("STOPSIGNAL SIGINT"), Instruction::Stopsignal(signal) if signal == "SIGINT"));
    assert!(matches!(step("MAINTAINER me <a@b>"), Instruction::Maintainer(name) if name == "me <a@b>"));
    assert!(matches!(step("ARG A"), Instruction::Arg(arguments) if arguments[0].name == "A"));
    assert!(matches!(step("cmd [\"a\"]"), Instruction::Cmd(_)));
}

#[test]
fn what_is_no_dockerfile_is_refused_with_its_place() {
    for (text, line, column) in [
        ("", 0, 0),
        ("# only a comment\n", 0, 0),
        ("RUN a\n", 1, 1),
        ("FROM\n", 1, 1),
        ("FROM x\nRUM a\n", 2, 1),
        ("FROM x\n  ENV A\n", 2, 3),
        ("FROM x AS\n", 1, 8),
        ("FROM x AS 1a\n", 1, 11),
        ("FROM x AS a b\n", 1, 13),
        ("FROM --x=y z\n", 1, 8),
        ("FROM x\nRUN <<E\na\n", 2, 5),
        ("FROM x\nSHELL a\n", 2, 7),
        ("FROM x\nUSER\n", 2, 1),
    ] {
        let mistake = refused(text);
        assert_eq!((mistake.place.line, mistake.place.column), (line, column), "{text:?}: {}", mistake.message);
    }
}

#[test]
fn ten_thousand_instructions_are_read() {
    let text = format!("FROM x\n{}", "RUN a \\\n  b\n".repeat(10_000));
    assert_eq!(parse(&text).unwrap().stages[0].steps.len(), 10_000);
    assert!(parse(&"x".repeat(LENGTH_MAX + 1)).is_err());
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    /// Pieces that Dockerfiles are made of, put together in ways that nobody would.
    const PIECES: [&str; 44] = [
        "FROM",
        "from x",
        "RUN ",
        "COPY",
        "ADD ",
        "ENV ",
        "ARG",
        "ONBUILD ",
        "HEALTHCHECK ",
        "CMD",
        "SHELL ",
        "VOLUME ",
        "EXPOSE",
        "USER ",
        "LABEL ",
        "MAINTAINER",
        "STOPSIGNAL ",
        "WORKDIR ",
        "ENTRYPOINT ",
        "NONE",
        " ",
        "\n",
        "\r\n",
        "\\",
        "\\\n",
        "`",
        "#",
        "# escape=`\n",
        "\u{feff}",
        "<<E",
        "<<-'E'",
        "E\n",
        "\"",
        "'",
        "[",
        "]",
        "[\"a\", ",
        "--",
        "--x=y ",
        "=",
        "${A:-",
        "}",
        "\t",
        "é",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn is_understood_or_refused(pieces in proptest::collection::vec(0..PIECES.len(), 0..30)) {
            let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
            let lines = text.lines().count() + 1;
            match parse(&text) {
                Ok(dockerfile) => prop_assert!(!dockerfile.stages.is_empty()),
                Err(mistake) => prop_assert!(mistake.place.line <= lines, "{:?}", mistake),
            }
        }

        #[test]
        fn is_replaced_or_refused(text in "[\\\\$\\{\\}:#%/?*+\"' a-c-]{0,40}") {
            let lookup = |name: &str| (name == "a").then(|| "b*c".to_owned());
            let _ = substitute::word(&text, &lookup, '\\');
            let _ = substitute::words(&text, &lookup, '`');
        }
    }
}
