//! Caches in a real registry, and inside of images.

use super::{build, cached, layers, machines, project, ran, set, text};
use crate::kit::Lab;
use crate::registry_kit::RealRegistry;

#[test]
fn a_registry_keeps_a_cache() {
    let registry = RealRegistry::start();
    let reference = registry.reference("team/app:cache");
    let [one, two, three] = machines();
    let to = format!("--cache-to=type=registry,ref={reference},mode=max");
    let context = project(&one, "one");
    let first = build(&one, &context, &[&format!("--cache-from={reference}"), &to]);
    first.assert_stderr("there is none yet");
    first.assert_stderr(&format!("exporting cache to registry {reference}"));
    assert_eq!(ran(&first).len(), 6);

    let before = layers(&two);
    let args = [&format!("--cache-from={reference}"), "-o", "type=cacheonly", "--explain"];
    let cold = build(&two, &project(&two, "one"), &args);
    assert_eq!((ran(&cold), cached(&cold).len()), (set(&[]), 6));
    cold.assert_stderr(&format!("from registry {reference}"));
    assert_eq!(layers(&two), before);
    build(&two, &project(&two, "one"), &[]);
    assert_eq!(two.shell("cat /app"), "onedeps\n");
    // It is handed on to another repository of the registry, which takes the layers over by itself.
    let other = registry.reference("team/other:cache");
    let handed = build(
        &two,
        &project(&two, "one"),
        &[&format!("--cache-from={reference}"), &format!("--cache-to=type=registry,ref={other},mode=max")],
    );
    assert_eq!(ran(&handed), set(&[]));
    let found = build(&three, &project(&three, "two"), &[&format!("--cache-from={other}")]);
    assert!(cached(&found).contains("RUN echo deps > /deps"), "{}", found.stderr);
    assert_eq!(three.shell("cat /app"), "twodeps\n");
}

#[test]
fn a_base_image_of_a_registry_is_not_fetched_for_what_is_cached() {
    let registry = RealRegistry::start();
    let base = registry.reference("base/busybox:1");
    let cache = registry.reference("app:cache");
    let one = Lab::new();
    one.ok(&["tag", "busybox", &base]);
    one.ok(&["push", &base]);
    let dockerfile = format!("FROM {base}\nRUN echo a > /a\nCOPY f /f\n");
    let context = one.project(&dockerfile, &[("f", "file")]);
    build(&one, &context, &[&format!("--cache-to=type=registry,ref={cache}")]);
    let cold = Lab::empty();
    let context = cold.project(&dockerfile, &[("f", "file")]);
    let from = format!("--cache-from={cache}");
    let all = build(&cold, &context, &[&from, "-o", "type=cacheonly"]);
    assert_eq!(ran(&all), set(&[]));
    assert_eq!(layers(&cold), 0, "not even the base image was fetched");
    std::fs::write(context.join("f"), "new").expect("it is ours");
    let changed = build(&cold, &context, &[&from]);
    assert_eq!(ran(&changed), set(&["COPY f /f"]));
    assert_eq!(cold.shell("cat /a /f"), "a\nnew");
}

#[test]
fn an_image_has_its_own_cache_inside() {
    let registry = RealRegistry::start();
    for (number, args) in
        [&["--cache-to=type=inline"][..], &["--build-arg", "BUILDKIT_INLINE_CACHE=1"]].iter().enumerate()
    {
        let [one, two] = machines();
        let image = registry.reference(&format!("app:{number}"));
        let dockerfile = "FROM busybox\nRUN echo a > /a\nCOPY f /f\nRUN cat /a /f > /b\n";
        let context = one.project(dockerfile, &[("f", "file")]);
        let args: Vec<&str> = args.iter().copied().chain(["-t", &image]).collect();
        build(&one, &context, &args);
        let id = one.inspect(&image)["Id"].clone();
        // The same steps give the same image.
        build(&one, &context, &args);
        assert_eq!(one.inspect(&image)["Id"], id);
        one.ok(&["push", &image]);
        let before = layers(&two);
        let from = format!("--cache-from={image}");
        let cold = build(&two, &two.project(dockerfile, &[("f", "file")]), &[&from, "-o", "type=cacheonly"]);
        assert_eq!((ran(&cold), layers(&two)), (set(&[]), before), "{}", cold.stderr);
        let changed = build(&two, &two.project(dockerfile, &[("f", "new")]), &[&from, "--explain"]);
        assert_eq!(ran(&changed), set(&["COPY f /f", "RUN cat /a /f > /b"]), "{}", changed.stderr);
        assert_eq!(two.shell("cat /b"), "a\nnew");
    }
    // An image without a cache inside is not taken for one.
    let [lab] = machines();
    let plain = registry.reference("plain:1");
    lab.ok(&["tag", "busybox", &plain]);
    lab.ok(&["push", &plain]);
    let context = lab.project("FROM busybox\nRUN true\n", &[]);
    build(&lab, &context, &[&format!("--cache-from={plain}")]).assert_stderr("an image without a cache in it");
    assert!(text(&context).ends_with(char::is_numeric));
}

#[test]
fn layers_that_a_registry_lost_are_built() {
    let registry = RealRegistry::start();
    let reference = registry.reference("app:cache");
    let [one, two] = machines();
    build(&one, &project(&one, "one"), &[&format!("--cache-to=type=registry,ref={reference},mode=max")]);
    let from = format!("--cache-from={reference}");
    // The manifest and the config stay, and all layers go.
    let blobs = registry.data().join("docker/registry/v2/blobs/sha256");
    for prefix in std::fs::read_dir(&blobs).expect("it is there").flatten() {
        for blob in std::fs::read_dir(prefix.path()).expect("it is there").flatten() {
            let data = blob.path().join("data");
            if std::fs::read(&data).expect("it is there").starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
                std::fs::remove_dir_all(blob.path()).expect("it is ours");
            }
        }
    }
    let changed = build(&two, &project(&two, "two"), &[&from]);
    changed.assert_stderr("a shared cache does not have the layers of some steps");
    assert!(ran(&changed).contains("RUN echo deps > /deps"), "{}", changed.stderr);
    assert_eq!(two.shell("cat /app"), "twodeps\n");
}
