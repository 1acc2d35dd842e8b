//! What comes of a shared cache is what would have been made here, to the last byte.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{from, machines, project, ran, set, text, to};
use crate::kit::{Lab, Ran};

/// The digest of the manifest that an output of a build at a fixed time has.
#[track_caller]
fn made(lab: &Lab, context: &Path, output: &str, more: &[&str]) -> (String, Ran) {
    let (file, archive) = (lab.path().join("metadata.json"), lab.path().join("image.tar"));
    let output = output.replace("DEST", text(&archive));
    let fixed = ["build", "--progress=plain", "--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    let ran = lab.ok(&[&fixed, &["-o", &output, "--metadata-file", text(&file)][..], more, &[text(context)]].concat());
    let said: Value = serde_json::from_slice(&fs::read(&file).expect("it was written")).expect("it is JSON");
    (said["containerimage.digest"].as_str().expect("a digest").to_owned(), ran)
}

#[test]
fn an_image_from_a_cache_is_the_one_that_is_built() {
    for (output, packed) in [
        ("type=image,name=app", ""),
        ("type=image,name=app", ",compression=zstd"),
        ("type=image,name=app,compression=zstd", ",compression=gzip,compression-level=9"),
        ("type=image,name=app,rewrite-timestamp=true", ""),
        ("type=image,name=app,rewrite-timestamp=true", ",compression=zstd"),
        ("type=oci,dest=DEST,rewrite-timestamp=true,compression=estargz", ",compression=zstd"),
        ("type=image,name=app,compression=estargz", ""),
        ("type=oci,dest=DEST,compression=estargz,force-compression=true", ",compression=uncompressed"),
        ("type=docker,dest=DEST", ",compression=gzip"),
    ] {
        let [one, two] = machines();
        let cache = one.path().join("cache");
        let (context, same) = (project(&one, "int main"), project(&two, "int main"));
        let (local, _) = made(&one, &context, output, &[&to(&cache, &format!(",mode=max{packed}"))]);
        let (shared, cold) = made(&two, &same, output, &[&from(&cache)]);
        assert_eq!(ran(&cold), set(&[]), "{output} {packed}");
        assert_eq!(shared, local, "{output} {packed}");
    }
}
