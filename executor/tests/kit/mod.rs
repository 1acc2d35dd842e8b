//! Images made of busybox, and running things in them.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of it")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use builder_executor::rootfs::{Driver, DriverKind, Purpose, RootMount};
use builder_executor::sandbox::{Error, Exit, Sandbox, SpawnRequest, SpecOptions, User, default_spec, resolve_user};
use oci_spec::runtime::Spec;
use tokio::io::AsyncReadExt;

/// The sandbox's helper for test binaries, whose `main` is the harness's.
pub const HELPER: &str = env!("CARGO_BIN_EXE_builder-sandbox");

/// A directory that stands for a store, an image, and a layer for changes over it.
pub struct Room {
    pub directory: tempfile::TempDir,
    pub driver: Driver,
    pub sandbox: Sandbox,
    layers: std::cell::Cell<u32>,
}

/// What a process did.
#[derive(Debug)]
pub struct Outcome {
    pub exit: Result<Exit, Error>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Its output, if it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(matches!(self.exit, Ok(Exit::Code(0))), "{self:?}");
        self.stdout
    }
}

/// A fresh directory for changes.
pub struct Layer {
    pub upper: PathBuf,
    pub work: PathBuf,
}

impl Layer {
    /// Everything in it, as paths with the kind of file.
    pub fn entries(&self) -> Vec<String> {
        let mut out = Vec::new();
        walk(&self.upper, &self.upper, &mut out);
        out.sort();
        out
    }
}

fn walk(root: &Path, directory: &Path, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        out.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        if entry.file_type().unwrap().is_dir() {
            walk(root, &path, out);
        }
    }
}

impl Room {
    /// An image with busybox in it.
    pub fn new() -> Self {
        Self::with_driver(None)
    }

    pub fn with_driver(kind: Option<DriverKind>) -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let image = directory.path().join("image");
        std::fs::create_dir_all(image.join("bin")).unwrap();
        std::fs::copy("/bin/busybox", image.join("bin/busybox")).unwrap();
        let applets = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|name| *name != "busybox") {
            symlink("busybox", image.join("bin").join(applet)).unwrap();
        }
        for name in ["etc", "tmp", "root"] {
            std::fs::create_dir(image.join(name)).unwrap();
        }
        std::fs::set_permissions(image.join("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        std::fs::write(image.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
            .unwrap();
        std::fs::write(image.join("etc/group"), "root:x:0:\nadm:x:4:app\nvideo:x:44:app\napp:x:1001:\n").unwrap();
        let driver = Driver::new(directory.path(), kind);
        let sandbox = Sandbox::with_helper(HELPER);
        Self { directory, driver, sandbox, layers: std::cell::Cell::new(0) }
    }

    pub fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    pub fn layer(&self) -> Layer {
        let number = self.layers.get();
        self.layers.set(number + 1);
        let path = self.directory.path().join(format!("layer-{number}"));
        let layer = Layer { upper: path.join("fs"), work: path.join("work") };
        std::fs::create_dir_all(&layer.upper).unwrap();
        std::fs::create_dir_all(&layer.work).unwrap();
        layer
    }

    pub fn mount(&self, layer: &Layer) -> RootMount {
        self.driver.mount_directories(vec![self.image()], Some((&layer.upper, &layer.work)), Purpose::Sandbox).unwrap()
    }

    /// Files as the builder provides them.
    pub fn files(&self) -> Vec<(PathBuf, PathBuf)> {
        ["resolv.conf", "hosts", "hostname"]
            .iter()
            .map(|name| {
                let path = self.directory.path().join(format!("provided-{name}"));
                std::fs::write(&path, format!("provided {name}\n")).unwrap();
                (path, Path::new("/etc").join(name))
            })
            .collect()
    }

    pub fn options(&self, args: &[&str]) -> SpecOptions {
        let root = User { uid: 0, gid: 0, groups: vec![], home: "/root".into() };
        let mut options = SpecOptions::new(args.iter().copied(), root);
        options.env = vec!["PATH=/bin".into()];
        options.files = self.files();
        options
    }

    /// Runs a shell script as root.
    pub async fn sh(&self, script: &str) -> Outcome {
        self.run(&self.options(&["/bin/sh", "-c", script])).await
    }

    /// The same as somebody else.
    pub async fn sh_as(&self, user: &str, script: &str) -> Outcome {
        let layer = self.layer();
        let root = self.mount(&layer);
        let mut options = self.options(&["/bin/sh", "-c", script]);
        options.user = match resolve_user(&root, user) {
            Ok(user) => user,
            Err(error) => return Outcome { exit: Err(error), stdout: String::new(), stderr: String::new() },
        };
        self.run_in(&default_spec(&options), &root).await
    }

    pub async fn run(&self, options: &SpecOptions) -> Outcome {
        let layer = self.layer();
        self.run_on(options, &layer).await
    }

    pub async fn run_on(&self, options: &SpecOptions, layer: &Layer) -> Outcome {
        let root = self.mount(layer);
        let outcome = self.run_in(&default_spec(options), &root).await;
        root.finish().unwrap();
        outcome
    }

    pub async fn run_in(&self, spec: &Spec, root: &RootMount) -> Outcome {
        collect(&self.sandbox, SpawnRequest::new(spec, root)).await
    }
}

pub async fn collect(sandbox: &Sandbox, request: SpawnRequest<'_>) -> Outcome {
    let mut running = match sandbox.spawn(request) {
        Ok(running) => running,
        Err(error) => return Outcome { exit: Err(error), stdout: String::new(), stderr: String::new() },
    };
    let (mut out, mut err) = (running.take_stdout().unwrap(), running.take_stderr().unwrap());
    let read = async |pipe: &mut Option<tokio::net::unix::pipe::Receiver>| {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            pipe.read_to_end(&mut bytes).await.unwrap();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (stdout, stderr, exit) = tokio::join!(read(&mut out), read(&mut err), running.wait());
    Outcome { exit, stdout, stderr }
}

/// The children of this process, and theirs, by pid and name.
pub fn descendants() -> Vec<(u32, String)> {
    let mut parents = std::collections::HashMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((front, back)) = stat.rsplit_once(')') else { continue };
        let name = front.split_once('(').map(|(_, name)| name.to_owned()).unwrap_or_default();
        let mut fields = back.split_whitespace();
        let (state, parent) = (fields.next().unwrap(), fields.next().unwrap().parse::<u32>().unwrap());
        if state != "Z" {
            parents.insert(pid, (parent, name));
        }
    }
    let mut out = Vec::new();
    let me = std::process::id();
    for (pid, (_, name)) in &parents {
        let mut at = *pid;
        while let Some((parent, _)) = parents.get(&at) {
            if *parent == me {
                out.push((*pid, name.clone()));
                break;
            }
            at = *parent;
        }
    }
    out.sort();
    out
}
