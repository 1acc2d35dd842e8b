//! What is not needed is not fetched.

use super::{Shelf, build, layers};
use crate::kit::Lab;

#[test]
fn a_base_whose_steps_are_cached_is_not_downloaded() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let name = shelf.name("base:1");
    // Nothing needs files of the base here.
    let config = build(&lab, &format!("FROM {name}\nENV A=b\n"), &[]);
    assert_eq!((config.code, shelf.blobs(), layers(&lab)), (0, 1, 0), "{}", config.stderr);
    let linked = build(&lab, &format!("FROM {name}\nCOPY --link <<f /f\nx\nf\n"), &[]);
    assert_eq!((linked.code, shelf.blobs()), (0, 0), "{}", linked.stderr);
    assert!(layers(&lab) <= 1);

    // Something does, once.
    let dockerfile = format!("FROM {name}\nRUN cat /one > /seen\n");
    let ran = build(&lab, &dockerfile, &[]);
    assert_eq!((ran.code, shelf.blobs()), (0, 3), "{}", ran.stderr);
    ran.assert_stderr("[internal] pull ");
    assert_eq!(build(&lab, &dockerfile, &[]).executed().len(), 0);
    assert!(shelf.proxy.take().is_empty(), "nothing more is asked");
    // Offline from now on.
    drop(shelf);
    assert_eq!(build(&lab, &dockerfile, &["--no-cache"]).code, 0);
    assert_eq!(lab.shell("cat /seen"), "1\n");
}

#[test]
fn what_comes_later_fetches_what_it_needs() {
    let shelf = Shelf::new();
    let name = shelf.name("base:1");
    let dockerfile = format!("FROM {name}\nENV A=b\n");
    for (what, args) in [
        ("run", &["run", "--rm", "app", "cat", "/one"][..]),
        ("save", &["save", "-o", "image.tar", "app"]),
        ("build", &["build", "-o", "type=local,dest=out", "context0"]),
    ] {
        let lab = Lab::empty();
        assert_eq!(build(&lab, &dockerfile, &[]).code, 0);
        shelf.proxy.take();
        let ran = lab.run(args);
        assert_eq!((ran.code, shelf.blobs()), (0, 3), "{what}\n{}", ran.stderr);
        let shown = lab.run(&["run", "--rm", "app", "cat", "/one"]);
        assert_eq!(shown.stdout, "1\n", "{what}\n{}", shown.stderr);
    }
}

#[test]
fn an_image_without_its_layers_is_removed_like_any_other() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let name = shelf.name("base:1");
    assert_eq!(build(&lab, &format!("FROM {name}\nENV A=b\n"), &[]).code, 0);
    for args in [&["images", "-a"][..], &["cache", "ls"], &["cache", "usage"], &["info"], &["history", &name]] {
        lab.run(args);
    }
    lab.ok(&["rmi", "-f", "app"]);
    lab.ok(&["rmi", "-f", &name]);
    lab.ok(&["image", "prune", "-a", "-f"]);
    lab.run(&["cache", "prune", "-a", "-f"]);
    shelf.proxy.take();
    let ran = build(&lab, &format!("FROM {name}\nRUN cat /one > /seen\n"), &[]);
    assert_eq!((ran.code, shelf.blobs()), (0, 4), "{}", ran.stderr);
}

#[test]
fn an_archive_brings_the_layers_that_a_registry_has() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let name = shelf.name("base:1");
    let archive = shelf.registry.data().join("base.tar");
    let from = format!("docker://{}", shelf.registry.reference("base:1"));
    let to = format!("docker-archive:{}:{name}", archive.display());
    crate::kit::tool("skopeo", &["copy", "--src-tls-verify=false", &from, &to].map(AsRef::as_ref));
    assert_eq!(build(&lab, &format!("FROM {name}\nENV A=b\n"), &[]).code, 0);
    assert_eq!(layers(&lab), 0);
    lab.ok(&["load", "-i", archive.to_str().expect("UTF-8")]);
    assert_eq!(layers(&lab), 3);
    drop(shelf);
    assert_eq!(lab.ok(&["run", "--rm", "app", "cat", "/one"]).stdout, "1\n");
}
