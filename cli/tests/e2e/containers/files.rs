//! `diff` and `export`.

use std::collections::BTreeSet;
use std::fs;

use super::run;
use crate::kit::{Lab, tool};

#[test]
fn diff_tells_what_was_added_changed_and_deleted() {
    let lab = Lab::new();
    let dockerfile =
        "FROM busybox\nRUN mkdir -p /d/old /keep/deep && echo 1 >/d/old/f && echo 1 >/d/g && echo 1 >/keep/deep/f\n";
    lab.build_files(dockerfile, &[]);
    let script = "echo 2 >/d/g; echo x >/new; rm /bin/vi; rm -r /d/old; mkdir /d/old; echo y >/d/old/h; \
                  chmod 600 /keep/deep/f; mkdir -p /a/b; ln -s x /a/link";
    lab.ok(&["run", "--name", "ct", "app", "sh", "-c", script]);
    let expected = "A /a\nA /a/b\nA /a/link\nC /bin\nD /bin/vi\nC /d\nC /d/g\nC /d/old\nD /d/old/f\nA /d/old/h\n\
                    C /keep\nC /keep/deep\nC /keep/deep/f\nA /new\n";
    assert_eq!(lab.ok(&["diff", "ct"]).stdout, expected);
    lab.ok(&["run", "--name", "same", "app", "true"]);
    assert_eq!(lab.ok(&["container", "diff", "same"]).stdout, "", "what the sandbox brings is not the container's");
    assert_eq!(lab.run(&["diff", "nosuch"]).code, 1);
}

#[test]
fn export_is_what_run_sees() {
    let lab = Lab::new();
    let list = "find / -xdev \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o -print | sort";
    run(
        &lab,
        "ct",
        &format!(
            "rm -r /var; touch /tmp/list; mkdir -p /opt/x; echo 1 >/opt/x/f; chown 7:8 /opt/x/f; chmod 4711 /opt/x/f; {list} >/tmp/list"
        ),
    );
    let tar = lab.path().join("c.tar");
    lab.ok(&["export", "-o", tar.to_str().expect("UTF-8"), "ct"]);
    let names: BTreeSet<String> = tool("tar", &["-tf".as_ref(), tar.as_ref()])
        .lines()
        .map(|name| format!("/{}", name.trim_end_matches('/').trim_start_matches("./")))
        .collect();
    let seen = tool("tar", &["-xOf".as_ref(), tar.as_ref(), "tmp/list".as_ref()]);
    // The sandbox mounts these; the image has none of them.
    let provided = ["/", "/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
    let seen: BTreeSet<String> = seen.lines().filter(|name| !provided.contains(name)).map(str::to_owned).collect();
    assert_eq!(names, seen);
    let detail = tool("tar", &["--numeric-owner".as_ref(), "-tvf".as_ref(), tar.as_ref(), "opt/x/f".as_ref()]);
    assert!(detail.starts_with("-rws--x--x 7/8 "), "{detail}");
    // It is a root file system again.
    let id = lab.ok(&["import", tar.to_str().expect("UTF-8"), "again"]).stdout;
    assert!(id.starts_with("sha256:"));
    assert_eq!(lab.ok(&["run", "--rm", "again", "cat", "/opt/x/f"]).stdout, "1\n");
    // To standard output it is the same.
    let out = lab.command(&["export", "ct"]).output().expect("builder starts").stdout;
    assert_eq!(out, fs::read(&tar).expect("it was written"));
}
