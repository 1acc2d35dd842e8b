//! `type=image`, `type=oci` and `type=docker`: compression, annotations, names, and what programs are told.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Layout, build, digest, filter, fresh, refused, text};
use crate::archives::Podman;
use crate::kit::{Lab, Ran, tool};

/// The tar in a blob.
fn unpacked(lab: &Lab, bytes: &[u8]) -> Vec<u8> {
    let program = match bytes {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, ..] => "zstd",
        _ => return bytes.to_vec(),
    };
    let file = fresh(lab, "blob");
    fs::write(&file, bytes).expect("ours");
    filter(program, &["-dc"], &file)
}

/// Something that compresses, and is more than one chunk of an eStargz.
fn large() -> String {
    let mut state = 1_u64;
    let mut text = String::new();
    while text.len() < 9 << 19 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text += &format!("{:x} {} ", state >> 44, state >> 60);
    }
    text
}

/// Checks the layers of an image by their digests, and tells how large they are together.
#[track_caller]
fn check_layers(lab: &Lab, layout: &Layout, kind: &str, what: &str) -> usize {
    let (manifest, config) = (layout.manifest(), layout.config());
    let layers = manifest["layers"].as_array().expect("layers");
    let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("digests");
    assert_eq!(layers.len(), diff_ids.len(), "{what}");
    let mut size = 0;
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        assert_eq!(layer["mediaType"], kind, "{what}");
        let bytes = layout.blob(layer);
        size += bytes.len();
        assert_eq!((&layer["digest"], &layer["size"]), (&digest(&bytes).into(), &bytes.len().into()), "{what}");
        assert_eq!(*diff_id, digest(&unpacked(lab, &bytes)), "{what}");
    }
    size
}

#[test]
fn layers_are_compressed_as_hard_as_asked() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nCOPY big /big\nCMD [\"wc\", \"-c\", \"/big\"]\n", &[("big", &large())]);
    let oci = "application/vnd.oci.image.layer.v1.tar";
    let mut sizes = BTreeMap::new();
    for (options, kind) in [
        ("compression=uncompressed", ""),
        ("compression=gzip,compression-level=0", "+gzip"),
        ("compression=gzip", "+gzip"),
        ("compression=gzip,compression-level=9", "+gzip"),
        ("compression=zstd,compression-level=1", "+zstd"),
        ("compression=zstd,compression-level=9", "+zstd"),
        ("compression=estargz,compression-level=6,force-compression=true", "+gzip"),
    ] {
        let layout = Layout::build(&lab, &context, &format!("type=oci,{options}"), &["-t", "app"]);
        let size = check_layers(&lab, &layout, &format!("{oci}{kind}"), options);
        sizes.insert(options, size);
        let other = Lab::empty();
        other.ok(&["load", "-i", text(&layout.pack(&lab))]);
        assert_eq!(other.ok(&["run", "app"]).stdout, format!("{} /big\n", large().len()), "{options}");
    }
    let size = |options| sizes[options];
    assert!(size("compression=gzip,compression-level=9") < size("compression=gzip"));
    assert!(size("compression=gzip") < size("compression=gzip,compression-level=0"));
    assert!(size("compression=zstd,compression-level=9") < size("compression=zstd,compression-level=1"));
    // Docker's names for the same.
    let layout = Layout::build(&lab, &context, "type=docker,compression=gzip,oci-mediatypes=false", &[]);
    check_layers(&lab, &layout, "application/vnd.docker.image.rootfs.diff.tar.gzip", "docker");
    let manifest = layout.manifest();
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
}

#[test]
fn layers_of_a_base_keep_their_form_unless_forced() {
    let lab = Lab::new();
    let base = lab.project("FROM busybox\nCOPY f /base\n", &[("f", "base")]);
    let archive = fresh(&lab, "base.tar");
    build(&lab, &base, &["-t", "base", "-o", &format!("type=oci,compression=zstd,dest={}", text(&archive))]);
    let lab = Lab::empty();
    lab.ok(&["load", "-i", text(&archive)]);
    let context = lab.project("FROM base\nCOPY f /f\nCMD [\"cat\", \"/base\", \"/f\"]\n", &[("f", " top\n")]);
    let kinds = |output: &str| {
        let layout = Layout::build(&lab, &context, output, &["-t", "app"]);
        let manifest = layout.manifest();
        let layers = manifest["layers"].as_array().expect("layers").clone();
        let kinds: Vec<String> = layers
            .iter()
            .map(|layer| {
                let kind = layer["mediaType"].as_str().and_then(|kind| kind.rsplit_once("tar")).expect("a type").1;
                let table = layer["annotations"]["containerd.io/snapshot/stargz/toc.digest"].is_string();
                format!("{kind}{}", if table { " with table" } else { "" })
            })
            .collect();
        (kinds.join(", "), layout.config()["rootfs"]["diff_ids"].clone())
    };
    let (kept, plain) = kinds("type=oci,compression=gzip");
    assert_eq!(kept, "+zstd, +zstd, +gzip");
    let (forced, same) = kinds("type=oci,compression=gzip,force-compression=true");
    assert_eq!((forced.as_str(), &same), ("+gzip, +gzip, +gzip", &plain));
    assert_eq!(kinds("type=oci,compression=uncompressed,force-compression=").0, ", , ");
    let (own, one) = kinds("type=oci,compression=estargz");
    assert_eq!(own, "+zstd, +zstd, +gzip with table");
    assert_eq!((&one[0], &one[1], one[2] == plain[2]), (&plain[0], &plain[1], false));
    let (all, tables) = kinds("type=oci,compression=estargz,force-compression=true");
    assert_eq!(all, "+gzip with table, +gzip with table, +gzip with table");
    assert!((0..3).all(|layer| tables[layer] != plain[layer]));
}

#[test]
fn an_estargz_is_an_image_to_everybody() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN mkdir /d && echo made >/d/made && ln /d/made /d/again && rm /etc/group\n\
                      COPY big /big\nCMD [\"sh\", \"-c\", \"cat /d/again; wc -c </big; [ -e /etc/group ] || echo gone\"]\n";
    let context = lab.project(dockerfile, &[("big", &large())]);
    let layout = Layout::build(&lab, &context, "type=oci,compression=estargz,force-compression=true", &["-t", "app"]);
    let expected = format!("made\n{}\ngone\n", large().len());
    let podman = Podman::new(&lab);
    podman.podman(&["load", "-q", "-i", text(&layout.pack(&lab))]);
    assert_eq!(podman.podman(&["run", "--rm", "app"]), expected);
    tool(
        "umoci",
        &[
            "unpack".as_ref(),
            "--image".as_ref(),
            format!("{}:latest", text(&layout.0)).as_ref(),
            lab.path().join("bundle").as_ref(),
        ],
    );
    assert_eq!(fs::read_to_string(lab.path().join("bundle/rootfs/d/again")).expect("unpacked"), "made\n");
    // It goes through the store as what it is, and a step on top of it keeps it.
    build(&lab, &context, &["-t", "stored", "-o", "type=image,compression=estargz,force-compression=true"]);
    let id = lab.inspect("stored")["Id"].clone();
    assert_eq!(id, layout.manifest()["config"]["digest"]);
    assert_eq!(lab.ok(&["run", "stored"]).stdout, expected);
    let saved = fresh(&lab, "saved.tar");
    lab.ok(&["save", "--format=oci", "-o", text(&saved), "stored"]);
    assert_eq!(Layout::of(&lab, &saved).manifest()["layers"], layout.manifest()["layers"]);
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let source = Lab::empty();
    let context = source.project(
        "FROM scratch\nCOPY big /\nCOPY dir /dir\nCOPY big /dir/again\n",
        &[("big", &large()), ("dir/a", "a"), ("dir/b", "->a"), ("dir/c/d", "#!d"), ("dir/empty", "")],
    );
    source.build(&context);
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for threads in ["1", "2", "5"] {
        let lab = Lab::empty();
        tool("cp", &["-a".as_ref(), source.root().as_ref(), lab.root().as_ref()]);
        for options in
            ["compression=estargz", "compression=gzip,compression-level=6", "compression=zstd,compression-level=6"]
        {
            let file = fresh(&lab, "image.tar");
            let output =
                format!("type=oci,{options},source-date-epoch=1000,rewrite-timestamp=true,dest={}", text(&file));
            let mut command = lab.command(&["build", "-t", "app", "-o", &output, text(&context)]);
            let ran = Ran::of(command.env("RAYON_NUM_THREADS", threads).output().expect("builder starts"));
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            let found = digest(&fs::read(file).expect("written"));
            let first = seen.entry(options).or_insert_with(|| found.clone());
            assert_eq!(&found, first, "{options} with {threads} threads");
        }
    }
}

#[test]
fn annotations_go_where_they_are_told() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nCOPY f /f\n", &[("f", "")]);
    let notes = ["--annotation", "a=flag", "--annotation", "manifest-descriptor:d=1", "--annotation", "both=flag"];
    let output = "type=oci,annotation.both=option,annotation-manifest[linux/amd64].platform=amd,annotation-manifest[linux/s390x].no=x";
    let layout = Layout::build(&lab, &context, output, &[&["-t", "app"][..], &notes].concat());
    let platform = if cfg!(target_arch = "x86_64") { json!("amd") } else { Value::Null };
    let manifest = layout.manifest();
    assert_eq!((&manifest["annotations"]["a"], &manifest["annotations"]["both"]), (&json!("flag"), &json!("option")));
    assert_eq!((&manifest["annotations"]["platform"], &manifest["annotations"]["no"]), (&platform, &Value::Null));
    let root = layout.root();
    assert_eq!(root["annotations"]["d"], "1");
    assert_eq!(root["annotations"]["io.containerd.image.name"], "docker.io/library/app:latest");
    assert_eq!(root["annotations"]["org.opencontainers.image.ref.name"], "latest");
    let created = root["annotations"]["org.opencontainers.image.created"].as_str().expect("a time");
    assert_eq!(layout.config()["created"].as_str().expect("a time")[..19], created[..19]);
    // An image of the store keeps them for whoever saves it by its name.
    build(
        &lab,
        &context,
        &[&["-t", "app", "-o", "type=image,annotation-manifest.own=1,compression=zstd"][..], &notes].concat(),
    );
    let saved = |args: &[&str]| {
        let file = fresh(&lab, "saved.tar");
        lab.ok(&[&["save", "-o", text(&file)], args].concat());
        Layout::of(&lab, &file)
    };
    lab.ok(&["tag", "app", "other"]);
    for name in ["app", "other"] {
        let layout = saved(&[name]);
        let manifest = layout.manifest();
        assert_eq!((&manifest["annotations"]["own"], &manifest["annotations"]["a"]), (&json!("1"), &json!("flag")));
        assert_eq!(layout.root()["annotations"]["d"], "1");
        let top = manifest["layers"].as_array().and_then(|layers| layers.last()).expect("layers");
        assert_eq!(top["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd", "as it was built to be");
    }
    let manifest = saved(&["--compression=gzip", "app"]).manifest();
    assert_eq!(manifest["annotations"]["own"], "1");
    assert!(manifest["layers"][0]["mediaType"].as_str().is_some_and(|kind| kind.ends_with("+gzip")));
    let id = lab.inspect("app")["Id"].as_str().expect("an id").to_owned();
    assert!(saved(&[&id]).manifest().get("annotations").is_none(), "an id says nothing of a name");
    // Somebody loads it, and it is what it was.
    let file = fresh(&lab, "saved.tar");
    lab.ok(&["save", "-o", text(&file), "app"]);
    let other = Lab::empty();
    other.ok(&["load", "-i", text(&file)]);
    let again = fresh(&lab, "again.tar");
    other.ok(&["save", "--compression=gzip", "-o", text(&again), "app"]);
    assert_eq!(Layout::of(&lab, &again).manifest()["annotations"]["own"], "1");
}

#[test]
fn images_are_named_by_their_digest_when_asked() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nCOPY f /f\n", &[("f", "")]);
    let facts = fresh(&lab, "facts");
    let digest_of = || -> String {
        let facts: Value = serde_json::from_slice(&fs::read(&facts).expect("written")).expect("JSON");
        facts["containerimage.digest"].as_str().expect("a digest").to_owned()
    };
    let named = |name: &str| lab.run(&["inspect", name]).code == 0;
    let args = |output: &'static str| ["--metadata-file", text(&facts), "-o", output];
    build(&lab, &context, &args("type=image,dangling-name-prefix=nameless"));
    assert!(named(&format!("nameless@{}", digest_of())));
    build(
        &lab,
        &context,
        &args("type=image,name=app,name-canonical=true,dangling-name-prefix=no,danging-name-empty-only=true"),
    );
    assert!(named("app") && named(&format!("app@{}", digest_of())) && !named(&format!("no@{}", digest_of())));
    let rows = lab.ok(&["images", "--format=json"]).stdout;
    assert!(rows.lines().any(|row| row.contains("\"Repository\":\"nameless\"")), "{rows}");
    // Nowhere, but digests are told.
    let other = lab.project("FROM busybox\nCOPY f /g\n", &[("f", "")]);
    let iid = fresh(&lab, "iid");
    build(&lab, &other, &[&args("type=image,name=gone,store=false")[..], &["--iidfile", text(&iid)]].concat());
    assert!(digest_of().starts_with("sha256:") && !named("gone"));
    assert!(!named(&fs::read_to_string(&iid).expect("written")));
}

/// What `--metadata-file` says of a build.
fn facts(lab: &Lab, context: &Path, args: &[&str], variables: &[(&str, &str)]) -> Value {
    let file = fresh(lab, "facts.json");
    let all = [&["build", "--metadata-file", text(&file)], args, &[text(context)]].concat();
    let ran = Ran::of(lab.command(&all).envs(variables.iter().copied()).output().expect("builder starts"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_slice(&fs::read(file).expect("written")).expect("JSON")
}

#[test]
fn what_is_said_of_an_image_is_kept_with_its_name() {
    let lab = Lab::new();
    let context = lab.project("FROM scratch\nCOPY f /f\n", &[("f", "")]);
    let saved = |name: &str, args: &[&str]| {
        let file = fresh(&lab, "saved.tar");
        lab.ok(&[&["save", "-o", text(&file), name], args].concat());
        Layout::of(&lab, &file).manifest()
    };
    let docker = "application/vnd.docker.image.rootfs.diff.tar";
    build(&lab, &context, &["-t", "docker", "-o", "type=image,oci-mediatypes=false"]);
    assert_eq!(saved("docker", &[])["layers"][0]["mediaType"], docker);
    assert_eq!(saved("docker", &["--compression=gzip"])["layers"][0]["mediaType"], format!("{docker}.gzip"));
    let zstd = saved("docker", &["--compression=zstd"]);
    assert_eq!(zstd["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    build(&lab, &context, &["-t", "level", "-o", "type=image,compression-level=9"]);
    assert_eq!(saved("level", &[])["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    // An image that is there for a moment only is not loaded by that.
    build(&lab, &context, &["-t", "loaded", "-o", "type=image,store=false", "--load"]);
    assert_eq!(lab.inspect("loaded")["RepoTags"].as_array().map(Vec::len), Some(3));
    refused(&lab, &context, &["-o", "type=image,dangling-name-prefix=A B"], 2, "invalid tag `A B`");
}

#[test]
fn programs_are_told_digests_names_and_warnings() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox as base\nCOPY f /f\n", &[("f", "")]);
    let archive = fresh(&lab, "image.tar");
    let output = format!("type=oci,dest={},name=example.com/app:v1", text(&archive));
    let told = facts(&lab, &context, &["-t", "app", "-o", &output], &[]);
    let layout = Layout::of(&lab, &archive);
    let index = layout.json("index.json");
    let root = &index["manifests"][0];
    assert_eq!(told["containerimage.digest"], root["digest"]);
    assert_eq!(told["containerimage.config.digest"], layout.follow(root)["config"]["digest"]);
    let descriptor = &told["containerimage.descriptor"];
    for field in ["digest", "size", "mediaType"] {
        assert_eq!(descriptor[field], root[field], "{field}");
    }
    assert_eq!(descriptor["annotations"]["config.digest"], told["containerimage.config.digest"]);
    assert_eq!(told["image.name"], "docker.io/library/app:latest,example.com/app:v1");
    assert_eq!(told["buildx.build.ref"].as_str().map(|text| text.split('/').count()), Some(3));
    assert!(told.get("buildx.build.warnings").is_none(), "nobody asked");
    // Into the store: the same image has the same digest.
    let stored = facts(&lab, &context, &["-t", "app"], &[("BUILDX_METADATA_WARNINGS", "1")]);
    assert_eq!(stored["containerimage.digest"], told["containerimage.digest"]);
    assert_ne!(stored["buildx.build.ref"], told["buildx.build.ref"]);
    let warnings = stored["buildx.build.warnings"].as_array().expect("FROM … as");
    assert_eq!((&warnings[0]["level"], &warnings[0]["range"][0]["start"]["line"]), (&json!(1), &json!(1)));
    assert!(warnings[0]["short"].is_string());
    let longer = lab.project("FROM busybox\nMAINTAINER \\\n  me\n", &[]);
    let longer = facts(&lab, &longer, &[], &[("BUILDX_METADATA_WARNINGS", "True")]);
    let range = &longer["buildx.build.warnings"][0]["range"];
    assert_eq!(range, &json!([{"start": {"line": 2}, "end": {"line": 3}}]));
    // Files alone have no image.
    let told = facts(&lab, &context, &["-o", text(&fresh(&lab, "files"))], &[]);
    assert_eq!(
        told.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()),
        Some(vec!["buildx.build.ref".into()])
    );
    let iid = fresh(&lab, "iid");
    build(&lab, &context, &["-o", text(&fresh(&lab, "files")), "--iidfile", text(&iid)]);
    assert_eq!(stored["containerimage.config.digest"], fs::read_to_string(iid).expect("written").as_str());
}
