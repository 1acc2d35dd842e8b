//! Opening, creating, refusing.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use builder_cache::{Error, OpenOptions, Store};
use builder_solver::Records;
use common::{PutRecord as _, boot, key, layer, record, store};

#[test]
fn a_new_store_is_an_oci_layout_that_only_its_owner_reads() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b");
    let store = Store::open(&path).unwrap();
    assert_eq!(store.root(), path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_to_string(path.join("oci-layout")).unwrap(), r#"{"imageLayoutVersion":"1.0.0"}"#);
    assert!(fs::read_to_string(path.join("index.json")).unwrap().contains(r#""manifests":[]"#));
    assert!(store.images().unwrap().is_empty());
    assert!(!store.unsynced().unwrap());
}

#[test]
fn a_newer_store_is_refused() {
    let (root, store) = store();
    drop(store);
    let db = rusqlite::Connection::open(root.path().join("builder.db")).unwrap();
    db.pragma_update(None, "user_version", 1000).unwrap();
    let error = Store::open(root.path()).unwrap_err();
    assert!(matches!(error, Error::NewerStore { found: 1000, .. }), "{error:?}");
    assert!(error.to_string().contains("use a newer builder"), "{error}");
}

#[test]
fn a_damaged_database_is_named() {
    let (root, store) = store();
    drop(store);
    let database = root.path().join("builder.db");
    fs::remove_file(root.path().join("builder.db-wal")).unwrap();
    fs::write(&database, "this is no database at all, but it is longer than a header of one hundred bytes would be")
        .unwrap();
    let error = Store::open(root.path()).unwrap_err();
    assert!(matches!(&error, Error::DamagedDatabase { path, .. } if *path == database), "{error:?}");
}

#[test]
fn a_database_that_was_cut_to_nothing_is_no_new_store() {
    let (root, store) = store();
    let id = layer(&store, "content");
    drop(store);
    let database = root.path().join("builder.db");
    fs::remove_file(root.path().join("builder.db-wal")).unwrap();
    fs::write(&database, "").unwrap();
    let error = Store::open(root.path()).unwrap_err();
    assert!(matches!(&error, Error::DamagedDatabase { path, .. } if *path == database), "{id}: {error:?}");
}

#[test]
fn a_root_that_is_no_directory_is_an_error_with_its_path() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("store")).unwrap_err();
    assert!(error.to_string().contains("file/store"), "{error}");
}

#[test]
fn looking_up_writes_nothing() {
    let (root, store) = store();
    let id = layer(&store, "x");
    store.insert(&record("a", &[id], &[])).unwrap();
    store.sync().unwrap();
    drop(store);
    let state = || {
        ["builder.db", "builder.db-wal"].map(|name| {
            let file = fs::metadata(root.path().join(name)).unwrap();
            (file.len(), file.modified().unwrap())
        })
    };
    let before = state();
    let store = Store::open(root.path()).unwrap();
    let _lease = store.lease().unwrap();
    assert!(store.by_recipe(&key("a")).unwrap().is_some());
    store.lower_dirs(&common::chain(&[id])).unwrap();
    store.flush_uses().unwrap();
    assert!(!store.unsynced().unwrap());
    store.sync().unwrap();
    drop(store);
    assert_eq!(state(), before);
    assert_eq!(common::names_in(&root.path().join("active")), [] as [&str; 0]);
}

#[test]
fn two_stores_of_one_root_see_each_other() {
    let (root, one) = store();
    let two = Store::open(root.path()).unwrap();
    std::thread::scope(|scope| {
        for (store, prefix) in [(&one, "one"), (&two, "two")] {
            scope.spawn(move || {
                for number in 0..100 {
                    let id = layer(store, &format!("{prefix} {number}"));
                    store.insert(&record(&format!("{prefix} {number}"), &[id], &[])).unwrap();
                    store.put_blob(format!("both {number}").as_bytes()).unwrap();
                }
            });
        }
    });
    for number in 0..100 {
        assert!(two.by_recipe(&key(&format!("one {number}"))).unwrap().is_some());
        assert!(one.by_recipe(&key(&format!("two {number}"))).unwrap().is_some());
    }
    assert_eq!(one.usage().unwrap().blobs, 100);
    assert_eq!(one.usage().unwrap().layers.len(), 200);
}

#[test]
fn errors_of_the_disk_say_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    drop(boot(root.path(), 1));
    let missing = root.path().join("snapshots");
    fs::remove_dir(&missing).unwrap();
    let store = boot(root.path(), 1);
    let layer = store.new_layer().unwrap();
    let error = layer.commit(builder_cache::LayerMeta::default()).unwrap_err();
    assert!(error.to_string().contains("snapshots"), "{error}");
    drop(store);
    let error = OpenOptions::new().boot_id("boot 2").open(root.path()).unwrap_err();
    assert!(error.to_string().contains("snapshots"), "{error}");
}
