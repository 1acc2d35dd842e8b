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
    let snapshot = Snapshot::scratch().with(layer);
    let (names, description) = (vec![name.into()], "{}".into());
    NewContainer { id, names, image, snapshot, description, created_ms: 0, remove: false }
}

const HOLDER: Holder = Holder { pid: 7, root: 3 };

fn start(store: &Store, new: NewContainer) -> HeldContainer {
    let mut held = store.create_container(new).unwrap();
    held.started(HOLDER).unwrap();
    held
}

fn directories(root: &Path) -> usize {
    fs::read_dir(root.join("containers")).unwrap().count()
}

#[test]
fn a_container_goes_through_its_states() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "boot");
    let mut held = store.create_container(new(&store, "one")).unwrap();
    let (id, state) = (held.id(), |store: &Store, id| store.container(&id).unwrap().map(|found| found.state()));
    assert_eq!(state(&store, id), None, "nobody sees it yet");
    held.started(HOLDER).unwrap();
    assert_eq!(state(&store, id), Some(ContainerState::Running));
    assert!(store.hold_container(&id, false).unwrap().is_none(), "it runs");
    fs::write(held.upper().join("file"), "x").unwrap();
    held.finished(3).unwrap();
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
    let held = start(&store, new(&store, "one"));
    // As the kernel does it when the process dies.
    drop(held);
    let found = store.containers().unwrap();
    assert_eq!((found[0].state(), found[0].exit_code), (ContainerState::Exited, 137));
}

#[test]
fn one_that_could_not_be_run_was_only_created() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "boot");
    let early = store.create_container(new(&store, "early")).unwrap();
    early.never_ran(125).unwrap();
    start(&store, new(&store, "late")).never_ran(127).unwrap();
    drop(store.create_container(new(&store, "given up")).unwrap());
    let found = store.containers().unwrap();
    let found: Vec<_> = found.iter().map(|found| (found.name.as_str(), found.state(), found.exit_code)).collect();
    assert_eq!(found, [("late", ContainerState::Created, 127), ("early", ContainerState::Created, 125)]);
    assert_eq!(directories(root.path()), 2);
}

#[test]
fn one_that_goes_with_its_end_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "boot");
    let passing = |name: &str| NewContainer { remove: true, ..new(&store, name) };
    let held = start(&store, passing("one"));
    assert_eq!((store.containers().unwrap().len(), store.container(&held.id()).unwrap().unwrap().remove), (1, true));
    assert!(!store.unsynced().unwrap() || store.sync().is_ok());
    assert!(!store.unsynced().unwrap(), "it is not worth a flush");
    held.finished(3).unwrap();
    start(&store, passing("two")).never_ran(127).unwrap();
    store.create_container(passing("three")).unwrap().never_ran(125).unwrap();
    assert_eq!((store.containers().unwrap(), directories(root.path())), (Vec::new(), 0));
}

type Look = fn(&Store, ContainerId) -> bool;

#[test]
fn one_that_goes_with_its_end_goes_when_it_was_killed() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "boot");
    let killed = |name: &str| {
        let held = start(&store, NewContainer { remove: true, ..new(&store, name) });
        fs::write(held.upper().join("file"), "x").unwrap();
        held.id()
    };
    // Whoever looks next.
    let looks: [Look; 6] = [
        |store, _| store.containers().unwrap().is_empty(),
        |store, id| store.container(&id).unwrap().is_none(),
        |store, id| store.hold_container(&id, true).is_err(),
        |store, _| store.collect_garbage().is_ok(),
        |store, _| store.create_container(new(store, "next")).is_ok(),
        // Its name is free again.
        |store, _| start(store, NewContainer { remove: true, ..new(store, "one") }).finished(0).is_ok(),
    ];
    for (number, look) in looks.into_iter().enumerate() {
        assert!(look(&store, killed("one")), "{number}");
        let rows: i64 =
            store.read(|db| Ok(db.query_row("SELECT count(*) FROM containers", [], |row| row.get(0))?)).unwrap();
        assert_eq!((rows, directories(root.path())), (0, 0), "{number}");
    }
}

#[test]
fn directories_that_are_nobodys_go_and_others_stay() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "boot");
    let nobodys = directory(root.path(), ContainerId::random().unwrap());
    fs::create_dir_all(nobodys.join("fs")).unwrap();
    let early = store.create_container(new(&store, "early")).unwrap();
    assert_eq!(store.containers().unwrap(), []);
    assert!(!nobodys.exists() && early.directory().exists());
    early.never_ran(0).unwrap();
    assert_eq!(store.containers().unwrap().len(), 1);
}

#[test]
fn names_are_taken_once() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "boot");
    let wanted = new(&store, "one");
    let another = |remove: bool| NewContainer { id: ContainerId::random().unwrap(), remove, ..wanted.clone() };
    for remove in [false, true] {
        let held = start(&store, another(remove));
        for remove in [false, true] {
            let mut other = store.create_container(another(remove)).unwrap();
            let Err(Error::ContainerName { id, .. }) = other.started(HOLDER) else { panic!("taken") };
            assert_eq!(id, held.id());
            drop(other);
            assert_eq!(directories(root.path()), 1);
        }
        let choice = NewContainer { names: vec!["one".into(), "two".into(), "three".into()], ..another(false) };
        let second = start(&store, choice);
        assert_eq!(store.container(&second.id()).unwrap().unwrap().name, "two");
        second.remove().unwrap();
        held.remove().unwrap();
    }
    start(&store, wanted).remove().unwrap();
}

#[test]
fn a_power_cut_takes_what_was_not_flushed() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path(), "one");
    let run = |store: &Store, name: &str, end: bool| {
        let held = start(store, new(store, name));
        if !end {
            return held;
        }
        let id = held.id();
        held.finished(0).unwrap();
        store.hold_container(&id, false).unwrap().unwrap()
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
    start(&store, wanted.clone()).finished(0).unwrap();
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
