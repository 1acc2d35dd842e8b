//! `SOURCE_DATE_EPOCH`, `source-date-epoch` and `rewrite-timestamp`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Layout, build, fresh, refused, text, times};
use crate::kit::{Lab, tool};

const EPOCH: &str = "SOURCE_DATE_EPOCH=1000000000";
const SHOWN: &str = "2001-09-09T01:46:40Z";

#[test]
fn a_time_that_no_image_can_have_is_refused() {
    let lab = Lab::empty();
    let context = lab.project("FROM scratch\nCOPY f /f\n", &[("f", "")]);
    for time in ["253402207201", "-62167219201", "-9223372036854775808"] {
        let argument = format!("SOURCE_DATE_EPOCH={time}");
        refused(&lab, &context, &["--build-arg", &argument], 1, time);
        let output = format!("type=tar,dest=out.tar,source-date-epoch={time}");
        refused(&lab, &context, &["-o", &output], 2, time);
    }
    build(&lab, &context, &["-t", "late", "--build-arg", "SOURCE_DATE_EPOCH=253402207200"]);
    assert_eq!(lab.inspect("late")["Created"], "9999-12-30T22:00:00Z");
}

/// A base whose layer is of 2020, and a project with a file of 1999 and one of 2030 on it.
fn project(lab: &Lab) -> std::path::PathBuf {
    let base = lab.project("FROM scratch\nCOPY old /base\n", &[("old", "")]);
    touch(&base.join("old"), "2020-01-01T00:00:00Z");
    build(lab, &base, &["-t", "base"]);
    let context = lab.project("FROM base\nCOPY old /old\nCOPY new /new\nENV a=b\n", &[("old", "o"), ("new", "n")]);
    touch(&context.join("old"), "1999-01-01T00:00:00Z");
    touch(&context.join("new"), "2030-01-01T00:00:00Z");
    context
}

fn touch(path: &Path, time: &str) {
    tool("touch", &["-d".as_ref(), time.as_ref(), path.as_ref()]);
}

/// The times of files in the layers of an image, by their names.
fn listed(lab: &Lab, layout: &Layout) -> Vec<String> {
    let mut lines = Vec::new();
    for layer in layout.manifest()["layers"].as_array().expect("layers") {
        let file = fresh(lab, "layer.tar");
        fs::write(&file, layout.blob(layer)).expect("ours");
        let listing = tool("tar", &["--utc".as_ref(), "-tvf".as_ref(), file.as_ref()]);
        lines.extend(listing.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            format!("{} {}", words[5], words[3])
        }));
    }
    lines
}

fn created(config: &Value) -> Vec<&str> {
    let history = config["history"].as_array().expect("a history");
    history.iter().map(|entry| entry["created"].as_str().unwrap_or("none")).collect()
}

#[test]
fn the_epoch_is_the_time_of_everything_that_is_built_here() {
    let lab = Lab::empty();
    let context = project(&lab);
    let layout = Layout::build(&lab, &context, "type=oci", &["--build-arg", EPOCH]);
    let config = layout.config();
    assert_eq!(config["created"], SHOWN);
    let history = created(&config);
    assert_eq!((history.len(), &history[1..]), (4, &[SHOWN, SHOWN, SHOWN][..]));
    assert_ne!(history[0], SHOWN, "the base image is not built here");
    assert_eq!(layout.root()["annotations"]["org.opencontainers.image.created"], SHOWN);
    // Files keep their times unless they are to be rewritten.
    assert_eq!(listed(&lab, &layout), ["base 2020-01-01", "old 1999-01-01", "new 2030-01-01"]);
    let rewritten = Layout::build(&lab, &context, "type=oci,rewrite-timestamp=true", &["--build-arg", EPOCH]);
    assert_eq!(listed(&lab, &rewritten), ["base 2020-01-01", "old 1999-01-01", "new 2001-09-09"]);
    let diff_ids = |layout: &Layout| layout.config()["rootfs"]["diff_ids"].clone();
    let (plain, clamped) = (diff_ids(&layout), diff_ids(&rewritten));
    assert_eq!((&plain[0], &plain[1]), (&clamped[0], &clamped[1]));
    assert_ne!(plain[2], clamped[2]);
    // An epoch later than everything is its time all the same.
    let later = Layout::build(&lab, &context, "type=oci", &["--build-arg", "SOURCE_DATE_EPOCH=4000000000"]);
    assert_eq!(later.config()["created"], "2096-10-02T07:06:40Z");
}

#[test]
fn an_output_can_have_an_epoch_of_its_own() {
    let lab = Lab::empty();
    let context = project(&lab);
    let of = |output: &str, args: &[&str]| {
        let layout = Layout::build(&lab, &context, output, args);
        (layout.config()["created"].as_str().expect("a time").to_owned(), listed(&lab, &layout)[2].clone())
    };
    let (created, file) = of("type=oci,source-date-epoch=1000000000,rewrite-timestamp=true", &[]);
    assert_eq!((created.as_str(), file.as_str()), (SHOWN, "new 2001-09-09"));
    let (created, file) = of("type=oci,source-date-epoch=500000000,rewrite-timestamp=true", &["--build-arg", EPOCH]);
    assert_eq!((created.as_str(), file.as_str()), ("1985-11-05T00:53:20Z", "new 1985-11-05"));
    // An empty one is none: files are left alone, what the build says of times stays.
    let (created, file) = of("type=oci,source-date-epoch=,rewrite-timestamp=true", &["--build-arg", EPOCH]);
    assert_eq!((created.as_str(), file.as_str()), (SHOWN, "new 2030-01-01"));
    // Two outputs of one build, two images.
    let (one, two) = (fresh(&lab, "one.tar"), fresh(&lab, "two.tar"));
    let outputs = [
        format!("type=oci,dest={},source-date-epoch=1,rewrite-timestamp=true", text(&one)),
        format!("type=oci,dest={}", text(&two)),
    ];
    build(&lab, &context, &["-o", &outputs[0], "-o", &outputs[1], "-o", "type=image,name=stored"]);
    let [one, two] = [one, two].map(|file| Layout::of(&lab, &file));
    assert_eq!(one.config()["created"], "1970-01-01T00:00:01Z");
    assert_eq!(lab.inspect("stored")["Id"], two.manifest()["config"]["digest"]);
    assert_ne!(one.manifest()["config"]["digest"], two.manifest()["config"]["digest"]);
}

#[test]
fn builds_at_different_times_are_the_same_to_the_bit() {
    let project = |lab: &Lab| {
        lab.project("FROM busybox\nRUN mkdir /d && date >/dev/null && echo made >/d/made\nCOPY f /f\n", &[("f", "f")])
    };
    for options in ["", ",compression=zstd", ",compression=estargz,force-compression=true"] {
        let bytes = [(); 2].map(|()| {
            // A store of its own: nothing is cached, all files are new.
            let lab = Lab::new();
            let base = fresh(&lab, "base.tar");
            lab.ok(&["save", "-o", text(&base), "busybox"]);
            let (file, files) = (fresh(&lab, "image.tar"), fresh(&lab, "files.tar"));
            let output = format!("type=oci,rewrite-timestamp=true,dest={}{options}", text(&file));
            let tar = format!("type=tar,dest={}", text(&files));
            build(&lab, &project(&lab), &["-t", "app", "-o", &output, "-o", &tar, "--build-arg", EPOCH]);
            let layout = Layout::of(&lab, &file);
            // The base was imported just now, and tells when.
            (
                layout.manifest()["layers"][1].clone(),
                layout.manifest()["layers"][2].clone(),
                fs::read(files).expect("written"),
            )
        });
        assert!(bytes[0] == bytes[1], "{options}");
    }
}

#[test]
fn files_that_are_exported_have_the_epoch_for_their_time() {
    let lab = Lab::empty();
    let context = project(&lab);
    let (directory, tar) = (fresh(&lab, "files"), fresh(&lab, "files.tar"));
    let output = format!("type=tar,dest={}", text(&tar));
    build(&lab, &context, &["--build-arg", EPOCH, "-o", text(&directory), "-o", &output]);
    let found = times(&directory);
    assert_eq!((found["new"], found["base"], found["old"]), (1_000_000_000, 1_000_000_000, 1_000_000_000));
    let listing = tool("tar", &["--utc".as_ref(), "-tvf".as_ref(), tar.as_ref()]);
    assert_eq!(listing.matches("2001-09-09 01:46").count(), 3, "{listing}");
    let own = fresh(&lab, "own");
    let output = format!("type=local,source-date-epoch=7,dest={}", text(&own));
    build(&lab, &context, &["--build-arg", EPOCH, "-o", &output]);
    assert_eq!(times(&own)["old"], 7);
    let none = fresh(&lab, "none");
    let output = format!("type=local,source-date-epoch=,dest={}", text(&none));
    build(&lab, &context, &["--build-arg", EPOCH, "-o", &output]);
    assert_eq!(times(&none)["old"], 915_148_800);
}

#[test]
fn rewritten_images_live_in_the_store() {
    let lab = Lab::empty();
    let context = project(&lab);
    let args = ["-t", "app", "--build-arg", EPOCH, "-o", "type=image,rewrite-timestamp=true"];
    build(&lab, &context, &args);
    let id = lab.inspect("app")["Id"].clone();
    // Made again it is the same, and it can be saved in any form.
    build(&lab, &context, &args);
    assert_eq!(lab.inspect("app")["Id"], id);
    lab.ok(&["cache", "prune", "--all"]);
    for compression in ["uncompressed", "gzip", "zstd"] {
        let file = fresh(&lab, "saved.tar");
        lab.ok(&["save", "--compression", compression, "-o", text(&file), "app"]);
        let layout = Layout::of(&lab, &file);
        assert_eq!(layout.manifest()["config"]["digest"], id, "{compression}");
        let other = Lab::empty();
        other.ok(&["load", "-i", text(&file)]);
        assert_eq!(other.inspect("app")["Id"], id, "{compression}");
    }
    // A base image's layers stay as they are there, and not as they are on their own.
    let child = lab.project("FROM app\nCOPY f /f\n", &[("f", "")]);
    let parent = lab.inspect("app")["RootFS"]["Layers"].clone();
    for (options, kept) in [("", 3), (",rewrite-timestamp=true,source-date-epoch=5", 3), (",compression=estargz", 3)] {
        let layout = Layout::build(&lab, &child, &format!("type=oci{options}"), &[]);
        let layers = layout.config()["rootfs"]["diff_ids"].clone();
        assert_eq!(
            (0..kept).map(|n| &layers[n]).collect::<Vec<_>>(),
            (0..kept).map(|n| &parent[n]).collect::<Vec<_>>()
        );
        assert_eq!(listed(&lab, &layout)[2], "new 2001-09-09", "{options}");
    }
    // Nothing says to which time.
    let ran = build(&lab, &context, &["-t", "app", "-o", "type=image,rewrite-timestamp=true"]);
    ran.assert_stderr("rewrite-timestamp is specified, but no source-date-epoch was found");
}
