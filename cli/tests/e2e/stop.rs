//! Ctrl-C, kill -9 and their relatives: everything stops, nothing stays behind, nothing is lost.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::{Lab, eventually, mounts, processes};

/// A number that only this test's processes have in their command line.
fn marker(test: u32) -> String {
    format!("8{test}{:07}", std::process::id())
}

/// What builders have in hand; empty when none works.
fn active(lab: &Lab) -> Vec<String> {
    let entries = fs::read_dir(lab.root().join("active")).expect("the store is there");
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Mounts that have to do with this test's store.
fn our_mounts(lab: &Lab) -> Vec<String> {
    let root = lab.path().display().to_string();
    mounts().into_iter().filter(|mount| mount.contains(&root)).collect()
}

#[track_caller]
fn assert_nothing_is_left(lab: &Lab, marker: &str) {
    assert_eq!(processes(marker), [""; 0], "processes");
    assert_eq!(our_mounts(lab), [""; 0], "mounts");
    assert_eq!(active(lab), [""; 0], "unfinished layers");
    let partial: Vec<_> = fs::read_dir(lab.root().join("blobs/sha256"))
        .expect("a store")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(partial.iter().all(|name| name.len() == 64), "half blobs: {partial:?}");
}

#[test]
fn an_interrupt_ends_the_build_at_once_and_leaves_nothing() {
    let lab = Lab::new();
    let marker = marker(1);
    let dockerfile = format!(
        "FROM busybox AS a\nRUN echo finished >/f\nRUN echo started; trap '' INT TERM HUP; sleep {marker}; sleep {marker}\n\
         FROM busybox AS b\nRUN echo written >/g; sleep {marker}\nFROM busybox\nCOPY --from=a /f /\nCOPY --from=b /g /\n"
    );
    let context = lab.project(&dockerfile, &[]);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut builder = lab.start(&["build", "--progress=plain", context.to_str().expect("UTF-8")]);
        builder.wait_for("started");
        let begin = Instant::now();
        builder.signal(signal);
        let ran = builder.finish();
        assert!(begin.elapsed() < Duration::from_secs(5), "{signal:?} took {:?}", begin.elapsed());
        assert_eq!(ran.code, 130, "{signal:?}\n{}", ran.stderr);
        ran.assert_stderr("CANCELED");
        ran.assert_stderr("interrupted");
        assert_nothing_is_left(&lab, &marker);
    }
    // Nothing half was recorded, and what was finished is kept.
    let graph = lab.ok(&["cache", "graph"]).stdout;
    assert!(
        graph.contains("echo finished") && !graph.contains("echo written") && !graph.contains("echo started"),
        "{graph}"
    );
    fs::write(context.join("Dockerfile"), dockerfile.replace(&format!("sleep {marker}"), "true")).expect("ours");
    let ran = lab.build(&context);
    assert!(ran.cached().contains("[a 2/3] RUN echo finished >/f"), "{}", ran.stderr);
    assert_eq!(lab.shell("cat /f /g"), "finished\nwritten\n");
}

#[test]
fn a_killed_builder_takes_its_steps_along_and_the_next_one_cleans_up() {
    let lab = Lab::new();
    let marker = marker(2);
    let dockerfile = format!(
        "FROM busybox\nRUN echo finished >/f\nRUN echo half >/g; (setsid sleep {marker} &) ; echo started; sleep {marker}\n"
    );
    let context = lab.project(&dockerfile, &[]);
    let mut builder = lab.start(&["build", "--progress=plain", context.to_str().expect("UTF-8")]);
    builder.wait_for("started");
    eventually("both processes of the step are there", || processes(&marker).len() >= 2);
    builder.signal(Signal::KILL);
    let ran = builder.finish();
    assert_eq!(ran.code, -1, "{}", ran.stderr);
    eventually("the processes of the step are gone", || processes(&marker).is_empty());
    assert_eq!(our_mounts(&lab), [""; 0]);

    fs::write(context.join("Dockerfile"), dockerfile.replace(&format!("sleep {marker}"), "true")).expect("ours");
    let ran = lab.build(&context);
    assert!(ran.cached().contains("[2/3] RUN echo finished >/f"), "what was finished is kept\n{}", ran.stderr);
    assert_eq!(lab.shell("cat /f /g"), "finished\nhalf\n");
    assert_nothing_is_left(&lab, &marker);
}

#[test]
fn builders_that_are_killed_at_any_moment_leave_a_store_that_works() {
    let lab = Lab::new();
    let mut dockerfile = "FROM busybox\n".to_owned();
    for step in 0..6 {
        dockerfile.push_str(&format!("RUN head -c 300000 /dev/urandom >/r{step}; echo step {step}\nCOPY . /c{step}\n"));
    }
    let context = lab.project(&dockerfile, &[("d/a", "1"), ("d/b", "2")]);
    for step in 0..6 {
        let mut builder = lab.start(&["build", "--progress=plain", "-t", "app", context.to_str().expect("UTF-8")]);
        builder.wait_for(&format!("step {step}"));
        builder.signal(Signal::KILL);
        builder.finish();
    }
    let ran = lab.build(&context);
    assert!(ran.cached().len() > 6, "{}", ran.stderr);
    assert_eq!(lab.shell("cat /c5/d/*; cat /r* | wc -c"), "121800000\n");
    assert!(lab.build(&context).executed().is_empty());
    assert_nothing_is_left(&lab, "no process");
}

#[test]
fn a_builder_that_waits_for_another_can_be_stopped_or_takes_over() {
    let lab = Lab::new();
    let marker = marker(3);
    let context = lab.project(&format!("FROM busybox\nRUN echo started; sleep 1; echo {marker} >/f\n"), &[]);
    let args = ["build", "--progress=plain", "-t", "app", context.to_str().expect("UTF-8")];
    let mut first = lab.start(&args);
    first.wait_for("started");
    let mut second = lab.start(&args);
    let mut third = lab.start(&args);
    second.wait_for("FROM");
    third.wait_for("FROM");
    second.signal(Signal::INT);
    let ran = second.finish();
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    // Whoever waits for the step of the first runs it now.
    first.signal(Signal::KILL);
    first.finish();
    let ran = third.finish();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(lab.shell("cat /f"), format!("{marker}\n"));
    assert_nothing_is_left(&lab, &marker);
}

#[test]
fn a_second_interrupt_ends_the_process_itself() {
    let lab = Lab::new();
    let marker = marker(4);
    let context = lab.project(&format!("FROM busybox\nRUN echo started; sleep {marker}\n"), &[]);
    let mut builder = lab.start(&["build", "--progress=plain", context.to_str().expect("UTF-8")]);
    builder.wait_for("started");
    builder.signal(Signal::INT);
    // It may be gone already.
    let _ = rustix::process::kill_process(builder.pid(), Signal::INT);
    assert_eq!(builder.finish().code, 130);
    eventually("the processes of the step are gone", || processes(&marker).is_empty());
}
