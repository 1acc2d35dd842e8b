//! eStargz: what everybody reads as a gzipped tar, and a runtime file by file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::collections::BTreeMap;
use std::io::Read;

use builder_cache::{BlobDigest, DiffId, LayerId, LayerMeta, Snapshot, Store};
use builder_image::archive::{Format, LoadOptions, SaveImage, SaveOptions, load, save};
use builder_image::assemble::{AssembleOptions, assemble};
use builder_image::compress::{Compression, Encoding};
use builder_image::layer::{LayerBlob, WriteOptions, formed_tar, layer_blob};
use builder_image::tar::{Limits, Reader, write::small_file};
use kit::{Tree, config, everything, names, removals, run, scratch, store};
use serde_json::Value;

const FOOTER: usize = 51;

/// A layer that was built here.
fn layer(store: &Store, fill: impl FnOnce(&Tree)) -> LayerId {
    let layer = store.new_layer().unwrap();
    fill(&Tree(layer.upper().to_owned()));
    layer.commit(LayerMeta::default()).unwrap()
}

fn estargz(store: &Store, layer: &LayerId, level: Option<u8>) -> LayerBlob {
    let encoding = Encoding { compression: Compression::Estargz, level };
    layer_blob(store, layer, encoding, &WriteOptions::default()).unwrap()
}

fn bytes(store: &Store, blob: &LayerBlob) -> Vec<u8> {
    std::fs::read(store.blob_path(&blob.blob.digest)).unwrap()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut tar).unwrap();
    tar
}

/// The member that begins at `offset`.
fn member(blob: &[u8], offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::bufread::GzDecoder::new(&blob[usize::try_from(offset).unwrap()..]).read_to_end(&mut out).unwrap();
    out
}

fn toc_offset(blob: &[u8]) -> u64 {
    let footer = &blob[blob.len() - FOOTER..];
    assert_eq!((&footer[12..14], &footer[32..38]), (&b"SG"[..], &b"STARGZ"[..]));
    u64::from_str_radix(std::str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap()
}

/// The table of contents, found as a runtime finds it.
fn toc(blob: &[u8]) -> (Value, BlobDigest) {
    let tar = member(blob, toc_offset(blob));
    let mut reader = Reader::new(&tar[..], Limits::default());
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!(entry.path, b"stargz.index.json");
    let json = &tar[512..512 + usize::try_from(entry.size).unwrap()];
    assert!(reader.next_entry().unwrap().is_none(), "it is the last entry");
    (serde_json::from_slice(json).unwrap(), BlobDigest::of(json))
}

/// The files of a tar with their bytes.
fn files(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut reader = Reader::new(tar, Limits::default());
    let mut files = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match reader.read_data(&mut buffer).unwrap() {
                0 => break,
                count => data.extend_from_slice(&buffer[..count]),
            }
        }
        files.push((String::from_utf8_lossy(&entry.path).into_owned(), data));
    }
    files
}

/// Reads every file by its chunks, as the table has them, and checks all digests.
fn read_by_chunks(blob: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let (toc, _) = toc(blob);
    assert_eq!(toc["version"], 1);
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut sizes: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for entry in toc["entries"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap().to_owned();
        let kind = entry["type"].as_str().unwrap();
        if kind == "reg" {
            let size = entry["size"].as_u64().unwrap_or_default();
            sizes.insert(name.clone(), (size, entry["digest"].as_str().unwrap().to_owned()));
            files.entry(name.clone()).or_default();
        }
        let Some(offset) = entry["offset"].as_u64().filter(|_| kind == "reg" || kind == "chunk") else { continue };
        let file = files.get_mut(&name).unwrap();
        assert_eq!(entry["chunkOffset"].as_u64().unwrap_or_default(), file.len() as u64, "{name}");
        let left = sizes[&name].0 - file.len() as u64;
        let length = entry["chunkSize"].as_u64().unwrap_or(left);
        let chunk = &member(blob, offset)[..usize::try_from(length).unwrap()];
        assert_eq!(entry["chunkDigest"], BlobDigest::of(chunk).to_string(), "{name}");
        file.extend_from_slice(chunk);
    }
    for (name, (size, digest)) in sizes {
        assert_eq!(files[&name].len() as u64, size, "{name}");
        assert_eq!(BlobDigest::of(&files[&name]).to_string(), digest, "{name}");
    }
    files
}

#[test]
fn it_is_a_gzipped_tar_of_the_same_files_and_two_more() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = layer(&store, |tree| {
        removals(&everything(&tree.0));
        tree.file("big", (0..9_500_000_u32).map(|n| (n / 7 % 251) as u8).collect::<Vec<_>>());
    });
    let mut plain = Vec::new();
    builder_image::layer::write_layer(&store.part_dirs(&id).unwrap(), &WriteOptions::default(), &mut plain).unwrap();
    let expected = files(&plain);
    for level in [None, Some(0), Some(1), Some(9)] {
        let made = estargz(&store, &id, level);
        let blob = bytes(&store, &made);
        let tar = gunzip(&blob);
        assert_eq!(made.diff_id, DiffId::of(&tar), "the diff id is that of the tar that is in it");
        let mut found = files(&tar);
        assert_eq!(found.remove(0), (".no.prefetch.landmark".to_owned(), vec![0xf]));
        assert_eq!(found.pop().unwrap().0, "stargz.index.json");
        assert!(found == expected, "level {level:?}");
        assert!(tar.ends_with(&[0; 1024]));
        let by_chunks = read_by_chunks(&blob);
        let own = |(path, _): &&(String, Vec<u8>)| by_chunks.contains_key(path);
        let regular: Vec<_> = expected.iter().filter(own).collect();
        assert!(regular.iter().all(|(path, data)| by_chunks[path] == *data), "level {level:?}");
        assert!(regular.len() > 15);
    }
}

#[test]
fn the_table_says_what_the_tar_says() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = layer(&store, |tree| {
        tree.dir("d")
            .mode("d", 0o1777)
            .file("d/f", "data")
            .owner("d/f", 7, 8)
            .mode("d/f", 0o4755)
            .xattr("d/f", "user.note", b"\xff\0x")
            .mtime("d/f", 1_700_000_000)
            .link("again", "d/f")
            .symlink("link", "d/f")
            .node("null", rustix::fs::FileType::CharacterDevice, 1, 3)
            .node("pipe", rustix::fs::FileType::Fifo, 0, 0)
            .file("empty", "")
            .mtime("empty", 0)
            .whiteout("gone");
    });
    let (toc, _) = toc(&bytes(&store, &estargz(&store, &id, None)));
    let entries: BTreeMap<&str, &Value> =
        toc["entries"].as_array().unwrap().iter().map(|entry| (entry["name"].as_str().unwrap(), entry)).collect();
    let kinds: Vec<_> = entries.iter().map(|(name, entry)| (*name, entry["type"].as_str().unwrap())).collect();
    assert_eq!(
        kinds,
        [
            (".no.prefetch.landmark", "reg"),
            (".wh.gone", "reg"),
            ("again", "reg"),
            ("d/", "dir"),
            ("d/f", "hardlink"),
            ("empty", "reg"),
            ("link", "symlink"),
            ("null", "char"),
            ("pipe", "fifo"),
        ]
    );
    let file = entries["again"];
    assert_eq!(
        (&file["size"], &file["mode"], &file["uid"], &file["gid"]),
        (&4.into(), &0o4755.into(), &7.into(), &8.into())
    );
    assert_eq!((&file["modtime"], &file["xattrs"]["user.note"]), (&"2023-11-14T22:13:20Z".into(), &"/wB4".into()));
    assert!(file.get("chunkSize").is_none() && file.get("chunkOffset").is_none());
    assert_eq!((&entries["d/f"]["linkName"], &entries["link"]["linkName"]), (&"again".into(), &"d/f".into()));
    assert_eq!((&entries["null"]["devMajor"], &entries["null"]["devMinor"]), (&1.into(), &3.into()));
    assert!(entries["empty"].get("modtime").is_none() && entries["empty"].get("offset").is_none());
    assert_eq!(entries["d/"]["mode"], 0o1777);
}

#[test]
fn a_large_file_is_cut_and_one_that_came_sparse_is_whole() {
    let scratch = scratch();
    let source = store(&scratch);
    // As GNU tar writes it: a map, and the stored parts.
    let (size, hole) = (10_000_000_u64, 6_000_000_u64);
    let map = format!("0,3,{hole},5");
    let mut tar = kit::raw_tar::RawTar::default()
        .pax(&[("GNU.sparse.map", &map), ("GNU.sparse.size", &size.to_string()), ("GNU.sparse.name", "sparse")])
        .entry("sparse", b'0', "", b"abcVWXYZ")
        .0;
    small_file(&mut tar, "stargz.index.json", b"of another time").unwrap();
    small_file(&mut tar, "after", b"x").unwrap();
    tar.extend_from_slice(&[0; 1024]);
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut out, bytes).unwrap();
        out.finish().unwrap()
    };
    let blob = gzip(&tar);
    let mut writer = source.blob_writer().unwrap();
    std::io::Write::write_all(&mut writer, &blob).unwrap();
    let info = writer.commit(None).unwrap();
    let upper = source.new_layer().unwrap();
    let meta = LayerMeta {
        diff_id: Some(DiffId::of(&tar)),
        tar_size: Some(tar.len() as u64),
        source_blob: Some(info.digest),
        ..LayerMeta::default()
    };
    let id = upper.commit(meta).unwrap();
    let made = bytes(&source, &estargz(&source, &id, None));
    let found = read_by_chunks(&made);
    let file = &found["sparse"];
    assert_eq!((file.len() as u64, &file[..3]), (size, &b"abc"[..]));
    let at = usize::try_from(hole).unwrap();
    assert_eq!((&file[at..at + 5], file.iter().filter(|byte| **byte != 0).count()), (&b"VWXYZ"[..], 8));
    assert_eq!(found.len(), 3, "a table of another time is not in it: {:?}", found.keys());
    let (toc, _) = toc(&made);
    let chunks: Vec<_> = toc["entries"].as_array().unwrap().iter().filter(|entry| entry["name"] == "sparse").collect();
    let shape: Vec<_> = chunks
        .iter()
        .map(|chunk| (chunk["type"].as_str().unwrap(), chunk["chunkOffset"].as_u64(), chunk["chunkSize"].as_u64()))
        .collect();
    assert_eq!(
        shape,
        [("reg", None, Some(4 << 20)), ("chunk", Some(4 << 20), Some(4 << 20)), ("chunk", Some(8 << 20), None)]
    );
}

#[test]
fn equal_layers_give_equal_bytes_and_it_is_made_once() {
    let scratch = scratch();
    let make = |name: &str| {
        let store = Store::open(&scratch.path().join(name)).unwrap();
        let id = layer(&store, |tree| {
            for number in 0..300 {
                let name = format!("d{}/f{number}", number % 7);
                tree.file(&name, vec![number as u8; number * 300]).mtime(&name, 7);
            }
            (0..7).for_each(|number| tree.mtime(format!("d{number}"), 9).done());
        });
        let made = estargz(&store, &id, None);
        let blob = bytes(&store, &made);
        // Remembered: the files are not looked at again.
        std::fs::remove_dir_all(&store.part_dirs(&id).unwrap()[0]).unwrap();
        assert_eq!(estargz(&store, &id, None), made);
        let tar = formed_tar(&store, &id, Compression::Estargz, &WriteOptions::default()).unwrap();
        assert_eq!((tar.diff_id, tar.size), (made.diff_id, gunzip(&blob).len() as u64));
        blob
    };
    assert!(make("one") == make("two"));
}

#[test]
fn manifests_name_the_table_and_others_read_the_image() {
    let scratch = scratch();
    let store = store(&scratch);
    let id = layer(&store, |tree| tree.file("f", "data").file("g", vec![1; 100_000]).done());
    let snapshot = Snapshot::scratch().with(id);
    let options = AssembleOptions { compression: Some(Compression::Estargz), clamp: Some(1000), target: None };
    let image = assemble(&store, &config(), &snapshot, &options).unwrap();
    let options = SaveOptions { format: Format::Oci, compression: Compression::Estargz, ..SaveOptions::default() };
    let mut tar = Vec::new();
    let saved = save(&store, &[SaveImage::one(image.id, names(&["app:1"]))], &options, &mut tar).unwrap();
    let content: BTreeMap<String, Vec<u8>> = files(&tar).into_iter().collect();
    let blob = |digest: &str| &content[&format!("blobs/{}", digest.replace(':', "/"))];
    let manifest: Value = serde_json::from_slice(blob(saved.images[0].root.digest().as_ref())).unwrap();
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let bytes = blob(layer["digest"].as_str().unwrap());
    let annotations = &layer["annotations"];
    assert_eq!(annotations["containerd.io/snapshot/stargz/toc.digest"], toc(bytes).1.to_string());
    assert_eq!(annotations["io.containers.estargz.uncompressed-size"], gunzip(bytes).len().to_string());
    assert_eq!(image.diff_ids, [DiffId::of(&gunzip(bytes))]);

    // Somebody who knows nothing of it: ordinary tools, and ourselves.
    let file = scratch.path().join("layer.tar.gz");
    std::fs::write(&file, bytes).unwrap();
    run("gzip", &["-t", file.to_str().unwrap()]);
    let listed = run("tar", &["-tzf", file.to_str().unwrap()]);
    assert_eq!(listed, ".no.prefetch.landmark\nf\ng\nstargz.index.json\n");
    let archive = scratch.path().join("app.tar");
    std::fs::write(&archive, &tar).unwrap();
    let shown = run("skopeo", &["inspect", "--config", "--raw", &format!("oci-archive:{}", archive.display())]);
    assert_eq!(BlobDigest::of(shown.as_bytes()), image.id);
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "-q",
            &format!("oci-archive:{}", archive.display()),
            &format!("dir:{}", scratch.path().join("copied").display()),
        ],
    );
    let other = Store::open(&scratch.path().join("other")).unwrap();
    let loaded = load(&other, &tar[..], &LoadOptions::default()).unwrap();
    assert_eq!(loaded[0].id, image.id);
    // It came as an eStargz and is one still when it is saved again.
    let mut again = Vec::new();
    save(&other, &[SaveImage::one(image.id, names(&["app:1"]))], &options, &mut again).unwrap();
    assert!(again == tar);
    // In no other form can this image be had, since the table is part of its layer.
    let mut plain = Vec::new();
    let uncompressed = SaveOptions { format: Format::Oci, ..SaveOptions::default() };
    save(&store, &[SaveImage::one(image.id, names(&["app:1"]))], &uncompressed, &mut plain).unwrap();
    let other = Store::open(&scratch.path().join("third")).unwrap();
    assert_eq!(load(&other, &plain[..], &LoadOptions::default()).unwrap()[0].id, image.id);
}
