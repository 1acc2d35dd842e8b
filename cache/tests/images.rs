//! Images and names.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;

use builder_cache::{BlobDigest, DiffId, Error, Named, NewImage, PruneImagesOptions};
use common::{chain, image, layer, store};

fn with_manifest(store: &builder_cache::Store, config: &str) -> NewImage {
    let id = store.put_blob(config.as_bytes()).unwrap();
    let manifest = store.put_blob(format!(r#"{{"config":{{"digest":"{id}"}},"layers":[]}}"#).as_bytes()).unwrap();
    NewImage {
        id,
        snapshot: chain(&[layer(store, "x")]),
        diff_ids: vec![DiffId::of(b"1"), DiffId::of(b"2")],
        manifest: Some(manifest),
        created_ms: 7,
        size: 8,
        target: Some(common::key("target")),
    }
}

#[test]
fn an_image_is_found_by_id_name_and_prefix() {
    let (_root, store) = store();
    let new = with_manifest(&store, "{}");
    store.put_image(&new).unwrap();
    assert_eq!(store.tag("docker.io/library/b:latest", &new.id).unwrap(), None);
    assert_eq!(store.tag("docker.io/library/a:latest", &new.id).unwrap(), None);
    let found = store.image(&new.id).unwrap().unwrap();
    assert_eq!(found.names, ["docker.io/library/a:latest", "docker.io/library/b:latest"]);
    assert_eq!((found.snapshot.clone(), found.diff_ids.clone()), (new.snapshot.clone(), new.diff_ids.clone()));
    assert_eq!((found.manifest, found.created_ms, found.size, found.target), (new.manifest, 7, 8, new.target));
    assert_eq!(store.image_by_name("docker.io/library/b:latest").unwrap().as_ref(), Some(&found));
    assert_eq!(store.image_by_name("b").unwrap(), None);
    let hex = new.id.hex();
    for prefix in [&hex[..1], &hex[..12], &hex, &new.id.to_string()[..20], &hex[..6].to_uppercase()] {
        assert_eq!(store.images_by_id_prefix(prefix).unwrap(), std::slice::from_ref(&found), "{prefix}");
    }
    let other = if hex.starts_with('0') { "1" } else { "0" };
    for prefix in ["", "sha256:", "g", other, "../..", &format!("{hex}0")] {
        assert!(store.images_by_id_prefix(prefix).unwrap().is_empty(), "{prefix}");
    }
}

#[test]
fn a_name_moves_and_tells_from_where() {
    let (_root, store) = store();
    let (one, two) = (image(&store, "1", &[], None), image(&store, "2", &[], None));
    assert_eq!(store.tag("n", &one).unwrap(), None);
    assert_eq!(store.tag("n", &two).unwrap(), Some(one));
    assert_eq!(store.tag("n", &two).unwrap(), Some(two));
    assert!(store.image(&one).unwrap().unwrap().names.is_empty());
    assert_eq!(store.untag("n").unwrap(), Some(two));
    assert_eq!(store.untag("n").unwrap(), None);
    let absent = BlobDigest::of(b"absent");
    assert!(matches!(store.tag("n", &absent), Err(Error::NoImage(id)) if id == absent));
    assert!(matches!(store.remove_image(&absent), Err(Error::NoImage(_))));
}

#[test]
fn an_image_needs_its_blobs_and_layers() {
    let (_root, store) = store();
    let good = with_manifest(&store, "{}");
    let absent = BlobDigest::of(b"absent");
    assert!(matches!(store.put_image(&NewImage { id: absent, ..good.clone() }), Err(Error::NoBlob(_))));
    assert!(matches!(store.put_image(&NewImage { manifest: Some(absent), ..good.clone() }), Err(Error::NoBlob(_))));
    let snapshot = chain(&["00000000000000aa".parse().unwrap()]);
    assert!(matches!(store.put_image(&NewImage { snapshot, ..good }), Err(Error::NoLayer(_))));
    assert!(store.images().unwrap().is_empty());
}

#[test]
fn an_image_that_is_put_again_writes_nothing_and_keeps_its_layers() {
    let (_root, store) = store();
    let new = with_manifest(&store, "{}");
    store.put_image(&new).unwrap();
    store.sync().unwrap();
    store.put_image(&new).unwrap();
    let rebuilt = NewImage { snapshot: chain(&[layer(&store, "same files")]), ..new.clone() };
    store.sync().unwrap();
    store.put_image(&rebuilt).unwrap();
    assert!(!store.unsynced().unwrap());
    assert_eq!(store.image(&new.id).unwrap().unwrap().snapshot, new.snapshot);
    store.put_image(&NewImage { target: None, ..rebuilt }).unwrap();
    let found = store.image(&new.id).unwrap().unwrap();
    assert_eq!((found.snapshot, found.target), (new.snapshot, None));
}

#[test]
fn images_are_listed_newest_first() {
    let (_root, store) = store();
    let put = |config: &str, created_ms| {
        let new = NewImage { created_ms, ..with_manifest(&store, config) };
        store.put_image(&new).unwrap();
        new.id
    };
    let ids = [put("1", 5), put("2", 9), put("3", 7)];
    let listed: Vec<_> = store.images().unwrap().into_iter().map(|image| image.id).collect();
    assert_eq!(listed, [ids[1], ids[2], ids[0]]);
}

#[test]
fn the_index_lists_names_and_follows_changes() {
    let (root, store) = store();
    let index = || -> Vec<(String, Option<String>)> {
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(root.path().join("index.json")).unwrap()).unwrap();
        let manifests = index["manifests"].as_array().unwrap();
        let name = |entry: &serde_json::Value| {
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned)
        };
        manifests.iter().map(|entry| (entry["digest"].as_str().unwrap().to_owned(), name(entry))).collect()
    };
    let new = with_manifest(&store, "{}");
    let manifest = new.manifest.unwrap().to_string();
    store.put_image(&new).unwrap();
    assert_eq!(index(), [(manifest.clone(), None)]);
    store.tag("a:1", &new.id).unwrap();
    store.tag("b:1", &new.id).unwrap();
    assert_eq!(index(), [(manifest.clone(), Some("a:1".to_owned())), (manifest, Some("b:1".to_owned()))]);
    store.remove_image(&new.id).unwrap();
    assert_eq!(index(), []);
}

#[test]
fn removing_an_image_frees_what_only_it_needs() {
    let (root, store) = store();
    let (shared, own) = (layer(&store, "shared"), layer(&store, "own"));
    let kept = image(&store, "kept", &[shared], None);
    let gone = image(&store, "gone", &[shared, own], None);
    store.tag("n", &gone).unwrap();
    let removed = store.remove_image(&gone).unwrap();
    assert_eq!((removed.names, removed.deferred), (vec!["n".to_owned()], false));
    assert_eq!(removed.freed, 3 + 4, "the layer and the config");
    assert_eq!(common::names_in(&root.path().join("snapshots")), [shared.to_string()]);
    assert!(store.has_blob(&kept).unwrap() && !store.has_blob(&gone).unwrap());
}

#[test]
fn removing_an_image_while_somebody_builds_defers_the_files() {
    let (root, store) = store();
    let id = layer(&store, "x");
    let gone = image(&store, "gone", &[id], None);
    let builder = builder_cache::Store::open(root.path()).unwrap();
    let lease = builder.lease().unwrap();
    let removed = store.remove_image(&gone).unwrap();
    assert!(removed.deferred && removed.freed == 0);
    assert!(store.image(&gone).unwrap().is_none());
    assert!(store.part_dirs(&id).unwrap()[0].exists());
    drop((lease, builder));
    assert_eq!(store.prune(&builder_cache::PruneOptions::default()).unwrap().layers, 1);
}

fn platforms(store: &builder_cache::Store, tag: &str) -> Named {
    let [amd, arm] = ["amd64", "arm64"].map(|name| image(store, &format!("{tag} {name}"), &[layer(store, name)], None));
    let list = vec![("linux/amd64".to_owned(), amd), ("linux/arm64".to_owned(), arm)];
    Named { image: amd, platforms: list, form: Some("{}".to_owned()), blobs: Vec::new() }
}

#[test]
fn a_name_stands_for_an_image_on_each_platform() {
    let (_root, store) = store();
    let one = image(&store, "one", &[], None);
    store.tag("n", &one).unwrap();
    let set = platforms(&store, "1");
    assert_eq!(store.set_name("n", &set).unwrap(), Some(one));
    assert_eq!(store.name("n").unwrap().as_ref(), Some(&set));
    assert_eq!(store.image_by_name("n").unwrap().unwrap().id, set.image);
    let arm = store.image(&set.platforms[1].1).unwrap().unwrap();
    assert_eq!((arm.names.as_slice(), arm.platform_of.as_slice()), (&[][..], &["n".to_owned()][..]));
    assert!(store.image(&set.image).unwrap().unwrap().platform_of.is_empty());
    // It is named: nobody takes it for garbage.
    assert!(!store.remove_nameless_image(&arm.id).unwrap());
    assert_eq!(store.prune_images(&PruneImagesOptions::default()).unwrap().images, [one]);
    // A name for one image is no name for several.
    store.tag("n", &set.image).unwrap();
    assert_eq!(store.name("n").unwrap(), Some(Named::one(set.image)));
    assert!(store.remove_nameless_image(&arm.id).unwrap());
    let missing = Named { platforms: vec![("linux/arm64".to_owned(), arm.id)], ..Named::one(set.image) };
    assert!(matches!(store.set_name("n", &missing), Err(Error::NoImage(id)) if id == arm.id));
}

#[test]
fn the_last_name_takes_all_platforms_with_it() {
    let (_root, store) = store();
    let set = platforms(&store, "1");
    let other = platforms(&store, "2");
    store.set_name("n", &set).unwrap();
    store.set_name("m", &Named { platforms: vec![set.platforms[1].clone()], ..other.clone() }).unwrap();
    store.remove_image(&set.image).unwrap();
    assert!(store.name("n").unwrap().is_none());
    assert!(store.image(&set.platforms[1].1).unwrap().is_some(), "another name needs it");
    store.remove_image(&other.image).unwrap();
    let left: Vec<_> = store.images().unwrap().into_iter().map(|image| image.id).collect();
    assert_eq!(left, [other.platforms[1].1], "only what no name had");
}

#[test]
fn a_power_cut_takes_a_name_for_several_platforms_back_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    let open = |boot: &str| builder_cache::OpenOptions::new().boot_id(boot).open(root.path()).unwrap();
    let store = open("1");
    let one = image(&store, "one", &[layer(&store, "one")], None);
    store.tag("n", &one).unwrap();
    let amd = image(&store, "amd", &[layer(&store, "amd")], None);
    store.sync().unwrap();
    let arm = image(&store, "arm", &[layer(&store, "arm")], None);
    let list = vec![("linux/amd64".to_owned(), amd), ("linux/arm64".to_owned(), arm)];
    store.set_name("n", &Named { image: amd, platforms: list, form: None, blobs: Vec::new() }).unwrap();
    drop(store);
    let store = open("2");
    assert_eq!(store.name("n").unwrap(), Some(Named::one(one)));
}

#[test]
fn other_tars_of_a_layer_are_remembered_as_long_as_it_is_there() {
    let (_root, store) = store();
    let id = layer(&store, "x");
    let tar = DiffId::of(b"clamped");
    assert_eq!(store.derived_tar(&id, "clamp 1").unwrap(), None);
    store.set_derived_tar(&id, "clamp 1", &tar, 7).unwrap();
    assert_eq!(store.derived_tar(&id, "clamp 1").unwrap(), Some((tar, 7)));
    assert_eq!(store.derived_tar(&id, "clamp 2").unwrap(), None);
    assert_eq!(store.derivation(&id, &tar).unwrap().as_deref(), Some("clamp 1"));
    assert_eq!(store.derivation(&id, &DiffId::of(b"other")).unwrap(), None);
    store.collect_garbage().unwrap();
    assert_eq!(store.derived_tar(&id, "clamp 1").unwrap(), None);
}

#[test]
fn a_name_keeps_blobs_as_long_as_it_is_there() {
    let (_root, store) = store();
    let one = image(&store, "one", &[], None);
    let [kept, other] = ["kept", "other"].map(|text| store.put_blob(text.as_bytes()).unwrap());
    let named = Named { blobs: vec![kept], ..Named::one(one) };
    store.set_name("n", &named).unwrap();
    assert_eq!(store.name("n").unwrap(), Some(named.clone()));
    store.collect_garbage().unwrap();
    assert!(store.has_blob(&kept).unwrap());
    assert!(!store.has_blob(&other).unwrap());
    let missing = Named { blobs: vec![other], ..named.clone() };
    assert!(matches!(store.set_name("m", &missing), Err(Error::NoBlob(blob)) if blob == other));
    // Another name of the image takes them over.
    store.set_name("m", &named).unwrap();
    store.untag("n").unwrap();
    store.collect_garbage().unwrap();
    assert!(store.has_blob(&kept).unwrap());
    store.tag("m", &one).unwrap();
    store.collect_garbage().unwrap();
    assert!(!store.has_blob(&kept).unwrap());
}

#[test]
fn all_names_are_read_at_once_and_many_images_go_with_one_index() {
    let (_root, store) = store();
    let (one, two) = (image(&store, "1", &[], None), image(&store, "2", &[], None));
    let both = vec![("linux/amd64".to_owned(), one), ("linux/arm64".to_owned(), two)];
    store.set_name("b", &Named { platforms: both.clone(), ..Named::one(one) }).unwrap();
    store.tag("a", &two).unwrap();
    store.tag("c@sha256:0", &two).unwrap();
    let names = store.names().unwrap();
    assert_eq!(names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b", "c@sha256:0"]);
    for (name, named) in &names {
        assert_eq!(store.name(name).unwrap().as_ref(), Some(named));
    }
    store.untag("a").unwrap();
    let forgotten = store.with_one_index(|| store.forget_image(&one).unwrap()).unwrap();
    assert_eq!(forgotten, ["b"]);
    assert!(store.image(&one).unwrap().is_none() && store.has_blob(&one).unwrap(), "the files stay until a prune");
    // A digest alone keeps no image.
    assert_eq!(store.image(&two).unwrap().unwrap().names, ["c@sha256:0"]);
    assert_eq!(store.prune_images(&PruneImagesOptions::default()).unwrap().images, [two]);
    assert!(store.names().unwrap().is_empty() && !store.has_blob(&one).unwrap());
}
