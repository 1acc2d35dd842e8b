//! Images for other platforms, and for several at once.

use std::fs;

use serde_json::Value;

use crate::kit::{Lab, tool};

/// An OCI layout that a build wrote: its index, and blobs by digest.
fn layout(lab: &Lab, dockerfile: &str, files: &[(&str, &str)], args: &[&str]) -> (std::path::PathBuf, Value) {
    let context = lab.project(dockerfile, files);
    let out = lab.path().join(format!("layout{}", fs::read_dir(lab.path()).expect("it is there").count()));
    let output = format!("type=oci,tar=false,dest={}", out.display());
    let mut all = vec!["build", "--progress=plain", "-o", &output];
    all.extend(args);
    all.push(context.to_str().expect("a UTF-8 path"));
    lab.ok(&all);
    let index: Value =
        serde_json::from_slice(&fs::read(out.join("index.json")).expect("it was written")).expect("it is JSON");
    (out, index)
}

fn blob(layout: &std::path::Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().expect("a descriptor has a digest").replace(':', "/");
    serde_json::from_slice(&fs::read(layout.join("blobs").join(digest)).expect("it was written")).expect("it is JSON")
}

/// The platforms of the images, with their configs.
fn platforms(layout: &std::path::Path, index: &Value) -> Vec<(String, Value)> {
    let mut list = blob(layout, &index["manifests"][0]);
    if list.get("config").is_some() {
        list = serde_json::json!({ "manifests": [index["manifests"][0]] });
    }
    let manifests = list["manifests"].as_array().expect("an index has manifests").iter();
    manifests
        .map(|descriptor| {
            let config = blob(layout, &blob(layout, descriptor)["config"]);
            let part = |name: &str| config[name].as_str().unwrap_or_default().to_owned();
            let mut platform = format!("{}/{}", part("os"), part("architecture"));
            if !part("variant").is_empty() {
                platform = format!("{platform}/{}", part("variant"));
            }
            if let Some(said) = descriptor.get("platform") {
                assert_eq!(said["architecture"], config["architecture"], "{descriptor}");
            }
            (platform, config)
        })
        .collect()
}

#[test]
fn several_platforms_make_an_index() {
    let lab = Lab::empty();
    let dockerfile =
        "FROM scratch\nARG TARGETPLATFORM\nARG TARGETARCH\nLABEL platform=$TARGETPLATFORM\nCOPY bin-$TARGETARCH /bin\n";
    let files = [("bin-amd64", "a"), ("bin-arm64", "b"), ("bin-arm", "c")];
    let (out, index) =
        layout(&lab, dockerfile, &files, &["--platform", "linux/amd64,linux/arm64", "--platform=linux/arm/v6"]);
    let found = platforms(&out, &index);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["linux/amd64", "linux/arm64", "linux/arm/v6"]);
    for (name, config) in &found {
        assert_eq!(config["config"]["Labels"]["platform"], Value::from(name.as_str()));
    }
    let raw = tool("skopeo", &["inspect".as_ref(), "--raw".as_ref(), format!("oci:{}", out.display()).as_ref()]);
    assert!(raw.contains("linux"), "{raw}");
}

#[test]
fn another_platform_needs_no_emulation_to_be_built_for() {
    let lab = Lab::new();
    let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS build\nARG TARGETARCH BUILDARCH\n\
        RUN echo \"made on $BUILDARCH for $TARGETARCH\" > /out && uname -m\nFROM scratch\nCOPY --from=build /out /out\nENTRYPOINT [\"/out\"]\n";
    let (out, index) = layout(&lab, dockerfile, &[], &["--platform=linux/arm64"]);
    let found = platforms(&out, &index);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "linux/arm64");

    // Both at once: the step of the build platform runs once for each, since it sees what it is for.
    let context = lab.project(dockerfile, &[]);
    let dest = lab.path().join("files");
    let output = format!("type=local,dest={}", dest.display());
    let ran = lab.ok(&[
        "build",
        "--progress=plain",
        "--platform=linux/amd64,linux/arm64",
        "-o",
        &output,
        context.to_str().expect("a UTF-8 path"),
    ]);
    for arch in ["amd64", "arm64"] {
        let text = fs::read_to_string(dest.join(format!("linux_{arch}/out"))).unwrap();
        assert!(text.ends_with(&format!("for {arch}\n")), "{text}");
    }
    ran.assert_stderr("[linux/amd64");
    ran.assert_stderr("[linux/arm64");
}

#[test]
fn base_images_are_of_their_platform() {
    let lab = Lab::new();
    let tar = crate::kit::busybox_tar().to_str().unwrap();
    // A root file system of another machine: what is in it is never run here.
    lab.ok(&["import", "--platform", "linux/arm64", "--change", "LABEL arch=arm64", tar, "foreign"]);
    assert_eq!(lab.inspect("foreign")["Architecture"], "arm64");
    let (out, index) = layout(&lab, "FROM foreign\nCOPY f /f\n", &[("f", "x")], &["--platform=linux/arm64"]);
    assert_eq!(platforms(&out, &index)[0].0, "linux/arm64");

    let ran = lab.try_build(&lab.project("FROM busybox\nCOPY f /f\n", &[("f", "x")]), &["--platform=linux/arm64"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("linux/amd64");
    ran.assert_stderr("linux/arm64");
    ran.assert_stderr("FROM busybox");
}

#[test]
fn a_wrong_platform_is_named() {
    let lab = Lab::empty();
    let context = lab.project("FROM scratch\nCOPY Dockerfile /\n", &[]);
    let ran = lab.try_build(&context, &["--platform=linux/"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    ran.assert_stderr("`linux/` is not a platform");
}

#[test]
fn targets_of_several_platforms_are_contexts_of_each_other() {
    let lab = Lab::empty();
    let dir = lab.context(&[
        ("base.Dockerfile", "FROM scratch\nARG TARGETARCH\nENV BASE=$TARGETARCH\nCOPY f /base\n"),
        ("app.Dockerfile", "FROM base\nCOPY f /app\n"),
        ("f", "x"),
        (
            "docker-bake.hcl",
            r#"
target "base" {
  dockerfile = "base.Dockerfile"
  platforms = ["linux/amd64", "linux/arm64"]
}
target "default" {
  dockerfile = "app.Dockerfile"
  platforms = ["linux/arm64", "linux/amd64"]
  contexts = { base = "target:base" }
  output = ["type=oci,tar=false,dest=out"]
}
target "wrong" {
  inherits = ["default"]
  platforms = ["linux/arm64", "linux/s390x"]
}
"#,
        ),
    ]);
    let output = lab.command(&["bake", "--progress=plain"]).current_dir(&dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = dir.join("out");
    let index: Value =
        serde_json::from_slice(&fs::read(out.join("index.json")).expect("it was written")).expect("it is JSON");
    let found = platforms(&out, &index);
    assert_eq!(found.len(), 2);
    for (name, config) in found {
        let env = config["config"]["Env"].to_string();
        assert!(env.contains(&format!("BASE={}", name.trim_start_matches("linux/"))), "{name}: {env}");
    }
    let output = lab.command(&["bake", "wrong"]).current_dir(&dir).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("target base can't be used by wrong"), "{text}");
}

#[test]
fn several_platforms_of_an_image_are_loaded_and_built_on() {
    let lab = Lab::empty();
    let base = lab.project("FROM scratch\nARG TARGETARCH\nENV BASE=$TARGETARCH\nCOPY f /base\n", &[("f", "x")]);
    let tar = lab.path().join("base.tar");
    let output = format!("type=oci,dest={}", tar.display());
    let both = "--platform=linux/amd64,linux/arm64";
    lab.ok(&["build", both, "-t", "base", "-o", &output, base.to_str().expect("a UTF-8 path")]);

    let other = Lab::empty();
    let file = tar.to_str().expect("a UTF-8 path");
    other.ok(&["load", both, "-i", file]);
    let (out, index) = layout(&other, "FROM base\nCOPY f /app\n", &[("f", "y")], &[both]);
    let found = platforms(&out, &index);
    assert_eq!(found.len(), 2);
    for (name, config) in found {
        let env = config["config"]["Env"].to_string();
        assert!(env.contains(&format!("BASE={}", name.trim_start_matches("linux/"))), "{name}: {env}");
    }
    let ran = other.try_build(&other.project("FROM base\nCOPY f /f\n", &[("f", "x")]), &["--platform=linux/s390x"]);
    ran.assert_stderr("is for linux/amd64, linux/arm64 and not for linux/s390x");
    let ran = other.run(&["load", "--platform=linux/s390x", "-i", file]);
    assert_ne!(ran.code, 0, "{}", ran.stdout);
}
