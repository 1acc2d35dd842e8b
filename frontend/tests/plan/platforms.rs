//! Building for other platforms.

use builder_frontend::plan::BuildOptions;
use builder_solver::Op;

use crate::support::{Planned, Store, names, options, plan_with, try_plan, with_args};

fn for_platform(platform: &str) -> BuildOptions {
    BuildOptions { platform: platform.parse().unwrap(), ..options() }
}

/// Which platform each `RUN` is for, when it is not this one.
fn machines(plan: &Planned) -> Vec<String> {
    let runs = plan.graph.vertices().filter_map(|(_, vertex)| match &vertex.op {
        Op::Exec(exec) => Some(exec.platform.clone().unwrap_or_else(|| "here".to_owned())),
        _ => None,
    });
    runs.collect()
}

fn image(plan: &Planned) -> String {
    plan.config.platform().to_string()
}

#[test]
fn stages_are_for_what_they_say() {
    let text = "\
FROM --platform=$BUILDPLATFORM busybox AS build
ARG TARGETARCH TARGETVARIANT
RUN compile for $TARGETARCH
FROM build AS more
RUN more
FROM busybox
RUN native
COPY --from=more /app /
COPY --from=debian:12 /etc /etc
";
    let images = Store::default();
    let plan = try_plan(text, &for_platform("linux/arm64"), &images).unwrap();
    let mut asked = images.asked.borrow().clone();
    asked.sort();
    assert_eq!(asked, ["busybox", "busybox for linux/arm64", "debian:12 for linux/arm64"]);
    assert_eq!(machines(&plan), ["here", "here", "linux/arm64"]);
    assert_eq!(image(&plan), "linux/arm64");
    assert_eq!(names(&plan)[1], "[build 2/2] RUN compile for arm64");
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    let here = plan_with(text, &options());
    assert_eq!((machines(&here), image(&here)), (vec!["here".to_owned(); 3], "linux/amd64".to_owned()));
}

#[test]
fn several_platforms_name_theirs() {
    let text = "FROM --platform=$BUILDPLATFORM busybox AS build\nRUN a\nARG TARGETOS TARGETARCH\nRUN b\n\
                FROM busybox\nRUN c\nCOPY --from=build a /\n";
    let options =
        BuildOptions { multi_platform: true, name_prefix: Some("app".into()), ..for_platform("linux/arm/v7") };
    assert_eq!(
        names(&plan_with(text, &options)),
        [
            "[app linux/amd64 build 1/3] FROM docker.io/library/busybox:latest",
            "[app linux/amd64 build 2/3] RUN a",
            "[app linux/amd64->arm/v7 build 3/3] RUN b",
            "[app linux/arm/v7 stage-1 1/3] FROM docker.io/library/busybox:latest",
            "[app linux/arm/v7 stage-1 2/3] RUN c",
            "[app linux/arm/v7 stage-1 3/3] COPY --from=build a /",
        ]
    );
}

#[test]
fn two_platforms_share_what_is_built_here() {
    let text = "FROM --platform=$BUILDPLATFORM busybox AS build\nRUN tools\nARG TARGETARCH\nRUN compile\n\
                FROM scratch\nCOPY --from=build /app /\n";
    let file = builder_frontend::parser::parse(text).unwrap();
    let mut graph = builder_solver::Graph::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let options = for_platform(platform);
        builder_frontend::plan::plan(&mut graph, &file, text, &options, &Store::default()).unwrap();
    }
    let count =
        |instruction: &str| graph.vertices().filter(|(_, vertex)| vertex.origin.instruction == instruction).count();
    assert_eq!((count("RUN tools"), count("RUN compile"), count("COPY --from=build /app /")), (1, 2, 2));
}

#[test]
fn the_image_is_for_what_was_asked() {
    // The Dockerfile, the platform, whether it was asked for, and what the config says.
    for (text, platform, explicit, expected) in [
        ("FROM busybox\n", "linux/amd64", false, "linux/amd64"),
        ("FROM scratch\n", "linux/arm64", false, "linux/arm64"),
        ("FROM scratch\n", "linux/arm/v6", false, "linux/arm/v6"),
        ("FROM --platform=linux/arm64 busybox\n", "linux/amd64", false, "linux/arm64"),
        ("FROM --platform=linux/arm64 busybox\n", "linux/amd64", true, "linux/amd64"),
        ("FROM --platform=linux/arm64 scratch\n", "linux/amd64", false, "linux/amd64"),
        ("FROM --platform=linux/arm/v7 busybox\n", "linux/arm64", false, "linux/arm64"),
        ("FROM foreign\n", "linux/amd64", false, "linux/riscv64"),
        ("FROM foreign\n", "linux/amd64", true, "linux/amd64"),
        ("FROM bare\n", "linux/amd64", false, "linux/amd64"),
        ("FROM bare\n", "linux/arm/v7", false, "linux/arm/v7"),
    ] {
        let options = BuildOptions { explicit_platform: explicit, ..for_platform(platform) };
        assert_eq!(image(&plan_with(text, &options)), expected, "{text} {platform}");
    }
}

#[test]
fn programs_are_for_what_their_image_says() {
    for (text, expected) in [
        ("FROM foreign\nRUN x\n", "linux/riscv64"),
        ("FROM bare\nRUN x\n", "here"),
        ("FROM --platform=linux/amd64/v2 busybox\nRUN x\n", "here"),
        ("FROM --platform=linux/386 busybox\nRUN x\n", "linux/386"),
        ("FROM --platform=linux/arm64 scratch\nRUN x\n", "here"),
    ] {
        assert_eq!(machines(&plan_with(text, &options())), [expected], "{text}");
    }
    assert_eq!(machines(&plan_with("FROM scratch\nRUN x\n", &for_platform("linux/s390x"))), ["linux/s390x"]);
}

#[test]
fn automatic_arguments_tell_the_platforms() {
    let text = "FROM scratch\nARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT BUILDOSVERSION\n\
                ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETOSVERSION TARGETSTAGE\nRUN x\n";
    let env = |options: &BuildOptions| crate::support::env(&plan_with(text, options));
    assert_eq!(
        env(&for_platform("linux/arm/v7")),
        "BUILDPLATFORM=linux/amd64 BUILDOS=linux BUILDARCH=amd64 BUILDVARIANT= BUILDOSVERSION= \
         TARGETPLATFORM=linux/arm/v7 TARGETOS=linux TARGETARCH=arm TARGETVARIANT=v7 TARGETOSVERSION= TARGETSTAGE=default"
    );
    let overridden = with_args(&["TARGETARCH=z80", "TARGETSTAGE=mine", "BUILDOS=plan9"]);
    let env = env(&overridden);
    assert!(env.contains("TARGETARCH=z80") && env.contains("TARGETSTAGE=mine") && env.contains("BUILDOS=plan9"));
}

#[test]
fn an_index_can_be_asked_for() {
    let multi = |args: &[&str]| plan_with("FROM scratch\n", &with_args(args)).multi_platform;
    assert!(!multi(&[]) && !multi(&["BUILDKIT_MULTI_PLATFORM=false"]) && !multi(&["BUILDKIT_MULTI_PLATFORM="]));
    assert!(multi(&["BUILDKIT_MULTI_PLATFORM=1"]));
    let error = try_plan("FROM scratch\n", &with_args(&["BUILDKIT_MULTI_PLATFORM=maybe"]), &Store::default());
    assert_eq!(
        error.unwrap_err().to_string(),
        "the build argument BUILDKIT_MULTI_PLATFORM is `maybe`, which is neither true nor false"
    );
}
