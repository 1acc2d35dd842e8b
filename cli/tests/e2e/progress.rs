//! What a build prints: plain, quiet, rawjson and a terminal, and the files that scripts read.

use std::collections::{HashMap, HashSet};
use std::fs;

use serde_json::Value;

use crate::kit::{Lab, Ran};

const DOCKERFILE: &str = "FROM busybox AS a\nRUN echo one; echo two >&2; printf 'no end'\nCOPY f /f\nFROM busybox\nCOPY --from=a /f /f\nRUN cat /f\n";

#[test]
fn plain_output_has_the_grammar_that_scripts_know() {
    let lab = Lab::new();
    let context = lab.project(DOCKERFILE, &[("f", "content\n")]);
    let ran = lab.build(&context);
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut ended = HashSet::new();
    let mut current = "";
    for line in ran.stderr.lines() {
        if line.is_empty() {
            current = "";
            continue;
        }
        let (number, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        assert!(number.strip_prefix('#').is_some_and(|digits| digits.parse::<u32>().is_ok()), "{line:?}");
        if current.is_empty() {
            // A block begins with the name, always the same for a number.
            assert_eq!(*names.entry(number).or_insert(rest), rest);
            current = number;
            continue;
        }
        assert_eq!(number, current, "a block is about one step: {line:?}");
        let first = rest.split(' ').next().unwrap_or_default();
        let known = rest == "CACHED"
            || rest == "CANCELED"
            || rest == "..."
            || first == "ERROR:"
            || first == "transferring"
            || first == "exporting"
            || first == "writing"
            || first == "naming";
        let done = rest.strip_prefix("DONE ").is_some_and(|time| time.ends_with('s'));
        let log =
            first.split_once('.').is_some_and(|(seconds, part)| seconds.parse::<u32>().is_ok() && part.len() == 3);
        assert!(known || done || log, "{line:?} in\n{}", ran.stderr);
        if done || rest == "CACHED" {
            assert!(ended.insert(number), "{line:?} twice");
        }
    }
    assert_eq!(ended.len(), names.len(), "every step ends\n{}", ran.stderr);
    let mut steps: Vec<&str> = names.into_values().collect();
    steps.sort_unstable();
    assert_eq!(
        steps,
        [
            "[a 1/3] FROM docker.io/library/busybox:latest",
            "[a 2/3] RUN echo one; echo two >&2; printf 'no end'",
            "[a 3/3] COPY f /f",
            "[internal] load build context",
            "[internal] load build definition from Dockerfile",
            "[stage-1 2/3] COPY --from=a /f /f",
            "[stage-1 3/3] RUN cat /f",
            "exporting to image",
        ]
    );
    let mut lines: Vec<String> = ran.output().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["content", "no end", "one", "two"]);
    assert_eq!(ran.stdout, "", "results go to stdout, progress does not");
}

#[test]
fn quiet_prints_the_image_id_and_nothing_else() {
    let lab = Lab::new();
    let context = lab.project(DOCKERFILE, &[("f", "")]);
    let path = context.to_str().expect("UTF-8");
    let ran = lab.ok(&["build", "-q", "-t", "app", path]);
    assert_eq!(ran.stderr, "");
    assert_eq!(ran.stdout.trim_end(), lab.inspect("app")["Id"].as_str().expect("an id"));
    assert_eq!(lab.ok(&["run", ran.stdout.trim_end(), "echo", "by id"]).stdout, "by id\n");
    let ran = lab.ok(&["build", "--progress=quiet", path]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    // A failure is told even so, with what the step said.
    let context = lab.project("FROM busybox\nRUN echo the reason; exit 3\n", &[]);
    let ran = lab.run(&["build", "-q", context.to_str().expect("UTF-8")]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    ran.assert_stderr("the reason");
    ran.assert_stderr("exit code: 3");
}

#[test]
fn rawjson_is_buildkits_status_a_line() {
    let lab = Lab::new();
    let context = lab.project(DOCKERFILE, &[("f", "content\n")]);
    let ran = lab.ok(&["build", "--progress=rawjson", context.to_str().expect("UTF-8")]);
    let (mut names, mut completed, mut data) = (HashMap::new(), HashSet::new(), String::new());
    for line in ran.stderr.lines() {
        let status: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for vertex in status["vertexes"].as_array().into_iter().flatten() {
            let digest = vertex["digest"].as_str().expect("a digest").to_owned();
            assert!(digest.starts_with("sha256:"), "{vertex}");
            for input in vertex["inputs"].as_array().into_iter().flatten() {
                assert!(input.as_str().expect("a digest").starts_with("sha256:"), "{vertex}");
            }
            if vertex["completed"].is_string() {
                assert!(vertex["started"].as_str() <= vertex["completed"].as_str(), "{vertex}");
                completed.insert(digest.clone());
            }
            names.insert(digest, vertex["name"].as_str().expect("a name").to_owned());
        }
        for log in status["logs"].as_array().into_iter().flatten() {
            let text = log["data"].as_str().expect("base64");
            data.push_str(
                &String::from_utf8(
                    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).expect("base64"),
                )
                .expect("text"),
            );
            assert!(names[log["vertex"].as_str().expect("a digest")].contains("RUN"), "{log}");
        }
    }
    assert_eq!(names.keys().collect::<HashSet<_>>(), completed.iter().collect::<HashSet<_>>());
    assert!(names.values().any(|name| name == "[stage-1 3/3] RUN cat /f"), "{names:?}");
    for part in ["one\n", "two\n", "no end", "content\n"] {
        assert!(data.contains(part), "{data}");
    }
}

#[test]
fn ids_and_facts_are_written_to_files() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nCOPY f /\n", &[("f", "")]);
    let (iid, metadata) = (lab.path().join("iid"), lab.path().join("metadata.json"));
    let (iid_text, metadata_text) = (iid.to_str().expect("UTF-8"), metadata.to_str().expect("UTF-8"));
    lab.build_with(&context, &["-t", "other:2", "--iidfile", iid_text, "--metadata-file", metadata_text]);
    let id = fs::read_to_string(&iid).expect("it was written");
    assert_eq!(id, lab.inspect("app")["Id"].as_str().expect("an id"));
    let facts: Value = serde_json::from_str(&fs::read_to_string(&metadata).expect("it was written")).expect("JSON");
    assert_eq!(facts["containerimage.config.digest"], id.as_str());
    assert_eq!(facts["image.name"], "docker.io/library/app:latest,docker.io/library/other:2");
    // A failed build writes none.
    fs::remove_file(&iid).expect("ours");
    let broken = lab.project("FROM busybox\nRUN false\n", &[]);
    lab.run(&["build", "--iidfile", iid_text, broken.to_str().expect("UTF-8")]);
    assert!(!iid.exists());
}

#[test]
fn steps_can_not_play_tricks_with_the_terminal() {
    let lab = Lab::new();
    let ran = lab.build_files("FROM busybox\nRUN printf '\\033]52;c;ZXZpbA==\\007\\033[2J\\033]0;title\\007hidden\\rshown\\n\\033[31mred\\033[0m\\n#9 DONE 0.0s\\n'\n", &[]);
    assert!(
        !ran.stderr.contains('\x1b') && !ran.stderr.contains('\x07') && !ran.stderr.contains('\r'),
        "{:?}",
        ran.stderr
    );
    let output = ran.output();
    assert!(output.contains("hidden") && output.contains("shown") && output.contains("red"), "{output}");
    let names = lab.build_files("FROM busybox\nRUN true '\u{1b}]0;title\u{7}' \u{202e}\n", &[]);
    assert!(!names.stderr.contains('\x1b') && !names.stderr.contains('\x07'), "{:?}", names.stderr);
}

#[test]
fn a_terminal_gets_a_live_view_and_colours_only_when_it_wants_them() {
    let lab = Lab::new();
    let context = lab.project(DOCKERFILE, &[("f", "content\n")]);
    let path = context.to_str().expect("UTF-8");
    let see = |no_colour: &str, arguments: &str| -> Ran {
        let builder = env!("CARGO_BIN_EXE_builder");
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &format!("stty cols 100 rows 30; {builder} build {arguments} {path}"), "/dev/null"]);
        command
            .env("BUILDER_ROOT", lab.root())
            .env("BUILDER_DURABILITY", "none")
            .env("TERM", "xterm")
            .env("NO_COLOR", no_colour)
            .stdin(std::process::Stdio::null());
        Ran::of(command.output().expect("script is part of bsdutils"))
    };
    let coloured = see("", "--no-cache");
    assert_eq!(coloured.code, 0, "{}", coloured.stdout);
    for part in ["[a 2/3] RUN echo one", "[stage-1 3/3] RUN cat /f", "exporting to image", "\x1b["] {
        assert!(coloured.stdout.contains(part), "no {part:?} in {:?}", coloured.stdout);
    }
    let bare = see("1", "--no-cache");
    let coloured_text = |text: &str| {
        text.split("\x1b[").skip(1).any(|rest| {
            rest.find(|c: char| c.is_ascii_alphabetic())
                .is_some_and(|at| rest[at..].starts_with('m') && at > 0 && &rest[..at] != "0")
        })
    };
    assert!(coloured_text(&coloured.stdout) && !coloured_text(&bare.stdout), "{:?}", bare.stdout);
    let plain = see("", "--progress=plain");
    assert!(!plain.stdout.contains("\x1b[2K") && plain.stdout.contains("] RUN cat /f\r\n"), "{:?}", plain.stdout);
    // A failure shows the log of the step that failed.
    fs::write(context.join("Dockerfile"), "FROM busybox\nRUN echo the reason; exit 3\n").expect("ours");
    let failed = see("1", "");
    assert_eq!(failed.code, 1);
    for part in ["the reason", "exit code: 3", "Dockerfile:2", ">>> RUN echo the reason"] {
        assert!(failed.stdout.contains(part), "no {part:?} in {}", failed.stdout);
    }
}
