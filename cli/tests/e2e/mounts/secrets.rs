//! Secrets and ssh agents: seen by the step, and by nobody else, never and nowhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::kit::{Lab, Ran, eventually, processes};

const CANARY: &str = "c4n4ry-5ecret-v4lue";

fn secret(lab: &Lab) -> String {
    let path = lab.path().join("secret-file");
    fs::write(&path, format!("{CANARY}\n")).expect("the directory is writable");
    format!("id=tok,src={}", path.display())
}

#[track_caller]
fn build(lab: &Lab, dockerfile: &str, args: &[&str]) -> Ran {
    lab.build_with(&lab.project(dockerfile, &[]), args)
}

/// Every file below a directory that has the canary in it.
fn finds(directory: &Path, needle: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => finds(&path, needle, found),
            Ok(kind) if kind.is_file() => {
                let bytes = fs::read(&path).unwrap_or_default();
                if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                    found.push(path);
                }
            }
            _ => {}
        }
    }
}

#[track_caller]
fn assert_nowhere(lab: &Lab, needle: &str) {
    let mut found = Vec::new();
    finds(&lab.root(), needle, &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_secret_is_a_file_while_the_step_runs() {
    let lab = Lab::new();
    let secret = secret(&lab);
    for (options, script, prints) in [
        ("", "stat -c '%a %u %g' /run/secrets/tok && md5sum < /run/secrets/tok | cut -c1-4", "400 0 0\n"),
        (",target=/a/b/tok", "cat /a/b/tok | wc -c", "20\n"),
        (",dst=/mine,mode=0440,uid=1000,gid=2000", "stat -c '%a %u %g' /mine", "440 1000 2000\n"),
        (",dst=/mine,uid=4294967295,gid=4294967295", "stat -c '%a %u %g' /mine", "400 0 0\n"),
        (",required", "test -s /run/secrets/tok && echo there", "there\n"),
        (",target=/etc/passwd", "wc -l < /etc/passwd", "1\n"),
        (
            "",
            "(echo x > /run/secrets/tok) 2>/dev/null || echo refused; rm -f /run/secrets/tok 2>/dev/null || echo stays",
            "refused\nstays\n",
        ),
        ("", "grep ' /run/secrets/tok ' /proc/mounts | cut -d' ' -f3", "tmpfs\n"),
    ] {
        let ran = build(
            &lab,
            &format!("FROM busybox\nRUN --mount=type=secret,id=tok{options} {script}\n"),
            &["--no-cache", "--secret", &secret],
        );
        assert!(ran.output().contains(prints), "{options} {script}\n{}", ran.output());
        assert_eq!(lab.shell("ls -d /run /a /mine 2>/dev/null; wc -l < /etc/passwd"), "3\n");
    }
    let user = "FROM busybox\nUSER app\nRUN --mount=type=secret,id=tok,uid=1000 test -s /run/secrets/tok && echo read\n\
                RUN --mount=type=secret,id=tok cat /run/secrets/tok 2>/dev/null || echo refused\n";
    let ran = build(&lab, user, &["--secret", &secret]);
    assert!(ran.output().contains("read\n") && ran.output().contains("refused\n"), "{}", ran.output());
    assert_nowhere(&lab, CANARY);
}

#[test]
fn a_secret_is_a_variable_and_is_masked() {
    let lab = Lab::new();
    let secret = secret(&lab);
    let dockerfile = "FROM busybox\nENV TOKEN=public\n\
        RUN --mount=type=secret,id=tok,env=TOKEN test ${#TOKEN} -ge 19 && test ! -e /run/secrets/tok && echo \"<$TOKEN>\" && env && set -x && : $TOKEN\n\
        RUN --mount=type=secret,id=tok,env=TOKEN,target=/t printf %s \"$TOKEN\" | cmp - /t && echo same\n\
        RUN echo $TOKEN\n";
    let ran = build(&lab, dockerfile, &["--secret", &secret]);
    let output = ran.output();
    assert!(output.contains("<****") && output.contains("TOKEN=****") && output.contains("same\n"), "{output}");
    assert!(output.contains("public\n"), "the next step has the image's own\n{output}");
    assert!(!ran.stderr.contains(CANARY), "{}", ran.stderr);
    let shown = lab.ok(&["image", "inspect", "app"]).stdout + &lab.ok(&["history", "--no-trunc", "app"]).stdout;
    assert!(!shown.contains(CANARY) && shown.contains("TOKEN=public"), "{shown}");
    assert_nowhere(&lab, CANARY);
    let project = lab.project(dockerfile, &[]);
    for mode in ["rawjson", "plain"] {
        let progress = format!("--progress={mode}");
        let ran = lab.ok(&["build", "--no-cache", &progress, "--secret", &secret, project.to_str().expect("UTF-8")]);
        assert!(!ran.stderr.contains(CANARY), "{}", ran.stderr);
    }
    // From the builder's own environment, by whatever words.
    let step = "FROM busybox\nRUN --mount=type=secret,id=MINE,env=T md5sum <<EOF\n$T\nEOF\nRUN --mount=type=secret,id=MINE cat /run/secrets/MINE | wc -c\n";
    let project = lab.project(step, &[]);
    for flag in ["id=MINE", "id=MINE,env=MINE", "id=MINE,type=env,src=MINE", "type=env,id=MINE"] {
        let args = ["build", "--no-cache", "--progress=plain", "--secret", flag, project.to_str().expect("UTF-8")];
        let mut command = lab.command(&args);
        let ran = Ran::of(command.env("MINE", CANARY).output().expect("builder starts"));
        assert_eq!(ran.code, 0, "{flag}\n{}", ran.stderr);
        assert!(ran.output().contains("19\n"), "{flag}\n{}", ran.output());
    }
}

/// The value is in no key, but whether a step has the secret at all is.
#[test]
fn another_value_runs_nothing_again() {
    let lab = Lab::new();
    let flag = secret(&lab);
    let project =
        lab.project("FROM busybox\nRUN --mount=type=secret,id=tok cat /run/secrets/tok > /tmp/x && rm /tmp/x\n", &[]);
    assert_eq!(lab.build_with(&project, &["--secret", &flag]).executed().len(), 1);
    fs::write(lab.path().join("secret-file"), "another").expect("it is writable");
    assert!(lab.build_with(&project, &["--secret", &flag]).executed().is_empty());
    assert!(lab.build_with(&project, &[]).executed().is_empty(), "nor is it needed then");
}

#[test]
fn what_is_not_offered_is_absent_or_told() {
    let lab = Lab::new();
    let ran = build(
        &lab,
        "FROM busybox\nRUN --mount=type=secret,id=no --mount=type=secret,id=no2,env=NO --mount=type=ssh,id=no3 \
         test ! -e /run && test -z \"${NO+x}\" && echo absent\n",
        &[],
    );
    assert!(ran.output().ends_with("absent\n"), "{}", ran.output());
    for (mount, says) in [
        ("type=secret,id=no,required", "secret no: not found"),
        ("type=secret,id=no,env=X,required=true", "secret no: not found"),
        ("type=ssh,required", "--ssh default"),
        ("type=ssh,id=mine,required", "--ssh mine"),
    ] {
        let ran = lab.build_fails(&format!("FROM busybox\nRUN --mount={mount} true\n"), &[]);
        ran.assert_stderr(says);
        ran.assert_stderr("Dockerfile:2");
    }
    let large = lab.path().join("large");
    fs::write(&large, vec![b'x'; 500 * 1024 + 1]).expect("it is writable");
    let binary = lab.path().join("binary");
    fs::write(&binary, b"a\0b").expect("it is writable");
    let project = lab.project("FROM busybox\nRUN --mount=type=secret,id=b,env=B true\n", &[]);
    for (flag, code, says) in [
        (format!("id=x,src={}", large.display()), 1, "500 kB"),
        ("id=x,src=/no/such".to_owned(), 1, "/no/such"),
        ("src=/etc/passwd".to_owned(), 2, "no id"),
        ("id=x,what=y".to_owned(), 2, "what"),
        (format!("id=b,src={}", binary.display()), 1, "mount it as a file"),
    ] {
        let ran = lab.try_build(&project, &["--secret", &flag]);
        assert_eq!(ran.code, code, "{flag}\n{}", ran.stderr);
        ran.assert_stderr(says);
    }
}

/// A builder that is killed leaves no secret behind: it was in memory that went with it.
#[test]
fn a_killed_build_leaves_no_secret() {
    let lab = Lab::new();
    let flag = secret(&lab);
    // One that no other test waits for.
    let marker = format!("sleep {}", 1_000_000 + std::process::id());
    let dockerfile = format!(
        "FROM busybox\nRUN --mount=type=secret,id=tok --mount=type=secret,id=tok,env=TOKEN test -s /run/secrets/tok && echo be\"gun\" && {marker}\n"
    );
    let project = lab.project(&dockerfile, &[]);
    let mut building = lab.start(&["build", "--progress=plain", "--secret", &flag, project.to_str().expect("UTF-8")]);
    building.wait_for("begun");
    assert_nowhere(&lab, CANARY);
    assert!(!processes(&marker).is_empty(), "it runs");
    building.signal(Signal::KILL);
    drop(building);
    eventually("the step is gone", || processes(&marker).is_empty());
    assert_nowhere(&lab, CANARY);
    lab.ok(&["images"]);
    assert_nowhere(&lab, CANARY);
}

struct SshAgent(Child, PathBuf);

impl SshAgent {
    fn start(lab: &Lab, key: &Path) -> Self {
        let socket = lab.path().join("agent.sock");
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn();
        let agent = Self(child.expect("openssh-client is needed for the tests"), socket.clone());
        eventually("the agent listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        let added = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket).status();
        assert!(added.is_ok_and(|status| status.success()));
        agent
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn key(lab: &Lab) -> PathBuf {
    let path = lab.path().join("id_ed25519");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "somebody", "-f"]).arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()), "openssh-client is needed for the tests");
    path
}

#[test]
fn agents_and_keys_are_forwarded() {
    let lab = Lab::new();
    let key = key(&lab);
    let agent = SshAgent::start(&lab, &key);
    let probe = "FROM busybox\nRUN --mount=type=ssh,uid=1000,gid=2000,mode=0660 stat -c '%F %a %u %g' $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK\n\
         RUN --mount=type=ssh,id=other,target=/a/sock --mount=type=ssh test -S /a/sock && test -S /run/buildkit/ssh_agent.1 && echo $SSH_AUTH_SOCK\n\
         USER app\nRUN --mount=type=ssh,uid=1000 test -w $SSH_AUTH_SOCK && echo mine\nRUN --mount=type=ssh test -w $SSH_AUTH_SOCK || echo refused\n";
    let project = lab.project(probe, &[]);
    let default_key = format!("default={}", key.display());
    let other = format!("other={}", agent.1.display());
    let ran = lab.build_with(&project, &["--ssh", &default_key, "--ssh", &other]);
    let output = ran.output();
    for expected in ["socket 660 1000 2000\n/run/buildkit/ssh_agent.0\n", "/a/sock\n", "mine\n", "refused\n"] {
        assert!(output.contains(expected), "{expected:?}\n{output}");
    }
    assert_eq!(lab.shell("ls -d /run /a 2>/dev/null; true"), "");
    // By the agent of the environment, without a path.
    let args = [
        "build",
        "--progress=plain",
        "--no-cache",
        "--ssh",
        "default",
        "--ssh",
        "other",
        project.to_str().expect("UTF-8"),
    ];
    let ran = Ran::of(lab.command(&args).env("SSH_AUTH_SOCK", &agent.1).output().expect("builder starts"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = Ran::of(lab.command(&args).env_remove("SSH_AUTH_SOCK").output().expect("builder starts"));
    assert_eq!(ran.code, 1);
    ran.assert_stderr("SSH_AUTH_SOCK is not set");
    let ran = lab.try_build(&project, &["--ssh", "default=/etc/passwd"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("not a private key");
    assert_nowhere(&lab, "PRIVATE KEY");
}

/// With OpenSSH's own client in the image: it lists the key and signs with it.
#[test]
fn a_step_signs_with_the_forwarded_key() {
    let lab = Lab::new();
    let key = key(&lab);
    let agent = SshAgent::start(&lab, &key);
    let image = lab.path().join("tools");
    for program in ["/usr/bin/ssh-add", "/usr/bin/ssh-keygen"] {
        copy_program(Path::new(program), &image);
    }
    let tar = lab.path().join("tools.tar");
    let packed = Command::new("tar").arg("-C").arg(&image).arg("-cf").arg(&tar).arg(".").status();
    assert!(packed.is_ok_and(|status| status.success()));
    lab.ok(&["import", tar.to_str().expect("UTF-8"), "tools"]);
    let dockerfile = "FROM busybox\nCOPY --from=tools / /\nCOPY id.pub /\n\
        RUN --mount=type=ssh ssh-add -L && echo data | ssh-keygen -q -Y sign -n test -f /id.pub > /signature\n\
        RUN --mount=type=ssh ! ssh-add -D 2>&1\n";
    let public = fs::read_to_string(key.with_extension("pub")).expect("ssh-keygen wrote it");
    for ssh in [format!("default={}", key.display()), format!("default={}", agent.1.display())] {
        let project = lab.project(dockerfile, &[("id.pub", &public)]);
        let ran = lab.build_with(&project, &["--no-cache", "--ssh", &ssh]);
        assert!(ran.output().contains("somebody"), "{}", ran.output());
        assert!(lab.shell("cat /signature").contains("BEGIN SSH SIGNATURE"));
    }
    let listed = Command::new("ssh-add").arg("-L").env("SSH_AUTH_SOCK", &agent.1).output().expect("it ran before");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("somebody"), "a step can't empty the agent");
}

/// A program of this machine with the libraries that it needs.
fn copy_program(program: &Path, root: &Path) {
    let libraries = Command::new("ldd").arg(program).output().expect("ldd runs");
    let text = String::from_utf8_lossy(&libraries.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    for path in paths.chain([program.to_owned()]) {
        let target = root.join(path.strip_prefix("/").expect("absolute"));
        fs::create_dir_all(target.parent().expect("it has one")).expect("a fresh directory");
        fs::copy(&path, &target).expect("it can be read");
    }
}
