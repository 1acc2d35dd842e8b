//! Which of several images it is.

use super::*;

#[test]
fn an_index_is_looked_through_for_what_fits() {
    let real = RealRegistry::start();
    let to = repository(&real.reference("app"));
    let image = |platform| Image { platform, ..Image::new().layer(&[("name", 0o644, platform)]) };
    let [amd, arm, note] =
        ["linux/amd64", "linux/arm64", "unknown/unknown"].map(|platform| image(platform).push(&to, None));
    let index = push_index(&to, "all", &[("unknown/unknown", note), ("linux/arm64", arm), ("linux/amd64", amd)]);
    let other = push_index(&to, "other", &[("linux/arm64", arm)]);
    let arm64 = Platform { architecture: "arm64".to_owned(), ..host() };
    let scratch = scratch();
    let store = store(&scratch);
    let full = reference(&real.reference("app:all"));
    for (platform, manifest) in [(host(), amd), (arm64.clone(), arm)] {
        let found = pull::resolve(&to, &tag("all"), &platform).unwrap();
        assert_eq!((found.digest(), found.manifest.digest), (index, manifest));
        let image = pull::register(&store, &found).unwrap();
        pull::name(&store, &full, full.tag(), &image).unwrap();
    }
    let named = store.name(&full.to_string()).unwrap().unwrap();
    let platforms: Vec<_> = named.platforms.iter().map(|(platform, _)| platform.as_str()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    for digest in [index, amd, arm] {
        assert!(store.name(&format!("{}@{digest}", full.name())).unwrap().is_some());
    }
    let error = pull::resolve(&to, &tag("other"), &host()).unwrap_err();
    assert!(matches!(&error, Error::NoPlatform { .. }), "{error}");
    assert!(error.to_string().ends_with("is not for linux/amd64: it is for linux/arm64"), "{error}");
    // A copy with only some of the platforms.
    let odd = Platform { os: "linux".to_owned(), architecture: "s390x".to_owned(), variant: None };
    let gone = image("linux/s390x").push(&to, None);
    push_index(&to, "some", &[("linux/amd64", amd), ("linux/s390x", gone)]);
    to.delete_manifest(&Which::Digest(gone)).unwrap();
    let error = pull::resolve(&to, &tag("some"), &odd).unwrap_err();
    assert!(matches!(&error, Error::LeftOut { wanted, .. } if wanted == "linux/s390x"), "{error}");
    assert_eq!(pull::resolve(&to, &tag("some"), &host()).unwrap().manifest.digest, amd);
    let by_digest = pull::resolve(&to, &Which::Digest(other), &arm64).unwrap();
    assert_eq!(by_digest.index.map(|index| index.digest), Some(other));
    // Another index takes the name, and what the name stood for is left out.
    let image = pull::register(&store, &pull::resolve(&to, &tag("other"), &arm64).unwrap()).unwrap();
    pull::name(&store, &full, full.tag(), &image).unwrap();
    let named = store.name(&full.to_string()).unwrap().unwrap();
    assert_eq!((named.platforms.len(), named.image), (0, image.id));
}

#[test]
fn variants_that_no_config_tells_stay_apart_even_when_pulled_at_once() {
    let real = RealRegistry::start();
    let to = repository(&real.reference("app"));
    let image = |text| Image { platform: "linux/arm", ..Image::new().layer(&[("name", 0o644, text)]) };
    let [six, seven] = ["v6", "v7"].map(|text| image(text).push(&to, None));
    push_index(&to, "all", &[("linux/arm/v6", six), ("linux/arm/v7", seven)]);
    let full = reference(&real.reference("app:all"));
    for _ in 0..5 {
        let scratch = scratch();
        let store = store(&scratch);
        thread::scope(|scope| {
            for (variant, manifest) in [("v6", six), ("v7", seven)] {
                let (store, to, full) = (&store, &to, &full);
                scope.spawn(move || {
                    let platform =
                        Platform { architecture: "arm".to_owned(), variant: Some(variant.to_owned()), ..host() };
                    let found = pull::resolve_with(store, to, &tag("all"), &platform).unwrap();
                    assert_eq!((found.manifest.digest, &found.platform), (manifest, &platform));
                    pull::name(store, full, full.tag(), &pull::register(store, &found).unwrap()).unwrap();
                });
            }
        });
        let mut platforms = store.name(&full.to_string()).unwrap().unwrap().platforms;
        platforms.sort();
        let platforms: Vec<_> = platforms.iter().map(|(platform, _)| platform.as_str()).collect();
        assert!(platforms == ["linux/arm/v6", "linux/arm/v7"], "{platforms:?}");
    }
}

#[test]
fn what_is_no_image_is_named() {
    let real = RealRegistry::start();
    let to = repository(&real.reference("app"));
    let push = |name: &str, manifest: Value| {
        let bytes = manifest.to_string().into_bytes();
        let kind = manifest["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
        to.push_manifest(&tag(name), &kind, &bytes).unwrap();
    };
    put(&to, b"{}");
    let blob =
        json!({ "mediaType": "application/vnd.example.thing", "digest": BlobDigest::of(b"{}").to_string(), "size": 2 });
    let config = json!({ "mediaType": CONFIG, "digest": BlobDigest::of(b"{}").to_string(), "size": 2 });
    push("artifact", json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": blob, "layers": [] }));
    push("config", json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [] }));
    push("empty", json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }));
    let odd = json!({ "mediaType": "a/\u{1b}[31m\r\nb", "digest": BlobDigest::of(b"{}").to_string(), "size": 2 });
    push("odd", json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": odd, "layers": [] }));
    let child = to.head(&tag("artifact")).unwrap().unwrap();
    let entry = |number: usize| {
        let platform = json!({ "os": "linux", "architecture": format!("\u{1b}]0;{number}\u{7}") });
        json!({ "mediaType": MANIFEST, "digest": child.digest.to_string(), "size": child.size, "platform": platform })
    };
    let many: Vec<Value> = (0..1000).map(entry).collect();
    push("many", json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": many }));
    for (name, says) in [
        ("artifact", "it is an artifact of the type application/vnd.example.thing"),
        ("config", "the config of"),
        ("empty", "its index lists no image"),
        ("missing", "404"),
        ("odd", "a/ [31m b"),
        ("many", "]0;19, and 980 more"),
    ] {
        let error = pull::resolve(&to, &tag(name), &host()).unwrap_err().to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
        assert!(error.contains(says) && error.contains(&format!("app:{name}")), "{error}");
    }
}
