//! A machine for one test: a store of its own, contexts, and the `builder` binary.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

/// A store and a place for contexts; both go away with it.
pub(crate) struct Lab {
    dir: TempDir,
}

/// A Dockerfile and what is to be seen in its image.
#[derive(Debug, Default)]
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) dockerfile: &'a str,
    pub(crate) files: &'a [(&'a str, &'a str)],
    pub(crate) args: &'a [&'a str],
    pub(crate) script: &'a str,
    pub(crate) prints: &'a str,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    /// An empty store.
    pub(crate) fn empty() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests run real containers: run them as root (`make test` does)"
        );
        let dir = tempfile::Builder::new().prefix("builder-e2e-").tempdir().expect("a temporary directory");
        Self { dir }
    }

    /// A store with the image `busybox`.
    pub(crate) fn new() -> Self {
        let lab = Self::empty();
        lab.ok(&["import", busybox_tar().to_str().expect("a UTF-8 path"), "busybox"]);
        lab
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("store")
    }

    /// A context directory with these files; a name that ends with `/` is a directory, content that begins with
    /// `->` a symlink, and `#!` makes the file executable.
    pub(crate) fn context(&self, files: &[(&str, &str)]) -> PathBuf {
        let mut number = 0;
        let dir = loop {
            let dir = self.path().join(format!("context{number}"));
            if fs::create_dir(&dir).is_ok() {
                break dir;
            }
            number += 1;
        };
        write_files(&dir, files);
        dir
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BUILD") || name == "SOURCE_DATE_EPOCH" {
                command.env_remove(name);
            }
        }
        command.env("BUILDER_ROOT", self.root());
        // No process that makes the store durable in the background: it would outlive the test's directory.
        command.env("BUILDER_DURABILITY", "none");
        // Nobody's registries and logins but those of the test.
        command.env("BUILDER_CONFIG", "/dev/null").env("DOCKER_CONFIG", self.path().join("docker"));
        command.env("XDG_CONFIG_HOME", self.path().join("config")).env("XDG_RUNTIME_DIR", self.path().join("run"));
        command.env_remove("DOCKER_AUTH_CONFIG").env_remove("REGISTRY_AUTH_FILE");
        // Images that are not there are looked for on the internet: nobody is there.
        command.env("HTTPS_PROXY", "http://127.0.0.1:9").env_remove("https_proxy");
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        Ran::of(self.command(args).output().expect("builder starts"))
    }

    /// Runs it, and it must succeed.
    #[track_caller]
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        let ran = self.run(args);
        let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        assert_eq!(ran.code, 0, "builder {}\n{}\n{}", shown.join(" "), ran.stdout, ran.stderr);
        ran
    }

    /// Builds a context under the name `app`; it must succeed.
    #[track_caller]
    pub(crate) fn build(&self, context: &Path) -> Ran {
        self.ok(&["build", "--progress=plain", "-t", "app", context.to_str().expect("a UTF-8 path")])
    }

    /// Builds a Dockerfile with these files beside it.
    #[track_caller]
    pub(crate) fn build_files(&self, dockerfile: &str, files: &[(&str, &str)]) -> Ran {
        let context = self.context(files);
        fs::write(context.join("Dockerfile"), dockerfile).expect("the context is writable");
        self.build(&context)
    }

    /// Builds a Dockerfile that must fail, and returns what it said.
    #[track_caller]
    pub(crate) fn build_fails(&self, dockerfile: &str, files: &[(&str, &str)]) -> Ran {
        let context = self.context(files);
        fs::write(context.join("Dockerfile"), dockerfile).expect("the context is writable");
        let ran = self.run(&["build", "--progress=plain", "-t", "app", context.to_str().expect("a UTF-8 path")]);
        assert_eq!(ran.code, 1, "must fail with exit code 1\n{}\n{}", ran.stdout, ran.stderr);
        ran
    }

    /// A context with this Dockerfile and these files.
    pub(crate) fn project(&self, dockerfile: &str, files: &[(&str, &str)]) -> PathBuf {
        let context = self.context(files);
        fs::write(context.join("Dockerfile"), dockerfile).expect("the context is writable");
        context
    }

    /// Builds a context under the name `app`, with more arguments.
    pub(crate) fn try_build(&self, context: &Path, args: &[&str]) -> Ran {
        let mut all = vec!["build", "--progress=plain", "-t", "app"];
        all.extend(args);
        all.push(context.to_str().expect("a UTF-8 path"));
        self.run(&all)
    }

    /// The same, and it must succeed.
    #[track_caller]
    pub(crate) fn build_with(&self, context: &Path, args: &[&str]) -> Ran {
        let ran = self.try_build(context, args);
        assert_eq!(ran.code, 0, "builder build {}\n{}\n{}", args.join(" "), ran.stdout, ran.stderr);
        ran
    }

    /// Builds every Dockerfile with its arguments and files, and compares what the script prints in the image.
    #[track_caller]
    pub(crate) fn check(&self, cases: &[Case<'_>]) {
        for case in cases {
            let context = self.project(case.dockerfile, case.files);
            let ran = self.try_build(&context, case.args);
            assert_eq!(ran.code, 0, "{}: the build fails\n{}\n{}", case.name, case.dockerfile, ran.stderr);
            assert_eq!(self.shell(case.script), case.prints, "{}\n{}", case.name, case.dockerfile);
        }
    }

    /// Starts a command and lets it run.
    pub(crate) fn start<S: AsRef<OsStr>>(&self, args: &[S]) -> Background {
        Background::start(&mut self.command(args))
    }

    /// What a shell script prints in the image `app`.
    #[track_caller]
    pub(crate) fn shell(&self, script: &str) -> String {
        self.ok(&["run", "--rm", "--entrypoint", "/bin/sh", "app", "-c", script]).stdout
    }

    /// Nothing is left of layers that were begun and not finished.
    #[track_caller]
    pub(crate) fn assert_tidy(&self) {
        let active = fs::read_dir(self.root().join("active")).expect("it is there");
        for session in active.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let left: Vec<_> = fs::read_dir(session).expect("it is ours").flatten().collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    /// The config of an image.
    #[track_caller]
    pub(crate) fn inspect(&self, image: &str) -> serde_json::Value {
        let text = self.ok(&["image", "inspect", image]).stdout;
        let all: serde_json::Value = serde_json::from_str(&text).expect("inspect prints JSON");
        all[0].clone()
    }
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let Output { status, stdout, stderr } = output;
        Self {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// The names of the steps that were cached, from plain progress.
    pub(crate) fn cached(&self) -> BTreeSet<String> {
        self.ended_with("CACHED")
    }

    /// The names of the steps that ran.
    pub(crate) fn executed(&self) -> BTreeSet<String> {
        self.ended_with("DONE")
    }

    fn ended_with(&self, end: &str) -> BTreeSet<String> {
        let mut names = std::collections::HashMap::new();
        let mut found = BTreeSet::new();
        for line in self.stderr.lines() {
            let Some((number, rest)) = line.split_once(' ') else { continue };
            if !number.starts_with('#') {
                continue;
            }
            if rest.starts_with('[') {
                names.entry(number).or_insert(rest);
            }
            if rest == end || rest.starts_with(&format!("{end} ")) {
                found.extend(names.get(number).map(|name| (*name).to_owned()));
            }
        }
        found.retain(|name| !name.starts_with("[internal]"));
        found
    }

    /// What the steps printed, without numbers and times.
    pub(crate) fn output(&self) -> String {
        let mut text = String::new();
        for line in self.stderr.lines() {
            let mut words = line.splitn(3, ' ');
            if let (Some(number), Some(time), rest) = (words.next(), words.next(), words.next())
                && number.starts_with('#')
                && time.starts_with(|c: char| c.is_ascii_digit())
            {
                text.push_str(rest.unwrap_or_default());
                text.push('\n');
            }
        }
        text
    }

    #[track_caller]
    pub(crate) fn assert_stderr(&self, part: &str) {
        assert!(self.stderr.contains(part), "no `{part}` in\n{}", self.stderr);
    }
}

/// A command that runs beside the test. It is killed when the test ends before it does.
pub(crate) struct Background {
    child: Child,
    lines: Receiver<String>,
    seen: String,
    stdout: Option<JoinHandle<String>>,
}

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

impl Background {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("builder starts");
        let stderr = child.stderr.take().expect("it is a pipe");
        let mut stdout = child.stdout.take().expect("it is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned() + "\n");
            }
        });
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self { child, lines, seen: String::new(), stdout: Some(stdout) }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("it is a pipe, and nobody has taken it yet")
    }

    /// Waits for a line on standard error that contains `text`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) else {
                panic!("no `{text}` in\n{}", self.seen);
            };
            self.seen.push_str(&line);
            if line.contains(text) {
                return;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is still there");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Ran {
        let status = self.ended();
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push_str(&line);
        }
        let stdout = self.stdout.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        Ran { code: status.code().unwrap_or(-1), stdout, stderr: std::mem::take(&mut self.seen) }
    }

    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().expect("it is our child") {
            return status;
        }
        let process = pidfd_open(self.pid(), PidfdFlags::empty()).expect("it is our child");
        let seconds = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&seconds)).expect("a process can be polled");
        assert_eq!(ready, 1, "still running after {PATIENCE:?}\n{}", self.seen);
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `condition` holds; what it watches can't be waited for in another way.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn write_files(dir: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("below the context")).expect("the context is writable");
        if name.ends_with('/') {
            fs::create_dir_all(&path).expect("the context is writable");
        } else if let Some(target) = content.strip_prefix("->") {
            symlink(target, &path).expect("the context is writable");
        } else {
            fs::write(&path, content).expect("the context is writable");
            let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the context is writable");
        }
    }
}

/// Runs a tool of the machine; it must succeed.
#[track_caller]
pub(crate) fn tool(program: &str, args: &[&OsStr]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test (`make deps` installs it): {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A root file system with busybox in it, as a tarball; made once.
pub(crate) fn busybox_tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("busybox-{}", std::process::id()));
        let root = dir.join("root");
        for name in ["bin", "etc", "tmp", "root", "var/empty"] {
            fs::create_dir_all(root.join(name)).expect("the target directory is writable");
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("it is ours");
        fs::copy("/bin/busybox", root.join("bin/busybox"))
            .expect("busybox-static is needed for the tests (`make deps` installs it)");
        let applets = tool("/bin/busybox", &["--list".as_ref()]);
        for applet in applets.lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", root.join("bin").join(applet)).expect("a fresh directory");
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/var/empty:/bin/false\napp:x:1000:1000::/home/app:/bin/sh\n",
        )
        .expect("a fresh directory");
        fs::write(root.join("etc/group"), "root:x:0:\ndaemon:x:1:\napp:x:1000:\nextra:x:2000:app\n")
            .expect("a fresh directory");
        let tar = dir.join("busybox.tar");
        tool(
            "tar",
            &["-C".as_ref(), root.as_ref(), "-cf".as_ref(), tar.as_ref(), "--owner=0".as_ref(), "--group=0".as_ref(), ".".as_ref()],
        );
        tar
    })
}

/// Everything that is mounted in this mount namespace.
pub(crate) fn mounts() -> BTreeSet<String> {
    fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted").lines().map(str::to_owned).collect()
}

/// The command lines of processes that mention `text`.
pub(crate) fn processes(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("proc is mounted").flatten() {
        let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(text) {
            found.push(command);
        }
    }
    found
}
