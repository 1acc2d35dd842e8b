//! Archives and layouts of our own: bytes that never vary, digests that are checked, names that are kept.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::fs::{self, File};
use std::io::{self, Write};

use builder_cache::{BlobDigest, Store};
use builder_image::archive::{
    Error, Format, LoadOptions, MediaTypes, SaveImage, SaveOptions, load, load_layout, save, save_layout,
};
use builder_image::assemble::{AssembleOptions, assemble, import};
use builder_image::compress::Compression;
use builder_image::tar::{Limits, Reader, write::small_file};
use kit::{Tree, config, describe, image, names, rich_image, scratch, store};
use serde_json::{Value, json};

fn saved(store: &Store, images: &[(BlobDigest, &[&str])], options: &SaveOptions) -> Vec<u8> {
    let images: Vec<SaveImage> = images.iter().map(|(id, list)| SaveImage::one(*id, names(list))).collect();
    let mut out = Vec::new();
    save(store, &images, options, &mut out).unwrap();
    out
}

/// The files of a tar.
fn files(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut reader = Reader::new(tar, Limits::default());
    let mut files = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut bytes = vec![0; entry.size as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += reader.read_data(&mut bytes[filled..]).unwrap();
        }
        files.push((String::from_utf8(entry.path).unwrap(), bytes));
    }
    files
}

fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, bytes) in files.iter().filter(|(path, _)| !path.ends_with('/')) {
        small_file(&mut out, path, bytes).unwrap();
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

fn all_options() -> Vec<SaveOptions> {
    let mut all = Vec::new();
    for format in [Format::Docker, Format::Oci] {
        for compression in [Compression::Uncompressed, Compression::Gzip, Compression::Zstd] {
            for media_types in [MediaTypes::Oci, MediaTypes::Docker] {
                all.push(SaveOptions { format, compression, media_types, ..SaveOptions::default() });
            }
        }
    }
    all
}

#[test]
fn what_is_saved_is_loaded_and_saved_again_to_the_same_bytes() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = rich_image(&store).id;
    for (number, options) in all_options().iter().enumerate() {
        let first = saved(&store, &[(id, &["app:1", "h:1/b:x"])], options);
        let other = Store::open(&scratch.path().join(format!("store-{number}"))).unwrap();
        let loaded = load(&other, &first[..], &LoadOptions::default()).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].id, id);
        let list: Vec<String> = loaded[0].names.iter().map(|name| name.name.to_string()).collect();
        assert_eq!(list, ["docker.io/library/app:1", "h:1/b:x"], "{options:?}");
        assert!(saved(&other, &[(id, &["app:1", "h:1/b:x"])], options) == first, "{options:?}");
        let (ours, theirs) = (store.image(&id).unwrap().unwrap(), other.image(&id).unwrap().unwrap());
        assert_eq!(ours.diff_ids, theirs.diff_ids);
        assert_eq!(theirs.created_ms, 1_704_164_645_000);
        for (a, b) in ours.snapshot.layers.iter().zip(&theirs.snapshot.layers) {
            let directory = |store: &Store, id| store.part_dirs(id).unwrap().remove(0);
            assert_eq!(describe(&directory(&store, a)), describe(&directory(&other, b)), "{options:?}");
        }
        // Once more: nothing is unpacked, the same layers serve.
        load(&other, &first[..], &LoadOptions::default()).unwrap();
        assert_eq!(other.image(&id).unwrap().unwrap().snapshot, theirs.snapshot);
    }
}

#[test]
fn two_stores_make_the_same_archive_of_the_same_files() {
    let scratch = scratch();
    let make = |name: &str| {
        let store = Store::open(&scratch.path().join(name)).unwrap();
        let fill =
            |tree: &Tree| tree.file("a", "x").mtime("a", 7).file("d/b", "y").mtime("d/b", 8).mtime("d", 9).done();
        let id = image(&store, &[&fill, &|_| ()]).id;
        saved(&store, &[(id, &["app"])], &SaveOptions { compression: Compression::Gzip, ..SaveOptions::default() })
    };
    assert!(make("one") == make("two"));
}

#[test]
fn several_images_share_blobs_and_keep_their_names() {
    let scratch = scratch();
    let store = store(&scratch);
    let base: &dyn Fn(&Tree) = &|tree| tree.file("base", "b").mtime("base", 1).done();
    let one = image(&store, &[base, &|tree| tree.file("one", "1").done()]).id;
    let two = image(&store, &[base]).id;
    let tar = saved(&store, &[(one, &["one:latest"]), (two, &["two:latest", "two:x"])], &SaveOptions::default());
    let blobs = files(&tar).iter().filter(|(path, _)| path.starts_with("blobs/sha256/") && path.len() > 13).count();
    assert_eq!(blobs, 2 + 2 + 2, "configs, manifests, layers");
    let other = Store::open(&scratch.path().join("other")).unwrap();
    let loaded = load(&other, &tar[..], &LoadOptions::default()).unwrap();
    let list: Vec<_> = loaded.iter().map(|image| (image.id, image.names.len())).collect();
    assert_eq!(list, [(one, 1), (two, 2)]);
    assert_eq!(other.image_by_name("docker.io/library/two:x").unwrap().unwrap().id, two);
}

#[test]
fn a_digest_names_only_what_has_it() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = image(&store, &[&|tree| tree.file("mine", "").done()]).id;
    let list = files(&saved(&store, &[(id, &["app"])], &SaveOptions::default()));
    let json_of = |path: &str| -> Value {
        serde_json::from_slice(&list.iter().find(|(name, _)| name == path).unwrap().1).unwrap()
    };
    let (index, docker) = (json_of("index.json"), json_of("manifest.json"));
    let own = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let foreign = BlobDigest::of(b"another one").to_string();
    for (number, (digest, layout, expected)) in
        [(&own, true, 1), (&foreign, true, 0), (&own, false, 0), (&foreign, false, 0)].into_iter().enumerate()
    {
        let name = format!("docker.io/library/debian@{digest}");
        let (mut index, mut docker) = (index.clone(), docker.clone());
        index["manifests"][0]["annotations"]["io.containerd.image.name"] = json!(name);
        docker[0]["RepoTags"] = json!([name]);
        let mut list = list.clone();
        list.retain(|(path, _)| layout || path != "index.json");
        for (path, bytes) in &mut list {
            match path.as_str() {
                "index.json" => *bytes = index.to_string().into_bytes(),
                "manifest.json" => *bytes = docker.to_string().into_bytes(),
                _ => {}
            }
        }
        let fresh = Store::open(&scratch.path().join(number.to_string())).unwrap();
        let loaded = load(&fresh, &tar_of(&list)[..], &LoadOptions::default()).unwrap();
        assert_eq!((loaded[0].id, loaded[0].names.len()), (id, expected), "{name} {layout}");
        assert_eq!(fresh.image_by_name(&name).unwrap().is_some(), expected == 1, "{name} {layout}");
    }
}

#[test]
fn a_name_that_moves_tells_what_it_named() {
    let scratch = scratch();
    let store = store(&scratch);
    let one = image(&store, &[&|tree| tree.file("1", "").done()]).id;
    let two = image(&store, &[&|tree| tree.file("2", "").done()]).id;
    store.tag("docker.io/library/app:latest", &one).unwrap();
    let tar = saved(&store, &[(two, &["app"])], &SaveOptions::default());
    let loaded = load(&store, &tar[..], &LoadOptions::default()).unwrap();
    assert_eq!(loaded[0].names[0].replaced, Some(one));
    let again = load(&store, &tar[..], &LoadOptions::default()).unwrap();
    assert_eq!(again[0].names[0].replaced, None);
}

#[test]
fn a_layout_directory_is_added_to() {
    let scratch = scratch();
    let store = store(&scratch);
    let one = image(&store, &[&|tree| tree.file("1", "").done()]).id;
    let two = image(&store, &[&|tree| tree.file("2", "").done()]).id;
    let layout = scratch.path().join("layout");
    let put = |id, list: &[&str]| {
        let options = SaveOptions { format: Format::Oci, ..SaveOptions::default() };
        save_layout(&store, &[SaveImage::one(id, names(list))], &options, &layout).unwrap();
    };
    put(one, &["app:1", "app:2"]);
    put(two, &["app:2"]);
    put(two, &["app:2"]);
    let other = Store::open(&scratch.path().join("other")).unwrap();
    load_layout(&other, &layout, &LoadOptions::default()).unwrap();
    let named = |name: &str| other.image_by_name(&format!("docker.io/library/app:{name}")).unwrap().unwrap().id;
    assert_eq!((named("1"), named("2")), (one, two));
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
}

#[test]
fn who_writes_to_one_layout_at_once_loses_nothing() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = rich_image(&store).id;
    let layout = scratch.path().join("layout");
    let tags: Vec<String> = (0..12).map(|number| format!("app:{number}")).collect();
    std::thread::scope(|scope| {
        for tag in &tags {
            let (store, layout) = (&store, &layout);
            scope.spawn(move || {
                let image = SaveImage::one(id, names(&[tag]));
                save_layout(store, &[image], &SaveOptions::default(), layout).unwrap();
            });
        }
    });
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), tags.len());
}

#[test]
fn clamped_times_are_in_the_image_and_survive_saving() {
    let scratch = scratch();
    let store = store(&scratch);
    let layer = store.new_layer().unwrap();
    Tree(layer.upper().to_owned()).file("late", "x").mtime("late", 2_000_000_000).file("early", "x").mtime("early", 5);
    let snapshot = builder_cache::Snapshot::scratch().with(layer.commit(builder_cache::LayerMeta::default()).unwrap());
    let plain = assemble(&store, &config(), &snapshot, &AssembleOptions::default()).unwrap();
    for compression in [None, Some(Compression::Gzip)] {
        let options = AssembleOptions { clamp: Some(1000), compression, target: None };
        let clamped = assemble(&store, &config(), &snapshot, &options).unwrap();
        assert_ne!(clamped.id, plain.id);
        for save in [Compression::Gzip, Compression::Uncompressed] {
            let tar =
                saved(&store, &[(clamped.id, &["c"])], &SaveOptions { compression: save, ..SaveOptions::default() });
            let other = Store::open(&scratch.path().join(format!("{compression:?}-{save}"))).unwrap();
            let loaded = load(&other, &tar[..], &LoadOptions::default()).unwrap();
            let image = other.image(&loaded[0].id).unwrap().unwrap();
            let files = describe(&other.part_dirs(&image.snapshot.layers[0]).unwrap()[0]);
            assert!(files[&b"late"[..]].contains(" t1000 ") && files[&b"early"[..]].contains(" t5 "), "{files:?}");
        }
    }
    // The plain image is still what it was.
    saved(&store, &[(plain.id, &["p"])], &SaveOptions::default());
}

#[test]
fn layers_keep_the_form_they_came_in_unless_forced() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = image(&store, &[&|tree| tree.file("a", "x").done()]).id;
    let gzip =
        saved(&store, &[(id, &["a"])], &SaveOptions { compression: Compression::Gzip, ..SaveOptions::default() });
    let other = Store::open(&scratch.path().join("other")).unwrap();
    load(&other, &gzip[..], &LoadOptions::default()).unwrap();
    let kept = saved(&other, &[(id, &["a"])], &SaveOptions::default());
    assert!(kept == gzip);
    for compression in [Compression::Uncompressed, Compression::Zstd] {
        let options = SaveOptions { compression, force_compression: true, ..SaveOptions::default() };
        assert!(saved(&other, &[(id, &["a"])], &options) == saved(&store, &[(id, &["a"])], &options), "{compression}");
    }
}

#[test]
fn a_root_file_system_is_imported() {
    let scratch = scratch();
    let store = store(&scratch);
    let tree = kit::everything(&scratch.path().join("tree"));
    let mut tar = Vec::new();
    let root = File::open(&tree.0).unwrap().into();
    builder_image::export::tar(&root, None, &mut tar).unwrap();
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&tar).unwrap();
    let imported = import(&store, &xz.finish().unwrap()[..], &config(), Limits::default()).unwrap();
    let image = store.image(&imported.id).unwrap().unwrap();
    assert_eq!(describe(&store.part_dirs(&image.snapshot.layers[0]).unwrap()[0]), describe(&tree.0));
    assert_eq!(image.diff_ids, [builder_cache::DiffId::of(&tar)], "its tar is our own, deterministic one");
    let error = import(&store, &b"this is not a tar, but is long enough"[..], &config(), Limits::default());
    assert!(error.unwrap_err().to_string().contains("tar at byte 0"));
}

#[test]
fn manifest_lists_give_the_image_for_this_machine() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = image(&store, &[&|tree| tree.file("mine", "").done()]).id;
    let tar = saved(&store, &[(id, &["app"])], &SaveOptions { format: Format::Oci, ..SaveOptions::default() });
    let mut list = files(&tar);
    let at = |list: &[(String, Vec<u8>)], path: &str| list.iter().position(|(name, _)| name == path).unwrap();
    let index_at = at(&list, "index.json");
    let index: Value = serde_json::from_slice(&list[index_at].1).unwrap();
    let mine = index["manifests"][0].clone();
    let mut other = json!({"mediaType": mine["mediaType"], "size": 3, "digest": BlobDigest::of(b"arm").to_string()});
    other["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let attestation = json!({"mediaType": mine["mediaType"], "size": 3, "digest": BlobDigest::of(b"att").to_string(),
        "platform": {"os": "unknown", "architecture": "unknown"}});
    let mut bare = mine.clone();
    bare.as_object_mut().unwrap().remove("annotations");
    let inner = json!({"schemaVersion": 2, "manifests": [other, attestation, bare]}).to_string().into_bytes();
    let digest = BlobDigest::of(&inner);
    for media_type in
        ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"]
    {
        let outer = json!({"schemaVersion": 2, "manifests": [{"mediaType": media_type, "size": inner.len(),
            "digest": digest.to_string(), "annotations": mine["annotations"]}]});
        list[index_at].1 = outer.to_string().into_bytes();
        let mut list = list.clone();
        list.push((format!("blobs/sha256/{}", digest.hex()), inner.clone()));
        let fresh = Store::open(&scratch.path().join(media_type.replace('/', "-"))).unwrap();
        let loaded = load(&fresh, &tar_of(&list)[..], &LoadOptions::default()).unwrap();
        assert_eq!((loaded.len(), loaded[0].id, loaded[0].names.len()), (1, id, 1));
    }
    let foreign = json!({"schemaVersion": 2, "manifests": [other, other]}).to_string().into_bytes();
    let outer = json!({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json",
        "size": foreign.len(), "digest": BlobDigest::of(&foreign).to_string()}]});
    list[index_at].1 = outer.to_string().into_bytes();
    list.push((format!("blobs/sha256/{}", BlobDigest::of(&foreign).hex()), foreign));
    let error = load(&store, &tar_of(&list)[..], &LoadOptions::default()).unwrap_err();
    assert!(matches!(&error, Error::NoPlatform { found, .. } if found.contains("s390x")), "{error}");
}

#[test]
fn old_docker_archives_with_links_are_read() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = image(&store, &[&|tree| tree.file("a", "x").done(), &|_| (), &|_| ()]).id;
    let list = files(&saved(&store, &[(id, &["app"])], &SaveOptions::default()));
    let get = |digest: &str| list.iter().find(|(path, _)| path.ends_with(digest)).unwrap().1.clone();
    let diff_ids = store.image(&id).unwrap().unwrap().diff_ids;
    let layer = |at: usize| get(&BlobDigest::from(diff_ids[at]).hex());
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path, bytes).unwrap();
    };
    let config = format!("{}.json", id.hex());
    add("one/VERSION", b"1.0");
    add("one/layer.tar", &layer(0));
    add("two/layer.tar", &layer(1));
    add(&config, &get(&id.hex()));
    let manifest = json!([{"Config": config, "RepoTags": ["app:old"],
        "Layers": ["one/layer.tar", "two/layer.tar", "three/layer.tar"]}]);
    add("manifest.json", manifest.to_string().as_bytes());
    add("repositories", b"{}");
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "three/layer.tar", "../two/layer.tar").unwrap();
    let archive = builder.into_inner().unwrap();
    let other = Store::open(&scratch.path().join("other")).unwrap();
    let loaded = load(&other, &archive[..], &LoadOptions::default()).unwrap();
    assert_eq!(loaded[0].id, id);
    assert_eq!(loaded[0].names[0].name.to_string(), "docker.io/library/app:old");
}

/// Changes one file of an archive and tells how loading fails.
fn broken(list: &[(String, Vec<u8>)], path: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    let scratch = scratch();
    let store = store(&scratch);
    let mut list = list.to_vec();
    let file = list.iter_mut().find(|(name, _)| name.ends_with(path)).unwrap_or_else(|| panic!("no {path}"));
    change(&mut file.1);
    let error = load(&store, &tar_of(&list)[..], &LoadOptions::default()).unwrap_err();
    assert_eq!(store.images().unwrap(), [], "{error}");
    assert_eq!(store.usage().unwrap().layers, [], "{error}");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn damage_is_found_and_named() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = image(&store, &[&|tree| tree.file("a", vec![1; 100_000]).done(), &|tree| tree.file("b", "").done()]).id;
    let list = files(&saved(&store, &[(id, &["app"])], &SaveOptions::default()));
    let diff_ids = store.image(&id).unwrap().unwrap().diff_ids;
    let layer = BlobDigest::from(diff_ids[0]).hex();
    let small = BlobDigest::from(diff_ids[1]).hex();
    let index: Value = serde_json::from_slice(&list[1].1).unwrap();
    let manifest = index["manifests"][0]["digest"].as_str().unwrap()[7..].to_owned();
    let flip = |bytes: &mut Vec<u8>| bytes[700] ^= 1;
    let junk = |bytes: &mut Vec<u8>| *bytes = b"{".to_vec();
    for (path, expected) in [(&layer, "should have sha256:"), (&small, "should have sha256:")] {
        let text = broken(&list, path, flip);
        assert!(text.contains(expected) && text.contains(path.as_str()), "{text}");
    }
    assert!(broken(&list, &id.hex(), |bytes| bytes.push(b' ')).contains(&id.hex()));
    assert!(broken(&list, &manifest, |bytes| bytes.push(b' ')).contains(&manifest));
    assert!(broken(&list, "index.json", junk).contains("`index.json` can't be understood"));
    let digest = |bytes: &mut Vec<u8>| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace("sha256:", "sha256:../../").into_bytes();
    };
    let text = broken(&list, "index.json", digest);
    assert!(text.contains("index.json"), "{text}");
    let docker_only: Vec<_> = list.iter().filter(|(path, _)| path != "index.json").cloned().collect();
    assert!(broken(&docker_only, "manifest.json", junk).contains("`manifest.json` can't be understood"));
    let missing = |bytes: &mut Vec<u8>| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace("\"Layers\":[\"", "\"Layers\":[\"../").into_bytes();
    };
    assert!(broken(&docker_only, "manifest.json", missing).contains("leads"));
    let name = |bytes: &mut Vec<u8>| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace("app:latest", "APP:latest").into_bytes();
    };
    assert!(broken(&docker_only, "manifest.json", name).contains("must be lower case"));
}

#[test]
fn what_is_no_archive_says_so() {
    let scratch = scratch();
    let store = store(&scratch);
    let fails = |bytes: &[u8]| load(&store, bytes, &LoadOptions::default()).unwrap_err().to_string();
    assert!(fails(b"").contains("no image archive"));
    assert!(fails(&[0; 1024]).contains("no image archive"));
    assert!(fails(b"hello").contains("ends in the middle"));
    assert!(fails(&tar_of(&[("repositories".into(), b"{}".to_vec())])).contains("older than 1.10"));
    let twice = ("manifest.json".to_owned(), b"[]".to_vec());
    assert!(fails(&tar_of(&[twice.clone(), twice])).contains("twice"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar_of(&[("manifest.json".into(), vec![b' '; 100_000])])).unwrap();
    let gzip = gzip.finish().unwrap();
    assert!(fails(&gzip[..gzip.len() - 20]).contains("ends in the middle"), "{}", fails(&gzip[..gzip.len() - 20]));
}

#[test]
fn a_damaged_blob_does_not_leave_the_store() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = image(&store, &[&|tree| tree.file("a", vec![1; 100_000]).done()]).id;
    let options = SaveOptions { compression: Compression::Gzip, ..SaveOptions::default() };
    saved(&store, &[(id, &["a"])], &options);
    let diff_id = store.image(&id).unwrap().unwrap().diff_ids[0];
    let blob = store.layer_blob(&diff_id, &Compression::Gzip.recipe()).unwrap().unwrap();
    let path = store.blob_path(&blob.digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let images = [SaveImage::one(id, Vec::new())];
    let error = save(&store, &images, &options, &mut io::sink()).unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    // And a layer whose files were changed no longer has its digest.
    let plain = SaveOptions::default();
    save(&store, &images, &plain, &mut io::sink()).unwrap();
    let layer = store.image(&id).unwrap().unwrap().snapshot.layers[0];
    fs::write(store.part_dirs(&layer).unwrap()[0].join("a"), "changed").unwrap();
    assert!(save(&store, &images, &plain, &mut io::sink()).is_err());
}

#[test]
fn a_full_disk_is_an_error_of_the_output() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = rich_image(&store).id;
    for compression in [Compression::Uncompressed, Compression::Gzip] {
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let images = [SaveImage::one(id, Vec::new())];
        let options = SaveOptions { compression, ..SaveOptions::default() };
        let error = save(&store, &images, &options, &mut full).unwrap_err();
        assert!(matches!(&error, Error::Write(_)), "{error:?}");
    }
}
