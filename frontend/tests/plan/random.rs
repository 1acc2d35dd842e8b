//! What holds for every plan.

use builder_frontend::plan::NamedContext;
use builder_solver::{CacheMount, Exec, Graph, MountKind, Op, Source, Vertex, VertexId};
use proptest::prelude::*;

use crate::support::{Store, dump, options, try_plan};

/// How many layers the result of a vertex has when every image has one.
fn layers(graph: &Graph, id: VertexId) -> usize {
    let vertex = graph.vertex(id);
    match &vertex.op {
        Op::Source(Source::Image { .. }) => 1,
        Op::Source(_) => 0,
        Op::Exec(_) | Op::File(_) => layers(graph, vertex.inputs[0]) + 1,
        Op::Merge => vertex.inputs.iter().map(|&input| layers(graph, input)).sum(),
    }
}

fn line() -> impl Strategy<Value = String> {
    let base = prop_oneof![
        Just("busybox"),
        Just("scratch"),
        Just("app"),
        Just("onbuild"),
        Just("a"),
        Just("b"),
        Just("nolayers"),
        Just("rootfs"),
        Just("--platform=$BUILDPLATFORM busybox"),
        Just("--platform=linux/$X app"),
        Just("$X")
    ];
    let name = prop_oneof![Just(""), Just(" AS a"), Just(" AS b"), Just(" AS app")];
    let from = prop_oneof![Just("a"), Just("b"), Just("0"), Just("1"), Just("busybox"), Just("scratch")];
    let plain = prop_oneof![
        Just("RUN x"),
        Just("RUN <<E\n#!/x\nE"),
        Just("WORKDIR y$X"),
        Just("WORKDIR /"),
        Just("COPY f /"),
        Just("COPY --link f /"),
        Just("COPY <<E /\n$X\nE"),
        Just("ADD --link f <<E /\nE"),
        Just("ENV X=b${X:-1}"),
        Just("ARG X=a"),
        Just("ARG X"),
        Just("USER $X"),
        Just("CMD x"),
        Just("ENTRYPOINT x"),
        Just("ONBUILD RUN $X"),
        Just("ONBUILD ENV X=t"),
        Just("ONBUILD COPY --from=0 / /"),
        Just("VOLUME /$X"),
        Just("EXPOSE ${X#b}"),
        Just("RUN --mount=target=/x x"),
        Just("RUN --mount=target=$X,source=$X,from=a,rw x"),
        Just("RUN --mount=type=cache,target=c$X,from=0 --mount=type=secret,id=s,env=X $X"),
        Just("RUN --mount=type=ssh --mount=type=tmpfs,target=/t,size=${X#b}k x"),
        Just("RUN --mount=from=lib,target=/l --security=insecure x"),
        Just("ONBUILD RUN --mount=from=a,target=/x x"),
        Just("COPY --from=lib f /"),
        Just("ADD https://e.example/$X f /d/"),
        Just("ADD --link --keep-git-dir https://e.example/r.git?ref=$X#$X ."),
        Just("ARG TARGETARCH"),
    ];
    prop_oneof![
        2 => (base, name).prop_map(|(base, name)| format!("FROM {base}{name}")),
        8 => plain.prop_map(str::to_owned),
        2 => (from, any::<bool>()).prop_map(|(from, link)| {
            format!("COPY {}--from={from} / /", if link { "--link " } else { "" })
        }),
    ]
}

/// Mounts are below the root, take files of inputs that are there, and never the client's own directories.
fn check_mounts(graph: &Graph, vertex: &Vertex, exec: &Exec) -> Result<(), TestCaseError> {
    for mount in &exec.mounts {
        prop_assert!(mount.target.starts_with('/') && mount.target != "/", "{mount:?}");
        let taken = match &mount.kind {
            MountKind::Bind { input, source } => Some((*input, source)),
            MountKind::Cache(CacheMount { seed, .. }) => seed.as_ref().map(|(input, source)| (*input, source)),
            _ => None,
        };
        if let Some((input, source)) = taken {
            prop_assert!(input > 0 && input < vertex.inputs.len() && source.starts_with('/'), "{mount:?}");
        }
    }
    for input in &vertex.inputs {
        let remote_or_local = match &graph.vertex(*input).op {
            Op::Source(source) => !matches!(source, Source::Scratch | Source::Image { .. }),
            _ => false,
        };
        prop_assert!(!remote_or_local);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn plans_hold_what_they_promise(lines in prop::collection::vec(line(), 1..12), target in 0_usize..4) {
        let text = format!("ARG X=busybox\nFROM busybox\n{}\n", lines.join("\n"));
        let images = Store::with_triggers(&["RUN trigger"]);
        let mut options = options();
        options.target = (target < 3).then(|| target.to_string());
        options.contexts = ["lib", "rootfs"].map(|name| (name.to_owned(), NamedContext::Files(name.to_owned()))).into();
        options.allow_insecure = target == 1;
        options.multi_platform = target == 2;
        if target == 3 {
            options.platform = "linux/arm64".parse().unwrap();
        }
        match try_plan(&text, &options, &images) {
            Err(error) => {
                if let Some(span) = &error.span {
                    prop_assert!(text.get(span.clone()).is_some_and(|text| !text.is_empty()), "{error}");
                }
            }
            Ok(plan) => {
                let own = plan.history.iter().filter(|entry| entry.vertex.is_some()).count();
                let base = plan.base.as_ref().map_or(0, |base| base.layers);
                prop_assert_eq!(layers(&plan.graph, plan.target), base + own, "{}", dump(&plan));
                let again = try_plan(&text, &options, &Store::with_triggers(&["RUN trigger"])).unwrap();
                prop_assert_eq!(dump(&plan), dump(&again));
                for (_, vertex) in plan.graph.vertices() {
                    prop_assert!(!vertex.origin.name.contains('\n'));
                    if let Op::Exec(exec) = &vertex.op {
                        prop_assert!(!exec.args.is_empty() && exec.cwd.starts_with('/'));
                        check_mounts(&plan.graph, vertex, exec)?;
                    }
                }
            }
        }
    }
}
