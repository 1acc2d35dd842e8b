//! Registries that lie, and builders that are killed.

use std::thread;

use rustix::process::Signal;

use super::{Shelf, build, layers};
use crate::kit::{Lab, eventually};
use crate::registry_kit::Fault;

/// The blob of the large layer: the one that the registry has the most of.
fn large(shelf: &Shelf) -> String {
    let blobs = shelf.registry.data().join("docker/registry/v2/blobs/sha256");
    let mut found = Vec::new();
    for group in std::fs::read_dir(blobs).expect("it has blobs").flatten() {
        for blob in std::fs::read_dir(group.path()).expect("it has blobs").flatten() {
            let size = std::fs::metadata(blob.path().join("data")).map_or(0, |data| data.len());
            found.push((size, blob.file_name().into_string().expect("hexadecimal")));
        }
    }
    found.sort();
    found.pop().expect("a blob").1
}

#[test]
fn wrong_bytes_are_refused_and_leave_nothing() {
    let shelf = Shelf::new();
    let (name, blob) = (shelf.name("base:1"), large(&shelf));
    for (what, fault) in [
        ("flipped", Fault::Flip(2_000_000)),
        ("another", Fault::Answer("200 OK", String::new(), "nonsense".to_owned())),
    ] {
        let lab = Lab::empty();
        shelf.proxy.fault("GET", &blob, 1, fault);
        let ran = lab.run(&["pull", &name]);
        assert_eq!(ran.code, 1, "{what}\n{}", ran.stderr);
        ran.assert_stderr(&blob);
        assert!(layers(&lab) < 3 && !lab.root().join("blobs/sha256").join(&blob).exists(), "{what}");
        lab.assert_tidy();
        // A healthy registry has it.
        lab.ok(&["pull", &name]);
        assert_eq!(lab.ok(&["run", "--rm", &name, "sh", "-c", "wc -c < /two"]).stdout, "3000002\n");
    }
    // In a build the step is to blame that needs it.
    let lab = Lab::empty();
    shelf.proxy.fault("GET", &blob, 1, Fault::Flip(2_000_000));
    let ran = build(&lab, &format!("FROM {name}\nRUN cat /one\n"), &[]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("2 | >>> RUN cat /one");
    assert_eq!(ran.stderr.matches("failed to solve").count(), 1, "{}", ran.stderr);
    ran.assert_stderr("damaged");
}

#[test]
fn a_tag_moves_only_to_what_came_whole() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let name = shelf.name("base:1");
    lab.ok(&["pull", &name]);
    let before = lab.inspect(&name)["Id"].clone();
    shelf.push("base:1", "FROM busybox\nRUN head -c 4000000 /dev/urandom > /three\n");
    shelf.proxy.fault("GET", &large(&shelf), 99, Fault::Flip(1_500_000));
    let ran = lab.run(&["pull", &name]);
    assert!(ran.code == 1 && ran.stderr.contains("damaged"), "{}", ran.stderr);
    assert_eq!(lab.inspect(&name)["Id"], before);
    assert_eq!(lab.ok(&["run", "--rm", &name, "cat", "/one"]).stdout, "1\n");
    // One that had no tag before has none.
    let lab = Lab::empty();
    assert_eq!(lab.run(&["pull", &name]).code, 1);
    assert_eq!(lab.run(&["image", "inspect", &name]).code, 1);
}

#[test]
fn a_pull_that_is_ended_leaves_a_store_that_works() {
    let shelf = Shelf::new();
    let (name, blob) = (shelf.name("base:1"), large(&shelf));
    for (signal, code) in [(Signal::INT, -1), (Signal::KILL, -1)] {
        let lab = Lab::empty();
        shelf.proxy.take();
        shelf.proxy.fault("GET", &blob, 1, Fault::StallAfter(1_000_000));
        let pulling = lab.start(&["pull", &name]);
        eventually("the blob is asked for", || shelf.proxy.seen().iter().any(|seen| seen.target.contains(&blob)));
        pulling.signal(signal);
        assert_eq!(pulling.finish().code, code, "{signal:?}");
        assert!(layers(&lab) < 3);
        lab.ok(&["pull", &name]);
        lab.assert_tidy();
        assert_eq!(lab.ok(&["run", "--rm", &name, "sh", "-c", "wc -c < /two"]).stdout, "3000002\n");
    }
    // A build that waits for a layer ends when it is told to.
    let lab = Lab::empty();
    shelf.proxy.take();
    shelf.proxy.fault("GET", &blob, 1, Fault::StallAfter(1_000_000));
    let context = lab.project(&format!("FROM {name}\nRUN cat /one\n"), &[]);
    let building = lab.start(&["build", "--progress=plain", context.to_str().expect("UTF-8")]);
    eventually("the blob is asked for", || shelf.proxy.seen().iter().any(|seen| seen.target.contains(&blob)));
    building.signal(Signal::INT);
    assert_eq!(building.finish().code, 130);
    lab.ok(&["pull", &name]);
}

#[test]
fn two_that_pull_the_same_share_the_work() {
    let (shelf, lab) = (Shelf::new(), Lab::empty());
    let name = shelf.name("base:1");
    // The store is there, so that all begin at once.
    lab.ok(&["images"]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| lab.ok(&["pull", &name]));
        }
        scope.spawn(|| {
            let ran = build(&lab, &format!("FROM {name}\nRUN cat /one > /seen\n"), &[]);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
        });
    });
    let blobs: Vec<_> = shelf
        .proxy
        .take()
        .into_iter()
        .filter(|request| request.starts_with("GET") && request.contains("/blobs/"))
        .collect();
    let layers: std::collections::BTreeSet<_> = blobs.iter().collect();
    // Whoever begins before the others have said so asks for the config, too; a layer is asked for once.
    assert_eq!(layers.len(), 4, "{blobs:?}");
    let config = blobs.iter().filter(|blob| blobs.iter().filter(|other| other == blob).count() > 1);
    assert!(config.collect::<std::collections::BTreeSet<_>>().len() <= 1, "{blobs:?}");
}
