//! How processes in a sandbox start, end, and are ended.

#![allow(clippy::unwrap_used, reason = "a test says by panicking")]

mod kit;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio as ProcessStdio};
use std::time::{Duration, Instant};

use builder_executor::sandbox::{Error, Exit, SpawnRequest, Stdio, default_spec, mount};
use kit::{Room, collect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn exit_codes() {
    let room = Room::new();
    for (script, expected) in [
        ("exit 0", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("exit 255", Exit::Code(255)),
        ("kill -9 $$; exit 4", Exit::Code(4)),
        ("sh -c 'kill -9 $$'; exit $?", Exit::Code(137)),
    ] {
        assert_eq!(room.sh(script).await.exit.unwrap(), expected, "{script}");
    }
    assert_eq!(Exit::Signal(9).code(), 137);
}

#[tokio::test]
async fn programs_that_can_not_be_run() {
    let room = Room::new();
    let bin = room.image().join("bin");
    std::fs::write(bin.join("data"), "no program").unwrap();
    std::fs::set_permissions(bin.join("data"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(bin.join("plain"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(bin.join("plain"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(bin.join("orphan"), "#!/no/interpreter\n").unwrap();
    std::fs::set_permissions(bin.join("orphan"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for (program, code, words) in [
        ("missing", 127, "PATH of the image"),
        ("/no/such", 127, "no such file in the image"),
        ("./missing", 127, "no such file"),
        ("orphan", 127, "interpreter"),
        ("data", 126, "exec format error"),
        ("plain", 126, "permission denied"),
        ("/bin", 126, "permission denied"),
        ("", 127, "empty"),
    ] {
        let error = room.run(&room.options(&[program])).await.exit.unwrap_err();
        assert_eq!(error.exit_code(), code, "{program}: {error}");
        assert!(error.to_string().contains(words), "{program}: {error}");
        let program_error = matches!(
            error,
            Error::NotFound { .. }
                | Error::NotExecutable { .. }
                | Error::NoInterpreter { .. }
                | Error::WrongFormat { .. }
        );
        assert!(program_error, "{error:?}");
    }
}

#[tokio::test]
async fn orphans_die_with_the_first_process() {
    let room = Room::new();
    let script = "sleep 1000 & (setsid sleep 1001 & ) ; nohup sleep 1002 >/dev/null 2>&1 & exit 5";
    let started = Instant::now();
    assert_eq!(room.sh(script).await.exit.unwrap(), Exit::Code(5));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(kit::descendants().iter().all(|(_, name)| name != "sleep"), "{:?}", kit::descendants());
}

#[tokio::test]
async fn kill_and_drop_end_everything() {
    let room = Room::new();
    let options = room.options(&["/bin/sh", "-c", "sleep 1000 & echo ready; sleep 1003"]);
    let spec = default_spec(&options);
    for by_drop in [false, true] {
        let layer = room.layer();
        let root = room.mount(&layer);
        let mut running = room.sandbox.spawn(SpawnRequest::new(&spec, &root)).unwrap();
        let mut stdout = running.take_stdout().unwrap().unwrap();
        let mut ready = [0; 6];
        stdout.read_exact(&mut ready).await.unwrap();
        if by_drop {
            drop(running);
            // The pipe closes when the last process is gone.
            assert_eq!(stdout.read(&mut ready).await.unwrap(), 0);
        } else {
            running.kill();
            assert_eq!(running.wait().await.unwrap(), Exit::Signal(9));
            assert_eq!(running.wait().await.unwrap(), Exit::Signal(9), "again");
        }
    }
    wait_until(|| kit::descendants().iter().all(|(_, name)| name != "sleep" && name != "sh")).await;
}

#[tokio::test]
async fn a_process_outlives_the_handle_that_started_it() {
    let room = Room::new();
    let layer = room.layer();
    let root = room.mount(&layer);
    let spec = default_spec(&room.options(&["/bin/sh", "-c", "read x; exit 9"]));
    let sandbox = builder_executor::sandbox::Sandbox::with_helper(kit::HELPER);
    let mut request = SpawnRequest::new(&spec, &root);
    request.stdio = Stdio::PipesWithStdin;
    let mut running = sandbox.spawn(request).unwrap();
    drop(sandbox);
    drop(running.take_stdin().unwrap());
    assert_eq!(running.wait().await.unwrap(), Exit::Code(9));
}

#[tokio::test]
async fn signals_reach_handlers() {
    let room = Room::new();
    let layer = room.layer();
    let root = room.mount(&layer);
    let options = room.options(&["/bin/sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"]);
    let spec = default_spec(&options);
    let mut running = room.sandbox.spawn(SpawnRequest::new(&spec, &root)).unwrap();
    let mut stdout = running.take_stdout().unwrap().unwrap();
    stdout.read_exact(&mut [0; 6]).await.unwrap();
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait().await.unwrap(), Exit::Code(7));
}

#[tokio::test]
async fn standard_input() {
    let room = Room::new();
    assert_eq!(room.sh("cat; echo end").await.ok(), "end\n", "nothing to read by default");
    let layer = room.layer();
    let root = room.mount(&layer);
    let spec = default_spec(&room.options(&["/bin/cat"]));
    let mut request = SpawnRequest::new(&spec, &root);
    request.stdio = Stdio::PipesWithStdin;
    let mut running = room.sandbox.spawn(request).unwrap();
    let mut stdin = running.take_stdin().unwrap().unwrap();
    stdin.write_all(b"through the sandbox").await.unwrap();
    drop(stdin);
    let mut out = String::new();
    running.take_stdout().unwrap().unwrap().read_to_string(&mut out).await.unwrap();
    assert_eq!(out, "through the sandbox");
    assert!(running.wait().await.unwrap().is_success());
}

#[tokio::test]
async fn descriptors_are_passed_on() {
    let room = Room::new();
    let layer = room.layer();
    let root = room.mount(&layer);
    let spec = default_spec(&room.options(&["/bin/sh", "-c", "cat; echo err >&2"]));
    let path = |name: &str| room.directory.path().join(name);
    std::fs::write(path("in"), "input").unwrap();
    let mut request = SpawnRequest::new(&spec, &root);
    request.stdio = Stdio::Descriptors(
        std::fs::File::open(path("in")).unwrap().into(),
        std::fs::File::create(path("out")).unwrap().into(),
        std::fs::File::create(path("err")).unwrap().into(),
    );
    let mut running = room.sandbox.spawn(request).unwrap();
    assert!(running.wait().await.unwrap().is_success());
    assert_eq!(std::fs::read_to_string(path("out")).unwrap(), "input");
    assert_eq!(std::fs::read_to_string(path("err")).unwrap(), "err\n");
}

#[tokio::test]
async fn large_output_and_long_arguments() {
    let room = Room::new();
    let outcome = room.sh("head -c 3000000 /dev/zero | tr '\\0' x").await;
    assert_eq!(outcome.ok().len(), 3_000_000);
    // More than a socket message holds.
    let long = "x".repeat(100_000);
    let args: Vec<&str> =
        ["/bin/sh", "-c", "echo $#"].into_iter().chain(std::iter::repeat_n(long.as_str(), 11)).collect();
    assert_eq!(room.run(&room.options(&args)).await.ok(), "10\n");
}

#[tokio::test]
async fn a_terminal() {
    let room = Room::new();
    let layer = room.layer();
    let root = room.mount(&layer);
    let mut options = room.options(&[
        "/bin/sh",
        "-c",
        "tty; test -t 0 && test -t 1 && test -t 2 && echo terminal; stty size; stat -c %t,%T /dev/console /dev/pts/0; \
         echo to the console > /dev/console; read -r line < /dev/tty; echo \"got $line\"; ls -1 /dev/pts; exit 6",
    ]);
    options.terminal = Some((100, 40));
    let spec = default_spec(&options);
    let mut request = SpawnRequest::new(&spec, &root);
    request.stdio = Stdio::Terminal;
    let mut running = room.sandbox.spawn(request).unwrap();
    let console = running.console().await.unwrap();
    rustix::io::write(&console, b"typed\n").unwrap();
    let reader = tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        let mut console = std::fs::File::from(console);
        let mut buffer = [0; 4096];
        // The end of a terminal is an error.
        while let Ok(length @ 1..) = console.read(&mut buffer) {
            out.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8_lossy(&out).replace('\r', "")
    });
    assert_eq!(running.wait().await.unwrap(), Exit::Code(6));
    let out = reader.await.unwrap();
    let lines: Vec<&str> = out.lines().filter(|line| *line != "typed").collect();
    assert_eq!(
        lines,
        ["/dev/pts/0", "terminal", "40 100", "88,0", "88,0", "to the console", "got typed", "0", "ptmx"],
        "{out}"
    );
    assert_eq!(layer.entries(), Vec::<String>::new());
}

#[tokio::test]
async fn a_terminal_belongs_to_its_user() {
    let room = Room::new();
    let layer = room.layer();
    let root = room.mount(&layer);
    let mut options =
        room.options(&["/bin/sh", "-c", "echo hi > /dev/tty; echo ho > /dev/stdout; stat -c %u:%g:%a /dev/pts/0"]);
    options.user = builder_executor::sandbox::resolve_user(&root, "app").unwrap();
    options.terminal = Some((80, 24));
    let spec = default_spec(&options);
    let mut request = SpawnRequest::new(&spec, &root);
    request.stdio = Stdio::Terminal;
    let mut running = room.sandbox.spawn(request).unwrap();
    let console = running.console().await.unwrap();
    assert!(running.wait().await.unwrap().is_success());
    let mut out = [0; 256];
    let length = rustix::io::read(&console, &mut out).unwrap();
    assert_eq!(String::from_utf8_lossy(&out[..length]), "hi\r\nho\r\n1000:5:620\r\n");
}

#[tokio::test]
async fn a_helper_that_was_killed_is_replaced() {
    let room = Room::new();
    room.sh("true").await.ok();
    // The helper's children die with it, the one that waits included.
    let helper = kit::descendants().into_iter().find(|(_, name)| name == "builder-sandbox").unwrap().0;
    let _ = Command::new("kill").args(["-9", &helper.to_string()]).status();
    wait_until(|| kit::descendants().iter().all(|(pid, _)| *pid != helper)).await;
    room.sh("true").await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once() {
    let room = Room::new();
    let layers: Vec<_> = (0..40).map(|_| room.layer()).collect();
    let roots: Vec<_> = layers.iter().map(|layer| room.mount(layer)).collect();
    let spec = default_spec(&room.options(&["/bin/sh", "-c", "echo $$ > /file; cat /file"]));
    let outcomes =
        futures_util::future::join_all(roots.iter().map(|root| collect(&room.sandbox, SpawnRequest::new(&spec, root))))
            .await;
    for outcome in outcomes {
        assert_eq!(outcome.ok(), "1\n");
    }
    assert!(layers.iter().all(|layer| layer.entries() == ["file"]));
}

#[tokio::test]
async fn limits_hold() {
    use oci_spec::runtime::{LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder};
    let room = Room::new();
    let limited = |spec: &mut oci_spec::runtime::Spec| {
        let resources = LinuxResourcesBuilder::default()
            .memory(LinuxMemoryBuilder::default().limit(32 << 20).build().unwrap())
            .pids(LinuxPidsBuilder::default().limit(10).build().unwrap())
            .build()
            .unwrap();
        let mut linux = spec.linux().clone().unwrap();
        linux.set_resources(Some(resources));
        spec.set_linux(Some(linux));
    };
    let run = async |script: &str| {
        let layer = room.layer();
        let root = room.mount(&layer);
        let mut spec = default_spec(&room.options(&["/bin/sh", "-c", script]));
        limited(&mut spec);
        room.run_in(&spec, &root).await
    };
    let outcome = run("i=0; while [ $i -lt 30 ]; do sleep 100 & i=$((i+1)); done").await;
    assert!(outcome.stderr.contains("fork"), "{outcome:?}");
    let outcome = run("head -c 200000000 /dev/zero | tail -c 150000000 > /dev/null").await;
    assert!(!matches!(outcome.exit, Ok(Exit::Code(0))), "{outcome:?}");
    let own = "grep -E ':(memory|pids)?:' /proc/self/cgroup | grep -vc ':/$'; \
               cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
               mkdir /sys/fs/cgroup/memory/x /sys/fs/cgroup/x 2>/dev/null && echo made; true";
    assert_eq!(run(own).await.stdout, "0\n33554432\n");
    let left =
        Command::new("find").args(["/sys/fs/cgroup", "-name", &format!("builder-{}-*", std::process::id())]).output();
    assert_eq!(String::from_utf8(left.unwrap().stdout).unwrap(), "");
}

#[tokio::test]
async fn rlimits_and_umask() {
    let room = Room::new();
    let layer = room.layer();
    let root = room.mount(&layer);
    let mut spec = default_spec(&room.options(&["/bin/sh", "-c", "ulimit -n; ulimit -Hn; umask"]));
    let limit = oci_spec::runtime::PosixRlimitBuilder::default()
        .typ(oci_spec::runtime::PosixRlimitType::RlimitNofile)
        .soft(100u64)
        .hard(200u64)
        .build()
        .unwrap();
    let mut process = spec.process().clone().unwrap();
    process.set_rlimits(Some(vec![limit]));
    let mut user = process.user().clone();
    user.set_umask(Some(0o077));
    process.set_user(user);
    spec.set_process(Some(process));
    assert_eq!(room.run_in(&spec, &root).await.ok(), "100\n200\n0077\n");
}

/// In its own process: everything must go when the builder is killed in whatever it is doing.
#[tokio::test]
async fn killed_builder_leaves_nothing() {
    const MARK: &str = "SANDBOX_TEST_VICTIM";
    if std::env::var_os(MARK).is_some() {
        let room = Room::new();
        let spec =
            default_spec(&room.options(&["/bin/sh", "-c", "sleep 98765 & setsid sleep 98766 & echo ready; wait"]));
        let layers: Vec<_> = (0..4).map(|_| room.layer()).collect();
        let roots: Vec<_> = layers.iter().map(|layer| room.mount(layer)).collect();
        let mut running: Vec<_> =
            roots.iter().map(|root| room.sandbox.spawn(SpawnRequest::new(&spec, root)).unwrap()).collect();
        for one in &mut running {
            one.take_stdout().unwrap().unwrap().read_exact(&mut [0; 6]).await.unwrap();
        }
        println!("victim {}", room.directory.path().display());
        std::future::pending::<()>().await;
    }
    for immediately in [true, false] {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_builder_leaves_nothing", "--nocapture"])
            .env(MARK, "1")
            .stdout(ProcessStdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut stdout = victim.stdout.take().unwrap();
        if !immediately {
            let mut seen = String::new();
            while !seen.contains("victim ") {
                let mut buffer = [0; 256];
                let length = stdout.read(&mut buffer).unwrap();
                seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        wait_until(|| !running_command("98765") && !running_command("98766")).await;
    }
}

fn running_command(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.starts_with(b"sleep\0") && line.windows(argument.len()).any(|window| window == argument.as_bytes())
    })
}

async fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "it did not happen");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn scripts_below_dev_pipes() {
    let room = Room::new();
    let script = room.directory.path().join("script");
    std::fs::write(&script, "#!/bin/sh\necho from $0\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut options = room.options(&["/dev/pipes/EOF"]);
    options.mounts = vec![mount("bind", &script, std::path::Path::new("/dev/pipes/EOF"), &["bind", "ro"])];
    let layer = room.layer();
    assert_eq!(room.run_on(&options, &layer).await.ok(), "from /dev/pipes/EOF\n");
    assert_eq!(layer.entries(), Vec::<String>::new());
}
