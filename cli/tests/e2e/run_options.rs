//! What `RUN` steps get from the command line: names, limits, rights; and programs for other machines.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::Signal;

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
    for line in [
        "127.0.0.1\tlocalhost buildkitsandbox\n",
        "10.1.2.3\tdb\n",
        "2001:db8::1\tsix\n",
        "127.0.0.1\tme\n",
        "buildkitsandbox\n",
    ] {
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
    let dockerfile =
        "FROM busybox\nRUN df -k /dev/shm | tail -1 | awk '{print \"shm\", $2}' && ulimit -n && ulimit -Hn\n";
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
    let project = lab.project("FROM busybox\nRUN echo be\"gun\"; until test -e /dev/shm/x; do true; done\n", &[]);
    let mut building = lab.start(&[
        "build",
        "--progress=plain",
        "--cgroup-parent",
        &format!("/{parent}"),
        project.to_str().expect("UTF-8"),
    ]);
    building.wait_for("begun");
    let groups: Vec<_> = fs::read_dir(Path::new(root).join(&parent))
        .expect("it was made")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .collect();
    assert_eq!(groups.len(), 1, "{groups:?}");
    let inside = fs::read_to_string(groups[0].path().join("cgroup.procs")).expect("it can be read");
    assert!(!inside.trim().is_empty(), "the step is in it");
    building.signal(Signal::INT);
    assert_eq!(building.finish().code, 130);
    assert!(!Path::new(root).join(&parent).exists(), "nor does an interrupted step leave it");
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
    if Path::new("/dev/loop-control").exists() {
        let dockerfile = "FROM busybox\nRUN --security=insecure dd if=/dev/zero of=/disk bs=1M count=4 2>/dev/null && mke2fs -F /disk >/dev/null \
            && mkdir /mnt && mount -o loop /disk /mnt && touch /mnt/x && ls /mnt && umount /mnt && rm /disk && echo looped\n";
        let output = build(&lab, dockerfile, &["--allow=security.insecure"]).output();
        assert!(output.ends_with("looped\n"), "{output}");
    }
}

#[test]
fn the_network_is_chosen_for_each_step() {
    let lab = Lab::new();
    let dockerfile =
        "FROM busybox\nRUN --network=none ls /sys/class/net\nRUN --network=host ls /sys/class/net | wc -l\n";
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

/// Where the kernel takes handlers; nothing where it has no such thing.
fn handlers() -> Option<OwnedFd> {
    let context = fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    fsconfig_create(&context).ok()?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).ok()
}

impl Handler {
    fn register(mount: &OwnedFd, name: &str, rule: &str) -> Self {
        let root = format!("/proc/self/fd/{}", mount.as_raw_fd());
        let name = format!("builder-{name}-{}", std::process::id());
        fs::write(format!("{root}/register"), format!(":{name}:M::{rule}:F")).expect("the rule is right");
        Self(format!("{root}/{name}").into())
    }
}

/// What a registered interpreter runs, runs in a step: the kernel opened the interpreter when it was registered.
#[test]
fn registered_interpreters_work_in_steps() {
    let lab = Lab::new();
    let Some(mount) = handlers() else { return };
    // Statically linked, like the interpreters of qemu-user-static: it gets the path of the program as an argument.
    let interpreter = lab.path().join("sh");
    tool("cp", &["/bin/busybox".as_ref(), interpreter.as_ref()]);
    let handler = Handler::register(&mount, "test", &format!("{MAGIC}::{}", interpreter.display()));
    let program = format!("{MAGIC}\necho interpreted\n");
    let project =
        lab.project("FROM busybox\nCOPY --chmod=755 program /program\nRUN [\"/program\"]\n", &[("program", &program)]);
    let ran = lab.try_build(&project, &["--no-cache"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // What the shell says of the first line goes another way, and may come later.
    assert!(ran.output().lines().any(|line| line == "interpreted"), "{}", ran.output());
    drop(handler);
    let ran = lab.try_build(&project, &["--no-cache"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("exec format error");
}

/// A program for RISC-V: it writes a line and ends.
fn riscv_program() -> Vec<u8> {
    const TEXT: &[u8] = b"riscv64\n";
    const BASE: u64 = 0x1_0000;
    const HEADERS: u64 = 64 + 56;
    let code: [u32; 9] = [
        0x0400_0893,                             // li a7, 64 (write)
        0x0010_0513,                             // li a0, 1
        0x0000_0597,                             // auipc a1, 0
        0x0005_8593 | ((9 - 2) * 4) << 20,       // addi a1, a1, to the text
        0x0000_0613 | (TEXT.len() as u32) << 20, // li a2, its length
        0x0000_0073,                             // ecall
        0x05d0_0893,                             // li a7, 93 (exit)
        0x0000_0513,                             // li a0, 0
        0x0000_0073,                             // ecall
    ];
    let size = HEADERS + 4 * code.len() as u64 + TEXT.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2_u16, 243] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1_u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    for half in [1_u32, 5] {
        elf.extend(half.to_le_bytes());
    }
    for word in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code.iter().flat_map(|instruction| instruction.to_le_bytes()));
    elf.extend(TEXT);
    elf
}

/// A step for another machine runs where there is an interpreter, and says what to install where there is none.
#[test]
fn programs_for_other_machines_need_an_interpreter() {
    const QEMU: &str = "/usr/bin/qemu-riscv64-static";
    let lab = Lab::empty();
    let project = lab.project("FROM scratch\nCOPY program /program\nRUN [\"/program\"]\n", &[]);
    let program = project.join("program");
    fs::write(&program, riscv_program()).expect("the context is writable");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the context is writable");
    let args = ["--platform", "linux/riscv64", "--no-cache", "-o", "type=cacheonly"];
    if !Path::new("/proc/sys/fs/binfmt_misc/qemu-riscv64").exists() {
        let ran = lab.try_build(&project, &args);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        for part in ["exec format error", "linux/riscv64", "apt-get install qemu-user-static"] {
            ran.assert_stderr(part);
        }
    }
    let Some(mount) = handlers().filter(|_| Path::new(QEMU).exists()) else { return };
    let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00";
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    let _handler = Handler::register(&mount, "riscv", &format!("{magic}:{mask}:{QEMU}"));
    let ran = lab.try_build(&project, &args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.output().ends_with("riscv64\n"), "{}", ran.output());
}
