//! One table a rule: what it finds and what it leaves alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use builder_frontend::lint::{RULES, check_above};

use crate::support::{assert_found, found, options, pointed, report, shown};

#[test]
fn a_stage_name_is_in_lower_case() {
    assert_found(
        "FROM scratch AS BadStageName\nFROM scratch AS good\n",
        &["1: StageNameCasing: Stage name 'BadStageName' should be lowercase"],
    );
}

#[test]
fn as_is_written_like_from() {
    let message = |as_keyword: &str, from: &str| {
        vec![format!("1: FromAsCasing: '{as_keyword}' and '{from}' keywords' casing do not match")]
    };
    assert_eq!(found("FROM scratch as a\n"), message("as", "FROM"));
    assert_eq!(found("from scratch AS a\n"), message("AS", "from"));
    assert_eq!(found("FROM scratch As a\n"), message("As", "FROM"));
    for fine in ["FROM scratch AS a\n", "from scratch as a\n", "FROM scratch\n"] {
        assert_found(fine, &[]);
    }
    // Only the keyword that is wrong in itself is told.
    assert_found(
        "From scratch as a\nFROM a AS b\n",
        &["1: ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase)"],
    );
}

#[test]
fn a_continuation_is_not_empty() {
    let expected = ["5: NoEmptyContinuation: Empty continuation line"];
    assert_found("FROM scratch\n# a comment\nCOPY a \\\n\n  b\nCOPY a \\\n b\n", &expected);
    // One an instruction, however many lines are empty.
    assert_found("FROM scratch\nCOPY a \\\n\n\n  b\nCOPY c d\n", &expected);
    assert_eq!(pointed("FROM scratch\nCOPY a \\\n \n  b\n"), [" "]);
    assert_eq!(pointed("FROM scratch\nCOPY a \\\n \n  é\n"), [" "]);
    let last = ["4: NoEmptyContinuation: Empty continuation line"];
    for text in [
        "FROM scratch\nCOPY a \\\n\n  é\n",
        "FROM scratch\nCOPY a \\\n\n  é",
        "FROM scratch\r\nCOPY a \\\r\n\r\n  é\r\n",
    ] {
        assert_found(text, &last);
    }
    assert_found("FROM scratch\nCOPY a \\\n# a comment\n  b\n", &[]);
    assert_found("FROM scratch\nCOPY <<EOF /a\n\nEOF\n", &[]);
}

#[test]
fn the_majority_says_how_keywords_are_written() {
    let wrong = |line: usize, keyword: &str, casing: &str| {
        format!(
            "{line}: ConsistentInstructionCasing: Command '{keyword}' should match the case of the command majority ({casing})"
        )
    };
    for (text, expected) in [
        ("FROM scratch\ncopy a /a\nCOPY b /b\n", vec![wrong(2, "copy", "uppercase")]),
        ("from scratch\nCOPY a /a\ncopy b /b\n", vec![wrong(2, "COPY", "lowercase")]),
        ("FROM scratch\ncopy a /a\n", vec![wrong(2, "copy", "uppercase")]),
        ("from scratch\ncOpY a /a\nenv a=b\n", vec![wrong(2, "cOpY", "lowercase")]),
        ("from scratch\ncopy a /a\n", vec![]),
        ("FROM scratch\nRUN <<'EOT'\nenv\nEOT\n", vec![]),
        ("arg a=b\nFROM scratch\n", vec![]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn stage_names_are_unique_and_free() {
    assert_found(
        "FROM scratch AS b\nFROM scratch AS B\n",
        &[
            "2: StageNameCasing: Stage name 'B' should be lowercase",
            "2: DuplicateStageName: Duplicate stage name \"b\", stage names should be unique",
        ],
    );
    assert_found(
        "FROM scratch AS scratch\nFROM scratch AS context\n",
        &[
            "1: ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
            "2: ReservedStageName: Stage name should not use the same name as reserved stage \"context\"",
        ],
    );
    assert_found("FROM scratch AS a\nFROM scratch AS b\nFROM scratch\n", &[]);
}

#[test]
fn programs_are_not_started_by_a_shell() {
    let expected = |keyword: &str| {
        vec![format!(
            "2: JSONArgsRecommended: JSON arguments recommended for {keyword} to prevent unintended behavior related to \
             OS signals"
        )]
    };
    assert_eq!(found("FROM scratch\nCMD run me\n"), expected("CMD"));
    assert_eq!(found("FROM scratch\nENTRYPOINT run me\n"), expected("ENTRYPOINT"));
    assert_eq!(pointed("FROM scratch\nCMD run me\n"), ["run me"]);
    for fine in [
        "FROM scratch\nCMD [\"run\", \"me\"]\n",
        "FROM scratch\nSHELL [\"/bin/bash\", \"-c\"]\nCMD run me\n",
        "FROM scratch AS a\nSHELL [\"/bin/bash\", \"-c\"]\nFROM a\nENTRYPOINT run me\n",
        "FROM shelled\nCMD run me\n",
        "FROM scratch\nHEALTHCHECK CMD run me\n",
        "FROM scratch\nRUN run me\n",
    ] {
        assert_found(fine, &[]);
    }
}

#[test]
fn a_maintainer_is_a_label() {
    assert_found(
        "FROM scratch\nMAINTAINER me@example.org\n",
        &["2: MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"],
    );
}

#[test]
fn arguments_of_from_are_declared() {
    let undeclared = |line: usize, name: &str, hint: &str| {
        vec![format!("{line}: UndefinedArgInFrom: FROM argument '{name}' is not declared{hint}")]
    };
    for (text, expected) in [
        ("FROM --platform=$BULIDPLATFORM scratch\n", undeclared(1, "BULIDPLATFORM", " (did you mean BUILDPLATFORM?)")),
        (
            "ARG MY_ARCH=amd64\nFROM --platform=linux/${MYARCH} base\n",
            undeclared(2, "MYARCH", " (did you mean MY_ARCH?)"),
        ),
        ("ARG tag=1\nFROM base:${tag}${version} AS b\n", undeclared(2, "version", "")),
        ("ARG base=scratch\nFROM $base\n", vec![]),
        ("ARG DEBUG\nFROM scratch${DEBUG}\n", vec![]),
        ("ARG DEBUG\nFROM scra${DEBUG:-tch}\n", vec![]),
        ("FROM --platform=$BUILDPLATFORM scratch\n", vec![]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
    assert_eq!(pointed("FROM base:1${version}\n"), ["${version}"]);
}

#[test]
fn the_first_workdir_is_absolute() {
    assert_found(
        "FROM base\nWORKDIR app/\nWORKDIR src\n",
        &["2: WorkdirRelativePath: Relative workdir \"app/\" can have unexpected results if the base image changes"],
    );
    for fine in [
        "FROM base\nWORKDIR /app\nWORKDIR src\n",
        "FROM base AS a\nWORKDIR /app\nFROM a\nWORKDIR src\n",
        "FROM base\nENV HOME=/root\nWORKDIR $HOME\n",
    ] {
        assert_found(fine, &[]);
    }
}

#[test]
fn variables_are_set_before_they_are_used() {
    let undefined = |line: usize, name: &str, hint: &str| {
        vec![format!("{line}: UndefinedVar: Usage of undefined variable '${name}'{hint}")]
    };
    for (text, expected) in [
        ("FROM base\nCOPY $foo .\nARG foo=bar\n", undefined(2, "foo", "")),
        ("FROM base\nARG DIR_ASSETS=a\nCOPY $DIR_ASSET .\n", undefined(3, "DIR_ASSET", " (did you mean $DIR_ASSETS?)")),
        ("FROM base\nENV PATH=$PAHT:/tmp/bin\n", undefined(2, "PAHT", " (did you mean $PATH?)")),
        ("FROM scratch\nLABEL a=$unknown b=$unknown\n", undefined(2, "unknown", "")),
        ("FROM scratch\nUSER ${unknown}\n", undefined(2, "unknown", "")),
        ("FROM scratch\nARG a=${unknown:-b}\n", undefined(2, "unknown", "")),
        ("FROM scratch\nVOLUME $unknown/a\n", undefined(2, "unknown", "")),
        ("FROM scratch\nSTOPSIGNAL SIG$unknown\n", undefined(2, "unknown", "")),
        ("FROM scratch\nRUN --mount=type=cache,target=$unknown make\n", undefined(2, "unknown", "")),
        ("FROM scratch\nCOPY --chown=$unknown a /\n", undefined(2, "unknown", "")),
        ("FROM scratch\nCOPY <<EOF /a\n$unknown\nEOF\n", undefined(2, "unknown", "")),
        ("FROM scratch\nCOPY <<'EOF' /a\n$unknown\nEOF\n", vec![]),
        ("FROM scratch\nARG foo\nCOPY Dockerfile${foo} .\n", vec![]),
        ("FROM base AS a\nARG foo=b\nFROM a\nCOPY $foo .\n", vec![]),
        ("FROM base\nCOPY $FROM_BASE $PATH .\n", vec![]),
        ("FROM base\nRUN echo $anything\nCMD [\"$anything\"]\n", vec![]),
        ("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH .\n", vec![]),
        ("FROM scratch\nCOPY '$a' \\$b .\n", vec![]),
        // The names of one instruction are those from before it.
        ("FROM scratch\nENV a=1 b=$a\n", undefined(2, "a", "")),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
    assert_eq!(pointed("FROM base\nCOPY a${foo}b $bar /\n"), ["${foo}", "$bar"]);
}

#[test]
fn what_an_unknown_image_sets_is_unknown() {
    assert_found("FROM missing\nENV PATH=$JAVA_HOME/bin:$PATH\n", &[]);
    assert_found(
        "FROM missing\nARG VERSION=1\nENV a=$VERSIN b=$lower\n",
        &[
            "3: UndefinedVar: Usage of undefined variable '$VERSIN' (did you mean $VERSION?)",
            "3: UndefinedVar: Usage of undefined variable '$lower'",
        ],
    );
    let unknown = report("FROM missing AS a\nFROM a\nFROM other\nCOPY --from=1 /a /\n", &options(&[]), false);
    assert_eq!(unknown.unknown_images, ["missing", "other"]);
}

#[test]
fn only_the_last_of_a_kind_counts() {
    let multiple = |line: usize, keyword: &str| {
        format!(
            "{line}: MultipleInstructionsDisallowed: Multiple {keyword} instructions should not be used in the same \
             stage because only the last one will be used"
        )
    };
    let text = "FROM scratch\nENTRYPOINT [\"a\"]\nCMD [\"a\"]\nHEALTHCHECK CMD a\nCOPY <<EOF /a\nb\nEOF\n\
                ENTRYPOINT [\"b\"]\nCMD [\"b\"]\nHEALTHCHECK NONE\n";
    assert_eq!(found(text), [multiple(2, "ENTRYPOINT"), multiple(3, "CMD"), multiple(4, "HEALTHCHECK")]);
    assert_found("FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n", &[]);
    assert_eq!(
        found("FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\nCMD [\"c\"]\n"),
        [multiple(2, "CMD"), multiple(3, "CMD")]
    );
}

#[test]
fn keys_and_values_are_joined_by_an_equals_sign() {
    assert_found(
        "FROM scratch\nENV a value\nLABEL a value\nENV a=b\n",
        &[
            "2: LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            "3: LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
        ],
    );
}

#[test]
fn the_base_is_for_the_platform() {
    assert_found(
        "FROM foreign:1\n",
        &["1: InvalidBaseImagePlatform: Base image foreign:1 was pulled with platform \"linux/arm64\", expected \
           \"linux/amd64\" for current build"],
    );
    assert_found("FROM --platform=linux/arm64 foreign AS arm64\n", &[]);
    assert_found("FROM base\n", &[]);
}

#[test]
fn the_target_platform_goes_without_saying() {
    let redundant = |word: &str| {
        vec![format!(
            "1: RedundantTargetPlatform: Setting platform to predefined {word} in FROM is redundant as this is the \
             default behavior"
        )]
    };
    for word in ["$TARGETPLATFORM", "${TARGETPLATFORM}"] {
        assert_eq!(found(&format!("FROM --platform={word} scratch\n")), redundant(word));
    }
    assert_found("FROM --platform=$BUILDPLATFORM scratch\n", &[]);
}

#[test]
fn a_platform_is_no_constant() {
    assert_found(
        "FROM --platform=linux/amd64 scratch\n",
        &["1: FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\""],
    );
    for name in ["my_amd64_stage", "linux"] {
        assert_found(&format!("FROM --platform=linux/amd64 scratch AS {name}\n"), &[]);
    }
}

#[test]
fn secrets_are_not_arguments() {
    let secret = |line: usize, what: &str| {
        format!("{line}: SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data ({what})")
    };
    let text = "ARG token\nFROM scratch\nARG SECRET_PASSPHRASE\nENV password=bar Secret=baz\nENV PUBLIC_KEY= TOKEN_FILE=a\n\
                ARG auth=1\nARG public_token\n";
    assert_eq!(
        found(text),
        [
            secret(3, "ARG \"SECRET_PASSPHRASE\""),
            secret(4, "ENV \"password\""),
            secret(4, "ENV \"Secret\""),
            secret(6, "ARG \"auth\""),
        ]
    );
    assert_eq!(pointed(text), ["SECRET_PASSPHRASE", "password", "Secret", "auth"]);
}

#[test]
fn defaults_name_an_image() {
    let invalid = |word: &str| {
        vec![format!(
            "2: InvalidDefaultArgInFrom: Default value for ARG {word} results in empty or invalid base image name"
        )]
    };
    for (text, arg, expected) in [
        ("ARG VERSION\nFROM base:$VERSION\n", "VERSION=1", invalid("base:$VERSION")),
        ("ARG IMAGE\nFROM $IMAGE\n", "IMAGE=base", invalid("$IMAGE")),
        ("ARG SFX=\"se:\"\nFROM ba${SFX}\n", "SFX=se:latest", invalid("ba${SFX}")),
        ("ARG VERSION=\"1\"\nFROM base:${VERSION}\n", "VERSION=2", vec![]),
        ("ARG VARIANT\nFROM base:stable${VARIANT}\n", "VARIANT=-musl", vec![]),
        ("ARG VARIANT=\"\"\nFROM base:stable${VARIANT}\n", "VARIANT=-musl", vec![]),
    ] {
        assert_eq!(shown(text, &report(text, &options(&[arg]), false)), expected, "{text}");
    }
}

#[test]
fn copied_files_are_not_ignored() {
    assert_found(
        "FROM scratch\nCOPY ./ignored.txt /\nADD ignored/a /b\nCOPY fine /\nCOPY . /\n",
        &[
            "2: CopyIgnoredFile: Attempting to Copy file \"ignored.txt\" that is excluded by .dockerignore",
            "3: CopyIgnoredFile: Attempting to Add file \"ignored/a\" that is excluded by .dockerignore",
        ],
    );
    assert_found("FROM scratch AS a\nFROM scratch\nCOPY --from=a /ignored /\nADD https://e.x/ignored /\n", &[]);
}

#[test]
fn descriptions_begin_with_the_name() {
    let head = "# check=experimental=InvalidDefinitionDescription\n";
    let wrong = |line: usize, keyword: &str, name: &str| {
        format!(
            "{line}: InvalidDefinitionDescription: Comment for {keyword} should follow the format: `# {name} <description>`"
        )
    };
    let text = format!(
        "{head}# bar this is\nARG foo=bar\n# BasE this is\nFROM scratch AS base\n# a bad comment\nARG version=1\n\
         # another one\nARG foo=baz bar=qux\n"
    );
    assert_eq!(
        found(&text),
        [wrong(3, "ARG", "foo"), wrong(5, "FROM", "base"), wrong(7, "ARG", "version"), wrong(9, "ARG", "<arg_key>")]
    );
    let fine = "# foo is it\nARG foo=bar\n\n# base is it\nFROM scratch AS base\n# text\n# b is it\nARG a=1 b=2\n\
                # a remark\n#\nARG bit=bat\n# on a COPY\nCOPY a /\n# anything\nFROM base\n";
    assert_found(&format!("{head}{fine}"), &[]);
    assert_found(&text[head.len()..], &[]);
}

#[test]
fn ports_are_plain() {
    assert_found(
        "FROM scratch\nARG p=1:2\nEXPOSE 80/TcP 8080/udp 127.0.0.1:80:80 [::1]:8080:8080 5000:5000 8000 $p\n",
        &[
            "3: ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
            "3: ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found \
             '127.0.0.1:80:80'",
            "3: ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found \
             '[::1]:8080:8080'",
            "3: ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found \
             '5000:5000'",
            "3: ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found \
             '1:2'",
        ],
    );
}

#[test]
fn stages_that_are_not_built_are_only_read() {
    let text = "FROM scratch AS a\nFROM a AS b\nENV a value\nFROM a as c\n";
    let legacy = "3: LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format";
    let casing = "4: FromAsCasing: 'as' and 'FROM' keywords' casing do not match";
    assert_found(text, &[casing]);
    assert_eq!(shown(text, &report(text, &options(&[]), true)), [legacy, casing]);
    let mut target = options(&[]);
    target.target = Some("B".into());
    assert_eq!(shown(text, &report(text, &target, false)), [legacy, casing]);
    target.target = Some("1".into());
    assert_eq!(shown(text, &report(text, &target, false)), [legacy, casing]);
    target.target = Some("nothing".into());
    assert_eq!(shown(text, &report(text, &target, false)), [casing]);
    // What COPY and RUN refer to is built, too.
    let text = "FROM scratch AS a\nUSER $x\nFROM scratch AS b\nUSER $y\nFROM scratch\nCOPY --from=a / /\n\
                RUN --mount=from=1,target=/x make\n";
    assert_eq!(found(text).len(), 2, "{:?}", found(text));
}

#[test]
fn triggers_are_told_at_the_from_that_brings_them_in() {
    let text = "FROM scratch AS tools\nUSER $x\nFROM parent\n";
    assert_found(
        text,
        &[
            "2: UndefinedVar: Usage of undefined variable '$x'",
            "3: SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"TOKEN\")",
            "3: UndefinedVar: Usage of undefined variable '$unknown'",
        ],
    );
    assert_eq!(pointed(text)[1..], ["parent", "parent"]);
    let text = "FROM scratch AS a\nONBUILD CMD run me\nFROM a\n";
    assert_eq!(found(text).len(), 1, "{:?}", found(text));
    assert_eq!(pointed(text), ["a"]);
}

#[test]
fn a_named_context_takes_the_place_of_a_stage() {
    use builder_frontend::plan::NamedContext;
    let text = "FROM missing AS a\nUSER $x\nFROM thing\nUSER $y\nCOPY --from=a / /\nFROM none\nUSER $Z\n";
    let mut options = options(&[]);
    options.contexts.insert("none".into(), NamedContext::Image("scratch".into()));
    options.contexts.insert("a".into(), NamedContext::Files("a".into()));
    options.contexts.insert("thing".into(), NamedContext::Image("base".into()));
    let report = report(text, &options, true);
    let undefined = |line: usize, name: &str| format!("{line}: UndefinedVar: Usage of undefined variable '${name}'");
    assert_eq!(shown(text, &report), [undefined(4, "y"), undefined(7, "Z")]);
    assert!(report.unknown_images.is_empty(), "{report:?}");
}

#[test]
fn what_stands_above_an_error_is_told() {
    let text = "FROM scratch AS BadStageName\nMAINTAINER me\nBADCMD x\nMAINTAINER you\n";
    let error = builder_frontend::parser::parse(text).unwrap_err();
    let rules: Vec<_> = check_above(text, error.span.start).iter().map(|one| one.rule.name).collect();
    assert_eq!(rules, ["StageNameCasing", "MaintainerDeprecated"]);
    assert!(check_above("BADCMD\n", 0).is_empty());
    let silent = format!("# check=skip=all\n{text}");
    assert!(check_above(&silent, silent.find("BADCMD").unwrap()).is_empty());
}

#[test]
fn every_rule_has_a_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut pages = BTreeSet::new();
    for rule in RULES {
        let page = root.join(rule.page());
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.starts_with(&format!("# {}\n", rule.name)), "{} has another title", page.display());
        assert_eq!(text.contains("\nExperimental:"), rule.experimental, "{}", page.display());
        assert!(pages.insert(page), "{} twice", rule.name);
    }
    for entry in fs::read_dir(root.join("docs/checks")).unwrap() {
        let path = entry.unwrap().path();
        assert!(pages.contains(&path) || path.ends_with("README.md"), "{} is about no rule", path.display());
    }
    let index = fs::read_to_string(root.join("docs/checks/README.md")).unwrap();
    for rule in RULES {
        assert!(index.contains(&format!("[{0}]({0}.md)", rule.name)), "the list of pages leaves {} out", rule.name);
    }
}

/// The examples of the pages do what the pages say.
#[test]
fn the_examples_of_the_pages_are_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for rule in RULES {
        let text = fs::read_to_string(root.join(rule.page())).unwrap();
        let mut section = "";
        let mut examples = 0;
        for (index, block) in text.split("```").enumerate() {
            if index % 2 == 0 {
                if let Some((_, rest)) = block.rsplit_once("\n## ") {
                    section = rest.lines().next().unwrap_or_default();
                }
                continue;
            }
            let Some(dockerfile) = block.strip_prefix("dockerfile\n") else { continue };
            let dockerfile = format!("# check=experimental=all\n{dockerfile}");
            let all = shown(&dockerfile, &report(&dockerfile, &options(&[]), true));
            let own = all.iter().filter(|found| found.contains(&format!(": {}: ", rule.name))).count();
            match section {
                "Bad" => assert_ne!(own, 0, "{}: finds nothing in\n{dockerfile}", rule.name),
                "Good" => assert!(all.is_empty(), "{}: finds {all:?} in\n{dockerfile}", rule.name),
                other => panic!("{}: an example below {other:?}", rule.name),
            }
            examples += 1;
        }
        assert!(examples >= 2, "{} has no examples", rule.name);
    }
}
