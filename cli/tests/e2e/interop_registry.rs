//! Others read from a registry what `builder` pushed, and `builder` what they did: skopeo, podman, buildah, and clients
//! that know nothing but the protocol.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::archives::Podman;
use crate::kit::{Lab, Ran, tool};
use crate::layout::{digest, filter, fresh, text};
use crate::registry_kit::RealRegistry;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An image of some layers that can be made for every platform where there are no programs of it.
const APP: &str = "FROM busybox AS native\nRUN head -c 200000 /dev/urandom > /noise\n\
    FROM busybox\nCOPY --from=native /noise /noise\nCOPY greeting sub/ /data/\nRUN rm -r /var/empty && echo made > /made\n\
    ENV GREETING=hi\nCMD [\"cat\", \"/data/greeting\", \"/made\"]\n";
const SAYS: &str = "hello\nmade\n";

/// A Dockerfile of what runs nowhere, for any platform.
const FOREIGN: &str = "FROM scratch\nARG TARGETARCH\nLABEL for=$TARGETARCH\nCOPY greeting /\n";

/// An answer of a server: status, headers, body.
struct Answer {
    status: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Asks as simply as it can be done.
#[track_caller]
fn ask(registry: &RealRegistry, method: &str, path: &str, accept: &str) -> Answer {
    let mut stream = TcpStream::connect(registry.host()).expect("it listens");
    let request = format!("{method} /v2/{path} HTTP/1.0\r\nHost: {}\r\nAccept: {accept}\r\n\r\n", registry.host());
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it answers");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("the headers end");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("headers are text");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status").to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Answer { status, headers, body: bytes.split_off(end + 4) }
}

/// A manifest and all it speaks of, each compared with what is said of it.
#[track_caller]
fn read(registry: &RealRegistry, repository: &str, which: &str) -> (String, Value) {
    let accept = [INDEX, MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");
    let path = format!("{repository}/manifests/{which}");
    let answer = ask(registry, "GET", &path, &accept);
    assert_eq!(answer.status, "200", "{path}: {}", String::from_utf8_lossy(&answer.body));
    let found = digest(&answer.body);
    let manifest: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let head = ask(registry, "HEAD", &path, &accept);
    for headers in [&answer.headers, &head.headers] {
        assert_eq!(headers["docker-content-digest"], found);
        assert_eq!(headers["content-length"], answer.body.len().to_string());
        assert_eq!(manifest["mediaType"], headers["content-type"].as_str());
    }
    assert_eq!(manifest["schemaVersion"], 2);
    let kind = manifest["mediaType"].as_str().expect("a media type");
    let list = |name: &str| manifest[name].as_array().cloned().unwrap_or_default();
    if [INDEX, DOCKER_LIST].contains(&kind) {
        assert!(!list("manifests").is_empty());
        for child in list("manifests") {
            let (name, inner) = read(registry, repository, child["digest"].as_str().expect("a digest"));
            assert_eq!(child["digest"], name.as_str());
            assert_eq!(child["mediaType"], inner["mediaType"]);
            let path = format!("{repository}/manifests/{name}");
            let size = ask(registry, "GET", &path, &accept).body.len();
            assert_eq!(child["size"].as_u64(), Some(size as u64));
            let attests = child["annotations"]["vnd.docker.reference.type"] == "attestation-manifest";
            let config: Value =
                serde_json::from_slice(&blob(registry, repository, &inner["config"])).expect("a config is JSON");
            let expected = if attests { "unknown" } else { config["architecture"].as_str().expect("a text") };
            assert_eq!(child["platform"]["architecture"], expected);
            if attests {
                let subject = &child["annotations"]["vnd.docker.reference.digest"];
                assert!(list("manifests").iter().any(|other| other["digest"] == *subject));
            }
        }
        return (found, manifest);
    }
    if manifest["artifactType"].is_string() {
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
        assert_eq!(blob(registry, repository, &manifest["config"]), b"{}");
        for layer in list("layers") {
            assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
            let statement: Value = serde_json::from_slice(&blob(registry, repository, &layer)).expect("JSON");
            assert_eq!(statement["predicateType"], layer["annotations"]["in-toto.io/predicate-type"]);
        }
        return (found, manifest);
    }
    let (config_type, layer_type) = if kind == MANIFEST { (CONFIG, LAYER) } else { (DOCKER_CONFIG, DOCKER_LAYER) };
    assert_eq!(manifest["config"]["mediaType"], config_type);
    let config: Value = serde_json::from_slice(&blob(registry, repository, &manifest["config"])).expect("JSON");
    let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("diff ids");
    assert_eq!(diff_ids.len(), list("layers").len());
    for (layer, diff_id) in list("layers").iter().zip(diff_ids) {
        let bytes = blob(registry, repository, layer);
        let media_type = layer["mediaType"].as_str().expect("a media type");
        let suffix = media_type.strip_prefix(layer_type).unwrap_or_else(|| panic!("{media_type} in {kind}"));
        let (magic, program): (&[u8], &str) = match suffix {
            "" if kind == MANIFEST => (b"", ""),
            "+zstd" => (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
            "+gzip" | "" => (&[0x1f, 0x8b], "gzip"),
            other => panic!("{other}"),
        };
        assert!(bytes.starts_with(magic), "{media_type}");
        let plain = if program.is_empty() {
            bytes
        } else {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            file.write_all(&bytes).expect("it is ours");
            filter(program, &["-dc"], file.path())
        };
        assert_eq!(*diff_id, digest(&plain), "{media_type}");
    }
    (found, manifest)
}

/// The blob of a descriptor.
#[track_caller]
fn blob(registry: &RealRegistry, repository: &str, descriptor: &Value) -> Vec<u8> {
    let name = descriptor["digest"].as_str().expect("a digest");
    let answer = ask(registry, "GET", &format!("{repository}/blobs/{name}"), "*/*");
    assert_eq!((answer.status.as_str(), digest(&answer.body).as_str()), ("200", name));
    assert_eq!(descriptor["size"].as_u64(), Some(answer.body.len() as u64));
    answer.body
}

fn remote(registry: &RealRegistry, name: &str) -> String {
    format!("docker://{}", registry.reference(name))
}

/// Copies with skopeo, to and from the registry.
#[track_caller]
fn copy(from: &str, to: &str, options: &[&str]) {
    let mut args = vec!["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
    args.extend(options);
    args.extend([from, to]);
    let args: Vec<_> = args.into_iter().map(std::ffi::OsStr::new).collect();
    tool("skopeo", &args);
}

/// Builds and pushes, with more arguments.
#[track_caller]
fn pushed(lab: &Lab, name: &str, dockerfile: &str, args: &[&str]) -> Ran {
    let context = lab.project(dockerfile, &[("greeting", "hello\n"), ("sub/file", "f")]);
    lab.ok(&[&["build", "--progress=plain", "-t", name], args, &[text(&context)]].concat())
}

fn id(lab: &Lab, name: &str) -> String {
    lab.inspect(name)["Id"].as_str().expect("an id").to_owned()
}

/// The layers' media types without what they begin with.
fn layer_types(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().expect("layers");
    layers.iter().map(|layer| layer["mediaType"].as_str().expect("a text").replace(LAYER, "")).collect()
}

#[test]
fn all_that_is_pushed_is_as_it_is_described() {
    let (lab, registry) = (Lab::new(), RealRegistry::start());
    for (output, suffix) in [
        ("type=registry", "+gzip"),
        ("type=image,push=true,compression=zstd,force-compression=true", "+zstd"),
        ("type=image,push=true,compression=uncompressed,force-compression=true", ""),
    ] {
        let repository = format!("app{}", suffix.replace('+', "-"));
        pushed(&lab, &registry.reference(&repository), APP, &["-o", output]);
        let (_, manifest) = read(&registry, &repository, "latest");
        assert_eq!(manifest["mediaType"], MANIFEST);
        assert!(layer_types(&manifest).iter().all(|kind| kind == suffix), "{output}: {manifest}");
    }
    let args = ["--push", "--platform=linux/amd64,linux/arm64,linux/arm/v7", "--provenance=mode=max", "--sbom=true"];
    pushed(&lab, &registry.reference("all/of:them"), FOREIGN, &args);
    let (_, index) = read(&registry, "all/of", "them");
    assert_eq!(index["mediaType"], INDEX);
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(6), "{index}");
    assert_eq!(index["manifests"][2]["platform"]["variant"], "v7");
}

#[test]
fn digests_stay_the_same_on_the_way_round() {
    let (lab, registry) = (Lab::new(), RealRegistry::start());
    pushed(&lab, &registry.reference("gzip:1"), APP, &["--push"]);
    pushed(&lab, &registry.reference("zstd:1"), APP, &["-o", "type=registry,compression=zstd,force-compression=true"]);
    let platforms = ["--push", "--platform=linux/amd64,linux/arm64", "--provenance=true"];
    pushed(&lab, &registry.reference("index:1"), FOREIGN, &platforms);
    for name in ["gzip", "zstd", "index"] {
        let (expected, _) = read(&registry, name, "1");
        // skopeo: registry → layout → registry, and registry → directory → registry by `sync`.
        let layout = format!("oci:{}:x", text(&fresh(&lab, "layout")));
        copy(&remote(&registry, &format!("{name}:1")), &layout, &["--all", "--preserve-digests"]);
        copy(&layout, &remote(&registry, &format!("{name}-copied:1")), &["--all", "--preserve-digests"]);
        assert_eq!(read(&registry, &format!("{name}-copied"), "1").0, expected, "{name}");
        let synced = fresh(&lab, "synced");
        fs::create_dir(&synced).expect("ours");
        let sync = |args: &[&str]| {
            let mut all =
                vec!["--insecure-policy", "sync", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"];
            all.extend(args);
            tool("skopeo", &all.into_iter().map(std::ffi::OsStr::new).collect::<Vec<_>>());
        };
        sync(&["--src=docker", "--dest=dir", &registry.reference(name), text(&synced)]);
        sync(&["--src=dir", "--dest=docker", text(&synced), &registry.reference("synced")]);
        assert_eq!(read(&registry, &format!("synced/{name}"), "1").0, expected, "{name}");

        // builder: what it pulled from there goes elsewhere as it came.
        let other = Lab::empty();
        let (pulled, again) =
            (registry.reference(&format!("{name}-copied:1")), registry.reference(&format!("{name}-again:1")));
        let told = other.ok(&["pull", &pulled]).stdout;
        assert!(told.contains(&format!("Digest: {expected}\n")), "{told}");
        other.ok(&["tag", &pulled, &again]);
        other.ok(&["push", &again]);
        // Of an index one platform's image was pulled, and so one is pushed.
        if name == "index" {
            let (_, manifest) = read(&registry, "index-again", "1");
            assert_eq!(manifest["config"]["digest"], id(&other, &pulled).as_str());
            continue;
        }
        assert_eq!(read(&registry, &format!("{name}-again"), "1").0, expected, "{name}");
        assert_eq!(id(&other, &pulled), id(&lab, &registry.reference(&format!("{name}:1"))));
        assert_eq!(other.ok(&["run", "--rm", &pulled]).stdout, SAYS);
    }
}

#[test]
fn podman_and_buildah_take_what_is_pushed_and_bring_it_back() {
    let (lab, registry) = (Lab::new(), RealRegistry::start());
    // What podman pulled in zstd it can't push in Docker's form, which knows none.
    let (zstd, docker) = ("type=registry,compression=zstd,force-compression=true", "docker");
    for (name, output, pushes, commit) in [
        ("gzip", "type=registry", &[("oci", "zstd"), ("v2s2", "gzip")][..], docker),
        ("zstd", zstd, &[("oci", "gzip")], "oci"),
    ] {
        let reference = registry.reference(&format!("{name}:1"));
        pushed(&lab, &reference, APP, &["-o", output]);
        let podman = Podman::new(&lab);
        podman.podman(&["pull", "-q", "--tls-verify=false", &reference]);
        assert_eq!(podman.id(&reference), id(&lab, &reference));
        assert_eq!(podman.podman(&["run", "--rm", &reference]), SAYS);
        for &(format, compression) in pushes {
            // A registry of its own: in one that knows the layers in another form, they would be taken as they are.
            let fresh = RealRegistry::start();
            let to = fresh.reference(&format!("podman:{format}-{compression}"));
            let args = ["push", "-q", "--tls-verify=false", "--format", format, "--compression-format", compression];
            podman.podman(&[&args[..], &[&reference, &to]].concat());
            let tag = format!("{format}-{compression}");
            let (_, manifest) = read(&fresh, "podman", &tag);
            let expected = match (format, compression) {
                ("v2s2", _) => DOCKER_LAYER,
                (_, "zstd") => "+zstd",
                _ => "+gzip",
            };
            assert!(layer_types(&manifest).iter().all(|layer| layer == expected), "{tag}: {manifest}");
            comes_back(&fresh, "podman", &tag, SAYS);
        }

        let container = podman.buildah(&["from", "--tls-verify=false", "--pull-always", &reference]);
        let root = podman.buildah(&["mount", &container]);
        fs::write(format!("{root}/made"), "by buildah\n").expect("ours");
        fs::remove_dir_all(format!("{root}/tmp")).expect("it is in a lower layer");
        podman.buildah(&["umount", &container]);
        podman.buildah(&["config", "--env", "BY=buildah", &container]);
        podman.buildah(&["commit", "-q", "--format", commit, &container, "made"]);
        let fresh = RealRegistry::start();
        podman.buildah(&["push", "-q", "--tls-verify=false", "made", &remote(&fresh, &format!("buildah:{commit}"))]);
        let other = comes_back(&fresh, "buildah", commit, "hello\nby buildah\n");
        let pulled = fresh.reference(&format!("buildah:{commit}"));
        let shown = other.ok(&["run", "--rm", &pulled, "sh", "-c", "echo $BY; ls -d /tmp || echo none"]);
        assert_eq!(shown.stdout, "buildah\nnone\n");
    }
}

/// An image that somebody else pushed is pulled, run, built upon, and pushed as it came.
#[track_caller]
fn comes_back(registry: &RealRegistry, repository: &str, tag: &str, says: &str) -> Lab {
    let (expected, manifest) = read(registry, repository, tag);
    let (lab, name) = (Lab::empty(), registry.reference(&format!("{repository}:{tag}")));
    let what = format!("{repository}:{tag}");
    let told = lab.ok(&["pull", &name]).stdout;
    assert!(told.contains(&format!("Digest: {expected}\n")), "{what}: {told}");
    assert_eq!(manifest["config"]["digest"], id(&lab, &name).as_str(), "{what}");
    let again = registry.reference(&format!("{repository}/again:{tag}"));
    lab.ok(&["tag", &name, &again]);
    lab.ok(&["push", &again]);
    assert_eq!(read(registry, &format!("{repository}/again"), tag).0, expected, "{what}");
    assert_eq!(lab.ok(&["run", "--rm", &name]).stdout, says, "{what}");
    // A machine that has not pulled it builds on it, and what comes of it is whole for everybody.
    let (builder, result) = (Lab::empty(), format!("{repository}/upon"));
    pushed(
        &builder,
        &registry.reference(&format!("{result}:{tag}")),
        &format!("FROM {name}\nRUN echo upon >> /made\n"),
        &["--push"],
    );
    read(registry, &result, tag);
    let layout = format!("oci:{}:x", text(&fresh(&lab, "layout")));
    copy(&remote(registry, &format!("{result}:{tag}")), &layout, &[]);
    let ran = builder.ok(&["run", "--rm", &registry.reference(&format!("{result}:{tag}"))]);
    assert_eq!(ran.stdout, format!("{says}upon\n"), "{what}");
    lab
}

#[test]
fn what_skopeo_converts_is_pulled_run_and_built_upon() {
    let (lab, registry) = (Lab::new(), RealRegistry::start());
    pushed(&lab, &registry.reference("app:1"), APP, &["--push"]);
    let from = remote(&registry, "app:1");
    for (tag, options, kind, layers) in [
        ("docker", &["--format=v2s2"][..], DOCKER_MANIFEST, DOCKER_LAYER),
        ("zstd", &["--format=oci", "--dest-compress-format=zstd", "--dest-compress-level=3"], MANIFEST, "+zstd"),
        ("oci", &["--format=oci"], MANIFEST, "+gzip"),
    ] {
        // By way of a directory nothing of the first form is left.
        let dir = format!("dir:{}", text(&fresh(&lab, "dir")));
        copy(&from, &dir, &["--dest-decompress"]);
        // A registry of its own: in one that knows the layers in another form, they would be taken as they are.
        let fresh = RealRegistry::start();
        copy(&dir, &remote(&fresh, &format!("skopeo:{tag}")), options);
        let (_, manifest) = read(&fresh, "skopeo", tag);
        assert_eq!(manifest["mediaType"], kind);
        assert!(layer_types(&manifest).iter().all(|layer| layer == layers), "{tag}: {manifest}");
        comes_back(&fresh, "skopeo", tag, SAYS);
    }
}

#[test]
fn an_index_that_podman_makes_has_each_platform() {
    let (lab, registry) = (Lab::new(), RealRegistry::start());
    let podman = Podman::new(&lab);
    for arch in ["amd64", "arm64"] {
        let platform = format!("--platform=linux/{arch}");
        pushed(&lab, &registry.reference(&format!("single:{arch}")), FOREIGN, &["--push", &platform]);
    }
    for format in ["oci", "v2s2"] {
        let list = format!("list-{format}");
        podman.podman(&["manifest", "create", &list]);
        for arch in ["amd64", "arm64"] {
            podman.podman(&[
                "manifest",
                "add",
                "--tls-verify=false",
                &list,
                &remote(&registry, &format!("single:{arch}")),
            ]);
        }
        let to = remote(&registry, &format!("list:{format}"));
        podman.podman(&["manifest", "push", "-q", "--all", "--tls-verify=false", "--format", format, &list, &to]);
        let (expected, index) = read(&registry, "list", format);
        assert_eq!(index["mediaType"], if format == "oci" { INDEX } else { DOCKER_LIST });
        for (arch, machine) in [("amd64", "x86_64"), ("arm64", "aarch64")] {
            let (other, name) = (Lab::empty(), registry.reference(&format!("list:{format}")));
            let told = other.ok(&["pull", &format!("--platform=linux/{arch}"), &name]).stdout;
            assert!(told.contains(&format!("Digest: {expected}\n")), "{machine}: {told}");
            assert_eq!(other.inspect(&name)["Architecture"], arch);
            assert_eq!(other.inspect(&name)["Config"]["Labels"]["for"], arch);
        }
        // Built upon for both platforms at once.
        let (builder, upon) = (Lab::empty(), registry.reference(&format!("upon:{format}")));
        let dockerfile = format!("FROM {}\nCOPY sub /sub\n", registry.reference(&format!("list:{format}")));
        pushed(&builder, &upon, &dockerfile, &["--push", "--platform=linux/amd64,linux/arm64"]);
        let (_, index) = read(&registry, "upon", format);
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2), "{index}");
        podman.podman(&["pull", "-q", "--tls-verify=false", "--arch=arm64", &upon]);
        let shown = podman.podman(&["image", "inspect", "-f", "{{.Architecture}} {{.Labels}}", &upon]);
        assert_eq!(shown.trim_end(), "arm64 map[for:arm64]");
    }
}
