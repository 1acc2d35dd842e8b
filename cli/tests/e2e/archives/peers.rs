//! Other writers and readers of images: skopeo, podman, buildah, and what Docker writes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{GREETING, Layout, assert_same_app, digest, filter, fresh, id, loaded, sample, save, skopeo, text};
use crate::kit::{Lab, tool};

/// Podman and buildah with a storage of their own.
pub(crate) struct Podman {
    home: PathBuf,
}

impl Podman {
    pub(crate) fn new(lab: &Lab) -> Self {
        let home = lab.path().join("podman");
        fs::create_dir_all(home.join("tmp")).expect("ours");
        let config = "[engine]\nlock_type = \"file\"\ncgroup_manager = \"cgroupfs\"\nruntime = \"runc\"\nevents_logger = \"none\"\n\
                      [containers]\nnetns = \"none\"\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        fs::write(home.join("containers.conf"), config).expect("ours");
        Self { home }
    }

    #[track_caller]
    fn run(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.arg("--storage-driver=vfs").arg("--root").arg(self.home.join("root"));
        command.arg("--runroot").arg(self.home.join("run"));
        if program == "podman" {
            command.arg("--tmpdir").arg(self.home.join("state"));
        }
        command.env("CONTAINERS_CONF", self.home.join("containers.conf")).env("TMPDIR", self.home.join("tmp"));
        let output = command.args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program} {args:?}\n{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
        stdout
    }

    #[track_caller]
    pub(crate) fn podman(&self, args: &[&str]) -> String {
        self.run("podman", args)
    }

    #[track_caller]
    pub(crate) fn buildah(&self, args: &[&str]) -> String {
        self.run("buildah", args).trim_end().to_owned()
    }

    /// The id of an image, in the form of ours.
    #[track_caller]
    pub(crate) fn id(&self, name: &str) -> String {
        format!("sha256:{}", self.podman(&["image", "inspect", "-f", "{{.Id}}", name]).trim_end())
    }
}

#[test]
fn skopeo_reads_and_copies_what_save_and_build_write() {
    let lab = sample();
    let expected = id(&lab, "app");
    let diff_ids = lab.inspect("app")["RootFS"]["Layers"].clone();
    for compression in ["uncompressed", "gzip", "zstd"] {
        let docker = save(&lab, &["--compression", compression, "app"]);
        let oci = save(&lab, &["--format=oci", "--compression", compression, "app"]);
        let layout = Layout::of(&lab, &oci).0;
        for (what, image) in [
            ("docker", format!("docker-archive:{}", text(&docker))),
            ("docker by name", format!("docker-archive:{}:app:latest", text(&docker))),
            ("docker as oci", format!("oci-archive:{}", text(&docker))),
            ("oci", format!("oci-archive:{}", text(&oci))),
            ("oci by name", format!("oci-archive:{}:latest", text(&oci))),
            ("layout", format!("oci:{}:latest", text(&layout))),
        ] {
            let what = format!("{what}, {compression}");
            let config = skopeo(&["inspect", "--config", "--raw", &image]);
            assert_eq!(digest(config.as_bytes()), expected, "{what}");
            let shown: Value = serde_json::from_str(&skopeo(&["inspect", &image])).expect("JSON");
            assert_eq!(shown["Labels"], json!({"l": "m"}), "{what}");
            // A copy reads all blobs and checks their digests.
            let copy = fresh(&lab, "copy");
            skopeo(&["copy", "-q", &image, &format!("dir:{}", text(&copy))]);
            let manifest: Value =
                serde_json::from_slice(&fs::read(copy.join("manifest.json")).expect("copied")).expect("JSON");
            let layers = manifest["layers"].as_array().expect("layers");
            assert_eq!(layers.len(), diff_ids.as_array().map_or(0, Vec::len), "{what}");
            for (layer, diff_id) in layers.iter().zip(diff_ids.as_array().expect("layers")) {
                let blob = copy.join(layer["digest"].as_str().expect("a text").trim_start_matches("sha256:"));
                let program = match fs::read(&blob).expect("copied")[..2] {
                    [0x1f, 0x8b] => "gzip",
                    [0x28, 0xb5] => "zstd",
                    _ => "",
                };
                let tar = if program.is_empty() {
                    fs::read(&blob).expect("it is there")
                } else {
                    filter(program, &["-dc"], &blob)
                };
                assert_eq!(digest(&tar), diff_id.as_str().expect("a text"), "{what}");
            }
        }
    }
}

#[test]
fn what_skopeo_writes_is_loaded_with_the_same_id() {
    let lab = sample();
    let expected = id(&lab, "app");
    let source = format!("oci-archive:{}", text(&save(&lab, &["--format=oci", "app"])));
    for (options, kind, name) in [
        (&[][..], "docker-archive", "app:latest"),
        (&[], "oci-archive", "app"),
        (&[], "oci-archive", "docker.io/library/app:latest"),
        (&[], "oci", "app"),
        (&["--dest-compress-format=zstd", "--dest-compress"], "oci", "app:latest"),
        (&["--dest-decompress"], "oci", "app:latest"),
    ] {
        let to = fresh(&lab, "copied");
        let mut args = vec!["copy", "-q"];
        args.extend(options);
        let target = format!("{kind}:{}:{name}", text(&to));
        args.extend([source.as_str(), &target]);
        skopeo(&args);
        let (other, told) = loaded(&to);
        assert_eq!(told, "Loaded image: app:latest\n", "{kind} {name}");
        assert_same_app(&other, &expected);
    }
    // A layout without a name, and one whose name is a version and not an image.
    for name in ["", ":v1.2", ":latest"] {
        let to = fresh(&lab, "nameless");
        skopeo(&["copy", "-q", &source, &format!("oci:{}{name}", text(&to))]);
        let (other, told) = loaded(&to);
        assert_eq!(told, format!("Loaded image ID: {expected}\n"), "{name}");
        assert_eq!(other.ok(&["run", &expected]).stdout, GREETING);
    }
}

#[test]
fn podman_loads_inspects_and_runs_what_save_writes() {
    let lab = sample();
    let expected = id(&lab, "app");
    let ours = lab.inspect("app");
    let podman = Podman::new(&lab);
    for format in ["docker", "oci"] {
        for compression in ["uncompressed", "gzip", "zstd"] {
            let archive = save(&lab, &["--format", format, "--compression", compression, "app"]);
            let told = podman.podman(&["load", "-q", "-i", text(&archive)]);
            assert!(told.contains("Loaded image") && told.contains("app:latest"), "{format} {compression}: {told}");
            assert_eq!(podman.id("app"), expected, "{format} {compression}");
            let theirs: Value = serde_json::from_str(&podman.podman(&["image", "inspect", "app"])).expect("JSON");
            for field in ["Env", "Cmd", "WorkingDir", "Labels"] {
                assert_eq!(theirs[0]["Config"][field], ours["Config"][field], "{field}");
            }
            assert_eq!(theirs[0]["RootFS"]["Layers"], ours["RootFS"]["Layers"]);
            assert_eq!(
                theirs[0]["History"].as_array().map(Vec::len),
                Some(lab.ok(&["history", "-q", "app"]).stdout.lines().count())
            );
            assert_eq!(podman.podman(&["run", "--rm", "app"]), GREETING, "{format} {compression}");
            podman.podman(&["rmi", "-f", "app"]);
        }
    }
    // Two at once, and the empty directory that a step left.
    let both = save(&lab, &["app", "busybox"]);
    podman.podman(&["load", "-q", "-i", text(&both)]);
    assert_eq!((podman.id("app"), podman.id("busybox")), (expected, id(&lab, "busybox")));
    assert_eq!(podman.podman(&["run", "--rm", "app", "ls", "-a", "/var"]), ".\n..\n");
}

#[test]
fn what_podman_saves_is_loaded_with_the_same_id() {
    let lab = sample();
    let expected = id(&lab, "app");
    let podman = Podman::new(&lab);
    for name in ["app", "busybox"] {
        podman.podman(&["load", "-q", "-i", text(&save(&lab, &[name]))]);
    }
    podman.podman(&["tag", "app", "localhost/other:v2"]);
    for format in ["docker-archive", "oci-archive", "oci-dir"] {
        let file = fresh(&lab, "saved");
        podman.podman(&["save", "-q", "--format", format, "-o", text(&file), "app"]);
        let (other, told) = loaded(&file);
        assert_eq!(told, "Loaded image: app:latest\n", "{format}");
        assert_same_app(&other, &expected);
    }
    let file = fresh(&lab, "several.tar");
    podman.podman(&["save", "-q", "-m", "-o", text(&file), "app", "localhost/other:v2", "busybox"]);
    let (other, _) = loaded(&file);
    assert_same_app(&other, &expected);
    assert_eq!(id(&other, "localhost/other:v2"), expected);
    assert_eq!(id(&other, "busybox"), id(&lab, "busybox"));
}

#[test]
fn what_buildah_builds_is_loaded_run_and_built_upon() {
    let lab = sample();
    let podman = Podman::new(&lab);
    podman.podman(&["load", "-q", "-i", text(&save(&lab, &["app"]))]);
    let container = podman.buildah(&["from", "--pull-never", "docker.io/library/app"]);
    let root = PathBuf::from(podman.buildah(&["mount", &container]));
    fs::write(root.join("by-buildah"), "written by buildah\n").expect("ours");
    fs::remove_file(root.join("made")).expect("it is in a lower layer");
    fs::remove_dir_all(root.join("sub")).expect("it is in a lower layer");
    fs::create_dir(root.join("sub")).expect("ours");
    fs::write(root.join("sub/new"), "").expect("ours");
    podman.buildah(&["umount", &container]);
    podman.buildah(&[
        "config",
        "--cmd",
        "cat /by-buildah",
        "--env",
        "BY=buildah",
        "--onbuild",
        "RUN touch /triggered",
        &container,
    ]);
    podman.buildah(&["commit", "-q", &container, "made"]);
    podman.buildah(&["commit", "-q", "--format", "docker", &container, "made-docker"]);
    let dir = fresh(&lab, "pushed");
    fs::create_dir(&dir).expect("ours");
    for (image, kind, compression) in [
        ("made", "oci-archive", "gzip"),
        ("made", "oci-archive", "zstd"),
        ("made", "oci", "gzip"),
        ("made", "docker-archive", "gzip"),
        ("made-docker", "docker-archive", "gzip"),
        ("made-docker", "oci", "gzip"),
    ] {
        let to = fresh(&lab, "pushed");
        let target = format!("{kind}:{}:pushed:v1", text(&to));
        podman.buildah(&["push", "-q", "--compression-format", compression, image, &target]);
        let what = format!("{image} to {kind}, {compression}");
        let (other, told) = loaded(&to);
        assert!(told.contains("Loaded image: pushed:v1\n"), "{what}: {told}");
        // Between Docker's and OCI's form, the config is written anew, and the id is another.
        if (image == "made") == kind.starts_with("oci") {
            assert_eq!(id(&other, "pushed:v1"), podman.id(image), "{what}");
        }
        assert_eq!(other.ok(&["run", "pushed:v1"]).stdout, "written by buildah\n", "{what}");
        assert_eq!(
            other.ok(&["run", "pushed:v1", "sh", "-c", "ls -d /made; ls /sub; echo $BY $GREETING"]).stdout,
            "new\nbuildah hello\n"
        );
        let context = other.project(
            "FROM pushed:v1\nRUN cat /by-buildah >/copy\nCMD [\"ls\", \"/copy\", \"/made\", \"/triggered\"]\n",
            &[],
        );
        other.build(&context);
        let ran = other.run(&["run", "app"]);
        let triggered = if image == "made-docker" && kind == "docker-archive" { "/triggered\n" } else { "" };
        assert!(
            ran.stdout.starts_with("/copy\n") && ran.stdout.ends_with(triggered) && ran.stderr.contains("/made"),
            "{what}\n{}",
            ran.stdout
        );
    }
}

/// Writes the files of a layout as `docker save` did before version 25: a directory for each layer.
fn as_old_docker(lab: &Lab, layout: &Layout) -> PathBuf {
    let new = layout.json("manifest.json");
    let dir = lab.context(&[]);
    let mut list = Vec::new();
    let mut repositories = serde_json::Map::new();
    let mut seen: Vec<(String, String)> = Vec::new();
    for (number, image) in new.as_array().expect("a list").iter().enumerate() {
        let config = image["Config"].as_str().expect("a path");
        let name = format!("{}.json", config.rsplit('/').next().expect("a name"));
        fs::copy(layout.0.join(config), dir.join(&name)).expect("ours");
        let mut layers = Vec::new();
        for (position, layer) in image["Layers"].as_array().expect("a list").iter().enumerate() {
            let path = layer.as_str().expect("a path");
            let legacy = digest(format!("{number} {position}").as_bytes())["sha256:".len()..].to_owned();
            fs::create_dir(dir.join(&legacy)).expect("ours");
            fs::write(dir.join(&legacy).join("VERSION"), "1.0").expect("ours");
            fs::write(dir.join(&legacy).join("json"), json!({"id": legacy}).to_string()).expect("ours");
            let tar = dir.join(&legacy).join("layer.tar");
            // A layer that an earlier one equals is a link to it.
            match seen.iter().find(|(known, _)| known == path) {
                Some((_, there)) => symlink(format!("../{there}/layer.tar"), tar).expect("ours"),
                None => drop(fs::copy(layout.0.join(path), tar).expect("ours")),
            }
            seen.push((path.to_owned(), legacy.clone()));
            layers.push(format!("{legacy}/layer.tar"));
        }
        for tag in image["RepoTags"].as_array().expect("a list") {
            let (repository, tag) = tag.as_str().and_then(|tag| tag.rsplit_once(':')).expect("a name");
            repositories.insert(repository.to_owned(), json!({tag: layers.last()}));
        }
        list.push(json!({"Config": name, "RepoTags": image["RepoTags"], "Layers": layers}));
    }
    fs::write(dir.join("manifest.json"), Value::Array(list).to_string()).expect("ours");
    fs::write(dir.join("repositories"), Value::Object(repositories).to_string()).expect("ours");
    let file = fresh(lab, "docker.tar");
    // Docker's names do not begin with `./`.
    let names: Vec<OsString> = fs::read_dir(&dir).expect("ours").flatten().map(|entry| entry.file_name()).collect();
    let mut args = vec![OsStr::new("-C"), dir.as_os_str(), OsStr::new("-cf"), file.as_os_str()];
    args.extend(names.iter().map(OsString::as_os_str));
    tool("tar", &args);
    file
}

/// The kind of the archive must not matter to what comes of it.
#[track_caller]
fn assert_loads(archive: &Path, expected: &[(&str, &str)]) {
    let (other, told) = loaded(archive);
    for (name, id_of) in expected {
        assert_eq!(id(&other, name), *id_of, "{told}");
    }
    assert_eq!(other.ok(&["run", "app"]).stdout, GREETING);
}

#[test]
fn what_docker_saves_in_its_old_and_its_new_form_is_loaded() {
    let lab = sample();
    let layout = Layout::of(&lab, &save(&lab, &["app", "busybox"]));
    let (app, busybox) = (id(&lab, "app"), id(&lab, "busybox"));
    let expected = [("app", app.as_str()), ("busybox:latest", busybox.as_str())];
    assert_loads(&as_old_docker(&lab, &layout), &expected);
    // Since version 25 it is a layout, too, whose index has annotations and no platforms.
    let mut index = layout.json("index.json");
    for manifest in index["manifests"].as_array_mut().expect("a list") {
        manifest.as_object_mut().expect("an object").remove("platform");
    }
    layout.write("index.json", &index);
    fs::write(layout.0.join("repositories"), "{}").expect("ours");
    assert_loads(&layout.pack(&lab), &expected);
    // An image that was saved by its id has no name there.
    let mut list = layout.json("manifest.json");
    list[0]["RepoTags"] = Value::Null;
    layout.write("manifest.json", &list);
    for name in ["index.json", "oci-layout"] {
        fs::remove_file(layout.0.join(name)).expect("ours");
    }
    let told = loaded(&layout.pack(&lab)).1;
    assert_eq!(told, format!("Loaded image ID: {app}\nLoaded image: busybox:latest\n"));
}

#[test]
fn an_image_that_has_a_layer_twice_passes_through_all_tools() {
    let lab = sample();
    let layout = Layout::of(&lab, &save(&lab, &["app"]));
    let layers = layout.manifest()["layers"].as_array().expect("a list").len();
    let repeat = |list: &mut Value| {
        let third = list[2].clone();
        list.as_array_mut().expect("a list").push(third);
    };
    layout.edit(|config, manifest| {
        repeat(&mut manifest["layers"]);
        repeat(&mut config["rootfs"]["diff_ids"]);
        repeat(&mut config["history"]);
    });
    let (manifest, mut list) = (layout.manifest(), layout.json("manifest.json"));
    list[0]["Config"] =
        manifest["config"]["digest"].as_str().expect("a text").replace("sha256:", "blobs/sha256/").into();
    repeat(&mut list[0]["Layers"]);
    layout.write("manifest.json", &list);
    let expected = manifest["config"]["digest"].as_str().expect("a text").to_owned();
    let (other, _) = loaded(&layout.pack(&lab));
    assert_same_app(&other, &expected);
    assert_eq!(other.inspect("app")["RootFS"]["Layers"].as_array().map(Vec::len), Some(layers + 1));
    assert_loads(&as_old_docker(&lab, &layout), &[("app", &expected)]);
    // Saved again, others read it.
    let podman = Podman::new(&lab);
    for format in ["docker", "oci"] {
        let archive = save(&other, &["--format", format, "app"]);
        podman.podman(&["load", "-q", "-i", text(&archive)]);
        assert_eq!(podman.id("app"), expected);
        let file = fresh(&lab, "theirs.tar");
        podman.podman(&["save", "-q", "--format", &format!("{format}-archive"), "-o", text(&file), "app"]);
        assert_loads(&file, &[("app", &expected)]);
    }
}
