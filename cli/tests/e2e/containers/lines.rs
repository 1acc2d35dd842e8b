//! Command lines as people type them, who know Docker.

use std::fs;

use super::run;
use crate::kit::Lab;

#[test]
fn options_of_run() {
    let lab = Lab::new();
    fs::write(lab.path().join("vars"), "A=1\n# no\nB=x y\nHOME\n").expect("ours");
    let sh = |options: &[&str], script: &str| {
        let ran = lab.ok(&[&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat());
        ran.stdout
    };
    assert_eq!(sh(&["--env-file", "vars", "-e", "A=2"], "echo $A $B"), "2 x y\n", "--env comes after files");
    assert_eq!(sh(&["-h", "box"], "hostname"), "box\n");
    assert_eq!(sh(&["--net", "host"], "echo x"), "x\n");
    assert_eq!(sh(&["--net=none"], "ls /sys/class/net"), "lo\n");
    // The variables are those of an image that is made of it, too.
    lab.ok(&["run", "--name", "ct", "--env-file=vars", "--cidfile", "id", "busybox", "true"]);
    let id = fs::read_to_string(lab.path().join("id")).expect("it was written");
    assert_eq!(lab.ok(&["ps", "-aq", "--no-trunc"]).stdout, format!("{id}\n"));
    lab.ok(&["commit", "ct", "made"]);
    assert!(lab.ok(&["inspect", "-f", "{{.Config.Env}}", "made"]).stdout.contains("B=x y"));
    let ran = lab.run(&["run", "--cidfile", "id", "busybox", "echo", "never"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (125, ""));
    ran.assert_stderr("can't be written to id");
    assert_eq!(lab.ok(&["ps", "-aq"]).stdout.lines().count(), 1, "what failed left nothing");
}

#[test]
fn what_fails_before_the_command_runs_has_its_own_exit_code() {
    let lab = Lab::new();
    for (args, says) in [
        (&["run", "--pull=never", "nosuch", "true"][..], "nosuch"),
        (&["run", "busybox"], "has no command"),
        (&["run", "-it", "busybox", "sh"], "not a terminal"),
        (&["run", "--env-file", "nosuch", "busybox", "true"], "nosuch can't be read"),
        (&["run", "-u", "nosuch", "busybox", "true"], "nosuch"),
    ] {
        let ran = lab.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (125, ""), "{args:?}");
        ran.assert_stderr(says);
    }
    assert_eq!(lab.run(&["run", "--rm", "busybox", "false"]).code, 1);
}

#[test]
fn what_is_asked_about_containers() {
    let lab = Lab::new();
    let shared = lab.context(&[]);
    let volume = format!("{}:/vol", shared.display());
    lab.ok(&["run", "--name", "web-1", "-v", &volume, "-l", "role=web", "busybox", "true"]);
    run(&lab, "web-10", "true");
    let names = |args: &[&str]| {
        let ran = lab.ok(&[&["ps", "--format", "{{.Names}}"], args].concat());
        ran.stdout.lines().collect::<Vec<_>>().join(" ")
    };
    for (args, expected) in [
        (&["-a", "-f", "name=^web-1$"][..], "web-1"),
        (&["-a", "-f", "name=^/web-1$"], "web-1"),
        (&["-a", "-f", "name=web"], "web-10 web-1"),
        (&["-a", "-f", "volume=/vol"], "web-1"),
        (&["-a", "-f", "volume=/other"], ""),
        (&["-n", "-1"], ""),
        (&["-a", "-n=-1"], "web-10 web-1"),
        (&["-n1"], "web-10"),
    ] {
        assert_eq!(names(args), expected, "{args:?}");
    }
    assert_eq!(lab.ok(&["ps", "-n2", "--format", r#"{{.Label "role"}}"#]).stdout, "\nweb\n");
    // `inspect` finds containers and images.
    let both = lab.ok(&["inspect", "-f", "{{.Id}}", "web-1", "busybox"]).stdout;
    assert_eq!(both.lines().map(str::len).collect::<Vec<_>>(), [64, 71], "{both}");
    assert_eq!(lab.ok(&["inspect", "--format", "{{.State.ExitCode}}", "web-1"]).stdout, "0\n");
    assert_eq!(lab.run(&["image", "inspect", "web-1"]).code, 1);
}

#[test]
fn names_give_a_terminal_no_commands() {
    let lab = Lab::new();
    run(&lab, "ct", "cd /; touch \"$(printf 'a\\033]0;title\\007')\"");
    assert_eq!(lab.ok(&["diff", "ct"]).stdout, "A /a\u{1b}]0;title\u{7}\n", "who reads a pipe gets the name");
    let (code, seen) = crate::run::on_a_terminal(&lab, &["diff", "ct"], &[]);
    assert_eq!((code, seen.as_str()), (0, "A /a\\x1b]0;title\\x07\r\n"));
    lab.ok(&["commit", "-c", "LABEL x=\u{1b}[2J", "ct", "made"]);
    let (_, seen) = crate::run::on_a_terminal(&lab, &["inspect", "-f", "{{.Config.Labels.x}}", "made"], &[]);
    assert_eq!(seen, "\\x1b[2J\r\n");
}
