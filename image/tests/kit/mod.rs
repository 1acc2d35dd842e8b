//! Trees of files made and compared, tars made byte by byte, and stores.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::unnecessary_debug_formatting,
    clippy::unused_self,
    reason = "a test fails by panicking"
)]

pub(crate) mod raw_tar;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use builder_cache::Store;
use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat};
use tempfile::TempDir;

/// A directory on the file system of the build, which is a real one.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A fresh store.
pub(crate) fn store(scratch: &TempDir) -> Store {
    Store::open(&scratch.path().join("store")).unwrap()
}

/// Makes files below a directory in a line each.
pub(crate) struct Tree(pub(crate) PathBuf);

impl Tree {
    pub(crate) fn new(path: impl AsRef<Path>) -> Self {
        fs::create_dir_all(path.as_ref()).unwrap();
        Self(path.as_ref().to_owned())
    }

    /// Ends a chain.
    pub(crate) fn done(&self) {}

    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.join(name.as_ref())
    }

    fn parent(&self, name: &OsStr) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn file(&self, name: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.parent(name.as_ref()), bytes).unwrap();
        self
    }

    pub(crate) fn dir(&self, name: impl AsRef<OsStr>) -> &Self {
        fs::create_dir_all(self.path(name)).unwrap();
        self
    }

    pub(crate) fn symlink(&self, name: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> &Self {
        std::os::unix::fs::symlink(target.as_ref(), self.parent(name.as_ref())).unwrap();
        self
    }

    pub(crate) fn link(&self, name: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> &Self {
        fs::hard_link(self.path(target), self.parent(name.as_ref())).unwrap();
        self
    }

    pub(crate) fn mode(&self, name: impl AsRef<OsStr>, mode: u32) -> &Self {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub(crate) fn owner(&self, name: impl AsRef<OsStr>, uid: u32, gid: u32) -> &Self {
        std::os::unix::fs::lchown(self.path(name), Some(uid), Some(gid)).unwrap();
        self
    }

    pub(crate) fn xattr(&self, name: impl AsRef<OsStr>, key: &str, value: &[u8]) -> &Self {
        rustix::fs::lsetxattr(self.path(name), key, value, XattrFlags::empty()).unwrap();
        self
    }

    pub(crate) fn mtime(&self, name: impl AsRef<OsStr>, seconds: i64) -> &Self {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, self.path(name), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
        self
    }

    pub(crate) fn node(&self, name: impl AsRef<OsStr>, kind: FileType, major: u32, minor: u32) -> &Self {
        let path = self.parent(name.as_ref());
        mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), makedev(major, minor)).unwrap();
        self
    }

    pub(crate) fn whiteout(&self, name: impl AsRef<OsStr>) -> &Self {
        self.node(name, FileType::CharacterDevice, 0, 0)
    }

    pub(crate) fn opaque(&self, name: impl AsRef<OsStr>) -> &Self {
        self.dir(name.as_ref()).xattr(name, "trusted.overlay.opaque", b"y")
    }
}

/// Everything that a layer's tar keeps of a tree.
pub(crate) fn describe(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut inodes = HashMap::new();
    walk(root, &mut |path, relative| {
        let meta = fs::symlink_metadata(path).unwrap();
        let kind = meta.file_type();
        let mut text = format!("{:o} {}:{} t{}", meta.mode(), meta.uid(), meta.gid(), meta.mtime());
        if kind.is_file() {
            let bytes = fs::read(path).unwrap();
            text += &format!(" {} {}", bytes.len(), blake(&bytes));
        } else if kind.is_symlink() {
            text += &format!(" -> {:?}", fs::read_link(path).unwrap());
        } else if kind.is_char_device() || kind.is_block_device() {
            text += &format!(" dev {}", meta.rdev());
        }
        if kind.is_file() || kind.is_dir() {
            text += &xattrs(path);
        }
        if !kind.is_dir() && meta.nlink() > 1 {
            let first = inodes.entry(meta.ino()).or_insert_with(|| relative.to_owned());
            text += &format!(" = {first:?}");
        }
        if kind.is_char_device() && meta.rdev() == 0 {
            "whiteout".clone_into(&mut text);
        }
        found.insert(relative.as_os_str().as_bytes().to_vec(), text);
    });
    found
}

/// The same without times, for trees whose making changes them.
pub(crate) fn describe_untimed(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let untimed = |text: &str| text.split(' ').filter(|part| !part.starts_with('t')).collect::<Vec<_>>().join(" ");
    describe(root).into_iter().map(|(path, text)| (path, untimed(&text))).collect()
}

fn walk(root: &Path, visit: &mut dyn FnMut(&Path, &Path)) {
    let mut waiting = vec![root.to_owned()];
    let mut all = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
            all.push(entry.path());
        }
    }
    all.sort_by(|a, b| a.components().cmp(b.components()));
    for path in all {
        visit(&path, path.strip_prefix(root).unwrap());
    }
}

fn xattrs(path: &Path) -> String {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut names: Vec<&[u8]> = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        text += &format!(" {}={}", name.escape_ascii(), value[..length].escape_ascii());
    }
    text
}

fn blake(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

/// A capability attribute (`cap_net_raw+ep`).
pub(crate) const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A tree with one of everything that a layer can hold.
pub(crate) fn everything(root: &Path) -> Tree {
    let tree = Tree::new(root);
    let long = "n".repeat(255);
    tree.file("plain", "hello\n")
        .file("empty", "")
        .file("bin/tool", vec![7; 70_000])
        .mode("bin/tool", 0o4755)
        .file("bin/capable", "x")
        .xattr("bin/capable", "security.capability", CAPABILITY)
        .file("owned", "mine")
        .owner("owned", 1000, 3_000_000)
        .xattr("owned", "user.note", b"line\nline\0=end")
        .dir("tmp")
        .mode("tmp", 0o1777)
        .mtime("plain", 1)
        .file("old", "")
        .mtime("old", -5)
        .symlink("link", "bin/tool")
        .symlink("dangling", "/nowhere/../\u{fc}")
        .symlink("far", "t/".repeat(120))
        .link("again", "plain")
        .link("bin/again", "plain")
        .node("null", FileType::CharacterDevice, 1, 3)
        .node("loop", FileType::BlockDevice, 7, 300)
        .node("pipe", FileType::Fifo, 0, 0)
        .file(OsStr::from_bytes(b"not utf-8 \xff\xfe"), "a")
        .file("line\nbreak", "b")
        .file("  spaces ", "c")
        .file("größe/日本", "d")
        .file(&long, "e")
        .file(format!("deep/{}/{}/{}/f", "p".repeat(99), "q".repeat(120), "r".repeat(200)), "f")
        .file(format!("just/{}/{}", "p".repeat(90), "q".repeat(70)), "ustar prefix")
        .file("d/sparse", "");
    let sparse = fs::OpenOptions::new().write(true).open(tree.path("d/sparse")).unwrap();
    sparse.set_len(9_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 5_000_001).unwrap();
    drop(sparse);
    tree
}

/// Removals, as only a layer has them.
pub(crate) fn removals(tree: &Tree) {
    tree.whiteout("gone").whiteout("bin/gone").opaque("replaced").file("replaced/new", "n").opaque("emptied");
}

/// A config without its layers.
pub(crate) fn config() -> serde_json::Map<String, serde_json::Value> {
    let text = r#"{"created":"2024-01-02T03:04:05Z","architecture":"ARCH","os":"linux",
        "config":{"Env":["PATH=/bin"],"Cmd":["/bin/tool"],"WorkingDir":"/"},
        "history":[{"created":"2024-01-02T03:04:05Z","created_by":"one"},{"created_by":"two"}]}"#;
    serde_json::from_str(&text.replace("ARCH", &builder_image::Platform::host().architecture)).unwrap()
}

/// Puts an image of layers into the store, each filled by a function.
pub(crate) fn image(store: &Store, layers: &[&dyn Fn(&Tree)]) -> builder_image::assemble::Assembled {
    let snapshot: builder_cache::Snapshot = layers
        .iter()
        .map(|fill| {
            let layer = store.new_layer().unwrap();
            fill(&Tree(layer.upper().to_owned()));
            layer.commit(builder_cache::LayerMeta::default()).unwrap()
        })
        .collect();
    builder_image::assemble::assemble(store, &config(), &snapshot, &builder_image::assemble::AssembleOptions::default())
        .unwrap()
}

/// Two layers with one of everything.
pub(crate) fn rich_image(store: &Store) -> builder_image::assemble::Assembled {
    image(
        store,
        &[
            &|tree| {
                everything(&tree.0)
                    .file("gone", "")
                    .file("bin/gone", "")
                    .file("replaced/old", "")
                    .file("emptied/x", "");
            },
            &|tree| removals(tree),
        ],
    )
}

/// Runs a program, and gives what it printed. Fails with what it complained of.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Names of images.
pub(crate) fn names(list: &[&str]) -> Vec<builder_image::Reference> {
    list.iter().map(|name| name.parse().unwrap()).collect()
}
