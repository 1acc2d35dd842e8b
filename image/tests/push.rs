//! Images that are pushed to a real registry, seen by a proxy before it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;
#[path = "kit/registry.rs"]
mod registry_kit;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::sync::{Arc, Mutex};

use builder_cache::{BlobDigest, NewImage, Provider, Store};
use builder_image::archive::{MediaTypes, SaveImage, SaveOptions, SavePlatform, describe};
use builder_image::compress::Compression;
use builder_image::pull::{self, LayerProvider, Registered, RegistryOrigin};
use builder_image::push::{Error, Form, Pusher, Sent};
use builder_image::reference::Tag;
use builder_image::registry::{Registry, Repository, Settings, Stop, Which};
use builder_image::transfer::{State, Watch};
use builder_image::{Platform, Reference};
use kit::{image, rich_image, scratch, store};
use registry_kit::{Fault, Faulty, RealRegistry};
use serde_json::Value;

/// A registry, and what is asked of it.
struct Server {
    registry: RealRegistry,
    proxy: Faulty,
    client: Registry,
}

impl Server {
    fn start() -> Self {
        let registry = RealRegistry::start();
        let proxy = Faulty::before(&registry);
        Self { registry, proxy, client: Registry::new(Settings::default()) }
    }

    fn reference(&self, rest: &str) -> Reference {
        self.proxy.reference(rest).parse().unwrap()
    }

    fn repository(&self, name: &str) -> Repository {
        self.client.repository(&self.reference(name))
    }

    /// How often it was asked this way for something with this part.
    fn asked(&self, method: &str, part: &str) -> usize {
        self.proxy.seen().iter().filter(|seen| seen.method == method && seen.target.contains(part)).count()
    }
}

/// The last state of each blob.
#[derive(Debug, Default)]
struct Notes(Mutex<BTreeMap<BlobDigest, State>>);

impl Watch for Notes {
    fn note(&self, blob: &BlobDigest, state: State) {
        self.0.lock().unwrap().insert(*blob, state);
    }
}

impl Notes {
    /// How many blobs ended this way.
    fn count(&self, matches: impl Fn(&State) -> bool) -> usize {
        self.0.lock().unwrap().values().filter(|state| matches(state)).count()
    }
}

fn pusher(store: &Store) -> (Pusher, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    (Pusher::new(store, Arc::clone(&notes) as Arc<dyn Watch>), notes)
}

fn gzip() -> SaveOptions {
    SaveOptions { compression: Compression::Gzip, ..SaveOptions::default() }
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn push(store: &Store, id: BlobDigest, options: &SaveOptions, to: &Repository) -> Result<(Sent, Arc<Notes>), Error> {
    let (pusher, notes) = pusher(store);
    let sent = pusher.send(&SaveImage::one(id, Vec::new()), options, std::slice::from_ref(to))?;
    pusher.name(&sent, to, &[tag("1")])?;
    Ok((sent, notes))
}

/// Reads an image back: every blob is there and what its digest says.
fn check(repository: &Repository, which: &Which) -> Value {
    let fetched = repository.manifest(which).unwrap();
    let manifest: Value = serde_json::from_slice(&fetched.bytes).unwrap();
    let parts = manifest["layers"].as_array().into_iter().flatten().chain([&manifest["config"]]);
    for part in parts.filter(|part| part.is_object()) {
        let digest: BlobDigest = part["digest"].as_str().unwrap().parse().unwrap();
        let size = part["size"].as_u64().unwrap();
        let mut bytes = Vec::new();
        repository.blob(&digest, size).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!((BlobDigest::of(&bytes), bytes.len() as u64), (digest, size));
    }
    manifest
}

#[test]
fn what_is_pushed_is_what_was_told_before_in_every_form() {
    let (dir, server) = (scratch(), Server::start());
    let store = store(&dir);
    let id = rich_image(&store).id;
    for (number, (compression, media_types)) in [
        (Compression::Uncompressed, MediaTypes::Oci),
        (Compression::Gzip, MediaTypes::Oci),
        (Compression::Zstd, MediaTypes::Oci),
        (Compression::Gzip, MediaTypes::Docker),
        (Compression::Uncompressed, MediaTypes::Docker),
    ]
    .into_iter()
    .enumerate()
    {
        let options = SaveOptions { compression, media_types, ..SaveOptions::default() };
        let told = describe(&store, &SaveImage::one(id, Vec::new()), &options).unwrap();
        let repository = server.repository(&format!("form/{number}"));
        let (sent, notes) = push(&store, id, &options, &repository).unwrap();
        assert_eq!(sent.image.root.digest(), told.root.digest());
        let came = |state: &State| matches!(state, State::Done | State::Mounted { .. });
        assert_eq!(notes.count(came), 3, "two layers and a config");
        let head = repository.head(&Which::Tag(tag("1"))).unwrap().unwrap();
        assert_eq!(Some(head.digest), sent.digest());
        assert_eq!(head.size, sent.size());
        assert_eq!(head.media_type, told.root.media_type().to_string());
        check(&repository, &Which::Tag(tag("1")));
    }
}

#[test]
fn each_blob_goes_once_to_each_repository() {
    let (dir, server) = (scratch(), Server::start());
    let store = store(&dir);
    let base = image(&store, &[&|tree| tree.file("a", vec![1; 100_000]).done()]);
    let snapshot = store.image(&base.id).unwrap().unwrap().snapshot;
    let (pusher, _) = pusher(&store);
    let (one, two) = (server.repository("one"), server.repository("two"));
    let both = [one.clone(), two.clone(), one.clone()];
    // Ahead, by the image, and by an image of two platforms that are one.
    for layer in &snapshot.layers {
        pusher.layer(layer, Form::Made(builder_image::layer::WriteOptions::default()), &gzip(), &both).unwrap();
    }
    pusher.send(&SaveImage::one(base.id, Vec::new()), &gzip(), &both).unwrap();
    let twice = SaveImage {
        platforms: vec![SavePlatform::plain(base.id), SavePlatform::plain(base.id)],
        index: true,
        ..SaveImage::default()
    };
    let sent = pusher.send(&twice, &gzip(), &both).unwrap();
    assert_eq!(server.asked("POST", "/blobs/uploads/"), 4, "a layer and a config to each");
    assert_eq!(server.asked("PUT", "/manifests/"), 0);
    pusher.name(&sent, &one, &[tag("a"), tag("b")]).unwrap();
    pusher.name(&sent, &two, &[]).unwrap();
    let index = check(&one, &Which::Tag(tag("b")));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(one.tags().unwrap(), ["a", "b"]);
    check(&two, &Which::Digest(sent.digest().unwrap()));
    let child = index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
    check(&two, &Which::Digest(child));
}

#[test]
fn a_tar_that_is_made_on_the_way_goes_on_where_the_connection_broke() {
    let (dir, server) = (scratch(), Server::start());
    let store = store(&dir);
    let noise: Vec<u8> =
        (0..6_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let id = image(&store, &[&|tree| tree.file("noise", &noise).done()]).id;
    for (compression, name) in [(Compression::Uncompressed, "plain"), (Compression::Gzip, "packed")] {
        let repository = server.repository(name);
        // The config is too small to be cut.
        server.proxy.fault("PUT", &format!("/{name}/blobs/uploads/"), 2, Fault::CutRequest(5_000_000));
        let options = SaveOptions { compression, ..SaveOptions::default() };
        push(&store, id, &options, &repository).unwrap();
        check(&repository, &Which::Tag(tag("1")));
    }
}

#[test]
fn what_failed_is_tried_again_and_nothing_else() {
    let (dir, server) = (scratch(), Server::start());
    let store = store(&dir);
    let id = rich_image(&store).id;
    let repository = server.repository("app");
    let said = r#"{"errors":[{"code":"DENIED","message":"quota exceeded"}]}"#;
    let refuse = || Fault::Answer("403 Forbidden", String::new(), said.to_owned());
    server.proxy.fault("PUT", &id.hex(), 1, refuse());
    let error = push(&store, id, &gzip(), &repository).unwrap_err().to_string();
    assert!(error.contains("quota exceeded") && error.contains("403"), "{error}");
    assert_eq!(server.asked("PUT", "/manifests/"), 0);
    let (_, notes) = push(&store, id, &gzip(), &repository).unwrap();
    let (there, sent) = (notes.count(|state| *state == State::Exists), notes.count(|state| *state == State::Done));
    assert_eq!(there + sent, 3);
    check(&repository, &Which::Tag(tag("1")));

    // What failed early is tried again when the image goes, but not when the registry says no.
    let id = image(&store, &[&|tree| tree.file("another", "one").done()]).id;
    let layer = store.image(&id).unwrap().unwrap().snapshot.layers[0];
    let form = Form::Made(builder_image::layer::WriteOptions::default());
    for (name, fault, works) in [
        ("no", refuse(), false),
        ("busy", Fault::Answer("500 Internal Server Error", String::new(), String::new()), true),
    ] {
        let repository = server.repository(name);
        server.proxy.fault("POST", &format!("/{name}/blobs/uploads/"), if works { 4 } else { 1 }, fault);
        let (pusher, notes) = pusher(&store);
        pusher.layer(&layer, form, &gzip(), std::slice::from_ref(&repository)).unwrap();
        while notes.count(|state| *state == State::Failed) == 0 && notes.count(|state| *state == State::Done) == 0 {
            std::thread::yield_now();
        }
        let sent = pusher.send(&SaveImage::one(id, Vec::new()), &gzip(), std::slice::from_ref(&repository));
        assert_eq!(sent.is_ok(), works, "{name}: {sent:?}");
    }
}

#[test]
fn a_damaged_blob_stays_in_the_store() {
    let (dir, server) = (scratch(), Server::start());
    let store = store(&dir);
    let id = image(&store, &[&|tree| tree.file("a", vec![3; 3_000_000]).done()]).id;
    push(&store, id, &gzip(), &server.repository("first")).unwrap();
    let layer = store.image(&id).unwrap().unwrap().snapshot.layers[0];
    let source = store.layer_sources(&layer).unwrap().pop().unwrap();
    assert_eq!(source.location, format!("registry:{}/first", server.proxy.host()));
    let path = store.blob_path(&source.blob.digest);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    // To another registry, which can't take it over from the first repository.
    let other = Server::start();
    let error = push(&store, id, &gzip(), &other.repository("second")).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains(&source.blob.digest.to_string()), "{error}");
    assert!(!other.repository("second").has_blob(&source.blob.digest).unwrap());
}

#[test]
fn layers_that_are_not_here_go_from_registry_to_registry() {
    let (dir, server) = (scratch(), Server::start());
    let origin = store(&dir);
    let id = rich_image(&origin).id;
    let zstd = SaveOptions { compression: Compression::Zstd, ..SaveOptions::default() };
    let (pushed, _) = push(&origin, id, &zstd, &server.repository("origin")).unwrap();

    let dir = scratch();
    let store = store(&dir);
    let provider = Arc::new(LayerProvider::new(Stop::default()));
    let connect = || Ok(Registry::new(Settings::default()));
    provider.add_origin(Arc::new(RegistryOrigin::new(Box::new(connect))));
    store.set_provider(provider as Arc<dyn Provider>);
    let resolved = pull::resolve(&server.repository("origin"), &Which::Tag(tag("1")), &Platform::host()).unwrap();
    let Registered { id: same, snapshot, .. } = pull::register(&store, &resolved).unwrap();
    assert_eq!((same, store.absent(&snapshot).unwrap().len()), (id, 2));
    server.proxy.take();

    // The registry takes them over by itself: nothing is fetched, and the manifest stays what it is.
    let (sent, notes) = push(&store, id, &gzip(), &server.repository("deep/copy")).unwrap();
    assert_eq!(sent.digest(), pushed.digest());
    assert_eq!(notes.count(|state| *state == State::Mounted { from: "origin".to_owned() }), 2);
    assert_eq!((server.asked("GET", "/blobs/sha256"), server.asked("PUT", "/blobs/uploads/")), (0, 1));
    // Where they are already, nothing is done.
    let (_, notes) = push(&store, id, &gzip(), &server.repository("origin")).unwrap();
    assert_eq!(notes.count(|state| *state == State::Exists), 3);
    assert_eq!(store.absent(&snapshot).unwrap().len(), 2);
    // Another registry gets them from here.
    let other = Server::start();
    let (sent, notes) = push(&store, id, &gzip(), &other.repository("far")).unwrap();
    assert_eq!((sent.digest(), notes.count(|state| *state == State::Done)), (pushed.digest(), 3));
    check(&other.repository("far"), &Which::Tag(tag("1")));
    assert!(fs::exists(other.registry.data()).unwrap());
}

/// An image with the files of another one, and a config of its own.
fn sibling(store: &Store, id: &BlobDigest) -> BlobDigest {
    let known = store.image(id).unwrap().unwrap();
    let mut config: Value = serde_json::from_slice(&store.read_blob(id, 1 << 20).unwrap()).unwrap();
    config["author"] = "another".into();
    let other = store.put_blob(config.to_string().as_bytes()).unwrap();
    let (snapshot, diff_ids, created_ms, size) = (known.snapshot, known.diff_ids, known.created_ms, known.size);
    let image = NewImage { id: other, snapshot, diff_ids, manifest: None, created_ms, size, target: None };
    store.put_image(&image).unwrap();
    other
}

#[test]
fn an_image_that_was_not_fetched_keeps_its_own_blobs() {
    let (dir, server) = (scratch(), Server::start());
    let origin = store(&dir);
    let id = rich_image(&origin).id;
    let zstd = SaveOptions { compression: Compression::Zstd, ..SaveOptions::default() };
    push(&origin, id, &zstd, &server.repository("one")).unwrap();
    let other = sibling(&origin, &id);
    let (pushed, _) = push(&origin, other, &gzip(), &server.repository("two")).unwrap();

    let dir = scratch();
    let store = store(&dir);
    for name in ["one", "two"] {
        let resolved = pull::resolve(&server.repository(name), &Which::Tag(tag("1")), &Platform::host()).unwrap();
        let found = pull::register(&store, &resolved).unwrap();
        assert_eq!(store.absent(&found.snapshot).unwrap().len(), 2);
    }
    let (sent, notes) = push(&store, other, &gzip(), &server.repository("copy")).unwrap();
    assert_eq!(sent.digest(), pushed.digest());
    assert_eq!(notes.count(|state| *state == State::Mounted { from: "two".to_owned() }), 2);
}

#[test]
fn a_manifest_that_lies_about_layers_of_others_gets_into_no_image() {
    let (dir, server) = (scratch(), Server::start());
    let origin = store(&dir);
    let id = rich_image(&origin).id;
    let one = server.repository("one");
    push(&origin, id, &gzip(), &one).unwrap();
    let right = check(&one, &Which::Tag(tag("1")));
    let lies = server.repository("lies");
    push(&origin, id, &gzip(), &lies).unwrap();
    let garbage = b"no layer of anybody";
    let digest = BlobDigest::of(garbage);
    let open = |_| -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(&garbage[..])) };
    lies.push_blob(&digest, garbage.len() as u64, &open, &|_| {}).unwrap();
    let mut lying = right.clone();
    lying["layers"][0]["digest"] = digest.to_string().into();
    lying["layers"][0]["size"] = garbage.len().into();
    let kind = lying["mediaType"].as_str().unwrap().to_owned();
    lies.push_manifest(&Which::Tag(tag("1")), &kind, lying.to_string().as_bytes()).unwrap();

    for order in [["lies", "one"], ["one", "lies"]] {
        let dir = scratch();
        let store = store(&dir);
        let provider = Arc::new(LayerProvider::new(Stop::default()));
        let connect = || Ok(Registry::new(Settings::default()));
        provider.add_origin(Arc::new(RegistryOrigin::new(Box::new(connect))));
        store.set_provider(provider as Arc<dyn Provider>);
        for name in order {
            let resolved = pull::resolve(&server.repository(name), &Which::Tag(tag("1")), &Platform::host()).unwrap();
            pull::register(&store, &resolved).unwrap();
        }
        let built = sibling(&store, &id);
        let to = server.repository(&format!("built/{}", order[0]));
        push(&store, built, &gzip(), &to).unwrap();
        assert_eq!(check(&to, &Which::Tag(tag("1")))["layers"], right["layers"], "{order:?}");
    }
}
