//! `RUN --mount`: binds, caches, memory, and what is left of them: nothing.

mod caches;
mod secrets;

use std::fs;
use std::path::Path;

use crate::kit::{Case, Lab, mounts};

/// A stage with files, directories and links to mount.
const FILES: &str = "FROM busybox AS files\n\
    RUN mkdir -p /d/deep && echo one > /d/f && echo two > /d/deep/g && ln -s /d /dir && ln -s ../../d/f /d/link \\\n\
     && ln -s / /root-link && ln -s /proc/self/root /magic && echo outside > /etc/canary\n";

fn with_files(rest: &str) -> String {
    format!("{FILES}FROM busybox\n{rest}")
}

#[test]
fn results_are_mounted() {
    let lab = Lab::new();
    let context: &[(&str, &str)] =
        &[("a/b", "context\n"), ("top", "top\n"), ("ignored", "x"), (".dockerignore", "ignored\n")];
    for (name, run, prints) in [
        (
            "a directory",
            "--mount=type=bind,from=files,source=/d,target=/m ls /m; cat /m/deep/g",
            "deep\nf\nlink\ntwo\n",
        ),
        ("the type can be left out", "--mount=from=files,source=d,target=/m cat /m/f", "one\n"),
        ("a file", "--mount=from=files,source=/d/f,target=/m/x/file cat /m/x/file", "one\n"),
        ("everything", "--mount=from=files,target=/m cat /m/d/f /m/etc/canary", "one\noutside\n"),
        ("a link to a directory", "--mount=from=files,source=/dir,target=/m cat /m/f", "one\n"),
        ("a link to a file", "--mount=from=files,source=/d/link,target=/m cat /m", "one\n"),
        ("a path through links", "--mount=from=files,source=/root-link/dir/link,target=/m cat /m", "one\n"),
        ("relative to the working directory", "--mount=from=files,source=/d,target=m cat /work/m/f", "one\n"),
        ("the context", "--mount=target=/m cat /m/a/b /m/top; ls /m", "context\ntop\nDockerfile\na\ntop\n"),
        ("a file of the context", "--mount=source=a/b,target=/m cat /m", "context\n"),
        ("an image", "--mount=from=busybox,source=/bin,target=/m ls /m/busybox", "/m/busybox\n"),
        ("read-only", "--mount=from=files,source=/d,target=/m (echo x >/m/f) 2>/dev/null || echo refused", "refused\n"),
        (
            "remounting changes nothing",
            "--mount=from=files,source=/d,target=/m mount -o remount,rw,bind /m 2>/dev/null; touch /m/x 2>/dev/null || echo refused",
            "refused\n",
        ),
        (
            "one in the other, whatever their order",
            "--mount=from=files,source=/d/f,target=/m/s/f --mount=type=tmpfs,target=/m cat /m/s/f; ls /m",
            "one\ns\n",
        ),
        (
            "the same place twice",
            "--mount=from=files,source=/d,target=/m --mount=from=files,source=/d/deep,target=/m ls /m",
            "g\n",
        ),
        (
            "several",
            "--mount=from=files,source=/d,target=/m --mount=from=files,source=/d/deep,target=/n cat /m/f /n/g",
            "one\ntwo\n",
        ),
    ] {
        let dockerfile = with_files(&format!("WORKDIR /work\nRUN {run} \n"));
        let project = lab.project(&dockerfile, context);
        let ran = lab.try_build(&project, &["--no-cache"]);
        assert_eq!(ran.code, 0, "{name}\n{}", ran.stderr);
        assert!(ran.output().ends_with(prints), "{name}: {prints:?}\n{}", ran.output());
        assert_eq!(lab.shell("ls -d /m /n /work/m 2>/dev/null | wc -l"), "0\n", "{name}: nothing is left");
    }
}

#[test]
fn a_mounted_directory_counts_itself() {
    let lab = Lab::new();
    let mode = |mode: &str| {
        let dockerfile = format!(
            "FROM busybox AS files\nRUN mkdir /d && echo x > /d/f && chmod {mode} /d\n\
             FROM busybox\nRUN --mount=from=files,source=/d,target=/m stat -c %a /m > /mode\n"
        );
        lab.build(&lab.project(&dockerfile, &[]));
        lab.shell("cat /mode")
    };
    assert_eq!((mode("700"), mode("750")), ("700\n".to_owned(), "750\n".to_owned()));
}

/// What is written to a mount is gone with it, for everybody.
#[test]
fn writes_to_a_result_are_thrown_away() {
    let lab = Lab::new();
    let dockerfile = with_files(
        "RUN --mount=from=files,source=/d,target=/m,rw echo changed > /m/f && rm /m/link && mkdir /m/new && cat /m/f\n\
         RUN --mount=from=files,source=/d/f,target=/f,readwrite echo changed > /f && cat /f\n\
         RUN --mount=target=/m,rw echo changed > /m/top && cat /m/top\n\
         RUN --mount=from=files,source=/d,target=/m cat /m/f && ls /m\n\
         RUN --mount=target=/m cat /m/top && touch /done\n",
    );
    let project = lab.project(&dockerfile, &[("top", "context\n")]);
    let ran = lab.build(&project);
    let tail = "changed\nchanged\nchanged\none\ndeep\nf\nlink\ncontext\n";
    assert!(ran.output().ends_with(tail), "{}", ran.output());
    assert_eq!(fs::read_to_string(project.join("top")).expect("it is there"), "context\n");
    assert_eq!(lab.shell("ls -d /m /f /done 2>/dev/null; true"), "/done\n");
}

/// Mount points that a step's mounts needed are not in its layer; what was there before is as it was.
#[test]
fn mount_points_leave_nothing() {
    let lab = Lab::new();
    let project = lab.project(
        &with_files(
            "RUN mkdir -p /over/dir /keep && echo mine > /over/dir/f && echo file > /over/file && chmod 700 /over/dir\n\
             RUN --mount=from=files,source=/d,target=/over/dir --mount=from=files,source=/d/f,target=/over/file \
                 --mount=type=tmpfs,target=/keep --mount=type=cache,target=/a/b/c --mount=type=tmpfs,target=/root/t/u \
                 --mount=from=files,source=/d/f,target=/etc/new/f \
                 cat /over/dir/f /over/file && touch /keep/gone && stat -c %a /over/dir\n\
             RUN ls -R /over && cat /over/dir/f /over/file && stat -c %a /over/dir && ls -A /keep /root && ls -d /a /etc/new; true\n",
        ),
        &[],
    );
    let ran = lab.build(&project);
    let output = ran.output();
    assert!(output.contains("one\none\n755\n"), "the mounts are seen\n{output}");
    assert!(output.contains("mine\nfile\n700\n"), "what they covered is as it was\n{output}");
    assert!(output.contains("/a: No such file") && output.contains("/etc/new: No such file"), "{output}");
    // A step whose mounts are all that it touches has nothing in its layer.
    let project = lab.project(
        &with_files("RUN --mount=from=files,source=/d,target=/x/y --mount=type=cache,target=/etc/c touch /etc/c/f\n"),
        &[],
    );
    lab.build(&project);
    let layers = |image: &str| lab.inspect(image)["RootFS"]["Layers"].as_array().cloned().expect("images have layers");
    let (own, base) = (layers("app"), layers("busybox"));
    assert_eq!(own.len(), base.len() + 1, "one layer for the step");
    let last = own.last().and_then(|layer| layer.as_str());
    assert_eq!(last, Some("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"), "an empty tar");
    assert_eq!(lab.shell("ls -d /x /etc/c 2>/dev/null; true"), "");
    let own = lab.path().to_str().expect("UTF-8");
    assert!(!mounts().iter().any(|mount| mount.contains(own)));
}

/// Nor do they change the times of the directories that they are in.
#[test]
fn mount_points_change_no_times() {
    let lab = Lab::new();
    lab.check(&[Case {
        name: "times",
        dockerfile: "FROM busybox\nRUN mkdir -p /quiet/sub /loud && touch /quiet/f && touch -d @1000000000 /quiet /quiet/sub\n\
            RUN --mount=type=tmpfs,target=/quiet/new --mount=type=tmpfs,target=/loud/a/b --mount=type=cache,target=/quiet/sub/c \
            echo x > /quiet/f && touch -d @1100000000 /loud\n",
        script: "stat -c '%n %Y' /quiet /quiet/sub /loud; ls /quiet /quiet/sub /loud; cat /quiet/f",
        prints: "/quiet 1000000000\n/quiet/sub 1000000000\n/loud 1100000000\n/loud:\n\n/quiet:\nf\nsub\n\n/quiet/sub:\nx\n",
        ..Case::default()
    }]);
}

/// Targets and sources that lead somewhere else through links of the image stay in the image.
#[test]
fn links_lead_nowhere_else() {
    let lab = Lab::new();
    let victim = lab.path().join("victim");
    fs::create_dir(&victim).expect("a fresh directory");
    fs::write(victim.join("f"), "host\n").expect("a fresh directory");
    let outside = victim.to_str().expect("UTF-8");
    for (name, image, mount, prints) in [
        ("a target through a link to the outside", format!("ln -s {outside} /x"), "target=/x/sub", "fails"),
        ("a target through an absolute link", "mkdir /real && ln -s /real /x".to_owned(), "target=/x/sub", "one\n"),
        ("a target that is a link", "mkdir /real && ln -s /real /x".to_owned(), "target=/x", "one\n"),
        (
            "a target through ..",
            "mkdir -p /a/b && ln -s ../../../../real /a/b/x && mkdir /real".to_owned(),
            "target=/a/b/x",
            "one\n",
        ),
        ("a target in /proc", "true".to_owned(), "target=/proc/sys", "fails"),
        ("a target through /proc", "ln -s /proc/self/root/etc /x".to_owned(), "target=/x/sub", "fails"),
    ] {
        let dockerfile = with_files(&format!(
            "RUN {image}\nRUN --mount=from=files,source=/d,{mount} cat $(echo {mount} | cut -d= -f2)/f\n"
        ));
        let project = lab.project(&dockerfile, &[]);
        let ran = lab.try_build(&project, &[]);
        if prints == "fails" {
            assert_ne!(ran.code, 0, "{name}\n{}", ran.stderr);
        } else {
            assert_eq!(ran.code, 0, "{name}\n{}", ran.stderr);
            assert!(ran.output().ends_with(prints), "{name}\n{}", ran.output());
        }
        assert_eq!(only_f(&victim), "host\n", "{name}");
    }
    for (name, source) in [
        ("a link to the root", "/root-link"),
        ("a link through /proc", "/magic"),
        ("upwards", "../../../../../.."),
        ("a link of the image to the outside", "/out"),
    ] {
        let dockerfile = format!(
            "FROM busybox AS files\nRUN ln -s / /root-link && ln -s /proc/self/root /magic && ln -s {outside} /out\n\
             FROM busybox\nRUN --mount=from=files,source={source},target=/m ls /m\n"
        );
        let project = lab.project(&dockerfile, &[]);
        let ran = lab.try_build(&project, &[]);
        let sees_image = ran.output().contains("root-link");
        assert!(ran.code != 0 || sees_image, "{name}: neither refused nor the image itself\n{}", ran.stderr);
        assert!(!ran.output().contains("victim") && !ran.output().contains("vmlinuz"), "{name}\n{}", ran.output());
    }
}

fn only_f(directory: &Path) -> String {
    let names: Vec<_> =
        fs::read_dir(directory).expect("it is there").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["f"]);
    fs::read_to_string(directory.join("f")).expect("it is there")
}

/// A process that replaces a directory by a link while mount points are in it can't have them removed elsewhere.
#[test]
fn mount_points_are_not_removed_through_new_links() {
    let lab = Lab::new();
    let victim = lab.path().join("victim");
    fs::create_dir_all(victim.join("sub")).expect("a fresh directory");
    let outside = victim.to_str().expect("UTF-8");
    let dockerfile = with_files(&format!(
        "RUN --mount=from=files,source=/d,target=/x/y/sub mv /x /moved && ln -s {outside} /x; ls /moved/y/sub\n"
    ));
    let project = lab.project(&dockerfile, &[]);
    let ran = lab.try_build(&project, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(victim.join("sub").is_dir());
}

#[test]
fn what_can_not_be_mounted_is_told() {
    let lab = Lab::new();
    for (run, says) in [
        ("--mount=from=files,source=/nothing,target=/m true", "/nothing"),
        ("--mount=from=files,source=/d,target=/bin/busybox/x true", "/bin/busybox/x"),
        ("--mount=from=files,source=/d/f,target=/bin true", "/bin is a directory"),
        ("--mount=from=files,source=/d,target=/etc/passwd true", "/etc/passwd is a file"),
        ("--mount=source=nothing,target=/m true", "nothing"),
    ] {
        let ran = lab.build_fails(&with_files(&format!("RUN {run}\n")), &[]);
        ran.assert_stderr(says);
        ran.assert_stderr("Dockerfile:5");
    }
}

#[test]
fn memory_is_limited_and_gone() {
    let lab = Lab::new();
    lab.check(&[Case {
        name: "memory",
        dockerfile: "FROM busybox\nRUN mkdir -m 751 /there\n\
            RUN --mount=type=tmpfs,target=/t,size=1m --mount=type=tmpfs,target=/there --mount=type=tmpfs,target=/tmp \
            ! dd if=/dev/zero of=/t/big bs=1M count=2 2>/dev/null && dd if=/dev/zero of=/there/big bs=1M count=2 2>/dev/null \
            && stat -c '%n %a' /t /there /tmp > /modes && stat -f -c %T /t >> /modes && ls -A /there >> /modes\n",
        script: "cat /modes; ls -A /there; ls -d /t 2>/dev/null; true",
        prints: "/t 1777\n/there 751\n/tmp 1777\ntmpfs\nbig\n",
        ..Case::default()
    }]);
}
