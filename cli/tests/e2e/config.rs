//! The image config and the history, in the words of other tools; where Dockerfiles come from.

use serde_json::json;

use crate::kit::Lab;

#[test]
fn settings_end_up_in_the_image_config() {
    let lab = Lab::new();
    let context = lab.project(
        "FROM busybox\nENV A=1\nLABEL b=\"two words\" c=3\nLABEL c=4\nEXPOSE 80 53/udp 8000-8001\nVOLUME [\"/v1\", \"/v2\"]\nVOLUME /v3 /v4\n\
         USER app:daemon\nWORKDIR /w\nSTOPSIGNAL SIGINT\nSHELL [\"/bin/sh\", \"-ec\"]\nENTRYPOINT [\"/bin/echo\", \"e\"]\nCMD one two\n\
         HEALTHCHECK --interval=30s --timeout=1m --start-period=2s --start-interval=500ms --retries=3 CMD [\"true\"]\nMAINTAINER me\n",
        &[],
    );
    lab.build_with(&context, &["--label", "d=cli", "--label", "c=over"]);
    let image = lab.inspect("app");
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(
        image["Config"],
        json!({
            "User": "app:daemon",
            "ExposedPorts": { "53/udp": {}, "80/tcp": {}, "8000/tcp": {}, "8001/tcp": {} },
            "Env": [path, "A=1"],
            "Entrypoint": ["/bin/echo", "e"],
            "Cmd": ["/bin/sh", "-ec", "one two"],
            "Volumes": { "/v1": {}, "/v2": {}, "/v3": {}, "/v4": {} },
            "WorkingDir": "/w",
            "Labels": { "b": "two words", "c": "over", "d": "cli" },
            "StopSignal": "SIGINT",
            "ArgsEscaped": true,
            "Healthcheck": {
                "Test": ["CMD", "true"], "Interval": 30_000_000_000_i64, "Timeout": 60_000_000_000_i64,
                "StartPeriod": 2_000_000_000_i64, "StartInterval": 500_000_000_i64, "Retries": 3,
            },
            "Shell": ["/bin/sh", "-ec"],
        })
    );
    assert_eq!(image["Author"], "me");
    assert_eq!(image["Os"], "linux");
    assert_eq!(image["RepoTags"], json!(["app:latest"]));

    lab.build_files("FROM busybox AS a\nENTRYPOINT [\"a\"]\nCMD [\"b\"]\nHEALTHCHECK CMD x\nFROM a\nENTRYPOINT c\nHEALTHCHECK NONE\n", &[]);
    let config = lab.inspect("app")["Config"].clone();
    assert_eq!(config["Entrypoint"], json!(["/bin/sh", "-c", "c"]));
    assert!(config["Cmd"].is_null(), "a new entrypoint resets the command of the base: {config}");
    assert_eq!(config["Healthcheck"], json!({ "Test": ["NONE"] }));
}

/// The instructions of `app`, oldest first.
fn history(lab: &Lab) -> Vec<String> {
    let text = lab.ok(&["history", "--format=json", "--no-trunc", "app"]).stdout;
    let entries = text.lines().rev().map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
        entry["CreatedBy"].as_str().expect("a text").to_owned()
    });
    entries.collect()
}

#[test]
fn history_tells_every_instruction_in_buildkits_words() {
    let lab = Lab::new();
    lab.build_files(
        "FROM scratch\nARG A=1 B\nENV C=c D=\"d d\"\nLABEL l=x\nCOPY --chown=1:2 --chmod=600 f g /d/\nADD f /f\nWORKDIR /w\nWORKDIR /\n\
         USER app\nEXPOSE 80 9000/udp\nVOLUME /v\nSTOPSIGNAL 9\nSHELL [\"/bin/ash\", \"-c\"]\nENTRYPOINT [\"e\", \"x y\"]\nCMD run it\nONBUILD RUN never\n",
        &[("f", ""), ("g", "")],
    );
    let lines = history(&lab);
    assert_eq!(
        lines,
        [
            "ARG A=1 B",
            "ENV C=c D=d d",
            "LABEL l=x",
            "COPY --chown=1:2 --chmod=600 f g /d/ # buildkit",
            "ADD f /f # buildkit",
            "WORKDIR /w",
            "WORKDIR /",
            "USER app",
            "EXPOSE [80/tcp 9000/udp]",
            "VOLUME [/v]",
            "STOPSIGNAL 9",
            "SHELL [/bin/ash -c]",
            "ENTRYPOINT [\"e\" \"x y\"]",
            "CMD [\"/bin/ash\" \"-c\" \"run it\"]",
        ]
    );
    lab.build_files("FROM busybox\nARG A=1\nARG B\nRUN true\nRUN [\"true\", \"x\"]\n", &[]);
    let lines = history(&lab);
    assert_eq!(
        lines[lines.len() - 2..],
        ["RUN |2 A=1 B= /bin/sh -c true # buildkit", "RUN |2 A=1 B= true x # buildkit"]
    );
}

#[test]
fn the_dockerfile_can_be_elsewhere_or_come_from_standard_input() {
    let lab = Lab::new();
    let context = lab.context(&[
        ("f", "data\n"),
        ("sub/Other", "FROM busybox\nCOPY f /o\n"),
        ("dockerfile", "FROM busybox\nRUN echo small >/o\n"),
    ]);
    lab.build_with(&context, &[]);
    assert_eq!(lab.shell("cat /o"), "small\n");
    lab.build_with(&context, &["-f", context.join("sub/Other").to_str().expect("UTF-8")]);
    assert_eq!(lab.shell("cat /o"), "data\n");
    let mut command =
        lab.command(&["build", "-t", "app", "-t", "other:1", "-f", "-", context.to_str().expect("UTF-8")]);
    command.stdin(std::process::Stdio::piped());
    let mut builder = crate::kit::Background::start(&mut command);
    std::io::Write::write_all(&mut builder.stdin(), b"FROM busybox\nCOPY f /o\nRUN echo stdin >>/o\n")
        .expect("it reads");
    let ran = builder.finish();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(lab.shell("cat /o"), "data\nstdin\n");
    assert_eq!(lab.inspect("app")["RepoTags"], json!(["app:latest", "other:1"]));
}
