//! Images of ours in other runtimes, and their file trees everywhere the same.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::archives::Podman;
use crate::kit::{Lab, Ran, tool};
use crate::tree::{assert_same, everything, facts, unpack};

/// The image as an OCI archive.
#[track_caller]
fn archive(lab: &Lab, image: &str, compression: &str) -> PathBuf {
    let archive = lab.context(&[]).join("image.tar");
    let output = archive.to_str().expect("UTF-8");
    lab.ok(&["save", "--format=oci", "--compression", compression, "-o", output, image]);
    archive
}

/// The image as an OCI layout directory.
#[track_caller]
fn layout(lab: &Lab, image: &str, compression: &str) -> PathBuf {
    let archive = archive(lab, image, compression);
    let directory = lab.context(&[]);
    tool("tar", &["-C".as_ref(), directory.as_ref(), "-xf".as_ref(), archive.as_ref()]);
    directory
}

/// The image unpacked by umoci: a root file system and a config for runtimes.
#[track_caller]
fn bundle(lab: &Lab, layout: &Path, tag: &str) -> PathBuf {
    let bundle = lab.context(&[]).join("bundle");
    let image = format!("{}:{tag}", layout.display());
    tool("umoci", &["unpack".as_ref(), "--image".as_ref(), image.as_ref(), bundle.as_ref()]);
    bundle
}

/// The two runtimes. crun refuses a second cgroup hierarchy, even when it is told not to use any: so it sees none.
const RUNTIMES: [(&str, &[&str]); 2] = [
    ("runc", &["runc"]),
    (
        "crun",
        &[
            "unshare",
            "--mount",
            "sh",
            "-c",
            "umount /sys/fs/cgroup/unified 2>/dev/null; exec crun --cgroup-manager=disabled \"$@\"",
            "sh",
        ],
    ),
];

/// Runs a bundle, with another command if one is given.
fn run(lab: &Lab, bundle: &Path, runtime: &[&str], command: &[&str]) -> Ran {
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("umoci wrote it")).expect("JSON");
    config["process"]["terminal"] = false.into();
    if !command.is_empty() {
        config["process"]["args"] = command.into();
        // umoci gives fewer than others do; to see everything takes this one.
        for kind in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            config["process"]["capabilities"][kind] = serde_json::json!(["CAP_DAC_OVERRIDE"]);
        }
    }
    fs::write(&path, config.to_string()).expect("ours");
    let name = format!("builder-e2e-{}", lab.path().file_name().expect("a name").display()).replace('.', "");
    let output = Command::new(runtime[0])
        .args(&runtime[1..])
        .arg("--root")
        .arg(lab.path().join("runtime"))
        .arg("run")
        .arg("--bundle")
        .arg(bundle)
        .arg(name)
        .output()
        .unwrap_or_else(|error| panic!("{runtime:?}: {error}"));
    Ran::of(output)
}

#[test]
fn an_image_runs_the_same_under_runc_and_crun() {
    let lab = Lab::new();
    lab.build_files(
        "FROM busybox\nRUN mkdir /w && echo data >/w/file && chown app /w/file && rm /bin/vi\nENV A=\"b c\" LONG=${A}d\nWORKDIR /w\nUSER app\n\
         ENTRYPOINT [\"sh\", \"-c\"]\nCMD [\"id -un; id -G; pwd; echo $A $LONG; stat -c '%U %a' file; cat file; ls /bin/vi 2>/dev/null; echo gone $?; echo error >&2; exit 42\"]\n",
        &[],
    );
    let expected = lab.run(&["run", "app"]);
    assert_eq!(
        (expected.code, expected.stdout.as_str(), expected.stderr.as_str()),
        (42, "app\n1000 2000\n/w\nb c d\napp 644\ndata\ngone 1\n", "error\n")
    );
    let built = lab.context(&[]).join("built");
    let context = lab.project("FROM app\n", &[]);
    lab.build_with(&context, &["-o", &format!("type=oci,tar=false,dest={}", built.display())]);
    for (layout, what) in [
        (layout(&lab, "app", "uncompressed"), "saved"),
        (layout(&lab, "app", "gzip"), "saved, compressed"),
        (built, "written by build"),
    ] {
        let bundle = bundle(&lab, &layout, "latest");
        for (name, runtime) in RUNTIMES {
            let ran = run(&lab, &bundle, runtime, &[]);
            assert_eq!(
                (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
                (expected.code, expected.stdout.as_str(), expected.stderr.as_str()),
                "{name}, {what}"
            );
        }
    }
}

/// An image with everything that a layer can hold, in files that it adds and in files that it removes, replaces or
/// changes of the layers below.
fn rich(lab: &Lab) {
    let tree = lab.context(&[]);
    everything(&tree);
    let context = lab.context(&[]);
    let archive = context.join("all.tar");
    let mut args: Vec<&OsStr> =
        ["--format=posix", "--sparse", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C"]
            .map(OsStr::new)
            .into();
    args.extend([tree.as_os_str(), "-cf".as_ref(), archive.as_os_str(), ".".as_ref()]);
    tool("tar", &args);
    fs::write(
        context.join("Dockerfile"),
        "FROM busybox AS base\nADD all.tar /all/\n\
         RUN mkdir -p /w/keep /w/gone/deep /w/opaque/old /w/dir-to-file /w/merged /w/linked && cd /w && touch file removed gone/deep/x opaque/old/x opaque/y dir-to-file/x file-to-dir merged/a merged/b meta linked/a && ln linked/a linked/b && ln -s file link && ln file hard && ln -s merged link-to-dir && ln -s nowhere link-to-file\n\
         FROM base\n\
         RUN cd /w && rm removed && rm -r gone && rm -r opaque && mkdir opaque && touch opaque/new && rm -r dir-to-file && echo now a file >dir-to-file && rm file-to-dir && mkdir file-to-dir && touch file-to-dir/x && mv link link-moved && rm hard && mv keep kept && rm merged/a && chmod 4711 meta && chown 7:8 meta && echo >>linked/a && ln linked/b linked/c && rm link-to-dir && mkdir link-to-dir && touch link-to-dir/x && rm link-to-file && touch link-to-file\n\
         RUN cd /all && chmod 700 sub && rm 'with space' *line && mv plain moved && echo more >>hard-too && rm -r closed && rm fifo && mkfifo -m 600 fifo\n\
         RUN rm -r /w/opaque && mkdir /w/opaque && touch /w/opaque/newer && mkdir /w/gone && rm -r /var/empty /tmp && mkdir -m 1777 /tmp\n\
         COPY all.tar /w/copied\nWORKDIR /w/new/dir\nRUN rm /w/copied && touch -d @1000000000 /w/file-to-dir/x /w/new\n",
    )
    .expect("ours");
    lab.build(&context);
}

/// Where the tree is that the tests compare: what runtimes mount over it is left out.
const PLACES: [&str; 6] = ["all", "bin", "root", "tmp", "var", "w"];

/// What is to be seen below a root, in the places that are compared.
fn seen(root: &Path) -> BTreeMap<OsString, String> {
    let mut all = facts(root);
    all.retain(|path, _| Path::new(path).iter().next().is_some_and(|first| PLACES.iter().any(|place| first == *place)));
    // An attribute without a value gets lost in every tool that reads tars with Go's library.
    for fact in all.values_mut() {
        *fact = fact.replace(" user.empty=[]", "");
    }
    all
}

/// The same of an image's files, exported by `build`.
#[track_caller]
fn exported(lab: &Lab, image: &str) -> BTreeMap<OsString, String> {
    let context = lab.project(&format!("FROM {image}\n"), &[]);
    let out = lab.path().join("exported");
    lab.ok(&["build".as_ref(), "-o".as_ref(), out.as_os_str(), context.as_os_str()]);
    seen(&out)
}

/// GNU tar with its libraries, to be mounted into containers.
fn gnu_tar(lab: &Lab) -> PathBuf {
    let directory = lab.context(&[]);
    let libraries = tool("ldd", &["/bin/tar".as_ref()]);
    for path in libraries.split_whitespace().filter(|word| word.starts_with('/')).chain(["/bin/tar"]) {
        let name = Path::new(path).file_name().expect("a name");
        let name = if name.to_string_lossy().starts_with("ld-") { OsStr::new("ld.so") } else { name };
        fs::copy(path, directory.join(name)).expect("it is there");
    }
    directory
}

#[test]
fn the_file_tree_is_the_same_in_a_container_and_in_every_unpacker() {
    let lab = Lab::new();
    rich(&lab);
    // As a container sees it.
    let tools = gnu_tar(&lab);
    let container = lab.context(&[]).join("container.tar");
    let volume = format!("{}:/tools:ro", tools.display());
    let mut args = vec!["run", "-v", &volume, "app", "/tools/ld.so", "--library-path", "/tools", "/tools/tar"];
    args.extend(["--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", "/", "-cf", "-"]);
    args.extend(PLACES);
    let status = lab.command(&args).stdout(File::create(&container).expect("ours")).status().expect("builder starts");
    assert!(status.success());
    let unpacked = lab.path().join("container");
    unpack(&container, &unpacked);
    let expected = seen(&unpacked);
    assert!(expected.len() > 330, "{} files", expected.len());
    for (path, part) in [
        ("all/setuid", "104755"),
        ("all/all", "security.capability"),
        ("w/linked/c", "= w/linked/b"),
        ("w/meta", "7:8"),
    ] {
        assert!(expected[OsStr::new(path)].contains(part), "{path}: {}", expected[OsStr::new(path)]);
    }
    for path in
        ["w/removed", "w/opaque/new", "w/opaque/old", "w/gone/deep", "all/closed", "w/link-to-dir/b", "var/empty"]
    {
        assert!(!expected.contains_key(OsStr::new(path)), "{path} is still there");
    }
    // As umoci unpacks it, for each compression that it knows.
    for compression in ["uncompressed", "gzip"] {
        let bundle = bundle(&lab, &layout(&lab, "app", compression), "latest");
        assert_same(&seen(&bundle.join("rootfs")), &expected, &format!("umoci, {compression}"));
    }
    // As podman's storage has it.
    let podman = Podman::new(&lab);
    let saved = archive(&lab, "app", "zstd");
    podman.podman(&["load", "-q", "-i", saved.to_str().expect("UTF-8")]);
    let root = podman.podman(&["image", "mount", "app"]);
    assert_same(&seen(Path::new(root.trim_end())), &expected, "podman");
    podman.podman(&["image", "unmount", "app"]);
    // As our own exports and another store have it.
    let other = Lab::empty();
    other.ok(&["load".as_ref(), "-i".as_ref(), saved.as_os_str()]);
    assert_same(&exported(&other, "app"), &expected, "loaded, and built to a directory");
}

#[test]
fn listings_in_containers_of_all_runtimes_are_equal_to_the_second() {
    let lab = Lab::new();
    rich(&lab);
    let script = format!(
        "cd / && find {} -type d -exec stat -c '%N %F %a %u:%g %Y' {{}} \\; -o -exec stat -c '%N %F %a %u:%g %s %t:%T %Y' {{}} \\; | sort; \
         cd /all && find . -type f | sort | tr '\\n' '\\0' | xargs -0 md5sum; find / -xdev -name '.wh*'",
        PLACES.join(" ")
    );
    let command = ["sh", "-c", script.as_str()];
    let expected = lab.ok(&[&["run", "app"][..], &command].concat()).stdout;
    assert!(expected.lines().count() > 350, "{expected}");
    let bundle = bundle(&lab, &layout(&lab, "app", "gzip"), "latest");
    for (name, runtime) in RUNTIMES {
        let ran = run(&lab, &bundle, runtime, &command);
        let difference: Vec<_> = ran
            .stdout
            .lines()
            .filter(|line| !expected.lines().any(|other| other == *line))
            .chain(expected.lines().filter(|line| !ran.stdout.lines().any(|other| other == *line)))
            .collect();
        assert!(ran.stdout == expected && ran.code == 0, "{name}: {difference:#?}\n{}", ran.stderr);
    }
}

#[test]
fn what_umoci_packs_is_loaded_with_its_changes() {
    let lab = Lab::new();
    rich(&lab);
    let layout = layout(&lab, "app", "uncompressed");
    let bundle = bundle(&lab, &layout, "latest");
    let root = bundle.join("rootfs");
    fs::remove_file(root.join("w/file")).expect("it is there");
    fs::remove_dir_all(root.join("all/sub")).expect("it is there");
    fs::create_dir(root.join("all/sub")).expect("ours");
    fs::write(root.join("all/sub/new"), "new").expect("ours");
    fs::remove_file(root.join("w/link-to-file")).expect("it is there");
    fs::create_dir(root.join("w/link-to-file")).expect("ours");
    fs::write(root.join("w/link-to-file/x"), "in a directory now").expect("ours");
    fs::hard_link(root.join("all/moved"), root.join("all/linked")).expect("ours");
    let expected = seen(&root);
    let image = format!("{}:packed", layout.display());
    tool("umoci", &["repack".as_ref(), "--image".as_ref(), image.as_ref(), bundle.as_ref()]);
    // The new image keeps the annotation with the old one's full name.
    let old = format!("{}:latest", layout.display());
    tool("umoci", &["rm".as_ref(), "--image".as_ref(), old.as_ref()]);
    let other = Lab::empty();
    let told = other.ok(&["load".as_ref(), "-i".as_ref(), layout.as_os_str()]).stdout;
    assert_eq!(told, "Loaded image: app:latest\n");
    assert_same(&exported(&other, "app"), &expected, "loaded, and built to a directory");
    let script = "cat /w/link-to-file/x; echo; ls /w/file /all/sub; stat -c %h /all/linked";
    let ran = other.run(&["run", "app", "sh", "-c", script]);
    assert_eq!(ran.stdout, "in a directory now\n/all/sub:\nnew\n2\n", "{}", ran.stderr);
}
