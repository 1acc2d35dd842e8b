//! What each instruction leaves in the image: one row a form.

use serde_json::{Value, json};

use crate::support::{Store, options, plan, try_plan};

/// The part of the config that `key` names; `null` when it is not there.
fn config(text: &str, key: &str) -> Value {
    let plan = plan(&format!("FROM app\nENV X=x EMPTY=\n{text}\n"));
    serde_json::to_value(&plan.config.config).unwrap().get(key).cloned().unwrap_or(Value::Null)
}

#[test]
fn the_config_of_each_instruction() {
    let shell = |command: &str| json!(["/bin/bash", "-ec", command]);
    let second = 1_000_000_000_i64;
    let table = [
        // CMD and ENTRYPOINT
        ("CMD [\"a\", \"$X\"]", "Cmd", json!(["a", "$X"])),
        ("CMD a $X", "Cmd", shell("a $X")),
        ("CMD []", "Cmd", Value::Null),
        ("CMD a\nCMD b", "Cmd", shell("b")),
        ("CMD a", "ArgsEscaped", json!(true)),
        ("ENTRYPOINT a", "Cmd", Value::Null),
        ("CMD [\"c\"]\nENTRYPOINT a", "Cmd", json!(["c"])),
        ("ENTRYPOINT [\"e\"]", "Entrypoint", json!(["e"])),
        ("ENTRYPOINT []", "Entrypoint", Value::Null),
        ("ENTRYPOINT []", "ArgsEscaped", Value::Null),
        // SHELL
        ("SHELL [\"zsh\", \"-c\"]\nCMD a", "Cmd", json!(["zsh", "-c", "a"])),
        ("SHELL [\"zsh\"]", "Shell", json!(["zsh"])),
        // ENV, LABEL, ARG
        (
            "ENV VERSION=2 B=\"$X y\" C='$X'",
            "Env",
            json!(["PATH=/app/bin", "VERSION=2", "X=x", "EMPTY=", "B=x y", "C=$X"]),
        ),
        ("ENV B a  $X", "Env", json!(["PATH=/app/bin", "VERSION=1", "X=x", "EMPTY=", "B=a  x"])),
        ("ARG B=1\nARG C=$B D=$C", "Env", json!(["PATH=/app/bin", "VERSION=1", "X=x", "EMPTY="])),
        ("LABEL a=$X \"b c\"='$X' from=me", "Labels", json!({"a": "x", "b c": "$X", "from": "me"})),
        ("LABEL a b", "Labels", json!({"a": "b", "from": "app"})),
        // EXPOSE
        ("EXPOSE 80 443/tcp 53/UDP", "ExposedPorts", json!({"80/tcp": {}, "443/tcp": {}, "53/udp": {}})),
        ("EXPOSE 8000-8002/sctp", "ExposedPorts", json!({"8000/sctp": {}, "8001/sctp": {}, "8002/sctp": {}})),
        ("EXPOSE 127.0.0.1:8080:80 9:10", "ExposedPorts", json!({"80/tcp": {}, "10/tcp": {}})),
        ("ARG P=\"1 2\"\nEXPOSE $P ${EMPTY:-3}", "ExposedPorts", json!({"1/tcp": {}, "2/tcp": {}, "3/tcp": {}})),
        // VOLUME
        ("VOLUME /a /$X \"/b\"", "Volumes", json!({"/a": {}, "/b": {}, "/x": {}})),
        ("VOLUME [\"/a b\", \"/$X\"]", "Volumes", json!({"/a b": {}, "/x": {}})),
        // USER, WORKDIR, STOPSIGNAL
        ("USER $X:${G:-g}", "User", json!("x:g")),
        ("WORKDIR a/../$X", "WorkingDir", json!("/srv/app/x")),
        ("WORKDIR /\nWORKDIR ~", "WorkingDir", json!("/~")),
        ("STOPSIGNAL ${S:-sigusr1}", "StopSignal", json!("sigusr1")),
        // HEALTHCHECK
        ("HEALTHCHECK NONE", "Healthcheck", json!({"Test": ["NONE"]})),
        ("HEALTHCHECK CMD a $X", "Healthcheck", json!({"Test": ["CMD-SHELL", "a $X"]})),
        (
            "HEALTHCHECK --interval=1m --timeout=1.5s --start-period=1h --start-interval=10ms --retries=3 CMD [\"a\"]",
            "Healthcheck",
            json!({
                "Test": ["CMD", "a"], "Interval": 60 * second, "Timeout": second + second / 2,
                "StartPeriod": 3600 * second, "StartInterval": second / 100, "Retries": 3
            }),
        ),
        ("HEALTHCHECK --interval=0 --retries=0 CMD a", "Healthcheck", json!({"Test": ["CMD-SHELL", "a"]})),
        ("HEALTHCHECK CMD a\nHEALTHCHECK NONE", "Healthcheck", json!({"Test": ["NONE"]})),
        // ONBUILD
        ("ONBUILD RUN a $X\nonbuild copy <<E /\nx\nE", "OnBuild", json!(["RUN a $X", "copy <<E /\nx\nE"])),
    ];
    for (text, key, expected) in table {
        assert_eq!(config(text, key), expected, "{text}");
    }
    assert_eq!(plan("FROM app\nMAINTAINER me $X <m@x>\n").config.author, "me $X <m@x>");
}

#[test]
fn every_instruction_has_its_history_entry() {
    // The number of entries, and of layers among them.
    for (text, entries, layers) in [
        ("RUN a", 1, 1),
        ("RUN <<E\na\nE", 1, 1),
        ("COPY a b c/", 1, 1),
        ("COPY --link a /", 1, 1),
        ("ADD a.tar https://e.example/x /", 1, 1),
        ("WORKDIR /", 1, 0),
        ("WORKDIR /a", 1, 1),
        ("ARG A B=1", 1, 0),
        ("ENV A=1 B=2", 1, 0),
        ("LABEL a=1", 1, 0),
        ("USER a", 1, 0),
        ("EXPOSE 1", 1, 0),
        ("VOLUME /a", 1, 0),
        ("CMD a", 1, 0),
        ("ENTRYPOINT a", 1, 0),
        ("HEALTHCHECK NONE", 1, 0),
        ("STOPSIGNAL 1", 1, 0),
        ("SHELL [\"a\"]", 1, 0),
        ("MAINTAINER a", 1, 0),
        ("ONBUILD RUN a", 0, 0),
        ("RUN --mount=target=/x --mount=type=cache,target=/c a", 1, 1),
    ] {
        let plan = plan(&format!("FROM scratch\n{text}\n"));
        let own = plan.history.iter().filter(|entry| !entry.entry.empty_layer).count();
        assert_eq!((plan.history.len(), own), (entries, layers), "{text}");
        assert!(plan.history.iter().all(|entry| entry.entry.comment == "buildkit.dockerfile.v0"));
    }
}

#[test]
fn triggers_do_whatever_instructions_do() {
    let triggers = [
        "ARG V=1",
        "ENV E=$V",
        "LABEL l=$E",
        "WORKDIR /t",
        "USER t",
        "COPY --chown=1 --from=tool /a /b",
        "ADD https://e.example/f .",
        "COPY <<E /e\n$E\nE",
        "RUN --mount=from=tool,target=/t --mount=type=secret,id=s,env=S <<-E\n\techo $S\nE",
        "EXPOSE 1",
        "VOLUME /v",
        "SHELL [\"/bin/tsh\", \"-c\"]",
        "HEALTHCHECK CMD x",
        "STOPSIGNAL 3",
        "ENTRYPOINT e",
        "CMD c",
    ];
    let images = Store::with_triggers(&triggers);
    let plan = try_plan("FROM scratch AS tool\nCOPY a /\nFROM onbuild\n", &options(), &images).unwrap();
    insta::assert_snapshot!(crate::support::dump(&plan));
    // The same triggers of a stage do the same.
    let own = triggers.join("\nONBUILD ");
    let text = format!("FROM scratch AS tool\nCOPY a /\nFROM busybox AS base\nONBUILD {own}\nFROM base\n");
    let staged = crate::support::plan(&text);
    assert_eq!(crate::support::history(&staged), crate::support::history(&plan));
    assert_eq!(staged.config.config.entrypoint, plan.config.config.entrypoint);
}
