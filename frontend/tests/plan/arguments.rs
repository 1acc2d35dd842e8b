//! `ARG`, `--build-arg` and the arguments that are always there.

use std::collections::BTreeMap;

use builder_frontend::plan::BuildOptions;
use builder_solver::Op;

use crate::support::{env, history, options, plan, plan_with, with_args};

#[test]
fn scopes() {
    // Dockerfile, command line, environment of its only RUN.
    let table: [(&str, &[&str], &str); 22] = [
        ("ARG A=1\nFROM busybox\nRUN x\n", &[], ""),
        ("ARG A=1\nFROM busybox\nARG A\nRUN x\n", &[], "A=1"),
        ("ARG A=1\nFROM busybox\nARG A=2\nRUN x\n", &[], "A=2"),
        ("ARG A=1\nFROM busybox\nARG A\nRUN x\n", &["A=3"], "A=3"),
        ("ARG A=1\nFROM busybox\nARG A=2\nRUN x\n", &["A=3"], "A=3"),
        ("FROM busybox\nARG A\nRUN x\n", &[], ""),
        ("FROM busybox\nARG A=\nRUN x\n", &[], "A="),
        ("FROM busybox\nARG A\nRUN x\n", &["A="], "A="),
        ("FROM busybox\nRUN x\nARG A=1\n", &[], ""),
        ("FROM busybox\nARG A=1 B=${A}2\nRUN x\n", &[], "A=1 B=12"),
        ("ARG A=1\nARG B=${A}2\nFROM busybox\nARG B\nRUN x\n", &["A=9"], "B=92"),
        // Siblings and children.
        ("FROM busybox AS a\nARG A=1\nFROM busybox\nRUN x\n", &["A=3"], ""),
        ("FROM busybox AS a\nARG A=1\nFROM a\nRUN x\n", &[], "A=1"),
        ("FROM busybox AS a\nARG A=1\nENV B=$A\nFROM busybox\nCOPY --from=a / /\nRUN x\n", &[], ""),
        // ENV and ARG of the same name: the last one counts.
        ("FROM busybox\nARG A=1\nENV A=2\nRUN x\n", &["A=3"], "A=2"),
        ("FROM busybox\nARG A=1\nENV A=${A:-9}\nRUN x\n", &["A=3"], "A=3"),
        ("FROM app\nARG VERSION=2\nRUN x\n", &[], "VERSION=2"),
        // The automatic ones have to be declared.
        ("FROM busybox\nRUN x\n", &[], ""),
        (
            "FROM busybox\nARG TARGETARCH\nARG BUILDPLATFORM TARGETSTAGE\nRUN x\n",
            &[],
            "TARGETARCH=amd64 BUILDPLATFORM=linux/amd64 TARGETSTAGE=default",
        ),
        ("FROM busybox AS last\nARG TARGETSTAGE TARGETVARIANT\nRUN x\n", &[], "TARGETSTAGE=last TARGETVARIANT="),
        ("FROM busybox\nARG TARGETARCH\nRUN x\n", &["TARGETARCH=z80"], "TARGETARCH=z80"),
        ("FROM busybox\nARG BUILDKIT_SBOM_SCAN_STAGE=1\nRUN x\n", &[], ""),
    ];
    for (text, args, expected) in table {
        assert_eq!(env(&plan_with(text, &with_args(args))), expected, "{text} {args:?}");
    }
}

#[test]
fn arguments_choose_the_base() {
    let text = "ARG TAG=12\nARG NAME=debian\nFROM ${NAME}:${TAG}\n";
    assert_eq!(plan(text).base.clone().unwrap().reference, "docker.io/library/debian:12");
}

#[test]
fn arguments_do_not_reach_the_image() {
    let plan = plan_with("FROM busybox\nARG A=1\nENV B=$A\nRUN x\n", &with_args(&["A=2"]));
    assert!(plan.config.config.env.iter().all(|variable| variable.starts_with("PATH=") || variable == "B=2"));
}

#[test]
fn the_history_names_the_arguments() {
    let text = "ARG G=g\nFROM busybox\nARG A\nARG B=b\nARG G\nARG B=c\nENV A=env\nRUN x\n";
    assert_eq!(
        history(&plan(text)),
        ["ARG A", "ARG B=b", "ARG G=g", "ARG B=c", "ENV A=env", "RUN |3 A=env B=c G=g /bin/sh -c x # buildkit"]
    );
}

#[test]
fn bare_arguments_come_from_the_client() {
    let text = "FROM busybox\nARG A=a\nARG B=b\nRUN x\n";
    let client_env = BTreeMap::from([("A".to_owned(), "client".to_owned())]);
    let plan = plan_with(text, &BuildOptions { client_env, ..with_args(&["A", "B"]) });
    assert_eq!(env(&plan), "A=client B=b");
    assert!(plan.warnings.is_empty());
}

#[test]
fn unknown_arguments_are_told() {
    let text = "ARG G\nFROM busybox AS unused\nARG U\nFROM busybox\nARG A\nONBUILD ARG LATER\n";
    let known = [
        "G=1",
        "U=1",
        "A=1",
        "LATER=1",
        "HTTP_PROXY=1",
        "no_proxy=1",
        "TARGETARCH=amd64",
        "BUILDKIT_INLINE_CACHE=1",
        "SOURCE_DATE_EPOCH=1",
    ];
    assert!(plan_with(text, &with_args(&known)).warnings.is_empty());
    let warnings = plan_with(text, &with_args(&["Z=1", "B=2", "A=3"])).warnings.clone();
    assert_eq!(warnings, ["One or more build-args [B Z] were not consumed"]);
}

#[test]
fn proxies_stay_outside() {
    let text = "FROM busybox\nENV NO_PROXY=mine\nRUN x\n";
    let plan = plan_with(text, &with_args(&["http_proxy=h", "NO_PROXY=n"]));
    let (_, run) = plan.graph.vertices().nth(1).unwrap();
    let Op::Exec(exec) = &run.op else { panic!("a RUN") };
    let proxies: Vec<String> = exec.proxy_env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(proxies, ["HTTP_PROXY=h", "http_proxy=h", "no_proxy=n"]);
    assert_eq!(env(&plan), "NO_PROXY=mine");
    assert_eq!(history(&plan)[1], "RUN /bin/sh -c x # buildkit");

    let declared = plan_with("FROM busybox\nARG HTTP_PROXY\nRUN x\n", &with_args(&["HTTP_PROXY=h"]));
    assert_eq!(env(&declared), "HTTP_PROXY=h");
    assert_eq!(history(&declared)[1], "RUN |1 HTTP_PROXY=h /bin/sh -c x # buildkit");
}

#[test]
fn the_epoch_is_read() {
    assert_eq!(plan("FROM busybox\n").source_date_epoch, None);
    assert_eq!(plan("ARG SOURCE_DATE_EPOCH=7\nFROM busybox\n").source_date_epoch, Some(7));
    let given = plan_with("ARG SOURCE_DATE_EPOCH=7\nFROM busybox\n", &with_args(&["SOURCE_DATE_EPOCH=8"]));
    assert_eq!(given.source_date_epoch, Some(8));
}

#[test]
fn the_platform_can_be_named_when_it_is_this_one() {
    for flag in ["linux/amd64", "$BUILDPLATFORM", "${TARGETPLATFORM}", "linux/x86_64"] {
        let plan = plan_with(&format!("FROM --platform={flag} busybox\n"), &options());
        assert!(plan.base.is_some(), "{flag}");
    }
}
