//! Images in archives: what `save` and `build -o` write, and what `load` brings in.

mod damage;
mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

pub(crate) use self::peers::Podman;
use crate::kit::{Background, Lab, Ran, tool};
use crate::layout::{Layout, digest, filter, fresh, skopeo, text};

/// What the image `app` prints when it runs.
const GREETING: &str = "made by a step\nfrom the context\n";

/// A store with the image `app`, which has a base, files of its own and of a step, and something removed.
fn sample() -> Lab {
    let lab = Lab::new();
    lab.build_files(
        "FROM busybox\nRUN echo made by a step >/made && rm -r /var/empty\nCOPY sub /sub\nENV GREETING=hello\nLABEL l=m\nWORKDIR /sub\n\
         CMD [\"cat\", \"/made\", \"file\"]\n",
        &[("sub/file", "from the context\n")],
    );
    lab
}

/// The id of an image.
#[track_caller]
fn id(lab: &Lab, name: &str) -> String {
    lab.inspect(name)["Id"].as_str().expect("an id").to_owned()
}

/// Saves images to a new archive.
#[track_caller]
fn save(lab: &Lab, args: &[&str]) -> PathBuf {
    let file = fresh(lab, "saved.tar");
    let mut all = vec!["save", "-o", text(&file)];
    all.extend(args);
    lab.ok(&all);
    file
}

/// Loads into a store of its own, and tells what was said.
#[track_caller]
fn loaded(input: &Path) -> (Lab, String) {
    let lab = Lab::empty();
    let told = lab.ok(&["load", "-i", text(input)]).stdout;
    (lab, told)
}

/// The image `app` in the other store is this one, and runs.
#[track_caller]
fn assert_same_app(lab: &Lab, expected: &str) {
    assert_eq!(id(lab, "app"), expected);
    assert_eq!(lab.ok(&["run", "app"]).stdout, GREETING);
}

/// Everything that images consist of in the store; leftovers of a failure would be among it.
pub(crate) fn content(lab: &Lab) -> Vec<PathBuf> {
    let list = |place: &str| fs::read_dir(lab.root().join(place)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        ["blobs/sha256", "snapshots", "active"].into_iter().flat_map(list).map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[test]
fn what_is_saved_comes_back_with_its_id_its_names_and_its_bytes() {
    let lab = sample();
    let expected = id(&lab, "app");
    for format in ["docker", "oci"] {
        for compression in ["uncompressed", "gzip", "zstd"] {
            let archive = save(&lab, &["--format", format, "--compression", compression, "app"]);
            let (other, told) = loaded(&archive);
            assert_eq!(told, "Loaded image: app:latest\n", "{format} {compression}");
            assert_same_app(&other, &expected);
            assert_eq!(other.ok(&["run", "app", "ls", "/var"]).stdout, "", "what was removed");
            assert_eq!(other.inspect("app")["Config"], lab.inspect("app")["Config"], "{format} {compression}");
            // Loaded layers keep the form that they came in, so that saving again gives the same file.
            let again = save(&other, &["--format", format, "app"]);
            assert_eq!(
                digest(&fs::read(again).expect("saved")),
                digest(&fs::read(archive).expect("saved")),
                "{format} {compression}"
            );
        }
    }
}

#[test]
fn several_images_share_one_archive_and_its_layers() {
    let lab = sample();
    lab.ok(&["tag", "app", "example.com:5000/team/app:v1.2"]);
    let (app, busybox) = (id(&lab, "app"), id(&lab, "busybox"));
    for format in ["docker", "oci"] {
        let archive = save(&lab, &["--format", format, "app", "busybox", "example.com:5000/team/app:v1.2"]);
        let listing = tool("tar", &["-tf".as_ref(), archive.as_ref()]);
        let names: BTreeSet<&str> = listing.lines().collect();
        assert_eq!(names.len(), listing.lines().count(), "a file is there twice:\n{listing}");
        assert_eq!(names.contains("manifest.json"), format == "docker");
        let (other, told) = loaded(&archive);
        let told: BTreeSet<&str> = told.lines().collect();
        let all = [
            "Loaded image: app:latest",
            "Loaded image: busybox:latest",
            "Loaded image: example.com:5000/team/app:v1.2",
        ];
        assert_eq!(told, BTreeSet::from(all), "{format}");
        assert_same_app(&other, &app);
        assert_eq!(
            (id(&other, "busybox"), id(&other, "example.com:5000/team/app:v1.2")),
            (busybox.clone(), app.clone())
        );
        // Layers that both have are in the store once.
        let snapshots = fs::read_dir(other.root().join("snapshots")).expect("a store").count();
        assert!(snapshots <= 5, "{snapshots} layers");
    }
}

#[test]
fn archives_pass_through_pipes_and_an_id_gives_no_name() {
    let lab = sample();
    let expected = id(&lab, "app");
    let file = fresh(&lab, "piped.tar");
    let output = File::create(&file).expect("ours");
    let status = lab.command(&["save", &expected[..19]]).stdout(output).status().expect("builder starts");
    assert!(status.success());
    let other = Lab::empty();
    // A pipe, not a file.
    let mut cat = Command::new("cat").arg(&file).stdout(Stdio::piped()).spawn().expect("cat starts");
    let pipe = cat.stdout.take().expect("a pipe");
    let ran = Ran::of(other.command(&["load"]).stdin(pipe).output().expect("builder starts"));
    assert!(cat.wait().expect("it is ours").success());
    assert_eq!((ran.code, ran.stdout), (0, format!("Loaded image ID: {expected}\n")), "{}", ran.stderr);
    assert_eq!(other.ok(&["images", "-q", "--no-trunc"]).stdout, format!("{expected}\n"));
    assert_eq!(other.ok(&["run", &expected]).stdout, GREETING);
    assert_eq!(other.ok(&["load", "--quiet", "-i", text(&file)]).stdout, "");
}

#[test]
fn an_archive_may_be_compressed_in_any_way() {
    let lab = sample();
    let expected = id(&lab, "app");
    let archive = save(&lab, &["app"]);
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let compressed = fresh(&lab, "compressed");
        fs::write(&compressed, filter(program, &["-c"], &archive)).expect("ours");
        let (other, told) = loaded(&compressed);
        assert_eq!(told, "Loaded image: app:latest\n", "{program}");
        assert_same_app(&other, &expected);
        let input = File::open(&compressed).expect("ours");
        let again = Ran::of(other.command(&["image", "load"]).stdin(input).output().expect("builder starts"));
        assert_eq!(
            (again.code, again.stdout.as_str()),
            (0, "Loaded image: app:latest\n"),
            "{program}\n{}",
            again.stderr
        );
    }
}

#[test]
fn build_writes_archives_in_each_format_and_compression() {
    let lab = sample();
    let dockerfile = "FROM busybox\nCOPY f /\nCMD [\"cat\", \"/f\"]\n";
    let context = lab.project(dockerfile, &[("f", "exported\n")]);
    let iid = fresh(&lab, "iid");
    let facts = fresh(&lab, "facts");
    let kinds: [(&str, &[u8]); 3] = [("", b""), ("+gzip", &[0x1f, 0x8b]), ("+zstd", &[0x28, 0xb5, 0x2f, 0xfd])];
    for (options, kind) in [
        ("type=oci", 1),
        ("type=oci,compression=uncompressed", 0),
        ("type=oci,compression=gzip", 1),
        ("type=oci,compression=zstd", 2),
        ("type=docker", 0),
        ("type=docker,compression=gzip", 1),
        ("type=docker,compression=zstd", 2),
    ] {
        let archive = fresh(&lab, "exported.tar");
        let output = format!("{options},dest={},name=example.com/exported:v2", text(&archive));
        let args = ["build", "-o", &output, "-t", "named", "--iidfile", text(&iid), "--metadata-file", text(&facts)];
        lab.ok(&[&args[..], &[text(&context)]].concat());
        let layout = Layout::of(&lab, &archive);
        assert_eq!(layout.0.join("manifest.json").exists(), options.starts_with("type=docker"), "{options}");
        assert_eq!(layout.json("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
        let (suffix, magic) = kinds[kind];
        let manifest = layout.follow(&layout.json("index.json")["manifests"][0]);
        for layer in manifest["layers"].as_array().expect("layers") {
            assert_eq!(layer["mediaType"], format!("application/vnd.oci.image.layer.v1.tar{suffix}"), "{options}");
            let bytes = layout.blob(layer);
            assert_eq!(
                (layer["digest"].as_str(), &layer["size"]),
                (Some(digest(&bytes).as_str()), &bytes.len().into())
            );
            assert!(bytes.starts_with(magic), "{options}");
        }
        // What --iidfile and --metadata-file say is what is there.
        let expected = fs::read_to_string(&iid).expect("written");
        assert_eq!(manifest["config"]["digest"], expected.as_str());
        let facts: Value = serde_json::from_slice(&fs::read(&facts).expect("written")).expect("JSON");
        assert_eq!(facts["containerimage.config.digest"], expected.as_str());
        assert_eq!(facts["containerimage.digest"], layout.json("index.json")["manifests"][0]["digest"], "{options}");
        // The image went to the archive and nowhere else.
        assert_eq!(lab.run(&["inspect", &expected]).code, 1, "{options}");
        let (other, told) = loaded(&archive);
        let told: BTreeSet<&str> = told.lines().collect();
        assert_eq!(told, BTreeSet::from(["Loaded image: named:latest", "Loaded image: example.com/exported:v2"]));
        assert_eq!((id(&other, "named"), id(&other, "example.com/exported:v2")), (expected.clone(), expected));
        assert_eq!(other.ok(&["run", "named"]).stdout, "exported\n", "{options}");
    }
    // To standard output, alone on it.
    let piped = fresh(&lab, "piped.tar");
    let output = File::create(&piped).expect("ours");
    let mut command = lab.command(&["build", "-o", "type=docker,dest=-", "-t", "named", text(&context)]);
    assert!(command.stdout(output).stderr(Stdio::null()).status().expect("builder starts").success());
    assert_eq!(loaded(&piped).1, "Loaded image: named:latest\n");
}

#[test]
fn a_layout_directory_is_written_added_to_and_loaded() {
    let lab = sample();
    let layout = Layout(fresh(&lab, "layout"));
    let output = |kind: &str| format!("type={kind},tar=false,dest={}", text(&layout.0));
    for (name, content) in [("one", "1"), ("two", "2"), ("one", "3")] {
        let context = lab.project("FROM busybox\nCOPY f /\n", &[("f", content)]);
        lab.ok(&["build", "-o", &output("oci"), "-t", name, text(&context)]);
    }
    let names: Vec<Value> = layout.json("index.json")["manifests"].as_array().expect("a list").clone();
    assert_eq!(names.len(), 2, "a name moves to the new image: {names:?}");
    let (other, told) = loaded(&layout.0);
    let told: BTreeSet<&str> = told.lines().collect();
    assert_eq!(told, BTreeSet::from(["Loaded image: one:latest", "Loaded image: two:latest"]));
    assert_eq!(other.ok(&["run", "one", "cat", "/f"]).stdout, "3");
    assert_eq!(other.ok(&["run", "two", "cat", "/f"]).stdout, "2");
    // The same, packed by somebody else.
    assert_eq!(loaded(&layout.pack(&lab)).1.lines().count(), 2);
    let docker = Layout(fresh(&lab, "docker"));
    let context = lab.project("FROM busybox\n", &[]);
    let output = format!("type=docker,tar=false,dest={}", text(&docker.0));
    lab.ok(&["build", "-o", &output, "-t", "three", text(&context)]);
    assert_eq!(docker.json("manifest.json")[0]["RepoTags"], json!(["three:latest"]));
    assert_eq!(loaded(&docker.0).1, "Loaded image: three:latest\n");
}

#[test]
fn the_same_image_gives_the_same_bytes_each_time_and_with_any_number_of_threads() {
    let source = Lab::empty();
    // Large enough for several threads to work on, and neither constant nor random.
    let mut state = 1_u64;
    let mut big = String::new();
    while big.len() < 6 << 20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        big += &format!("{:x} {} ", state >> 40, state >> 60);
    }
    let context = source.project(
        "FROM scratch\nCOPY big /\nCOPY dir /dir\nCOPY big /dir/again\nLABEL z=1 a=2\n",
        &[("big", &big), ("dir/a", "a"), ("dir/b", "->a"), ("dir/c/d", "#!d")],
    );
    source.build(&context);
    let mut seen: BTreeMap<&str, (String, String)> = BTreeMap::new();
    for threads in ["1", "4"] {
        // A store that has made no archive yet and remembers none.
        let lab = Lab::empty();
        tool("cp", &["-a".as_ref(), source.root().as_ref(), lab.root().as_ref()]);
        let run = |args: &[&str]| {
            let mut command = lab.command(args);
            let ran = Ran::of(command.env("RAYON_NUM_THREADS", threads).output().expect("builder starts"));
            assert_eq!(ran.code, 0, "{args:?}\n{}", ran.stderr);
        };
        for compression in ["uncompressed", "gzip", "zstd"] {
            for round in 0..2 {
                let [saved, exported] = ["saved.tar", "exported.tar"].map(|name| fresh(&lab, name));
                run(&["save", "--format=oci", "--compression", compression, "-o", text(&saved), "app"]);
                let output = format!("type=oci,compression={compression},dest={}", text(&exported));
                run(&["build", "-t", "app", "-o", &output, text(&context)]);
                for (kind, file) in [("save", saved), ("build -o", exported)] {
                    let found = digest(&fs::read(file).expect("written"));
                    let here = format!("{kind}, {threads} threads, round {round}");
                    let (first, there) = seen.entry(compression).or_insert_with(|| (found.clone(), here.clone()));
                    assert_eq!(&found, first, "{compression}: {here} and {there}");
                }
            }
        }
    }
}

#[test]
fn loading_tells_which_image_lost_its_name() {
    let lab = sample();
    let archive = save(&lab, &["app"]);
    let old = id(&lab, "app");
    lab.build_files("FROM busybox\nLABEL other=image\n", &[]);
    let new = id(&lab, "app");
    let told = lab.ok(&["load", "-i", text(&archive)]).stdout;
    let short = &new["sha256:".len()..][..12];
    assert!(told.contains("app:latest existed before") && told.contains(short), "which name and which image: {told}");
    assert!(told.ends_with("Loaded image: app:latest\n"), "{told}");
    assert_eq!((id(&lab, "app"), id(&lab, short)), (old, new), "the other one is still there, without a name");
    assert_eq!(lab.ok(&["load", "-i", text(&archive)]).stdout, "Loaded image: app:latest\n", "nothing changes");
}

#[test]
fn what_was_loaded_is_a_base_and_hits_the_cache_on_every_machine() {
    let lab = sample();
    let archive = save(&lab, &["app"]);
    let (other, _) = loaded(&archive);
    other.ok(&["tag", "app", "base"]);
    let context = other
        .project("FROM base\nRUN cat file /made >/both && echo $GREETING >>/both\nCMD [\"cat\", \"/both\"]\n", &[]);
    other.build(&context);
    assert_eq!(other.ok(&["run", "app"]).stdout, "from the context\nmade by a step\nhello\n");
    // The same image loaded again, even in another form, is the same input.
    let zstd = save(&lab, &["--format=oci", "--compression=zstd", "app"]);
    other.ok(&["load", "-i", text(&zstd)]);
    other.ok(&["tag", "app", "base"]);
    assert!(other.build(&context).executed().is_empty());
}

#[test]
fn two_loads_at_once_into_one_store_do_not_get_in_each_others_way() {
    let lab = sample();
    let expected = id(&lab, "app");
    let archive = save(&lab, &["app", "busybox"]);
    let other = Lab::empty();
    let loads: Vec<Background> = (0..4).map(|_| other.start(&["load", "-i", text(&archive)])).collect();
    for load in loads {
        let ran = load.finish();
        assert_eq!((ran.code, ran.stdout.lines().count()), (0, 2), "{}", ran.stderr);
    }
    assert_same_app(&other, &expected);
    assert_eq!(other.ok(&["images", "-q"]).stdout.lines().count(), 2);
    // Nothing is there twice, and nothing half.
    let once = content(&loaded(&archive).0).len();
    other.ok(&["image", "prune"]);
    assert!(content(&other).len() <= once + 1, "{:#?}", content(&other));
}

#[test]
fn of_several_platforms_the_machines_own_is_loaded() {
    let lab = sample();
    let expected = id(&lab, "app");
    let layout = Layout::of(&lab, &save(&lab, &["--format=oci", "app"]));
    let native = layout.json("index.json")["manifests"][0].clone();
    layout.edit(|config, _| config["architecture"] = "s390x".into());
    let mut foreign = layout.json("index.json")["manifests"][0].clone();
    foreign["platform"]["architecture"] = "s390x".into();
    // Beside each other under one name, and in an index of their own below it.
    let both = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [foreign, native]});
    let mut nested = json!({"schemaVersion": 2, "manifests": [{"mediaType": both["mediaType"], "annotations": native["annotations"]}]});
    layout.put(&mut nested["manifests"][0], both.to_string().as_bytes());
    for index in [both, nested] {
        layout.write("index.json", &index);
        let (other, told) = loaded(&layout.pack(&lab));
        assert_eq!(told, "Loaded image: app:latest\n");
        assert_same_app(&other, &expected);
    }
    let mut index = layout.json("index.json");
    let mut only = layout.follow(&index["manifests"][0]);
    only["manifests"].as_array_mut().expect("a list").pop();
    layout.put(&mut index["manifests"][0], only.to_string().as_bytes());
    layout.write("index.json", &index);
    let ran = Lab::empty().run(&["load", "-i", text(&layout.0)]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("linux/s390x");
}

#[test]
fn what_can_not_be_saved_leaves_no_file() {
    let lab = sample();
    let file = fresh(&lab, "new.tar");
    let ran = lab.run(&["save", "-o", text(&file), "app", "nosuch"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("no such image: nosuch");
    assert!(!file.exists());
    for (place, reason) in [
        ("/no/such/dir/x.tar", "No such file"),
        ("/dev/null/dir/x.tar", "Not a directory"),
        ("/", "directory"),
        ("/dev/full", "No space left"),
    ] {
        let ran = lab.run(&["save", "-o", place, "app"]);
        assert_eq!(ran.code, 1, "{place}");
        ran.assert_stderr(reason);
        // What is on the way to an output of a build is made.
        if place.starts_with("/no/") {
            continue;
        }
        let output = format!("type=oci,dest={place}");
        let context = lab.project("FROM busybox\n", &[]);
        let ran = lab.run(&["build", "-o", &output, text(&context)]);
        assert_eq!(ran.code, 1, "{place}");
        ran.assert_stderr(reason);
    }
    assert!(Path::new("/dev/full").exists());
    for options in
        ["type=oci,tar=false", "type=oci,dest=x,compression=lzma", "type=zip,dest=x", "type=docker,dest=x,push=true"]
    {
        let ran = lab.run(&["build", "-o", options, "."]);
        assert_eq!(ran.code, 2, "{options}\n{}", ran.stderr);
    }
    assert_eq!(lab.run(&["save", "--compression", "lzma", "app"]).code, 2);
}
