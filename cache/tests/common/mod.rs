//! Stores, layers and records in a line.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and print")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use builder_cache::{BlobDigest, Error, LayerId, LayerMeta, NewImage, OpenOptions, Snapshot, Store};
use builder_solver::digest::FramedHasher;
use builder_solver::{CacheKey, Change, Component, ContentDigest, OpDigest, Part, Record, Records};
use tempfile::TempDir;

pub fn store() -> (TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    (root, store)
}

/// The store after the machine was started for the `boot`th time.
pub fn boot(root: &Path, boot: u32) -> Store {
    OpenOptions::new().boot_id(format!("boot {boot}")).open(root).unwrap()
}

/// One change at a time.
pub trait PutRecord {
    fn insert(&self, record: &Record<Snapshot>) -> Result<(), Error>;
    fn set_content_key(&self, recipe: &CacheKey, content: &CacheKey) -> Result<(), Error>;
}

impl PutRecord for Store {
    fn insert(&self, record: &Record<Snapshot>) -> Result<(), Error> {
        self.apply(&[Change::Insert(record.clone())])
    }

    fn set_content_key(&self, recipe: &CacheKey, content: &CacheKey) -> Result<(), Error> {
        self.apply(&[Change::ContentKey { recipe: *recipe, content: *content }])
    }
}

fn hash(text: &str) -> [u8; 32] {
    FramedHasher::new("test").part(text.as_bytes()).finish()
}

pub fn key(name: &str) -> CacheKey {
    CacheKey::from_bytes(hash(name))
}

pub fn op(name: &str) -> OpDigest {
    OpDigest::from_bytes(hash(name))
}

pub fn content(name: &str) -> ContentDigest {
    ContentDigest::from_bytes(hash(name))
}

/// A layer with one file.
pub fn layer(store: &Store, text: &str) -> LayerId {
    layer_with(store, text, LayerMeta::default())
}

pub fn layer_with(store: &Store, text: &str, meta: LayerMeta) -> LayerId {
    let layer = store.new_layer().unwrap();
    fs::write(layer.upper().join("file"), text).unwrap();
    layer.commit(LayerMeta { size: text.len() as u64, files: 1, ..meta }).unwrap()
}

pub fn chain(layers: &[LayerId]) -> Snapshot {
    layers.iter().copied().collect()
}

/// A record called `name`, with that recipe key, made of the records called `inputs`.
pub fn record(name: &str, layers: &[LayerId], inputs: &[&str]) -> Record<Snapshot> {
    let part = |part, value: &str, digest| Component { part, value: value.to_owned(), digest };
    let mut components = vec![part(Part::Kind, "exec", content("exec"))];
    for (position, input) in inputs.iter().enumerate() {
        components.push(part(Part::Input(position), input, ContentDigest::from_bytes(hash(input))));
    }
    Record {
        recipe: key(name),
        content: None,
        op: op(name),
        kind: "exec".to_owned(),
        name: name.to_owned(),
        lineage: format!("lineage of {name}"),
        components,
        output: chain(layers),
        cost: Duration::from_millis(5),
        created_ms: 1_700_000_000_000,
    }
}

/// An image with a config blob of its own.
pub fn image(store: &Store, config: &str, layers: &[LayerId], target: Option<&str>) -> BlobDigest {
    let id = store.put_blob(config.as_bytes()).unwrap();
    let new = NewImage {
        id,
        snapshot: chain(layers),
        diff_ids: Vec::new(),
        manifest: None,
        created_ms: 1_700_000_000_000,
        size: 1,
        target: target.map(key),
    };
    store.put_image(&new).unwrap();
    id
}

pub fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// This test binary once more, in another role: its test `role` sees the role and the store's root.
pub fn child(role: &str, root: &Path) -> Process {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "role", "--nocapture", "--test-threads=1"])
        .env("CACHE_TEST_ROLE", role)
        .env("CACHE_TEST_ROOT", root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    Process { child, stdin }
}

pub struct Process {
    child: Child,
    stdin: ChildStdin,
}

impl Process {
    /// Waits until the child called [`ready`].
    pub fn wait_ready(&mut self) {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.ends_with("ready")), "the child ended early");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn finish(mut self) {
        drop(self.stdin);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

/// In a child: tells the parent, and waits for its word (or its death blow).
pub fn ready() {
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

/// The role that this process was started for.
pub fn role() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var("CACHE_TEST_ROLE").ok()?, std::env::var_os("CACHE_TEST_ROOT")?.into()))
}
