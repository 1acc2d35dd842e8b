//! What is built again and what is not, and how the difference is explained.

use std::collections::BTreeSet;
use std::fs::{self, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::kit::{Lab, Ran, tool, write_files};

/// Two stages and one that takes a file of each.
const TWO_STAGES: &str = "FROM busybox AS a\nCOPY a /a\nRUN cat /a >/ra\n\
                          FROM busybox AS b\nCOPY b /b\nRUN cat /b >/rb\n\
                          FROM busybox\nCOPY --from=a /ra /ra\nCOPY --from=b /rb /rb\nCMD cat /ra /rb\n";

#[track_caller]
fn assert_executed(ran: &Ran, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(ran.executed(), expected, "{}", ran.stderr);
}

fn write(context: &Path, name: &str, content: &str) {
    write_files(context, &[(name, content)]);
}

#[test]
fn a_second_build_is_cached_from_beginning_to_end() {
    let lab = Lab::new();
    let context = lab.project(TWO_STAGES, &[("a", "1\n"), ("b", "2\n")]);
    let first = lab.build(&context);
    assert_eq!(first.executed().len(), 6, "{}", first.stderr);
    let id = lab.inspect("app")["Id"].clone();
    let second = lab.build(&context);
    assert_executed(&second, &[]);
    assert!(second.cached().contains("[stage-2 3/3] COPY --from=b /rb /rb"), "{}", second.stderr);
    assert_eq!(lab.inspect("app")["Id"], id, "the image is the same");
}

#[test]
fn one_changed_file_runs_again_only_what_uses_it() {
    let lab = Lab::new();
    let context = lab.project(TWO_STAGES, &[("a", "1\n"), ("b", "2\n"), ("unused", "x")]);
    lab.build(&context);
    write(&context, "unused", "y");
    assert_executed(&lab.build(&context), &[]);
    write(&context, "b", "3\n");
    let ran = lab.build(&context);
    assert_executed(&ran, &["[b 2/3] COPY b /b", "[b 3/3] RUN cat /b >/rb", "[stage-2 3/3] COPY --from=b /rb /rb"]);
    assert_eq!(lab.ok(&["run", "app"]).stdout, "1\n3\n");
    write(&context, "b", "2\n");
    assert_executed(&lab.build(&context), &[]);
    assert_eq!(lab.ok(&["run", "app"]).stdout, "1\n2\n", "what was built before is still there");
}

#[test]
fn settings_comments_and_blanks_run_nothing_again() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nRUN echo 1 >/f\nRUN echo 2 >/f\n", &[]);
    lab.build(&context);
    for (name, dockerfile) in [
        ("settings", "FROM busybox\nLABEL a=b\nCMD x\nRUN echo 1 >/f\nEXPOSE 80\nRUN echo 2 >/f\nENTRYPOINT y\n"),
        ("comments and blanks", "# new\nFROM   busybox\n\n# new\nRUN echo 1 >/f\n\n\nRUN  echo 2 >/f\n"),
        ("a stage that nobody needs", "FROM busybox AS x\nRUN false\nFROM busybox\nRUN echo 1 >/f\nRUN echo 2 >/f\n"),
        ("an argument after the last step", "FROM busybox\nRUN echo 1 >/f\nRUN echo 2 >/f\nARG A=1\n"),
    ] {
        fs::write(context.join("Dockerfile"), dockerfile).expect("ours");
        let ran = lab.build(&context);
        assert!(ran.executed().is_empty(), "{name}: {:?}\n{}", ran.executed(), ran.stderr);
    }
}

#[test]
fn explain_says_what_changed() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nENV E=old\nRUN echo $E >/e\nARG A=old\nRUN echo $A >/a\nCOPY src gone /src/\n\
                      RUN cat /src/main.c\n";
    let files = [("src/main.c", "1"), ("src/same.h", "same"), ("gone/file", ""), ("src/deep/er/x", "1")];
    let context = lab.project(dockerfile, &files);
    let explained = |args: &[&str]| {
        let mut all = vec!["--explain"];
        all.extend(args);
        let ran = lab.build_with(&context, &all);
        let table = ran.stderr.split_once("\nCache:\n").expect("a table").1.to_owned();
        assert!(!table.contains("same.h"), "nothing is said of what did not change\n{table}");
        table
    };
    let table = explained(&[]);
    assert!(table.contains("no step like it was built before"), "{table}");
    let table = explained(&[]);
    for row in table.lines().filter(|row| !row.contains("[internal]")) {
        assert!(row.contains("cached") || row.contains("not looked at"), "{table}");
    }

    write_files(&context, &[("src/main.c", "2"), ("src/new.c", ""), ("src/deep/er/x", "2")]);
    fs::remove_dir_all(context.join("gone")).expect("ours");
    fs::create_dir(context.join("gone")).expect("ours");
    let table = explained(&[]);
    for line in ["main.c changed", "new.c added", "file removed", "deep/er/x changed"] {
        assert!(table.contains(line), "no `{line}` in\n{table}");
    }

    let table = explained(&["--build-arg", "A=new"]);
    assert!(table.contains("variable A changed from `old` to `new`"), "{table}");

    fs::write(context.join("Dockerfile"), dockerfile.replace("E=old", "E=fresh")).expect("ours");
    let table = explained(&[]);
    assert!(table.contains("variable E changed from `old` to `fresh`"), "{table}");

    fs::write(context.join("Dockerfile"), dockerfile.replace("echo $A", "echo other $A")).expect("ours");
    let table = explained(&[]);
    assert!(table.contains("the command changed"), "{table}");

    let table = explained(&["--no-cache"]);
    assert!(table.contains("the cache was not asked"), "{table}");
}

#[test]
fn what_follows_a_step_that_gives_the_same_bytes_stays_cached() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox AS build\nCOPY src /src\nRUN wc -l </src >/lines\n\
                      FROM busybox\nCOPY --from=build /lines /lines\nRUN cat /lines >/copy\n";
    let context = lab.project(dockerfile, &[("src", "a\nb\n")]);
    lab.build(&context);
    write(&context, "src", "c\nd\n");
    let ran = lab.build(&context);
    assert_executed(&ran, &["[build 2/3] COPY src /src", "[build 3/3] RUN wc -l </src >/lines"]);

    // The same in one stage: another command, the same layer.
    let one = lab.project("FROM busybox\nRUN echo same >/f\nRUN cat /f >/g\nCOPY src /\n", &[("src", "a")]);
    lab.build(&one);
    fs::write(one.join("Dockerfile"), "FROM busybox\nRUN printf 'same\\n' >/f\nRUN cat /f >/g\nCOPY src /\n")
        .expect("ours");
    assert_executed(&lab.build(&one), &["[2/4] RUN printf 'same\\n' >/f"]);
}

#[test]
fn the_cache_can_be_left_unasked_for_everything_or_for_a_stage() {
    let lab = Lab::new();
    let context = lab.project(TWO_STAGES, &[("a", "1\n"), ("b", "2\n")]);
    let first = lab.build(&context).executed();
    assert_eq!(lab.build_with(&context, &["--no-cache"]).executed(), first);
    assert_executed(&lab.build(&context), &[]);
    let ran = lab.build_with(&context, &["--no-cache-filter", "b"]).executed();
    assert!(ran.contains("[b 2/3] COPY b /b") && ran.contains("[b 3/3] RUN cat /b >/rb"), "{ran:?}");
    assert!(!ran.iter().any(|name| name.starts_with("[a ")), "{ran:?}");
    // New bytes of a step that ran again are used, and remembered.
    let random = lab.project("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/u\nRUN cat /u >/v\n", &[]);
    lab.build(&random);
    let before = lab.shell("cat /u /v");
    lab.build(&random);
    assert_eq!(lab.shell("cat /u /v"), before);
    lab.build_with(&random, &["--no-cache"]);
    let after = lab.shell("cat /u /v");
    assert_ne!(after, before);
    lab.build(&random);
    assert_eq!(lab.shell("cat /u /v"), after);
}

#[track_caller]
fn builds(lab: &Lab, context: &Path, content: &str) {
    lab.build(context);
    assert_eq!(lab.shell("cat /f"), content);
}

#[test]
fn a_file_that_changes_behind_its_size_and_time_is_noticed() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nCOPY f /f\n", &[("f", "one")]);
    let file = context.join("f");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let set_time = |path: &Path, time| {
        let times = FileTimes::new().set_modified(time).set_accessed(time);
        fs::File::options().write(true).open(path).and_then(|file| file.set_times(times)).expect("ours");
    };
    set_time(&file, old);
    builds(&lab, &context, "one");
    // Written in place, its time set back.
    fs::write(&file, "two").expect("ours");
    set_time(&file, old);
    builds(&lab, &context, "two");
    // Another file renamed over it.
    fs::write(context.join("g"), "thr").expect("ours");
    set_time(&context.join("g"), old);
    fs::rename(context.join("g"), &file).expect("ours");
    builds(&lab, &context, "thr");
    // The clock was set back: older than what was built.
    fs::write(&file, "fou").expect("ours");
    set_time(&file, old - Duration::from_hours(24));
    builds(&lab, &context, "fou");
    // The clock was ahead.
    let ahead = SystemTime::now() + Duration::from_hours(24 * 365);
    set_time(&file, ahead);
    builds(&lab, &context, "fou");
    fs::write(&file, "fiv").expect("ours");
    set_time(&file, ahead);
    builds(&lab, &context, "fiv");
    // As fast as it gets, with whatever granularity the file system's clock has.
    for round in 0..10 {
        let content = format!("r{round:02}");
        fs::write(&file, &content).expect("ours");
        builds(&lab, &context, &content);
    }
    // Through a hard link, from outside of the context.
    fs::hard_link(&file, lab.path().join("outside")).expect("one file system");
    fs::write(lab.path().join("outside"), "six").expect("ours");
    set_time(&file, old);
    builds(&lab, &context, "six");
}

#[test]
fn contexts_with_equal_names_sizes_and_times_are_told_apart() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nCOPY f /f\n";
    for content in ["one", "two"] {
        let context = lab.project(dockerfile, &[("f", content)]);
        tool(
            "touch",
            &["-d".as_ref(), "2020-01-01".as_ref(), context.join("f").as_ref(), context.join("Dockerfile").as_ref()],
        );
        lab.build(&context);
        assert_eq!(lab.shell("cat /f"), content);
    }
    // One after the other at the same place.
    let place = lab.path().join("place");
    for content in ["abc", "xyz"] {
        fs::rename(lab.project(dockerfile, &[("f", content)]), &place).expect("ours");
        tool("touch", &["-d".as_ref(), "2020-01-01".as_ref(), place.join("f").as_ref()]);
        lab.build(&place);
        assert_eq!(lab.shell("cat /f"), content);
        fs::remove_dir_all(&place).expect("ours");
    }
}

#[test]
fn what_reaches_the_image_counts_and_nothing_else() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nCOPY d /d\n", &[("d/f", "1"), ("d/g", "2"), ("d/l", "->f"), ("d/e/", "")]);
    lab.build(&context);
    let path = |name: &str| context.join(name);
    let ran = |name: &str, expected: bool| {
        let executed = lab.build(&context).executed();
        assert_eq!(!executed.is_empty(), expected, "{name}: {executed:?}");
    };
    tool("touch", &["-d".as_ref(), "2001-01-01".as_ref(), path("d/f").as_ref(), path("d").as_ref()]);
    ran("times", false);
    std::os::unix::fs::chown(path("d/f"), Some(1000), Some(1000)).expect("we are root");
    ran("owners, which are not copied from the context", false);
    fs::set_permissions(path("d/f"), fs::Permissions::from_mode(0o755)).expect("ours");
    ran("a mode", true);
    fs::set_permissions(path("d/e"), fs::Permissions::from_mode(0o700)).expect("ours");
    ran("the mode of a directory", true);
    fs::rename(path("d/g"), path("d/h")).expect("ours");
    ran("a name", true);
    fs::remove_file(path("d/l")).expect("ours");
    std::os::unix::fs::symlink("h", path("d/l")).expect("ours");
    ran("the target of a link", true);
    fs::remove_file(path("d/l")).expect("ours");
    fs::write(path("d/l"), "h").expect("ours");
    ran("a file in place of a link", true);
    fs::remove_dir(path("d/e")).expect("ours");
    ran("an empty directory", true);
    fs::write(path("d/f"), "").expect("ours");
    ran("emptied", true);
    ran("nothing", false);
}

#[test]
fn every_source_of_a_copy_and_every_variable_in_it_counts() {
    let lab = Lab::new();
    let context = lab.project(
        "FROM busybox\nARG TO=/d WHO=1\nCOPY --chown=$WHO Gemfile Gemfile.lock $TO/\n",
        &[("Gemfile", "1"), ("Gemfile.lock", "1")],
    );
    lab.build(&context);
    for (name, change) in [("the second source", "Gemfile.lock"), ("the first source", "Gemfile")] {
        write(&context, change, "2");
        assert!(!lab.build(&context).executed().is_empty(), "{name}");
    }
    for argument in ["TO=/e", "WHO=2"] {
        assert!(!lab.build_with(&context, &["--build-arg", argument]).executed().is_empty(), "{argument}");
    }
    assert_executed(&lab.build(&context), &[]);
}

#[test]
fn a_change_of_the_ignore_file_counts_when_it_changes_what_is_copied() {
    let lab = Lab::new();
    let context = lab
        .project("FROM busybox\nCOPY . /d\n", &[(".dockerignore", "*.log\n"), ("a", ""), ("x.log", ""), ("y.tmp", "")]);
    lab.build(&context);
    assert_eq!(lab.shell("cd /d && ls"), "Dockerfile\na\ny.tmp\n");
    write(&context, "z.log", "ignored");
    assert_executed(&lab.build(&context), &[]);
    write(&context, ".dockerignore", "*.log\n*.tmp\n");
    let ran = lab.build_with(&context, &["--explain"]);
    ran.assert_stderr("y.tmp removed");
    assert_eq!(lab.shell("cd /d && ls"), "Dockerfile\na\n");
    write(&context, ".dockerignore", "**/*.log\n*.tmp\n.dockerignore\n");
    lab.build(&context);
    write(&context, ".dockerignore", "*.log\n*.tmp\n.dockerignore\n");
    assert_executed(&lab.build(&context), &[]);
}

#[test]
fn equal_steps_of_one_build_run_once() {
    let lab = Lab::new();
    let ran = lab.build_files(
        "FROM busybox AS a\nRUN echo ran; cat /proc/sys/kernel/random/uuid >/u\n\
         FROM busybox AS b\nRUN echo ran; cat /proc/sys/kernel/random/uuid >/u\n\
         FROM busybox\nCOPY --from=a /u /a\nCOPY --from=b /u /b\n",
        &[],
    );
    assert_eq!(ran.output(), "ran\n", "{}", ran.stderr);
    assert_eq!(lab.shell("cmp /a /b && echo same"), "same\n");
}

#[test]
fn an_equal_result_of_another_stage_is_used_on_the_stages_own_base() {
    let lab = Lab::new();
    for round in 0..4 {
        // The same file on the same files, but over one more (empty) layer.
        let dockerfile =
            format!("FROM busybox AS a\nRUN echo {round}\nCOPY f /f\nFROM busybox\nCOPY --from=a /f /f\nRUN cat /f\n");
        lab.build_files(&dockerfile, &[("f", "content\n")]);
        let image = lab.inspect("app");
        assert_eq!(image["Layers"].as_array().map(Vec::len), Some(3), "busybox, the copy and the step: {image:#}");
    }
}

#[test]
fn two_builders_at_once_run_each_step_once() {
    let lab = Lab::new();
    let mut dockerfile = "FROM busybox AS base\nRUN echo base >/base; sleep 0.2\n".to_owned();
    for stage in ["x", "y"] {
        dockerfile.push_str(&format!("FROM base AS {stage}\n"));
        for step in 1..=3 {
            dockerfile.push_str(&format!("RUN cat /proc/sys/kernel/random/uuid >/{stage}{step}; sleep 0.1\n"));
        }
    }
    dockerfile.push_str("FROM base\nCOPY --from=x /x* /\nCOPY --from=y /y* /\nRUN cat /x* /y* >/all\n");
    let contexts = [lab.project(&dockerfile, &[]), lab.project(&dockerfile, &[])];
    let names = ["left", "right"];
    let builders = std::array::from_fn::<_, 2, _>(|at| {
        lab.start(&["build", "--progress=plain", "-t", names[at], contexts[at].to_str().expect("UTF-8")])
    });
    let ran = builders.map(crate::kit::Background::finish);
    for ran in &ran {
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let (left, right) = (ran[0].executed(), ran[1].executed());
    let twice: Vec<_> = left.intersection(&right).collect();
    assert!(twice.is_empty(), "ran in both: {twice:?}\n{}\n{}", ran[0].stderr, ran[1].stderr);
    assert_eq!(left.len() + right.len(), 10, "{left:?}\n{right:?}");
    assert_eq!(lab.inspect("left")["Id"], lab.inspect("right")["Id"]);
}

#[test]
fn what_was_finished_before_a_failure_is_cached() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nRUN echo 1 >/f\nCOPY f /g\nRUN false\n", &[("f", "")]);
    assert_eq!(lab.try_build(&context, &[]).code, 1);
    fs::write(context.join("Dockerfile"), "FROM busybox\nRUN echo 1 >/f\nCOPY f /g\nRUN true\n").expect("ours");
    assert_executed(&lab.build(&context), &["[4/4] RUN true"]);
}

#[test]
fn the_cache_outlives_the_image() {
    let lab = Lab::new();
    let context = lab.project(TWO_STAGES, &[("a", "1\n"), ("b", "2\n")]);
    lab.build(&context);
    lab.ok(&["rmi", "app"]);
    assert_eq!(lab.run(&["image", "inspect", "app"]).code, 1);
    assert_executed(&lab.build(&context), &[]);
    assert_eq!(lab.ok(&["run", "app"]).stdout, "1\n2\n");
    // And the image outlives the cache.
    lab.ok(&["cache", "prune", "--all"]);
    assert_eq!(lab.ok(&["run", "app"]).stdout, "1\n2\n");
    let ran = lab.build_with(&context, &["--explain"]);
    assert_eq!(ran.executed().len(), 6, "{}", ran.stderr);
    ran.assert_stderr("the result of the last run is gone from the store");
}

#[test]
fn pruning_takes_nothing_away_from_a_build_that_runs() {
    let lab = Lab::new();
    let context = lab.project(
        "FROM busybox AS a\nRUN echo a >/f\nFROM busybox\nCOPY --from=a /f /f\nRUN echo started; sleep 1; cat /f >/g\nCOPY f /h\n",
        &[("f", "f\n")],
    );
    let mut builder = lab.start(&["build", "--progress=plain", "-t", "app", context.to_str().expect("UTF-8")]);
    builder.wait_for("started");
    for _ in 0..3 {
        for args in [&["cache", "prune", "--all"][..], &["image", "prune"]] {
            let ran = lab.run(args);
            assert!(ran.code == 0 || ran.stderr.contains("in use by another builder"), "{args:?}\n{}", ran.stderr);
        }
        lab.ok(&["cache", "usage"]);
        lab.ok(&["images"]);
    }
    let ran = builder.finish();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(lab.shell("cat /f /g /h"), "a\na\nf\n");
    lab.build(&context);
    assert_eq!(lab.shell("cat /f /g /h"), "a\na\nf\n");
}

#[test]
fn a_build_can_wait_until_everything_is_durable() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nRUN echo 1 >/f\n", &[]);
    for durability in ["build", "none"] {
        let mut command = lab.command(&["build", "--progress=plain", "-t", "app", context.to_str().expect("UTF-8")]);
        let ran = Ran::of(command.env("BUILDER_DURABILITY", durability).output().expect("builder starts"));
        assert_eq!(ran.code, 0, "{durability}: {}", ran.stderr);
        assert_eq!(lab.shell("cat /f"), "1\n");
    }
    assert_executed(&lab.build(&context), &[]);
}

#[test]
fn the_cache_graph_is_shown_to_people_and_programs() {
    let lab = Lab::new();
    lab.build_files(TWO_STAGES, &[("a", "1\n"), ("b", "2\n")]);
    let other = lab.project("FROM busybox\nRUN echo other\n", &[]);
    lab.ok(&["build", "-t", "other", other.to_str().expect("UTF-8")]);

    let tree = lab.ok(&["cache", "graph", "app"]).stdout;
    for part in ["[b 3/3] RUN cat /b >/rb", "[a 2/3] COPY a /a", "cached", "FROM docker.io/library/busybox:latest"] {
        assert!(tree.contains(part), "no `{part}` in\n{tree}");
    }
    assert!(!tree.contains("echo other"), "only this image's steps\n{tree}");
    assert!(lab.ok(&["cache", "graph"]).stdout.contains("echo other"));

    let dot = lab.ok(&["cache", "graph", "--format=dot", "app"]).stdout;
    assert!(dot.starts_with("digraph {") && dot.contains("->") && dot.contains("RUN cat /b >/rb"), "{dot}");

    let json: serde_json::Value =
        serde_json::from_str(&lab.ok(&["cache", "graph", "--format=json", "app"]).stdout).expect("JSON");
    let steps = json["steps"].as_array().expect("a list");
    let keys: BTreeSet<&str> = steps.iter().filter_map(|step| step["key"].as_str()).collect();
    for step in steps {
        for input in step["inputs"].as_array().expect("a list") {
            assert!(keys.contains(input.as_str().expect("a key")), "{step:#}");
        }
        assert!(!step["components"].as_array().expect("a list").is_empty(), "{step:#}");
    }
    assert_eq!(json["targets"].as_array().map(Vec::len), Some(1));
    let names: BTreeSet<&str> = steps.iter().filter_map(|step| step["name"].as_str()).collect();
    assert!(names.contains("[stage-2 3/3] COPY --from=b /rb /rb"), "{names:?}");
}
