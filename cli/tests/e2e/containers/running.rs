//! The same while the container runs.

use std::fs;
use std::io::Write;

use rustix::process::Signal;

use super::{Live, run};
use crate::kit::{Lab, eventually};

impl Live {
    /// Lets the container carry out a line, and waits for that.
    #[track_caller]
    fn sh(&mut self, input: &mut impl Write, line: &str) {
        writeln!(input, "{line}").expect("it reads");
        self.background.wait_for("done");
    }
}

#[test]
fn a_container_that_runs_is_read_and_written() {
    let lab = Lab::new();
    let shared = lab.context(&[("on-host", "v\n")]);
    let volume = format!("{}:/vol", shared.display());
    let fixed = format!("{}:/fixed:ro", shared.display());
    let mut live = Live::start(&lab, "ct", &["-v", &volume, "-v", &fixed], "mkdir /d; echo 1 >/d/f; ln -s /proc /p");
    let mut input = live.background.stdin();
    let out = |path: &str, to: &str| lab.run(&["cp", "-q", &format!("ct:{path}"), to]);
    assert_eq!(out("/d/f", "f").code, 0);
    assert_eq!(fs::read_to_string(lab.path().join("f")).expect("it was copied"), "1\n");
    // What is there by the time of the copy, again and again.
    live.sh(&mut input, "echo 2 >/d/f; echo 3 >/d/g");
    assert_eq!(out("/d/.", "all").code, 0);
    assert_eq!(fs::read_to_string(lab.path().join("all/f")).expect("it was copied"), "2\n");
    assert!(lab.path().join("all/g").exists());
    // In, and the container sees it at once.
    fs::write(lab.path().join("in"), "from outside\n").expect("ours");
    lab.ok(&["cp", "in", "ct:/d/f"]);
    lab.ok(&["cp", "in", "ct:/vol/new"]);
    live.sh(&mut input, "cat /d/f /vol/new >/seen");
    assert_eq!(out("/seen", "seen").code, 0);
    assert_eq!(fs::read_to_string(lab.path().join("seen")).expect("it was copied"), "from outside\nfrom outside\n");
    assert!(shared.join("new").exists());
    assert_eq!(out("/vol/on-host", "v").code, 0);
    for (destination, says) in [
        ("/proc/sys/kernel/domainname", "made up by the kernel"),
        ("/p", "made up by the kernel"),
        ("/fixed/x", "read-only mount"),
    ] {
        let ran = lab.run(&["cp", "in", &format!("ct:{destination}")]);
        assert_eq!(ran.code, 1, "{destination}");
        ran.assert_stderr(says);
    }
    assert_eq!(out("/proc/1/environ", "environ").code, 1, "nothing of the kernel's comes out");
    let changed = lab.ok(&["diff", "ct"]).stdout;
    assert!(changed.contains("A /d/g\n") && changed.contains("A /seen\n") && !changed.contains("/proc"), "{changed}");
    let tar = lab.ok(&["export", "ct"]).stdout;
    assert!(tar.contains("d/g") && !tar.contains("proc/1/") && !tar.contains("on-host"));
    drop(input);
    assert_eq!(live.background.finish().code, 0);
    assert!(lab.ok(&["diff", "ct"]).stdout.contains("A /d/g\n"));
}

#[test]
fn a_commit_lets_the_container_stand_still() {
    let lab = Lab::new();
    // Two files that are always equal, but for moments.
    let script = "touch /a /b; (n=0; while :; do n=$((n+1)); echo $n >/a.new; mv /a.new /a; cp /a /b.new; mv /b.new /b; done) & true";
    let mut live = Live::start(&lab, "ct", &[], script);
    let mut input = live.background.stdin();
    for number in 0..3 {
        let name = format!("made{number}");
        lab.ok(&["commit", "ct", &name]);
        let told = lab.ok(&["run", "--rm", &name, "sh", "-c", "cat /a; cat /b"]).stdout;
        let numbers: Vec<i64> = told.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(numbers.len() == 2 && numbers[0] - numbers[1] <= 1, "{told}");
    }
    // It goes on.
    live.sh(&mut input, "echo x >/after");
    assert!(lab.ok(&["diff", "ct"]).stdout.contains("A /after\n"));
    lab.ok(&["rm", "-f", "ct"]);
    live.background.finish();
    let groups = fs::read_dir("/sys/fs/cgroup/freezer").into_iter().flatten().flatten();
    let ours = format!("builder-freeze-{}", std::process::id());
    assert!(groups.into_iter().all(|group| group.file_name().to_string_lossy() != ours));
}

#[test]
fn without_pause_it_goes_on_meanwhile() {
    let lab = Lab::new();
    let mut live = Live::start(&lab, "ct", &[], "echo x >/f");
    let mut input = live.background.stdin();
    lab.ok(&["commit", "--pause=false", "ct", "made"]);
    assert_eq!(lab.ok(&["run", "--rm", "made", "cat", "/f"]).stdout, "x\n");
    live.sh(&mut input, "echo y >/g");
    drop(input);
    assert_eq!(live.background.finish().code, 0);
}

#[test]
fn a_commit_that_is_killed_does_not_leave_it_standing() {
    let lab = Lab::new();
    let script = "dd if=/dev/zero of=/big bs=1 count=0 seek=600M 2>/dev/null";
    let mut live = Live::start(&lab, "ct", &[], script);
    let mut input = live.background.stdin();
    let groups = ["/sys/fs/cgroup/freezer", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let frozen_by = |pid: i32| {
        let prefix = format!("builder-freeze-{pid}-");
        let mut entries = groups.iter().flat_map(|group| fs::read_dir(group).into_iter().flatten().flatten());
        entries.any(|entry| {
            let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            entry.file_name().to_string_lossy().starts_with(&prefix)
                && (read("freezer.state").trim() == "FROZEN" || read("cgroup.events").contains("frozen 1"))
        })
    };
    for signal in [Signal::KILL, Signal::TERM] {
        let commit = lab.start(&["commit", "ct"]);
        let pid = commit.pid().as_raw_nonzero().get();
        eventually("the container stands still", || frozen_by(pid));
        commit.signal(signal);
        let ran = commit.finish();
        assert_eq!(ran.code, if signal == Signal::KILL { -1 } else { 130 });
        assert_eq!(frozen_by(pid), signal == Signal::KILL, "in order, it goes on at once");
    }
    // Whoever came next has let it go on.
    live.sh(&mut input, "rm /big; echo x >/after");
    lab.ok(&["commit", "ct", "made"]);
    assert_eq!(lab.ok(&["run", "--rm", "made", "cat", "/after"]).stdout, "x\n");
    lab.ok(&["rm", "-f", "ct"]);
    assert_eq!(live.background.finish().code, 137);
}

#[test]
fn with_the_vfs_driver_changes_are_seen_at_the_end() {
    let lab = Lab::new();
    let vfs = |args: &[&str]| lab.run(&[&["--driver", "vfs"], args].concat());
    let ran = vfs(&["run", "--name", "ct", "busybox", "sh", "-c", "echo x >/f; rm /bin/vi"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(vfs(&["diff", "ct"]).stdout, "C /bin\nD /bin/vi\nA /f\n");
    assert_eq!(vfs(&["commit", "ct", "made"]).code, 0);
    assert_eq!(vfs(&["run", "--rm", "made", "cat", "/f"]).stdout, "x\n");
    assert_eq!(vfs(&["cp", "ct:/f", "f"]).code, 0);
    fs::write(lab.path().join("in"), "").expect("ours");
    let ran = vfs(&["cp", "in", "ct:/in"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("use overlay");
    let mut live = Live::start(&lab, "live", &["--driver", "vfs"], "echo x >/f");
    for args in [&["diff", "live"][..], &["commit", "live"], &["export", "live"], &["cp", "live:/f", "g"]] {
        let ran = vfs(args);
        assert_eq!(ran.code, 1, "{args:?}");
        ran.assert_stderr("wait until it has ended");
    }
    assert_eq!(vfs(&["cp", "in", "live:/in"]).code, 0);
    let mut input = live.background.stdin();
    live.sh(&mut input, "test -e /in && echo y >/g");
    drop(input);
    assert_eq!(live.background.finish().code, 0);
    assert_eq!(vfs(&["diff", "live"]).stdout, "A /f\nA /g\nA /in\n");
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    let lab = Lab::new();
    let mut live = Live::start(&lab, "ct", &[], "dd if=/dev/zero of=/big bs=1M count=20 2>/dev/null");
    let input = live.background.stdin();
    let both: Vec<_> = (0..2).map(|number| lab.start(&["commit", "ct", &format!("made{number}")])).collect();
    for commit in both {
        let ran = commit.finish();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    run(&lab, "other", "true");
    drop(input);
    assert_eq!(live.background.finish().code, 0);
    eventually("both have ended", || lab.ok(&["ps", "-q"]).stdout.is_empty());
}
