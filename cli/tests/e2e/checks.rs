//! Build checks: below a build, and instead of one.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::kit::{Lab, Ran};

/// Two findings; nothing of it needs an image.
const TWO: &str = "FROM scratch as base\ncopy a.txt /\nCOPY b.txt /\n";
const FILES: &[(&str, &str)] = &[("a.txt", "a"), ("b.txt", "b")];

fn call(lab: &Lab, context: &Path, args: &[&str]) -> Ran {
    let mut all = vec!["build"];
    all.extend(args);
    all.push(context.to_str().expect("UTF-8"));
    lab.run(&all)
}

fn check(lab: &Lab, dockerfile: &str, args: &[&str]) -> Ran {
    let context = lab.project(dockerfile, FILES);
    let mut all = vec!["--check"];
    all.extend(args);
    call(lab, &context, &all)
}

#[test]
fn a_build_ends_with_what_is_probably_not_meant() {
    let lab = Lab::empty();
    let ran = lab.build_files(TWO, FILES);
    let summary = "\n\n 2 warnings found:\n \
                   - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)\n   \
                   docs/checks/FromAsCasing.md\n   Dockerfile:1\n   1 | FROM scratch as base\n     |              ^^\n \
                   - ConsistentInstructionCasing: Command 'copy' should match the case of the command majority \
                   (uppercase) (line 2)\n   \
                   docs/checks/ConsistentInstructionCasing.md\n   Dockerfile:2\n   2 | copy a.txt /\n     | ^^^^\n";
    assert!(ran.stderr.ends_with(summary), "{}", ran.stderr);
    ran.assert_stderr("\n#1 WARN: FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)\n");
    assert_eq!(ran.stdout, "");
    // A warm build says the same; one without findings, nothing.
    assert!(lab.build_files(TWO, FILES).stderr.ends_with(summary));
    let fine = lab.build_files("FROM scratch\nCOPY a.txt /\n", FILES);
    assert!(!fine.stderr.contains("warning"), "{}", fine.stderr);
    let one = lab.build_files("FROM scratch\nMAINTAINER me\nCOPY a.txt /\n", FILES);
    one.assert_stderr("\n 1 warning found:\n - MaintainerDeprecated: ");
}

#[test]
fn a_failed_build_has_warnings_too() {
    let lab = Lab::new();
    let ran = lab.build_fails("FROM busybox as base\nRUN exit 7\n", &[]);
    ran.assert_stderr(" - FromAsCasing: ");
    ran.assert_stderr("exit code: 7");
    let ran = lab.build_fails("FROM scratch AS Big\nMAINTAINER me\nBADCMD\n", &[]);
    ran.assert_stderr(" - StageNameCasing: Stage name 'Big' should be lowercase (line 1)");
    ran.assert_stderr(" - MaintainerDeprecated: ");
    ran.assert_stderr("unknown instruction: BADCMD");
}

#[test]
fn quiet_builds_keep_silent_and_programs_get_json() {
    let lab = Lab::empty();
    let context = lab.project(TWO, FILES);
    assert_eq!(call(&lab, &context, &["-q"]).stderr, "");
    let ran = call(&lab, &context, &["--progress=rawjson"]);
    let mut warnings = Vec::new();
    let mut digests = Vec::new();
    for line in ran.stderr.lines() {
        let status: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        warnings.extend(status["warnings"].as_array().into_iter().flatten().cloned());
        digests.extend(status["vertexes"].as_array().into_iter().flatten().map(|vertex| vertex["digest"].clone()));
    }
    assert_eq!(warnings.len(), 2, "{}", ran.stderr);
    let text = |value: &Value| {
        String::from_utf8(BASE64.decode(value.as_str().expect("base64")).expect("base64")).expect("text")
    };
    assert_eq!(text(&warnings[0]["short"]), "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)");
    assert_eq!(text(&warnings[0]["detail"][0]), "The 'as' keyword should match the case of the 'from' keyword");
    assert_eq!(warnings[0]["url"], "docs/checks/FromAsCasing.md");
    assert_eq!(warnings[0]["range"], json!([{"start": {"line": 1}, "end": {"line": 1}}]));
    assert!(digests.contains(&warnings[0]["vertex"]), "{warnings:?}");
}

#[test]
fn a_file_can_make_findings_errors() {
    let lab = Lab::new();
    let dockerfile = "# check=error=true\nFROM busybox as base\nRUN echo it ran\n";
    let ran = lab.build_fails(dockerfile, &[]);
    ran.assert_stderr("ERROR: failed to build: failed to solve: lint violation found for rules: FromAsCasing\n");
    ran.assert_stderr(" 1 warning found:\n - FromAsCasing: ");
    assert!(!ran.stderr.contains("it ran") && !ran.stderr.contains("CANCELED"), "{}", ran.stderr);
    let context = lab.project(dockerfile, &[]);
    lab.build_with(&context, &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"]);
    let ran = lab.try_build(&context, &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=StageNameCasing;error=true"]);
    assert_eq!(ran.code, 1);
    let ran = lab.try_build(&context, &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=nonsense"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("failed to parse check options: invalid check option \"nonsense\"");
    let ran = lab.build_fails("# check=errors=true\nFROM scratch\nCOPY a.txt /\n", FILES);
    ran.assert_stderr(
        "\nERROR: failed to build: failed to solve: failed to parse check options: invalid check option \"errors\"",
    );
    ran.assert_stderr("Dockerfile:1:9");
}

#[test]
fn a_check_prints_what_buildx_prints() {
    let lab = Lab::empty();
    let ran = check(&lab, TWO, &[]);
    assert_eq!(
        ran.stdout,
        "Check complete, 2 warnings have been found!\n\n\
         WARNING: FromAsCasing - docs/checks/FromAsCasing.md\n\
         'as' and 'FROM' keywords' casing do not match\n\
         Dockerfile:1\n--------------------\n   \
         1 | >>> FROM scratch as base\n   2 |     copy a.txt /\n   3 |     COPY b.txt /\n--------------------\n\n\
         WARNING: ConsistentInstructionCasing - docs/checks/ConsistentInstructionCasing.md\n\
         Command 'copy' should match the case of the command majority (uppercase)\n\
         Dockerfile:2\n--------------------\n   \
         1 |     FROM scratch as base\n   2 | >>> copy a.txt /\n   3 |     COPY b.txt /\n--------------------\n"
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    let one = check(&lab, "FROM scratch\nMAINTAINER me\n", &[]);
    assert!(one.stdout.starts_with("Check complete, 1 warning has been found!\n\nWARNING: "), "{}", one.stdout);
    let none = check(&lab, "FROM scratch\nCOPY a.txt /\n", &[]);
    assert_eq!((none.code, none.stdout.as_str()), (0, "Check complete, no warnings found.\n"));
    // Nothing was built.
    assert_eq!(lab.ok(&["images", "-q"]).stdout, "");
    let context = lab.project(TWO, FILES);
    for (args, code) in [
        (&["--call=check"][..], 1),
        (&["--call=lint"], 1),
        (&["--call=check,ignorestatus"], 0),
        (&["--call=check,ignorestatus=true"], 0),
        (&["--check=true"], 1),
        (&["--check=false", "--call=check"], 1),
        (&["--check", "--call=check,ignorestatus"], 0),
    ] {
        let ran = call(&lab, &context, args);
        assert_eq!(ran.code, code, "{args:?}");
        assert!(ran.stdout.starts_with("Check complete, 2 warnings"), "{args:?} {}", ran.stdout);
    }
    for args in [&["--check=false", "-q"][..], &["--call=build", "-q"]] {
        let ran = call(&lab, &context, args);
        assert!(ran.code == 0 && ran.stdout.starts_with("sha256:"), "{args:?} {} {}", ran.stdout, ran.stderr);
    }
    let ran = call(&lab, &context, &["--call=nothing"]);
    assert_eq!(ran.code, 2);
    ran.assert_stderr("there is no method `nothing`");
    let ran = call(&lab, &context, &["--check", "--call=outline"]);
    assert_eq!(ran.code, 2);
    ran.assert_stderr("--check and --call=outline ask for two things");
}

#[test]
fn a_check_speaks_json() {
    let lab = Lab::empty();
    let context = lab.project(TWO, FILES);
    let ran = call(&lab, &context, &["--call=check,format=json"]);
    assert_eq!(ran.code, 1);
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        answer["warnings"][0],
        json!({
            "ruleName": "FromAsCasing",
            "description": "The 'as' keyword should match the case of the 'from' keyword",
            "url": "docs/checks/FromAsCasing.md",
            "detail": "'as' and 'FROM' keywords' casing do not match",
            "location": {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]},
        })
    );
    assert_eq!(answer["warnings"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        answer["sources"],
        json!([{"filename": "Dockerfile", "language": "Dockerfile", "data": BASE64.encode(TWO)}])
    );
    assert!(answer.get("buildError").is_none());
    let ran = call(&lab, &lab.project("FROM scratch\n", &[]), &["--call=check,format=json"]);
    assert_eq!(ran.code, 0);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).expect("JSON")["warnings"], json!([]));
    let ran = call(&lab, &lab.project("FROM scratch\nEXPOSE x\nCOPY a.txt\n", &[]), &["--call=check,format=json"]);
    assert_eq!(ran.code, 1);
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let message = answer["buildError"]["message"].as_str().expect("a message");
    assert!(message.starts_with("dockerfile parse error on line 3: COPY requires at least two arguments"), "{message}");
    assert_eq!(answer["buildError"]["location"], json!({"ranges": [{"start": {"line": 3}, "end": {"line": 3}}]}));
}

#[test]
fn a_check_looks_at_all_stages_and_needs_no_image() {
    let lab = Lab::empty();
    let dockerfile = "FROM missing AS first\nCOPY $foo .\nFROM other/missing:1 AS second\nCOPY $bar .\nFROM first\n";
    let ran = check(&lab, dockerfile, &[]);
    assert_eq!(ran.code, 1);
    for part in
        ["Check complete, 2 warnings", "Usage of undefined variable '$foo'", "Usage of undefined variable '$bar'"]
    {
        assert!(ran.stdout.contains(part), "no {part} in {}", ran.stdout);
    }
    ran.assert_stderr("note: the image missing is not in the store: what it sets could not be checked\n");
    ran.assert_stderr("note: the image other/missing:1 is not");
    let ran = check(&lab, dockerfile, &["--target=second"]);
    assert!(ran.stdout.starts_with("Check complete, 1 warning"), "{}", ran.stdout);
    assert!(ran.stdout.contains("'$bar'") && !ran.stderr.contains("image missing "), "{}", ran.stderr);
}

#[test]
fn a_check_tells_why_a_build_would_fail() {
    let lab = Lab::new();
    let ran = check(&lab, "FROM scratch AS Big\nMAINTAINER me\nBADCMD x\n", &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.starts_with("Check complete, 2 warnings"), "{}", ran.stdout);
    ran.assert_stderr("unknown instruction: BADCMD");
    ran.assert_stderr("Dockerfile:3:1");
    let ran = check(&lab, "FROM scratch\nEXPOSE nothing\nFROM scratch\n", &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    ran.assert_stderr("Dockerfile:2:8");
    let ran = check(&lab, "FROM scratch\n", &["--target=none"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("target stage \"none\" could not be found");
    let ran = check(&lab, "FROM scratch AS a\nEXPOSE nothing\nFROM scratch AS b\n", &["--target=b"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Check complete, no warnings found.\n"));
    // The last stage is planned as a build without a target does it.
    let ran = check(&lab, "FROM scratch\nFROM scratch\nARG TARGETSTAGE\nEXPOSE ${TARGETSTAGE#default}80\n", &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    // Whose time it is matters to nobody here, and nothing is fetched.
    let dockerfile = "ARG SOURCE_DATE_EPOCH=from\nFROM scratch AS from\nADD http://127.0.0.1:1/x.git /\nFROM scratch\n";
    let ran = check(&lab, dockerfile, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let ran = check(&lab, "# check=error=true\nFROM scratch as a\n", &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.starts_with("Check complete, 1 warning"), "{}", ran.stdout);
    ran.assert_stderr("ERROR: lint violation found for rules: FromAsCasing\n");
    let ran =
        check(&lab, "# check=error=true\nFROM scratch as a\n", &["--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Check complete, no warnings found.\n"));
}

#[test]
fn what_images_say_is_known() {
    let lab = Lab::new();
    lab.build_files("FROM busybox\nENV TOOLS=/tools\nSHELL [\"/bin/sh\", \"-ec\"]\nONBUILD ENV KEY=$nothing\n", &[]);
    let ran = check(&lab, "FROM app\nCOPY $TOOLS $HOMES .\nCMD run me\n", &[]);
    for part in [
        "Check complete, 3 warnings",
        "Usage of undefined variable '$HOMES'",
        "Usage of undefined variable '$nothing'",
        "(ENV \"KEY\")",
    ] {
        assert!(ran.stdout.contains(part), "no {part} in {}", ran.stdout);
    }
}

#[test]
fn named_contexts_take_the_place_of_images() {
    let lab = Lab::empty();
    let dockerfile = "FROM docker.io/library/base:latest\nCOPY --from=tools a.txt /\n";
    check(&lab, dockerfile, &[]).assert_stderr("image docker.io/library/base:latest is not in the store");
    let files = lab.project("", FILES);
    let [base, tools] = ["base", "tools"].map(|name| format!("--build-context={name}={}", files.display()));
    let ran = check(&lab, dockerfile, &[&base, &tools]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "Check complete, no warnings found.\n", ""));
}

#[test]
fn ignored_files_are_told_before_the_copy_fails() {
    let lab = Lab::empty();
    let dockerfile = "FROM scratch\nCOPY a.txt /\nCOPY sub /sub\nCOPY . /all\n";
    let files = [(".dockerignore", "a.*\nsub\n!sub/keep\n"), ("a.txt", ""), ("sub/keep", ""), ("sub/drop", "")];
    let ran = lab.build_fails(dockerfile, &files);
    ran.assert_stderr(
        "\n 1 warning found:\n - CopyIgnoredFile: Attempting to Copy file \"a.txt\" that is excluded by .dockerignore (line 2)",
    );
    let ran = call(&lab, &lab.project(dockerfile, &files), &["--check"]);
    assert!(ran.stdout.starts_with("Check complete, 1 warning"), "{}", ran.stdout);
}

const OUTLINE: &str = "\
# VERSION of the base
ARG VERSION=1
ARG UNUSED
FROM missing:${VERSION} AS build
# JOBS at once
ARG JOBS=4
RUN --mount=type=secret,id=token,required=true --mount=type=ssh make
FROM scratch
# release is what people get
FROM build AS release
ARG BARE
";

#[test]
fn an_outline_says_what_can_be_given() {
    let lab = Lab::empty();
    let context = lab.project(OUTLINE, &[]);
    let ran = call(&lab, &context, &["--call=outline", "--build-arg=JOBS=8"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        ran.stdout,
        "TARGET:      release\nDESCRIPTION: is what people get\n\n\
         BUILD ARG   VALUE   DESCRIPTION\nVERSION     1       of the base\nJOBS        8       at once\nBARE\n\n\
         SECRET   REQUIRED\ntoken    true\n\nSSH       REQUIRED\ndefault\n\n"
    );
    let answer: Value =
        serde_json::from_str(&call(&lab, &context, &["--call=outline,format=json"]).stdout).expect("JSON");
    let place = |line: usize| json!({"ranges": [{"start": {"line": line}, "end": {"line": line}}]});
    assert_eq!(
        answer,
        json!({
            "name": "release",
            "description": "is what people get",
            "args": [
                {"name": "VERSION", "description": "of the base", "value": "1", "location": place(2)},
                {"name": "JOBS", "description": "at once", "value": "4", "location": place(6)},
                {"name": "BARE", "location": place(11)},
            ],
            "secrets": [{"name": "token", "required": true, "location": place(7)}],
            "ssh": [{"name": "default", "location": place(7)}],
            "sources": [BASE64.encode(OUTLINE)],
        })
    );
    assert_eq!(call(&lab, &context, &["--call=outline", "--target=1"]).stdout, "");
    let ran = call(&lab, &context, &["--call=outline", "--target=nothing"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("the Dockerfile has no stage `nothing`\nhint: the stages with a name are: build, release");
}

#[test]
fn targets_say_what_can_be_built() {
    let lab = Lab::empty();
    let context = lab.project(OUTLINE, &[]);
    let ran = call(&lab, &context, &["--call=targets"]);
    assert_eq!(ran.stdout, "TARGET            DESCRIPTION\nbuild\n\nrelease (default) is what people get\n");
    let answer: Value =
        serde_json::from_str(&call(&lab, &context, &["--call=targets,format=json"]).stdout).expect("JSON");
    let place = |line: usize| json!({"ranges": [{"start": {"line": line}, "end": {"line": line}}]});
    assert_eq!(
        answer["targets"],
        json!([
            {"name": "build", "base": "missing:${VERSION}", "location": place(4)},
            {"base": "scratch", "location": place(8)},
            {"name": "release", "default": true, "description": "is what people get", "base": "build", "location": place(10)},
        ])
    );
    let ran = call(&lab, &lab.project("FROM scratch\nNOPE\n", &[]), &["--call=targets"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("unknown instruction: NOPE");
    let ran = call(&lab, &context, &["--call=subrequests.describe"]);
    assert!(
        ran.stdout.starts_with("NAME                 VERSION DESCRIPTION\noutline              1.0.0   "),
        "{}",
        ran.stdout
    );
    let ran = call(&lab, &context, &["--call=subrequests.describe,format=json"]);
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let names: Vec<&str> = answer.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["frontend.outline", "frontend.targets", "frontend.subrequests.describe"]);
}
