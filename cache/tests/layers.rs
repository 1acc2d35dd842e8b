//! Layers: directories that appear whole.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use builder_cache::{BlobDigest, DiffId, Error, LayerId, LayerMeta, content::chain_content};
use common::{chain, content, layer, layer_with, names_in, store};

#[test]
fn a_layer_keeps_what_is_known_of_it() {
    let (_root, store) = store();
    let base = layer(&store, "base");
    let meta = LayerMeta {
        content: Some(content("c")),
        diff_id: Some(DiffId::of(b"tar")),
        tar_size: Some(3),
        chain_id: Some("sha256:abc".to_owned()),
        base: Some(base),
        size: 7,
        files: 1,
        empty: false,
        created_ms: 12,
        source_blob: Some(BlobDigest::of(b"blob")),
    };
    let active = store.new_layer().unwrap();
    let id = active.id();
    assert_eq!(active.commit(meta.clone()).unwrap(), id);
    assert_eq!(store.layer(&id).unwrap().meta, meta);
    assert_eq!(store.layer_by_chain_id("sha256:abc").unwrap(), Some(id));
    assert_eq!(store.layer_by_chain_id("sha256:abd").unwrap(), None);
    store.set_layer_content(&id, &content("d")).unwrap();
    store.set_layer_diff_id(&id, &DiffId::of(b"other"), 9).unwrap();
    let changed = store.layer(&id).unwrap().meta;
    assert_eq!(
        (changed.content, changed.diff_id, changed.tar_size),
        (Some(content("d")), Some(DiffId::of(b"other")), Some(9))
    );
}

#[test]
fn upper_and_work_are_fresh_and_vanish() {
    let (root, store) = store();
    let active = store.new_layer().unwrap();
    assert_eq!(fs::metadata(active.upper()).unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(names_in(active.upper()).is_empty() && names_in(active.work()).is_empty());
    // What overlay leaves there.
    fs::create_dir_all(active.work().join("work/incompat/volatile")).unwrap();
    fs::set_permissions(active.work().join("work"), fs::Permissions::from_mode(0o0)).unwrap();
    fs::write(active.upper().join("x"), "").unwrap();
    let id = active.commit(LayerMeta::default()).unwrap();
    assert_eq!(store.part_dirs(&id).unwrap(), [root.path().join(format!("snapshots/{id}/fs"))]);
    assert_eq!(names_in(&store.part_dirs(&id).unwrap()[0]), ["x"]);
    let dropped = store.new_layer().unwrap();
    let paths = [dropped.upper().to_owned(), dropped.work().to_owned()];
    fs::write(dropped.upper().join("x"), "").unwrap();
    drop(dropped);
    assert!(paths.iter().all(|path| !path.exists()));
    drop(store);
    assert!(names_in(&root.path().join("active")).is_empty());
    assert!(names_in(&root.path().join("trash")).is_empty());
}

#[test]
fn chains_are_expanded_topmost_first() {
    let (_root, store) = store();
    let base = layer(&store, "base");
    let delta = layer_with(&store, "delta", LayerMeta { base: Some(base), ..LayerMeta::default() });
    let empty = layer_with(&store, "", LayerMeta { empty: true, ..LayerMeta::default() });
    let same = layer_with(&store, "", LayerMeta { empty: true, base: Some(delta), ..LayerMeta::default() });
    let top = layer(&store, "top");
    let files = |directories: Vec<std::path::PathBuf>| -> Vec<String> {
        directories.iter().map(|directory| fs::read_to_string(directory.join("file")).unwrap()).collect()
    };
    assert_eq!(files(store.part_dirs(&delta).unwrap()), ["delta", "base"]);
    assert_eq!(files(store.part_dirs(&same).unwrap()), ["delta", "base"]);
    assert_eq!(files(store.part_dirs(&empty).unwrap()), [] as [&str; 0]);
    assert_eq!(files(store.lower_dirs(&chain(&[base, delta, empty, top])).unwrap()), ["top", "delta", "base", "base"]);
}

#[test]
fn a_layer_that_is_not_there_is_named() {
    let (_root, store) = store();
    let absent: LayerId = "00000000000000aa".parse().unwrap();
    let there = layer(&store, "x");
    assert!(matches!(store.layer(&absent), Err(Error::NoLayer(id)) if id == absent));
    assert!(matches!(store.part_dirs(&absent), Err(Error::NoLayer(_))));
    assert!(matches!(store.lower_dirs(&chain(&[there, absent])), Err(Error::NoLayer(_))));
    assert!(matches!(store.set_layer_content(&absent, &content("x")), Err(Error::NoLayer(_))));
    assert!(matches!(store.set_layer_diff_id(&absent, &DiffId::of(b""), 0), Err(Error::NoLayer(_))));
    let delta = store.new_layer().unwrap();
    let error = delta.commit(LayerMeta { base: Some(absent), ..LayerMeta::default() });
    assert!(matches!(error, Err(Error::NoLayer(_))));
    assert_eq!(names_in(&store.root().join("snapshots")), [there.to_string()], "a failed commit leaves nothing");
}

#[test]
fn the_content_of_a_chain_needs_that_of_its_layers() {
    let (_root, store) = store();
    let known = |name| layer_with(&store, name, LayerMeta { content: Some(content(name)), ..LayerMeta::default() });
    let (a, b) = (known("a"), known("b"));
    let empty = layer_with(&store, "", LayerMeta { empty: true, ..LayerMeta::default() });
    let unknown = layer(&store, "u");
    let of = |layers: &[LayerId]| store.snapshot_content(&chain(layers)).unwrap();
    assert_eq!(of(&[a, b]), Some(chain_content(&[content("a"), content("b")])));
    assert_eq!(of(&[a, empty, b]), of(&[a, b]));
    assert_ne!(of(&[b, a]), of(&[a, b]));
    assert_eq!(of(&[a, unknown]), None);
    assert_eq!(of(&[]), Some(chain_content(&[])));
}

#[test]
fn the_index_of_a_context_is_replaced_whole() {
    let (_root, store) = store();
    let context = std::path::Path::new("/some/context");
    let index = store.context_index(context);
    assert!(!index.exists());
    for bytes in [b"one".as_slice(), b"two"] {
        store.replace_context_index(context, bytes).unwrap();
        assert_eq!(fs::read(&index).unwrap(), bytes);
    }
    assert_ne!(index, store.context_index(std::path::Path::new("/some/other")));
}
