//! What a build can be given, and what it can build.

use builder_frontend::outline::{self, Outline};
use builder_frontend::parser;
use builder_frontend::plan::BuildOptions;

use crate::support::{Store, options};

const FILE: &str = "\
# VERSION of the base
ARG VERSION=1
ARG SUFFIX=x
ARG BASE=base:${VERSION}-${SUFFIX}
ARG UNUSED=1

# deps has what it takes
FROM ${BASE} AS deps
# JOBS at once
ARG JOBS=4
ARG VERSION
RUN --mount=type=secret,id=token,required --mount=type=ssh make

FROM scratch AS other
ARG OTHER

# release is what people get
FROM deps AS release
ARG NAME=app-$JOBS
RUN --mount=type=secret,target=/run/secrets/netrc --mount=type=secret,id=token --mount=type=ssh,id=git true
";

fn outline(options: &BuildOptions) -> Outline {
    outline::outline(&parser::parse(FILE).unwrap(), options, &Store).unwrap()
}

fn args(outline: &Outline) -> Vec<String> {
    let shown = |text: &Option<String>| text.clone().unwrap_or_default();
    outline.args.iter().map(|arg| format!("{}={} {}", arg.name, shown(&arg.value), shown(&arg.description))).collect()
}

#[test]
fn an_outline_has_what_the_target_uses() {
    let found = outline(&options(&[]));
    assert_eq!(found.name.as_deref(), Some("release"));
    assert_eq!(found.description.as_deref(), Some("is what people get"));
    assert_eq!(args(&found), ["VERSION=1 of the base", "SUFFIX=x ", "BASE=base:1-x ", "JOBS=4 at once", "NAME=app-4 "]);
    let needs =
        |needs: &[outline::OutlineNeed]| needs.iter().map(|need| (need.id.clone(), need.required)).collect::<Vec<_>>();
    assert_eq!(needs(&found.secrets), [("token".to_owned(), true), ("netrc".to_owned(), false)]);
    assert_eq!(needs(&found.ssh), [("default".to_owned(), false), ("git".to_owned(), false)]);
}

#[test]
fn an_outline_shows_the_values_of_this_build() {
    let mut options = options(&["JOBS=8", "OTHER=2"]);
    assert_eq!(args(&outline(&options))[3..], ["JOBS=8 at once", "NAME=app-8 "]);
    options.target = Some("other".into());
    assert_eq!(args(&outline(&options)), ["OTHER=2 "]);
    options.target = Some("none".into());
    assert!(outline::outline(&parser::parse(FILE).unwrap(), &options, &Store).is_none());
}

#[test]
fn targets_are_all_stages() {
    let text = "# a is one\nFROM --platform=$BUILDPLATFORM ${X:-base} AS A\nFROM scratch\nFROM a AS last\n";
    let targets = outline::targets(&parser::parse(text).unwrap());
    let shown: Vec<String> = targets
        .iter()
        .map(|target| {
            format!(
                "{:?} {:?} {} {:?} {}",
                target.name, target.description, target.base, target.platform, target.is_default
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Some(\"a\") Some(\"is one\") ${X:-base} Some(\"$BUILDPLATFORM\") false",
            "None None scratch None false",
            "Some(\"last\") None a None true",
        ]
    );
}
