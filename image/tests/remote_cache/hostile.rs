//! Caches that are damaged, or that somebody made to do harm.

use super::*;

/// The same cache elsewhere, of which somebody has changed the config.
fn forged(from: &Path, to: &Path, change: impl Fn(&mut Value)) {
    let blobs = blobs(from);
    let documents: Vec<Value> = blobs.values().filter_map(|blob| serde_json::from_slice(blob).ok()).collect();
    let find = |has: [&str; 2]| documents.iter().find(|document| has.iter().all(|name| document.get(name).is_some()));
    let (mut config, manifest) = (find(["records", "layers"]).unwrap().clone(), find(["config", "layers"]).unwrap());
    change(&mut config);
    fs::create_dir_all(to.join("blobs/sha256")).unwrap();
    for (name, bytes) in &blobs {
        fs::write(to.join("blobs/sha256").join(name), bytes).unwrap();
    }
    layout(to, config.to_string().as_bytes(), CONFIG_TYPE, manifest["layers"].as_array().unwrap());
}

#[test]
fn a_cache_that_lies_about_the_files_of_a_layer_is_found_out() {
    let (one, two) = (Machine::new(), Machine::new());
    let (fetch, compile, _) = project(&one);
    one.export(&[&compile], Mode::Max, &one.place());
    let content = |text: &str| json!(ContentDigest::from_bytes(digest(text)));
    let fetched = one.store.layer(&fetch.output.layers[0]).unwrap().meta.content.unwrap();
    forged(&one.place(), &two.place(), |config| {
        for layer in config["layers"].as_array_mut().unwrap() {
            if layer["content"] != json!(fetched) {
                layer["content"] = content("of another layer");
            }
        }
    });
    let provider = Arc::new(LayerProvider::new(Stop::default()));
    provider.add_origin(Arc::new(LayoutOrigin));
    two.store.set_provider(Arc::clone(&provider) as Arc<dyn builder_cache::Provider>);
    let records = two.records(opened(&two.place()));
    let found = records.by_recipe(&compile.recipe).unwrap().unwrap().output;
    let [honest, liar] = found.layers[..] else { panic!("two layers") };
    two.store.provide(&[honest]).unwrap();
    let error = two.store.provide(&[liar]).unwrap_err();
    let error = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    assert!(error.contains("does not have the files that the cache says it has"), "{error}");
    assert_eq!(two.store.absent(&found).unwrap(), [liar], "nothing of it was kept");
    // The step runs.
    assert!(records.lose(&provider.take_failed()));
    assert!(records.by_recipe(&compile.recipe).unwrap().is_none());
    assert!(records.by_recipe(&fetch.recipe).unwrap().is_some());
    // A cache that says how it is has a layer of its own.
    let records = two.records(opened(&one.place()));
    assert!(records.lose(&[liar]));
    let found = records.by_recipe(&compile.recipe).unwrap().unwrap();
    assert_eq!(two.files(&found.output), set(&["of-fetch", "of-compile"]));
}

#[test]
fn results_that_can_not_be_used_are_none() {
    let (one, two) = (Machine::new(), Machine::new());
    let (_, compile, _) = project(&one);
    one.export(&[&compile], Mode::Max, &one.place());
    for (number, depth, is_found) in [(0, 500, true), (1, 501, false), (2, 0, false)] {
        let place = two.dir.path().join(number.to_string());
        forged(&one.place(), &place, |config| {
            let chains: Vec<Value> = (0..depth).map(|number: u32| json!([number.checked_sub(1), 0])).collect();
            config["chains"] = json!(chains);
            for record in config["records"].as_array_mut().unwrap() {
                record["chain"] = json!(depth.checked_sub(1));
            }
        });
        let found = Machine::new().records(opened(&place)).by_recipe(&compile.recipe).unwrap();
        assert_eq!(found.is_some(), is_found, "{depth}");
    }
}

fn refused(config: &[u8], layers: &[Value]) -> String {
    let dir = kit::scratch();
    layout(dir.path(), config, CONFIG_TYPE, layers);
    open(&local(dir.path())).unwrap_err().to_string()
}

#[test]
fn hostile_caches_are_refused() {
    let blob = json!({ "mediaType": "x", "digest": BlobDigest::of(b""), "size": 0 });
    let layer = json!({ "diffId": DiffId::of(b""), "blob": 0 });
    let good = json!({
        "schema": 1, "keys": builder_solver::cache_key::VERSION,
        "layers": [layer], "chains": [[null, 0]],
        "components": [{ "part": "kind", "value": "exec", "digest": "0".repeat(64) }],
        "records": [{ "name": "a", "components": [0], "chain": 0 }],
    });
    let dir = kit::scratch();
    layout(dir.path(), good.to_string().as_bytes(), CONFIG_TYPE, std::slice::from_ref(&blob));
    assert_eq!(names(&opened(dir.path())), set(&["a"]));

    let deep: Vec<Value> = (0..3000_u32).map(|number| json!([number.checked_sub(1), 0])).collect();
    let table: Vec<(&str, Value, &str)> = vec![
        ("/schema", json!(2), "another version"),
        ("/keys", json!(1), "another version"),
        ("/layers/0/diffId", json!("sha256:../../etc/passwd"), "can't be understood"),
        ("/layers/0/blob", json!(1), "uses the blob 1, and its manifest lists 1"),
        ("/layers/0/blob", json!(-1), "can't be understood"),
        ("/layers/0/blob", json!(null), "either a blob or a base image"),
        ("/chains/0", json!([0, 0]), "which does not come before it"),
        ("/chains/0", json!([7, 0]), "which does not come before it"),
        ("/chains/0", json!([null, 5]), "has the layer 5, which is not there"),
        ("/chains", json!(deep), "has more than 2000 layers"),
        ("/records/0/components", json!([3]), "component 3, which is not there"),
        ("/records/0/chain", json!(4_000_000_000_u32), "chain 4000000000, which is not there"),
        ("/records/0/name", json!("x".repeat(20_000)), "a name of 20000 bytes"),
        ("/records/0/name", json!({ "a": 1 }), "can't be understood"),
        ("/components/0/part", json!("no such part"), "can't be understood"),
        ("/components/0/digest", json!("00"), "can't be understood"),
        ("/records", json!(vec![json!({ "name": "", "components": [] }); 200_001]), "at most 200000 are accepted"),
    ];
    for (pointer, value, says) in table {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let error = refused(bad.to_string().as_bytes(), std::slice::from_ref(&blob));
        assert!(error.contains(says), "{pointer}: {error}");
    }
    // A name that is hashed over and over again.
    let mut long = good.clone();
    long["components"][0]["part"] = json!({ "env": "x".repeat(4 << 20) });
    long["records"][0]["components"] = json!(vec![0; 300]);
    assert!(refused(long.to_string().as_bytes(), std::slice::from_ref(&blob)).contains("too many components"));
    for (bytes, says) in [
        (b"".to_vec(), "can't be understood"),
        (b"[[[[".repeat(100_000), "can't be understood"),
        (br#"{"schema":1}"#.to_vec(), "another version"),
    ] {
        let error = refused(&bytes, &[]);
        assert!(error.contains(says), "{error}");
    }
    // A blob that is larger than anything can be.
    let huge = json!({ "mediaType": "x", "digest": BlobDigest::of(b""), "size": u64::MAX });
    assert!(refused(good.to_string().as_bytes(), &[huge]).contains("can't have"));
}

#[test]
fn nobody_waits_for_what_is_no_file() {
    let dir = kit::scratch();
    fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("index.json"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let error = open(&local(dir.path())).unwrap_err();
    assert!(format!("{error:?}").contains("is no file"), "{error:?}");
}

#[test]
fn what_is_no_cache_or_was_changed_says_so() {
    let dir = kit::scratch();
    assert!(matches!(open(&local(dir.path())), Err(Error::Missing(_))));
    layout(dir.path(), b"{}", "application/vnd.oci.image.config.v1+json", &[]);
    let error = open(&local(dir.path())).unwrap_err();
    assert!(error.to_string().contains("an image without a cache in it"), "{error}");
    layout(dir.path(), b"{}", "application/vnd.buildkit.cacheconfig.v0", &[]);
    let error = open(&local(dir.path())).unwrap_err();
    assert!(error.to_string().contains("BuildKit wrote it"), "{error}");
    layout(dir.path(), b"{}", CONFIG_TYPE, &[]);
    let config = dir.path().join("blobs/sha256").join(BlobDigest::of(b"{}").hex());
    fs::write(config, "[]").unwrap();
    let error = open(&local(dir.path())).unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    fs::write(dir.path().join("index.json"), "nothing").unwrap();
    assert!(open(&local(dir.path())).unwrap_err().to_string().contains("index.json can't be understood"));
    // Nothing is removed from a directory that is not understood.
    let machine = Machine::new();
    let step = machine.step("a", &[]);
    let before = blobs(dir.path()).len();
    let collected = machine.collect(&[], &[&step], Mode::Max);
    let options = SendOptions { encoding: Compression::Zstd.into(), force: false };
    let failed = send(&machine.store, &collected, &[], &[], &*local(dir.path()), &options, &Unwatched);
    assert!(failed.is_err() && blobs(dir.path()).len() >= before);
}
