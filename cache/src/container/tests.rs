use super::*;
use crate::layer::LayerMeta;
use crate::prune::PruneImagesOptions;
use crate::store::OpenOptions;

fn open(root: &Path, boot: &str) -> Store {
    OpenOptions::new().boot_id(boot).open(root).unwrap()
}

fn new(store: &Store, name: &str) -> NewContainer {
    let image = store.put_blob(name.as_bytes()).unwrap();
    let layer = store.new_layer().unwrap().commit(LayerMeta::default()).unwrap();
    let id = ContainerId::random().unwrap();
    NewContainer { id, name: name.into(), image, snapshot: Snapshot::scratch().with(layer), description: "{}".into() }
}

#[test]
fn a_container_goes_through_its_states() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "boot");
    let held = store.create_container(&new(&store, "one")).unwrap();
    let (id, state) = (held.id(), |store: &Store, id| store.container(&id).unwrap().map(|found| found.state()));
    assert_eq!(state(&store, id), Some(ContainerState::Created));
    held.started(Holder { pid: 7, root: 3 }).unwrap();
    assert_eq!(state(&store, id), Some(ContainerState::Running));
    assert!(store.hold_container(&id, false).unwrap().is_none(), "it runs");
    fs::write(held.upper().join("file"), "x").unwrap();
    held.finished(3).unwrap();
    drop(held);
    let found = store.container(&id).unwrap().unwrap();
    assert_eq!((found.state(), found.exit_code, found.holder), (ContainerState::Exited, 3, None));
    store.hold_container(&id, false).unwrap().unwrap().remove().unwrap();
    assert_eq!(state(&store, id), None);
    assert!(matches!(store.hold_container(&id, false), Err(Error::NoContainer(_))));
    assert_eq!(fs::read_dir(root.path().join("containers")).unwrap().count(), 0);
}

#[test]
fn one_that_was_killed_with_its_builder_has_ended() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "boot");
    let held = store.create_container(&new(&store, "one")).unwrap();
    held.started(Holder { pid: 7, root: 3 }).unwrap();
    // As the kernel does it when the process dies.
    drop(held);
    let found = store.containers().unwrap();
    assert_eq!((found[0].state(), found[0].exit_code), (ContainerState::Exited, 137));
}

#[test]
fn names_are_taken_once() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "boot");
    let wanted = new(&store, "one");
    let held = store.create_container(&wanted).unwrap();
    let other = NewContainer { id: ContainerId::random().unwrap(), ..wanted.clone() };
    let Err(Error::ContainerName { id, .. }) = store.create_container(&other) else { panic!("taken") };
    assert_eq!(id, held.id());
    assert_eq!(fs::read_dir(root.path().join("containers")).unwrap().count(), 1);
    held.remove().unwrap();
    store.create_container(&wanted).unwrap();
}

#[test]
fn a_power_cut_takes_what_was_not_flushed() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "one");
    let run = |store: &Store, name: &str, end: bool| {
        let held = store.create_container(&new(store, name)).unwrap();
        held.started(Holder { pid: 7, root: 3 }).unwrap();
        if end {
            held.finished(0).unwrap();
        }
        held
    };
    let (flushed, running) = (run(&store, "flushed", true), run(&store, "running", false));
    let changed = run(&store, "changed", true);
    store.sync().unwrap();
    changed.changing().unwrap();
    assert!(store.unsynced().unwrap());
    // What is copied into it after the flush is not flushed.
    store.sync().unwrap();
    assert!(store.unsynced().unwrap());
    let copied = run(&store, "copied", true);
    copied.changing().unwrap();
    drop(copied);
    store.sync().unwrap();
    let late = run(&store, "late", true);
    drop((flushed, running, changed, late, store));
    let store = open(root.path(), "two");
    let names: Vec<_> = store.containers().unwrap().into_iter().map(|container| container.name).collect();
    assert_eq!(names, ["copied", "flushed"]);
    store.collect_garbage().unwrap();
    assert_eq!(fs::read_dir(root.path().join("containers")).unwrap().count(), 2);
}

#[test]
fn what_a_container_runs_on_is_not_pruned() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "boot");
    let wanted = new(&store, "one");
    store.create_container(&wanted).unwrap().finished(0).unwrap();
    drop(store);
    let store = open(root.path(), "boot");
    store.prune_images(&PruneImagesOptions { all: true, ..Default::default() }).unwrap();
    assert!(store.layer(&wanted.snapshot.layers[0]).is_ok() && store.has_blob(&wanted.image).unwrap());
    let container = store.containers_of(&wanted.image).unwrap().remove(0);
    store.hold_container(&container.id, false).unwrap().unwrap().remove().unwrap();
    drop(store);
    let store = open(root.path(), "boot");
    store.prune_images(&PruneImagesOptions { all: true, ..Default::default() }).unwrap();
    assert!(store.layer(&wanted.snapshot.layers[0]).is_err());
}
