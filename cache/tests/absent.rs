//! Layers whose files are elsewhere until somebody wants them.

mod common;

use std::fs;
use std::sync::{Arc, Mutex};

use builder_cache::{
    AbsentLayer, BlobDigest, BlobInfo, DiffId, Error, Fill, LayerId, LayerMeta, LayerSource, Provider, ProviderError,
    PruneImagesOptions, Snapshot, Store,
};
use builder_solver::Records;
use common::{PutRecord as _, boot, chain, child, content, image, key, layer, names_in, ready, record, store};

fn source(name: &str, location: &str) -> LayerSource {
    let blob = BlobInfo { digest: BlobDigest::of(name.as_bytes()), size: 7 };
    LayerSource { blob, media_type: "tar".to_owned(), location: location.to_owned(), recipe: None }
}

fn absent(name: &str) -> AbsentLayer {
    AbsentLayer {
        diff_id: DiffId::of(name.as_bytes()),
        tar_size: None,
        chain_id: format!("chain of {name}"),
        content: None,
        empty: false,
        created_ms: None,
        parent: None,
        built: false,
        source: source(name, "far away"),
    }
}

/// Writes the layer's id into it, and counts.
#[derive(Debug, Default)]
struct Counting {
    asked: Mutex<Vec<Vec<LayerId>>>,
    lazy: bool,
}

impl Provider for Counting {
    fn layers(&self, store: &Store, layers: &[LayerId]) -> Result<(), ProviderError> {
        self.asked.lock().expect("nobody panics").push(layers.to_vec());
        if self.lazy {
            return Ok(());
        }
        for id in layers {
            if let Some(active) = store.fill_layer(id)? {
                fs::write(active.upper().join("file"), id.to_string())?;
                active.commit(LayerMeta { size: 16, files: 1, ..LayerMeta::default() })?;
            }
        }
        Ok(())
    }

    fn blob(&self, store: &Store, source: &LayerSource) -> Result<(), ProviderError> {
        if source.location == "gone" {
            return Err("it is gone".into());
        }
        store.put_blob(b"blob")?;
        Ok(())
    }
}

fn provider(store: &Store, lazy: bool) -> Arc<Counting> {
    let provider = Arc::new(Counting { lazy, ..Counting::default() });
    store.set_provider(Arc::clone(&provider) as Arc<dyn Provider>);
    provider
}

#[test]
fn it_is_known_before_it_is_there_and_filled_when_somebody_reads_it() {
    let (root, store) = store();
    let [a, b, empty] = ["a", "b", "e"].map(|name| {
        let layer = AbsentLayer { empty: name == "e", content: Some(content(name)), ..absent(name) };
        store.put_absent_layer(&layer).unwrap()
    });
    let there = layer(&store, "there");
    let snapshot = chain(&[a, there, empty, b]);
    let known = store.layer(&a).unwrap();
    assert!(known.absent && !store.layer(&there).unwrap().absent);
    assert_eq!((known.meta.diff_id, known.meta.size), (Some(DiffId::of(b"a")), 0));
    assert_eq!(store.layer_by_chain_id("chain of a").unwrap(), Some(a));
    assert!(store.snapshot_content(&chain(&[a, b])).unwrap().is_some(), "content keys need no files");
    assert_eq!(store.absent(&snapshot).unwrap(), [a, b], "nobody asks for the files of an empty layer");
    store.insert(&record("step", &[a, there], &[])).unwrap();
    let id = image(&store, "image", &snapshot.layers, None);
    assert_eq!(names_in(&root.path().join("snapshots")), [there.to_string()]);
    assert!(!store.usage().unwrap().layers.iter().any(|layer| layer.id == a && layer.size > 0));

    // Nothing can bring them.
    let error = store.lower_dirs(&snapshot).unwrap_err();
    assert!(matches!(&error, Error::Absent { layer, location } if *layer == a && location == "far away"), "{error}");
    // Something says that it did, and did not.
    provider(&store, true);
    assert!(matches!(store.provide(&[b]), Err(Error::Absent { .. })));

    let counting = provider(&store, false);
    let directories = store.lower_dirs(&snapshot).unwrap();
    let texts: Vec<_> = directories.iter().map(|path| fs::read_to_string(path.join("file")).unwrap()).collect();
    assert_eq!(texts, [b.to_string(), "there".to_owned(), a.to_string()]);
    assert_eq!(*counting.asked.lock().unwrap(), [vec![a, b]], "all in one go");
    store.part_dirs(&a).unwrap();
    store.provide(&snapshot.layers).unwrap();
    assert_eq!(counting.asked.lock().unwrap().len(), 1, "and once");
    let filled = store.layer(&a).unwrap();
    assert!(!filled.absent);
    assert_eq!((filled.meta.size, filled.meta.files, filled.meta.diff_id), (16, 1, Some(DiffId::of(b"a"))));
    assert_eq!((filled.meta.content, filled.meta.chain_id), (Some(content("a")), Some("chain of a".to_owned())));
    assert_eq!(store.image(&id).unwrap().unwrap().size, 1 + 32, "the image has grown by its files");
    assert!(store.by_recipe(&key("step")).unwrap().is_some());
}

#[test]
fn the_same_layer_from_two_places_is_one() {
    let (_root, store) = store();
    let first = store.put_absent_layer(&absent("a")).unwrap();
    let again = AbsentLayer { source: source("a", "near"), ..absent("a") };
    for _ in 0..2 {
        assert_eq!(store.put_absent_layer(&again).unwrap(), first);
    }
    store.add_layer_source(&first, &source("a", "very near")).unwrap();
    let places = |id: &LayerId| -> Vec<String> {
        store.layer_sources(id).unwrap().into_iter().map(|source| source.location).collect()
    };
    assert_eq!(places(&first), ["very near", "near", "far away"]);
    // Whoever asked last is asked first, and with what was said last.
    let mut right = absent("a");
    right.source.blob.size = 8;
    assert_eq!(store.put_absent_layer(&right).unwrap(), first);
    assert_eq!(places(&first), ["far away", "very near", "near"]);
    assert_eq!(store.layer_sources(&first).unwrap()[0].blob.size, 8);
    store.add_layer_source(&first, &source("a", "near")).unwrap();
    assert_eq!(places(&first), ["near", "far away", "very near"]);
    // One whose files are there gains the place, too.
    let active = store.new_layer().unwrap();
    let there = active.commit(LayerMeta { chain_id: Some("chain of b".to_owned()), ..LayerMeta::default() }).unwrap();
    assert_eq!(store.put_absent_layer(&absent("b")).unwrap(), there);
    assert!(!store.layer(&there).unwrap().absent);
    assert_eq!(places(&there), ["far away"]);
    let nobody: LayerId = "00000000000000aa".parse().unwrap();
    assert!(matches!(store.add_layer_source(&nobody, &source("a", "x")), Err(Error::NoLayer(_))));
}

#[test]
fn one_at_a_time_fills_it() {
    let (root, store) = store();
    let id = store.put_absent_layer(&absent("a")).unwrap();
    let Fill::Take(active) = store.try_fill_layer(&id).unwrap() else { panic!("nobody has it") };
    assert!(matches!(store.try_fill_layer(&id).unwrap(), Fill::Busy));
    // Given up.
    drop(active);
    let mut other = child("fill", root.path());
    other.wait_ready();
    assert!(matches!(store.try_fill_layer(&id).unwrap(), Fill::Busy), "another process has it");
    other.kill();
    // What one left that was killed between renaming and saying so.
    fs::create_dir_all(root.path().join(format!("snapshots/{id}/fs/half"))).unwrap();
    let active = store.fill_layer(&id).unwrap().unwrap();
    assert_eq!(active.id(), id);
    fs::write(active.upper().join("whole"), "").unwrap();
    active.commit(LayerMeta::default()).unwrap();
    assert!(store.fill_layer(&id).unwrap().is_none());
    assert!(matches!(store.try_fill_layer(&id).unwrap(), Fill::Filled));
    assert_eq!(names_in(&store.part_dirs(&id).unwrap()[0]), ["whole"]);
}

/// What [`child`] runs.
#[test]
fn role() {
    let Some((role, root)) = common::role() else { return };
    assert_eq!(role, "fill");
    let store = Store::open(&root).unwrap();
    let id = store.layer_by_chain_id("chain of a").unwrap().unwrap();
    let _active = store.fill_layer(&id).unwrap().unwrap();
    ready();
}

#[test]
fn a_power_cut_makes_it_absent_again() {
    let root = tempfile::tempdir().unwrap();
    let store = boot(root.path(), 1);
    provider(&store, false);
    let [a, b] = ["a", "b"].map(|name| store.put_absent_layer(&absent(name)).unwrap());
    let id = image(&store, "image", &[a, b], None);
    store.tag("name", &id).unwrap();
    store.part_dirs(&a).unwrap();
    store.sync().unwrap();
    store.part_dirs(&b).unwrap();
    assert!(store.unsynced().unwrap());
    drop(store);

    let store = boot(root.path(), 2);
    assert!(!store.layer(&a).unwrap().absent);
    assert!(store.layer(&b).unwrap().absent);
    assert_eq!(names_in(&root.path().join("snapshots")), [a.to_string()]);
    assert_eq!(store.image_by_name("name").unwrap().map(|image| (image.id, image.size)), Some((id, 17)));
    provider(&store, false);
    assert_eq!(store.lower_dirs(&chain(&[a, b])).unwrap().len(), 2);
    store.sync().unwrap();
    drop(store);
    assert!(!boot(root.path(), 3).layer(&b).unwrap().absent);
}

#[test]
fn it_goes_with_its_image() {
    let (root, store) = store();
    let [a, b] = ["a", "b"].map(|name| store.put_absent_layer(&absent(name)).unwrap());
    let kept = image(&store, "kept", &[a], None);
    store.tag("kept", &kept).unwrap();
    image(&store, "image", &[a, b], None);
    fs::create_dir_all(root.path().join(format!("snapshots/{a}/fs"))).unwrap();
    let pruned = store.prune_images(&PruneImagesOptions::default()).unwrap();
    assert_eq!((pruned.images.len(), pruned.layers), (1, 1));
    assert!(store.layer(&a).is_ok() && store.layer(&b).is_err());
    assert!(store.layer_sources(&b).unwrap().is_empty());
    assert_eq!(store.layer_sources(&a).unwrap().len(), 1);
    assert!(names_in(&root.path().join("snapshots")).is_empty(), "what has no files has no directory");
    assert!(matches!(store.absent(&Snapshot::scratch().with(b)), Err(Error::NoLayer(_))));
}

#[test]
fn its_blob_can_be_had_alone() {
    let (_root, store) = store();
    let digest = BlobDigest::of(b"blob");
    let id = store.put_absent_layer(&AbsentLayer { source: source("blob", "here"), ..absent("a") }).unwrap();
    store.add_layer_source(&id, &source("blob", "gone")).unwrap();
    assert!(!store.provide_blob(&id, &digest).unwrap(), "nothing can bring it");
    provider(&store, false);
    assert!(!store.provide_blob(&id, &BlobDigest::of(b"other")).unwrap());
    assert!(store.provide_blob(&id, &digest).unwrap());
    assert!(store.has_blob(&digest).unwrap() && store.layer(&id).unwrap().absent);
    let lost = store.put_absent_layer(&AbsentLayer { source: source("lost", "gone"), ..absent("b") }).unwrap();
    let error = store.provide_blob(&lost, &BlobDigest::of(b"lost")).unwrap_err();
    assert_eq!(error.to_string(), "it is gone");
}
