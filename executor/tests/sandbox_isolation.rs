//! What a process in a sandbox sees, may do and leaves behind.

#![allow(clippy::unwrap_used, reason = "a test says by panicking")]

mod kit;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use builder_executor::sandbox::{Error, Exit, Network, SpawnRequest, default_spec, mount, with_seccomp_profile};
use kit::Room;

#[tokio::test]
async fn name_spaces_are_fresh() {
    let room = Room::new();
    let ours: Vec<String> = ["pid", "mnt", "ipc", "uts", "cgroup", "net"]
        .iter()
        .map(|name| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap().to_owned())
        .collect();
    let script = "for n in pid mnt ipc uts cgroup net; do readlink /proc/self/ns/$n; done; hostname; echo $$";
    let out = room.sh(script).await.ok();
    let theirs: Vec<&str> = out.lines().collect();
    for index in 0..5 {
        assert_ne!(theirs[index], ours[index]);
    }
    assert_eq!(theirs[5], ours[5], "the network is the builder's by default");
    assert_eq!(theirs[6..], ["buildkitsandbox", "1"]);
}

#[tokio::test]
async fn capabilities_and_filter_are_dockers() {
    let room = Room::new();
    let status = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status | tr -s '\\t ' ' '";
    let golden = "CapInh: 0000000000000000\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\n\
                  CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2\n";
    assert_eq!(room.sh(status).await.ok(), golden);
    let golden = "CapInh: 0000000000000000\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\n\
                  CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2\n";
    assert_eq!(room.sh_as("app", status).await.ok(), golden);
}

#[tokio::test]
async fn refused_system_calls_fail() {
    let room = Room::new();
    for script in
        ["mount -t tmpfs x /tmp", "unshare -m true", "mount -o remount,rw /proc/sys", "umount /proc", "hostname x"]
    {
        let outcome = room.sh(script).await;
        assert!(!matches!(outcome.exit, Ok(Exit::Code(0))), "{script}: {outcome:?}");
    }
}

#[tokio::test]
async fn hidden_and_protected_paths() {
    let room = Room::new();
    let script = "cat /proc/kcore /proc/keys /proc/timer_list | wc -c; ls -A /sys/firmware | wc -l; \
                  for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/mm/ksm/run; do \
                  (echo 0 > $f) 2>/dev/null && echo wrote $f; done; true";
    assert_eq!(room.sh(script).await.ok(), "0\n0\n");
}

#[tokio::test]
async fn devices_that_were_made_can_not_be_opened() {
    let room = Room::new();
    // Wherever it is made, and however it is reached.
    let script = "for d in /dev /tmp /dev/shm /; do \
                    rm -f $d/evil; mknod $d/evil b 254 0 && { head -c1 $d/evil && echo READ $d; }; \
                    rm -f $d/evil; mknod $d/evil c 1 1 && { head -c1 $d/evil && echo READ $d; }; \
                    rm -f $d/evil; mknod $d/evil c 1 3 && { (echo > $d/evil) && echo WROTE $d; }; \
                  done 2>/dev/null; true";
    assert_eq!(room.sh(script).await.ok(), "");
    let script = "echo x > /dev/null && head -c4 /dev/zero | wc -c && head -c4 /dev/urandom | wc -c && \
                  ! (echo x > /dev/full) 2>/dev/null && ls /dev/fd/0 /dev/stdin /dev/ptmx /dev/pts/ptmx >/dev/null && \
                  stat -c '%A %n' /dev/null /dev/shm && chmod 600 /dev/null";
    assert_eq!(room.sh(script).await.ok(), "4\n4\ncrw-rw-rw- /dev/null\ndrwxrwxrwt /dev/shm\n");
    assert_eq!(std::fs::metadata("/dev/null").unwrap().permissions().mode() & 0o777, 0o666, "the host's own");
    assert_eq!(room.sh("stat -c %a /dev/null").await.ok(), "666\n", "and that of the next step");
}

#[tokio::test]
async fn provided_files_are_seen_and_not_left() {
    let room = Room::new();
    let layer = room.layer();
    let script = "cat /etc/resolv.conf /etc/hosts /etc/hostname; (echo x >> /etc/hosts) 2>/dev/null || echo read-only";
    let out = room.run_on(&room.options(&["/bin/sh", "-c", script]), &layer).await.ok();
    assert_eq!(out, "provided resolv.conf\nprovided hosts\nprovided hostname\nread-only\n");
    assert_eq!(layer.entries(), Vec::<String>::new());
}

#[tokio::test]
async fn files_are_mounted_on_links_themselves() {
    let room = Room::new();
    symlink("../run/systemd/resolv.conf", room.image().join("etc/resolv.conf")).unwrap();
    symlink("/nowhere/../../../etc/passwd", room.image().join("etc/hosts")).unwrap();
    let layer = room.layer();
    let script = "cat /etc/resolv.conf /etc/hosts; test -e /run || echo no /run";
    let out = room.run_on(&room.options(&["/bin/sh", "-c", script]), &layer).await.ok();
    assert_eq!(out, "provided resolv.conf\nprovided hosts\nno /run\n");
    assert_eq!(layer.entries(), Vec::<String>::new());
}

#[tokio::test]
async fn missing_mount_points_are_made_and_removed() {
    let room = Room::new();
    let source = room.directory.path().join("volume");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "of the volume").unwrap();
    let mut options = room.options(&["/bin/sh", "-c", "cat /a/deep/point/file; echo more > /a/deep/point/new"]);
    options.mounts = vec![mount("bind", &source, Path::new("/a/deep/point"), &["rbind", "rw"])];
    let layer = room.layer();
    assert_eq!(room.run_on(&options, &layer).await.ok(), "of the volume");
    assert_eq!(layer.entries(), Vec::<String>::new());
    assert_eq!(std::fs::read_to_string(source.join("new")).unwrap(), "more\n");
    // What the process put there stays, and nothing behind a link is touched.
    let victim = room.directory.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    options.args[2] = format!("echo kept > /a/kept; mv /a /b; ln -s {} /a", victim.display());
    let layer = room.layer();
    let _ = room.run_on(&options, &layer).await;
    assert!(victim.is_dir());
}

#[tokio::test]
async fn volumes_and_temporary_file_systems() {
    let room = Room::new();
    let source = room.directory.path().join("volume");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "x").unwrap();
    let mut options = room.options(&[
        "/bin/sh",
        "-c",
        "(echo y > /v/file) 2>/dev/null && echo wrote; grep -c ' /t .*size=1024k' /proc/mounts; echo z > /t/z; cat /t/z; \
         cat /one; mknod /v2/null c 1 3 && (echo > /v2/null) 2>/dev/null && echo device; true",
    ]);
    options.mounts = vec![
        mount("bind", &source, Path::new("/v"), &["rbind", "ro"]),
        mount("bind", &source, Path::new("/v2"), &["rbind", "rw"]),
        mount("tmpfs", Path::new("tmpfs"), Path::new("/t"), &["size=1m", "mode=755"]),
        mount("bind", &source.join("file"), Path::new("/one"), &["bind", "ro"]),
    ];
    assert_eq!(room.run(&options).await.ok(), "1\nz\nx");
    options.mounts = vec![mount("bind", Path::new("/no/such/file"), Path::new("/v"), &["bind"])];
    let error = room.run(&options).await.exit.unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
    symlink("/proc", room.image().join("link")).unwrap();
    for destination in ["/proc/sys/kernel", "/link/self/attr", "/proc/new"] {
        options.mounts = vec![mount("bind", &source, Path::new(destination), &["bind"])];
        let outcome = room.run(&options).await;
        assert!(outcome.exit.is_err(), "{destination}: {outcome:?}");
    }
    options.mounts = vec![mount("bind", &source, Path::new("/v"), &["bind", "rshared"])];
    assert!(matches!(room.run(&options).await.exit, Err(Error::Refused(_))));
}

#[tokio::test]
async fn read_only_root() {
    let room = Room::new();
    let mut options =
        room.options(&["/bin/sh", "-c", "(echo x > /file) 2>/dev/null || echo refused; echo y > /dev/shm/file"]);
    options.read_only = true;
    let layer = room.layer();
    assert_eq!(room.run_on(&options, &layer).await.ok(), "refused\n");
    assert_eq!(layer.entries(), Vec::<String>::new());
}

#[tokio::test]
async fn no_network_is_only_loopback() {
    let room = Room::new();
    let mut options = room.options(&[
        "/bin/sh",
        "-c",
        "ls /sys/class/net; ip -o link show lo | grep -c 'LOOPBACK,UP'; ping -c1 -w2 127.0.0.1 >/dev/null && echo pong",
    ]);
    options.network = Network::None;
    assert_eq!(room.run(&options).await.ok(), "lo\n1\npong\n");
}

#[tokio::test]
async fn environment_is_exact() {
    let room = Room::new();
    let mut options = room.options(&["/bin/env"]);
    options.env = vec!["A=1".into(), "EMPTY=".into(), "A B=c".into()];
    assert_eq!(room.run(&options).await.ok(), "A=1\nEMPTY=\nA B=c\nHOME=/root\n");
    options.env = vec!["HOME=/given".into()];
    assert_eq!(room.run(&options).await.ok(), "HOME=/given\n");
}

#[tokio::test]
async fn nothing_of_the_builder_leaks() {
    let room = Room::new();
    let script = "ls /proc/self/fd | wc -l; umask; cat /proc/1/environ | tr '\\0' '\\n' | wc -l; \
                  ls /proc | grep -c '^[0-9]'; grep -E '^Sig(Ign|Blk)' /proc/self/status | tr -s '\\t' ' '; \
                  stat -c %m / >/dev/null; grep -c . /proc/self/mountinfo";
    let out = room.sh(script).await.ok();
    let lines: Vec<&str> = out.lines().collect();
    // 0, 1, 2 and the directory that ls reads.
    assert_eq!(lines[0], "4");
    assert_eq!(lines[1..3], ["0022", "2"]);
    assert_eq!(lines[4..6], ["SigBlk: 0000000000000000", "SigIgn: 0000000000000000"]);
    assert!(lines[6].parse::<u32>().unwrap() < 40, "{out}");
    let mounts = room.sh("cat /proc/self/mountinfo").await.ok();
    for mount in mounts.lines() {
        let point = mount.split(' ').nth(4).unwrap();
        let known = ["/proc", "/sys", "/dev", "/etc/"].iter().any(|prefix| point.starts_with(prefix)) || point == "/";
        assert!(known && !mount.contains("devtmpfs"), "{mounts}");
    }
    assert!(!mounts.contains(" shared:") && !mounts.contains(" master:"), "{mounts}");
}

#[tokio::test]
async fn users_and_groups() {
    let room = Room::new();
    for (user, expected) in [
        ("", "0 0 0 /root\n"),
        ("root", "0 0 0 /root\n"),
        ("app", "1000 1001 1001 4 44 /home/app\n"),
        ("1000", "1000 1001 1001 4 44 /home/app\n"),
        ("app:video", "1000 44 44 /home/app\n"),
        ("app:7", "1000 7 7 /home/app\n"),
        ("4242", "4242 0 0 /\n"),
        ("4242:4343", "4242 4343 4343 /\n"),
    ] {
        let out = room.sh_as(user, "echo $(id -u) $(id -g) $(id -G) $HOME").await.ok();
        assert_eq!(out, expected, "{user:?}");
    }
    for user in ["nobody", "4294967296", "-1", "app:nogroup"] {
        assert!(matches!(room.sh_as(user, "true").await.exit, Err(Error::Refused(_))), "{user:?}");
    }
    let out = room
        .sh_as("app", "echo to stdout > /dev/stdout; echo to stderr > /dev/stderr; touch /tmp/mine && ! touch /not");
    let out = out.await;
    assert_eq!((out.stdout.as_str(), out.stderr.lines().next()), ("to stdout\n", Some("to stderr")), "{out:?}");
}

#[tokio::test]
async fn working_directories() {
    let room = Room::new();
    symlink("/tmp", room.image().join("link")).unwrap();
    for (cwd, expected) in
        [("/tmp", "/tmp\n"), ("/made/for/it", "/made/for/it\n"), ("/link", "/tmp\n"), ("/../../tmp", "/tmp\n")]
    {
        let mut options = room.options(&["/bin/pwd"]);
        options.cwd = cwd.into();
        let layer = room.layer();
        assert_eq!(room.run_on(&options, &layer).await.ok(), expected, "{cwd}");
    }
    for descriptor in 0..30 {
        let mut options = room.options(&["/bin/pwd"]);
        options.cwd = format!("/proc/self/fd/{descriptor}").into();
        let outcome = room.run(&options).await;
        assert!(outcome.exit.is_err(), "{outcome:?}");
    }
    for cwd in ["/etc/passwd", "/proc/1/root", "/proc/self/cwd/x"] {
        let mut options = room.options(&["/bin/pwd"]);
        options.cwd = cwd.into();
        let outcome = room.run(&options).await;
        assert!(outcome.exit.is_err(), "{cwd}: {outcome:?}");
    }
}

#[tokio::test]
async fn hostile_images_are_refused() {
    type Prepare = fn(&Path);
    let cases: [(&str, Prepare); 6] = [
        ("/proc", |image| symlink("/tmp", image.join("proc")).unwrap()),
        ("/sys", |image| symlink("../../../sys", image.join("sys")).unwrap()),
        ("/dev", |image| std::fs::write(image.join("dev"), "").unwrap()),
        ("/dev", |image| symlink("/etc", image.join("dev")).unwrap()),
        ("/etc/resolv.conf", |image| std::fs::create_dir(image.join("etc/resolv.conf")).unwrap()),
        ("/proc", |image| {
            std::process::Command::new("mkfifo").arg(image.join("proc")).status().unwrap();
        }),
    ];
    for (path, prepare) in cases {
        let room = Room::new();
        prepare(&room.image());
        let outcome = room.sh("true").await;
        let Err(Error::Refused(reason)) = outcome.exit else { panic!("{path}: {outcome:?}") };
        assert!(reason.contains(path), "{path}: {reason}");
    }
    // These are odd and harmless.
    let room = Room::new();
    std::process::Command::new("mkfifo").arg(room.image().join("etc/hosts")).status().unwrap();
    assert_eq!(room.sh("cat /etc/hosts").await.ok(), "provided hosts\n");
    let room = Room::new();
    std::fs::rename(room.image().join("etc"), room.image().join("real-etc")).unwrap();
    symlink("/real-etc", room.image().join("etc")).unwrap();
    let layer = room.layer();
    let options = room.options(&["/bin/cat", "/real-etc/hosts"]);
    assert_eq!(room.run_on(&options, &layer).await.ok(), "provided hosts\n");
    assert_eq!(layer.entries(), Vec::<String>::new());
}

#[tokio::test]
async fn the_builders_own_program_can_not_be_written() {
    let room = Room::new();
    // The classic: the entry point is the runtime's own binary, which then runs with the image's libraries.
    let helper = std::fs::read(kit::HELPER).unwrap();
    symlink("/proc/self/exe", room.image().join("entry")).unwrap();
    let outcome = room.run(&room.options(&["/entry"])).await;
    // It may not even start: its libraries are not in the image.
    assert!(!matches!(outcome.exit, Ok(Exit::Code(0))) || outcome.stdout.is_empty(), "{outcome:?}");
    assert_eq!(std::fs::read(kit::HELPER).unwrap(), helper);
    // What keeps it so: the processes run from a mount that is read-only.
    let (pid, _) = kit::descendants().into_iter().find(|(_, name)| name == "builder-sandbox").unwrap();
    let mount = rustix::fs::statvfs(format!("/proc/{pid}/exe")).unwrap();
    assert!(mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
}

#[tokio::test]
async fn unsupported_specifications_are_refused() {
    let room = Room::new();
    let layer = room.layer();
    let root = room.mount(&layer);
    let mut spec = default_spec(&room.options(&["/bin/true"]));
    let mut linux = spec.linux().clone().unwrap();
    linux.set_namespaces(Some(vec![]));
    spec.set_linux(Some(linux));
    assert!(matches!(room.sandbox.spawn(SpawnRequest::new(&spec, &root)), Err(Error::Unsupported(_))));
    let mut spec = default_spec(&room.options(&["/bin/true"]));
    spec.set_hooks(Some(oci_spec::runtime::Hooks::default()));
    assert!(matches!(room.sandbox.spawn(SpawnRequest::new(&spec, &root)), Err(Error::Unsupported(_))));
}

/// The specification is not only ours: with the root's path and the profile written out other runtimes take it.
#[tokio::test]
async fn the_specification_runs_under_runc() {
    let room = Room::new();
    let script =
        "id -u; hostname; cat /etc/hosts; pwd; grep -E '^(CapBnd|Seccomp:)' /proc/self/status | tr -s '\\t' ' '";
    let mut options = room.options(&["/bin/sh", "-c", script]);
    options.cwd = "/tmp".into();
    let spec = with_seccomp_profile(default_spec(&options));
    let bundle = room.directory.path().join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    std::fs::rename(room.image(), bundle.join("rootfs")).unwrap();
    std::fs::write(bundle.join("config.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
    let id = format!("builder-test-{}", std::process::id());
    let run = std::process::Command::new("runc")
        .arg("--root")
        .arg(room.directory.path().join("runc"))
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(&id)
        .stdin(std::process::Stdio::null())
        .output();
    // Where it is not installed there is nothing to compare with.
    let Ok(output) = run else { return };
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0\nbuildkitsandbox\nprovided hosts\n/tmp\nCapBnd: 00000000a80425fb\nSeccomp: 2\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
