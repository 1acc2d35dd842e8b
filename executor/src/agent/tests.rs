//! Against OpenSSH: its programs make the keys, list them, and check what was signed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::slice;

use super::message::{FAILURE, IDENTITIES_ANSWER, read, write};
use super::*;

fn tool(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A key file of this kind, written in this form.
fn key(directory: &Path, kind: &str, bits: &str, form: &str) -> PathBuf {
    let path = directory.join(format!("{kind}-{bits}-{form}"));
    let name = path.to_str().unwrap();
    let (ok, text) = tool("ssh-keygen", &["-q", "-t", kind, "-b", bits, "-N", "", "-C", "someone", "-f", name]);
    assert!(ok, "{text}");
    if form != "RFC4716" {
        let (ok, text) = tool("ssh-keygen", &["-q", "-p", "-m", form, "-N", "", "-P", "", "-f", name]);
        assert!(ok, "{text}");
    }
    path
}

fn serve(directory: &Path, name: &str, agent: Agent) -> (AgentServer, PathBuf) {
    let path = directory.join(name);
    let server = AgentServer::start(UnixListener::bind(&path).unwrap(), agent).unwrap();
    (server, path)
}

fn with_agent(program: &str, socket: &Path, args: &[&str], input: &[u8]) -> (bool, String) {
    let mut child = Command::new(program)
        .args(args)
        .env("SSH_AUTH_SOCK", socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Every kind of key signs what its public half accepts.
#[test]
fn keys_sign_like_openssh() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, bits, form) in [
        ("ed25519", "256", "RFC4716"),
        ("ecdsa", "256", "RFC4716"),
        ("ecdsa", "384", "RFC4716"),
        ("rsa", "2048", "RFC4716"),
        ("rsa", "3072", "PEM"),
        ("rsa", "2048", "PKCS8"),
        ("ecdsa", "256", "PEM"),
        ("ecdsa", "384", "PKCS8"),
    ] {
        let path = key(directory.path(), kind, bits, form);
        let agent = Agent::open(slice::from_ref(&path), false).unwrap();
        let (_server, socket) = serve(directory.path(), &format!("{kind}-{bits}-{form}.sock"), agent);
        let public = path.with_extension("pub");
        let public = public.to_str().unwrap();
        let (ok, listed) = with_agent("ssh-add", &socket, &["-L"], b"");
        assert!(ok, "{kind} {bits} {form}: {listed}");
        let expected = fs::read_to_string(public).unwrap();
        let blob = expected.split(' ').nth(1).unwrap();
        assert!(listed.contains(blob), "{listed}");
        assert_eq!(listed.contains("someone"), form == "RFC4716", "a comment is kept where the form has one: {listed}");
        // Signs by way of the agent: the private file is out of sight.
        let hidden = path.with_extension("hidden");
        fs::rename(&path, &hidden).unwrap();
        let (ok, signature) = with_agent("ssh-keygen", &socket, &["-Y", "sign", "-n", "test", "-f", public], b"data");
        assert!(ok && signature.contains("BEGIN SSH SIGNATURE"), "{kind} {bits} {form}: {signature}");
        let signers = directory.path().join("signers");
        fs::write(&signers, format!("me {expected}")).unwrap();
        let file = directory.path().join("signature");
        fs::write(&file, signature.split_inclusive('\n').filter(|line| !line.contains("Signing")).collect::<String>())
            .unwrap();
        let args =
            ["-Y", "verify", "-n", "test", "-I", "me", "-f", signers.to_str().unwrap(), "-s", file.to_str().unwrap()];
        let (ok, text) = with_agent("ssh-keygen", &socket, &args, b"data");
        assert!(ok, "{kind} {bits} {form}: {text}");
    }
}

#[test]
fn what_can_not_be_used_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &Path| Agent::open(&[path.to_owned()], false).unwrap_err().to_string();
    let path = key(directory.path(), "ed25519", "256", "RFC4716");
    let locked = directory.path().join("locked");
    for form in ["RFC4716", "PEM", "PKCS8"] {
        let kind = if form == "RFC4716" { "ed25519" } else { "rsa" };
        let name = locked.to_str().unwrap();
        let _ = fs::remove_file(&locked);
        let (ok, text) = tool("ssh-keygen", &["-q", "-t", kind, "-m", form, "-N", "secret", "-f", name]);
        assert!(ok, "{text}");
        assert!(open(&locked).contains("passphrase"), "{form}: {}", open(&locked));
    }
    let (ok, text) = tool(
        "ssh-keygen",
        &["-q", "-t", "ecdsa", "-b", "521", "-N", "", "-f", path.with_extension("p").to_str().unwrap()],
    );
    assert!(ok, "{text}");
    assert!(open(&path.with_extension("p")).contains("nistp521"));
    assert!(open(&path.with_extension("pub")).contains("not a private key"));
    assert!(open(&directory.path().join("missing")).contains("can't be read"));
    assert!(open(Path::new("/dev/zero")).contains("too large"));
    assert!(matches!(Agent::open(&[], false), Err(AgentError::Empty)));
    assert!(matches!(Agent::open(slice::from_ref(&path), true), Err(AgentError::RawKey { .. })));
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(Agent::open(&[path.clone(), socket.clone()], false), Err(AgentError::Mixed { .. })));
    // Cut off anywhere, a key is refused and nothing worse.
    let text = fs::read_to_string(&path).unwrap();
    for length in 0..text.len() - 30 {
        assert!(key::Key::parse(&text.as_bytes()[..length], "cut").is_err(), "{length}");
    }
}

struct RealAgent(Child, PathBuf);

impl RealAgent {
    fn start(directory: &Path) -> Self {
        let socket = directory.join("real.sock");
        let mut child =
            Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        while UnixStream::connect(&socket).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the agent does not start");
            std::thread::yield_now();
        }
        Self(child, socket)
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Through our socket an agent shows its keys and signs; it can't be changed, unless that was asked for.
#[test]
fn an_agent_is_forwarded_for_reading() {
    let directory = tempfile::tempdir().unwrap();
    let real = RealAgent::start(directory.path());
    let path = key(directory.path(), "ed25519", "256", "RFC4716");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let (ok, text) = with_agent("ssh-add", &real.1, &["-q", path.to_str().unwrap()], b"");
    assert!(ok, "{text}");
    let (server, socket) = serve(directory.path(), "ours", Agent::open(slice::from_ref(&real.1), false).unwrap());
    assert!(with_agent("ssh-add", &socket, &["-L"], b"").1.contains("someone"));
    for change in [&["-D"][..], &["-x"], &["-d", path.to_str().unwrap()]] {
        let (ok, text) = with_agent("ssh-add", &socket, change, b"");
        assert!(!ok, "{change:?}: {text}");
    }
    assert!(with_agent("ssh-add", &real.1, &["-L"], b"").1.contains("someone"), "it has its key still");
    let (_raw, socket) = serve(directory.path(), "raw", Agent::open(slice::from_ref(&real.1), true).unwrap());
    assert!(with_agent("ssh-add", &socket, &["-D"], b"").0);
    assert!(with_agent("ssh-add", &real.1, &["-L"], b"").1.contains("no identities"));
    drop(server);
}

/// Connections that hang, lie or break off end with the server, and hurt nobody else.
#[test]
fn hostile_clients_hurt_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = key(directory.path(), "ed25519", "256", "RFC4716");
    let agent = Agent::open(slice::from_ref(&path), false).unwrap();
    let (server, socket) = serve(directory.path(), "socket", agent);
    let hanging: Vec<UnixStream> = (0..10).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\0", b"\0\0\0\x09ab"] {
        UnixStream::connect(&socket).unwrap().write_all(bytes).unwrap();
    }
    let mut stream = UnixStream::connect(&socket).unwrap();
    for (request, answer) in [
        (&[11][..], IDENTITIES_ANSWER),
        (&[13], FAILURE),
        (&[13, 0, 0, 0, 9], FAILURE),
        (&[13, 0, 0, 0, 0, 0, 0, 0, 0], FAILURE),
        (&[22], FAILURE),
        (&[19], FAILURE),
        (&[0], FAILURE),
    ] {
        write(&mut stream, request).unwrap();
        assert_eq!(read(&mut stream).unwrap().unwrap()[0], answer, "{request:?}");
    }
    drop(server);
    assert!(read(&mut stream).unwrap().is_none());
    assert!(UnixStream::connect(&socket).is_err());
    drop(hanging);
}
