//! `SOURCE_DATE_EPOCH` in all its forms.

use builder_frontend::plan::{BuildOptions, NamedContext};

use crate::support::{Store, env, options, try_plan, with_args};

const SOURCES: &str = "\
ARG V=main
FROM scratch AS Sources
ARG V=dev
ADD https://example.org/r.git#$V /
FROM scratch AS file
ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://example.org/f /
FROM scratch AS two
ADD https://example.org/a https://example.org/b /
FROM busybox AS other
FROM scratch AS copies
COPY a /
FROM scratch AS nothing
";

fn store() -> Store {
    let times =
        vec![("https://example.org/f", 5), ("https://example.org/r.git dev", 6), ("git-context", 7), ("lib", 8)];
    Store { times, ..Store::default() }
}

fn contexts(options: BuildOptions) -> BuildOptions {
    let named = |name: &str, context: NamedContext| (name.to_owned(), context);
    let contexts = [
        named("lib", NamedContext::Files("lib".into())),
        named("dir", NamedContext::Files("local".into())),
        named("img", NamedContext::Image("busybox".into())),
    ];
    BuildOptions { contexts: contexts.into(), ..options }
}

/// The time of a build, and what a `RUN` sees of it.
fn built(value: &str, options: &BuildOptions) -> Result<(Option<i64>, String), String> {
    let text = format!("{SOURCES}FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN x\n");
    let text = if value.is_empty() { text } else { format!("ARG SOURCE_DATE_EPOCH={value}\n{text}") };
    match try_plan(&text, options, &store()) {
        Ok(plan) => Ok((plan.source_date_epoch, env(&plan))),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn forms() {
    let remote = BuildOptions { context: "git-context".into(), ..contexts(options()) };
    for (value, options, expected) in [
        ("7", contexts(options()), Some(7)),
        ("-1", contexts(options()), Some(-1)),
        ("context", remote, Some(7)),
        ("context", contexts(options()), None),
        ("lib", contexts(options()), Some(8)),
        ("dir", contexts(options()), None),
        ("img", contexts(options()), None),
        ("sources", contexts(options()), Some(6)),
        ("SOURCES", contexts(with_args(&["V=dev"])), Some(6)),
        ("sources", contexts(with_args(&["V=x"])), None),
        ("file", contexts(options()), Some(5)),
        ("7", contexts(with_args(&["SOURCE_DATE_EPOCH=8"])), Some(8)),
        ("7", contexts(with_args(&["SOURCE_DATE_EPOCH=lib"])), Some(8)),
        ("7", contexts(with_args(&["SOURCE_DATE_EPOCH="])), None),
        ("", contexts(with_args(&["SOURCE_DATE_EPOCH=0"])), Some(0)),
        ("", contexts(options()), None),
    ] {
        // Steps see the number, or nothing.
        let seen = expected.map(|time| format!("SOURCE_DATE_EPOCH={time}")).unwrap_or_default();
        assert_eq!(built(value, &options), Ok((expected, seen)), "{value} {:?}", options.build_args);
    }
}

#[test]
fn what_has_no_time_says_why() {
    let one = "it must have exactly one ADD, of one URL or git repository";
    for (value, expected) in [
        ("soon", "invalid SOURCE_DATE_EPOCH: soon".to_owned()),
        ("1.5", "invalid SOURCE_DATE_EPOCH: 1.5".to_owned()),
        ("two", format!("the stage `two` cannot give SOURCE_DATE_EPOCH: {one}")),
        ("nothing", format!("the stage `nothing` cannot give SOURCE_DATE_EPOCH: {one}")),
        ("other", "the stage `other` cannot give SOURCE_DATE_EPOCH: it must begin with `FROM scratch`".to_owned()),
        (
            "copies",
            "the stage `copies` cannot give SOURCE_DATE_EPOCH: it may have nothing but ARG and one ADD".to_owned(),
        ),
    ] {
        assert_eq!(built(value, &options()), Err(expected), "{value}");
    }
}
