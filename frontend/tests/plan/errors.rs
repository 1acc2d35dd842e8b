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
        ("FROM busybox\nRUN «--device=vendor/class» x\n", "RUN --device is not supported yet"),
        (
            "FROM --platform=windows/amd64 busybox\nWORKDIR /x\n«RUN x»\n",
            "RUN for `windows/amd64` is not supported yet",
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
        ("FROM «$NO»\n", "base name ($NO) should not be blank"),
        ("FROM «${X:?needed}»\n", "X: needed"),
        ("ARG A=«${B?}»\nFROM busybox\n", "B: is not allowed to be unset"),
        (
            "FROM --platform=«a/b/c/d» busybox\n",
            "`a/b/c/d` is not a platform: write `os/architecture[/variant]`, for example `linux/amd64`",
        ),
        ("FROM «missing»\n", "the image `missing` is not in the store"),
        ("FROM busybox\nCOPY --from=«missing» a /\n", "the image `missing` is not in the store"),
        (
            "FROM busybox\nARG A=b\nCOPY --from=«$A» a /\n",
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
        ),
        ("FROM busybox AS me\nCOPY --from=«me» a /\n", "circular dependency detected on stage: me"),
        ("FROM busybox\nCOPY --from=«0» a /\n", "circular dependency detected on stage: stage-0"),
        ("FROM busybox AS me\nRUN --mount=target=/x,from=«me» x\n", "circular dependency detected on stage: me"),
        (
            "FROM busybox AS a\nCOPY --from=«c» x /\nFROM busybox AS b\nCOPY --from=a x /\nFROM busybox AS c\n\
             RUN --mount=from=b,target=/b x\nFROM scratch\n",
            "circular dependency detected on stage: a",
        ),
        (
            "FROM busybox AS x\nFROM busybox AS a\nCOPY --from=x x /\nCOPY --from=«b» x /\nFROM busybox AS b\n\
             COPY --from=x x /\nCOPY --from=a x /\n",
            "circular dependency detected on stage: a",
        ),
        (
            "FROM busybox AS a\nCOPY --from=«b» x /\nFROM busybox AS b\nFROM scratch\nCOPY --from=a / /\n",
            "cannot copy from stage \"b\", it needs to be defined before current stage \"a\"",
        ),
        (
            "FROM busybox AS a\nCOPY --from=«1» x /\nFROM a\n",
            "cannot copy from stage \"1\", it needs to be defined before current stage \"a\"",
        ),
        (
            "FROM busybox AS a\nRUN --mount=target=/x,from=«b» x\nFROM busybox AS b\nFROM a\n",
            "cannot mount from stage \"b\" to \"/x\", stage needs to be defined before current command",
        ),
        ("FROM busybox\nCOPY --from=«7» x /\n", "invalid stage index 7: the file has 1"),
        ("FROM busybox\nCOPY --from=«-1» x /\nFROM scratch\n", "invalid stage index -1: the file has 2"),
        ("FROM busybox\nCOPY «https://example.org/x» /\n", "source can't be a URL for COPY"),
        ("FROM busybox\nCOPY «https://example.org/x.git» /\n", "source can't be a git ref for COPY"),
        ("FROM busybox\nCOPY a «git@example.org:x.git#main» /\n", "source can't be a git ref for COPY"),
        (
            "FROM busybox\nADD «ftp://u:canary@example.org/x» /\n",
            "`ftp://u:xxxxx@example.org/x` cannot be added: the protocol `ftp` is not supported",
        ),
        ("FROM busybox\nADD «https://example.org/x.git?ref=a#b» /\n", "ref conflicts: `b` vs `a`"),
        (
            "FROM busybox\nADD --keep-git-dir=false «git://example.org/x?keep-git-dir» /\n",
            "inconsistent keep-git-dir configuration",
        ),
        (
            "FROM busybox\nADD --checksum=«abc» git://example.org/x?checksum=abd /\n",
            "checksum mismatch \"abc\" != \"abd\"",
        ),
        ("FROM busybox\nADD --checksum=«xyz» git://example.org/x /\n", "`xyz` is not a checksum"),
        ("FROM busybox\nADD --checksum=«sha256:0123» https://example.org/a /\n", "`sha256:0123` is not a checksum"),
        (
            "FROM busybox\nADD --checksum=«sha256:0123» https://example.org/a b /\n",
            "checksum can't be specified for multiple sources",
        ),
        ("FROM busybox\nADD --checksum=«sha256:0» a /\n", "checksum requires HTTP(S) or Git sources"),
        ("FROM --platform=«$NO» busybox\n", "empty platform value from expression `$NO`"),
        ("FROM busybox\nRUN «--security=insecure» x\n", "RUN --security=insecure is not allowed"),
        (
            "FROM busybox\nENV «$NO»=x\n",
            "names can not be blank: nothing stands before `=` once its variables are expanded",
        ),
        ("FROM busybox\nWORKDIR /a/«${B:?set B}»/c\n", "B: set B"),
        ("FROM busybox\nLABEL a=b \\\n  c=«${D»\n", "syntax error: missing '}' after `${`"),
        ("FROM busybox\nVOLUME «$NO»\n", "VOLUME specified can not be an empty string"),
        ("FROM busybox\nEXPOSE 80 «http»\n", "`http` is not a port: a port is a number from 0 to 65535"),
        ("FROM busybox\nSTOPSIGNAL «SIGFOO»\n", "invalid signal: SIGFOO"),
        (
            "FROM busybox\nCOPY --chmod=«9» a /\n",
            "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777",
        ),
        ("FROM busybox\nCOPY --chown=«${U:?}» a /\n", "U: is not allowed to be unset"),
        ("FROM busybox\nCOPY <<EOF /x\na\n«${B:?no}»\nEOF\n", "B: no"),
        ("FROM busybox\nCOPY «<<a/b» /x\nc\na/b\n", "`a/b` cannot be the name of a file"),
        ("ARG SOURCE_DATE_EPOCH=«soon»\nFROM busybox\n", "invalid SOURCE_DATE_EPOCH: soon"),
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
    assert_eq!(error.to_string(), "target stage \"biuld\" could not be found");
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
        ("RUN --device=a/b=c y", "RUN --device is not supported yet"),
        ("RUN --mount=target=$NO y", "invalid mount target \"/\""),
        ("RUN --mount=from=9,target=/x y", "invalid stage index 9: the file has 2"),
        ("COPY --from=9 a b", "invalid stage index 9: the file has 2"),
        ("MAINTAINER x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("FROM x", "FROM isn't allowed as an ONBUILD trigger"),
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
