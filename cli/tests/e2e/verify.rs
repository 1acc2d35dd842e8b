//! `builder verify`: what is stored is what its digests say, or somebody hears of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kit::{Lab, tool};

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// What fails, in the words of the command.
fn failures(lab: &Lab, target: &str) -> Vec<String> {
    let ran = lab.run(&["verify", "--json", target]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr));
    let checks = report[0]["checks"].as_array().expect("a list");
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| check["result"] == "failed")
        .map(|check| {
            let [what, compared, reason] = ["what", "compared", "reason"].map(|key| check[key].as_str().expect(key));
            format!("{what} {compared}: {reason}")
        })
        .collect();
    assert_eq!(ran.code, i32::from(!failed.is_empty()), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(report[0]["failed"], failed.len());
    failed
}

/// Damages a file, keeping its size.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("it is there");
    let last = bytes.last_mut().expect("it is not empty");
    *last ^= 1;
    fs::write(path, bytes).expect("it is writable");
}

/// The path of the blob that a descriptor means.
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a descriptor");
    layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("it is there")).expect("JSON")
}

/// A lab with an image `app` of two layers.
fn lab() -> Lab {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nCOPY f /f\nRUN true\n", &[("f", "some text")]);
    lab.build_with(&context, &["--sbom=true"]);
    lab
}

#[test]
fn files_and_blobs_of_the_store() {
    let lab = lab();
    lab.ok(&["save", "-o", text(&lab.path().join("app.tar")), "app"]);
    let ran = lab.ok(&["verify", "app"]);
    assert!(ran.stdout.contains("app: ") && ran.stdout.contains("none failed"), "{}", ran.stdout);
    let ran = lab.ok(&["verify", "-v", "app"]);
    for part in ["WHAT", "config", "content", "statement", "ok"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let layers = lab.inspect("app")["Layers"].clone();
    let directory = layers[1]["Directories"][0].as_str().expect("its files").to_owned();
    damage(&Path::new(&directory).join("f"));
    let failed = failures(&lab, "app");
    assert_eq!(failed.len(), 2, "{failed:#?}");
    assert!(failed[0].starts_with("files content: it is ") && failed[1].starts_with("files diff id: "), "{failed:#?}");
    // The others are not affected.
    assert_eq!(failures(&lab, "busybox"), [""; 0]);
    let id = lab.inspect("busybox")["Id"].as_str().expect("an id").trim_start_matches("sha256:").to_owned();
    damage(&lab.root().join("blobs/sha256").join(id));
    let failed = failures(&lab, "busybox");
    assert!(failed[0].starts_with("config digest, layers: "), "{failed:#?}");
    let ran = lab.run(&["verify", "nobody"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("no such image: nobody");
}

#[test]
fn layouts_and_archives() {
    let lab = lab();
    for kind in ["oci", "docker"] {
        let tar = lab.path().join(format!("{kind}.tar"));
        lab.ok(&["save", "--format", kind, "-o", text(&tar), "app"]);
        assert_eq!(failures(&lab, text(&tar)), [""; 0], "{kind}");
        let zipped = lab.path().join(format!("{kind}.tar.gz"));
        tool("sh", &["-c".as_ref(), format!("gzip -c {} > {}", tar.display(), zipped.display()).as_ref()]);
        assert_eq!(failures(&lab, text(&zipped)), [""; 0], "{kind}, compressed");
    }
    let layout = lab.path().join("layout");
    let unpack = || {
        let _ = fs::remove_dir_all(&layout);
        fs::create_dir(&layout).expect("a fresh name");
        let tar = lab.path().join("oci.tar");
        tool("tar", &["-xf".as_ref(), tar.as_os_str(), "-C".as_ref(), layout.as_os_str()]);
        let index = json(&blob(&layout, &json(&layout.join("index.json"))["manifests"][0]));
        (json(&blob(&layout, &index["manifests"][0])), json(&blob(&layout, &index["manifests"][1])), index)
    };
    let failed = |part: &str| {
        let failed = failures(&lab, text(&layout));
        assert!(failed.iter().any(|failure| failure.contains(part)), "{part}: {failed:#?}");
        // The same in a tarball.
        let tar = lab.path().join("damaged.tar");
        tool("tar", &["-cf".as_ref(), tar.as_os_str(), "-C".as_ref(), layout.as_os_str(), ".".as_ref()]);
        assert_eq!(failures(&lab, text(&tar)), failed, "{part}");
    };
    let (manifest, ..) = unpack();
    assert_eq!(failures(&lab, text(&layout)), [""; 0]);
    damage(&blob(&layout, &manifest["layers"][1]));
    failed("layer digest, size: it is sha256:");

    let (manifest, ..) = unpack();
    fs::remove_file(blob(&layout, &manifest["layers"][0])).expect("it is there");
    failed("layer digest, size: it is not here");

    let (.., index) = unpack();
    damage(&blob(&layout, &index["manifests"][0]));
    failed("manifest digest, size: it is sha256:");

    // Something that nothing refers to is not what its name says.
    unpack();
    fs::write(layout.join("blobs/sha256").join("a".repeat(64)), "x").expect("it is writable");
    failed("blob digest: it is sha256:");

    // A statement about another image, with all digests as they should be.
    let (_, attestation, _) = unpack();
    let statement = blob(&layout, &attestation["layers"][0]);
    let other = fs::read_to_string(&statement).expect("a text").replacen("\"sha256\":\"", "\"sha256\":\"0", 1);
    replace(&layout, &attestation["layers"][0], other.as_bytes());
    failed("statement type, subject: it is about sha256:0");

    // Layers that are swapped.
    let (manifest, ..) = unpack();
    let mut swapped = manifest.clone();
    let layers = swapped["layers"].as_array_mut().expect("layers");
    layers.swap(0, 1);
    let (_, _, index) = unpack();
    replace(&layout, &index["manifests"][0], swapped.to_string().as_bytes());
    failed("layer diff id: it unpacks to sha256:");

    fs::write(layout.join("index.json"), "{").expect("it is writable");
    failed("index content: it can't be understood");
    let ran = lab.run(&["verify", text(&lab.context(&[("x", "y")]))]);
    ran.assert_stderr("neither `manifest.json`");
}

/// Writes other bytes for a blob, and what refers to it anew, up to the layout's own index.
fn replace(layout: &Path, descriptor: &Value, bytes: &[u8]) {
    let old = descriptor["digest"].as_str().expect("a descriptor").to_owned();
    fs::remove_file(blob(layout, descriptor)).expect("it is there");
    let temporary = layout.join("new");
    fs::write(&temporary, bytes).expect("it is writable");
    let digest = tool("sha256sum", &[temporary.as_os_str()]);
    let hex = digest.split_whitespace().next().expect("a digest").to_owned();
    fs::rename(&temporary, layout.join("blobs/sha256").join(&hex)).expect("the same directory");
    let new = format!("sha256:{hex}");
    let mut parents: Vec<PathBuf> =
        fs::read_dir(layout.join("blobs/sha256")).expect("blobs").flatten().map(|entry| entry.path()).collect();
    parents.push(layout.join("index.json"));
    for parent in parents {
        let Ok(text) = fs::read_to_string(&parent) else { continue };
        let Ok(mut value) = serde_json::from_str::<Value>(&text) else { continue };
        let mut changed = false;
        for list in ["manifests", "layers"] {
            for entry in value[list].as_array_mut().into_iter().flatten() {
                if entry["digest"] == old.as_str() {
                    entry["digest"] = new.as_str().into();
                    entry["size"] = bytes.len().into();
                    changed = true;
                }
            }
        }
        if !changed {
            continue;
        }
        if parent.ends_with("index.json") {
            fs::write(&parent, value.to_string()).expect("it is writable");
        } else {
            let name = parent.file_name().expect("a blob").to_string_lossy().into_owned();
            let descriptor = serde_json::json!({ "digest": format!("sha256:{name}") });
            replace(layout, &descriptor, value.to_string().as_bytes());
        }
    }
}
