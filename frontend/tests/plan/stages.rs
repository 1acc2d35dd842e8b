//! Stages, targets, `--from`, `ONBUILD`.

use builder_frontend::plan::BuildOptions;
use builder_solver::Op;

use crate::support::{Store, dump, history, names, options, plan, plan_with, try_plan};

fn target(target: &str) -> BuildOptions {
    BuildOptions { target: Some(target.to_owned()), ..options() }
}

#[test]
fn multi_stage() {
    let text = r#"
FROM debian:12 AS build
WORKDIR /src
COPY . .
RUN make

FROM build AS test
RUN make test

FROM busybox
COPY --from=build /src/app /bin/app
COPY --from=0 /src/doc /doc
COPY --from=debian:12 /etc/os-release /
CMD ["app"]
"#;
    insta::assert_snapshot!(dump(&plan(text)));
    insta::assert_snapshot!("multi_stage_target", dump(&plan_with(text, &target("TEST"))));
}

#[test]
fn stages_are_found_by_name_and_number() {
    let text = "FROM scratch AS One\nCOPY 1 /\nFROM scratch\nCOPY 2 /\nFROM scratch AS three\nCOPY 3 /\n";
    for (name, copied) in [("one", "1"), ("ONE", "1"), ("1", "2"), ("three", "3"), ("2", "3"), ("0", "1")] {
        let plan = plan_with(text, &target(name));
        assert_eq!(history(&plan), [format!("COPY {copied} / # buildkit")], "{name}");
    }
    let infos = plan(text).stages.clone();
    assert_eq!(infos.iter().map(|info| info.name.as_deref()).collect::<Vec<_>>(), [Some("one"), None, Some("three")]);
    assert_eq!(infos.iter().map(|info| info.vertices.len()).collect::<Vec<_>>(), [0, 0, 1]);
    assert!(infos[2].is_target);
}

#[test]
fn stages_that_are_not_needed_are_never_resolved() {
    let text = "FROM missing AS a\nRUN x\nFROM busybox AS b\nRUN y\nFROM also-missing\nCOPY --from=a /x /\n";
    let images = Store::default();
    let plan = try_plan(text, &target("b"), &images).unwrap();
    assert_eq!(*images.asked.borrow(), ["busybox"]);
    assert_eq!(names(&plan), ["[b 1/2] FROM docker.io/library/busybox:latest", "[b 2/2] RUN y"]);
}

#[test]
fn an_image_is_resolved_once() {
    let images = Store::default();
    let text = "FROM busybox AS a\nFROM busybox AS b\nCOPY --from=busybox /x /\nFROM b\nCOPY --from=a / /\n";
    try_plan(text, &options(), &images).unwrap();
    assert_eq!(*images.asked.borrow(), ["busybox"]);
}

#[test]
fn the_last_of_equal_names_wins() {
    let text = "FROM scratch AS a\nCOPY 1 /\nFROM scratch AS a\nCOPY 2 /\nFROM a AS b\nCOPY 3 /\n\
                FROM scratch AS a\nCOPY 4 /\n";
    assert_eq!(history(&plan_with(text, &target("a"))), ["COPY 4 / # buildkit"]);
    assert_eq!(history(&plan_with(text, &target("b"))), ["COPY 2 / # buildkit", "COPY 3 / # buildkit"]);
}

#[test]
fn from_a_later_stage_or_itself_is_an_image() {
    let images = Store::default();
    let text = "FROM later AS busybox\nRUN x\nFROM scratch AS later\nCOPY --from=busybox / /\n";
    try_plan(text, &options(), &images).unwrap();
    assert_eq!(*images.asked.borrow(), ["later"]);
    let images = Store::default();
    let plan = try_plan("FROM busybox AS busybox\nRUN x\n", &options(), &images).unwrap();
    assert_eq!(*images.asked.borrow(), ["busybox"]);
    assert_eq!(names(&plan)[1], "[2/2] RUN x");
}

#[test]
fn names_have_no_case() {
    let plan = plan("FROM busybox AS Build\nRUN x\nFROM BUILD\nCOPY --from=bUILD / /\n");
    assert_eq!(history(&plan), ["RUN /bin/sh -c x # buildkit", "COPY / / # buildkit"]);
    assert_eq!(names(&plan)[2], "[stage-1 1/1] COPY --from=bUILD / /");
}

#[test]
fn stages_inherit_from_stages() {
    let text = r"
FROM app AS base
ARG LEVEL=3
ENV MODE=fast
USER root
ONBUILD RUN triggered
FROM base
RUN echo $LEVEL
";
    insta::assert_snapshot!(dump(&plan(text)));
}

#[test]
fn triggers_of_a_base_image() {
    let images = Store::with_triggers(&[
        "ARG NODE_ENV",
        "ENV NODE_ENV $NODE_ENV",
        "COPY package.json /app/",
        "COPY --from=assets /a /b",
        "RUN <<EOF\nnpm install\nEOF",
    ]);
    let text = "FROM scratch AS assets\nCOPY a /a\nFROM onbuild\nRUN last\nFROM busybox AS unused\n";
    let options = BuildOptions { build_args: vec![("NODE_ENV".into(), Some("x".into()))], ..target("1") };
    insta::assert_snapshot!(dump(&try_plan(text, &options, &images).unwrap()));
}

#[test]
fn triggers_of_a_base_stage_run_once() {
    let text = r"
FROM busybox AS tool
RUN make tool
FROM busybox AS base
ONBUILD COPY --from=tool /tool /bin/
ONBUILD ENV A=b
RUN before
FROM base AS child
RUN $A
FROM child AS grandchild
RUN end
";
    insta::assert_snapshot!(dump(&plan(text)));
    assert!(plan(text).config.config.on_build.is_empty());
    let base = plan_with(text, &target("base"));
    assert_eq!(base.config.config.on_build, ["COPY --from=tool /tool /bin/", "ENV A=b"]);
    assert!(!names(&base).iter().any(|name| name.contains("tool")));
}

#[test]
fn a_stage_consumes_the_triggers_of_its_image_and_keeps_its_own() {
    let images = Store::with_triggers(&["RUN inherited"]);
    let plan = try_plan("FROM onbuild\nONBUILD RUN own\n", &options(), &images).unwrap();
    assert_eq!(history(&plan), ["RUN /bin/sh -c inherited # buildkit"]);
    assert_eq!(plan.config.config.on_build, ["RUN own"]);
    assert_eq!(names(&plan)[1], "[2/2] ONBUILD RUN inherited");
    let (_, vertex) = plan.graph.vertices().nth(1).unwrap();
    assert_eq!(vertex.origin.span, Some(0..12));
}

#[test]
fn cache_is_left_out_stage_by_stage() {
    let text = "FROM busybox AS a\nRUN x\nFROM busybox\nCOPY --from=a / /\nRUN y\n";
    let ignored = |options: &BuildOptions| -> Vec<String> {
        let plan = plan_with(text, options);
        let vertices = plan.graph.vertices().filter(|(_, vertex)| vertex.ignore_cache);
        vertices.map(|(_, vertex)| vertex.origin.instruction.clone()).collect()
    };
    assert!(ignored(&options()).is_empty());
    assert_eq!(ignored(&BuildOptions { no_cache: true, ..options() }), ["RUN x", "COPY --from=a / /", "RUN y"]);
    let stages = |names: &[&str]| BuildOptions {
        no_cache_stages: names.iter().map(|&name| name.to_owned()).collect(),
        ..options()
    };
    assert_eq!(ignored(&stages(&["A"])), ["RUN x"]);
    assert_eq!(ignored(&stages(&["1"])), ["COPY --from=a / /", "RUN y"]);
    assert_eq!(ignored(&stages(&["stage-1"])), ["COPY --from=a / /", "RUN y"]);
    assert_eq!(
        plan_with(text, &stages(&["a", "stage-1", "b"])).warnings,
        ["no stage is named `b`: nothing is built without cache for it"]
    );
}

#[test]
fn a_copy_from_scratch() {
    let plan = plan("FROM busybox\nCOPY --from=scratch / /\n");
    let (_, copy) = plan.graph.vertices().last().unwrap();
    assert!(matches!(copy.op, Op::File(_)) && copy.inputs.len() == 2);
    assert!(plan.contexts.is_empty());
}

#[test]
fn targets_are_described() {
    let text = "# build  compiles\nFROM busybox AS build\nFROM ${X:-scratch}\n";
    let stages = plan(text).stages.clone();
    assert_eq!(stages[0].description.as_deref().map(str::trim), Some("compiles"));
    assert_eq!((stages[1].base.as_str(), stages[1].is_target), ("scratch", true));
}
