//! What `RUN` steps get from the command line: names, limits, rights; and programs for other machines.

use std::fs;
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::kit::{Lab, Ran, tool};

#[track_caller]
fn build(lab: &Lab, dockerfile: &str, args: &[&str]) -> Ran {
    lab.build_with(&lab.project(dockerfile, &[]), args)
}

#[test]
fn steps_know_more_hosts() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN cat /etc/hosts && hostname\n";
    let args = ["--add-host", "db:10.1.2.3", "--add-host=six=[2001:db8::1]", "--add-host", "me:host-gateway"];
    let output = build(&lab, dockerfile, &args).output();
    for line in ["127.0.0.1\tlocalhost buildkitsandbox\n", "10.1.2.3\tdb\n", "2001:db8::1\tsix\n", "127.0.0.1\tme\n", "buildkitsandbox\n"] {
        assert!(output.contains(line), "{line:?}\n{output}");
    }
    assert!(!lab.shell("cat /etc/hosts").contains("10.1.2.3"), "nothing of it is in the image");
    let ran = build(&lab, dockerfile, &[]);
    assert_eq!(ran.executed().len(), 1, "hosts are part of the key");
    assert!(!ran.output().contains("10.1.2.3"));
    let named = build(&lab, dockerfile, &["--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=box"]).output();
    assert!(named.contains("localhost box\n") && named.ends_with("box\n"), "{named}");
    let project = lab.project(dockerfile, &[]);
    for bad in ["db", "db:", ":1.2.3.4", "db:1.2.3", "d b:1.2.3.4", "db:localhost"] {
        let ran = lab.try_build(&project, &["--add-host", bad]);
        assert_eq!(ran.code, 2, "{bad}\n{}", ran.stderr);
    }
}

#[test]
fn steps_are_limited_and_keys_are_not_changed_by_it() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN df -k /dev/shm | tail -1 | awk '{print \"shm\", $2}' && ulimit -n && ulimit -Hn\n";
    let output = build(&lab, dockerfile, &["--shm-size", "8m", "--ulimit", "nofile=100:200"]).output();
    assert!(output.ends_with("shm 8192\n100\n200\n"), "{output}");
    assert!(build(&lab, dockerfile, &["--shm-size", "16m"]).executed().is_empty(), "limits are not in the key");
    let output = build(&lab, dockerfile, &["--no-cache"]).output();
    assert!(output.contains("shm 65536\n"), "{output}");
    let project = lab.project(dockerfile, &[]);
    for (flag, value) in [
        ("--shm-size", "x"),
        ("--ulimit", "nofile"),
        ("--ulimit", "nofile=2:1"),
        ("--ulimit", "nosuch=1"),
        ("--resource", "memory"),
        ("--resource", "nosuch=1"),
        ("--resource", "memory=lots"),
        ("--cgroup-parent", "a/../../b"),
        ("--allow", "everything"),
    ] {
        let ran = lab.try_build(&project, &[flag, value]);
        assert_eq!(ran.code, 2, "{flag} {value}\n{}", ran.stderr);
        ran.assert_stderr(value);
    }
}

/// Version 1 here: the controllers that have limits are seen in the sandbox.
#[test]
fn resources_are_limited_by_control_groups() {
    let lab = Lab::new();
    let v1 = Path::new("/sys/fs/cgroup/memory").is_dir();
    let (memory, quota) = if v1 {
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    } else {
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max")
    };
    let dockerfile = format!("FROM busybox\nRUN cat {memory} {quota}; cat /proc/self/cgroup\n");
    let flags = ["--resource", "memory=64m", "--resource", "cpu-period=100000", "--resource", "cpu-quota=50000"];
    let output = build(&lab, &dockerfile, &flags).output();
    assert!(output.contains("67108864\n50000"), "{output}");
    // Too much is the end of the process that takes it, and of nothing else.
    let hungry = lab.project("FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=200M count=1\n", &[]);
    let ran = lab.try_build(&hungry, &["--resource", "memory=32m", "--resource", "memory-swap=32m"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let parent = format!("builder-test-{}", std::process::id());
    let flags = ["--cgroup-parent", &format!("/{parent}/deep"), "--no-cache"];
    build(&lab, &dockerfile, &flags);
    let root = if v1 { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
    assert!(!Path::new(root).join(&parent).exists(), "what was made for a step is gone with it");
    let project = lab.project("FROM busybox\nRUN echo begun; until test -e /dev/shm/x; do true; done\n", &[]);
    let mut building = lab.start(&["build", "--progress=plain", "--cgroup-parent", &format!("/{parent}"), project.to_str().expect("UTF-8")]);
    building.wait_for("begun");
    let groups: Vec<_> = fs::read_dir(Path::new(root).join(&parent)).expect("it was made").flatten().filter(|entry| entry.path().is_dir()).collect();
    assert_eq!(groups.len(), 1, "{groups:?}");
    let inside = fs::read_to_string(groups[0].path().join("cgroup.procs")).expect("it can be read");
    assert!(!inside.trim().is_empty(), "the step is in it");
}

#[test]
fn an_insecure_step_may_do_everything() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN --security=insecure grep CapBnd /proc/self/status && mkdir /m && mount -t tmpfs none /m && touch /m/x \
        && ls /m && umount /m && mknod /tmp/null c 1 3 && echo x > /tmp/null && test -b /dev/loop0 && test -c /dev/fuse && test -c /dev/net/tun \
        && head -c1 /dev/zero | wc -c && grep Seccomp: /proc/self/status && test -w /proc/sys/kernel/hostname && echo all\n\
        RUN grep CapEff /proc/self/status && ! mount -t tmpfs none /m 2>/dev/null && ! test -e /dev/loop0\n";
    let ran = lab.try_build(&lab.project(dockerfile, &[]), &[]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("--allow security.insecure");
    let ran = build(&lab, dockerfile, &["--allow", "security.insecure"]);
    let output = ran.output();
    let own = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let own = own.lines().find_map(|line| line.strip_prefix("CapPrm:\t")).expect("it has the line");
    assert!(output.contains(&format!("CapBnd:\t{own}\n")), "{own}\n{output}");
    assert!(output.contains("Seccomp:\t0\n") && output.contains("all\n"), "{output}");
    assert!(output.contains("CapEff:\t00000000a80425fb\n"), "the next step has what all have\n{output}");
    // A file system in a file, as installers make them.
    if Path::new("/dev/loop-control").exists() && Path::new("/sbin/mkfs.ext2").exists() {
        let dockerfile = "FROM busybox\nRUN --security=insecure dd if=/dev/zero of=/disk bs=1M count=4 2>/dev/null && mkfs.ext2 -q -F /disk \
            && mkdir /mnt && mount -o loop /disk /mnt && touch /mnt/x && ls /mnt && umount /mnt && rm /disk && echo looped\n";
        let output = build(&lab, dockerfile, &["--allow=security.insecure"]).output();
        assert!(output.ends_with("looped\n"), "{output}");
    }
}

#[test]
fn the_network_is_chosen_for_each_step() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN --network=none ls /sys/class/net\nRUN --network=host ls /sys/class/net | wc -l\n";
    let count = fs::read_dir("/sys/class/net").expect("sysfs is mounted").count();
    let output = build(&lab, dockerfile, &[]).output();
    assert!(output.ends_with(&format!("lo\n{count}\n")), "{output}");
    let project = lab.project(dockerfile, &[]);
    let ran = lab.try_build(&project, &["--network", "none"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("--allow network.host");
    assert_eq!(lab.try_build(&project, &["--network", "none", "--allow", "network.host"]).code, 0);
}

/// A binary format that nobody else has, for the handler of this test.
const MAGIC: &str = "BUILDERTESTFORMAT";

/// Unregisters the handler at the end.
struct Handler(std::path::PathBuf);

impl Drop for Handler {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, "-1");
    }
}

/// What a registered interpreter runs, runs in a step: the kernel opened the interpreter when it was registered.
#[test]
fn registered_interpreters_work_in_steps() {
    let lab = Lab::new();
    let mount = fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| {
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    });
    let Ok(mount) = mount else { return };
    let root = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&mount));
    // Statically linked, like the interpreters of qemu-user-static: it gets the path of the program as an argument.
    let interpreter = lab.path().join("sh");
    tool("cp", &["/bin/busybox".as_ref(), interpreter.as_ref()]);
    let name = format!("builder-test-{}", std::process::id());
    let rule = format!(":{name}:M::{MAGIC}::{}:F", interpreter.display());
    fs::write(format!("{root}/register"), rule).expect("the rule is right");
    let handler = Handler(format!("{root}/{name}").into());
    let program = format!("{MAGIC}\necho interpreted\n");
    let project = lab.project("FROM busybox\nCOPY --chmod=755 program /program\nRUN [\"/program\"]\n", &[("program", &program)]);
    let ran = lab.try_build(&project, &["--no-cache"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.output().ends_with("interpreted\n"), "{}", ran.output());
    drop(handler);
    let ran = lab.try_build(&project, &["--no-cache"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("exec format error");
}
