//! `# check=`, at the head of a file and above an instruction, and the build argument.

use builder_frontend::lint::{self, Facts};
use builder_frontend::parser;
use builder_frontend::plan::BuildOptions;

use crate::support::{Store, found, options, report};

/// One finding of two rules each.
const BODY: &str = "FROM scratch as base\ncopy Dockerfile .\n";

fn rules(text: &str, args: &[&str]) -> String {
    let report = report(text, &options(args), false);
    let mut rules: Vec<&str> = report.findings.iter().map(|one| one.rule.name).collect();
    if report.failure().is_some() {
        rules.push("fails");
    }
    rules.join(" ")
}

#[test]
fn the_head_of_the_file_chooses() {
    for (head, expected) in [
        ("", "FromAsCasing ConsistentInstructionCasing"),
        ("#check=skip=all\n", ""),
        ("# check = skip=all;error=true\n", ""),
        ("# CHECK=skip=ConsistentInstructionCasing,FromAsCasing;error=true\n", ""),
        ("# check=skip=ConsistentInstructionCasing\n", "FromAsCasing"),
        ("# check=skip=ConsistentInstructionCasing;error=true\n", "FromAsCasing fails"),
        ("# syntax=docker/dockerfile:1\n# check=error=true;skip=FromAsCasing\n", "ConsistentInstructionCasing fails"),
        ("# check=error=false\n", "FromAsCasing ConsistentInstructionCasing"),
        // Not a directive any more.
        ("# a comment\n# check=skip=all\n#\n", "FromAsCasing ConsistentInstructionCasing"),
    ] {
        assert_eq!(rules(&format!("{head}{BODY}"), &[]), expected, "{head}");
    }
}

#[test]
fn an_empty_target_is_the_last_stage() {
    let text = "FROM scratch AS a\nWORKDIR x\nFROM scratch\nWORKDIR y\n";
    for target in [None, Some(String::new())] {
        let wanted = BuildOptions { target, ..options(&[]) };
        let lines: Vec<usize> =
            report(text, &wanted, false).findings.iter().map(|one| text[..one.span.start].lines().count()).collect();
        assert_eq!(lines, [3], "the WORKDIR of the last stage is relative");
    }
}

#[test]
fn the_build_argument_takes_its_place() {
    for (head, arg, expected) in [
        ("# check=skip=all\n", "skip=ConsistentInstructionCasing;error=true", "FromAsCasing fails"),
        ("# check=error=true\n", "skip=all", ""),
        ("# check=skip=all\n", "", "FromAsCasing ConsistentInstructionCasing"),
        ("", "skip=FromAsCasing", "ConsistentInstructionCasing"),
    ] {
        let arg = format!("BUILDKIT_DOCKERFILE_CHECK={arg}");
        assert_eq!(rules(&format!("{head}{BODY}"), &[&arg]), expected, "{head}{arg}");
    }
}

#[test]
fn a_comment_above_an_instruction_is_for_it_alone() {
    let secrets = |text: &str| found(text).len();
    for (comment, expected) in [
        ("", 2),
        ("# check=skip=SecretsUsedInArgOrEnv\n", 1),
        ("# check=skip=SecretsUsedInArgOrEnv // the test needs it\n", 1),
        ("# text\n# check=skip=all\n# more\n", 1),
        ("# check=skip=FromAsCasing\n", 2),
        ("# check=nonsense\n", 2),
        ("# check=skip=all\n#\n", 2),
    ] {
        let text = format!("FROM scratch\n{comment}ENV password=a\nENV password=b\n");
        assert_eq!(secrets(&text), expected, "{text}");
        let text = format!("FROM scratch\n{comment}ARG password=a\nENV password=b\n");
        assert_eq!(secrets(&text), expected, "{text}");
    }
    for silent in [
        "\n# check=skip=RedundantTargetPlatform\nFROM --platform=$TARGETPLATFORM scratch\n",
        "\n# check=skip=all\nFROM scratch as A\n",
        "FROM scratch\n# check=skip=all\ncopy a b\n",
        "FROM scratch\n# check=skip=NoEmptyContinuation\nCOPY a \\\n\n  b\n",
        "FROM scratch\n# check=skip=MultipleInstructionsDisallowed\nCMD [\"a\"]\nCMD [\"b\"]\n",
        "FROM scratch\nCMD [\"a\"]\n# check=skip=MultipleInstructionsDisallowed\nCMD [\"b\"]\n",
    ] {
        assert!(found(silent).is_empty(), "{silent}{:?}", found(silent));
    }
}

#[test]
fn a_failure_names_each_rule_once() {
    let text = "# check=error=true\nFROM scratch as B\nENV password=a\nENV password=b\n";
    assert_eq!(
        report(text, &options(&[]), false).failure().as_deref(),
        Some("lint violation found for rules: FromAsCasing, SecretsUsedInArgOrEnv, StageNameCasing")
    );
    assert_eq!(report("# check=error=true\nFROM scratch\n", &options(&[]), false).failure(), None);
}

#[test]
fn wrong_options_are_an_error_with_a_place() {
    let check = |text: &str, args: &[&str]| {
        let file = parser::parse(text).unwrap();
        let options = options(args);
        let facts = Facts { options: &options, images: &Store, ignored: &|_| false, all_stages: false };
        lint::check(&file, &facts).unwrap_err()
    };
    let text = "# check=skip=A;errors=true\nFROM scratch\n";
    let error = check(text, &[]);
    assert_eq!(error.to_string(), "failed to parse check options: invalid check option \"errors\"");
    let diagnostic = error.diagnostic().unwrap();
    assert_eq!(&text[diagnostic.span.clone()], "skip=A;errors=true");
    assert!(diagnostic.help.is_some());
    assert!(check("FROM scratch\n", &["BUILDKIT_DOCKERFILE_CHECK=x"]).diagnostic().is_none());
}
