//! Results for several platforms: indexes, split directories, and names that stand for all of them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Layout, build, fresh, paths, refused, skopeo, text};
use crate::kit::{Lab, tool};

const BOTH: &str = "--platform=linux/amd64,linux/arm64";

/// No step runs on a foreign machine: files alone.
fn project(lab: &Lab) -> std::path::PathBuf {
    lab.project(
        "FROM scratch\nARG TARGETARCH\nCOPY common /common\nCOPY $TARGETARCH /arch\nENV ARCH=$TARGETARCH\n",
        &[("common", "c"), ("amd64", "this is amd64"), ("arm64", "this is arm64")],
    )
}

#[track_caller]
fn check_index(layout: &Layout, docker: bool) -> Value {
    let root = layout.root();
    let kinds = if docker {
        (
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        )
    } else {
        ("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json")
    };
    assert_eq!((&root["mediaType"], root.get("platform")), (&json!(kinds.0), None));
    let index = layout.follow(&root);
    assert_eq!(index["mediaType"], kinds.0);
    let manifests = index["manifests"].as_array().expect("a list");
    let architectures: Vec<&Value> = manifests.iter().map(|manifest| &manifest["platform"]["architecture"]).collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    for manifest in manifests {
        assert_eq!(manifest["mediaType"], kinds.1);
        let config = layout.follow(&layout.follow(manifest)["config"]);
        assert_eq!(config["architecture"], manifest["platform"]["architecture"]);
        let variable = format!("ARCH={}", config["architecture"].as_str().expect("a text"));
        assert!(config["config"]["Env"].as_array().is_some_and(|env| env.contains(&json!(variable))), "{config}");
    }
    index
}

#[test]
fn several_platforms_are_an_index() {
    let lab = Lab::empty();
    let context = project(&lab);
    let facts = fresh(&lab, "facts");
    let iid = fresh(&lab, "iid");
    for (output, docker) in [("type=oci", false), ("type=docker", false), ("type=oci,oci-mediatypes=false", true)] {
        let args = [BOTH, "-t", "app", "--metadata-file", text(&facts), "--iidfile", text(&iid)];
        let layout = Layout::build(&lab, &context, output, &args);
        check_index(&layout, docker);
        let told: Value = serde_json::from_slice(&fs::read(&facts).expect("written")).expect("JSON");
        assert_eq!(told["containerimage.digest"], layout.root()["digest"], "{output}");
        assert_eq!(told["containerimage.descriptor"]["mediaType"], layout.root()["mediaType"]);
        assert!(told.get("containerimage.config.digest").is_none(), "there are two");
        assert_eq!(layout.root()["digest"], fs::read_to_string(&iid).expect("written").as_str());
        let archive = layout.pack(&lab);
        let image = format!("oci-archive:{}", text(&archive));
        for arch in ["amd64", "arm64"] {
            let config = skopeo(&["--override-arch", arch, "inspect", "--config", "--raw", &image]);
            let config: Value = serde_json::from_str(&config).expect("JSON");
            assert_eq!(config["architecture"], arch, "{output}");
        }
        let copy = fresh(&lab, "copy");
        skopeo(&["copy", "-q", "--all", &image, &format!("oci:{}:app", text(&copy))]);
        if output == "type=docker" {
            let list = layout.json("manifest.json");
            assert_eq!(list[0]["RepoTags"], json!(["app:latest"]));
        }
        // The machine's own is loaded.
        let other = Lab::empty();
        other.ok(&["load", "-i", text(&archive)]);
        assert_eq!(other.inspect("app")["Architecture"], builder_arch());
    }
    // A directory, and the equal one of another run.
    let directory = fresh(&lab, "layout");
    let output = format!("type=oci,tar=false,dest={}", text(&directory));
    build(&lab, &context, &[BOTH, "-t", "app", "-o", &output]);
    build(&lab, &context, &[BOTH, "-t", "app", "-o", &output]);
    check_index(&Layout(directory), false);
}

fn builder_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[test]
fn one_platform_is_an_index_when_that_is_asked_for() {
    let lab = Lab::empty();
    let context = project(&lab);
    let args = ["--platform=linux/arm64", "--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "-t", "app"];
    let layout = Layout::build(&lab, &context, "type=oci", &[&args[..], &["--annotation", "index:a=b"]].concat());
    let index = layout.follow(&layout.root());
    assert_eq!((&index["annotations"]["a"], index["manifests"].as_array().map(Vec::len)), (&json!("b"), Some(1)));
    let layout = Layout::build(&lab, &context, "type=oci", &["--platform=linux/arm64"]);
    assert_eq!(layout.root()["platform"], json!({"architecture": "arm64", "os": "linux"}));
    assert_eq!(layout.config()["architecture"], "arm64");
}

#[test]
fn annotations_of_an_index_and_of_single_platforms() {
    let lab = Lab::empty();
    let context = project(&lab);
    let output = "type=oci,annotation-index.i=1,annotation-index-descriptor.id=2,annotation.all=3,annotation[linux/arm64].all=4,\
                  annotation-manifest-descriptor[linux/amd64].md=5";
    let check = |layout: &Layout| {
        let (root, index) = (layout.root(), layout.follow(&layout.root()));
        assert_eq!((&root["annotations"]["id"], &index["annotations"]), (&json!("2"), &json!({"i": "1"})));
        let of = |position: usize| layout.follow(&index["manifests"][position])["annotations"].clone();
        assert_eq!((of(0), of(1)), (json!({"all": "3"}), json!({"all": "4"})));
        assert_eq!(index["manifests"][0]["annotations"], json!({"md": "5"}));
        assert!(index["manifests"][1].get("annotations").is_none());
    };
    check(&Layout::build(&lab, &context, output, &[BOTH, "-t", "app"]));
    build(&lab, &context, &[BOTH, "-t", "app", "-o", &output.replace("type=oci", "type=image")]);
    let file = fresh(&lab, "saved.tar");
    lab.ok(&["save", "--format=oci", "-o", text(&file), "app"]);
    check(&Layout::of(&lab, &file));
}

#[test]
fn annotations_without_a_place_are_refused() {
    let lab = Lab::empty();
    let context = project(&lab);
    let output = format!("type=oci,dest={}", text(&fresh(&lab, "image.tar")));
    for (args, part) in [
        (&[BOTH, "--annotation", "manifest[linux/s390x]:k=v"][..], "linux/s390x, which is not built"),
        (&["--annotation", "index:k=v", "--build-arg", "BUILDKIT_MULTI_PLATFORM=0"], "no index to annotate"),
        (&["--annotation", "index:k=v", "--build-arg", "BUILDKIT_MULTI_PLATFORMS=1"], "no index to annotate"),
    ] {
        refused(&lab, &context, &[&["-o", &output], args].concat(), 2, part);
    }
}

#[test]
fn a_name_of_one_platform_goes_alone() {
    let lab = Lab::empty();
    let context = project(&lab);
    build(&lab, &context, &[BOTH, "-t", "app"]);
    let foreign = if builder_arch() == "amd64" { "arm64" } else { "amd64" };
    build(&lab, &context, &[&format!("--platform=linux/{foreign}"), "-t", "foreign"]);
    // The image is one of the other name's, too.
    lab.ok(&["rmi", "foreign"]);
    assert_eq!(lab.inspect("app")["Platforms"].as_array().map(Vec::len), Some(2));
    // What only the name of several platforms named goes with it, whatever else its own image is called.
    build(&lab, &context, &["-t", "own"]);
    lab.ok(&["rmi", "app"]);
    assert_eq!(lab.ok(&["images", "-q"]).stdout.lines().count(), 1);
    assert_eq!(lab.inspect("own")["Architecture"], builder_arch());
}

#[test]
fn files_are_split_by_platform_unless_told() {
    let lab = Lab::empty();
    let context = project(&lab);
    let directory = fresh(&lab, "files");
    build(&lab, &context, &[BOTH, "-o", text(&directory)]);
    assert_eq!(
        paths(&directory),
        [
            "linux_amd64",
            "linux_amd64/arch",
            "linux_amd64/common",
            "linux_arm64",
            "linux_arm64/arch",
            "linux_arm64/common"
        ]
    );
    assert_eq!(fs::read_to_string(directory.join("linux_arm64/arch")).expect("written"), "this is arm64");
    let tar = fresh(&lab, "files.tar");
    build(
        &lab,
        &context,
        &[BOTH, "-o", &format!("type=tar,dest={}", text(&tar)), "--build-arg", "SOURCE_DATE_EPOCH=7"],
    );
    let names = tool("tar", &["--utc".as_ref(), "-tvf".as_ref(), tar.as_ref()]);
    assert_eq!(names.lines().filter(|line| line.contains("linux_arm64/")).count(), 3, "{names}");
    assert!(names.lines().all(|line| line.contains("1970-01-01")), "{names}");
    // One platform can be split, too.
    let split = fresh(&lab, "split");
    let output = format!("type=local,platform-split=true,dest={}", text(&split));
    build(&lab, &context, &["--platform=linux/arm64", "-o", &output]);
    assert_eq!(paths(&split), ["linux_arm64", "linux_arm64/arch", "linux_arm64/common"]);
    // Together, they must not get into each other's way.
    let together = fresh(&lab, "together");
    let output = format!("type=local,platform-split=false,dest={}", text(&together));
    let ran = lab.run(&["build", "--progress=plain", BOTH, "-o", &output, text(&context)]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("of linux/arm64 can't be written over that of linux/amd64");
    let apart = lab.project("FROM scratch\nARG TARGETARCH\nCOPY f /bin/tool-$TARGETARCH\n", &[("f", "")]);
    let output = format!("type=local,platform-split=false,dest={}", text(&fresh(&lab, "apart")));
    build(&lab, &apart, &[BOTH, "-o", &output]);
    assert_eq!(
        paths(Path::new(output.rsplit('=').next().expect("a path"))),
        ["bin", "bin/tool-amd64", "bin/tool-arm64"]
    );
    // What no platform has goes.
    fs::create_dir_all(lab.path().join("out/linux_s390x")).expect("ours");
    fs::create_dir_all(lab.path().join("out/linux_arm64/old")).expect("ours");
    build(&lab, &context, &[BOTH, "-o", "type=local,mode=delete,dest=out"]);
    assert_eq!(paths(&lab.path().join("out")).len(), 6);
}

#[test]
fn a_name_of_the_store_stands_for_all_platforms() {
    let lab = Lab::empty();
    let context = project(&lab);
    build(&lab, &context, &[BOTH, "-t", "app"]);
    let shown = lab.inspect("app");
    assert_eq!(shown["Architecture"], builder_arch());
    let platforms: Vec<&Value> =
        shown["Platforms"].as_array().expect("a list").iter().map(|one| &one["Platform"]).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(lab.ok(&["images", "-q"]).stdout.lines().count(), 1, "one name, one line");
    let row: Value = serde_json::from_str(&lab.ok(&["images", "--format=json"]).stdout).expect("one line");
    assert_eq!(row["Platforms"], json!(["linux/amd64", "linux/arm64"]));
    // Saved, tagged and saved again it is still both.
    lab.ok(&["tag", "app", "other"]);
    for name in ["app", "other"] {
        for format in ["oci", "docker"] {
            let file = fresh(&lab, "saved.tar");
            lab.ok(&["save", "--format", format, "-o", text(&file), name]);
            check_index(&Layout::of(&lab, &file), false);
        }
    }
    // A base is the image of the platform that is built.
    let child = lab.project("FROM app\nARG TARGETARCH\nCOPY f /child\n", &[("f", "")]);
    let layout = Layout::build(&lab, &child, "type=oci", &[BOTH]);
    check_index(&layout, false);
    // Nobody takes the other platform for garbage, or removes it by mistake.
    let foreign =
        shown["Platforms"].as_array().into_iter().flatten().find(|one| one["Id"] != shown["Id"]).expect("two");
    let foreign = foreign["Id"].as_str().expect("an id");
    assert_eq!(lab.ok(&["image", "prune"]).stdout.lines().count(), 1, "no image goes");
    assert_eq!(lab.inspect(foreign)["Id"], foreign);
    let ran = lab.run(&["rmi", foreign]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("is one platform of app:latest, other:latest");
    lab.ok(&["rmi", "other"]);
    lab.ok(&["rmi", "app"]);
    assert_eq!(lab.ok(&["images", "-q"]).stdout, "");
    assert_eq!(lab.run(&["inspect", foreign]).code, 1, "gone with the last name");
    // One platform after several: the name means one image again.
    build(&lab, &context, &[BOTH, "-t", "app"]);
    build(&lab, &context, &["-t", "app"]);
    assert!(lab.inspect("app").get("Platforms").is_none());
}
