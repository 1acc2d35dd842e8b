//! What other tools make of our archives, and we of theirs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::fs::{self, File};
use std::path::Path;

use builder_cache::{BlobDigest, Snapshot, Store};
use builder_image::archive::{Format, LoadOptions, SaveImage, SaveOptions, load, load_layout, save, save_layout};
use builder_image::compress::Compression;
use builder_image::layer::{ApplyOptions, apply_layer};
use kit::{Tree, describe, names, rich_image, run, scratch, store};
use tempfile::TempDir;

/// Every combination that `save` writes.
fn all_options() -> impl Iterator<Item = SaveOptions> {
    [Format::Docker, Format::Oci].into_iter().flat_map(|format| {
        [Compression::Uncompressed, Compression::Gzip, Compression::Zstd].map(|compression| SaveOptions {
            format,
            compression,
            ..SaveOptions::default()
        })
    })
}

fn save_to(store: &Store, id: BlobDigest, options: &SaveOptions, path: &Path) {
    let image = SaveImage::one(id, names(&["app:1", "example.com/team/app:latest"]));
    save(store, &[image], options, &mut File::create(path).unwrap()).unwrap();
}

/// The files of an image of the store, as the kernel's overlay would show them.
fn files(store: &Store, scratch: &TempDir, id: &BlobDigest) -> std::collections::BTreeMap<Vec<u8>, String> {
    let image = store.image(id).unwrap().unwrap();
    let target = tempfile::tempdir_in(scratch.path()).unwrap();
    let lower: Vec<String> =
        store.lower_dirs(&image.snapshot).unwrap().iter().map(|path| path.display().to_string()).collect();
    let script = "mount -t overlay overlay -o ro,lowerdir=$0 /mnt && cp -a /mnt/. \"$1\"/";
    run("unshare", &["-m", "sh", "-c", script, &lower.join(":"), &target.path().display().to_string()]);
    describe(target.path())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn gnu_tar_lists_and_unpacks_a_layer_as_we_do() {
    let scratch = scratch();
    let tree = kit::everything(&scratch.path().join("tree"));
    let tar = scratch.path().join("layer.tar");
    let mut out = File::create(&tar).unwrap();
    builder_image::layer::write_layer(&[&tree.0], &builder_image::layer::WriteOptions::default(), &mut out).unwrap();
    let target = Tree::new(scratch.path().join("target"));
    let xattrs = ["--xattrs", "--xattrs-include=*"];
    run("tar", &[&["-C", &text(&target.0), "-xpf", &text(&tar)], &xattrs[..]].concat());
    assert_eq!(describe(&target.0), describe(&tree.0));
    assert_eq!(run("tar", &["-tf", &text(&tar)]).lines().count(), describe(&tree.0).len());
}

#[test]
fn we_unpack_what_gnu_tar_writes_in_all_its_formats() {
    let scratch = scratch();
    let tree = Tree::new(scratch.path().join("tree"));
    tree.file("a/b", "x").file(format!("long/{}/f", "n".repeat(200)), "y").symlink("s", "t".repeat(150));
    tree.link("hard", "a/b").mode("a/b", 0o4711).mtime("a/b", 77).mtime("a", 5).file("sparse", "");
    let sparse = fs::OpenOptions::new().write(true).open(tree.path("sparse")).unwrap();
    for part in 1..60 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", part * 1_000_000).unwrap();
    }
    sparse.set_len(70_000_000).unwrap();
    for name in ["a/b", "s", "hard", "sparse"] {
        tree.mtime(name, 1_700_000_000);
    }
    for path in describe(&tree.0).keys() {
        tree.mtime(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path), 1_700_000_001);
    }
    let formats: [&[&str]; 6] = [
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=posix"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
    ];
    for (number, format) in formats.iter().enumerate() {
        let tar = scratch.path().join(format!("{number}.tar"));
        run("tar", &[format, &["-C", &text(&tree.0), "-cf", &text(&tar), "."][..]].concat());
        let target = Tree::new(scratch.path().join(number.to_string()));
        apply_layer(File::open(&tar).unwrap(), &target.0, &ApplyOptions::default()).unwrap();
        assert_eq!(describe(&target.0), describe(&tree.0), "{format:?}");
    }
}

#[test]
fn skopeo_reads_and_copies_what_we_save() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = rich_image(&store).id;
    for (number, options) in all_options().enumerate() {
        let tar = scratch.path().join(format!("{number}.tar"));
        save_to(&store, id, &options, &tar);
        let mut sources = vec![format!("oci-archive:{}:1", text(&tar))];
        if options.format == Format::Docker {
            sources.push(format!("docker-archive:{}:app:1", text(&tar)));
        }
        for (which, source) in sources.iter().enumerate() {
            let raw = run("skopeo", &["inspect", "--config", "--raw", source]);
            assert_eq!(BlobDigest::of(raw.as_bytes()), id, "{source}");
            let copy = scratch.path().join(format!("copy-{number}-{which}"));
            run("skopeo", &["copy", "-q", source, &format!("dir:{}", text(&copy))]);
        }
    }
}

#[test]
fn umoci_unpacks_what_we_save() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = rich_image(&store).id;
    let expected = files(&store, &scratch, &id);
    for compression in [Compression::Uncompressed, Compression::Gzip] {
        let layout = scratch.path().join(format!("layout-{compression}"));
        let options = SaveOptions { format: Format::Oci, compression, ..SaveOptions::default() };
        save_layout(&store, &[SaveImage::one(id, names(&["app:1"]))], &options, &layout).unwrap();
        let bundle = scratch.path().join(format!("bundle-{compression}"));
        run("umoci", &["unpack", "--image", &format!("{}:1", text(&layout)), &text(&bundle)]);
        let unpacked = describe(&bundle.join("rootfs"));
        let differences: Vec<_> = expected
            .iter()
            .filter(|(path, text)| unpacked.get(*path) != Some(*text))
            .map(|(path, text)| (path.escape_ascii().to_string(), text, unpacked.get(path)))
            .collect();
        assert!(differences.is_empty() && unpacked.len() == expected.len(), "{differences:#?}");
    }
}

#[test]
fn podman_loads_what_we_save_and_we_what_it_saves() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = rich_image(&store).id;
    let root = text(&scratch.path().join("podman"));
    let podman = |args: &[&str]| {
        let base = ["--root", &root, "--runroot", &root, "--storage-driver", "vfs"];
        run("podman", &[&base[..], args].concat())
    };
    for (number, options) in all_options().enumerate() {
        let tar = scratch.path().join(format!("{number}.tar"));
        if options.format == Format::Docker {
            save_to(&store, id, &options, &tar);
        } else {
            // Podman wants layouts of one name.
            let image = SaveImage::one(id, names(&["app:1"]));
            save(&store, &[image], &options, &mut File::create(&tar).unwrap()).unwrap();
        }
        podman(&["load", "-q", "-i", &text(&tar)]);
        let images = podman(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
        assert!(images.contains(&id.to_string()), "{images}");
        if options.format == Format::Docker {
            // Podman makes short names its own, also those of `docker save`.
            assert!(images.contains(&format!("localhost/app:1 {id}")), "{images}");
            assert!(images.contains(&format!("example.com/team/app:latest {id}")), "{images}");
        }
        podman(&["rmi", "-f", "--all"]);
    }
    podman(&["load", "-q", "-i", &text(&scratch.path().join("0.tar"))]);
    podman(&["tag", &id.hex(), "docker.io/library/out:2"]);
    for format in ["docker-archive", "oci-archive"] {
        let tar = scratch.path().join(format);
        podman(&["save", "-q", "--format", format, "-o", &text(&tar), "docker.io/library/out:2"]);
        let other = Store::open(&scratch.path().join(format!("{format}-store"))).unwrap();
        let loaded = load(&other, File::open(&tar).unwrap(), &LoadOptions::default()).unwrap();
        assert_eq!(loaded.len(), 1, "{format}");
        assert_eq!(loaded[0].names[0].name.to_string(), "docker.io/library/out:2", "{format}");
        let image = other.image_by_name("docker.io/library/out:2").unwrap().unwrap();
        assert_eq!(image.diff_ids, store.image(&id).unwrap().unwrap().diff_ids, "{format}");
        assert_eq!(files(&other, &scratch, &loaded[0].id), files(&store, &scratch, &id), "{format}");
    }
}

#[test]
fn we_load_what_skopeo_and_buildah_write() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = rich_image(&store).id;
    let tar = scratch.path().join("ours.tar");
    save_to(&store, id, &SaveOptions::default(), &tar);
    let source = format!("docker-archive:{}:app:1", text(&tar));
    let path = |name: &str| text(&scratch.path().join(name));
    let expected = files(&store, &scratch, &id);

    run("skopeo", &["copy", "-q", &source, &format!("docker-archive:{}:app:1", path("docker.tar"))]);
    run("skopeo", &["copy", "-q", &source, &format!("oci-archive:{}:app:1", path("oci.tar"))]);
    run("skopeo", &["copy", "-q", &source, &format!("oci:{}:app:1", path("oci"))]);
    run("skopeo", &["copy", "-q", "-f", "v2s2", &source, &format!("oci:{}:app:1", path("v2s2"))]);
    run("xz", &["-k", &path("oci.tar")]);
    run("gzip", &["-k", &path("docker.tar")]);
    let containers = path("containers");
    let buildah = |args: &[&str]| {
        let base = ["--root", &containers, "--runroot", &containers, "--storage-driver", "vfs"];
        run("buildah", &[&base[..], args].concat())
    };
    let pulled = buildah(&["pull", "-q", &source]);
    buildah(&["push", "-q", pulled.trim(), &format!("oci-archive:{}:app:1", path("buildah.tar"))]);
    buildah(&["push", "-q", pulled.trim(), &format!("docker-archive:{}:app:1", path("buildah-docker.tar"))]);

    let archives =
        ["docker.tar", "docker.tar.gz", "oci.tar", "oci.tar.xz", "oci", "v2s2", "buildah.tar", "buildah-docker.tar"];
    for archive in archives {
        let other = Store::open(&scratch.path().join(format!("{archive}-store"))).unwrap();
        let input = scratch.path().join(archive);
        let options = LoadOptions::default();
        let loaded = if input.is_dir() {
            load_layout(&other, &input, &options)
        } else {
            load(&other, File::open(&input).unwrap(), &options)
        };
        let loaded = loaded.unwrap_or_else(|error| panic!("{archive}: {error}"));
        assert_eq!(loaded.len(), 1, "{archive}");
        assert_eq!(
            loaded[0].names.iter().map(|name| name.name.to_string()).collect::<Vec<_>>(),
            ["docker.io/library/app:1"],
            "{archive}"
        );
        assert_eq!(files(&other, &scratch, &loaded[0].id), expected, "{archive}");
        // And from there into another archive that others read again.
        let again = scratch.path().join(format!("{archive}-again.tar"));
        save_to(&other, loaded[0].id, &SaveOptions::default(), &again);
        run("skopeo", &["inspect", &format!("docker-archive:{}:app:1", text(&again))]);
        run("skopeo", &["inspect", &format!("oci-archive:{}:1", text(&again))]);
    }
    assert_ne!(Snapshot::scratch(), store.image(&id).unwrap().unwrap().snapshot);
}

#[test]
fn gzip_reads_our_members_and_their_bytes_do_not_depend_on_threads() {
    let scratch = scratch();
    let program = std::env::current_exe().unwrap();
    let mut all = Vec::new();
    for threads in ["1", "2", "4"] {
        let target = scratch.path().join(format!("{threads}.gz"));
        let status = std::process::Command::new(&program)
            .args(["--exact", "compress_for_the_test_above", "--quiet"])
            .env("RAYON_NUM_THREADS", threads)
            .env("COMPRESS_TO", &target)
            .output()
            .unwrap();
        assert!(status.status.success());
        run("gzip", &["-t", &text(&target)]);
        all.push(fs::read(&target).unwrap());
    }
    assert!(all[0].len() > 1_000_000 && all[0] == all[1] && all[1] == all[2]);
}

/// Does nothing by itself; the number of threads is read once a process.
#[test]
fn compress_for_the_test_above() {
    let Some(target) = std::env::var_os("COMPRESS_TO") else { return };
    let mut out = builder_image::compress::Compressor::new(File::create(target).unwrap(), Compression::Gzip).unwrap();
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    std::io::Write::write_all(&mut out, &own).unwrap();
    out.finish().unwrap();
}
