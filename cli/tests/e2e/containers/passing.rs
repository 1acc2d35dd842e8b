//! `run --rm`: a container like any other while it runs, and nothing afterwards.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use super::{Live, inspect};
use crate::kit::{Background, Lab, eventually, processes};

/// One that runs without a name of its own, and the name that it got.
fn unnamed(lab: &Lab, script: &str) -> (Background, String) {
    let script = format!("{script}; echo up >&2; read line");
    let args = ["run", "--rm", "-i", "busybox", "sh", "-c", &script];
    let mut background = Background::start(lab.command(&args).stdin(std::process::Stdio::piped()));
    background.wait_for("up");
    let name = lab.ok(&["ps", "--format", "{{.Names}}"]).stdout.trim().to_owned();
    (background, name)
}

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).expect("a store").count()
}

#[test]
fn while_it_runs_it_is_like_any_other() {
    let lab = Lab::new();
    let (mut background, name) = unnamed(&lab, "echo x >/f");
    assert!(name.contains('_'), "{name}");
    let about = inspect(&lab, &name);
    assert_eq!(about["HostConfig"]["AutoRemove"], true);
    let host = lab.ok(&["container", "inspect", "-f", "{{.Config.Hostname}} {{.State.Status}}", &name]).stdout;
    assert_eq!(host, format!("{} running\n", &about["Id"].as_str().expect("an id")[..12]));
    assert_eq!(lab.ok(&["diff", &name]).stdout, "A /f\n");
    assert_eq!(lab.ok(&["cp", "-q", &format!("{name}:/f"), "-"]).stdout.matches("x\n").count(), 1);
    assert!(lab.ok(&["export", &name]).stdout.contains("bin/busybox"));
    lab.ok(&["commit", &name, "made"]);
    assert_eq!(lab.ok(&["run", "--rm", "made", "cat", "/f"]).stdout, "x\n");
    fs::write(lab.path().join("in"), "y\n").expect("ours");
    lab.ok(&["cp", "in", &format!("{name}:/in")]);
    assert_eq!(lab.ok(&["diff", &name]).stdout, "A /f\nA /in\n");
    let ran = lab.run(&["rmi", "busybox"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("conflict: unable to remove repository reference \"busybox\" (must force)");
    let image = about["Image"].as_str().expect("an id").to_owned();
    let ran = lab.run(&["rmi", "-f", &image]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("(cannot be forced) - image is being used by running container");
    // A name that is taken away by force is all that goes.
    assert_eq!(lab.ok(&["rmi", "-f", "busybox"]).stdout, "Untagged: busybox:latest\n");
    assert!(lab.ok(&["ps"]).stdout.contains(&image[7..19]), "the image is what it runs on");
    assert_eq!(lab.run(&["rm", &name]).code, 1);
    assert_eq!(lab.ok(&["container", "prune", "-f"]).stdout, "Total reclaimed space: 0B\n");
    drop(background.stdin());
    assert_eq!(background.finish().code, 1, "`read` finds the end");
    assert_eq!(lab.ok(&["ps", "-aq"]).stdout, "");
    assert_eq!(count(&lab.root().join("containers")), 0);
    assert_eq!(lab.ok(&["rmi", &image]).stdout, format!("Deleted: {image}\n"));
}

#[test]
fn one_that_was_killed_with_its_builder_is_gone() {
    let looks: [&[&str]; 5] = [
        &["ps", "-a"],
        &["rmi", "busybox"],
        &["image", "prune", "-a", "-f"],
        &["cache", "prune"],
        &["rm", "-f", "web"],
    ];
    for look in looks {
        let lab = Lab::new();
        let marker = format!("{}", 50_000 + std::process::id());
        let live = Live::start(&lab, "web", &["--rm"], &format!("echo x >/f; sleep {marker} & true"));
        live.background.signal(Signal::KILL);
        live.background.finish();
        let told = lab.ok(look).stdout;
        assert!(!told.contains("web"), "{look:?}\n{told}");
        assert_eq!(count(&lab.root().join("containers")), 0, "{look:?}");
        assert_eq!(count(&lab.root().join("trash")), 0, "{look:?}");
        assert_eq!(lab.run(&["container", "inspect", "web"]).code, 1);
        eventually("its processes are gone", || processes(&marker).is_empty());
    }
    // The next one of its kind is no exception, and gets its name.
    let lab = Lab::new();
    let live = Live::start(&lab, "web", &["--rm"], "true");
    live.background.signal(Signal::KILL);
    live.background.finish();
    lab.ok(&["run", "--rm", "--name", "web", "busybox", "true"]);
    assert_eq!(count(&lab.root().join("containers")), 0);
}

#[test]
fn its_name_is_its_own_while_it_runs() {
    let lab = Lab::new();
    let mut live = Live::start(&lab, "web", &["--rm"], "true");
    for options in [&["--rm"][..], &[]] {
        let ran = lab.run(&[&["run", "--name", "web"], options, &["busybox", "echo", "never"]].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (125, ""), "{options:?}");
        ran.assert_stderr("the container name \"/web\" is already in use by container");
    }
    drop(live.background.stdin());
    assert_eq!(live.background.finish().code, 0);
    lab.ok(&["run", "--name", "web", "busybox", "true"]);
    assert_eq!(lab.ok(&["ps", "-a", "--format", "{{.Names}}"]).stdout, "web\n");
}

#[test]
fn many_at_once_leave_nothing() {
    let lab = Lab::new();
    let all: Vec<_> = (0..8).map(|_| lab.start(&["run", "--rm", "busybox", "sh", "-c", "echo x >/f"])).collect();
    for one in all {
        let ran = one.finish();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        lab.ok(&["ps", "-a"]);
    }
    assert_eq!(lab.ok(&["ps", "-aq"]).stdout, "");
    assert_eq!(count(&lab.root().join("containers")), 0);
}

#[test]
fn with_the_vfs_driver_nothing_is_left_either() {
    let lab = Lab::new();
    lab.ok(&["--driver", "vfs", "run", "--rm", "busybox", "sh", "-c", "echo x >/f; rm /bin/vi"]);
    assert_eq!(lab.ok(&["ps", "-aq"]).stdout, "");
    assert_eq!(count(&lab.root().join("containers")), 0);
    lab.assert_tidy();
}
