//! Attestations: what is said of an image beside it, wherever it goes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::kit::{Lab, tool};
use crate::registry_kit::RealRegistry;
use crate::remote_kit::{GitServer, Repo};
use crate::web::{Web, not_found, ok};

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";

/// Databases of packages, as distributions and languages write them.
const DATABASES: [(&str, &str); 7] = [
    ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
    (
        "var/lib/dpkg/status",
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.36-9)\nVersion: 2.36-9+deb12u4\n\
         Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>\nDescription: x\n more\n\n\
         Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n",
    ),
    (
        "usr/share/doc/libc6/copyright",
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: LGPL-2.1+\n text\n",
    ),
    ("lib/apk/db/installed", "P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\n"),
    (
        "usr/lib/python3/dist-packages/requests-2.28.1.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: requests\nVersion: 2.28.1\nLicense: Apache 2.0\n\ntext\n",
    ),
    ("app/node_modules/@types/node/package.json", r#"{"name":"@types/node","version":"20.1.0","license":"MIT"}"#),
    ("root/.cargo/.crates2.json", r#"{"installs":{"ripgrep 14.1.0 (registry+https://example.com/index)":{}}}"#),
];

/// What the list of packages names for these databases.
const PACKAGES: [&str; 5] = [
    "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc%402.36-9",
    "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64&distro=debian-12",
    "pkg:pypi/requests@2.28.1",
    "pkg:npm/%40types/node@20.1.0",
    "pkg:cargo/ripgrep@14.1.0",
];

/// An index of a layout, and what is in it.
struct Layout {
    directory: std::path::PathBuf,
    index: Value,
}

impl Layout {
    /// Of a directory, or of a tarball, by what its own index lists first.
    fn of(lab: &Lab, path: &Path) -> Self {
        let mut directory = path.to_owned();
        if path.is_file() {
            directory = lab.context(&[]);
            tool("tar", &["-xf".as_ref(), path.as_os_str(), "-C".as_ref(), directory.as_os_str()]);
        }
        let top = json(&fs::read(directory.join("index.json")).expect("it is a layout"));
        let mut layout = Self { directory, index: Value::Null };
        layout.index = layout.blob(&top["manifests"][0]);
        layout
    }

    fn blob(&self, descriptor: &Value) -> Value {
        json(&self.bytes(descriptor))
    }

    fn bytes(&self, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().expect("a descriptor");
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        fs::read(self.directory.join("blobs/sha256").join(hex)).expect("its blob is there")
    }

    /// The manifest with attestations and the descriptor of what it is about.
    fn attestations(&self) -> (Value, Value) {
        let manifests = self.index["manifests"].as_array().expect("an index");
        let is_about =
            |descriptor: &&Value| descriptor["annotations"]["vnd.docker.reference.type"] == "attestation-manifest";
        let descriptor = manifests.iter().find(is_about).expect("one with attestations");
        assert_eq!(descriptor["platform"], json!({ "architecture": "unknown", "os": "unknown" }));
        let about = &descriptor["annotations"]["vnd.docker.reference.digest"];
        let subject = manifests.iter().find(|manifest| manifest["digest"] == *about).expect("it is listed");
        (self.blob(descriptor), subject.clone())
    }

    /// A statement by its type.
    fn statement(&self, kind: &str) -> Value {
        let (manifest, subject) = self.attestations();
        let layers = manifest["layers"].as_array().expect("a manifest");
        let has_type = |layer: &&Value| layer["annotations"]["in-toto.io/predicate-type"] == kind;
        let layer = layers.iter().find(has_type).unwrap_or_else(|| panic!("no {kind}: {manifest:#}"));
        assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
        let statement = self.blob(layer);
        assert_eq!(
            (&statement["_type"], &statement["predicateType"]),
            (&json!("https://in-toto.io/Statement/v1"), &json!(kind))
        );
        let digest = subject["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
        for subject in statement["subject"].as_array().expect("subjects") {
            assert_eq!(subject["digest"]["sha256"], digest);
        }
        statement
    }
}

/// Runs a script on this machine.
fn here(script: &str) -> String {
    tool("sh", &["-c".as_ref(), script.as_ref()])
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// The package URLs of a list.
fn urls(list: &Value) -> BTreeSet<String> {
    let packages = list["packages"].as_array().expect("a list");
    let refs = packages.iter().filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str());
    refs.map(str::to_owned).collect()
}

#[test]
fn an_image_carries_what_is_said_of_it() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox AS base\nARG GREETING\nRUN --mount=type=secret,id=token cat /run/secrets/token > /dev/null && \
                      echo $GREETING > /greeting\nFROM base\nCOPY root /\nRUN --network=none true\n";
    let context = lab.context(
        &DATABASES.map(|(name, content)| (format!("root/{name}"), content)).each_ref().map(|(n, c)| (n.as_str(), *c)),
    );
    fs::write(context.join("Dockerfile"), dockerfile).expect("the context is writable");
    let token = lab.path().join("token");
    fs::write(&token, "canary-of-a-secret").expect("it is writable");
    let secret = format!("id=token,src={}", token.display());
    let out = lab.path().join("out.tar");
    let output = format!("type=oci,dest={}", out.display());
    let facts = lab.path().join("facts.json");
    let args = [
        "--metadata-file",
        text(&facts),
        "--secret",
        &secret,
        "--build-arg",
        "GREETING=hi",
        "--provenance=mode=max",
        "--sbom=true",
        "-o",
        &output,
        "-o",
        "type=image",
    ];
    lab.build_with(&context, &args);

    let layout = Layout::of(&lab, &out);
    let (manifest, subject) = layout.attestations();
    assert_eq!(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(manifest["subject"]["digest"], subject["digest"]);
    assert_eq!(manifest["subject"]["size"], subject["size"]);

    let list = layout.statement(SPDX);
    assert_eq!(list["subject"][0]["name"], "pkg:docker/app@latest?platform=linux%2Famd64");
    assert_eq!(urls(&list["predicate"]), PACKAGES.map(str::to_owned).into());
    let packages = list["predicate"]["packages"].as_array().expect("a list");
    let libc = packages.iter().find(|package| package["name"] == "libc6").expect("it is listed");
    assert_eq!(libc["licenseDeclared"], "LGPL-2.1-or-later");
    assert_eq!(libc["supplier"], "Person: GNU Libc Maintainers (debian-glibc@lists.debian.org)");

    let provenance = layout.statement(PROVENANCE);
    let predicate = &provenance["predicate"];
    let definition = &predicate["buildDefinition"];
    assert_eq!(definition["externalParameters"]["configSource"]["path"], "Dockerfile");
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["args"], json!({ "build-arg:GREETING": "hi" }));
    assert_eq!(request["secrets"], json!([{ "id": "token", "optional": true }]));
    assert_eq!(request["locals"], json!([{ "name": "context" }, { "name": "dockerfile" }]));
    let base = lab.inspect("busybox")["Id"].as_str().expect("an id").trim_start_matches("sha256:").to_owned();
    let material = json!([{ "uri": "pkg:docker/busybox@latest?platform=linux%2Famd64", "digest": { "sha256": base } }]);
    assert_eq!(definition["resolvedDependencies"], material);
    let steps = definition["internalParameters"]["buildConfig"]["llbDefinition"].as_array().expect("steps");
    assert_eq!(steps.len(), 6, "FROM, RUN, context, COPY, RUN, and the end: {steps:#?}");
    let run = &steps[1]["op"]["Op"]["exec"];
    assert_eq!(run["mounts"][1]["secretOpt"]["ID"], "token");
    assert_eq!(steps[1]["inputs"], json!(["step0:0"]));
    let source = &predicate["runDetails"]["metadata"]["buildkit_metadata"]["source"];
    assert_eq!(source["locations"]["step1"]["locations"][0]["ranges"][0]["start"]["line"], 3);
    let metadata = &predicate["runDetails"]["metadata"];
    assert_eq!(metadata["buildkit_completeness"], json!({ "request": true, "resolvedDependencies": false }));

    assert_eq!(json(&fs::read(&facts).expect("it was written"))["buildx.build.provenance"], *predicate);

    // The secret is nowhere.
    let all =
        here(&format!("grep -rl canary-of-a-secret {} {} || true", lab.root().display(), layout.directory.display()));
    assert_eq!(all, "");
    // Others read it, and we find nothing wrong with it.
    let raw = tool("skopeo", &["inspect", "--raw", &format!("oci-archive:{}", out.display())].map(OsStr::new));
    assert_eq!(json(raw.as_bytes())["manifests"].as_array().map(Vec::len), Some(2));
    lab.ok(&["verify", "app", text(&out)]);
}

#[test]
fn a_name_keeps_what_is_said_of_its_image() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nRUN echo x > /x\n", &[]);
    lab.build_with(&context, &["--attest=type=provenance,mode=min", "--sbom=true"]);
    lab.ok(&["tag", "app", "other:1"]);
    lab.ok(&["rmi", "app"]);
    lab.ok(&["cache", "prune", "-a"]);
    let file = lab.path().join("saved.tar");
    lab.ok(&["save", "-o", text(&file), "other:1"]);
    let layout = Layout::of(&lab, &file);
    let subject = &layout.statement(SPDX)["subject"][0]["name"];
    assert_eq!(subject, "pkg:docker/app@latest?platform=linux%2Famd64", "as it was called when that was said");
    layout.statement(PROVENANCE);
    lab.ok(&["verify", text(&file), "other:1"]);
    // Removed with the last name.
    lab.ok(&["rmi", "other:1"]);
    lab.ok(&["cache", "prune", "-a"]);
    let left = here(&format!("grep -l SPDX {}/blobs/sha256/* || true", lab.root().display()));
    assert_eq!(left, "");
    // And it comes back with the archive, as an image.
    lab.ok(&["load", "-i", text(&file)]);
    lab.ok(&["run", "--rm", "other:1", "cat", "/x"]);
}

#[test]
fn a_registry_gets_it_with_the_image() {
    let (lab, server) = (Lab::new(), RealRegistry::start());
    let name = server.reference("team/app:1");
    let context = lab.project("FROM busybox\nRUN echo x > /x\n", &[]);
    for artifact in ["true", "false"] {
        let output = format!("type=image,push=true,name={name},oci-artifact={artifact}");
        lab.ok(&["build", "-q", "--sbom=true", "--provenance=mode=min", "-o", &output, text(&context)]);
        let to = lab.path().join(format!("copied-{artifact}"));
        let words = [
            "copy",
            "--all",
            "--src-tls-verify=false",
            &format!("docker://{name}"),
            &format!("oci:{}:x", to.display()),
        ];
        tool("skopeo", &words.map(OsStr::new));
        let layout = Layout::of(&lab, &to);
        let (manifest, _) = layout.attestations();
        assert_eq!(manifest["artifactType"].is_string(), artifact == "true");
        assert_eq!(
            layout.statement(SPDX)["subject"][0]["name"],
            json!(format!("pkg:docker/{name}?platform=linux%2Famd64").replace("app:1", "app@1"))
        );
        lab.ok(&["verify", text(&to)]);
    }
    // Later, and by another command.
    lab.ok(&["tag", &name, &server.reference("team/other:2")]);
    lab.ok(&["push", &server.reference("team/other:2")]);
    let words = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{}", server.reference("team/other:2"))];
    let raw = json(tool("skopeo", &words.map(OsStr::new)).as_bytes());
    assert_eq!(raw["manifests"][1]["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
}

#[test]
fn files_get_files_beside_them() {
    let lab = Lab::new();
    let context = lab.project("FROM scratch\nCOPY d /d\n", &[("d/a", "one"), ("d/b", "two")]);
    let build = |output: &str, more: &[&str]| {
        let mut args = vec!["build", "-q", "--provenance=mode=min,filename=how.json", "--sbom=true", "-o", output];
        args.extend(more);
        args.push(text(&context));
        lab.ok(&args);
    };
    let out = lab.path().join("out");
    build(&format!("type=local,dest={},attestation-prefix=app.", out.display()), &[]);
    let statement = json(&fs::read(out.join("app.how.json")).expect("it was written"));
    let names: Vec<_> =
        statement["subject"].as_array().expect("subjects").iter().map(|subject| &subject["name"]).collect();
    assert_eq!(names, ["d/a", "d/b"]);
    let digest = here(&format!("sha256sum < {}", out.join("d/a").display()));
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest.split_whitespace().next().expect("a digest"));
    assert_eq!(json(&fs::read(out.join("app.sbom.spdx.json")).expect("it was written"))["predicateType"], SPDX);

    let tar = lab.path().join("out.tar");
    build(&format!("type=tar,dest={}", tar.display()), &["--platform=linux/amd64,linux/arm64"]);
    let listed = here(&format!("tar -tf {}", tar.display()));
    for name in ["linux_amd64/how.json", "linux_arm64/sbom.spdx.json", "linux_arm64/d/a"] {
        assert!(listed.lines().any(|line| line == name), "{name}: {listed}");
    }
    let both = lab.path().join("both");
    build(&format!("type=local,dest={},platform-split=false", both.display()), &["--platform=linux/amd64"]);
    assert!(both.join("how.json").is_file());
    // What is for images only is not written beside files, nor into archives.
    let bare = lab.path().join("bare");
    let archive = lab.path().join("archive.tar");
    let (to_bare, to_archive) =
        (format!("type=local,dest={}", bare.display()), format!("type=oci,dest={}", archive.display()));
    let inline =
        ["build", "-q", "--provenance=mode=min,inline-only=true", "-o", &to_bare, "-o", &to_archive, text(&context)];
    lab.ok(&inline);
    assert!(!bare.join("provenance.json").exists());
    assert!(Layout::of(&lab, &archive).index["layers"].is_array(), "a manifest and no index");
}

#[test]
fn versions_modes_and_sources() {
    let lab = Lab::new();
    let web = Web::start(|request| if request.path == "/f" { ok("", b"from the web") } else { not_found() });
    let dockerfile = format!("FROM busybox\nARG TOKEN\nADD {} /f\nRUN --network=none true\n", web.url("/f"));
    let repository = Repo::new(&lab.path().join("served/repo"));
    let commit = repository.write("Dockerfile", &dockerfile).commit("one");
    let server = GitServer::start(lab.path().join("served"));
    let address = format!("{}#main", server.url("repo/.git"));
    let out = lab.path().join("out");
    let output = format!("type=local,dest={}", out.display());
    let provenance = |options: &str| {
        let attest = format!("type=provenance,{options}");
        lab.ok(&["build", "-q", "--attest", &attest, "--build-arg", "TOKEN=abc", "-o", &output, &address]);
        json(&fs::read(out.join("provenance.json")).expect("it was written"))
    };
    let file = json!({ "uri": web.url("/f"), "digest": { "sha256": sha256(b"from the web") } });
    let repository = json!({ "uri": address, "digest": { "sha1": commit } });

    let min = provenance("mode=min,builder-id=https://ci.example/7,reproducible=true");
    let predicate = &min["predicate"];
    let materials = predicate["buildDefinition"]["resolvedDependencies"].as_array().expect("a list");
    assert!(materials.contains(&file), "{materials:#?}");
    let config = &predicate["buildDefinition"]["externalParameters"]["configSource"];
    assert_eq!((&config["uri"], &config["digest"]), (&repository["uri"], &repository["digest"]));
    assert!(predicate["buildDefinition"]["externalParameters"]["request"].get("args").is_none());
    assert!(predicate["buildDefinition"]["internalParameters"].get("buildConfig").is_none());
    assert_eq!(predicate["runDetails"]["builder"]["id"], "https://ci.example/7");
    let metadata = &predicate["runDetails"]["metadata"];
    assert_eq!(metadata["buildkit_completeness"], json!({ "request": false, "resolvedDependencies": true }));
    assert_eq!((&metadata["buildkit_hermetic"], &metadata["buildkit_reproducible"]), (&json!(true), &json!(true)));
    assert!(!min.to_string().contains("abc"), "build arguments are for mode=max");

    let max = provenance("version=v0.2");
    assert_eq!(max["predicateType"], "https://slsa.dev/provenance/v0.2");
    let predicate = &max["predicate"];
    assert_eq!(predicate["buildType"], "https://mobyproject.org/buildkit@v1");
    assert!(predicate["materials"].as_array().expect("a list").contains(&file));
    assert_eq!(predicate["invocation"]["parameters"]["args"]["build-arg:TOKEN"], "abc");
    assert_eq!(predicate["invocation"]["configSource"]["entryPoint"], "Dockerfile");
    assert!(predicate["buildConfig"]["llbDefinition"].is_array());
    assert!(predicate["metadata"]["https://mobyproject.org/buildkit@v1#metadata"]["source"].is_object());
}

#[test]
fn a_fixed_time_makes_fixed_bytes() {
    let lab = Lab::new();
    let context = lab.project("FROM busybox\nCOPY f /\n", &[("f", "x")]);
    let archive = |name: &str| {
        let out = lab.path().join(name);
        let output = format!("type=oci,dest={},rewrite-timestamp=true", out.display());
        let mut command = lab.command(&[
            "build",
            "-q",
            "--no-cache",
            "--provenance=true",
            "--sbom=true",
            "-o",
            &output,
            text(&context),
        ]);
        let ran = command.env("SOURCE_DATE_EPOCH", "1700000000").output().expect("builder starts");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        fs::read(out).expect("it was written")
    };
    assert!(archive("one") == archive("two"));
}

#[test]
fn an_index_for_several_platforms_has_one_for_each() {
    let lab = Lab::new();
    let context = lab.project("FROM scratch\nCOPY f /\n", &[("f", "x")]);
    let out = lab.path().join("out.tar");
    let output = format!("type=oci,dest={}", out.display());
    let args = ["--platform=linux/amd64,linux/arm64", "--sbom=true", "--annotation", "index:a=b", "-o", &output];
    lab.build_with(&context, &args);
    let layout = Layout::of(&lab, &out);
    let manifests = layout.index["manifests"].as_array().expect("an index");
    assert_eq!(manifests.len(), 4);
    assert_eq!(layout.index["annotations"], json!({ "a": "b" }));
    for (image, attestation) in [(0, 2), (1, 3)] {
        assert_eq!(manifests[attestation]["annotations"]["vnd.docker.reference.digest"], manifests[image]["digest"]);
    }
    lab.ok(&["verify", text(&out)]);
}

#[test]
fn databases_that_lie_do_no_harm() {
    let lab = Lab::new();
    // A path out of the root, a pipe that nobody writes to, a file that is too large, a circle, and JSON that is none.
    let dockerfile = "FROM busybox\nRUN mkdir -p /var/lib/dpkg/status.d /lib/apk/db /usr/lib/sysimage/rpm /n/node_modules/a /n/node_modules/b \
                      && ln -s ../../../../../../../../../etc/shadow /var/lib/dpkg/status && mkfifo /var/lib/dpkg/status.d/pipe \
                      && truncate -s 300M /lib/apk/db/installed && ln -s rpmdb.sqlite /usr/lib/sysimage/rpm/rpmdb.sqlite \
                      && echo nonsense > /usr/lib/sysimage/rpm/Packages.db && echo '{' > /n/node_modules/a/package.json \
                      && ln -s / /n/node_modules/b/up && printf '{\"name\":\"b\\\\u0007\",\"version\":\"1\"}' > /n/node_modules/b/package.json\n";
    let context = lab.project(dockerfile, &[]);
    let run = lab.build_with(&context, &["--sbom=true"]);
    run.assert_stderr("installed` has 314572800 bytes, which is too much to read");
    run.assert_stderr("Packages.db` can't be read as a database of rpm");
    run.assert_stderr("`n/node_modules/a/package.json` can't be understood");
    let file = lab.path().join("saved.tar");
    lab.ok(&["save", "-o", text(&file), "app"]);
    let list = Layout::of(&lab, &file).statement(SPDX);
    assert_eq!(urls(&list["predicate"]), ["pkg:npm/b@1".to_owned()].into());
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
