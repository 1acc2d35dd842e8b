//! What cannot be built, and where the error points.

use builder_frontend::plan::{BuildOptions, PlanError};

use crate::support::{Store, options, try_plan, with_args};

fn fail(text: &str, options: &BuildOptions, images: &Store) -> PlanError {
    match try_plan(text, options, images) {
        Ok(_) => panic!("planned\n{text}"),
        Err(error) => error,
    }
}

/// `text` marks the place of the error with `«` and `»`.
fn check(text: &str, message: &str) {
    let plain = text.replace(['«', '»'], "");
    let error = fail(&plain, &options(), &Store::default());
    assert_eq!(error.to_string(), message, "{text}");
    let start = text.find('«').expect("a place");
    let end = text.find('»').expect("a place") - '«'.len_utf8();
    let span = error.span.clone().expect("a span");
    assert_eq!(&plain[span.clone()], &plain[start..end], "{text}");
    assert_eq!(span, start..end, "{text}");
    let diagnostic = error.diagnostic().expect("a span");
    assert_eq!((diagnostic.message, diagnostic.span), (message.to_owned(), span));
}

#[test]
fn what_is_not_there_yet_says_so() {
    let table = [
        ("FROM busybox\nRUN «--mount=type=cache,target=/c» make\n", "RUN --mount is not supported yet"),
        (
            "FROM busybox\nRUN --network=none «--mount=type=tmpfs,target=/t» x --mount=y\n",
            "RUN --mount is not supported yet",
        ),
        ("FROM busybox\nRUN «--security=insecure» x\n", "RUN --security=insecure is not supported yet"),
        ("FROM busybox\nRUN «--device=vendor/class» x\n", "RUN --device is not supported yet"),
        ("FROM busybox\nADD «https://example.org/a» /\n", "ADD of a URL is not supported yet"),
        ("FROM busybox\nADD a «https://example.org/a.git#main» /\n", "ADD of a git repository is not supported yet"),
        ("FROM busybox\nADD «git@example.org:a/b.git» /\n", "ADD of a git repository is not supported yet"),
        ("FROM busybox\nADD «--checksum=sha256:0123» https://example.org/a /\n", "ADD --checksum is not supported yet"),
        ("FROM busybox\nADD --link «--keep-git-dir» a /\n", "ADD --keep-git-dir is not supported yet"),
        ("FROM busybox\nADD «--keep-git-dir=true» a /\n", "ADD --keep-git-dir is not supported yet"),
        (
            "FROM --platform=«linux/riscv64» busybox\n",
            "building for `linux/riscv64` on a machine of `linux/amd64` is not supported yet",
        ),
        ("# syntax=«example/own:1 a b»\nFROM busybox\n", "the frontend `example/own:1` is not supported yet"),
    ];
    for (text, message) in table {
        check(text, message);
    }
}

#[test]
fn what_is_wrong_says_what() {
    let table = [
        ("FROM «$NO»\n", "the base image `$NO` is blank once its variables are expanded"),
        ("FROM «${X:?needed}»\n", "X: needed"),
        ("ARG A=«${B?}»\nFROM busybox\n", "B: is not allowed to be unset"),
        (
            "FROM --platform=«a/b/c/d» busybox\n",
            "`a/b/c/d` is not a platform: write `os/architecture[/variant]`, for example `linux/amd64`",
        ),
        ("FROM «missing»\n", "the image `missing` is not in the store"),
        ("FROM busybox\nCOPY --from=«missing» a /\n", "the image `missing` is not in the store"),
        ("FROM busybox\nARG A=b\nCOPY --from=«$A» a /\n", "`--from` does not expand variables"),
        ("FROM busybox AS me\nCOPY --from=«me» a /\n", "the stage `me` cannot copy from itself"),
        ("FROM busybox\nCOPY --from=«0» a /\n", "the stage `stage-0` cannot copy from itself"),
        (
            "FROM busybox AS a\nCOPY --from=«b» x /\nFROM busybox AS b\nFROM scratch\nCOPY --from=a / /\n",
            "cannot copy from the stage `b`: it is defined after the stage `a`",
        ),
        (
            "FROM busybox AS a\nCOPY --from=«1» x /\nFROM a\n",
            "cannot copy from the stage `1`: it is defined after the stage `a`",
        ),
        ("FROM busybox\nCOPY --from=«7» x /\n", "there is no stage number 7: the file has 1"),
        ("FROM busybox\nCOPY «https://example.org/x» /\n", "`COPY` does not take URLs"),
        ("FROM busybox\nENV «$NO»=x\n", "the name before `=` is blank once its variables are expanded"),
        ("FROM busybox\nWORKDIR /a/«${B:?set B}»/c\n", "B: set B"),
        ("FROM busybox\nLABEL a=b \\\n  c=«${D»\n", "missing `}` after `${`"),
        ("FROM busybox\nVOLUME «$NO»\n", "the path of a volume is blank"),
        ("FROM busybox\nEXPOSE 80 «http»\n", "`http` is not a port: a port is a number from 0 to 65535"),
        ("FROM busybox\nSTOPSIGNAL «SIGFOO»\n", "`SIGFOO` is not a signal"),
        ("FROM busybox\nCOPY --chmod=«9» a /\n", "`9` is not a mode"),
        ("FROM busybox\nCOPY --chown=«${U:?}» a /\n", "U: is not allowed to be unset"),
        ("FROM busybox\nCOPY <<EOF /x\na\n«${B:?no}»\nEOF\n", "B: no"),
        ("FROM busybox\nCOPY «<<a/b» /x\nc\na/b\n", "`a/b` cannot be the name of a file"),
        (
            "ARG SOURCE_DATE_EPOCH=«soon»\nFROM busybox\n",
            "SOURCE_DATE_EPOCH is `soon`, which is not a number of seconds",
        ),
        (
            "FROM busybox AS a\nONBUILD EXPOSE «x»\nFROM a\n",
            "`x` is not a port: a port is a number from 0 to 65535 (in the ONBUILD trigger `EXPOSE x`)",
        ),
    ];
    for (text, message) in table {
        check(text, message);
    }
}

#[test]
fn unknown_targets_get_a_list() {
    let text = "FROM busybox AS build\nFROM busybox AS test\nFROM busybox\n";
    let with = |target: &str| BuildOptions { target: Some(target.into()), ..options() };
    let error = fail(text, &with("biuld"), &Store::default());
    assert_eq!(error.to_string(), "the Dockerfile has no stage `biuld`");
    assert_eq!(error.help.as_deref(), Some("did you mean `build`? The stages are: build, test, stage-2"));
    assert!(error.span.is_none() && error.diagnostic().is_none());
    let error = fail(text, &with("3"), &Store::default());
    assert_eq!(error.help.as_deref(), Some("the stages are: build, test, stage-2"));
}

#[test]
fn a_missing_image_may_be_a_misspelt_stage() {
    let text = "FROM busybox AS build\nFROM scratch\nCOPY --from=buidl /x /\n";
    let error = fail(text, &options(), &Store::default());
    assert_eq!(error.help.as_deref(), Some("did you mean the stage `build`? Otherwise: load it first"));
}

#[test]
fn a_blank_base_may_be_a_misspelt_argument() {
    let error = fail("ARG IMAGE=busybox\nFROM $IMGAE\n", &options(), &Store::default());
    assert_eq!(error.help.as_deref(), Some("did you mean the argument `IMAGE`?"));
}

#[test]
fn triggers_of_images_are_blamed_on_from() {
    let table = [
        ("EXPOSE x", "`x` is not a port: a port is a number from 0 to 65535"),
        ("FRUM x", "unknown instruction: FRUM"),
        ("RUN --mount=type=cache,target=/x y", "RUN --mount is not supported yet"),
        ("COPY --from=9 a b", "there is no stage number 9: the file has 2"),
        ("MAINTAINER x", "`MAINTAINER` is not allowed as an ONBUILD trigger"),
        ("FROM x", "`FROM` is not allowed as an ONBUILD trigger"),
    ];
    for (trigger, message) in table {
        let images = Store::with_triggers(&[trigger]);
        let text = "FROM scratch\nFROM onbuild\nRUN x\n";
        let error = fail(text, &options(), &images);
        assert_eq!(error.to_string(), format!("{message} (in the ONBUILD trigger `{trigger}`)"));
        assert_eq!(&text[error.span.clone().unwrap()], "FROM onbuild", "{trigger}");
    }
}

#[test]
fn the_frontend_can_be_named_on_the_command_line() {
    let file = "# syntax=example/own\nFROM busybox\n";
    assert!(try_plan(file, &with_args(&["BUILDKIT_SYNTAX=docker/dockerfile:1"]), &Store::default()).is_ok());
    let error = fail("FROM busybox\n", &with_args(&["BUILDKIT_SYNTAX=other/x"]), &Store::default());
    assert_eq!(error.to_string(), "the frontend `other/x` is not supported yet");
}
