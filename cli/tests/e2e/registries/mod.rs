//! Registries as the command line sees them: configuration, logins, and looking at what is there.

mod config;
mod helpers;
mod login;
mod look;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::kit::{Lab, Ran};
use crate::registry_kit::{Options, RealRegistry};

/// Who the registries of these tests let in. The password needs care in JSON, in URLs and in a shell.
const USER: &str = "alice";
const PASSWORD: &str = "s3cr3t \"word\": %41&b";

/// A registry that wants a login.
fn with_login() -> RealRegistry {
    RealRegistry::with(&Options { login: Some((USER, PASSWORD)), ..Options::default() })
}

/// Runs a command with this on standard input.
fn feed(command: &mut Command, input: &str) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("builder starts");
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input.as_bytes());
    Ran::of(child.wait_with_output().expect("it ends"))
}

/// Logs in with the password on standard input.
fn login(lab: &Lab, host: &str, password: &str, more: &[&str]) -> Ran {
    let mut args = vec!["login", "--username", USER, "--password-stdin"];
    args.extend(more);
    args.push(host);
    let ran = feed(&mut lab.command(&args), &format!("{password}\n"));
    assert_secret(&ran, password);
    ran
}

/// The password is in nothing that was printed, as it is and as it is sent.
#[track_caller]
fn assert_secret(ran: &Ran, password: &str) {
    let sent = base64(&format!("{USER}:{password}"));
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains(password) && !text.contains(&sent), "{text}");
    }
}

fn base64(text: &str) -> String {
    let mut command = Command::new("base64");
    feed(command.arg("-w0"), text).stdout
}

/// A line that `skopeo` understands as a login.
fn credentials() -> String {
    format!("{USER}:{PASSWORD}")
}

/// Brings an image into a registry with another tool: for two platforms, or, without a name of its own, as it is.
fn push(lab: &Lab, host: &str, names: &[&str], more: &[&str]) {
    let context = lab.project("FROM scratch\nARG TARGETARCH\nLABEL for=$TARGETARCH\nCOPY f /\n", &[("f", "text")]);
    let archive = lab.path().join("pushed.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let context = context.to_str().expect("a UTF-8 path");
    lab.ok(&["build", "--progress=plain", "--platform=linux/amd64,linux/arm64", "-o", &output, context]);
    for name in names {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "-q", "--all", "--dest-tls-verify=false"]).args(more);
        skopeo.arg(format!("oci-archive:{}", archive.display())).arg(format!("docker://{host}/{name}"));
        let ran = Ran::of(skopeo.output().expect("skopeo starts"));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}

/// Writes an executable script.
fn script(path: &Path, text: &str) {
    fs::write(path, text).expect("a writable directory");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// No file below a directory holds this text.
#[track_caller]
fn assert_nowhere(dir: &Path, text: &str) {
    if !dir.exists() {
        return;
    }
    let found = Command::new("grep").args(["-rlaF", "--", text]).arg(dir).output().expect("grep starts");
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
}
