//! From `run` to `rm`.

use std::fs;

use rustix::process::Signal;

use super::{Live, inspect, run};
use crate::kit::{Lab, eventually, processes};

#[test]
fn a_container_stays_until_it_is_removed() {
    let lab = Lab::new();
    assert_eq!(lab.run(&["run", "--name", "one", "busybox", "sh", "-c", "echo x >/f; exit 3"]).code, 3);
    assert_eq!(lab.ok(&["ps", "--format", "{{.Names}}"]).stdout, "", "it does not run");
    let all = lab.ok(&["ps", "-a"]).stdout;
    let lines: Vec<Vec<&str>> =
        all.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(lines[0], ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"], "{all}");
    assert_eq!(&lines[1][1..3], ["busybox", "\"sh -c 'echo x >/f; …\""], "{all}");
    assert!(lines[1][4].starts_with("Exited (3) ") && lines[1][4].ends_with("ago"), "{all}");
    assert_eq!(lines[1].last(), Some(&"one"));
    let id = lab.ok(&["ps", "-aq", "--no-trunc"]).stdout;
    assert_eq!((id.trim().len(), &id[..12]), (64, lines[1][0]));
    let about = inspect(&lab, "one");
    assert_eq!((about["State"]["Status"].as_str(), about["State"]["ExitCode"].as_i64()), (Some("exited"), Some(3)));
    // By the beginning of its id; and then it is gone.
    assert_eq!(lab.ok(&["rm", &id[..5]]).stdout, format!("{}\n", &id[..5]));
    assert_eq!(lab.ok(&["ps", "-aq"]).stdout, "");
    assert_eq!(fs::read_dir(lab.root().join("containers")).expect("a store").count(), 0);
    let ran = lab.run(&["rm", "one"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("no such container: one");
    // With --force there is nothing to fail at.
    let ran = lab.ok(&["rm", "-f", "one"]);
    ran.assert_stderr("no such container: one");
    assert_eq!(ran.stdout, "");
}

#[test]
fn names_are_made_up_or_given_once() {
    let lab = Lab::new();
    lab.ok(&["run", "busybox", "true"]);
    let made_up = lab.ok(&["ps", "-a", "--format", "{{.Names}}"]).stdout;
    assert!(made_up.trim().split_once('_').is_some_and(|(one, two)| one.len() > 2 && two.len() > 2), "{made_up}");
    run(&lab, "web", "hostname >/h");
    let ran = lab.run(&["run", "--name", "web", "busybox", "echo", "never"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (125, ""));
    ran.assert_stderr("the container name \"/web\" is already in use by container");
    for name in ["", "x", "a b", "-x", "_x", "a/b"] {
        let ran = lab.run(&["run", &format!("--name={name}"), "busybox", "true"]);
        assert_eq!(ran.code, 125, "{name}");
        ran.assert_stderr("invalid container name");
    }
    assert_eq!(lab.ok(&["ps", "-aq"]).stdout.lines().count(), 2, "what failed left nothing");
    lab.ok(&["rm", "web"]);
    run(&lab, "web", "true");
}

#[test]
fn with_rm_nothing_is_left() {
    let lab = Lab::new();
    lab.ok(&["run", "--rm", "busybox", "true"]);
    lab.ok(&["run", "--rm", "--name", "short", "busybox", "true"]);
    assert_eq!(lab.run(&["run", "--rm", "--name", "short", "busybox", "nosuch"]).code, 127);
    assert_eq!(lab.ok(&["ps", "-aq"]).stdout, "");
    assert_eq!(fs::read_dir(lab.root().join("containers")).expect("a store").count(), 0);
}

#[test]
fn one_whose_command_could_not_be_run_was_only_created() {
    let lab = Lab::new();
    assert_eq!(lab.run(&["run", "--name", "none", "busybox", "nosuch"]).code, 127);
    assert_eq!(lab.run(&["run", "--name", "nobody", "-u", "nosuch", "busybox", "true"]).code, 125);
    assert_eq!(lab.ok(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).stdout, "nobody Created\nnone Created\n");
    lab.ok(&["rm", "none", "nobody"]);
}

#[test]
fn a_killed_builder_leaves_a_container_that_has_ended() {
    let lab = Lab::new();
    let marker = format!("{}", 40_000 + std::process::id());
    let live = Live::start(&lab, "web", &[], &format!("echo x >/f; sleep {marker} & true"));
    assert!(lab.ok(&["ps", "--format", "{{.Names}} {{.State}} {{.Status}}"]).stdout.starts_with("web running Up "));
    live.background.signal(Signal::KILL);
    live.background.finish();
    let status = lab.ok(&["ps", "-a", "--format", "{{.Status}}"]).stdout;
    assert!(status.starts_with("Exited (137) "), "{status}");
    assert_eq!(lab.ok(&["cp", "-q", "web:/f", "-"]).stdout.matches("x\n").count(), 1, "what it wrote is there");
    eventually("its processes are gone", || processes(&marker).is_empty());
    lab.ok(&["rm", "web"]);
    assert_eq!(fs::read_dir(lab.root().join("containers")).expect("a store").count(), 0);
}

#[test]
fn one_that_runs_is_only_removed_by_force() {
    let lab = Lab::new();
    let live = Live::start(&lab, "web", &[], "true");
    let ran = lab.run(&["rm", "web"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("cannot remove container \"/web\": container is running");
    assert_eq!(lab.ok(&["container", "prune", "-f"]).stdout, "Total reclaimed space: 0B\n");
    assert_eq!(lab.ok(&["rm", "-f", "web"]).stdout, "web\n");
    assert_eq!(live.background.finish().code, 137);
    assert_eq!(lab.ok(&["ps", "-aq"]).stdout, "");
    // One that removes itself.
    let live = Live::start(&lab, "web", &["--rm"], "true");
    lab.ok(&["rm", "-f", "web"]);
    assert_eq!(live.background.finish().code, 137);
    assert_eq!(fs::read_dir(lab.root().join("containers")).expect("a store").count(), 0);
}

#[test]
fn filters_and_formats_choose_what_is_listed() {
    let lab = Lab::new();
    lab.build_files("FROM busybox\nRUN true >/x\n", &[]);
    lab.ok(&["run", "--name", "first", "-l", "role=db", "-l", "x", "busybox", "true"]);
    assert_eq!(lab.run(&["run", "--name", "second", "app", "false"]).code, 1);
    lab.ok(&["run", "--name", "third", "app", "true"]);
    let names = |args: &[&str]| {
        let all = [&["ps", "-a", "--format", "{{.Names}}"], args].concat();
        lab.ok(&all).stdout.lines().collect::<Vec<_>>().join(" ")
    };
    for (args, expected) in [
        (&[][..], "third second first"),
        (&["-f", "name=ir"], "third first"),
        (&["-f", "exited=1"], "second"),
        (&["-f", "exited=0", "-f", "exited=1"], "third second first"),
        (&["-f", "status=running"], ""),
        (&["-f", "label=role"], "first"),
        (&["-f", "label=role=db", "-f", "label=x"], "first"),
        (&["-f", "label=role=web"], ""),
        (&["-f", "ancestor=app"], "third second"),
        (&["-f", "ancestor=busybox"], "third second first"),
        (&["-f", "before=second"], "first"),
        (&["-f", "since=first"], "third second"),
        (&["-n", "2"], "third second"),
        (&["-l"], "third"),
    ] {
        assert_eq!(names(args), expected, "{args:?}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&lab.ok(&["ps", "-l", "--format", "json"]).stdout).expect("JSON");
    assert_eq!((json["Names"].as_str(), json["State"].as_str()), (Some("third"), Some("exited")));
    assert_eq!(lab.run(&["ps", "-f", "colour=red"]).code, 2);
    // The table with sizes.
    run(&lab, "large", "dd if=/dev/zero of=/f bs=1000 count=5 2>/dev/null");
    let sizes = lab.ok(&["ps", "-l", "--format", "{{.Size}}"]).stdout;
    assert!(sizes.starts_with("5kB (virtual "), "{sizes}");
}

#[test]
fn a_container_protects_what_it_runs_on() {
    let lab = Lab::new();
    let id = lab.inspect("busybox")["Id"].as_str().expect("an id").to_owned();
    run(&lab, "user", "true");
    let pruned = lab.ok(&["image", "prune", "-a", "-f"]).stdout;
    assert!(!pruned.contains(&id), "{pruned}");
    lab.ok(&["run", "--rm", "busybox", "true"]);
    let told = lab.ok(&["container", "prune", "-f"]).stdout;
    assert!(told.starts_with("Deleted Containers:\n") && told.contains("Total reclaimed space:"), "{told}");
    let pruned = lab.ok(&["image", "prune", "-a", "-f"]).stdout;
    assert!(pruned.contains(&id), "{pruned}");
}

#[test]
fn a_container_that_runs_keeps_nobody_from_pruning() {
    let lab = Lab::new();
    lab.build_files("FROM busybox\nRUN echo x >/x\n", &[]);
    let live = Live::start(&lab, "web", &[], "true");
    lab.ok(&["image", "prune", "-a", "-f"]);
    lab.ok(&["cache", "prune", "-a"]);
    let mut input = live.background;
    drop(input.stdin());
    assert_eq!(input.finish().code, 0);
    assert!(lab.ok(&["export", "web"]).stdout.contains("bin/busybox"));
}
