//! Shared caches: what goes out comes in, on a store that has nothing; and what is wrong with one is found.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../kit/mod.rs"]
mod kit;

mod hostile;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use builder_cache::{BlobDigest, DiffId, LayerId, LayerMeta, NewImage, Snapshot, Store};
use builder_image::compress::Compression;
use builder_image::pull::{LayerProvider, LayoutOrigin};
use builder_image::registry::Stop;
use builder_image::remote_cache::{
    Backend, Bases, CONFIG_TYPE, Collected, Error, Imports, LocalBackend, Mode, Opened, SendOptions, Sent,
    SharedRecords, Target, collect, open, send,
};
use builder_image::transfer::Unwatched;
use builder_solver::cache_key::{InputKey, op_digest, recipe_key};
use builder_solver::{CacheKey, Change, Component, ContentDigest, OpDigest, Part, Record, Records};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A store, and the directory that it is in.
struct Machine {
    store: Store,
    bases: Arc<Bases>,
    dir: TempDir,
}

/// A step that was recorded.
#[derive(Debug, Clone)]
struct Made {
    recipe: CacheKey,
    content: CacheKey,
    op: OpDigest,
    output: Snapshot,
}

impl Made {
    fn target(&self) -> Target {
        Target { recipe: self.recipe, snapshot: self.output.clone() }
    }
}

impl Machine {
    fn new() -> Self {
        let dir = kit::scratch();
        let store = kit::store(&dir);
        let provider = LayerProvider::new(Stop::default());
        provider.add_origin(Arc::new(LayoutOrigin));
        store.set_provider(Arc::new(provider));
        Self { store, bases: Arc::default(), dir }
    }

    /// A layer with one file.
    fn layer(&self, name: &str, text: &str) -> LayerId {
        let active = self.store.new_layer().unwrap();
        fs::write(active.upper().join(name), text).unwrap();
        let content = builder_cache::content::layer_content(&[active.upper().to_owned()]).unwrap();
        let (size, files) = (content.size, content.files);
        let meta = LayerMeta { content: Some(content.digest()), size, files, created_ms: 7, ..LayerMeta::default() };
        active.commit(meta).unwrap()
    }

    /// The record of a step on others, whose layers lie on the first of them.
    fn step(&self, name: &str, inputs: &[&Made]) -> Made {
        let output = inputs.first().map(|input| input.output.clone()).unwrap_or_default();
        let output = output.with(self.layer(&format!("of-{name}"), name));
        self.record(name, inputs, output, "A")
    }

    fn record(&self, name: &str, inputs: &[&Made], output: Snapshot, variable: &str) -> Made {
        let component = |part, value: &str| Component {
            part,
            value: value.to_owned(),
            digest: ContentDigest::from_bytes(*CacheKey::from_bytes(digest(value)).as_bytes()),
        };
        let definition = vec![
            component(Part::Kind, "exec"),
            component(Part::Command, name),
            component(Part::Env(variable.to_owned()), "hunter2"),
        ];
        let op = op_digest(&definition);
        let keys: Vec<InputKey> = inputs.iter().map(|input| InputKey::Recipe(input.recipe)).collect();
        let (recipe, components) = recipe_key(definition, &keys);
        let content = CacheKey::from_bytes(digest(&format!("content of {recipe}")));
        let record = Record {
            recipe,
            content: Some(content),
            op,
            kind: "exec".to_owned(),
            name: name.to_owned(),
            lineage: format!("/somewhere/{name}"),
            components,
            output: output.clone(),
            cost: Duration::from_millis(5),
            created_ms: 1_700_000_000_000,
        };
        self.store.apply(&[Change::Insert(record)]).unwrap();
        Made { recipe, content, op, output }
    }

    fn collect(&self, imports: &[Opened], targets: &[&Made], mode: Mode) -> Collected {
        let targets: Vec<Target> = targets.iter().map(|made| made.target()).collect();
        collect(&self.store, imports, &self.bases, &targets, mode).unwrap()
    }

    fn export(&self, targets: &[&Made], mode: Mode, to: &Path) -> Sent {
        self.export_with(&[], targets, mode, &LocalBackend::tag(to, "latest"))
    }

    fn export_with(&self, imports: &[Opened], targets: &[&Made], mode: Mode, to: &dyn Backend) -> Sent {
        let options = SendOptions { encoding: Compression::Zstd.into(), force: false };
        let collected = self.collect(imports, targets, mode);
        send(&self.store, &collected, &[], imports, to, &options, &Unwatched).unwrap()
    }

    fn records(&self, imports: Vec<Opened>) -> SharedRecords {
        let imports = Arc::new(Imports::ready(imports));
        SharedRecords::new(self.store.clone(), imports, Arc::clone(&self.bases), |wait| wait())
    }

    fn files(&self, snapshot: &Snapshot) -> BTreeSet<String> {
        let directories = self.store.lower_dirs(snapshot).unwrap();
        let names = directories.iter().flat_map(|directory| fs::read_dir(directory).unwrap());
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn place(&self) -> PathBuf {
        self.dir.path().join("cache")
    }
}

fn digest(text: &str) -> [u8; 32] {
    *blake3::hash(text.as_bytes()).as_bytes()
}

fn local(directory: &Path) -> Arc<dyn Backend> {
    Arc::new(LocalBackend::tag(directory, "latest"))
}

fn opened(directory: &Path) -> Vec<Opened> {
    open(&local(directory)).unwrap()
}

fn names(opened: &[Opened]) -> BTreeSet<String> {
    opened.iter().flat_map(|opened| opened.cache.steps()).map(|step| step.name.clone()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn blobs(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory.join("blobs/sha256")).unwrap().flatten();
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// Writes a layout by hand.
fn layout(directory: &Path, config: &[u8], config_type: &str, layers: &[Value]) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = BlobDigest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        digest
    };
    let config = json!({ "mediaType": config_type, "digest": put(config), "size": config.len() });
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string();
    let digest = put(manifest.as_bytes());
    let name = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "manifests": [{ "digest": digest, "size": manifest.len(), "annotations": name }] });
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
}

/// A stage with two steps, and a result that takes a file from it.
fn project(machine: &Machine) -> (Made, Made, Made) {
    let fetch = machine.step("fetch", &[]);
    let compile = machine.step("compile", &[&fetch]);
    let last = machine.record("copy", &[&compile], Snapshot::scratch().with(machine.layer("out", "binary")), "B");
    (fetch, compile, last)
}

#[test]
fn a_cold_store_finds_everything_and_fetches_only_what_is_looked_at() {
    let (one, two) = (Machine::new(), Machine::new());
    let (_, compile, last) = project(&one);
    let sent = one.export(&[&last], Mode::Max, &one.place());
    assert_eq!((sent.steps, sent.blobs, sent.sent), (3, 3, 3));

    let records = two.records(opened(&one.place()));
    let found = records.by_recipe(&compile.recipe).unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.kind.as_str(), found.op), ("compile", "exec", compile.op));
    assert_eq!((found.cost, found.created_ms), (Duration::from_millis(5), 1_700_000_000_000));
    assert_eq!(found.output.layers.len(), 2);
    assert_eq!(records.cache_of(&compile.recipe).unwrap(), format!("local {}", one.place().display()));
    // It is a record of the store from now on, of which nothing was fetched.
    assert!(two.store.by_recipe(&compile.recipe).unwrap().is_some());
    assert_eq!(two.store.absent(&found.output).unwrap(), found.output.layers);
    // No image that is pulled later takes for its own what a cache says of a layer.
    for layer in &found.output.layers {
        let diff_id = two.store.layer(layer).unwrap().meta.diff_id.unwrap();
        assert_eq!(two.store.layer_by_chain_id(&diff_id.to_string()).unwrap(), None);
    }
    assert_eq!(two.store.all_records().unwrap().len(), 1, "what nobody asked for does not come");
    // The content of results is known without their files.
    let content = one.store.snapshot_content(&compile.output).unwrap();
    assert!(content.is_some());
    assert_eq!(two.store.snapshot_content(&found.output).unwrap(), content);
    assert_eq!(two.files(&found.output), set(&["of-fetch", "of-compile"]));
    assert_eq!(two.store.absent(&found.output).unwrap(), []);

    assert!(records.has_op(&last.op).unwrap());
    let found = records.by_content(&last.content).unwrap().unwrap();
    assert_eq!(two.files(&found.output), set(&["out"]));
    assert!(!records.has_op(&OpDigest::from_bytes([9; 32])).unwrap());
    // Misses are compared with what a cache has, whose secrets stay where they are.
    let nearest = records.nearest("", "fetch").unwrap().unwrap();
    assert!(nearest.output.is_none());
    assert!(nearest.components.iter().all(|component| component.value != "hunter2"));
    let stored: Vec<u8> = blobs(&one.place()).into_values().flatten().collect();
    for secret in ["hunter2", "/somewhere"] {
        assert!(!stored.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}

#[test]
fn layers_of_a_cache_count_as_made_here_and_are_not_packed_again() {
    let (one, two) = (Machine::new(), Machine::new());
    let (_, compile, _) = project(&one);
    one.export(&[&compile], Mode::Max, &one.place());
    let found = two.records(opened(&one.place())).by_recipe(&compile.recipe).unwrap().unwrap();
    let zstd = Compression::Zstd.recipe();
    for (here, there) in found.output.layers.iter().zip(&compile.output.layers) {
        let meta = two.store.layer(here).unwrap().meta;
        assert_eq!((meta.source_blob, meta.diff_id), (None, one.store.layer(there).unwrap().meta.diff_id));
        let diff_id = meta.diff_id.unwrap();
        assert_eq!(two.store.layer_blob(&diff_id, &zstd).unwrap(), None, "nothing is here yet");
        let known = &two.store.layer_sources(here).unwrap()[0];
        assert_eq!(known.recipe.as_ref(), Some(&zstd));
        // Its own tar can be made of its files, and its blob is known as what it is.
        two.store.provide(&[*here]).unwrap();
        assert_eq!(two.store.layer(here).unwrap().meta.source_blob, None);
        assert_eq!(two.store.layer_blob(&diff_id, &zstd).unwrap(), Some(known.blob));
        let options = builder_image::layer::WriteOptions::default();
        let made = builder_image::layer::layer_blob(&two.store, here, Compression::Gzip, &options).unwrap();
        assert_eq!(made.diff_id, diff_id);
    }

    // A way to pack that is known to nobody, or is not how the blob was packed, is no reason to believe it.
    for recipe in ["gzip of another time", Compression::Gzip.recipe().as_str()] {
        let blobs = blobs(&one.place());
        let config = blobs.values().filter_map(|blob| serde_json::from_slice::<Value>(blob).ok());
        let mut config = config.into_iter().find(|config| config.get("records").is_some()).unwrap();
        for layer in config["layers"].as_array_mut().unwrap() {
            layer["packed"] = json!(recipe);
        }
        let manifests = blobs.values().filter_map(|blob| serde_json::from_slice::<Value>(blob).ok());
        let manifest = manifests
            .into_iter()
            .find(|manifest| manifest.get("layers").is_some_and(|_| manifest.get("config").is_some()));
        let layers = manifest.unwrap()["layers"].as_array().unwrap().clone();
        let three = Machine::new();
        for (name, bytes) in &blobs {
            fs::create_dir_all(three.place().join("blobs/sha256")).unwrap();
            fs::write(three.place().join("blobs/sha256").join(name), bytes).unwrap();
        }
        layout(&three.place(), &serde_json::to_vec(&config).unwrap(), CONFIG_TYPE, &layers);
        let found = three.records(opened(&three.place())).by_recipe(&compile.recipe).unwrap().unwrap();
        three.store.provide(&found.output.layers).unwrap();
        for layer in &found.output.layers {
            let diff_id = three.store.layer(layer).unwrap().meta.diff_id.unwrap();
            assert_eq!(three.store.layer_blobs(&diff_id).unwrap(), [], "{recipe}");
        }
    }
}

#[test]
fn min_has_the_steps_of_the_result() {
    let machine = Machine::new();
    let (fetch, compile, last) = project(&machine);
    for (target, mode, expected) in [
        (&last, Mode::Min, set(&["copy"])),
        (&compile, Mode::Min, set(&["fetch", "compile"])),
        (&fetch, Mode::Max, set(&["fetch"])),
        (&last, Mode::Max, set(&["fetch", "compile", "copy"])),
    ] {
        machine.export(&[target], mode, &machine.place());
        assert_eq!(names(&opened(&machine.place())), expected);
    }
}

#[test]
fn a_second_export_sends_nothing_and_one_of_a_changed_build_sends_what_changed() {
    let machine = Machine::new();
    let (_, compile, last) = project(&machine);
    let place = machine.place();
    let first = machine.export(&[&last], Mode::Max, &place);
    let (index, before) = (fs::metadata(place.join("index.json")).unwrap().modified().unwrap(), blobs(&place));
    let again = machine.export(&[&last], Mode::Max, &place);
    assert_eq!(again, Sent { sent: 0, bytes: 0, ..first.clone() });
    assert_eq!(fs::metadata(place.join("index.json")).unwrap().modified().unwrap(), index);

    let changed = machine.record("copy", &[&compile], Snapshot::scratch().with(machine.layer("out", "new")), "C");
    let sent = machine.export(&[&changed], Mode::Max, &place);
    assert_eq!((sent.blobs, sent.sent), (3, 1));
    // What nothing refers to any more is gone: a layer, a config, a manifest.
    let after = blobs(&place);
    assert_eq!(after.len(), before.len());
    assert_eq!(before.keys().filter(|name| !after.contains_key(*name)).count(), 3);

    // Caches with other tags stay, and so does what an image of another tool needs.
    let other = machine.step("other", &[]);
    let options = SendOptions { encoding: Compression::Gzip.into(), force: false };
    let collected = machine.collect(&[], &[&other], Mode::Max);
    let tagged = LocalBackend::tag(&place, "other");
    send(&machine.store, &collected, &[], &[], &tagged, &options, &Unwatched).unwrap();
    machine.export(&[&compile], Mode::Max, &place);
    assert_eq!(names(&opened(&place)), set(&["fetch", "compile"]));
    let tagged: Arc<dyn Backend> = Arc::new(tagged);
    assert_eq!(names(&open(&tagged).unwrap()), set(&["other"]));
    let by_digest: Arc<dyn Backend> = Arc::new(LocalBackend::digest(&place, first.manifest));
    assert!(matches!(open(&by_digest), Err(Error::Missing(_))));
}

#[test]
fn a_machine_that_found_everything_hands_on_everything() {
    let (one, two) = (Machine::new(), Machine::new());
    let (_, _, last) = project(&one);
    let first = one.export(&[&last], Mode::Max, &one.place());
    let imports = opened(&one.place());
    let found = two.records(opened(&one.place())).by_recipe(&last.recipe).unwrap().unwrap();
    let target = Made { output: found.output, ..last };
    let elsewhere = LocalBackend::tag(&two.place(), "latest");
    let second = two.export_with(&imports, &[&target], Mode::Max, &elsewhere);
    assert_eq!((second.steps, second.sent), (3, 3));
    assert_eq!(names(&opened(&two.place())), set(&["fetch", "compile", "copy"]));
    // To where it came from nothing is sent at all.
    let back = LocalBackend::tag(&one.place(), "latest");
    assert_eq!(two.export_with(&imports, &[&target], Mode::Max, &back), Sent { sent: 0, bytes: 0, ..first });
    // No layer of the other stage came into the store for it.
    assert_eq!(two.store.all_records().unwrap().len(), 1);
}

#[test]
fn layers_of_base_images_are_found_and_not_sent() {
    let (mut one, mut two) = (Machine::new(), Machine::new());
    let mut steps = Vec::new();
    for machine in [&mut one, &mut two] {
        let base = machine.layer("base", "of everything");
        let diff_id = DiffId::of(b"the tar of the base");
        let id = machine.store.put_blob(b"{}").unwrap();
        let snapshot = Snapshot::scratch().with(base);
        let diff_ids = vec![diff_id];
        let image = NewImage { id, snapshot, diff_ids, manifest: None, created_ms: 0, size: 0, target: None };
        machine.store.put_image(&image).unwrap();
        let mut bases = Bases::default();
        bases.add(&machine.store.image(&id).unwrap().unwrap());
        machine.bases = Arc::new(bases);
        let from = Made { output: image.snapshot, ..machine.step("unused", &[]) };
        steps.push((base, from));
    }
    let [(_, from), (base, _)] = &steps[..] else { panic!() };
    let step = one.record("run", &[], from.output.with(one.layer("more", "")), "A");
    let sent = one.export(&[&step], Mode::Max, &one.place());
    assert_eq!((sent.steps, sent.blobs), (1, 1));
    let found = two.records(opened(&one.place())).by_recipe(&step.recipe).unwrap().unwrap();
    assert_eq!(found.output.layers[0], *base);
    assert_eq!(two.files(&found.output), set(&["base", "more"]));
    // Without the base image the step is of no use.
    let three = Machine::new();
    assert!(three.records(opened(&one.place())).by_recipe(&step.recipe).unwrap().is_none());
}

#[test]
fn layers_of_an_image_that_the_build_does_not_know_are_not_taken_for_its_own() {
    let (one, two) = (Machine::new(), Machine::new());
    // The second layer of an image: what it implies of directories is in the first.
    let foreign = |machine: &Machine| {
        let active = machine.store.new_layer().unwrap();
        fs::write(active.upper().join("base"), "of everything").unwrap();
        let meta = LayerMeta {
            diff_id: Some(DiffId::of(b"the tar of the layer")),
            chain_id: Some(BlobDigest::of(b"both layers").to_string()),
            files: 1,
            ..LayerMeta::default()
        };
        active.commit(meta).unwrap()
    };
    let layer = foreign(&one);
    let step = one.record("run", &[], Snapshot::scratch().with(layer).with(one.layer("more", "")), "A");
    let sent = one.export(&[&step], Mode::Max, &one.place());
    assert_eq!((sent.steps, sent.blobs), (1, 1));
    assert!(two.records(opened(&one.place())).by_recipe(&step.recipe).unwrap().is_none());
    let here = foreign(&two);
    let found = two.records(opened(&one.place())).by_recipe(&step.recipe).unwrap().unwrap();
    assert_eq!(found.output.layers[0], here);
}

#[test]
fn the_first_cache_that_has_a_step_counts() {
    let (one, two, cold) = (Machine::new(), Machine::new(), Machine::new());
    let (_, compile, _) = project(&one);
    one.export(&[&compile], Mode::Max, &one.place());
    let (_, _, last) = project(&two);
    two.export(&[&last], Mode::Max, &two.place());
    let imports = opened(&one.place()).into_iter().chain(opened(&two.place())).collect();
    let records = cold.records(imports);
    for (step, place) in [(&compile, one.place()), (&last, two.place())] {
        assert!(records.by_recipe(&step.recipe).unwrap().is_some());
        assert_eq!(records.cache_of(&step.recipe).unwrap(), format!("local {}", place.display()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Any graph comes through whole, in a size that grows with the graph and not with its depth, and the same again.
    #[test]
    fn graphs_come_through(inputs in proptest::collection::vec(proptest::collection::vec(any::<prop::sample::Index>(), 0..3), 1..24)) {
        let (one, two) = (Machine::new(), Machine::new());
        let mut steps: Vec<Made> = Vec::new();
        for (number, inputs) in inputs.iter().enumerate() {
            let inputs: Vec<Made> = if steps.is_empty() { Vec::new() } else {
                inputs.iter().map(|index| steps[index.index(steps.len())].clone()).collect()
            };
            let made = one.step(&format!("step {number}"), &inputs.iter().collect::<Vec<_>>());
            steps.push(made);
        }
        let targets: Vec<&Made> = steps.iter().collect();
        let sent = one.export(&targets, Mode::Max, &one.place());
        prop_assert_eq!((sent.steps, sent.blobs), (steps.len(), steps.len()));
        let again = one.export(&targets, Mode::Max, &one.place());
        prop_assert_eq!((again.manifest, again.sent), (sent.manifest, 0));
        let records = two.records(opened(&one.place()));
        for step in &steps {
            let found = records.by_recipe(&step.recipe).unwrap().unwrap();
            prop_assert_eq!(found.output.layers.len(), step.output.layers.len());
            let there = one.store.stored_record(&step.recipe).unwrap().unwrap();
            let digests = |components: &[Component]| components.iter().map(|one| (one.part.clone(), one.digest)).collect::<Vec<_>>();
            prop_assert_eq!(digests(&found.components), digests(&there.components));
        }
    }
}

#[test]
fn a_config_grows_with_the_steps_and_not_with_their_depth() {
    let size = |steps: usize| {
        let machine = Machine::new();
        let mut last = machine.step("0", &[]);
        for number in 1..steps {
            last = machine.step(&number.to_string(), &[&last]);
        }
        machine.export(&[&last], Mode::Max, &machine.place());
        let config = blobs(&machine.place()).into_values().filter(|blob| blob.starts_with(b"{\"schema\":1"));
        config.map(|blob| blob.len()).sum::<usize>()
    };
    let (short, long) = (size(10), size(100));
    assert!(long < short * 11, "{short} and {long} bytes");
}
