//! Archives that are damaged, cut off, made up, or nothing of the kind.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Layout, content, filter, fresh, id, loaded, save, text};
use crate::kit::{Background, Lab, Ran, tool};

/// Two layers, each too large to be kept in memory while an archive is read.
fn two_layers() -> Lab {
    let lab = Lab::empty();
    let file =
        |n: u32| (0..40_000).map(|line: u32| format!("{} ", line.wrapping_mul(2_654_435_761 + n))).collect::<String>();
    lab.build_files("FROM scratch\nCOPY a /\nCOPY b /\nCMD [\"/a\"]\n", &[("a", &file(1)), ("b", &file(2))]);
    lab
}

/// `load` refuses it with this message, and the store is what it was.
#[track_caller]
fn assert_refused(what: &str, input: &Path, message: &str) {
    let lab = Lab::empty();
    lab.ok(&["images"]);
    let before = content(&lab);
    let ran = lab.run(&["load", "-i", text(input)]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{what}");
    assert!(ran.stderr.contains(message), "{what}: no `{message}` in\n{}", ran.stderr);
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("ERROR: ")).count(), 1, "{what}\n{}", ran.stderr);
    let words: Vec<&str> = ran.stderr.trim().split(": ").collect();
    assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "{what}: it is said twice\n{}", ran.stderr);
    assert_eq!(lab.ok(&["images", "-q"]).stdout, "", "{what}");
    assert_eq!(content(&lab), before, "{what}: something is left\n{}", ran.stderr);
}

/// Changes one byte in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(path, bytes).expect("ours");
}

#[test]
fn a_flipped_bit_in_any_blob_is_noticed() {
    let lab = two_layers();
    for args in [
        &["--format=docker", "app"][..],
        &["--format=oci", "app"],
        &["--format=oci", "--compression=gzip", "app"],
        &["--format=docker", "--compression=zstd", "app"],
    ] {
        let archive = save(&lab, args);
        let blobs: Vec<_> =
            fs::read_dir(Layout::of(&lab, &archive).0.join("blobs/sha256")).expect("a layout").flatten().collect();
        assert_eq!(blobs.len(), 4, "manifest, config, layers");
        for blob in blobs {
            let layout = Layout::of(&lab, &archive);
            let path = layout.0.join("blobs/sha256").join(blob.file_name());
            flip(&path);
            let what = format!("{args:?} {}", path.display());
            assert_refused(&what, &layout.pack(&lab), "damaged or was tampered with");
            assert_refused(&what, &layout.0, "damaged or was tampered with");
        }
    }
}

#[test]
fn an_archive_that_is_cut_off_is_refused_wherever_it_ends() {
    let lab = two_layers();
    let archive = save(&lab, &["app"]);
    let whole = fs::read(&archive).expect("saved");
    let cut = fresh(&lab, "cut.tar");
    for bytes in [520, whole.len() / 5, whole.len() / 5 * 4, whole.len() - 1600] {
        fs::write(&cut, &whole[..bytes]).expect("ours");
        assert_refused(&format!("{bytes} bytes"), &cut, "cut off");
    }
    // Where one file ends and the next one begins, nothing of a tar tells that there was more.
    let listing = tool("tar", &["-tRf".as_ref(), archive.as_ref()]);
    let blocks =
        listing.lines().filter_map(|line| line.strip_prefix("block ")?.split(':').next()?.parse::<usize>().ok());
    for block in blocks.filter(|block| block * 512 < whole.len() - 1024) {
        fs::write(&cut, &whole[..block * 512]).expect("ours");
        assert_refused(&format!("{block} blocks"), &cut, if block < 3 { "no image archive" } else { "blobs/sha256/" });
    }
    for program in ["gzip", "xz", "zstd", "bzip2"] {
        let compressed = filter(program, &["-c"], &archive);
        for part in [&compressed[..compressed.len() / 2], &compressed[..compressed.len() - 1]] {
            fs::write(&cut, part).expect("ours");
            assert_refused(&format!("{program}, {} bytes", part.len()), &cut, "");
        }
        fs::write(&cut, &compressed).expect("ours");
        flip(&cut);
        assert_refused(&format!("{program}, flipped"), &cut, "");
    }
}

#[test]
fn digests_that_do_not_fit_are_refused() {
    let lab = two_layers();
    let archive = save(&lab, &["--format=oci", "app"]);
    let wrong = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let index = |change: &dyn Fn(&mut Value)| {
        let change = |layout: &Layout| {
            let mut index = layout.json("index.json");
            change(&mut index);
            layout.write("index.json", &index);
        };
        let layout = Layout::of(&lab, &archive);
        change(&layout);
        layout
    };
    let edited = |change: &dyn Fn(&Layout)| {
        let layout = Layout::of(&lab, &archive);
        change(&layout);
        layout
    };
    let gone = format!("blobs/sha256/{}", &wrong[7..]);
    for (what, layout, message) in [
        (
            "the index names what is not there",
            index(&|index| index["manifests"][0]["digest"] = wrong.as_str().into()),
            gone.as_str(),
        ),
        (
            "the manifest is not what its path says",
            edited(&|layout| {
                let manifest = layout.blob_path(&layout.json("index.json")["manifests"][0]);
                fs::write(manifest, layout.manifest().to_string() + " ").expect("ours");
            }),
            "damaged or was tampered with",
        ),
        (
            "a digest that is a path",
            index(&|index| index["manifests"][0]["digest"] = "sha256:../../../../etc/passwd".into()),
            "index.json",
        ),
        (
            "another algorithm",
            index(&|index| index["manifests"][0]["digest"] = "md5:d41d8cd98f00b204e9800998ecf8427e".into()),
            "md5",
        ),
        (
            "a layer that is not there",
            edited(&|layout| layout.edit(|_, manifest| manifest["layers"][1]["digest"] = wrong.as_str().into())),
            &gone,
        ),
        (
            "a layer of another size",
            edited(&|layout| layout.edit(|_, manifest| manifest["layers"][0]["size"] = 1.into())),
            "has 1 bytes",
        ),
        (
            "layers in another order",
            edited(&|layout| layout.edit(|_, manifest| manifest["layers"].as_array_mut().expect("a list").reverse())),
            "but its image says",
        ),
        (
            "a diff id that is not the layer's",
            edited(&|layout| layout.edit(|config, _| config["rootfs"]["diff_ids"][1] = wrong.as_str().into())),
            "but its image says",
        ),
        (
            "more diff ids than layers",
            edited(&|layout| {
                layout.edit(|config, _| {
                    config["rootfs"]["diff_ids"].as_array_mut().expect("a list").push(wrong.as_str().into());
                });
            }),
            "2 layers and 3 diff ids",
        ),
        (
            "a layer that is no tar",
            edited(&|layout| {
                layout.edit(|config, manifest| {
                    let bytes = b"not a tar at all\n".repeat(100);
                    layout.put(&mut manifest["layers"][1], &bytes);
                    config["rootfs"]["diff_ids"][1] = manifest["layers"][1]["digest"].clone();
                });
            }),
            "not a tar",
        ),
    ] {
        assert_refused(what, &layout.pack(&lab), message);
        assert_refused(what, &layout.0, message);
    }
}

#[test]
fn a_docker_archive_that_lies_is_refused() {
    let lab = two_layers();
    let archive = save(&lab, &["app"]);
    let listed = |change: &dyn Fn(&mut Value)| {
        let layout = Layout::of(&lab, &archive);
        for name in ["index.json", "oci-layout"] {
            fs::remove_file(layout.0.join(name)).expect("ours");
        }
        let mut list = layout.json("manifest.json");
        change(&mut list[0]);
        layout.write("manifest.json", &list);
        layout
    };
    assert_eq!(loaded(&listed(&|_| {}).pack(&lab)).1, "Loaded image: app:latest\n", "without a change");
    let outside = fresh(&lab, "outside");
    fs::write(&outside, "a secret of the host").expect("ours");
    for (what, layout, message) in [
        ("a config out of the archive", listed(&|image| image["Config"] = text(&outside).into()), "outside"),
        ("a config above the archive", listed(&|image| image["Config"] = "../../outside".into()), "outside"),
        ("a layer out of the archive", listed(&|image| image["Layers"][0] = text(&outside).into()), "outside"),
        ("no such layer", listed(&|image| image["Layers"][0] = "nosuch/layer.tar".into()), "nosuch/layer.tar"),
        ("a name that is none", listed(&|image| image["RepoTags"] = json!(["Not A Name"])), "Not A Name"),
        (
            "a layer too many",
            listed(&|image| image["Layers"].as_array_mut().expect("a list").push("oci-layout".into())),
            "oci-layout",
        ),
    ] {
        assert_refused(what, &layout.pack(&lab), message);
        assert_refused(what, &layout.0, message);
    }
    // Links that lead out are no way either.
    let layout = listed(&|image| image["Layers"][0] = "link".into());
    symlink(&outside, layout.0.join("link")).expect("ours");
    assert_refused("a symlink out of the archive", &layout.pack(&lab), "link");
    assert_refused("a symlink out of the directory", &layout.0, "link");
    assert_eq!(fs::read_to_string(&outside).expect("untouched"), "a secret of the host");
}

#[test]
fn what_is_no_archive_is_told_apart() {
    let lab = Lab::empty();
    let context = lab.context(&[
        ("empty", ""),
        ("text", "hello\n"),
        ("dir/file", ""),
        ("old/repositories", "{}"),
        ("json/index.json", "{"),
    ]);
    let tar = |name: &str| {
        let file = context.join(format!("{name}.tar"));
        tool("tar", &["-C".as_ref(), context.join(name).as_ref(), "-cf".as_ref(), file.as_ref(), ".".as_ref()]);
        file
    };
    for (what, input, message) in [
        ("an empty file", context.join("empty"), "no image archive"),
        ("a text", context.join("text"), ""),
        ("a tar of something else", tar("dir"), "no image archive"),
        ("a directory of something else", context.join("dir"), "no image archive"),
        ("an archive from before images had ids", tar("old"), "older than 1.10"),
        ("an index that is no JSON", tar("json"), "index.json"),
        ("no file at all", context.join("nosuch"), "nosuch"),
        ("a device", PathBuf::from("/dev/null"), "no image archive"),
    ] {
        assert_refused(what, &input, message);
    }
    let ran = Ran::of(
        lab.command(&["load"]).stdin(File::open("/dev/null").expect("there")).output().expect("builder starts"),
    );
    assert_eq!(ran.code, 1);
    ran.assert_stderr("standard input");
}

#[test]
fn a_failed_load_changes_nothing_of_what_was_there() {
    let lab = two_layers();
    let archive = save(&lab, &["app"]);
    let old = id(&lab, "app");
    lab.build_files("FROM scratch\nCOPY a /\n", &[("a", "another")]);
    let other = save(&lab, &["app"]);
    let new = id(&lab, "app");
    let target = Lab::empty();
    target.ok(&["load", "-i", text(&other)]);
    let (before, images) = (content(&target), target.ok(&["images", "--no-trunc"]).stdout);
    let layout = Layout::of(&lab, &archive);
    flip(&layout.blob_path(&layout.manifest()["layers"][1]));
    assert_eq!(target.run(&["load", "-i", text(&layout.pack(&lab))]).code, 1);
    assert_eq!((id(&target, "app"), content(&target)), (new, before));
    let ids = |text: &str| text.lines().map(|line| line.split("   ").next().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(ids(&target.ok(&["images", "--no-trunc"]).stdout), ids(&images));
    // And the whole one is welcome afterwards.
    target.ok(&["load", "-i", text(&archive)]);
    assert_eq!(id(&target, "app"), old);
}

#[test]
fn a_load_that_is_killed_leaves_nothing_that_counts() {
    let lab = two_layers();
    let archive = save(&lab, &["app"]);
    let whole = fs::read(&archive).expect("saved");
    let target = Lab::empty();
    for part in [3, 6] {
        let mut load = Background::start(target.command(&["load"]).stdin(Stdio::piped()));
        // The pipe holds less than this: what is written has mostly been read.
        load.stdin().write_all(&whole[..whole.len() / 8 * part]).expect("it reads");
        load.signal(Signal::KILL);
        assert_eq!(load.finish().code, -1);
        assert_eq!(target.ok(&["images", "-q"]).stdout, "");
    }
    target.ok(&["image", "prune"]);
    assert_eq!(content(&target), [] as [PathBuf; 0]);
    target.ok(&["load", "-i", text(&archive)]);
    assert_eq!(id(&target, "app"), id(&lab, "app"));
}
