//! `--build-context` and `target:`.

use builder_frontend::parser;
use builder_frontend::plan::{self, BuildOptions, LayerFacts, NamedContext};
use builder_solver::Graph;

use crate::support::{Planned, Store, dump, history, names, options, plan_with, try_plan};

fn with(contexts: &[(&str, NamedContext)]) -> BuildOptions {
    let contexts = contexts.iter().map(|(name, context)| ((*name).to_owned(), context.clone()));
    BuildOptions { contexts: contexts.collect(), ..options() }
}

fn files(name: &str) -> NamedContext {
    NamedContext::Files(name.to_owned())
}

fn image(reference: &str) -> NamedContext {
    NamedContext::Image(reference.to_owned())
}

#[test]
fn files_are_copied_mounted_and_built_upon() {
    let text = r"
FROM busybox AS a
COPY --from=lib x /x
RUN --mount=from=lib,source=y,target=/y z
FROM rootfs AS b
ENV A=b
COPY --from=a /x /
";
    let plan = plan_with(text, &with(&[("lib", files("lib-dir")), ("rootfs", files("rootfs-dir"))]));
    insta::assert_snapshot!(dump(&plan));
    assert_eq!(plan.contexts, ["lib-dir", "rootfs-dir"]);
    let layer = |name: &str| LayerFacts { diff_id: name.into(), created: Some("t".into()) };
    let config = plan.image_config(&[layer("0"), layer("1")]).unwrap();
    assert_eq!(config.history.iter().filter(|entry| !entry.empty_layer).count(), 2);
    assert_eq!(config.history[0].comment, "buildkit.exporter.image.v0");
}

#[test]
fn a_stage_is_replaced_as_a_whole() {
    let text = "FROM missing AS Base\nRUN never\nONBUILD ENV T=1\nFROM base\nRUN after\nCOPY --from=base /a /\n";
    let images = Store::default();
    let plan = try_plan(text, &with(&[("base", image("app"))]), &images).unwrap();
    assert_eq!(*images.asked.borrow(), ["app"]);
    assert_eq!(
        names(&plan),
        [
            "[context base] docker.io/library/app:latest",
            "[stage-1 1/3] RUN after",
            "[stage-1 2/3] COPY --from=base /a /"
        ]
    );
    assert_eq!(plan.base.as_ref().unwrap().reference, "docker.io/library/app:latest");
    assert_eq!(plan.config.config.user, "app");
    // As a target it is what it is replaced by.
    let target = BuildOptions { target: Some("base".into()), ..with(&[("base", image("app"))]) };
    assert!(history(&plan_with(text, &target)).is_empty());
    let target = BuildOptions { target: Some("base".into()), ..with(&[("base", files("dir"))]) };
    assert_eq!(history(&plan_with(text, &target)), ["[context base] load from client"]);
}

#[test]
fn images_are_replaced_by_their_normal_names() {
    // What FROM says, the name of the context, what is asked for.
    for (from, name, asked) in [
        ("debian:12", "debian:12", "busybox"),
        ("docker.io/library/debian:12", "debian:12", "busybox"),
        ("debian", "debian", "busybox"),
        ("debian:latest", "debian", "busybox"),
        ("busybox", "debian", "busybox"),
        ("debian:12", "debian", "debian:12"),
        ("--platform=linux/arm64 debian", "debian::linux/arm64", "busybox for linux/arm64"),
        ("--platform=linux/arm64 debian", "debian", "busybox for linux/arm64"),
        ("debian:12", "debian:12::linux/arm64", "debian:12"),
    ] {
        let images = Store::default();
        try_plan(&format!("FROM {from}\n"), &with(&[(name, image("busybox"))]), &images).unwrap();
        assert_eq!(*images.asked.borrow(), [asked], "{from} {name}");
    }
    // A stage above comes first, `scratch` and `context` cannot be replaced.
    let images = Store::default();
    let text = "FROM busybox AS debian\nFROM debian\nCOPY --from=scratch / /\nRUN --mount=from=scratch,target=/x y\n";
    let contexts = with(&[("scratch", image("app")), ("context", image("app"))]);
    try_plan(text, &contexts, &images).unwrap();
    assert_eq!(*images.asked.borrow(), ["busybox"]);
    // It may be replaced by nothing.
    let plan = plan_with("FROM debian\nCOPY a /\n", &with(&[("debian", image("scratch"))]));
    assert!(plan.base.is_none() && history(&plan).len() == 1);
}

#[test]
fn triggers_of_replacing_images_run() {
    let images = Store::with_triggers(&["RUN inherited"]);
    let plan = try_plan("FROM base\nRUN own\n", &with(&[("base", image("onbuild"))]), &images).unwrap();
    assert_eq!(names(&plan)[1..], ["[1/3] ONBUILD RUN inherited", "[2/3] RUN own"]);
}

#[test]
fn targets_share_a_graph() {
    let base = "FROM busybox\nENV A=1\nRUN base\nLABEL l=1\nONBUILD ENV B=2\n";
    let app = "FROM base\nRUN app\nCOPY --from=base /x /\nRUN --mount=from=base,target=/b z\n";
    let mut graph = Graph::new();
    let images = Store::default();
    let mut add = |text: &str, options: &BuildOptions| {
        plan::plan(&mut graph, &parser::parse(text).unwrap(), text, options, &images).unwrap()
    };
    let first = add(base, &BuildOptions { name_prefix: Some("base".into()), ..options() });
    let again = add(base, &options());
    assert_eq!(first.target, again.target);
    let options = BuildOptions { name_prefix: Some("app".into()), ..with(&[("base", first.as_context())]) };
    let second = add(app, &options);
    let planned = Planned { graph, plan: second };
    insta::assert_snapshot!(dump(&planned));
    let layer = |name: &str| LayerFacts { diff_id: name.into(), created: None };
    let layers: Vec<LayerFacts> = ["0", "1", "2", "3", "4"].map(layer).into();
    assert_eq!(planned.image_config(&layers).unwrap().history.len(), 1 + 3 + 4);
}

#[test]
fn the_context_of_each_target_has_its_own_name() {
    let options = BuildOptions { context: "context-2".into(), name_prefix: Some("web".into()), ..options() };
    let plan = plan_with("FROM scratch\nCOPY a /\n", &options);
    assert_eq!(plan.contexts, ["context-2"]);
    assert_eq!(names(&plan)[1..], ["[web internal] load build context", "[web 1/1] COPY a /"]);
}

#[test]
fn a_missing_image_of_a_context_is_blamed_on_its_user() {
    let text = "FROM busybox\nCOPY --from=lib a /\n";
    let error = try_plan(text, &with(&[("lib", image("missing"))]), &Store::default()).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), &text[error.span.unwrap()]),
        ("the image `missing` is not in the store", "lib")
    );
}
