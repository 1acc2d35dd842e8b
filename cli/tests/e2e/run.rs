//! `builder run`: exit codes, options, signals, terminals, and nothing left behind.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::kit::{Background, Lab, Ran, eventually, mounts, processes};

/// What a command prints in a container of `busybox`.
#[track_caller]
fn sh(lab: &Lab, options: &[&str], script: &str) -> String {
    let mut args = vec!["run", "--rm"];
    args.extend(options);
    args.extend(["busybox", "sh", "-c", script]);
    lab.ok(&args).stdout
}

#[test]
fn the_exit_code_is_the_commands() {
    let lab = Lab::new();
    for (command, code) in [
        (&["true"][..], 0),
        (&["false"], 1),
        (&["sh", "-c", "exit 42"], 42),
        (&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
        (&["nosuchcommand"], 127),
        (&["/no/such/file"], 127),
        (&["/etc/passwd"], 126),
        (&["/etc"], 126),
    ] {
        let mut args = vec!["run", "busybox"];
        args.extend(command);
        let ran = lab.run(&args);
        assert_eq!(ran.code, code, "{command:?}\n{}", ran.stderr);
        assert_eq!((126..128).contains(&code), ran.stderr.contains(command[0]), "{command:?}: {}", ran.stderr);
    }
    let ran = lab.ok(&["run", "busybox", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn options_change_environment_directory_user_and_entrypoint() {
    let lab = Lab::new();
    lab.build_files("FROM busybox\nENV A=image B=image\nWORKDIR /w\nUSER app\nENTRYPOINT [\"echo\", \"entry\"]\nCMD [\"default\"]\n", &[]);
    for (options, command, prints) in [
        (&[][..], &[][..], "entry default\n"),
        (&[], &["other", "-x"], "entry other -x\n"),
        (&["--entrypoint", "pwd"], &[], "/w\n"),
        (&["--entrypoint", "pwd", "-w", "/new/dir"], &[], "/new/dir\n"),
        (&["--entrypoint", ""], &["id", "-un"], "app\n"),
        (&["--entrypoint", "id", "-u", "daemon"], &["-un"], "daemon\n"),
        (&["--entrypoint", "id", "-u", "4242:17"], &[], "uid=4242 gid=17 groups=17\n"),
        (&["--entrypoint", "id", "-u", "0"], &["-u"], "0\n"),
        (
            &["--entrypoint", "sh", "-e", "A=mine", "-e", "C=new", "-e", "EMPTY="],
            &["-c", "echo $A $B $C [$EMPTY]"],
            "mine image new []\n",
        ),
        (&["--entrypoint", "hostname", "--hostname", "box"], &[], "box\n"),
    ] {
        let mut args = vec!["run", "--rm"];
        args.extend(options);
        args.push("app");
        args.extend(command);
        assert_eq!(lab.ok(&args).stdout, prints, "{options:?} {command:?}");
    }
    let mut command = lab.command(&["run", "-e", "CLIENT", "-e", "UNSET", "busybox", "env"]);
    command.env("CLIENT", "value").env("CANARY", "leaked");
    let ran = Ran::of(command.output().expect("builder starts"));
    let mut names: Vec<&str> = ran.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    assert_eq!(names, ["CLIENT", "HOME", "HOSTNAME", "PATH"], "{}", ran.stdout);
    assert_eq!(
        lab.ok(&["run", "busybox", "echo", "-u", "--help", "--"]).stdout,
        "-u --help --\n",
        "it is the command's"
    );
    let ran = lab.run(&["run", "-u", "nosuchuser", "busybox", "true"]);
    assert_eq!(ran.code, 125);
    ran.assert_stderr("nosuchuser");
}

#[test]
fn directories_and_files_of_the_host_can_be_mounted() {
    let lab = Lab::new();
    let shared = lab.context(&[("f", "host\n")]);
    let path = shared.to_str().expect("UTF-8");
    assert_eq!(sh(&lab, &["-v", &format!("{path}:/v")], "cat /v/f; echo new >/v/g; ls /v"), "host\nf\ng\n");
    assert_eq!(fs::read_to_string(shared.join("g")).expect("it was written"), "new\n");
    assert_eq!(
        sh(
            &lab,
            &["-v", &format!("{path}:/v:ro")],
            "cat /v/f; (echo x >/v/g) 2>/dev/null || echo refused; mount -o remount,rw /v 2>/dev/null || echo fixed"
        ),
        "host\nrefused\nfixed\n"
    );
    assert_eq!(
        sh(
            &lab,
            &["-v", &format!("{path}/f:/etc/motd:ro"), "-v", &format!("{path}/f:/deep/er/f")],
            "cat /etc/motd /deep/er/f"
        ),
        "host\nhost\n"
    );
    assert_eq!(sh(&lab, &["-v", &format!("{path}/made:/v")], "echo x >/v/x"), "");
    assert!(shared.join("made/x").exists(), "a missing directory is made, as in Docker");
    assert_eq!(
        sh(&lab, &[], "ls -d /v /deep 2>/dev/null | wc -l; wc -c </etc/motd 2>/dev/null || echo none"),
        "0\nnone\n",
        "mount points do not stay"
    );
    // A device that comes with a volume is dead, and links in the image lead nowhere else.
    crate::kit::tool("mknod", &[shared.join("null").as_ref(), "c".as_ref(), "1".as_ref(), "3".as_ref()]);
    assert_eq!(sh(&lab, &["-v", &format!("{path}:/v")], "cat /v/null 2>/dev/null || echo dead"), "dead\n");
    let victim = lab.context(&[]);
    lab.build_files(&format!("FROM busybox\nRUN ln -s {} /link\n", victim.display()), &[]);
    lab.run(&["run", "-v", &format!("{path}:/link/x"), "app", "true"]);
    assert_eq!(fs::read_dir(victim).expect("ours").count(), 0);
    for volume in ["x", "relative", "name:/x", "/a:b", "/a:/b:what", "/a:/b:ro:more"] {
        assert_eq!(lab.run(&["run", "-v", volume, "busybox", "true"]).code, 2, "-v {volume}");
    }
}

#[test]
fn the_network_is_the_hosts_or_none() {
    let lab = Lab::new();
    let interfaces = "cut -s -d: -f1 /proc/net/dev | tr -d ' ' | sort | xargs";
    assert_eq!(sh(&lab, &["--network=none"], interfaces), "lo\n");
    let host = fs::read_link("/proc/self/ns/net").expect("proc is mounted").display().to_string();
    assert_eq!(sh(&lab, &["--network=host"], "readlink /proc/self/ns/net").trim_end(), host);
    assert_eq!(
        sh(&lab, &["--hostname", "h"], "hostname; cat /etc/hostname; grep -w h /etc/hosts"),
        "h\nh\n127.0.1.1\th\n"
    );
}

#[test]
fn input_is_passed_on_when_asked_for() {
    let lab = Lab::new();
    let feed = |options: &[&str], input: &[u8]| {
        let mut args = vec!["run"];
        args.extend(options);
        args.extend(["busybox", "sh", "-c", "wc -c; echo end"]);
        let mut command = lab.command(&args);
        command.stdin(Stdio::piped());
        let mut container = Background::start(&mut command);
        let mut stdin = container.stdin();
        let _ = stdin.write_all(input);
        drop(stdin);
        container.finish()
    };
    let large = vec![b'x'; 300_000];
    assert_eq!(feed(&["-i"], &large).stdout, "300000\nend\n");
    assert_eq!(feed(&["-i"], b"").stdout, "0\nend\n");
    assert_eq!(feed(&[], b"ignored").stdout, "0\nend\n");
    let ran = lab.run(&["run", "-it", "busybox", "true"]);
    assert_eq!(ran.code, 125, "input is no terminal");
    ran.assert_stderr("not a terminal");
    // Binary output, a lot of it.
    let ran = lab.ok(&["run", "busybox", "sh", "-c", "yes | head -c 3000000"]);
    assert_eq!(ran.stdout.len(), 3_000_000);
}

#[test]
fn signals_reach_the_command() {
    let lab = Lab::new();
    for (signal, name, code) in [
        (Signal::TERM, "TERM", 11),
        (Signal::INT, "INT", 12),
        (Signal::HUP, "HUP", 13),
        (Signal::USR1, "USR1", 14),
        (Signal::QUIT, "QUIT", 15),
    ] {
        let script =
            format!("trap 'echo got {name}; exit {code}' {name}; echo ready >&2; while :; do sleep 0.05; done");
        let mut container = lab.start(&["run", "busybox", "sh", "-c", &script]);
        container.wait_for("ready");
        container.signal(signal);
        let ran = container.finish();
        assert_eq!((ran.code, ran.stdout.as_str()), (code, format!("got {name}\n").as_str()), "{}", ran.stderr);
    }
    // Who does not listen is killed after the third.
    let mut container =
        lab.start(&["run", "busybox", "sh", "-c", "trap '' TERM; echo ready >&2; while :; do sleep 1; done"]);
    container.wait_for("ready");
    // Signals that come faster than they are read are one.
    eventually("the container is killed", || {
        let _ = kill_process(container.pid(), Signal::TERM);
        container.has_ended()
    });
    assert_eq!(container.finish().code, 137);
}

#[test]
fn nothing_stays_of_a_container() {
    let lab = Lab::new();
    let marker = format!("91{:07}", std::process::id());
    assert_eq!(sh(&lab, &[], &format!("echo x >/written; setsid sleep {marker} & ls /written")), "/written\n");
    assert_eq!(sh(&lab, &[], "ls /written 2>/dev/null | wc -l"), "0\n");
    assert_eq!(processes(&marker), [""; 0]);
    // Not even when it is killed.
    let mut container = lab.start(&["run", "busybox", "sh", "-c", &format!("echo ready >&2; sleep {marker}")]);
    container.wait_for("ready");
    container.signal(Signal::KILL);
    container.finish();
    eventually("the processes of the container are gone", || processes(&marker).is_empty());
    lab.ok(&["run", "busybox", "true"]);
    let root = lab.path().display().to_string();
    assert!(mounts().iter().all(|mount| !mount.contains(&root)));
    assert_eq!(fs::read_dir(lab.root().join("active")).expect("a store").count(), 0);
}

/// Runs a container on a terminal of 100 columns and 40 rows. Each key is pressed when the text before it is to be seen.
pub(crate) fn on_a_terminal(lab: &Lab, args: &[&str], keys: &[(&str, &str)]) -> (i32, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("pseudo terminals");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("ours");
    tcsetwinsize(&master, Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).expect("ours");
    let name = ptsname(&master, Vec::new()).expect("ours");
    let open = || -> OwnedFd {
        let terminal = fs::File::options().read(true).write(true).open(name.to_str().expect("UTF-8"));
        terminal.expect("ours").into()
    };
    let mut command = lab.command(args);
    command.stdin(open()).stdout(open()).stderr(open());
    let mut child = command.spawn().expect("builder starts");
    // Or the terminal would never end.
    drop(command);
    let mut master = fs::File::from(master);
    let (mut seen, mut buffer, mut keys) = (String::new(), [0; 4096], keys.iter());
    let mut next = keys.next();
    loop {
        while let Some((prompt, key)) = next.filter(|(prompt, _)| seen.contains(prompt)) {
            assert!(!prompt.is_empty(), "a key that is pressed too early reaches nobody");
            master.write_all(key.as_bytes()).expect("ours");
            next = keys.next();
        }
        match readable(&master).then(|| master.read(&mut buffer)) {
            Some(Ok(length)) if length > 0 => seen.push_str(&String::from_utf8_lossy(&buffer[..length])),
            // Nobody has the other side open any more: an error.
            Some(_) => break,
            None => {
                let _ = child.kill();
                panic!("nothing happens any more: {seen:?}");
            }
        }
    }
    (child.wait().expect("ours").code().unwrap_or(-1), seen)
}

/// Waits for output; `false` when there was none for too long.
fn readable(master: &fs::File) -> bool {
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    poll(&mut [PollFd::new(master, PollFlags::IN)], Some(&patience)).expect("a terminal can be polled") > 0
}

#[test]
fn a_terminal_is_a_terminal() {
    let lab = Lab::new();
    let script = "tty; stty size; echo $TERM; read line; echo \"<$line>\"; [ -t 2 ]; exit 7";
    let (code, seen) = on_a_terminal(&lab, &["run", "-it", "busybox", "sh", "-c", script], &[("xterm", "typed\n")]);
    assert_eq!(code, 7, "{seen}");
    for part in ["/dev/pts/0\r\n", "40 100\r\n", "xterm\r\n", "<typed>\r\n"] {
        assert!(seen.contains(part), "no {part:?} in {seen:?}");
    }
    // Ctrl-C is a key like any other: the container's terminal makes the signal.
    let script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done";
    let (code, seen) = on_a_terminal(&lab, &["run", "-it", "busybox", "sh", "-c", script], &[("ready", "\x03")]);
    assert_eq!(code, 3, "{seen}");
    assert!(seen.contains("caught"), "{seen}");
    let (code, seen) = on_a_terminal(&lab, &["run", "-t", "busybox", "sh", "-c", "[ -t 1 ] && echo terminal"], &[]);
    assert_eq!((code, seen.as_str()), (0, "terminal\r\r\n"), "as in Docker, this side's terminal is left as it is");
}
