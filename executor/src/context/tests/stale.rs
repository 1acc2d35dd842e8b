//! A file that changed is noticed, whatever its size and times say; one that did not is not read again.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use builder_solver::ContentDigest;

use super::everything;
use crate::context::index::{Index, Known};
use crate::context::{LocalContext, Stamp};
use crate::pattern::IgnoreMatcher;
use crate::test_kit::{Sandbox, age, open, tick};

/// What a fresh builder says of the context, with the index that the last one left.
fn scan(sandbox: &Sandbox, name: &str) -> ContentDigest {
    sandbox.context(name, &[]).digest(&[everything()]).unwrap().digest
}

fn settle(sandbox: &Sandbox, name: &str) -> ContentDigest {
    tick(&sandbox.path(""));
    scan(sandbox, name)
}

fn stamp(path: &Path) -> Stamp {
    Stamp::of(&rustix::fs::fstat(open(path)).unwrap())
}

fn index(sandbox: &Sandbox, name: &str) -> Index {
    Index::load(&sandbox.path(&format!("{name}.index")))
}

#[test]
fn the_same_size_and_the_old_mtime() {
    for settled in [false, true] {
        let sandbox = Sandbox::new();
        let file = sandbox.tree("c", &["f=one"]).join("f");
        age(&file, 1_000_000, 7);
        let before = if settled { settle(&sandbox, "c") } else { scan(&sandbox, "c") };
        fs::write(&file, "two").unwrap();
        age(&file, 1_000_000, 7);
        assert_ne!(scan(&sandbox, "c"), before);
        fs::write(&file, "one").unwrap();
        assert_eq!(scan(&sandbox, "c"), before);
    }
}

#[test]
fn contexts_with_equal_names_sizes_and_times() {
    let sandbox = Sandbox::new();
    for (name, text) in [("one", "aaaa"), ("two", "bbbb")] {
        let file = sandbox.tree(name, &[&format!("f={text}")]).join("f");
        age(&file, 1_000_000, 7);
    }
    let one = settle(&sandbox, "one");
    assert_ne!(settle(&sandbox, "two"), one);
    // Even with the other one's index.
    fs::copy(sandbox.path("one.index"), sandbox.path("two.index")).unwrap();
    assert_ne!(scan(&sandbox, "two"), one);
}

#[test]
fn renamed_over() {
    let sandbox = Sandbox::new();
    let root = sandbox.tree("c", &["f=one", "../new=two"]);
    for file in [root.join("f"), sandbox.path("new")] {
        age(&file, 1_000_000, 7);
    }
    let before = settle(&sandbox, "c");
    fs::rename(sandbox.path("new"), root.join("f")).unwrap();
    assert_ne!(scan(&sandbox, "c"), before);
}

#[test]
fn swapped_with_each_other() {
    let sandbox = Sandbox::new();
    let root = sandbox.tree("c", &["a=one", "b=two"]);
    let before = settle(&sandbox, "c");
    for (from, to) in [("a", "t"), ("b", "a"), ("t", "b")] {
        fs::rename(root.join(from), root.join(to)).unwrap();
    }
    assert_ne!(scan(&sandbox, "c"), before);
}

#[test]
fn written_right_after_the_scan_again_and_again() {
    let sandbox = Sandbox::new();
    let file = sandbox.tree("c", &["f=0000"]).join("f");
    let mut last = scan(&sandbox, "c");
    for round in 1..200 {
        // In the same moment as far as coarse clocks can tell, and the same size.
        fs::write(&file, format!("{round:04}")).unwrap();
        let now = scan(&sandbox, "c");
        assert_ne!(now, last, "round {round}");
        last = now;
    }
}

#[test]
fn written_in_place() {
    let sandbox = Sandbox::new();
    let file = sandbox.tree("c", &["f=one"]).join("f");
    let before = settle(&sandbox, "c");
    let opened = File::options().write(true).open(&file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&opened, b"t", 0).unwrap();
    age(&file, fs::metadata(&file).unwrap().mtime() as u64, 0);
    assert_ne!(scan(&sandbox, "c"), before);
}

/// The clock was set back: by the records the file was scanned in the future, or at the very moment it was written.
#[test]
fn a_clock_that_was_set_back() {
    let sandbox = Sandbox::new();
    let file = sandbox.tree("c", &["f=true"]).join("f");
    let truth = settle(&sandbox, "c");
    let stamp = stamp(&file);
    let lie = builder_cache::content::DataDigest::of(b"lies");
    for start in [stamp.ctime, (stamp.ctime.0 - 3600, 0), (0, 0)] {
        let record = Known::new(stamp, lie, None, start);
        assert!(record.racy);
        Index::default().merged(vec![record], true).save(&sandbox.path("c.index")).unwrap();
        assert_eq!(scan(&sandbox, "c"), truth, "{start:?}");
    }
    // The control: a record that is not racy is believed.
    let record = Known::new(stamp, lie, None, (stamp.ctime.0 + 10, 0));
    Index::default().merged(vec![record], true).save(&sandbox.path("c.index")).unwrap();
    assert_ne!(scan(&sandbox, "c"), truth);
}

#[test]
fn an_mtime_in_the_future_is_read_each_time() {
    let sandbox = Sandbox::new();
    let file = sandbox.tree("c", &["f=one"]).join("f");
    age(&file, 4_000_000_000, 0);
    let before = settle(&sandbox, "c");
    assert!(index(&sandbox, "c").get(&stamp(&file)).unwrap().racy);
    fs::write(&file, "two").unwrap();
    age(&file, 4_000_000_000, 0);
    assert_ne!(scan(&sandbox, "c"), before);
}

#[test]
fn metadata_counts() {
    let sandbox = Sandbox::new();
    let file = sandbox.tree("c", &["f=one"]).join("f");
    let before = settle(&sandbox, "c");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let executable = settle(&sandbox, "c");
    assert_ne!(executable, before);
    rustix::fs::setxattr(&file, "user.a", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    let attribute = settle(&sandbox, "c");
    assert_ne!(attribute, executable);
    // From the index, too.
    assert_eq!(settle(&sandbox, "c"), attribute);
    rustix::fs::removexattr(&file, "user.a").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(settle(&sandbox, "c"), before);
    // Who owns it and when it was touched does not.
    std::os::unix::fs::chown(&file, Some(1234), Some(5)).unwrap();
    age(&file, 5, 5);
    assert_eq!(settle(&sandbox, "c"), before);
}

#[test]
fn the_index_is_not_rewritten_when_nothing_changed() {
    let sandbox = Sandbox::new();
    let root = sandbox.tree("c", &["f=one", "d/g=two", "future="]);
    age(&root.join("future"), 4_000_000_000, 0);
    settle(&sandbox, "c");
    // Twice: what was racy in the first scan is not in the second.
    settle(&sandbox, "c");
    let path = sandbox.path("c.index");
    let before = fs::metadata(&path).unwrap();
    scan(&sandbox, "c");
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
    fs::write(root.join("d/g"), "2").unwrap();
    scan(&sandbox, "c");
    assert_ne!(fs::metadata(&path).unwrap().ino(), before.ino());
    assert_eq!(index(&sandbox, "c").len(), 3);
}

#[test]
fn what_is_known_is_believed_and_a_damaged_index_is_not() {
    let sandbox = Sandbox::new();
    let file = sandbox.tree("c", &["f=true"]).join("f");
    let truth = settle(&sandbox, "c");
    for damage in [&b""[..], b"garbage", &[0; 4096]] {
        fs::write(sandbox.path("c.index"), damage).unwrap();
        assert_eq!(scan(&sandbox, "c"), truth);
    }
    fs::remove_file(sandbox.path("c.index")).unwrap();
    fs::create_dir(sandbox.path("c.index")).unwrap();
    assert_eq!(scan(&sandbox, "c"), truth, "an index that can't be written");
    let without = LocalContext::open(&sandbox.path("c"), IgnoreMatcher::default(), None).unwrap();
    assert_eq!(without.digest(&[everything()]).unwrap().digest, truth);
    assert_eq!(fs::read(file).unwrap(), b"true");
}

#[test]
fn parts_of_a_context_do_not_forget_each_other() {
    let sandbox = Sandbox::new();
    sandbox.tree("c", &["a/f=1", "b/g=2", "h=3"]);
    settle(&sandbox, "c");
    for sources in [["a"], ["b"], ["h"]] {
        sandbox.context("c", &[]).digest(&[crate::test_kit::selection(&sources, &[], false)]).unwrap();
    }
    assert_eq!(index(&sandbox, "c").len(), 3);
}

/// On an overlay neither inode numbers nor ctimes tell enough: nothing is remembered.
#[test]
fn file_systems_that_are_not_trusted_are_read() {
    use crate::rootfs::{Driver, DriverKind, Purpose};
    use std::os::fd::{AsFd, AsRawFd};
    let sandbox = Sandbox::new();
    let (lower, upper, work) = (sandbox.tree("l", &["f=one"]), sandbox.tree("u", &[]), sandbox.tree("w", &[]));
    let mount = Driver::new(&sandbox.path(""), Some(DriverKind::Overlay))
        .mount_directories(vec![lower], Some((&upper, &work)), Purpose::Files)
        .unwrap();
    let root = format!("/proc/self/fd/{}/", mount.as_fd().as_raw_fd());
    let path = sandbox.path("o.index");
    let scan = || {
        let context = LocalContext::open(Path::new(&root), IgnoreMatcher::default(), Some(path.clone())).unwrap();
        context.digest(&[everything()]).unwrap().digest
    };
    let before = scan();
    assert!(!path.exists());
    fs::write(format!("{root}f"), "two").unwrap();
    assert_ne!(scan(), before);
}
