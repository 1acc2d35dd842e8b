//! Cache mounts: who gets which directory, what survives, what goes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use builder_cache::{CacheDirectory, Error, PruneOptions, Store, TakenMount};
use builder_solver::Sharing;
use common::{PutRecord as _, boot, child, key, layer, names_in, ready, record, store};

/// What the children of the other tests do; nothing when run by itself.
#[test]
fn role() {
    let Some((role, root)) = common::role() else { return };
    let store = Store::open(&root).unwrap();
    match role.as_str() {
        "lock" => {
            let mount = take(&store, "k", Sharing::Locked);
            fs::write(mount.path().join("half"), "half").unwrap();
            ready();
        }
        "die while filling" => {
            let fill = |path: &Path| {
                fs::write(path.join("half"), "half").unwrap();
                ready();
                Ok::<_, Error>(())
            };
            let _ = store.take_mount(&key("k"), "k", Sharing::Shared, fill);
        }
        other => panic!("no role {other}"),
    }
}

fn try_take(store: &Store, name: &str, sharing: Sharing) -> TakenMount {
    let fill = |path: &Path| {
        assert!(names_in(path).is_empty());
        fs::write(path.join("seed"), "seed").at(path)
    };
    store.take_mount(&key(name), name, sharing, fill).unwrap()
}

trait At {
    fn at(self, path: &Path) -> Result<(), Error>;
}

impl At for std::io::Result<()> {
    fn at(self, path: &Path) -> Result<(), Error> {
        self.map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })
    }
}

#[track_caller]
fn take(store: &Store, name: &str, sharing: Sharing) -> CacheDirectory {
    match try_take(store, name, sharing) {
        TakenMount::Ready(directory) => directory,
        TakenMount::Busy(_) => panic!("{name} is busy"),
    }
}

fn path(store: &Store, name: &str, sharing: Sharing) -> PathBuf {
    take(store, name, sharing).path().to_owned()
}

#[test]
fn a_cache_is_found_again_with_what_is_in_it() {
    let (root, store) = store();
    let first = take(&store, "k", Sharing::Shared);
    assert_eq!(names_in(first.path()), ["seed"]);
    fs::write(first.path().join("more"), "more").unwrap();
    assert!(first.path().starts_with(root.path().join("mounts")));
    let place = first.path().to_owned();
    drop((first, store));
    let store = Store::open(root.path()).unwrap();
    for sharing in [Sharing::Shared, Sharing::Private, Sharing::Locked] {
        assert_eq!(path(&store, "k", sharing), place, "{sharing:?}");
    }
    assert_ne!(path(&store, "other", Sharing::Shared), place);
    assert_eq!(names_in(&place), ["more", "seed"]);
    let usage = store.usage().unwrap();
    assert_eq!(usage.mounts.len(), 2);
    let mount = usage.mounts.iter().find(|mount| mount.name == "k").unwrap();
    assert_eq!((mount.size, mount.files, mount.uses), (8, 2, 4));
    assert_eq!((usage.mount_bytes, usage.reclaimable_bytes), (12, 12));
}

#[test]
fn sharing_decides_who_gets_which_directory() {
    let (_root, store) = store();
    let first = take(&store, "k", Sharing::Shared);
    let second = take(&store, "k", Sharing::Shared);
    assert_eq!(first.path(), second.path());
    let private = take(&store, "k", Sharing::Private);
    let other = take(&store, "k", Sharing::Private);
    assert!(private.path() != first.path() && other.path() != first.path() && private.path() != other.path());
    // What was one's own is found again when it is free, whoever asks.
    let free = private.path().to_owned();
    drop(private);
    assert_eq!(path(&store, "k", Sharing::Private), free);
    drop((first, second, other));
    assert_eq!(store.usage().unwrap().mounts.len(), 3);
    let alone = take(&store, "k", Sharing::Private);
    assert_ne!(path(&store, "k", Sharing::Shared), alone.path(), "what somebody has alone is not shared");
}

#[test]
fn a_locked_cache_is_waited_for() {
    let (_root, store) = store();
    let first = take(&store, "k", Sharing::Locked);
    let place = first.path().to_owned();
    let TakenMount::Busy(busy) = try_take(&store, "k", Sharing::Locked) else { panic!("it is locked") };
    let (sender, receiver) = channel();
    let waiting = thread::spawn(move || {
        let taken = busy.wait().unwrap();
        sender.send(()).unwrap();
        taken.path().to_owned()
    });
    assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err(), "it does not wait");
    drop(first);
    receiver.recv().unwrap();
    assert_eq!(waiting.join().unwrap(), place);
    assert_eq!(store.usage().unwrap().mounts.len(), 1);
}

#[test]
fn a_killed_process_lets_go() {
    let (root, store) = common::store();
    let mut holder = child("lock", root.path());
    holder.wait_ready();
    let TakenMount::Busy(busy) = try_take(&store, "k", Sharing::Locked) else { panic!("it is locked") };
    let waiting = thread::spawn(move || busy.wait().unwrap().path().to_owned());
    holder.kill();
    let place = waiting.join().unwrap();
    assert_eq!(names_in(&place), ["half", "seed"], "what it wrote is kept, as in any cache");

    let (root, store) = common::store();
    let mut filling = child("die while filling", root.path());
    filling.wait_ready();
    filling.kill();
    drop(store);
    let store = Store::open(root.path()).unwrap();
    assert_eq!(names_in(&path(&store, "k", Sharing::Shared)), ["seed"], "half of one is not found");
    assert_eq!(names_in(&root.path().join("mounts")).len(), 1);
}

#[test]
fn one_that_can_not_be_filled_is_not_there() {
    let (root, store) = store();
    let error = store.take_mount(&key("k"), "k", Sharing::Shared, |path| {
        fs::write(path.join("x"), "x").unwrap();
        Err(Error::NoLayer(layer(&store, "x")))
    });
    assert!(error.is_err());
    assert!(names_in(&root.path().join("mounts")).is_empty());
    assert_eq!(names_in(&path(&store, "k", Sharing::Shared)), ["seed"]);
}

#[test]
fn a_prune_takes_them_when_it_is_told_to() {
    let (root, store) = store();
    store.insert(&record("step", &[layer(&store, "12345")], &[])).unwrap();
    for name in ["old", "new"] {
        take(&store, name, Sharing::Shared);
    }
    let db = rusqlite::Connection::open(root.path().join("builder.db")).unwrap();
    db.execute("UPDATE mounts SET last_used_ms = last_used_ms - 3600000 WHERE name = 'old'", []).unwrap();
    drop(db);
    let mounts = |options: PruneOptions| {
        let pruned = store.prune(&options).unwrap();
        (pruned.mounts, pruned.records, pruned.freed)
    };
    let in_use = take(&store, "new", Sharing::Shared);
    assert!(matches!(store.prune(&PruneOptions { all: true, ..PruneOptions::default() }), Err(Error::InUse { .. })));
    drop(in_use);
    let only = PruneOptions { only_mounts: true, ..PruneOptions::default() };
    let older_than = Some(Duration::from_mins(30));
    assert_eq!(mounts(PruneOptions { dry_run: true, ..only.clone() }), (2, 0, 8));
    assert_eq!(mounts(PruneOptions { older_than, ..only.clone() }), (1, 0, 4));
    assert_eq!(names_in(&root.path().join("mounts")).len(), 1);
    assert_eq!(mounts(PruneOptions { keep_bytes: Some(9), all: true, ..PruneOptions::default() }), (0, 0, 0));
    assert_eq!(mounts(PruneOptions::default()), (0, 1, 5), "steps only, unless all goes");
    assert_eq!(mounts(PruneOptions { all: true, only_records: true, ..PruneOptions::default() }), (0, 0, 0));
    assert_eq!(mounts(PruneOptions { all: true, ..PruneOptions::default() }), (1, 0, 4));
    assert!(names_in(&root.path().join("mounts")).is_empty() && store.usage().unwrap().mounts.is_empty());
    assert_eq!(names_in(&path(&store, "new", Sharing::Shared)), ["seed"]);
}

#[test]
fn the_least_recently_used_go_first_whatever_they_are() {
    let (root, store) = store();
    store.insert(&record("step", &[layer(&store, "1234")], &[])).unwrap();
    take(&store, "mount", Sharing::Shared);
    let db = rusqlite::Connection::open(root.path().join("builder.db")).unwrap();
    let keep = PruneOptions { keep_bytes: Some(4), all: true, dry_run: true, ..PruneOptions::default() };
    for (older, newer, taken) in [("mounts", "records", (1, 0)), ("records", "mounts", (0, 1))] {
        db.execute(&format!("UPDATE {older} SET last_used_ms = 1"), []).unwrap();
        db.execute(&format!("UPDATE {newer} SET last_used_ms = 2"), []).unwrap();
        let pruned = store.prune(&keep).unwrap();
        assert_eq!((pruned.mounts, pruned.records, pruned.freed), (taken.0, taken.1, 4), "{older}");
    }
}

#[test]
fn a_power_cut_takes_what_may_be_half_written() {
    let root = tempfile::tempdir().unwrap();
    let store = boot(root.path(), 1);
    drop(take(&store, "kept", Sharing::Shared));
    drop(take(&store, "used again", Sharing::Shared));
    let during = take(&store, "used during the sync", Sharing::Shared);
    assert!(store.unsynced().unwrap());
    store.sync().unwrap();
    assert!(store.unsynced().unwrap(), "one is still written to");
    drop(during);
    drop(take(&store, "used again", Sharing::Shared));
    drop(take(&store, "new", Sharing::Shared));
    drop(store);
    let names = |boots| {
        let store = boot(root.path(), boots);
        store.usage().unwrap().mounts.into_iter().map(|mount| mount.name).collect::<BTreeSet<_>>()
    };
    let all = ["kept", "used again", "used during the sync", "new"].map(str::to_owned);
    assert_eq!(names(1), BTreeSet::from(all), "a killed process loses nothing");
    assert_eq!(names(2), BTreeSet::from(["kept".to_owned()]));
    assert_eq!(names_in(&root.path().join("mounts")).len(), 1);
}

/// Links of a cache lead out of it for nobody who measures or removes it.
#[test]
fn hostile_contents_hurt_nobody() {
    let (root, store) = store();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("large"), vec![0; 10_000]).unwrap();
    let mount = take(&store, "k", Sharing::Shared);
    std::os::unix::fs::symlink(outside.path(), mount.path().join("link")).unwrap();
    std::os::unix::fs::symlink(".", mount.path().join("loop")).unwrap();
    fs::hard_link(mount.path().join("seed"), mount.path().join("again")).unwrap();
    let mut directory = fs::File::open(mount.path()).unwrap();
    // Deeper than a path can name.
    let name = "deep".repeat(50);
    for _ in 0..30 {
        rustix::fs::mkdirat(&directory, &name, rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
        directory = rustix::fs::openat(&directory, &name, flags, rustix::fs::Mode::empty()).unwrap().into();
    }
    drop((directory, mount));
    let usage = store.usage().unwrap();
    assert!(usage.mount_bytes < 1000, "{}", usage.mount_bytes);
    store.prune(&PruneOptions { only_mounts: true, ..PruneOptions::default() }).unwrap();
    assert!(outside.path().join("large").exists() && names_in(&root.path().join("mounts")).is_empty());
}
