//! How root file systems are put together: the result is the same with and without overlay mounts.

use std::fs;
use std::process::Command;

use crate::files::archive_of_everything;
use crate::kit::{Lab, Ran, busybox_tar};
use crate::tree::{assert_same, exports, facts};

const DOCKERFILE: &str = "FROM busybox AS work\nADD all.tar /all/\n\
    RUN mkdir -p /w/gone /w/opaque/old && touch /w/gone/x /w/removed /w/opaque/old/x && ln /w/removed /w/hard && mkfifo /w/fifo && chown 5:6 /w/fifo\n\
    RUN rm -r /w/gone /w/removed /w/opaque && mkdir /w/opaque && touch /w/opaque/new && chmod 700 /w && chown 7:8 /w && rm /all/plain && chmod 400 /all/owned\n\
    COPY f /w/f\nCOPY --link f /l/\nWORKDIR /w/deep\nUSER app\nRUN ls /all\n\
    FROM scratch AS result\nCOPY --from=work /w /w\nCOPY --from=work /all /all\nCOPY --from=work /l /l\n";

#[test]
fn without_overlay_everything_is_copied_and_the_result_is_the_same() {
    let lab = Lab::new();
    let (context, _) = archive_of_everything(&lab);
    fs::write(context.join("Dockerfile"), DOCKERFILE).expect("ours");
    fs::write(context.join("f"), "f\n").expect("ours");
    let args = ["--target", "result"];
    let [overlay, _] = exports(&lab, &context, "overlay", &args);
    let [copied, _] = exports(&lab, &context, "vfs", &["--no-cache", "--driver=vfs", "--target", "result"]);
    assert_same(&facts(&copied), &facts(&overlay), "vfs");
    // What one wrote the other reads.
    let ran = lab.build_with(&context, &["--target", "work"]);
    assert!(ran.executed().is_empty(), "{}", ran.stderr);
    let script = ["run", "--driver=vfs", "-u", "0", "app", "sh", "-c", "cat /w/f /l/f; touch /tmp/x; ls /w"];
    assert_eq!(lab.ok(&script).stdout, "f\nf\ndeep\nf\nfifo\nhard\nopaque\n");
}

#[test]
fn a_store_where_overlay_does_not_work_falls_back_and_says_so() {
    let lab = Lab::empty();
    let context = lab.project("FROM busybox\nCOPY f /f\nRUN cat /f >/g && rm /f\n", &[("f", "content\n")]);
    // An overlay can't be the upper layer of another: the usual thing inside of a container.
    let script = format!(
        "cd {dir} && mkdir -p lower upper work {root} && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work {root} || exit 99\n\
         {builder} info; {builder} import {busybox} busybox && {builder} build --progress=plain -t app {context} && {builder} run app sh -c 'cat /g; ls /f'\n",
        dir = lab.path().display(),
        root = lab.root().display(),
        builder = env!("CARGO_BIN_EXE_builder"),
        busybox = busybox_tar().display(),
        context = context.display(),
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", &script])
        .env("BUILDER_ROOT", lab.root())
        .env("BUILDER_DURABILITY", "none")
        .env_remove("BUILDER_DRIVER");
    let ran = Ran::of(command.output().expect("unshare is part of util-linux"));
    assert!(ran.stdout.contains("vfs (") && ran.stdout.contains("overlay"), "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.ends_with("content\n"), "{}\n{}", ran.stdout, ran.stderr);
    ran.assert_stderr("/f: No such file");
    let said = ran.stderr.lines().any(|line| line.contains("vfs"));
    assert!(said, "the build does not say that it copies instead of mounting\n{}", ran.stderr);
}

#[test]
fn drivers_are_asked_for_by_name() {
    let lab = Lab::new();
    for (name, shown) in [("overlay", "overlay ("), ("vfs", "vfs (")] {
        assert!(lab.ok(&["--driver", name, "info"]).stdout.contains(shown));
    }
    let ran = lab.run(&["--driver", "zfs", "info"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    ran.assert_stderr("zfs");
}
