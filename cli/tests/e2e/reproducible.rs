//! The same inputs give the same bytes: in another store, of another user, at another place and time, under another
//! umask, with more or fewer steps at once.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kit::{Lab, Ran, tool};
use crate::layout::{Layout, fresh, text};

const DOCKERFILE: &str = "FROM busybox AS one
RUN mkdir -p /out/d && for i in 1 2 3 4 5 6 7 8 9; do echo $i >/out/d/$i; done && ln -s d /out/l && mkfifo /out/p
FROM busybox AS two
RUN echo two >/two && touch -d @5 /two && chmod 4755 /two
FROM busybox
ARG WHO=somebody
ENV W=$WHO
COPY src /src
COPY --chown=1000:1000 --chmod=640 src/sub /owned
COPY --from=one /out /out
COPY --from=two /two /
ADD --link src/plain /linked/
RUN echo run >/src/sub/new && rm /src/plain && chmod 700 /src/sub && mkdir /empty && ls -l / >/dev/null
WORKDIR /w
LABEL l=1
CMD [\"sh\"]
";

/// A step without commands, which needs no privilege.
const COPIED: &str = "FROM scratch\nCOPY src /src\nCOPY --chmod=640 src/sub /modes\nENV A=b\n";

/// What one of two builds has of its own.
struct Side {
    lab: Lab,
    context: PathBuf,
    umask: &'static str,
    jobs: &'static str,
}

/// The context at this place, its files of this time and owner.
fn context(place: &Path, time: &str, owner: &str) -> PathBuf {
    let sub = place.join("src/sub/deep");
    fs::create_dir_all(&sub).expect("a fresh directory");
    let write = |path: &str, content: &str, mode: u32| {
        let path = place.join(path);
        fs::write(&path, content).expect("ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
    };
    write("src/plain", "plain\n", 0o644);
    write("src/run.sh", "#!/bin/sh\n", 0o755);
    write("src/sub/deep/secret", "deep\n", 0o600);
    // Larger than what is compressed at once.
    write("src/large", &"all work and no play\n".repeat(120_000), 0o644);
    // In another order on each side.
    let mut numbers: Vec<u32> = (0..60).collect();
    if owner != "0" {
        numbers.reverse();
    }
    for number in numbers {
        write(&format!("src/sub/f{number}"), &number.to_string(), 0o644);
    }
    fs::hard_link(place.join("src/plain"), place.join("src/hard")).expect("ours");
    symlink("../plain", place.join("src/sub/link")).expect("ours");
    fs::write(place.join("Dockerfile"), DOCKERFILE).expect("ours");
    fs::write(place.join("copied"), COPIED).expect("ours");
    for directory in ["", "src", "src/sub", "src/sub/deep"] {
        fs::set_permissions(place.join(directory), fs::Permissions::from_mode(0o755)).expect("ours");
    }
    tool("chown", &["-hR".as_ref(), owner.as_ref(), place.as_ref()]);
    tool(
        "find",
        &[
            place.as_ref(),
            "-exec".as_ref(),
            "touch".as_ref(),
            "-hd".as_ref(),
            time.as_ref(),
            "{}".as_ref(),
            "+".as_ref(),
        ],
    );
    place.to_owned()
}

/// Two stores with the same base.
fn sides() -> [Side; 2] {
    let (source, one, two) = (Lab::new(), Lab::empty(), Lab::empty());
    let base = fresh(&source, "base.tar");
    source.ok(&["save", "-o", text(&base), "busybox"]);
    one.ok(&["load", "-i", text(&base)]);
    two.ok(&["load", "-i", text(&base)]);
    let first = context(&one.path().join("here"), "2024-01-01T00:00:00Z", "0");
    let second = context(&two.path().join("a/longer/place elsewhere"), "2025-06-07T08:09:10.5Z", "65534");
    [
        Side { lab: one, context: first, umask: "022", jobs: "1" },
        Side { lab: two, context: second, umask: "077", jobs: "16" },
    ]
}

impl Side {
    fn run(&self, args: &[&str]) -> Ran {
        let command = self.lab.command(args);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "umask $0 && exec \"$@\"", self.umask]).arg(command.get_program()).args(args);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.env("SOURCE_DATE_EPOCH", "1700000000").env("TZ", if self.jobs == "1" { "UTC" } else { "Asia/Tokyo" });
        let ran = Ran::of(shell.output().expect("a shell"));
        assert_eq!(ran.code, 0, "{args:?}\n{}", ran.stderr);
        ran
    }

    fn build(&self, args: &[&str]) -> Ran {
        self.run(&[&["build", "--progress=plain", "--jobs", self.jobs], args, &[text(&self.context)]].concat())
    }

    /// The bytes of an export.
    fn export(&self, output: &str) -> Vec<u8> {
        let file = fresh(&self.lab, "export.tar");
        self.build(&["-o", &format!("{output},dest={}", text(&file))]);
        fs::read(file).expect("written")
    }
}

#[test]
fn every_export_is_the_same_to_the_byte() {
    let sides = sides();
    for output in [
        "type=oci,rewrite-timestamp=true",
        "type=oci,rewrite-timestamp=true,compression=uncompressed,force-compression=true",
        "type=oci,rewrite-timestamp=true,compression=gzip,force-compression=true",
        "type=oci,rewrite-timestamp=true,compression=zstd,compression-level=9,force-compression=true",
        "type=oci,rewrite-timestamp=true,compression=estargz,force-compression=true",
        "type=docker,rewrite-timestamp=true",
        "type=docker,rewrite-timestamp=true,oci-mediatypes=true",
        "type=tar",
    ] {
        let [one, two] = [&sides[0], &sides[1]].map(|side| side.export(output));
        assert!(!one.is_empty() && one == two, "{output}");
    }
}

#[test]
fn images_of_the_store_have_the_same_digests() {
    let sides = sides();
    for options in ["", ",compression=zstd", ",compression=estargz,oci-mediatypes=true", ",oci-mediatypes=false"] {
        let facts = [&sides[0], &sides[1]].map(|side| {
            let file = fresh(&side.lab, "facts.json");
            let output = format!("type=image,name=app,rewrite-timestamp=true{options}");
            side.build(&["--metadata-file", text(&file), "-o", &output]);
            let facts: Value = serde_json::from_slice(&fs::read(file).expect("written")).expect("JSON");
            let saved = fresh(&side.lab, "saved.tar");
            side.run(&["save", "-o", text(&saved), "app"]);
            let digests = ["containerimage.digest", "containerimage.config.digest"].map(|key| facts[key].clone());
            (digests, fs::read(saved).expect("written"))
        });
        assert!(facts[0].0.iter().all(Value::is_string), "{options}");
        assert_eq!(facts[0].0, facts[1].0, "{options}");
        assert!(facts[0].1 == facts[1].1, "saved{options}");
    }
}

#[test]
fn another_user_makes_the_same_image() {
    // A user of this machine in a user namespace of its own. What it may do there ends before running commands.
    let as_user = |lab: &Lab, args: &[&str]| {
        let command = lab.command(args);
        let mut other = std::process::Command::new("setpriv");
        other.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
        ]);
        other.arg(command.get_program()).args(args).env("SOURCE_DATE_EPOCH", "1700000000").env("HOME", lab.path());
        for (name, value) in command.get_envs() {
            other.envs(value.map(|value| (name, value)));
        }
        Ran::of(other.output().expect("util-linux"))
    };
    let [one, two] = sides();
    fs::set_permissions(two.lab.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let may = as_user(&two.lab, &["version"]);
    assert_eq!(
        may.code, 0,
        "this test needs user namespaces for users (kernel.unprivileged_userns_clone): {}",
        may.stderr
    );
    let file = fresh(&one.lab, "one.tar");
    let output = |file: &Path| format!("type=oci,rewrite-timestamp=true,compression=gzip,dest={}", text(file));
    let (dockerfile, other_dockerfile) = (one.context.join("copied"), two.context.join("copied"));
    one.build(&["-f", text(&dockerfile), "-o", &output(&file)]);
    let mine = fs::read(&file).expect("written");
    two.lab.ok(&["rmi", "busybox"]);
    tool("chown", &["-R".as_ref(), "65534:65534".as_ref(), two.lab.root().as_ref()]);
    let file = two.lab.path().join("two.tar");
    let ran = as_user(&two.lab, &["build", "-f", text(&other_dockerfile), "-o", &output(&file), text(&two.context)]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let layout = Layout::of(&two.lab, &file);
    assert!(mine == fs::read(&file).expect("written"), "{}", layout.manifest());
}
