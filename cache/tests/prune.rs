//! Prune never drops what is needed, and drops what is not.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::time::Duration;

use builder_cache::content::{EntryKind, EntryMeta, TreeBuilder, Trees};
use builder_cache::{
    BlobDigest, BlobInfo, DiffId, Error, LayerId, LayerMeta, NewImage, PruneImagesOptions, PruneOptions, Store,
};
use builder_solver::{Component, Part, Record, Records};
use common::{PutRecord as _, chain, image, key, layer, layer_with, names_in, record, store};
use proptest::prelude::*;

fn all() -> PruneOptions {
    PruneOptions { all: true, ..PruneOptions::default() }
}

#[test]
fn what_led_to_an_image_stays_unless_all_goes() {
    let (_root, store) = store();
    let [base, tool, top, loose] = ["base", "tool", "top", "loose"].map(|text| layer(&store, text));
    store.insert(&record("base", &[base], &[])).unwrap();
    store.insert(&record("tool", &[tool], &[])).unwrap();
    store.insert(&record("top", &[base, top], &["base", "tool"])).unwrap();
    store.insert(&record("loose", &[base, loose], &["base"])).unwrap();
    image(&store, "image", &[base, top], Some("top"));
    let pruned = store.prune(&PruneOptions::default()).unwrap();
    assert_eq!((pruned.records, pruned.layers, pruned.freed), (1, 1, 5));
    for (name, there) in [("base", true), ("tool", true), ("top", true), ("loose", false)] {
        assert_eq!(store.by_recipe(&key(name)).unwrap().is_some(), there, "{name}");
    }
    let pruned = store.prune(&all()).unwrap();
    assert_eq!((pruned.records, pruned.layers), (3, 1), "the image keeps its own layers");
    assert_eq!(store.lower_dirs(&chain(&[base, top])).unwrap().len(), 2);
}

#[test]
fn a_dry_run_tells_and_takes_nothing() {
    let (_root, store) = store();
    let id = layer(&store, "x");
    store.insert(&record("a", &[id], &[])).unwrap();
    let told = store.prune(&PruneOptions { dry_run: true, ..all() }).unwrap();
    assert_eq!((told.records, told.layers), (1, 1));
    assert!(store.by_recipe(&key("a")).unwrap().is_some() && store.part_dirs(&id).unwrap()[0].exists());
    assert_eq!(store.prune(&all()).unwrap(), told);
}

#[test]
fn only_what_is_old_enough_goes() {
    let (root, store) = store();
    for name in ["old", "new"] {
        store.insert(&record(name, &[layer(&store, name)], &[])).unwrap();
    }
    let db = rusqlite::Connection::open(root.path().join("builder.db")).unwrap();
    db.execute("UPDATE records SET last_used_ms = last_used_ms - 3600000 WHERE name = 'old'", []).unwrap();
    let older_than = Some(Duration::from_mins(30));
    assert_eq!(store.prune(&PruneOptions { older_than, ..all() }).unwrap().records, 1);
    assert!(store.by_recipe(&key("old")).unwrap().is_none() && store.by_recipe(&key("new")).unwrap().is_some());
}

#[test]
fn the_least_recently_used_go_until_the_rest_fits() {
    let (root, store) = store();
    let db = rusqlite::Connection::open(root.path().join("builder.db")).unwrap();
    for (age, name) in ["a", "b", "c", "d"].iter().enumerate() {
        store.insert(&record(name, &[layer(&store, "0123456789")], &[])).unwrap();
        let sql = "UPDATE records SET last_used_ms = last_used_ms - ? WHERE name = ?";
        db.execute(sql, rusqlite::params![1000 * age as i64, name]).unwrap();
    }
    let left = || -> Vec<_> {
        ["a", "b", "c", "d"].into_iter().filter(|name| store.by_recipe(&key(name)).unwrap().is_some()).collect()
    };
    for (keep, expected) in [(40, vec!["a", "b", "c", "d"]), (39, vec!["a", "b", "c"]), (10, vec!["a"]), (9, vec![])] {
        store.prune(&PruneOptions { keep_bytes: Some(keep), ..all() }).unwrap();
        assert_eq!(left(), expected, "{keep}");
    }
}

#[test]
fn images_without_a_name_go_first() {
    let (_root, store) = store();
    let dangling = image(&store, "dangling", &[layer(&store, "x")], None);
    let named = image(&store, "named", &[layer(&store, "y")], None);
    store.tag("n", &named).unwrap();
    let kept = image(&store, "kept", &[], None);
    let options = PruneImagesOptions { keep: vec![kept], ..PruneImagesOptions::default() };
    let pruned = store.prune_images(&options).unwrap();
    assert_eq!((pruned.images, pruned.layers, pruned.blobs), (vec![dangling], 1, 1));
    let pruned = store.prune_images(&PruneImagesOptions { all: true, ..options }).unwrap();
    assert_eq!(pruned.images, [named]);
    assert_eq!(store.image_by_name("n").unwrap(), None);
    assert!(store.image(&kept).unwrap().is_some());
}

#[test]
fn blobs_stay_with_the_images_and_layers_that_need_them() {
    let (_root, store) = store();
    let put = |text: &str| store.put_blob(text.as_bytes()).unwrap();
    let (source, packed, loose, packed_loose) = (put("source"), put("packed"), put("loose"), put("packed loose"));
    let meta = LayerMeta { diff_id: Some(DiffId::of(b"d")), source_blob: Some(source), ..LayerMeta::default() };
    let id = layer_with(&store, "x", meta);
    store.set_layer_blob(&DiffId::of(b"d"), "gzip", &BlobInfo { digest: packed, size: 6 }).unwrap();
    store.set_layer_blob(&DiffId::of(b"gone"), "gzip", &BlobInfo { digest: packed_loose, size: 12 }).unwrap();
    let listed = put("listed in the manifest");
    let manifest = put(&format!(r#"{{"config":{{"digest":"sha256:x"}},"layers":[{{"digest":"{listed}"}}]}}"#));
    let index = put(&format!(r#"{{"manifests":[{{"digest":"{manifest}"}}]}}"#));
    let config = put("config");
    let new = NewImage {
        id: config,
        snapshot: chain(&[id]),
        diff_ids: vec![],
        manifest: Some(index),
        created_ms: 0,
        size: 0,
        target: None,
    };
    store.put_image(&new).unwrap();
    assert_eq!(store.prune(&all()).unwrap().blobs, 2);
    for (blob, there) in [
        (source, true),
        (packed, true),
        (loose, false),
        (packed_loose, false),
        (listed, true),
        (manifest, true),
        (index, true),
        (config, true),
    ] {
        assert_eq!(store.has_blob(&blob).unwrap(), there);
        assert_eq!(store.blob_path(&blob).exists(), there);
    }
}

fn tree(files: &[(&str, u32)]) -> Trees {
    let mut builder = TreeBuilder::new();
    for (path, mode) in files {
        builder.add(path.as_bytes(), EntryMeta::new(EntryKind::File, *mode).digest(None));
    }
    builder.finish()
}

#[test]
fn listings_stay_while_a_record_explains_with_them() {
    let (_root, store) = store();
    let (used, loose) = (tree(&[("a/b/c", 1), ("d", 2)]), tree(&[("a/b/c", 1), ("x/y", 3)]));
    store.put_trees(&used).unwrap();
    store.put_trees(&loose).unwrap();
    let files = Component { part: Part::Files(0), value: String::new(), digest: used.root };
    store.insert(&Record { components: vec![files], ..record("copy", &[layer(&store, "x")], &[]) }).unwrap();
    let pruned = store.prune(&all()).unwrap();
    assert_eq!((pruned.records, pruned.trees), (1, 2), "the root and x of the loose tree");
    for (digest, listing) in &used.listings {
        assert_eq!(store.get_tree(digest).unwrap().as_ref(), Some(listing));
    }
    assert!(!store.has_tree(&loose.root).unwrap());
}

#[test]
fn records_without_a_result_are_not_kept_for_ever() {
    let (_root, store) = store();
    for number in 0..1100 {
        store.insert(&record(&number.to_string(), &[], &[])).unwrap();
    }
    store.prune(&all()).unwrap();
    let records = store.all_records().unwrap();
    assert_eq!(records.len(), 1000);
    assert_eq!(records[0].name, "100", "the oldest went");
}

#[test]
fn a_lease_of_this_process_counts_but_its_own_writes_do_not() {
    let (_root, store) = store();
    let active = store.new_layer().unwrap();
    assert!(matches!(store.prune(&all()), Err(Error::InUse { .. })));
    assert!(matches!(store.prune(&PruneOptions { wait: true, ..all() }), Err(Error::InUse { .. })));
    drop(active);
    let lease = store.lease().unwrap();
    assert!(matches!(store.prune(&all()), Err(Error::InUse { .. })));
    drop(lease);
    store.prune(&all()).unwrap();
    layer(&store, "x");
    assert_eq!(store.prune(&all()).unwrap().layers, 1);
}

#[test]
fn what_was_written_is_kept_from_others_until_the_store_is_closed() {
    let (root, store) = store();
    layer(&store, "not yet referred to");
    let other = Store::open(root.path()).unwrap();
    assert!(matches!(other.prune(&all()), Err(Error::InUse { .. })));
    drop(store);
    assert_eq!(other.prune(&all()).unwrap().layers, 1);
}

#[test]
fn what_killed_processes_left_is_swept() {
    let (root, store) = store();
    fs::create_dir_all(root.path().join("snapshots/00000000000000aa/fs/d")).unwrap();
    fs::write(root.path().join("blobs/sha256").join(BlobDigest::of(b"x").hex()), "x").unwrap();
    fs::write(root.path().join("locks").join(key("dead").to_string()), "").unwrap();
    fs::create_dir_all(root.path().join("trash/00000000000000bb/d/e")).unwrap();
    for index in [".index-hALf", "00aa.index"] {
        fs::write(root.path().join("contexts").join(index), "").unwrap();
    }
    let held = store.lock_key(&key("held")).unwrap();
    assert_eq!(store.prune(&PruneOptions::default()).unwrap().freed, 1);
    for directory in ["snapshots", "blobs/sha256", "trash"] {
        assert!(names_in(&root.path().join(directory)).is_empty(), "{directory}");
    }
    assert_eq!(names_in(&root.path().join("contexts")), ["00aa.index"]);
    assert_eq!(names_in(&root.path().join("locks")), [key("held").to_string()]);
    drop(held);
}

#[test]
fn usage_counts_who_needs_what() {
    let (_root, store) = store();
    let base = layer(&store, "base");
    let delta = layer_with(&store, "delta", LayerMeta { base: Some(base), ..LayerMeta::default() });
    let loose = layer(&store, "loose!");
    store.insert(&record("a", &[base], &[])).unwrap();
    store.insert(&record("b", &[delta], &[])).unwrap();
    image(&store, "image", &[delta], None);
    let usage = store.usage().unwrap();
    let needs: Vec<_> = usage.layers.iter().map(|layer| (layer.id, layer.size, layer.images, layer.records)).collect();
    assert_eq!(needs, [(base, 4, 1, 2), (delta, 5, 1, 1), (loose, 6, 0, 0)]);
    assert_eq!((usage.layer_bytes, usage.reclaimable_bytes), (15, 6));
    assert_eq!((usage.blobs, usage.blob_bytes, usage.records, usage.evicted, usage.images), (1, 5, 2, 0, 1));
    assert!(usage.database_bytes > 0);
    let sizes: Vec<_> = store.all_records().unwrap().into_iter().map(|record| record.size).collect();
    assert_eq!(sizes, [4, 5]);
}

/// References by position: a layer's base, a record's chain and inputs, an image's chain, target and name.
#[derive(Debug, Clone)]
struct Graph {
    layers: Vec<Option<usize>>,
    records: Vec<(Vec<usize>, Vec<usize>, i64)>,
    images: Vec<(Vec<usize>, Option<usize>, bool)>,
}

fn graph() -> impl Strategy<Value = Graph> {
    let position = || 0..1000_usize;
    let some = || prop::collection::vec(position(), 0..4);
    (
        prop::collection::vec(prop::option::of(position()), 1..12),
        prop::collection::vec((some(), some(), 0..10_i64), 0..12),
        prop::collection::vec((some(), prop::option::of(position()), any::<bool>()), 0..5),
    )
        .prop_map(|(layers, records, images)| Graph { layers, records, images })
}

fn options() -> impl Strategy<Value = PruneOptions> {
    (any::<bool>(), prop::option::of(0..10_u64), prop::option::of(0..60_u64)).prop_map(|(all, age, keep_bytes)| {
        PruneOptions {
            all,
            older_than: age.map(|age| Duration::from_secs(3600 * age)),
            keep_bytes,
            ..PruneOptions::default()
        }
    })
}

/// The layers of a chain with all bases.
fn closure(store: &Store, layers: &[LayerId]) -> BTreeSet<LayerId> {
    let mut needed = BTreeSet::new();
    for id in layers {
        let mut next = Some(*id);
        while let Some(id) = next.filter(|id| needed.insert(*id)) {
            next = store.layer(&id).unwrap().meta.base;
        }
    }
    needed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn prune_never_drops_what_is_reachable(graph in graph(), options in options(), images_too in any::<bool>()) {
        let (root, store) = store();
        let mut layers: Vec<LayerId> = Vec::new();
        for (position, base) in graph.layers.iter().enumerate() {
            let base = base.filter(|_| position > 0).map(|base| layers[base % position]);
            layers.push(layer_with(&store, "12345", LayerMeta { base, ..LayerMeta::default() }));
        }
        let pick = |positions: &[usize]| -> Vec<LayerId> {
            positions.iter().map(|position| layers[position % layers.len()]).collect()
        };
        let count = graph.records.len();
        let db = rusqlite::Connection::open(root.path().join("builder.db")).unwrap();
        for (number, (output, inputs, age)) in graph.records.iter().enumerate() {
            let inputs: Vec<_> = inputs.iter().map(|input| (input % count).to_string()).collect();
            let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
            store.insert(&record(&number.to_string(), &pick(output), &inputs)).unwrap();
            let sql = "UPDATE records SET last_used_ms = last_used_ms - ? WHERE name = ?";
            db.execute(sql, rusqlite::params![age * 3_600_000, number.to_string()]).unwrap();
        }
        for (number, (output, target, named)) in graph.images.iter().enumerate() {
            let target = target.filter(|_| count > 0).map(|target| (target % count).to_string());
            let id = image(&store, &format!("image {number}"), &pick(output), target.as_deref());
            if *named {
                store.tag(&format!("name {number}"), &id).unwrap();
            }
        }

        let before: HashSet<_> = store.images().unwrap().into_iter().map(|image| image.id).collect();
        if images_too {
            store.prune_images(&PruneImagesOptions::default()).unwrap();
        }
        store.prune(&options).unwrap();

        let mut needed = BTreeSet::new();
        for image in store.images().unwrap() {
            needed.extend(closure(&store, &image.snapshot.layers));
            prop_assert!(store.has_blob(&image.id).unwrap());
        }
        for record in store.all_records().unwrap() {
            if let Some(output) = &record.output {
                needed.extend(closure(&store, &output.layers));
            } else {
                // Only what was old enough went.
                let number: usize = record.name.parse().unwrap();
                let age = Duration::from_secs(3600 * graph.records[number].2 as u64);
                prop_assert!(options.older_than.is_none_or(|least| age >= least));
            }
        }
        let left: BTreeSet<LayerId> = store.usage().unwrap().layers.iter().map(|layer| layer.id).collect();
        prop_assert_eq!(&left, &needed, "neither more nor less");
        let directories: BTreeSet<LayerId> =
            names_in(&root.path().join("snapshots")).iter().map(|name| name.parse().unwrap()).collect();
        prop_assert_eq!(&directories, &needed);
        let after: HashSet<_> = store.images().unwrap().into_iter().map(|image| image.id).collect();
        let named = graph.images.iter().filter(|(_, _, named)| *named).count();
        prop_assert_eq!(after.len(), if images_too { named } else { before.len() });
        prop_assert!(after.is_subset(&before));
        let (layer_bytes, blob_bytes) = { let usage = store.usage().unwrap(); (usage.layer_bytes, usage.blob_bytes) };
        if let (Some(keep), true, None) = (options.keep_bytes, options.all, options.older_than) {
            let records_left = store.all_records().unwrap().iter().any(|record| record.output.is_some());
            prop_assert!(layer_bytes + blob_bytes <= keep || !records_left);
        }
        prop_assert!(names_in(&root.path().join("trash")).is_empty());
    }
}
