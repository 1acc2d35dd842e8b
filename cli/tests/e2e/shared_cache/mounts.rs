//! Cache mounts that travel.

use std::fs;

use super::{blobs, build, from, machines, ran, set, to};

/// A step that is not cached, and tells what its cache mount held.
const COUNTS: &str = "FROM busybox\n\
    ARG RUN\n\
    RUN --mount=type=cache,id=counts,target=/m : $RUN; cp -a /m /held; echo $RUN >> /m/runs; ln -sf runs /m/link; \
    chmod 640 /m/runs; chown 7:8 /m/runs; touch -d '2001-02-03 04:05:06' /m/runs; mkdir -p /m/dir\n";

#[test]
fn cache_mounts_go_along() {
    let [one, two, three] = machines();
    let cache = one.path().join("cache");
    let context = |lab: &crate::kit::Lab| lab.project(COUNTS, &[]);
    let (from, to) = (from(&cache), to(&cache, ",mode=max"));
    let first = context(&one);
    build(&one, &first, &["--build-arg=RUN=1", "--cache-mounts", &to]);
    let sizes = blobs(&cache);

    // Another machine begins with what the first one kept, as it was.
    build(&two, &context(&two), &["--build-arg=RUN=2", "--cache-mounts", &from, &to]);
    let held = two.shell("cat /held/runs; readlink /held/link; stat -c '%a %u:%g %Y' /held/runs; ls -d /held/dir");
    assert_eq!(held, "1\nruns\n640 7:8 981173106\n/held/dir\n");
    build(&three, &context(&three), &["--build-arg=RUN=3", "--cache-mounts", &from]);
    assert_eq!(three.shell("cat /held/runs"), "1\n2\n");
    // One that is there stays as it is.
    build(&three, &context(&three), &["--build-arg=RUN=4", "--cache-mounts", &from]);
    assert_eq!(three.shell("cat /held/runs"), "1\n2\n3\n");
    assert_eq!(blobs(&cache).len(), sizes.len(), "what is not needed any more is gone");

    // A machine that found everything in the cache, and so has no mount, hands it on as it came.
    let [four] = machines();
    let all =
        build(&four, &context(&four), &["--build-arg=RUN=2", "--cache-mounts", &from, &to, "-o", "type=cacheonly"]);
    assert_eq!(ran(&all), set(&[]));
    let [five, six] = machines();
    build(&five, &context(&five), &["--build-arg=RUN=5", "--cache-mounts", &from]);
    assert_eq!(five.shell("cat /held/runs"), "1\n2\n");
    // Nobody who does not ask gets it.
    build(&six, &context(&six), &["--build-arg=RUN=6", &from]);
    assert_eq!(six.shell("ls /held"), "");
}

#[test]
fn a_cache_mount_that_is_lost_begins_empty() {
    let [one, two] = machines();
    let cache = one.path().join("cache");
    build(&one, &one.project(COUNTS, &[]), &["--build-arg=RUN=1", "--cache-mounts", &to(&cache, "")]);
    for name in blobs(&cache) {
        let path = cache.join("blobs/sha256").join(name);
        let bytes = fs::read(&path).expect("it is ours");
        // Of what is compressed the end is changed: some files have been unpacked by then.
        if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            fs::write(&path, &bytes[..bytes.len() - 2]).expect("it is ours");
        }
    }
    let context = two.project(COUNTS, &[]);
    let damaged = build(&two, &context, &["--build-arg=RUN=2", "--cache-mounts", &from(&cache)]);
    damaged.assert_stderr("the cache mount counts begins without what was to be carried to it");
    assert_eq!(two.shell("ls /held"), "");
}
