//! Both drivers give the same trees and the same layers.

#![allow(clippy::unwrap_used, reason = "a test says by panicking")]

mod kit;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use builder_executor::rootfs::{Driver, DriverKind, Purpose, in_root};
use builder_executor::sandbox::Exit;
use kit::{Layer, Room};
use rustix::fs::{Mode, OFlags, XattrFlags};

fn room(kind: DriverKind) -> Room {
    Room::with_driver(Some(kind))
}

/// What a layer says, times aside.
fn describe(directory: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut stack = vec![directory.to_owned()];
    while let Some(path) = stack.pop() {
        for entry in std::fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let kind = metadata.file_type();
            let what = if kind.is_char_device() && metadata.rdev() == 0 {
                "whiteout".to_owned()
            } else if kind.is_symlink() {
                format!("-> {}", std::fs::read_link(&path).unwrap().display())
            } else if kind.is_dir() {
                stack.push(path.clone());
                format!("dir {:o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
            } else if kind.is_file() {
                let text = std::fs::read(&path).unwrap();
                format!(
                    "file {:o} {}:{} {} links {}",
                    metadata.mode() & 0o7777,
                    metadata.uid(),
                    metadata.gid(),
                    String::from_utf8_lossy(&text[..text.len().min(60)]),
                    metadata.nlink()
                )
            } else {
                format!("special {:o} {}", metadata.mode(), metadata.rdev())
            };
            out.insert(path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned(), what);
        }
    }
    out
}

#[tokio::test]
async fn the_same_step_gives_the_same_layer() {
    let scripts = [
        "true",
        "echo new > /new; mkdir -p /d/e; echo deep > /d/e/f; chmod 700 /d",
        "rm /etc/passwd; echo more >> /etc/group",
        "rm -r /tree",
        "rm -r /tree/sub; mkdir /tree/sub; echo x > /tree/sub/x",
        "chmod 600 /etc/passwd; chown 5:6 /etc/group",
        "mv /tree/a /tree/b; ln /tree/one /tree/two",
        "rm /tree/link; mkdir /tree/link; echo x > /tree/link/y",
        "rm -r /tree/sub; echo file > /tree/sub",
        "ln -s target /tree/sub/s; mkfifo /tree/fifo",
        "echo same > /tree/a; echo same > /tree/a; touch -r /tree/one /tree/a",
        "touch /tmp/x; rm /tmp/x; chmod 0777 /tmp; chmod 1777 /tmp",
    ];
    let prepare = |room: &Room| {
        let tree = room.image().join("tree");
        std::fs::create_dir_all(tree.join("sub/deep")).unwrap();
        std::fs::write(tree.join("a"), "a\n").unwrap();
        std::fs::write(tree.join("one"), "one\n").unwrap();
        std::fs::hard_link(tree.join("one"), tree.join("uno")).unwrap();
        std::fs::write(tree.join("sub/deep/f"), "f").unwrap();
        symlink("a", tree.join("link")).unwrap();
    };
    // Writing to a file with several names is left out: overlay changes only the name that was used.
    let (overlay, vfs) = (room(DriverKind::Overlay), room(DriverKind::Vfs));
    prepare(&overlay);
    prepare(&vfs);
    for script in scripts {
        let run = async |room: &Room| {
            let layer = room.layer();
            room.run_on(&room.options(&["/bin/sh", "-c", script]), &layer).await.ok();
            layer
        };
        let (one, other) = (run(&overlay).await, run(&vfs).await);
        // What overlay copied up without a change is not in a vfs layer, and opaque directories are written out
        // there: what counts is what is seen when the layer is used.
        assert_eq!(view(&overlay, &one), view(&vfs, &other), "{script}");
    }
}

/// What is seen through the image with this layer.
fn view(room: &Room, layer: &Layer) -> BTreeMap<String, String> {
    let driver = Driver::new(room.directory.path(), Some(DriverKind::Vfs));
    let mount = driver.mount_directories(vec![layer.upper.clone(), room.image()], None, Purpose::Files).unwrap();
    let mut seen = describe(&PathBuf::from(format!("/proc/self/fd/{}/", mount.as_fd().as_raw_fd())));
    seen.retain(|path, _| !path.starts_with("bin/"));
    // The overlay driver breaks a hard link when it copies one of its names up.
    for what in seen.values_mut() {
        if let Some((front, _)) = what.split_once(" links") {
            *what = front.to_owned();
        }
    }
    seen
}

#[tokio::test]
async fn vfs_layers_are_minimal_and_keep_everything() {
    let room = room(DriverKind::Vfs);
    let big = room.image().join("sparse");
    let file = std::fs::File::create(&big).unwrap();
    file.set_len(64 << 20).unwrap();
    rustix::fs::lsetxattr(&big, c"user.note", b"kept", XattrFlags::empty()).unwrap();
    assert_eq!(room.sh("stat -c '%s %b' /sparse; true").await.ok(), "67108864 0\n");
    let layer = room.layer();
    room.run_on(&room.options(&["/bin/true"]), &layer).await.ok();
    assert_eq!(layer.entries(), Vec::<String>::new());
    let layer = room.layer();
    let script = "echo x > /etc/x; rm /etc/group; ln /etc/x /root/y; chmod u+s /bin/busybox";
    room.run_on(&room.options(&["/bin/sh", "-c", script]), &layer).await.ok();
    assert_eq!(layer.entries(), ["bin", "bin/busybox", "etc", "etc/group", "etc/x", "root", "root/y"]);
    let seen = describe(&layer.upper);
    assert_eq!(seen["etc/group"], "whiteout");
    assert_eq!(seen["root/y"], "file 644 0:0 x\n links 2");
    assert_eq!(std::fs::metadata(layer.upper.join("bin/busybox")).unwrap().permissions().mode() & 0o7777, 0o4755);
}

#[tokio::test]
async fn views() {
    for kind in [DriverKind::Overlay, DriverKind::Vfs] {
        let room = room(kind);
        let (top, base) = (room.directory.path().join("top"), room.directory.path().join("base"));
        for path in ["top/etc", "base/etc", "base/gone", "base/hidden"] {
            std::fs::create_dir_all(room.directory.path().join(path)).unwrap();
        }
        std::fs::write(top.join("etc/a"), "top").unwrap();
        std::fs::write(base.join("etc/a"), "base").unwrap();
        std::fs::write(base.join("etc/b"), "base").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, top.join("gone"), rustix::fs::FileType::CharacterDevice, Mode::empty(), 0)
            .unwrap();
        let view = |lower: Vec<PathBuf>, purpose| room.driver.mount_directories(lower, None, purpose).unwrap();
        let read = |mount: &builder_executor::rootfs::RootMount, path: &str| {
            in_root::open(mount, Path::new(path), OFlags::RDONLY, Mode::empty())
                .map(|fd| std::io::read_to_string(std::fs::File::from(fd)).unwrap_or_else(|_| "a directory".into()))
                .map_err(|error| error.kind())
        };
        let both = view(vec![top.clone(), base.clone()], Purpose::Files);
        assert_eq!(read(&both, "etc/a").unwrap(), "top");
        assert_eq!(read(&both, "/etc/../etc/b").unwrap(), "base");
        assert!(read(&both, "gone").is_err() && read(&both, "proc").is_err());
        assert!(!both.is_writable());
        assert!(in_root::open(&both, Path::new("etc/new"), OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).is_err());
        let one = view(vec![base.clone()], Purpose::Files);
        assert_eq!(read(&one, "etc/a").unwrap(), "base");
        assert!(in_root::open(&one, Path::new("etc/new"), OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).is_err());
        let none = view(vec![], Purpose::Files);
        assert!(read(&none, "etc").is_err());
        if kind == DriverKind::Overlay {
            assert_eq!(read(&view(vec![], Purpose::Sandbox), "etc/hosts").unwrap(), "");
        }
        // Scratch with a layer for changes.
        let layer = room.layer();
        let scratch = room.driver.mount_directories(vec![], Some((&layer.upper, &layer.work)), Purpose::Files).unwrap();
        let fd = in_root::open(&scratch, Path::new("made"), OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        rustix::io::write(&fd, b"x").unwrap();
        drop(fd);
        scratch.finish().unwrap();
        assert_eq!(layer.entries(), ["made"]);
    }
}

#[tokio::test]
async fn five_hundred_layers() {
    let room = Room::new();
    let layers: Vec<PathBuf> = (0..499)
        .map(|number| {
            let path = room
                .directory
                .path()
                .join(format!("many/{number:04}-{}/fs", "x".repeat(230 * usize::from(number == 7))));
            std::fs::create_dir_all(path.join("layers")).unwrap();
            std::fs::write(path.join("layers").join(number.to_string()), "").unwrap();
            path
        })
        .collect();
    let run = async |lower: Vec<PathBuf>| {
        let layer = room.layer();
        let root = room.driver.mount_directories(lower, Some((&layer.upper, &layer.work)), Purpose::Sandbox).unwrap();
        let options = room.options(&["/bin/sh", "-c", "ls /layers | wc -l; cat /etc/hosts"]);
        room.run_in(&builder_executor::sandbox::default_spec(&options), &root).await.ok()
    };
    let mut lower = layers.clone();
    lower[498] = room.image();
    assert_eq!(run(lower).await, "498\nprovided hosts\n");
    let mut lower = layers;
    lower.push(room.image());
    assert_eq!(run(lower.clone()).await, "499\nprovided hosts\n", "without room for the mount points");
    // The same directory twice is one.
    lower.push(room.image());
    assert!(room.driver.mount_directories(lower.clone(), None, Purpose::Files).is_ok());
    lower.push(room.layer().upper);
    let error = room.driver.mount_directories(lower, None, Purpose::Files).unwrap_err();
    assert!(error.to_string().contains("501 layers"), "{error}");
}

#[tokio::test]
async fn the_root_directory_keeps_its_looks() {
    for kind in [DriverKind::Overlay, DriverKind::Vfs] {
        let room = room(kind);
        std::fs::set_permissions(room.image(), std::fs::Permissions::from_mode(0o711)).unwrap();
        std::os::unix::fs::chown(room.image(), Some(3), Some(4)).unwrap();
        assert_eq!(room.sh("stat -c '%a %u %g' /").await.ok(), "711 3 4\n", "{kind}");
    }
}

#[tokio::test]
async fn the_choice_of_a_driver_is_told() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let (kind, reason) = (None, "test mount worked");
    let driver = Driver::new(directory.path(), kind);
    let (kind, why) = driver.probe().unwrap();
    assert_eq!(kind, DriverKind::Overlay);
    assert!(why.contains(reason), "{why}");
    let driver = Driver::new(directory.path(), "vfs".parse().ok());
    assert_eq!(driver.probe().unwrap().0, DriverKind::Vfs);
    // An overlay can't have its upper directory on proc.
    let driver = Driver::new(Path::new("/proc"), Some(DriverKind::Overlay));
    assert!(driver.probe().unwrap_err().to_string().contains("overlay"));
    let driver = Driver::new(Path::new("/proc"), None);
    assert_eq!(driver.probe().unwrap().0, DriverKind::Vfs);
    assert!("zfs".parse::<DriverKind>().is_err());
}

#[tokio::test]
async fn set_user_id_programs_work() {
    let room = Room::new();
    std::fs::copy("/bin/busybox", room.image().join("bin/suid-id")).unwrap();
    std::fs::set_permissions(room.image().join("bin/suid-id"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    // busybox drops the privilege itself unless the applet needs it; the kernel's view is what counts.
    let out = room.sh_as("app", "/bin/suid-id grep ^Uid /proc/self/status | tr -s '\\t' ' '; true").await;
    assert!(matches!(out.exit, Ok(Exit::Code(0))), "{out:?}");
}
