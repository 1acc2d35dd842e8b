//! Records: found by recipe, by content, by lineage.

mod common;

use builder_cache::{Error, PruneOptions, Snapshot};
use builder_solver::{Record, Records};
use common::{PutRecord as _, chain, key, layer, op, record, store};

#[test]
fn a_record_is_found_by_its_recipe_as_it_was_put() {
    let (_root, store) = store();
    let id = layer(&store, "x");
    let record = Record { content: Some(key("content")), ..record("a", &[id], &["b", "c"]) };
    assert!(store.by_recipe(&record.recipe).unwrap().is_none());
    store.insert(&record).unwrap();
    let found = store.by_recipe(&record.recipe).unwrap().unwrap();
    assert_eq!(format!("{found:?}"), format!("{record:?}"));
    let stored = store.stored_record(&record.recipe).unwrap().unwrap();
    assert_eq!(stored.inputs().collect::<Vec<_>>(), [key("b"), key("c")]);
    assert_eq!((stored.size, stored.hits), (1, 0));
}

#[test]
fn the_newest_record_with_a_content_key_wins() {
    let (_root, store) = store();
    let (old, new) = (layer(&store, "old"), layer(&store, "new"));
    for (name, id, created_ms) in [("a", old, 9), ("b", new, 1)] {
        store.insert(&Record { content: Some(key("same")), created_ms, ..record(name, &[id], &[]) }).unwrap();
    }
    // Newest by order of writing: clocks may go backwards.
    assert_eq!(store.by_content(&key("same")).unwrap().unwrap().output, chain(&[new]));
    assert!(store.by_content(&key("other")).unwrap().is_none());
    store.set_content_key(&key("a"), &key("other")).unwrap();
    assert_eq!(store.by_content(&key("other")).unwrap().unwrap().output, chain(&[old]));
}

#[test]
fn the_last_run_replaces_an_equal_recipe() {
    let (_root, store) = store();
    let (old, new) = (layer(&store, "old"), layer(&store, "new"));
    store.insert(&record("a", &[old], &[])).unwrap();
    store.insert(&record("a", &[new], &[])).unwrap();
    assert_eq!(store.by_recipe(&key("a")).unwrap().unwrap().output, chain(&[new]));
    assert_eq!(store.all_records().unwrap().len(), 1);
}

#[test]
fn a_result_without_its_layers_is_refused() {
    let (_root, store) = store();
    let absent = "00000000000000aa".parse().unwrap();
    assert!(matches!(store.insert(&record("a", &[absent], &[])), Err(Error::NoLayer(_))));
    store.insert(&record("scratch", &[], &[])).unwrap();
    assert_eq!(store.by_recipe(&key("scratch")).unwrap().unwrap().output, Snapshot::scratch());
}

#[test]
fn the_nearest_is_of_the_lineage_or_else_of_the_name() {
    let (_root, store) = store();
    let put = |recipe: &str, lineage: &str, name: &str| {
        let record = record(recipe, &[], &[]);
        store.insert(&Record { lineage: lineage.to_owned(), name: name.to_owned(), ..record }).unwrap();
    };
    put("1", "l", "n");
    put("2", "l", "n");
    put("3", "m", "n");
    put("4", "", "");
    let nearest = |lineage, name| store.nearest(lineage, name).unwrap().map(|nearest| nearest.recipe);
    assert_eq!(nearest("l", "n"), Some(key("2")));
    assert_eq!(nearest("x", "n"), Some(key("3")));
    assert_eq!(nearest("x", "y"), None);
    assert_eq!(nearest("", ""), None);
}

#[test]
fn an_evicted_record_explains_but_is_no_hit() {
    let (_root, store) = store();
    let id = layer(&store, "x");
    let record = Record { content: Some(key("content")), ..record("a", &[id], &["b"]) };
    store.insert(&record).unwrap();
    assert!(store.has_op(&op("a")).unwrap());
    assert_eq!(store.prune(&PruneOptions::default()).unwrap().records, 1);
    assert!(store.by_recipe(&key("a")).unwrap().is_none());
    assert!(store.by_content(&key("content")).unwrap().is_none());
    assert!(!store.has_op(&op("a")).unwrap());
    let nearest = store.nearest(&record.lineage, "").unwrap().unwrap();
    assert_eq!((nearest.output, nearest.components), (None, record.components.clone()));
    assert_eq!(store.stored_record(&key("a")).unwrap().unwrap().output, None);
    assert_eq!(store.all_records().unwrap().len(), 1);
    let again = layer(&store, "y");
    store.insert(&Record { output: chain(&[again]), ..record }).unwrap();
    assert!(store.by_recipe(&key("a")).unwrap().is_some());
}

#[test]
fn uses_are_written_down_once_an_hour() {
    let (root, store) = store();
    store.insert(&record("a", &[], &[])).unwrap();
    let hits = || store.stored_record(&key("a")).unwrap().unwrap().hits;
    for _ in 0..3 {
        store.by_recipe(&key("a")).unwrap();
    }
    store.flush_uses().unwrap();
    assert_eq!(hits(), 0, "its last use is not an hour old");
    let db = rusqlite::Connection::open(root.path().join("builder.db")).unwrap();
    db.execute("UPDATE records SET last_used_ms = last_used_ms - 3600000", []).unwrap();
    store.by_recipe(&key("a")).unwrap();
    let before = store.stored_record(&key("a")).unwrap().unwrap().last_used_ms;
    store.flush_uses().unwrap();
    assert_eq!(hits(), 4);
    assert!(store.stored_record(&key("a")).unwrap().unwrap().last_used_ms - before >= 3_600_000);
    // A time that a wrong clock put into the future is corrected.
    db.execute("UPDATE records SET last_used_ms = last_used_ms + 86400000", []).unwrap();
    let future = store.stored_record(&key("a")).unwrap().unwrap().last_used_ms;
    store.by_recipe(&key("a")).unwrap();
    store.flush_uses().unwrap();
    assert!(store.stored_record(&key("a")).unwrap().unwrap().last_used_ms < future);
}
