//! Images from registries: pulled, built upon, and only fetched when somebody needs their files.

mod faults;
mod lazy;

use std::path::PathBuf;

use crate::kit::{Lab, Ran, busybox_tar, tool};
use crate::registry_kit::{Faulty, RealRegistry};

/// A registry with images, and a proxy that counts what is asked of it.
pub(crate) struct Shelf {
    pub(crate) registry: RealRegistry,
    pub(crate) proxy: Faulty,
    /// Where the images were made.
    maker: Lab,
}

impl Shelf {
    /// With `base:1`, which has three layers: busybox, a file `/one`, and a large file `/two`.
    pub(crate) fn new() -> Self {
        let registry = RealRegistry::start();
        let proxy = Faulty::before(&registry);
        let shelf = Self { registry, proxy, maker: Lab::new() };
        shelf.push(
            "base:1",
            "FROM busybox\nRUN echo 1 > /one\nRUN head -c 3000000 /dev/urandom > /two && echo 2 >> /two\nENV E=1\n",
        );
        shelf
    }

    /// Builds an image, and puts it into the registry with a client of others.
    pub(crate) fn push(&self, name: &str, dockerfile: &str) {
        self.push_with(name, dockerfile, &[]);
    }

    pub(crate) fn push_with(&self, name: &str, dockerfile: &str, args: &[&str]) {
        let context = self.maker.project(dockerfile, &[]);
        self.maker.build_with(&context, args);
        let archive = self.maker.path().join("image.tar");
        self.maker.ok(&["save", "-o", archive.to_str().expect("a UTF-8 path"), "app"]);
        let from = format!("docker-archive:{}", archive.display());
        let to = format!("docker://{}", self.registry.reference(name));
        tool("skopeo", &["copy".as_ref(), "--dest-tls-verify=false".as_ref(), from.as_ref(), to.as_ref()]);
    }

    /// The name of an image by way of the proxy.
    pub(crate) fn name(&self, rest: &str) -> String {
        self.proxy.reference(rest)
    }

    /// How many blobs were asked for since the last time.
    pub(crate) fn blobs(&self) -> usize {
        self.proxy.take().iter().filter(|request| request.starts_with("GET") && request.contains("/blobs/")).count()
    }

    /// The digest of what a tag names.
    pub(crate) fn digest(&self, name: &str) -> String {
        let from = format!("docker://{}", self.registry.reference(name));
        let format = "--format={{.Digest}}";
        let found =
            tool("skopeo", &["inspect".as_ref(), "--tls-verify=false".as_ref(), format.as_ref(), from.as_ref()]);
        found.trim().to_owned()
    }
}

/// Layers that a store has the files of.
pub(crate) fn layers(lab: &Lab) -> usize {
    std::fs::read_dir(lab.root().join("snapshots")).map_or(0, Iterator::count)
}

#[test]
fn by_tag_by_digest_and_again() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let (name, digest) = (shelf.name("base:1"), shelf.digest("base:1"));
    let pulled = lab.ok(&["pull", &name]).stdout;
    assert!(pulled.starts_with("1: Pulling from base\n"), "{pulled}");
    assert_eq!(pulled.matches(": Pull complete\n").count(), 3, "{pulled}");
    let end = format!("Digest: {digest}\nStatus: Downloaded newer image for {name}\n{name}\n");
    assert!(pulled.ends_with(&end), "{pulled}");
    assert_eq!((shelf.blobs(), layers(&lab)), (4, 3));
    assert_eq!(lab.ok(&["run", "--rm", &name, "sh", "-c", "cat /one; wc -c < /two"]).stdout, "1\n3000002\n");

    let again = lab.ok(&["pull", &name]).stdout;
    assert_eq!(
        again,
        format!("1: Pulling from base\nDigest: {digest}\nStatus: Image is up to date for {name}\n{name}\n")
    );
    assert_eq!(shelf.proxy.take().iter().filter(|request| !request.ends_with("/v2/")).count(), 1, "one question");

    let by_digest = shelf.name(&format!("base@{digest}"));
    assert_eq!(lab.ok(&["pull", "-q", &by_digest]).stdout, format!("{by_digest}\n"));
    assert_eq!(shelf.blobs(), 0);
    assert_eq!(lab.inspect(&by_digest)["Id"], lab.inspect(&name)["Id"]);

    // The tag moves on; layers that are there stay.
    shelf.push("base:1", "FROM busybox\nRUN echo 1 > /one\nRUN echo new > /two\n");
    let moved = lab.ok(&["pull", &name]).stdout;
    assert!(moved.contains(": Already exists\n") && moved.contains("Downloaded newer image"), "{moved}");
    assert_eq!(lab.ok(&["run", "--rm", &name, "cat", "/two"]).stdout, "new\n");
    assert_eq!(
        lab.ok(&["run", "--rm", &by_digest, "sh", "-c", "wc -c < /two"]).stdout,
        "3000002\n",
        "the old one is there"
    );
}

#[test]
fn all_tags_and_names_without_tags() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    shelf.push("base:latest", "FROM busybox\nRUN echo latest > /one\n");
    let pulled = lab.ok(&["pull", &shelf.name("base")]).stdout;
    assert!(pulled.starts_with("Using default tag: latest\nlatest: Pulling from base\n"), "{pulled}");
    let all = lab.ok(&["pull", "--all-tags", &shelf.name("base")]).stdout;
    assert!(all.contains("1: Pulling from base\n") && all.contains("latest: Pulling from base\n"), "{all}");
    assert_eq!(lab.ok(&["run", "--rm", &shelf.name("base:1"), "cat", "/one"]).stdout, "1\n");
    for (args, says) in [
        (&["pull", "--all-tags", "x:1"][..], "--all-tags takes a name without a tag"),
        (&["pull", "X"], "invalid reference"),
        (&["pull", "--platform=nonsense/", "x"], "platform"),
    ] {
        let ran = lab.run(args);
        assert_ne!(ran.code, 0);
        ran.assert_stderr(says);
    }
    let missing = lab.run(&["pull", &shelf.name("base:2")]);
    assert_eq!(missing.code, 1);
    missing.assert_stderr("404 Not Found (MANIFEST_UNKNOWN");
    missing.assert_stderr("base:2");
}

#[test]
fn the_platform_that_is_asked_for() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let maker = &shelf.maker;
    let context =
        maker.project("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /name\n", &[("amd64", "amd"), ("arm64", "arm")]);
    let layout = maker.path().join("layout");
    maker.build_with(
        &context,
        &["--platform=linux/amd64,linux/arm64", "-o", &format!("type=oci,tar=false,dest={}", layout.display())],
    );
    let to = format!("docker://{}", shelf.registry.reference("multi:1"));
    let from = format!("oci:{}", layout.display());
    tool("skopeo", &["copy", "--all", "--dest-tls-verify=false", &from, &to].map(AsRef::as_ref));
    let name = shelf.name("multi:1");
    lab.ok(&["pull", "--platform=linux/arm64", &name]);
    assert_eq!(lab.inspect(&name)["Architecture"], "arm64");
    lab.ok(&["pull", "--platform=linux/amd64", &name]);
    // Both are there, each for its platform, without the registry.
    shelf.proxy.take();
    for platform in ["amd64", "arm64"] {
        let out = lab.path().join(platform);
        let context = lab.project(&format!("FROM {name}\n"), &[]);
        let ran = lab.build_with(
            &context,
            &[
                "--pull=never",
                &format!("--platform=linux/{platform}"),
                "-o",
                &format!("type=local,dest={}", out.display()),
            ],
        );
        assert_eq!(std::fs::read_to_string(out.join("name")).expect("it is there"), &platform[..3], "{}", ran.stderr);
    }
    assert!(shelf.proxy.take().is_empty());
    let none = lab.run(&["pull", "--platform=linux/s390x", &name]);
    assert_eq!(none.code, 1);
    none.assert_stderr("is not for linux/s390x: it is for linux/amd64, linux/arm64");
}

#[test]
fn variants_are_told_apart() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let maker = &shelf.maker;
    let context = maker
        .project("FROM scratch\nARG TARGETVARIANT\nCOPY $TARGETVARIANT /name\n", &[("v6", "six"), ("v7", "seven")]);
    let layout = maker.path().join("layout");
    let platforms = "--platform=linux/arm/v6,linux/arm/v7";
    maker.build_with(&context, &[platforms, "-o", &format!("type=oci,tar=false,dest={}", layout.display())]);
    let to = format!("docker://{}", shelf.registry.reference("multi:1"));
    let from = format!("oci:{}", layout.display());
    tool("skopeo", &["copy", "--all", "--dest-tls-verify=false", &from, &to].map(AsRef::as_ref));
    let name = shelf.name("multi:1");
    // The older one runs on the newer machine, and is not what the index has for it.
    lab.ok(&["pull", "--platform=linux/arm/v6", &name]);
    let out = lab.path().join("out");
    let context = lab.project(&format!("FROM {name}\n"), &[]);
    let build = |args: &[&str]| {
        let dest = format!("type=local,dest={}", out.display());
        lab.try_build(&context, &[args, &["-o", &dest]].concat())
    };
    let read = |path: &str| std::fs::read_to_string(out.join(path)).expect("it is there");
    assert_eq!(build(&["--pull=never", "--platform=linux/arm/v7"]).code, 0);
    assert_eq!(read("name"), "six", "it will do when nobody may be asked");
    assert_eq!(build(&[platforms]).code, 0);
    assert_eq!((read("linux_arm_v6/name").as_str(), read("linux_arm_v7/name").as_str()), ("six", "seven"));
    shelf.proxy.take();
    assert_eq!(build(&[platforms]).code, 0);
    assert!(shelf.proxy.take().is_empty(), "both are there");
    // With the tag, all that it stood for goes.
    lab.ok(&["rmi", &name]);
    assert_eq!(lab.ok(&["images", "-a", "-q"]).stdout, "");
}

#[test]
fn what_others_push_is_built_upon() {
    let shelf = Shelf::new();
    // Podman writes its own manifests and compression.
    let lab = Lab::empty();
    let work = PathBuf::from(lab.path()).join("podman");
    let (root, runroot) = (work.join("root"), work.join("run"));
    let name = shelf.registry.reference("podman:1");
    let podman = |args: &[&str]| {
        let mut all = vec!["--storage-driver=vfs", "--root", root.to_str().expect("UTF-8"), "--runroot"];
        all.push(runroot.to_str().expect("UTF-8"));
        all.extend(args);
        let all: Vec<&std::ffi::OsStr> = all.iter().map(AsRef::as_ref).collect();
        tool("podman", &all)
    };
    podman(&["import", busybox_tar().to_str().expect("UTF-8"), &name]);
    podman(&["push", "--tls-verify=false", &name]);
    for base in [shelf.name("podman:1"), shelf.name("base:1")] {
        let built = lab.build_files(&format!("FROM {base}\nRUN echo mine > /mine\n"), &[]);
        assert_eq!(built.executed().len(), 1, "{}", built.stderr);
        assert_eq!(lab.shell("cat /mine"), "mine\n");
    }
}

/// A build with more arguments.
fn build(lab: &Lab, dockerfile: &str, args: &[&str]) -> Ran {
    lab.try_build(&lab.project(dockerfile, &[]), args)
}

#[test]
fn when_the_registry_is_asked() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let name = shelf.name("base:1");
    let dockerfile = format!("FROM {name}\nRUN cat /one > /seen\n");
    let never = build(&lab, &dockerfile, &["--pull=never"]);
    assert_eq!(never.code, 1);
    never.assert_stderr("is not in the store");
    never.assert_stderr("1 | FROM ");
    assert!(shelf.proxy.take().is_empty());

    assert_eq!(build(&lab, &dockerfile, &[]).code, 0);
    assert!(!shelf.proxy.take().is_empty());
    // What is there is enough, …
    shelf.push("base:1", "FROM busybox\nRUN echo changed > /one\n");
    for args in [&[][..], &["--pull=missing"], &["--pull=never"], &["--pull=false"]] {
        let ran = build(&lab, &dockerfile, args);
        assert_eq!((ran.code, ran.executed().len()), (0, 0), "{args:?}\n{}", ran.stderr);
    }
    assert!(shelf.proxy.take().is_empty(), "nobody is asked");
    // … unless somebody wants to know.
    let asked = build(&lab, &dockerfile, &["--pull"]);
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    assert_eq!(lab.shell("cat /seen"), "changed\n");
    asked.assert_stderr(&format!("[internal] load metadata for {name}"));
    // A registry that does not answer.
    drop(shelf);
    for (args, code) in [(&["--pull"][..], 1), (&["--pull=always"], 1), (&["--pull=newer"], 0), (&[], 0)] {
        let ran = build(&lab, &dockerfile, args);
        assert_eq!(ran.code, code, "{args:?}\n{}", ran.stderr);
    }
    let ran = build(&lab, &dockerfile, &["--pull=sometimes"]);
    assert_eq!(ran.code, 2);
    ran.assert_stderr("none of missing, always, newer and never");
}

#[test]
fn a_missing_tag_is_drawn_under_its_line() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let name = shelf.name("base:2");
    let ran = build(&lab, &format!("FROM scratch AS x\nFROM {name}\n"), &[]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr(&format!("2 | FROM {name}\n  |      ^^^"));
    ran.assert_stderr("404 Not Found (MANIFEST_UNKNOWN");
    ran.assert_stderr("builder registry tags");
    let asked = shelf.proxy.take().iter().filter(|request| request.contains("/manifests/2")).count();
    assert!(asked <= 2, "{asked}");
}

#[test]
fn run_pulls_what_it_needs() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let name = shelf.name("base:1");
    let never = lab.run(&["run", "--rm", "--pull=never", &name, "cat", "/one"]);
    assert_ne!(never.code, 0);
    never.assert_stderr("no such image");
    let pulled = lab.ok(&["run", "--rm", &name, "cat", "/one"]);
    assert_eq!(pulled.stdout, "1\n");
    pulled.assert_stderr(&format!("Unable to find image '{name}' locally\n1: Pulling from base\n"));
    pulled.assert_stderr(&format!("Status: Downloaded newer image for {name}\n"));
    let again = lab.ok(&["run", "--rm", &name, "cat", "/one"]);
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("1\n", ""));
    shelf.push("base:1", "FROM busybox\nRUN echo 2 > /one\n");
    assert_eq!(lab.ok(&["run", "--rm", &name, "cat", "/one"]).stdout, "1\n");
    assert_eq!(lab.ok(&["run", "--rm", "--pull=always", &name, "cat", "/one"]).stdout, "2\n");
    drop(shelf);
    assert_eq!(lab.ok(&["run", "--rm", "--pull=newer", &name, "cat", "/one"]).stdout, "2\n");
    assert_ne!(lab.run(&["run", "--rm", "--pull=always", &name, "cat", "/one"]).code, 0);
}

#[test]
fn bake_pulls_for_all_targets_at_once() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    shelf.push("other:1", "FROM busybox\nRUN echo other > /one\n");
    let files = [
        ("a", format!("FROM {}\nRUN cat /one > /seen\n", shelf.name("base:1"))),
        ("b", format!("FROM {} AS x\nFROM {}\nCOPY --from=x /one /two\n", shelf.name("other:1"), shelf.name("base:1"))),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let dir = lab.context(&files);
    let definition = "group \"default\" { targets = [\"a\", \"b\"] }\n\
                      target \"a\" {\n dockerfile = \"a\"\n tags = [\"a\"]\n}\n\
                      target \"b\" {\n dockerfile = \"b\"\n tags = [\"b\"]\n pull = true\n}\n";
    std::fs::write(dir.join("docker-bake.hcl"), definition).expect("it is ours");
    let bake = |args: &[&str]| {
        let mut all = vec!["bake", "--progress=plain"];
        all.extend(args);
        Ran::of(lab.command(&all).current_dir(&dir).output().expect("builder starts"))
    };
    let ran = bake(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(lab.ok(&["run", "--rm", "b", "cat", "/two"]).stdout, "other\n");
    // Only the one that wants to know asks again.
    shelf.proxy.take();
    assert_eq!(bake(&["a"]).code, 0);
    assert!(shelf.proxy.take().is_empty());
    assert_eq!(bake(&["b"]).code, 0);
    assert!(!shelf.proxy.take().is_empty());
    assert_eq!(bake(&["--pull", "a"]).code, 0);
    assert!(!shelf.proxy.take().is_empty());
}
