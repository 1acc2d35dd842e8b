//! Several processes, some of them killed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::io::Write;
use std::process::Command;

use builder_cache::{BlobDigest, Error, LayerMeta, PruneOptions, Store};
use builder_solver::Records;
use common::{PutRecord as _, child, key, layer, names_in, ready, record, store};

/// What the children of the other tests do; nothing when run by itself.
#[test]
fn role() {
    let Some((role, root)) = common::role() else { return };
    match role.as_str() {
        "write" => {
            let store = Store::open(&root).unwrap();
            let active = store.new_layer().unwrap();
            fs::write(active.upper().join("file"), "half").unwrap();
            let mut blob = store.blob_writer().unwrap();
            blob.write_all(b"half").unwrap();
            blob.flush().unwrap();
            layer(&store, "finished");
            ready();
        }
        "lock" => {
            let store = Store::open(&root).unwrap();
            let _lock = store.lock_key(&key("k")).unwrap();
            ready();
        }
        "lease" => {
            let store = Store::open(&root).unwrap();
            let _lease = store.lease().unwrap();
            ready();
        }
        "count" => {
            let store = Store::open(&root).unwrap();
            let counter = root.join("counter");
            for _ in 0..200 {
                let _lock = store.lock_key(&key("counter")).unwrap();
                let count: u32 = fs::read_to_string(&counter).map_or(0, |text| text.parse().unwrap());
                fs::write(&counter, (count + 1).to_string()).unwrap();
            }
        }
        "hammer" => {
            let store = Store::open(&root).unwrap();
            let process = std::process::id();
            for number in 0..50 {
                let id = layer(&store, &format!("{process} {number}"));
                store.insert(&record(&format!("{process} {number}"), &[id], &[])).unwrap();
                store.put_blob(format!("shared {number}").as_bytes()).unwrap();
                if number % 10 == 0 {
                    store.sync().unwrap();
                }
            }
        }
        "fill" => {
            let store = Store::open(&root.join("store")).unwrap();
            let kept = store.put_blob(b"kept").unwrap();
            layer(&store, "garbage");
            let error = fill(&store);
            let Error::NoSpace { path, .. } = &error else { panic!("{error:?}") };
            assert!(path.starts_with(store.root()), "{error}");
            assert!(error.to_string().contains("builder prune"), "{error}");
            drop(store);
            let store = Store::open(&root.join("store")).unwrap();
            assert_eq!(store.read_blob(&kept, 4).unwrap(), b"kept");
            assert!(store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap().layers > 0);
            layer(&store, "there is room again");
        }
        other => panic!("no role {other}"),
    }
}

/// Writes until the disk is full.
fn fill(store: &Store) -> Error {
    loop {
        let mut blob = match store.blob_writer() {
            Ok(blob) => blob,
            Err(error) => return error,
        };
        let number = names_in(&store.root().join("blobs/sha256")).len() as u8;
        if blob.write_all(&vec![number; 20_000]).is_err() {
            // The rest of the story: the next thing that the store itself writes.
            drop(blob);
            let active = match store.new_layer() {
                Ok(active) => active,
                Err(error) => return error,
            };
            let mut file = fs::File::create(active.upper().join("file")).unwrap();
            while file.write_all(&[1; 512]).is_ok() {}
            return store.put_blob(&vec![2; 100_000]).unwrap_err();
        }
        if let Err(error) = blob.commit(None) {
            return error;
        }
    }
}

#[test]
fn a_killed_writer_leaves_what_it_finished_and_nothing_else() {
    let (root, store) = store();
    let mut writer = child("write", root.path());
    writer.wait_ready();
    let active = root.path().join("active");
    let snapshot = names_in(&root.path().join("snapshots"));
    assert_eq!(snapshot.len(), 1);
    let alive = names_in(&active);
    assert_eq!(alive.len(), 2, "the session and its lock");
    drop(Store::open(root.path()).unwrap());
    assert_eq!(names_in(&active), alive, "a living writer is spared");
    assert!(matches!(store.prune(&PruneOptions::default()), Err(Error::InUse { .. })));
    writer.kill();

    drop(store);
    let store = Store::open(root.path()).unwrap();
    assert!(names_in(&active).is_empty());
    assert!(!store.has_blob(&BlobDigest::of(b"half")).unwrap());
    assert_eq!(names_in(&root.path().join("snapshots")), snapshot);
    let pruned = store.prune(&PruneOptions::default()).unwrap();
    assert_eq!(pruned.layers, 1, "nothing refers to it");
    assert!(names_in(&root.path().join("snapshots")).is_empty() && names_in(&root.path().join("trash")).is_empty());
}

#[test]
fn a_key_is_held_by_one_process_and_let_go_by_the_kernel() {
    let (root, store) = store();
    let mut holder = child("lock", root.path());
    holder.wait_ready();
    assert!(store.try_lock_key(&key("k")).unwrap().is_none());
    assert!(store.try_lock_key(&key("other")).unwrap().is_some());
    let waiting = std::thread::spawn({
        let store = store.clone();
        move || store.lock_key(&key("k")).unwrap()
    });
    holder.kill();
    let lock = waiting.join().unwrap();
    assert!(store.try_lock_key(&key("k")).unwrap().is_none());
    drop(lock);
    assert!(names_in(&root.path().join("locks")).is_empty());
    drop(store.try_lock_key(&key("k")).unwrap().unwrap());
}

#[test]
fn a_lock_file_that_goes_away_lets_nobody_slip_in() {
    let (root, store) = store();
    drop(store);
    let children: Vec<_> = (0..4).map(|_| child("count", root.path())).collect();
    for process in children {
        process.finish();
    }
    assert_eq!(fs::read_to_string(root.path().join("counter")).unwrap(), "800");
    assert!(names_in(&root.path().join("locks")).is_empty());
}

#[test]
fn a_lease_keeps_the_store_until_its_holder_dies() {
    let (root, store) = store();
    layer(&store, "garbage");
    let mut holder = child("lease", root.path());
    holder.wait_ready();
    let error = store.prune(&PruneOptions::default()).unwrap_err();
    assert!(error.to_string().contains("in use by another builder"), "{error}");
    let waiting = std::thread::spawn({
        let store = store.clone();
        move || store.prune(&PruneOptions { wait: true, ..PruneOptions::default() }).unwrap()
    });
    holder.kill();
    assert_eq!(waiting.join().unwrap().layers, 1);
}

#[test]
fn processes_create_and_fill_one_store_together() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store");
    let children: Vec<_> = (0..4).map(|_| child("hammer", &path)).collect();
    let ids: Vec<_> = children.iter().map(common::Process::id).collect();
    for process in children {
        process.finish();
    }
    let store = Store::open(&path).unwrap();
    for id in ids {
        for number in 0..50 {
            let found = store.by_recipe(&key(&format!("{id} {number}"))).unwrap().unwrap();
            let directory = &store.lower_dirs(&found.output).unwrap()[0];
            assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), format!("{id} {number}"));
        }
    }
    assert_eq!(store.usage().unwrap().blobs, 50);
    assert!(names_in(&path.join("active")).is_empty() && names_in(&path.join("locks")).is_empty());
}

#[test]
fn killed_at_any_moment_the_store_stays_whole() {
    let (root, store) = store();
    drop(store);
    for round in 0..8 {
        let mut process = child("hammer", root.path());
        // Let it get somewhere: further in every round.
        while names_in(&root.path().join("snapshots")).len() < round * 5 && process.is_running() {}
        process.kill();
        let store = Store::open(root.path()).unwrap();
        for record in store.all_records().unwrap() {
            let output = record.output.unwrap();
            assert!(store.lower_dirs(&output).unwrap()[0].join("file").exists());
        }
        for name in names_in(&root.path().join("blobs/sha256")) {
            let digest: BlobDigest = format!("sha256:{name}").parse().unwrap();
            if store.has_blob(&digest).unwrap() {
                store.verify_blob(&digest).unwrap();
            }
        }
    }
}

#[test]
fn a_full_disk_is_named_and_can_be_pruned() {
    let root = tempfile::tempdir().unwrap();
    // A small disk, in a mount namespace of its own.
    let script = r#"mount -t tmpfs -o size=8m none "$CACHE_TEST_ROOT" && exec "$0" --exact role --nocapture"#;
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("CACHE_TEST_ROLE", "fill")
        .env("CACHE_TEST_ROOT", root.path())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_dropped_session_does_not_disturb_another() {
    let (root, one) = store();
    let two = Store::open(root.path()).unwrap();
    let layer = two.new_layer().unwrap();
    drop(one.new_layer().unwrap());
    drop(one);
    fs::write(layer.upper().join("file"), "x").unwrap();
    layer.commit(LayerMeta::default()).unwrap();
}
