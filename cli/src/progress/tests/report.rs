use builder_solver::miss_reason::PartChange;
use builder_solver::{Part, PathChange, PathChangeKind};

use super::super::Dockerfile;
use super::*;

const EXIT: &str = r#"process "/bin/sh -c make" did not complete successfully: exit code: 2"#;
const DOCKERFILE: &str = "FROM a-1\nCOPY . .1\nRUN ma\\\nk\nUSER nobody\nCMD app\nENV a=b\nLABEL x=y\n";

fn failing(script: &Script) {
    script.cached(0).cached(1).started(2);
    for number in 1..=12 {
        script.out(2, &format!("line {number}\n")).wait(10);
    }
    script.failed(2, EXIT, 120);
}

const NAMES: [&str; 3] = ["[1/3] FROM a", "[2/3] COPY . .", "[3/3] RUN make"];

#[test]
fn plain_output_repeats_the_last_lines() {
    let script = Script::plain(&NAMES);
    failing(&script);
    let outcome = script.progress.finish();
    let report = outcome.failed[0].report(Some(Dockerfile { name: "Dockerfile", text: DOCKERFILE }));
    insta::assert_snapshot!(report, @r#"
    ------
     > [3/3] RUN make:
    0.020 line 3
    0.030 line 4
    0.040 line 5
    0.050 line 6
    0.060 line 7
    0.070 line 8
    0.080 line 9
    0.090 line 10
    0.100 line 11
    0.110 line 12
    ------
    Dockerfile:3
    --------------------
       1 |     FROM a-1
       2 |     COPY . .1
       3 | >>> RUN ma\
       4 | >>> k
       5 |     USER nobody
       6 |     CMD app
    --------------------
    ERROR: failed to build: failed to solve: process "/bin/sh -c make" did not complete successfully: exit code: 2
    "#);
}

#[test]
fn other_output_tells_all_that_is_kept() {
    let script = Script::with(&NAMES, &options(Mode::Quiet), |_, _| Box::new(super::super::renderer::Quiet));
    failing(&script);
    let outcome = script.progress.finish();
    assert_eq!(script.sink.text(), "");
    let report = outcome.failed[0].report(None);
    assert!(report.starts_with("------\n > [3/3] RUN make:\n0.000 line 1\n0.010 line 2\n"), "{report}");
    assert!(report.contains("0.110 line 12\n------\nERROR: failed to build"), "{report}");

    let script = Script::with(&NAMES, &options(Mode::Quiet), |_, _| Box::new(super::super::renderer::Quiet));
    script.started(0);
    for _ in 0..3000 {
        script.out(0, &format!("{}\n", "x".repeat(99)));
    }
    script.out(0, "the reason\n").failed(0, EXIT, 1);
    let report = script.progress.finish().failed[0].report(None);
    assert!(report.len() < 130 * 1024);
    assert!(report.contains("(1966 earlier lines are left out; --progress=plain shows all)\n"), "{}", &report[..200]);
    assert!(report.contains("0.000 the reason\n------\n"));
}

#[test]
fn a_step_without_a_place_or_output() {
    let script = Script::plain(&[]);
    let step = script.progress.step("exporting to \x1b[31mimage");
    step.failed("no space\nleft on device");
    let outcome = script.progress.finish();
    let report = outcome.failed[0].report(Some(Dockerfile { name: "Dockerfile", text: DOCKERFILE }));
    assert_eq!(
        report,
        "------\n > exporting to image:\n------\nERROR: failed to build: failed to solve: no space left on device\n"
    );
}

#[test]
fn excerpts_stay_within_the_file() {
    let file = |text| Dockerfile { name: "a/Dockerfile\x07", text };
    for (text, span, lines) in [
        ("RUN x", 0..5, &["   1 | >>> RUN x"][..]),
        ("RUN x\n", 0..6, &["   1 | >>> RUN x"]),
        ("A\nB\nC\n\nRUN x\n\n", 7..12, &["   3 |     C", "   4 |", "   5 | >>> RUN x", "   6 |"]),
        ("RUN \x1b[8mx\r\n", 0..20, &["   1 | >>> RUN x"]),
        ("A", 1..1, &["   1 | >>> A"]),
    ] {
        let expected = format!("{}\n", lines.join("\n"));
        let excerpt = file(text).excerpt(&span);
        assert!(excerpt.contains(&format!("--------------------\n{expected}--------------------\n")), "{excerpt}");
        assert!(excerpt.starts_with("a/Dockerfile:"));
    }
    assert_eq!(file("RUN x").excerpt(&(6..9)), "");
    assert_eq!(file("").excerpt(&(0..9)), "");
    // In the middle of a character.
    assert!(file("RUN é").excerpt(&(5..6)).contains(">>> RUN é"));
}

fn change(part: Part, old: Option<&str>, new: Option<&str>, paths: Vec<PathChange>) -> PartChange {
    PartChange { part, old: old.map(str::to_owned), new: new.map(str::to_owned), paths }
}

fn paths(count: usize) -> Vec<PathChange> {
    (0..count).map(|number| PathChange { path: format!("src/{number:02}.rs"), kind: PathChangeKind::Added }).collect()
}

#[test]
fn every_reason_is_explained() {
    let script = Script::plain(&[
        "[internal] load build context",
        "[build 1/4] FROM docker.io/library/debian:13",
        "[build 2/4] COPY . /src",
        "[build 3/4] RUN make",
        "[build 4/4] RUN make install PREFIX=/usr/local/a/very/long/path/that/does/not/fit",
        "(scratch)",
        "[stage-1 1/3] COPY many",
        "[stage-1 2/3] RUN gone",
        "[stage-1 3/3] RUN fresh",
        "[other 1/1] RUN stopped",
        "[unused 1/1] RUN nothing",
    ]);
    let edited = vec![
        PathChange { path: "src/main.rs".into(), kind: PathChangeKind::Changed },
        PathChange { path: "src/a\x1b]0;b\x07c".into(), kind: PathChangeKind::Removed },
    ];
    script.started(0).completed(0, 12).cached(1);
    script.missed(2, MissReason::Changed { changes: vec![change(Part::Files(0), Some("a"), Some("b"), edited)] });
    script.started(2).completed(2, 40);
    script.missed(
        3,
        MissReason::Changed {
            changes: vec![
                change(Part::Input(0), Some("x"), Some("x"), vec![]),
                change(Part::Env("CC".into()), Some("gcc"), Some("clang"), vec![]),
                change(Part::Env("NEW".into()), None, Some("1"), vec![]),
            ],
        },
    );
    script.started(3).completed(3, 12_345);
    script.missed(4, MissReason::NotAsked).started(4).completed(4, 100);
    script.cached(5);
    script.missed(6, MissReason::Changed { changes: vec![change(Part::Files(1), Some("a"), Some("b"), paths(20))] });
    script.started(6).completed(6, 0);
    script.missed(7, MissReason::Evicted).started(7).completed(7, 0);
    script.missed(8, MissReason::New).started(8).wait(10).failed(8, "exit code: 1", 10);
    script.missed(9, MissReason::New).started(9).cancelled(9);
    let outcome = script.progress.finish();
    insta::assert_snapshot!(outcome.explain(None));
}

#[test]
fn long_lists_and_untouched_steps() {
    let script = Script::plain(&["[1/3] FROM a", "[2/3] RUN b", "[3/3] COPY many"]);
    script.missed(2, MissReason::Changed { changes: vec![change(Part::Files(1), Some("a"), Some("b"), paths(23))] });
    script.started(2).completed(2, 0);
    let table = script.progress.finish().explain(Some(100));
    assert!(table.contains("  src/19.rs added\n") && !table.contains("src/20.rs"), "{table}");
    assert!(table.contains("  and 3 more\n"), "{table}");
    assert!(table.ends_with(" 2 more steps were not looked at: what needs them is cached\n"), "{table}");
}
