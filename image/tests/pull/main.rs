//! Images of a real registry, and of one that lies and breaks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../kit/mod.rs"]
mod kit;
#[path = "../kit/registry.rs"]
mod registry_kit;

mod choice;

use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::thread;

use builder_cache::{BlobDigest, DiffId, LayerSource, Provider, Snapshot, Store};
use builder_image::compress::{Compression, Compressor};
use builder_image::pull::{self, Error, LayerProvider, Origin, OriginError, OriginReader, Registered, RegistryOrigin};
use builder_image::registry::{Registry, Repository, Settings, Stop, Which};
use builder_image::transfer::{State, Watch};
use builder_image::{Platform, Reference};
use kit::{scratch, store};
use registry_kit::{Fault, Faulty, RealRegistry};
use serde_json::{Value, json};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn repository(text: &str) -> Repository {
    Registry::new(Settings::default()).repository(&reference(text))
}

fn tag(text: &str) -> Which {
    Which::of(&reference(&format!("x:{text}")))
}

/// A store that fetches from registries.
fn provided(store: &Store) -> Arc<LayerProvider> {
    let provider = Arc::new(LayerProvider::new(Stop::default()));
    let connect = || Ok(Registry::new(Settings::default()));
    provider.add_origin(Arc::new(RegistryOrigin::new(Box::new(connect))));
    store.set_provider(Arc::clone(&provider) as Arc<dyn Provider>);
    provider
}

fn tar(entries: &[(&str, u32, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode, data) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(if path.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
        header.set_mode(*mode);
        header.set_size(data.len() as u64);
        header.set_mtime(7);
        tar.append_data(&mut header, path, data.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn packed(tar: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = Compressor::new(Vec::new(), compression).unwrap();
    std::io::copy(&mut &*tar, &mut out).unwrap();
    out.finish().unwrap()
}

/// Bytes that don't compress.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b' ' + (state >> 33) as u8 % 90)
    };
    (0..length).map(|_| next()).collect()
}

/// What is pushed.
struct Image {
    layers: Vec<(Vec<u8>, DiffId, &'static str)>,
    platform: &'static str,
}

impl Image {
    fn new() -> Self {
        Self { layers: Vec::new(), platform: "linux/amd64" }
    }

    fn layer(mut self, entries: &[(&str, u32, &str)]) -> Self {
        let tar = tar(entries);
        let (compression, kind) = match self.layers.len() % 3 {
            0 => (Compression::Gzip, "application/vnd.oci.image.layer.v1.tar+gzip"),
            1 => (Compression::Zstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
            _ => (Compression::Uncompressed, "application/vnd.oci.image.layer.v1.tar"),
        };
        self.layers.push((packed(&tar, compression), DiffId::of(&tar), kind));
        self
    }

    /// Three layers with something in each.
    fn usual() -> Self {
        Self::new()
            .layer(&[("bin/", 0o755, ""), ("bin/a", 0o755, "a"), ("tmp/", 0o1777, ""), ("n", 0o644, &noise(1, 90_000))])
            .layer(&[("bin/", 0o755, ""), ("bin/b", 0o755, "b"), ("m", 0o644, &noise(2, 2_000_000))])
            .layer(&[("c", 0o600, "c")])
    }

    fn config(&self) -> Value {
        let (os, architecture) = self.platform.split_once('/').unwrap();
        let diff_ids: Vec<String> = self.layers.iter().map(|(_, diff_id, _)| diff_id.to_string()).collect();
        json!({
            "os": os, "architecture": architecture, "created": "2024-01-02T03:04:05Z",
            "config": { "Env": ["A=b"] }, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
    }

    fn push(&self, to: &Repository, which: Option<&Which>) -> BlobDigest {
        self.push_with(to, which, &self.config())
    }

    fn push_with(&self, to: &Repository, which: Option<&Which>, config: &Value) -> BlobDigest {
        let config = config.to_string().into_bytes();
        let descriptor = |kind: &str, bytes: &[u8]| {
            let digest = BlobDigest::of(bytes);
            put(to, bytes);
            json!({ "mediaType": kind, "digest": digest.to_string(), "size": bytes.len() })
        };
        let layers: Vec<Value> = self.layers.iter().map(|(bytes, _, kind)| descriptor(kind, bytes)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, &config), "layers": layers,
        });
        let bytes = manifest.to_string().into_bytes();
        let own = Which::Digest(BlobDigest::of(&bytes));
        to.push_manifest(which.unwrap_or(&own), MANIFEST, &bytes).unwrap()
    }
}

fn put(to: &Repository, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    let open = |offset: u64| -> std::io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(bytes[offset as usize..].to_vec())))
    };
    to.push_blob(&BlobDigest::of(&bytes), bytes.len() as u64, &open, &|_| {}).unwrap();
}

fn push_index(to: &Repository, name: &str, manifests: &[(&str, BlobDigest)]) -> BlobDigest {
    let manifests: Vec<Value> = manifests
        .iter()
        .map(|(platform, digest)| {
            let size = to.head(&Which::Digest(*digest)).unwrap().unwrap().size;
            let mut parts = platform.split('/');
            json!({
                "mediaType": MANIFEST, "digest": digest.to_string(), "size": size,
                "platform": { "os": parts.next(), "architecture": parts.next(), "variant": parts.next() },
            })
        })
        .collect();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    to.push_manifest(&tag(name), INDEX, index.to_string().as_bytes()).unwrap()
}

fn host() -> Platform {
    Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None }
}

fn registered(store: &Store, from: &Repository, name: &str) -> Registered {
    pull::register(store, &pull::resolve_with(store, from, &tag(name), &host()).unwrap()).unwrap()
}

/// Names, modes and content of what a snapshot's layers hold.
fn files(store: &Store, snapshot: &Snapshot) -> Vec<String> {
    let mut all = Vec::new();
    for directory in store.lower_dirs(snapshot).unwrap() {
        for (path, what) in kit::describe_untimed(&directory) {
            all.push(format!("{} {what}", String::from_utf8(path).unwrap()));
        }
    }
    all
}

fn blob_requests(proxy: &Faulty) -> usize {
    proxy.take().iter().filter(|request| request.starts_with("GET") && request.contains("/blobs/")).count()
}

#[derive(Debug, Default)]
struct Noted(Mutex<Vec<(BlobDigest, State)>>);

impl Watch for Noted {
    fn note(&self, blob: &BlobDigest, state: State) {
        self.0.lock().unwrap().push((*blob, state));
    }
}

#[test]
fn an_image_costs_its_manifest_and_config_until_its_files_are_wanted() {
    let real = RealRegistry::start();
    let proxy = Faulty::before(&real);
    let image = Image::usual();
    let manifest = image.push(&repository(&real.reference("some/app")), Some(&tag("1")));
    let from = repository(&proxy.reference("some/app"));

    let scratch = scratch();
    let store = store(&scratch);
    let found = registered(&store, &from, "1");
    assert_eq!(blob_requests(&proxy), 1, "the config");
    assert_eq!((found.manifest, found.index), (manifest, None));
    assert_eq!(store.absent(&found.snapshot).unwrap(), found.snapshot.layers);
    let put = store.image(&found.id).unwrap().unwrap();
    assert_eq!((put.manifest, put.size, put.diff_ids.len()), (Some(manifest), 0, 3));
    assert!(store.has_blob(&manifest).unwrap() && store.has_blob(&found.id).unwrap());

    let watch = Arc::new(Noted::default());
    provided(&store).set_watch(Arc::clone(&watch) as Arc<dyn Watch>);
    let there = files(&store, &found.snapshot);
    assert_eq!(blob_requests(&proxy), 3, "each layer once");
    for expected in ["c 100600 0:0", "bin/b 100755 0:0", "bin/a 100755 0:0", "tmp 41777 0:0"] {
        assert!(there.iter().any(|line| line.starts_with(expected)), "{expected} in {there:#?}");
    }
    for ((bytes, ..), layer) in image.layers.iter().zip(&found.snapshot.layers) {
        let digest = BlobDigest::of(bytes);
        store.verify_blob(&digest).unwrap();
        let known = store.layer(layer).unwrap();
        assert!(!known.absent);
        assert_eq!(known.meta.source_blob, Some(digest));
        assert_eq!(store.layer_sources(layer).unwrap()[0].location, format!("registry:{}", from.name()));
        let states: Vec<_> = watch.0.lock().unwrap().iter().filter(|(blob, _)| *blob == digest).cloned().collect();
        assert_eq!(states.last().unwrap().1, State::Done, "{states:?}");
        assert!(states.iter().any(|(_, state)| matches!(state, State::Extracting { .. })), "{states:?}");
    }
    assert!(store.image(&found.id).unwrap().unwrap().size > 2_000_000);
    // Once more: nothing is fetched, and nothing changes.
    let again = registered(&store, &from, "1");
    assert_eq!(again.snapshot, found.snapshot);
    store.provide(&again.snapshot.layers).unwrap();
    assert_eq!(proxy.take().len(), 1, "the manifest of the tag");
}

#[test]
fn an_image_that_shares_layers_brings_the_rest() {
    let real = RealRegistry::start();
    let proxy = Faulty::before(&real);
    let to = repository(&real.reference("app"));
    Image::usual().push(&to, Some(&tag("1")));
    Image::usual().layer(&[("d", 0o600, "d")]).push(&to, Some(&tag("2")));
    let (scratch, from) = (scratch(), repository(&proxy.reference("app")));
    let store = store(&scratch);
    provided(&store);
    let first = registered(&store, &from, "1");
    store.provide(&first.snapshot.layers).unwrap();
    proxy.take();
    let second = registered(&store, &from, "2");
    assert_eq!(second.snapshot.layers[..3], first.snapshot.layers[..]);
    store.provide(&second.snapshot.layers).unwrap();
    assert_eq!(blob_requests(&proxy), 2, "a config and a layer");
}

#[test]
fn wrong_bytes_do_not_enter_the_store() {
    let real = RealRegistry::start();
    let to = repository(&real.reference("app"));
    Image::usual().push(&to, Some(&tag("1")));
    for (what, fault, says) in [
        ("a flipped byte at the end", Fault::Flip(1_500_000), "damaged"),
        ("another blob", Fault::Answer("200 OK", String::new(), "nonsense".to_owned()), ""),
        ("an error", Fault::Answer("404 Not Found", String::new(), "{}".to_owned()), "404"),
        ("a flipped byte at the beginning", Fault::Flip(0), ""),
    ] {
        let proxy = Faulty::before(&real);
        let (scratch, from) = (scratch(), repository(&proxy.reference("app")));
        let store = store(&scratch);
        provided(&store);
        let found = registered(&store, &from, "1");
        let layer = found.snapshot.layers[1];
        let blob = store.layer(&layer).unwrap().meta.source_blob.unwrap();
        proxy.fault("GET", &blob.to_string(), 99, fault);
        let error = store.provide(&found.snapshot.layers).unwrap_err();
        let text = format!("{:#}", anyhow(&error));
        assert!(text.contains(says) && text.contains("app"), "{what}: {text}");
        assert!(!store.has_blob(&blob).unwrap(), "{what}: {text}");
        assert!(store.layer(&layer).unwrap().absent, "{what}");
        let active = fs::read_dir(store.root().join("active")).unwrap().flatten();
        let left: Vec<_> = active
            .filter(|entry| entry.path().is_dir())
            .flat_map(|entry| fs::read_dir(entry.path()).unwrap())
            .collect();
        assert!(left.is_empty(), "{what}: {left:?}");
        // When the registry is well again, the rest comes.
        let proxy = repository(&real.reference("app"));
        pull::register(&store, &pull::resolve(&proxy, &tag("1"), &host()).unwrap()).unwrap();
        store.provide(&found.snapshot.layers).unwrap();
        assert_eq!(store.layer_sources(&layer).unwrap().len(), 2, "{what}");
    }
}

/// An error with its causes.
fn anyhow(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

#[test]
fn what_a_config_says_of_a_layer_must_be_true() {
    let real = RealRegistry::start();
    let to = repository(&real.reference("app"));
    let image = Image::usual();
    let mut config = image.config();
    config["rootfs"]["diff_ids"][1] = json!(DiffId::of(b"another").to_string());
    image.push_with(&to, Some(&tag("lies")), &config);
    let scratch = scratch();
    let store = store(&scratch);
    provided(&store);
    let found = registered(&store, &to, "lies");
    let error = anyhow(&store.provide(&found.snapshot.layers).unwrap_err());
    assert!(error.contains("damaged or was tampered with"), "{error}");
    let blob = BlobDigest::of(&image.layers[1].0);
    assert!(!store.has_blob(&blob).unwrap() && store.layer(&found.snapshot.layers[1]).unwrap().absent);
}

#[test]
fn a_manifest_that_lies_about_a_blob_takes_it_from_nobody() {
    let real = RealRegistry::start();
    let to = repository(&real.reference("app"));
    let image = Image::new().layer(&[("a", 0o644, "a")]).layer(&[("b", 0o644, &noise(3, 5000))]);
    image.push(&to, Some(&tag("right")));
    let mut lying = image.config();
    lying["config"]["Env"] = json!(["LIES=yes"]);
    lying["rootfs"]["diff_ids"][0] = lying["rootfs"]["diff_ids"][1].clone();
    let swapped = Image { layers: vec![image.layers[1].clone(), image.layers[1].clone()], platform: image.platform };
    let digest = swapped.push_with(&to, Some(&tag("lies")), &lying);
    let fetched = to.manifest(&Which::Digest(digest)).unwrap();
    let mut manifest: Value = serde_json::from_slice(&fetched.bytes).unwrap();
    manifest["layers"][0]["size"] = json!(10);
    to.push_manifest(&tag("lies"), MANIFEST, manifest.to_string().as_bytes()).unwrap();

    let scratch = scratch();
    let store = store(&scratch);
    provided(&store);
    let right = registered(&store, &to, "right");
    store.provide(&right.snapshot.layers).unwrap();
    let blob = BlobDigest::of(&image.layers[1].0);
    let lies = registered(&store, &to, "lies");
    let error = anyhow(&store.provide(&lies.snapshot.layers).unwrap_err());
    assert!(error.contains("expected 10 bytes"), "{error}");
    assert!(store.has_blob(&blob).unwrap(), "it was right, and others need it");
    // Who corrects the manifest is believed.
    manifest["layers"][0]["size"] = json!(image.layers[1].0.len());
    to.push_manifest(&tag("lies"), MANIFEST, manifest.to_string().as_bytes()).unwrap();
    let mended = registered(&store, &to, "lies");
    store.provide(&mended.snapshot.layers).unwrap();
}

#[test]
fn connections_that_break_are_taken_up_again() {
    let real = RealRegistry::start();
    let proxy = Faulty::before(&real);
    Image::usual().push(&repository(&real.reference("app")), Some(&tag("1")));
    let (scratch, from) = (scratch(), repository(&proxy.reference("app")));
    let store = store(&scratch);
    provided(&store);
    let found = registered(&store, &from, "1");
    let blob = store.layer(&found.snapshot.layers[1]).unwrap().meta.source_blob.unwrap();
    proxy.fault("GET", &blob.to_string(), 1, Fault::CutAnswer(1_000_000));
    proxy.fault("GET", &blob.to_string(), 1, Fault::CutAnswer(100_000));
    store.provide(&found.snapshot.layers).unwrap();
    let ranges = proxy.seen().iter().filter(|seen| seen.header("range").is_some()).count();
    assert_eq!(ranges, 2, "it goes on where it was");
}

#[test]
fn what_two_builders_want_at_once_is_fetched_once() {
    let real = RealRegistry::start();
    let proxy = Faulty::before(&real);
    Image::usual().push(&repository(&real.reference("app")), Some(&tag("1")));
    let (scratch, from) = (scratch(), repository(&proxy.reference("app")));
    let stores: Vec<Store> = (0..4).map(|_| store(&scratch)).collect();
    let found = registered(&stores[0], &from, "1");
    proxy.take();
    thread::scope(|scope| {
        for store in &stores {
            provided(store);
            scope.spawn(|| store.provide(&found.snapshot.layers).unwrap());
        }
    });
    assert_eq!(blob_requests(&proxy), 3);
}

#[test]
fn directories_that_no_layer_describes_look_like_those_below() {
    let real = RealRegistry::start();
    let to = repository(&real.reference("app"));
    // The layers on top are small and ready first, whatever order they come in.
    Image::new()
        .layer(&[("tmp/", 0o1777, ""), ("n", 0o644, &noise(1, 3_000_000))])
        .layer(&[("tmp/x", 0o644, "x")])
        .layer(&[("tmp/y", 0o644, "y"), ("own/z", 0o644, "z")])
        .push(&to, Some(&tag("1")));
    let scratch = scratch();
    let store = store(&scratch);
    provided(&store);
    let found = registered(&store, &to, "1");
    // The top alone needs the rest.
    let top = store.part_dirs(found.snapshot.layers.last().unwrap()).unwrap();
    assert_eq!(fs::metadata(top[0].join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(top[0].join("own")).unwrap().permissions().mode() & 0o7777, 0o755);
    for directory in store.lower_dirs(&found.snapshot).unwrap() {
        assert_eq!(fs::metadata(directory.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
    }
}

#[test]
fn a_blob_can_be_had_without_its_layer() {
    let real = RealRegistry::start();
    let to = repository(&real.reference("app"));
    let image = Image::usual();
    image.push(&to, Some(&tag("1")));
    let scratch = scratch();
    let store = store(&scratch);
    provided(&store);
    let found = registered(&store, &to, "1");
    let (layer, digest) = (found.snapshot.layers[1], BlobDigest::of(&image.layers[1].0));
    assert!(store.provide_blob(&layer, &digest).unwrap());
    store.verify_blob(&digest).unwrap();
    assert!(store.layer(&layer).unwrap().absent);
    // Its files come from it then; and from the registry again when it was damaged meanwhile.
    fs::write(store.blob_path(&digest), vec![0; image.layers[1].0.len()]).unwrap();
    store.provide(&[layer]).unwrap();
    store.verify_blob(&digest).unwrap();
}

/// Blobs from memory.
#[derive(Debug)]
struct Memory(Vec<u8>);

impl Origin for Memory {
    fn open(&self, source: &LayerSource) -> Option<Result<OriginReader, OriginError>> {
        source.location.starts_with("memory:").then(|| Ok(Box::new(Cursor::new(self.0.clone())) as OriginReader))
    }
}

#[test]
fn a_bomb_ends_early_and_unknown_places_are_named() {
    let scratch = scratch();
    let store = store(&scratch);
    let provider = provided(&store);
    let absent = |name: &str, blob: &[u8], location: &str| {
        let blob = builder_cache::BlobInfo { digest: BlobDigest::of(blob), size: blob.len() as u64 };
        let source = LayerSource { blob, media_type: "tar".to_owned(), location: location.to_owned(), recipe: None };
        let layer = builder_cache::AbsentLayer {
            diff_id: DiffId::of(name.as_bytes()),
            tar_size: None,
            chain_id: name.to_owned(),
            content: None,
            empty: false,
            created_ms: None,
            parent: None,
            built: false,
            source,
        };
        store.put_absent_layer(&layer).unwrap()
    };
    // Ten files of a GiB of nothing each, in a few kilobytes.
    let mut bomb = Compressor::new(Vec::new(), Compression::Zstd).unwrap();
    let zeros = vec![0; 1 << 20];
    for name in ["a", "b"] {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(1 << 30);
        header.set_cksum();
        std::io::Write::write_all(&mut bomb, header.as_bytes()).unwrap();
        (0..1024).for_each(|_| std::io::Write::write_all(&mut bomb, &zeros).unwrap());
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 400_000, "{}", bomb.len());
    let layer = absent("bomb", &bomb, "memory:");
    provider.add_origin(Arc::new(Memory(bomb)));
    let error = anyhow(&store.provide(&[layer]).unwrap_err());
    assert!(error.contains("1073741824"), "{error}");
    let layer = absent("elsewhere", b"x", "carrier pigeon:/roof");
    let error = anyhow(&store.provide(&[layer]).unwrap_err());
    assert!(error.contains("from carrier pigeon:/roof"), "{error}");
}
