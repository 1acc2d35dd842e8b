//! Power cuts: what was synced survives, what was not is gone and never half there.

mod common;

use std::fs;

use builder_cache::{BlobDigest, DiffId, LayerMeta};
use builder_solver::Records;
use common::{PutRecord as _, boot, chain, image, key, layer, layer_with, names_in, record};

#[test]
fn only_what_was_not_synced_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    let store = boot(root.path(), 1);
    assert!(!store.unsynced().unwrap());
    let kept = layer(&store, "kept");
    store.insert(&record("kept", &[kept], &[])).unwrap();
    let kept_blob = store.put_blob(b"kept").unwrap();
    let kept_image = image(&store, "kept image", &[kept], None);
    store.tag("moved", &kept_image).unwrap();
    assert!(store.unsynced().unwrap());
    store.sync().unwrap();
    assert!(!store.unsynced().unwrap());

    let lost = layer(&store, "lost");
    let delta = layer_with(&store, "delta", LayerMeta { base: Some(kept), ..LayerMeta::default() });
    store.insert(&record("lost", &[kept, lost], &["kept"])).unwrap();
    store.insert(&record("delta", &[delta], &[])).unwrap();
    let lost_blob = store.put_blob(b"lost").unwrap();
    let lost_image = image(&store, "lost image", &[kept, lost], None);
    store.tag("moved", &lost_image).unwrap();
    store.tag("new", &lost_image).unwrap();
    drop(store);

    // The same boot: a killed process loses nothing that was finished.
    let store = boot(root.path(), 1);
    assert!(store.by_recipe(&key("lost")).unwrap().is_some());
    assert!(store.has_blob(&lost_blob).unwrap());
    drop(store);

    let store = boot(root.path(), 2);
    assert!(store.by_recipe(&key("kept")).unwrap().is_some());
    assert!(store.by_recipe(&key("lost")).unwrap().is_none());
    assert!(store.by_recipe(&key("delta")).unwrap().is_none());
    assert!(store.stored_record(&key("lost")).unwrap().is_some(), "it still explains");
    assert!(store.has_blob(&kept_blob).unwrap() && !store.has_blob(&lost_blob).unwrap());
    assert!(!store.blob_path(&lost_blob).exists());
    assert!(store.image(&kept_image).unwrap().is_some() && store.image(&lost_image).unwrap().is_none());
    assert_eq!(store.image_by_name("moved").unwrap().map(|image| image.id), Some(kept_image), "back to the old image");
    assert!(store.image_by_name("new").unwrap().is_none());
    assert!(store.layer(&kept).is_ok() && store.layer(&lost).is_err() && store.layer(&delta).is_err());
    assert_eq!(names_in(&root.path().join("snapshots")), [kept.to_string()]);
    assert!(!store.unsynced().unwrap());
}

#[test]
fn what_survived_one_power_cut_survives_the_next() {
    let root = tempfile::tempdir().unwrap();
    let store = boot(root.path(), 1);
    let id = layer(&store, "x");
    store.insert(&record("a", &[id], &[])).unwrap();
    store.sync().unwrap();
    drop(store);
    for number in 2..5 {
        assert!(boot(root.path(), number).by_recipe(&key("a")).unwrap().is_some());
    }
}

#[test]
fn a_record_that_ran_again_is_not_durable_because_the_old_one_was() {
    let root = tempfile::tempdir().unwrap();
    let store = boot(root.path(), 1);
    store.insert(&record("a", &[layer(&store, "old")], &[])).unwrap();
    store.sync().unwrap();
    store.insert(&record("a", &[layer(&store, "new")], &[])).unwrap();
    assert!(store.unsynced().unwrap());
    drop(store);
    assert!(boot(root.path(), 2).by_recipe(&key("a")).unwrap().is_none());
}

#[test]
fn files_without_a_row_do_not_count_after_a_power_cut() {
    let root = tempfile::tempdir().unwrap();
    drop(boot(root.path(), 1));
    let digest = BlobDigest::of(b"orphan");
    fs::write(root.path().join("blobs/sha256").join(digest.hex()), "torn").unwrap();
    fs::create_dir_all(root.path().join("snapshots/00000000000000aa/fs")).unwrap();
    let store = boot(root.path(), 2);
    assert!(!store.has_blob(&digest).unwrap());
    assert!(names_in(&root.path().join("snapshots")).is_empty());
    assert!(names_in(&root.path().join("blobs/sha256")).is_empty());
    assert_eq!(store.put_blob(b"orphan").unwrap(), digest);
}

#[test]
fn packed_layers_of_lost_blobs_are_packed_again() {
    let root = tempfile::tempdir().unwrap();
    let store = boot(root.path(), 1);
    let digest = store.put_blob(b"tar").unwrap();
    let info = store.blob(&digest).unwrap().unwrap();
    store.set_layer_blob(&DiffId::of(b"tar"), "gzip", &info).unwrap();
    drop(store);
    assert_eq!(boot(root.path(), 2).layer_blob(&DiffId::of(b"tar"), "gzip").unwrap(), None);
}

#[test]
fn the_kernel_tells_boots_apart() {
    let root = tempfile::tempdir().unwrap();
    let store = builder_cache::Store::open(root.path()).unwrap();
    store.insert(&record("a", &[layer(&store, "x")], &[])).unwrap();
    drop(store);
    let store = builder_cache::Store::open(root.path()).unwrap();
    assert_eq!(store.by_recipe(&key("a")).unwrap().unwrap().output.layers.len(), 1);
    drop(store);
    assert!(boot(root.path(), 1).by_recipe(&key("a")).unwrap().is_none());
}

#[test]
fn sync_covers_what_others_wrote() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (boot(root.path(), 1), boot(root.path(), 1));
    let id = layer(&two, "x");
    two.insert(&record("a", &[id], &[])).unwrap();
    one.sync().unwrap();
    assert!(!two.unsynced().unwrap());
    drop((one, two));
    let store = boot(root.path(), 2);
    assert_eq!(store.by_recipe(&key("a")).unwrap().unwrap().output, chain(&[id]));
    assert_eq!(fs::read_to_string(store.part_dirs(&id).unwrap()[0].join("file")).unwrap(), "x");
}
