//! Blobs: written aside, verified, never half there.

mod common;

use std::fs;
use std::io::{Read, Write};

use builder_cache::{BlobDigest, BlobInfo, DiffId, Error};
use common::{names_in, store};

#[test]
fn what_is_written_is_read_back() {
    let (_root, store) = store();
    for size in [0, 1, 1000, 128 * 1024, 128 * 1024 + 1, 1_000_000] {
        let bytes: Vec<u8> = (0..size).map(|number: u32| (number % 251) as u8).collect();
        for step in [1 << 20, 100_000, 997] {
            let mut writer = store.blob_writer().unwrap();
            for chunk in bytes.chunks(step) {
                writer.write_all(chunk).unwrap();
            }
            let info = writer.commit(None).unwrap();
            assert_eq!(info, BlobInfo { digest: BlobDigest::of(&bytes), size: bytes.len() as u64 });
            assert_eq!(store.read_blob(&info.digest, 1_000_000).unwrap(), bytes);
            let mut read = Vec::new();
            store.open_blob(&info.digest).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
        }
    }
    store.verify_blob(&BlobDigest::of(b"")).unwrap();
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let (root, store) = store();
    let expected = BlobDigest::of(b"right");
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"wrong").unwrap();
    let error = writer.commit(Some(&expected)).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { found, .. } if found == BlobDigest::of(b"wrong")));
    assert!(!store.has_blob(&expected).unwrap());
    assert!(!store.has_blob(&BlobDigest::of(b"wrong")).unwrap());
    assert!(names_in(&root.path().join("blobs/sha256")).is_empty());
    let session = names_in(&root.path().join("active"));
    assert!(names_in(&root.path().join("active").join(&session[0])).is_empty());
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let (root, store) = store();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"half").unwrap();
    writer.flush().unwrap();
    drop(writer);
    drop(store);
    assert!(names_in(&root.path().join("active")).is_empty());
}

#[test]
fn damage_is_noticed() {
    let (_root, store) = store();
    let digest = store.put_blob(b"bytes").unwrap();
    fs::write(store.blob_path(&digest), b"bytez").unwrap();
    assert!(matches!(store.read_blob(&digest, 10), Err(Error::DamagedBlob { .. })));
    assert!(matches!(store.verify_blob(&digest), Err(Error::DamagedBlob { .. })));
    store.remove_blob(&digest).unwrap();
    assert_eq!(store.put_blob(b"bytes").unwrap(), digest);
    assert_eq!(store.read_blob(&digest, 10).unwrap(), b"bytes");
}

#[test]
fn a_blob_of_another_size_is_not_there() {
    let (_root, store) = store();
    let digest = store.put_blob(b"bytes").unwrap();
    fs::write(store.blob_path(&digest), b"").unwrap();
    assert!(!store.has_blob(&digest).unwrap());
    assert!(matches!(store.open_blob(&digest), Err(Error::NoBlob(_))));
    store.put_blob(b"bytes").unwrap();
    assert_eq!(store.read_blob(&digest, 10).unwrap(), b"bytes");
}

#[test]
fn limits_and_absence_are_told() {
    let (_root, store) = store();
    let digest = store.put_blob(b"bytes").unwrap();
    assert!(matches!(store.read_blob(&digest, 4), Err(Error::BlobTooLarge { size: 5, max: 4, .. })));
    let absent = BlobDigest::of(b"absent");
    assert!(matches!(store.read_blob(&absent, 4), Err(Error::NoBlob(digest)) if digest == absent));
    assert!(matches!(store.open_blob(&absent), Err(Error::NoBlob(_))));
    assert_eq!(store.blob(&absent).unwrap(), None);
}

#[test]
fn packed_layers_are_remembered_by_compression() {
    let (_root, store) = store();
    let digest = store.put_blob(b"tar").unwrap();
    let diff_id = DiffId::of(b"tar");
    let info = BlobInfo { digest, size: 3 };
    store.set_layer_blob(&diff_id, "uncompressed", &info).unwrap();
    assert_eq!(store.layer_blob(&diff_id, "uncompressed").unwrap(), Some(info));
    assert_eq!(store.layer_blob(&diff_id, "gzip").unwrap(), None);
    store.remove_blob(&digest).unwrap();
    assert_eq!(store.layer_blob(&diff_id, "uncompressed").unwrap(), None);
}
