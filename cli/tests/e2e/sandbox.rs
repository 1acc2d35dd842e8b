//! What a RUN step sees of the world, and what it can't reach.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::kit::{Lab, Ran, processes};

/// What one RUN prints, in the order of its commands.
#[track_caller]
fn run(lab: &Lab, script: &str) -> String {
    lab.build_files(&format!("FROM busybox\nRUN <<'EOF'\n{script}\nEOF\n"), &[]).output()
}

#[test]
fn a_step_has_name_spaces_of_its_own_and_is_their_first_process() {
    let lab = Lab::new();
    let host =
        |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).expect("proc is mounted").display().to_string();
    let ran = run(
        &lab,
        "for n in mnt pid ipc uts cgroup net; do echo $n $(readlink /proc/self/ns/$n); done; echo $$; hostname; ls /proc | grep -c '^[0-9]'",
    );
    let lines: Vec<&str> = ran.lines().collect();
    for line in &lines[..6] {
        let (name, id) = line.split_once(' ').expect("two words");
        assert_eq!(
            id == host(name),
            name == "net",
            "{name}: the default network is the host's, the rest is the step's own"
        );
    }
    assert_eq!(lines[6..8], ["1", "buildkitsandbox"], "{ran}");
    assert!(lines[8].parse::<u32>().expect("a number") <= 4, "processes of the host are to be seen: {ran}");
}

#[test]
fn capabilities_are_dockers_and_users_have_none() {
    let lab = Lab::new();
    let ran = lab.build_files(
        "FROM busybox\nRUN grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status\nUSER app\nRUN grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status\n",
        &[],
    );
    let golden = |inherited, own, bounding| {
        format!(
            "CapInh:\t{inherited}\nCapPrm:\t{own}\nCapEff:\t{own}\nCapBnd:\t{bounding}\nCapAmb:\t{inherited}\nNoNewPrivs:\t0\nSeccomp:\t2\n"
        )
    };
    let (none, docker) = ("0000000000000000", "00000000a80425fb");
    assert_eq!(ran.output(), golden(none, docker, docker) + &golden(none, none, docker));
    assert_eq!(lab.shell("grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status"), golden(none, none, docker));
}

#[test]
fn proc_is_masked_and_sys_is_read_only() {
    let lab = Lab::new();
    let ran = run(
        &lab,
        "for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/sched_debug /proc/latency_stats; do [ -e $f ] && head -c 64 $f 2>/dev/null | wc -c; done | sort -u\n\
         for d in /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap; do ls -A $d 2>/dev/null; done\n\
         for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/sys/vm/drop_caches /proc/irq/default_smp_affinity; do (echo 1 >$f) 2>/dev/null && echo wrote $f; done\n\
         touch /sys/x 2>/dev/null && echo wrote /sys\n\
         for d in /sys/kernel /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/x 2>/dev/null && echo made $d/x; done\n\
         mount -t tmpfs x /tmp 2>/dev/null && echo mounted; mount -o remount,rw /sys 2>/dev/null && echo remounted; umount /proc/kcore 2>/dev/null && echo unmounted\n\
         unshare -m true 2>/dev/null && echo unshared; unshare -U true 2>/dev/null && echo user name space; nsenter -t 1 -m true 2>/dev/null && echo entered\n\
         true",
    );
    assert_eq!(ran, "0\n");
}

#[test]
fn dev_has_the_usual_files_and_devices_that_a_step_makes_are_dead() {
    let lab = Lab::new();
    let ran = run(
        &lab,
        "ls -x -w 200 /dev | xargs; echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo out >/dev/stdout\n\
         touch /dev/shm/x && stat -c %a /dev/shm /dev/null; wc -c </dev/stdin; (: >/dev/full; echo x >/dev/full) 2>/dev/null || echo full\n\
         mknod /null c 1 3 && mknod /sda b 8 0 && mknod /mem c 1 1 && mknod /dev/mem c 1 1; for d in /null /sda /mem /dev/mem; do head -c1 $d 2>/dev/null && echo opened $d; done; true",
    );
    assert_eq!(
        ran,
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero\n3\n3\nout\n1777\n666\n0\nfull\n"
    );
    assert_eq!(
        lab.shell(
            "ls -l /null /sda | cut -c1; head -c1 /null 2>/dev/null || echo dead; ls /dev/mem 2>/dev/null || true"
        ),
        "c\nb\ndead\n"
    );
}

#[test]
fn resolv_conf_and_hosts_are_provided_and_not_left_in_the_layer() {
    let lab = Lab::new();
    let seen =
        run(&lab, "cat /etc/resolv.conf; echo ==; cat /etc/hosts; (echo x >/etc/resolv.conf) 2>/dev/null || true");
    let (servers, hosts) = seen.split_once("==\n").expect("both");
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let names: Vec<&str> =
        host.lines().filter(|line| line.starts_with("nameserver") && !line.contains(" 127.")).collect();
    for line in names {
        assert!(servers.contains(line), "{line} is not in {servers}");
    }
    assert!(hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
    assert_eq!(lab.inspect("app")["Layers"][1]["Files"], 0, "the step wrote nothing");

    // Without /etc, with links in its place, and with files that the image brought.
    let cases = [
        ("no /etc", "FROM scratch\nCOPY busybox /busybox\n", "busybox\n"),
        (
            "dangling links",
            "FROM busybox AS b\nRUN mkdir -p /x/etc && ln -s ../run/none /x/etc/resolv.conf && ln -s /no/where /x/etc/hosts\n\
             FROM scratch\nCOPY --from=b /x /\nCOPY busybox /busybox\n",
            "busybox\netc/\netc/hosts -> /no/where\netc/resolv.conf -> ../run/none\n",
        ),
        (
            "a link to a file",
            "FROM busybox AS b\nRUN mkdir -p /x/etc /x/o && echo own >/x/o/r && ln -s /o/r /x/etc/resolv.conf\n\
             FROM scratch\nCOPY --from=b /x /\nCOPY busybox /busybox\n",
            "busybox\netc/\netc/resolv.conf -> /o/r\no/\no/r own\n",
        ),
        (
            "own files",
            "FROM scratch\nCOPY own /etc/hosts\nCOPY own /etc/resolv.conf\nCOPY busybox /busybox\n",
            "busybox\netc/\netc/hosts own\netc/resolv.conf own\n",
        ),
    ];
    for (name, base, left) in cases {
        let context = lab.project(&format!("{base}RUN [\"/busybox\", \"cat\", \"/etc/resolv.conf\", \"/etc/hosts\"]\nRUN [\"/busybox\", \"true\"]\n"), &[("own", "own\n")]);
        fs::copy("/bin/busybox", context.join("busybox")).expect("busybox-static is installed");
        let ran = lab.build(&context);
        assert!(ran.output().contains("localhost"), "{name}: {}", ran.stderr);
        let layers = lab.inspect("app")["Layers"].clone();
        let layers = layers.as_array().expect("a list");
        for layer in &layers[layers.len() - 2..] {
            assert_eq!(layer["Files"], 0, "{name}: a step left something: {layer:#}");
        }
        let tar = lab.path().join("left.tar");
        lab.ok(&["build", "-o", &format!("type=tar,dest={}", tar.display()), context.to_str().expect("UTF-8")]);
        assert_eq!(listing(&lab, &tar), left, "{name}");
    }
}

/// The paths in a tarball with what links lead to and what small files say.
fn listing(lab: &Lab, tar: &Path) -> String {
    let to = lab.path().join("listing");
    let _ = fs::remove_dir_all(&to);
    fs::create_dir(&to).expect("ours");
    crate::kit::tool("tar", &["-C".as_ref(), to.as_ref(), "-xf".as_ref(), tar.as_ref()]);
    let mut lines = BTreeSet::new();
    let mut open = vec![to.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("ours").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(&to).expect("below").display().to_string();
            let kind = entry.file_type().expect("ours");
            lines.insert(if kind.is_symlink() {
                format!("{name} -> {}\n", fs::read_link(&path).expect("ours").display())
            } else if kind.is_dir() {
                open.push(path);
                format!("{name}/\n")
            } else if entry.metadata().expect("ours").len() < 100 {
                format!("{name} {}", fs::read_to_string(&path).expect("text"))
            } else {
                format!("{name}\n")
            });
        }
    }
    lines.into_iter().collect()
}

#[test]
fn without_network_there_is_only_the_loopback_interface() {
    let lab = Lab::new();
    let interfaces = "cut -s -d: -f1 /proc/net/dev | tr -d ' ' | sort | xargs";
    let none = lab.build_files(&format!("FROM busybox\nRUN --network=none {interfaces}; ping -c1 -w2 127.0.0.1 >/dev/null && echo up; nc -w1 192.0.2.1 9 </dev/null 2>&1 | grep -o unreachable\n"), &[]);
    assert_eq!(none.output(), "lo\nup\nunreachable\n");
    let mut host: Vec<String> = fs::read_to_string("/proc/net/dev")
        .expect("proc is mounted")
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect();
    host.sort_unstable();
    let context = lab.project(&format!("FROM busybox\nRUN {interfaces}\n"), &[]);
    assert_eq!(lab.build_with(&context, &["--network=none"]).output(), "lo\n");
    for mode in ["host", "default"] {
        assert_eq!(
            lab.build_with(&context, &["--no-cache", "--network", mode]).output(),
            host.join(" ") + "\n",
            "{mode}"
        );
    }
}

#[test]
fn the_environment_is_what_was_declared_and_nothing_else() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nENV A=1 B=\"two words\"\nARG C=3\nRUN [\"env\"]\nUSER app\nENV HOME=/mine PATH=/bin\nRUN [\"env\"]\n", &[]);
    let mut command = lab.command(&["build", "--progress=plain", context.to_str().expect("UTF-8")]);
    command.env("CANARY", "leaked").env("LD_PRELOAD_X", "leaked").env("C", "leaked").env("TERM", "leaked");
    let ran = Ran::of(command.output().expect("builder starts"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut lines: Vec<String> = ran.output().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut expected =
        vec!["A=1", "A=1", "B=two words", "B=two words", "C=3", "C=3", "HOME=/mine", "HOME=/root", "PATH=/bin", path];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn processes_that_a_step_leaves_behind_end_with_it() {
    let lab = Lab::new();
    let marker = format!("71{:07}", std::process::id());
    let started = Instant::now();
    let ran = run(
        &lab,
        &format!(
            "sleep {marker} & setsid sleep {marker} & (sleep {marker} >/dev/null 2>&1 &); (trap '' TERM HUP INT; sleep {marker}) & until [ $(ps | grep -c '[s]leep {marker}') -ge 4 ]; do :; done; echo done"
        ),
    );
    assert_eq!(ran, "done\n");
    assert!(started.elapsed() < Duration::from_secs(20), "the step waited for them");
    assert_eq!(processes(&marker), [""; 0]);
}

#[test]
fn files_and_descriptors_of_the_host_are_out_of_reach() {
    let lab = Lab::new();
    let canary = lab.path().join("canary");
    fs::write(&canary, "canary").expect("ours");
    let path = canary.display();
    let ran = run(
        &lab,
        &format!(
            "ls /proc/self/fd | xargs; umask; pwd; for p in {path} /proc/1/root{path} /proc/self/root{path} /proc/1/cwd{path} /../../../..{path}; do cat $p 2>/dev/null; done\n\
             for fd in /proc/[0-9]*/fd/*; do cat $fd/../../../../../../../..{path} 2>/dev/null; done; chroot /proc/1/root cat {path} 2>/dev/null; true"
        ),
    );
    assert_eq!(ran, "0 1 2 3\n0022\n/\n", "3 is the directory that is being listed");
    // A working directory that is a descriptor of the builder (CVE-2024-21626).
    for number in 3..12 {
        let context = lab.project(
            &format!(
                "FROM busybox\nWORKDIR /proc/self/fd/{number}\nRUN pwd; cat ../../../../../../../../..{path}; ls -a\n"
            ),
            &[],
        );
        let ran = lab.try_build(&context, &[]);
        assert!(!ran.output().contains("canary\n") && !ran.output().contains("snapshots"), "{number}: {}", ran.stderr);
    }
}

#[test]
fn hostile_roots_are_refused_or_harmless() {
    let lab = Lab::new();
    let host = lab.path().join("host");
    fs::create_dir(&host).expect("ours");
    let path = host.display();
    for (name, change) in [
        ("proc is a link", format!("rmdir /x/proc; ln -s {path} /x/proc")),
        ("dev is a link", format!("rm -rf /x/dev; ln -s {path} /x/dev")),
        ("sys is a link", format!("ln -s {path} /x/sys")),
        ("etc is a link", format!("rm -rf /x/etc; ln -s {path} /x/etc")),
        ("proc is a file", "touch /x/proc".to_owned()),
        ("etc/hosts is a directory", "mkdir -p /x/etc; rm -f /x/etc/hosts; mkdir /x/etc/hosts".to_owned()),
        ("etc/hosts is a fifo", "rm -f /x/etc/hosts; mkfifo /x/etc/hosts".to_owned()),
        ("etc/passwd is a fifo", "rm -f /x/etc/passwd; mkfifo /x/etc/passwd".to_owned()),
        ("etc/passwd is a link to a device", "rm -f /x/etc/passwd; ln -s /dev/zero /x/etc/passwd".to_owned()),
        ("etc/passwd is huge", "rm -f /x/etc/passwd; truncate -s 8M /x/etc/passwd".to_owned()),
        ("dev/null is a link", format!("mkdir -p /x/dev; ln -s {path}/made /x/dev/null")),
    ] {
        let context = lab.project(
            &format!("FROM busybox AS make\nRUN mkdir /x; cp -a /bin /etc /x/; {change}\nFROM scratch\nCOPY --from=make /x /\nUSER app\nRUN true\n"),
            &[],
        );
        let ran = lab.try_build(&context, &[]);
        assert!(
            ran.code == 0 || ran.code == 1 && ran.stderr.contains("[stage-1 2/2] RUN true"),
            "{name}: {}",
            ran.stderr
        );
        assert_eq!(fs::read_dir(&host).expect("ours").count(), 0, "{name}: something was written outside");
    }
}

#[test]
fn a_failed_step_shows_where_why_and_what_it_said() {
    let lab = Lab::new();
    let ran = lab.build_fails("FROM busybox\n# the culprit\nRUN for i in $(seq 1 30); do echo line $i; done; \\\n    exit 42\nRUN echo never\n", &[]);
    ran.assert_stderr("did not complete successfully: exit code: 42");
    ran.assert_stderr(" > [2/3] RUN for i in $(seq 1 30)");
    ran.assert_stderr("Dockerfile:3\n--------------------");
    ran.assert_stderr("   3 | >>> RUN for i in $(seq 1 30); do echo line $i; done; \\\n   4 | >>>     exit 42\n");
    ran.assert_stderr("   5 |     RUN echo never\n");
    assert_eq!(ran.stderr.matches(" line 30\n").count(), 2, "in the log and in the report: {}", ran.stderr);
    assert!(ran.stderr.matches(" line 1\n").count() == 1 && !ran.output().contains("never"), "{}", ran.stderr);
    for (command, message) in [
        ("nosuchcommand", "exit code: 127"),
        ("[\"/no/such\"]", "/no/such"),
        ("[\"/etc/passwd\"]", "/etc/passwd"),
        ("sh -c 'kill -9 $$'; exit $?", "exit code: 137"),
    ] {
        let ran = lab.build_fails(&format!("FROM busybox\nRUN {command}\n"), &[]);
        ran.assert_stderr(message);
        ran.assert_stderr("Dockerfile:2\n");
    }
}

#[test]
fn a_failure_stops_the_other_stages_at_once() {
    let lab = Lab::new();
    let marker = format!("72{:07}", std::process::id());
    let started = Instant::now();
    let ran = lab.build_fails(
        &format!(
            "FROM busybox AS slow\nRUN sleep {marker}\nFROM busybox AS fast\nRUN sleep 0.3; echo broken; exit 3\n\
             FROM busybox\nCOPY --from=slow / /s\nCOPY --from=fast / /f\n"
        ),
        &[],
    );
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    ran.assert_stderr("exit code: 3");
    ran.assert_stderr("CANCELED");
    assert_eq!(processes(&marker), [""; 0]);
}

#[test]
fn steps_that_wait_for_nothing_run_side_by_side() {
    let lab = Lab::new();
    let mut dockerfile = String::new();
    for stage in 0..8 {
        dockerfile.push_str(&format!("FROM busybox AS s{stage}\nRUN sleep 1; echo {stage} >/f\n"));
    }
    dockerfile.push_str("FROM busybox\n");
    for stage in 0..8 {
        dockerfile.push_str(&format!("COPY --from=s{stage} /f /f{stage}\n"));
    }
    let context = lab.project(&dockerfile, &[]);
    let started = Instant::now();
    lab.build(&context);
    assert!(started.elapsed() < Duration::from_secs(6), "eight seconds one after the other: {:?}", started.elapsed());
    assert_eq!(lab.shell("cat /f*"), "0\n1\n2\n3\n4\n5\n6\n7\n");
    let context = lab.project("FROM busybox AS a\nRUN sleep 0.5; echo a >/f\nFROM busybox AS b\nRUN sleep 0.5; echo b >/f\nFROM busybox\nCOPY --from=a /f /a\nCOPY --from=b /f /b\n", &[]);
    let started = Instant::now();
    lab.build_with(&context, &["--jobs", "1"]);
    assert!(started.elapsed() >= Duration::from_secs(1), "one at a time: {:?}", started.elapsed());
}
