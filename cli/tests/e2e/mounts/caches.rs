//! `RUN --mount=type=cache`.

use std::fs;

use rustix::process::Signal;

use crate::kit::{Lab, Ran};

#[track_caller]
fn build(lab: &Lab, dockerfile: &str, args: &[&str]) -> Ran {
    lab.build_with(&lab.project(dockerfile, &[]), args)
}

/// What the last step printed.
#[track_caller]
fn printed(lab: &Lab, dockerfile: &str) -> String {
    build(lab, dockerfile, &["--no-cache"]).output()
}

#[test]
fn contents_outlive_the_build_and_are_in_no_layer() {
    let lab = Lab::new();
    let step = "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/log && wc -l < /c/log\n";
    assert!(printed(&lab, step).ends_with("1\n"));
    assert_eq!(lab.shell("ls -d /c 2>/dev/null; true"), "");
    assert!(printed(&lab, step).ends_with("2\n"), "neither --no-cache nor another build empties it");
    // By its target, wherever that is mounted from; by its id, wherever that is mounted to.
    let other = "FROM busybox\nENV E=1\nRUN --mount=type=cache,target=/c/ wc -l < /c/log\n";
    assert!(printed(&lab, other).ends_with("2\n"));
    let named = "FROM busybox\nRUN --mount=type=cache,id=/c,target=/elsewhere wc -l < /elsewhere/log\n";
    assert!(printed(&lab, named).ends_with("2\n"));
    let fresh = "FROM busybox\nRUN --mount=type=cache,id=other,target=/c ls -A /c && echo empty\n";
    assert!(printed(&lab, fresh).ends_with("empty\n"));
    // What is in it is no part of a key.
    let ran = build(&lab, step, &[]);
    assert!(ran.executed().is_empty(), "{:?}", ran.executed());
    let fresh = "FROM busybox\nRUN --mount=type=cache,target=/c ls -A /c && echo empty\n";
    let apart = build(&lab, fresh, &["--no-cache", "--build-arg", "BUILDKIT_CACHE_MOUNT_NS=apart"]).output();
    assert!(!apart.contains("log"), "another name space has its own\n{apart}");
}

#[test]
fn options_decide_what_it_is_like() {
    let lab = Lab::new();
    let step =
        |options: &str, script: &str| format!("FROM busybox\nRUN --mount=type=cache,target=/c,{options} {script}\n");
    for (options, script, prints) in [
        ("id=plain", "stat -c '%a %u %g' /c", "755 0 0\n"),
        ("id=owned,mode=0711,uid=1000,gid=2000", "stat -c '%a %u %g' /c", "711 1000 2000\n"),
        ("id=ro,ro", "touch /c/x 2>/dev/null || echo refused", "refused\n"),
        ("id=ro,readonly=false", "touch /c/x && echo written", "written\n"),
    ] {
        let output = printed(&lab, &step(options, script));
        assert!(output.ends_with(prints), "{options}\n{output}");
    }
    let user = "FROM busybox\nUSER app\nRUN --mount=type=cache,target=/c,id=user,uid=1000 touch /c/mine && ls /c\n";
    assert!(printed(&lab, user).ends_with("mine\n"));
}

#[test]
fn a_stage_is_what_it_begins_as() {
    let lab = Lab::new();
    let seeded = |seed: &str, script: &str| {
        format!(
            "FROM busybox AS seed\nRUN mkdir -p /s/d && echo {seed} > /s/d/f && ln -s d /s/link && chown -R 5:6 /s && chmod 750 /s\n\
             FROM busybox\nRUN --mount=type=cache,target=/c,from=seed,source=/s {script}\n"
        )
    };
    assert!(
        printed(&lab, &seeded("one", "cat /c/link/f && stat -c '%a %u' /c && echo more > /c/more"))
            .ends_with("one\n750 5\n")
    );
    // From then on it is a cache like any other, and the stage is as it was.
    let dockerfile =
        seeded("one", "cat /c/more").replace("FROM busybox\n", "FROM busybox\nCOPY --from=seed /s /s\nRUN ls /s\n");
    let ran = build(&lab, &dockerfile, &[]);
    assert!(ran.output().contains("more\n") && lab.shell("ls /s") == "d\nlink\n", "{}", ran.output());
    // Another seed is another cache.
    let ran = build(&lab, &seeded("two", "cat /c/d/f; ls /c"), &[]);
    assert!(ran.output().ends_with("two\nd\nlink\n"), "{}", ran.output());
    let ran = lab.try_build(&lab.project(&seeded("x", "true").replace("source=/s", "source=/s/d/f"), &[]), &[]);
    assert_ne!(ran.code, 0);
    ran.assert_stderr("/s/d/f");
}

/// Ids are names and never paths.
#[test]
fn ids_lead_nowhere() {
    let lab = Lab::new();
    for id in ["../../../../etc", "/etc", "..", "a/../../b", &"x".repeat(4000), "\u{e9}\u{1f980}"] {
        let output = printed(
            &lab,
            &format!("FROM busybox\nRUN --mount=type=cache,target=/c,id={id} ls -A /c && echo empty && touch /c/x\n"),
        );
        assert!(output.ends_with("empty\n"), "{id}: {output}");
    }
    let mounts = lab.root().join("mounts");
    for entry in fs::read_dir(mounts).expect("the store has mounts").flatten() {
        assert_eq!(entry.file_name().len(), 16, "{:?}", entry.file_name());
    }
}

/// Two builds at once: one has it, the other waits, until the first is done or dead.
#[test]
fn a_locked_cache_is_used_by_one_at_a_time() {
    let lab = Lab::new();
    let dockerfile = |name: &str, more: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,id=k,target=/c,sharing=locked test ! -e /c/busy && touch /c/busy && echo {name} has\" it\"{more} && rm /c/busy\n"
        )
    };
    let holder = lab.project(&dockerfile("first", " && while test -e /c/busy; do true; done; touch /c/busy"), &[]);
    let waiter = lab.project(&dockerfile("second", ""), &[]);
    // What a killed step left is the next one's to deal with.
    let heir = lab.project(
        "FROM busybox\nRUN --mount=type=cache,id=k,target=/c,sharing=locked rm /c/busy && echo second has\" it\"\n",
        &[],
    );
    let args = |context: &std::path::Path| {
        ["build", "--progress=plain", "--no-cache", context.to_str().expect("UTF-8")].map(str::to_owned)
    };
    for kill in [false, true] {
        let mut first = lab.start(&args(&holder));
        first.wait_for("first has it");
        let mut second = lab.start(&args(if kill { &heir } else { &waiter }));
        second.wait_for("waiting for the cache mount k");
        let busy = fs::read_dir(lab.root().join("mounts"))
            .expect("the store has mounts")
            .flatten()
            .map(|entry| entry.path().join("fs/busy"))
            .find(|path| path.exists())
            .expect("the first one has it");
        if kill {
            first.signal(Signal::KILL);
            drop(first);
        } else {
            fs::remove_file(busy).expect("it is there");
            assert_eq!(first.finish().code, 0);
        }
        let ran = second.finish();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.assert_stderr("second has it");
    }
}

/// Who waits for a cache can be stopped as quickly as who uses one.
#[test]
fn waiting_can_be_interrupted() {
    let lab = Lab::new();
    let step = |name: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,id=k,target=/c,sharing=locked echo {name} has\" it\"; until test -e /c/end; do true; done\n"
        )
    };
    let start = |name: &str| {
        let project = lab.project(&step(name), &[]);
        lab.start(&["build", "--progress=plain", project.to_str().expect("UTF-8")])
    };
    let mut first = start("first");
    first.wait_for("first has it");
    let mut second = start("second");
    second.wait_for("waiting for the cache mount k");
    second.signal(Signal::INT);
    let ran = second.finish();
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert!(!first.has_ended());
    first.signal(Signal::INT);
    assert_eq!(first.finish().code, 130);
}

/// Private: each of two steps at once has its own; shared: both have the same.
#[test]
fn steps_at_once_share_as_they_ask() {
    let lab = Lab::new();
    let dockerfile = |sharing: &str| {
        let step = |name: &str, other: &str| {
            format!(
                "FROM busybox AS {name}\n\
                 RUN --mount=type=cache,id={sharing},target=/c,sharing={sharing} --mount=type=cache,id=meet-{sharing},target=/meet \
                 touch /c/{name} /meet/{name}; until test -e /meet/{other}; do true; done; ls /c > /{name}\n"
            )
        };
        format!("{}{}FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n", step("a", "b"), step("b", "a"))
    };
    build(&lab, &dockerfile("shared"), &[]);
    assert_eq!(lab.shell("cat /a; echo; cat /b"), "a\nb\n\na\nb\n");
    // Who shares is no part of the key.
    build(&lab, &dockerfile("private"), &["--no-cache"]);
    assert_eq!(lab.shell("cat /a; echo; cat /b"), "a\n\nb\n");
    let usage: serde_json::Value =
        serde_json::from_str(&lab.ok(&["cache", "usage", "--json"]).stdout).expect("it is JSON");
    let names: Vec<&str> =
        usage["mounts"].as_array().into_iter().flatten().filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "private").count(), 2, "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "shared").count(), 1, "{names:?}");
}

#[test]
fn usage_lists_them_and_prune_takes_them() {
    let lab = Lab::new();
    build(
        &lab,
        "FROM busybox\nRUN --mount=type=cache,target=/root/.cache dd if=/dev/zero of=/root/.cache/f bs=1k count=3\n",
        &[],
    );
    let shown = lab.ok(&["cache", "usage"]).stdout;
    assert!(shown.contains("/root/.cache") && shown.contains("CACHE MOUNT"), "{shown}");
    let said = |args: &[&str]| lab.ok(&[&["cache", "prune"], args].concat()).stdout;
    assert!(said(&[]).contains("0 cache mounts"));
    assert!(
        said(&["--dry-run", "--filter", "type=exec.cachemount"])
            .contains("Would delete 0 steps, 0 layers, 1 cache mounts")
    );
    assert!(said(&["--filter", "type=exec.cachemount", "--filter", "until=1h"]).contains("0 cache mounts"));
    assert!(said(&["-a", "--filter", "type=regular"]).contains("0 cache mounts"));
    let text = said(&["--filter=type=exec.cachemount"]);
    assert!(text.contains("1 cache mounts") && text.contains("3.07kB"), "{text}");
    build(&lab, "FROM busybox\nRUN --mount=type=cache,target=/c touch /c/f\n", &[]);
    assert!(said(&["-a"]).contains("1 cache mounts"));
    assert_eq!(lab.run(&["cache", "prune", "--filter", "type=x"]).code, 2);
    // One that a build uses is not taken.
    let project = lab.project(
        "FROM busybox\nRUN --mount=type=cache,target=/c echo be\"gun\"; until test -e /c/end; do true; done\n",
        &[],
    );
    let mut building = lab.start(&["build", "--progress=plain", project.to_str().expect("UTF-8")]);
    building.wait_for("begun");
    assert_eq!(lab.run(&["cache", "prune", "-a"]).code, 1);
    let mount =
        fs::read_dir(lab.root().join("mounts")).expect("there are mounts").flatten().next().expect("there is one");
    fs::write(mount.path().join("fs/end"), "").expect("it is there");
    assert_eq!(building.finish().code, 0);
}

#[test]
fn more_than_a_sandbox_can_be_handed_are_refused_in_words() {
    let lab = Lab::new();
    let mounts: String = (0..300).map(|number| format!("--mount=type=cache,target=/c{number} ")).collect();
    lab.build_fails(&format!("FROM busybox\nRUN {mounts}true\n"), &[]).assert_stderr("too many mounts");
}
