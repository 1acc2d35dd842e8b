//! Images go to registries: Debian's own one, alone or behind a proxy that breaks things.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::archives::Podman;
use super::kit::{Lab, Ran, eventually, tool};
use super::registry_kit::{Fault, Faulty, Options, RealRegistry};

/// A Dockerfile with a layer of some size and one of a few bytes.
const APP: &str =
    "FROM busybox\nRUN head -c 300000 /dev/urandom > /noise\nCOPY greeting /greeting\nCMD [\"cat\", \"/greeting\"]\n";

fn app(lab: &Lab, tag: &str) -> Ran {
    let context = lab.project(APP, &[("greeting", "hello\n")]);
    lab.ok(&["build", "--progress=plain", "-t", tag, context.to_str().expect("UTF-8")])
}

/// What a registry serves under a name: the digest and the manifest.
fn served(name: &str) -> (String, Value) {
    let raw = skopeo(&["inspect", "--raw", &format!("docker://{name}")]);
    let digest = format!("sha256:{}", sha256(&raw));
    (digest, serde_json::from_str(&raw).expect("a manifest is JSON"))
}

fn sha256(text: &str) -> String {
    use std::io::Write;
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("coreutils are there");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).chars().take(64).collect()
}

fn skopeo(args: &[&str]) -> String {
    let (command, rest) = args.split_first().expect("a command");
    let insecure: &[&str] = match *command {
        "copy" => &["--src-tls-verify=false", "--dest-tls-verify=false"],
        _ => &["--tls-verify=false"],
    };
    let args: Vec<&OsStr> = [command].into_iter().chain(insecure).chain(rest).map(|arg| OsStr::new(*arg)).collect();
    tool("skopeo", &args)
}

/// A registry, and a proxy that sees all that is asked of it.
struct Watched {
    registry: RealRegistry,
    proxy: Faulty,
}

impl Watched {
    fn start() -> Self {
        let registry = RealRegistry::start();
        let proxy = Faulty::before(&registry);
        Self { registry, proxy }
    }

    fn host(&self) -> &str {
        self.proxy.host()
    }

    /// What was asked with this method of paths with this part.
    fn asked(&self, method: &str, part: &str) -> Vec<String> {
        let seen = self.proxy.seen().into_iter().filter(|seen| seen.method == method && seen.target.contains(part));
        seen.map(|seen| seen.target).collect()
    }

    /// The blobs that a repository has.
    fn blobs(&self, repository: &str) -> BTreeSet<String> {
        let links =
            self.registry.data().join("docker/registry/v2/repositories").join(repository).join("_layers/sha256");
        let names = fs::read_dir(links).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }
}

fn layers(manifest: &Value) -> Vec<&str> {
    let layers = manifest["layers"].as_array().into_iter().flatten();
    layers.filter_map(|layer| layer["digest"].as_str()).collect()
}

#[test]
fn what_is_pushed_can_be_pulled_by_others_and_run() {
    let (lab, registry) = (Lab::new(), Watched::start());
    let name = format!("{}/team/app:v1", registry.host());
    app(&lab, &name);
    let ran = lab.ok(&["push", &name]);
    let repository = name.trim_end_matches(":v1");
    assert!(ran.stdout.starts_with(&format!("The push refers to repository [{repository}]\n")), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches(": Pushed\n").count(), 4, "three layers and a config: {}", ran.stdout);
    let (digest, manifest) = served(&name);
    let last = ran.stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("v1: digest: {digest} size: ")), "{last}");
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["digest"], lab.inspect(&name)["Id"]);
    for layer in manifest["layers"].as_array().expect("layers") {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    }
    // Others read it.
    let layout = lab.path().join("layout");
    skopeo(&["copy", &format!("docker://{name}"), &format!("oci:{}:app", layout.display())]);
    let podman = Podman::new(&lab);
    podman.podman(&["pull", "-q", "--tls-verify=false", &name]);
    assert_eq!(podman.podman(&["run", "--rm", &name]), "hello\n");

    // The second time nothing is sent.
    let before = registry.asked("POST", "/blobs/uploads").len();
    let ran = lab.ok(&["push", &name]);
    assert_eq!(ran.stdout.matches(": Layer already exists\n").count(), 4, "{}", ran.stdout);
    assert_eq!(registry.asked("POST", "/blobs/uploads").len(), before);
    let ran = lab.ok(&["push", "-q", &name]);
    assert_eq!(ran.stdout, format!("{name}\n"));
    lab.assert_tidy();
}

#[test]
fn all_tags_of_a_repository_go_together() {
    let (lab, registry) = (Lab::new(), Watched::start());
    let repository = format!("{}/app", registry.host());
    app(&lab, &format!("{repository}:1"));
    lab.ok(&["tag", &format!("{repository}:1"), &format!("{repository}:latest")]);
    lab.ok(&["tag", "busybox", &format!("{repository}:base")]);
    lab.ok(&["tag", "busybox", &format!("{}/other:1", registry.host())]);
    let ran = lab.ok(&["image", "push", "-a", &repository]);
    for tag in ["1", "base", "latest"] {
        let (digest, _) = served(&format!("{repository}:{tag}"));
        assert!(ran.stdout.contains(&format!("\n{tag}: digest: {digest} size: ")), "{tag}: {}", ran.stdout);
    }
    assert!(registry.asked("PUT", "/other/").is_empty());

    for (args, part) in [
        (&["push", "-a", "app:1"][..], "--all-tags takes a name without a tag"),
        (&["push", "nothing/there"], "an image does not exist locally with the tag: nothing/there:latest"),
        (&["push", "-a", "nothing/there"], "no image of the store is called nothing/there"),
        (&["push", "Wrong"], "invalid reference"),
        (&["push", &format!("app@sha256:{}", "0".repeat(64))], "a digest can't be pushed"),
    ] {
        let ran = lab.run(args);
        assert_ne!(ran.code, 0, "{args:?}");
        ran.assert_stderr(part);
    }
}

#[test]
fn a_build_goes_to_several_registries_under_several_names() {
    let (lab, one, two) = (Lab::new(), Watched::start(), Watched::start());
    let names = [format!("{}/app:1", one.host()), format!("{}/app:2", one.host()), format!("{}/team/app", two.host())];
    let context = lab.project(APP, &[("greeting", "hi\n")]);
    let metadata = lab.path().join("metadata.json");
    let mut args = vec!["build", "--progress=plain", "--push", "--metadata-file", metadata.to_str().expect("UTF-8")];
    for name in &names {
        args.extend(["-t", name]);
    }
    args.push(context.to_str().expect("UTF-8"));
    let ran = lab.ok(&args);
    ran.assert_stderr("pushing layers");
    ran.assert_stderr(&format!("pushing manifest for {}/app:{{1,2}}@sha256:", one.host()));
    let facts: Value = serde_json::from_slice(&fs::read(&metadata).expect("it is written")).expect("JSON");
    for name in &names {
        let (digest, _) = served(name);
        assert_eq!(facts["containerimage.digest"], json!(digest), "{name}");
        assert_eq!(facts["containerimage.descriptor"]["digest"], json!(digest));
    }
    assert_eq!(facts["image.name"].as_str().map(|names| names.split(',').count()), Some(3));
    // It is in the store, too, and pushing it from there sends nothing.
    let ran = lab.ok(&["push", &names[0]]);
    assert_eq!(ran.stdout.matches(": Layer already exists\n").count(), 4, "{}", ran.stdout);
    // Three layers and a config: once for each registry, whatever the number of tags.
    for registry in [&one, &two] {
        assert_eq!(registry.asked("POST", "/blobs/uploads").len(), 4);
    }
}

#[test]
fn by_digest_nothing_is_named() {
    let (lab, registry) = (Lab::new(), Watched::start());
    let repository = format!("{}/app", registry.host());
    let context = lab.project(APP, &[("greeting", "hi\n")]);
    let metadata = lab.path().join("metadata.json");
    let output = format!("type=image,name={repository},push=true,push-by-digest=true");
    let file = metadata.to_str().expect("UTF-8");
    lab.ok(&["build", "--progress=plain", "-o", &output, "--metadata-file", file, context.to_str().expect("UTF-8")]);
    let facts: Value = serde_json::from_slice(&fs::read(&metadata).expect("it is written")).expect("JSON");
    let digest = facts["containerimage.digest"].as_str().expect("it is told");
    assert_eq!(served(&format!("{repository}@{digest}")).0, digest);
    let puts = registry.asked("PUT", "/manifests/");
    assert!(!puts.is_empty() && puts.iter().all(|line| line.contains(&format!("/manifests/{digest}"))), "{puts:?}");
}

#[test]
fn several_platforms_are_an_index() {
    let (lab, registry) = (Lab::empty(), Watched::start());
    let name = format!("{}/app:multi", registry.host());
    let context = lab.project(
        "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\nCOPY same /same\n",
        &[("amd64", "amd64"), ("arm64", "arm64"), ("same", "same")],
    );
    let metadata = lab.path().join("metadata.json");
    let file = metadata.to_str().expect("UTF-8");
    let platforms = "linux/amd64,linux/arm64";
    let context = context.to_str().expect("UTF-8");
    lab.ok(&[
        "build",
        "--progress=plain",
        "--platform",
        platforms,
        "-t",
        &name,
        "--push",
        "--metadata-file",
        file,
        context,
    ]);
    let facts: Value = serde_json::from_slice(&fs::read(&metadata).expect("it is written")).expect("JSON");
    let (digest, index) = served(&name);
    assert_eq!(facts["containerimage.digest"], json!(digest));
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let manifests = index["manifests"].as_array().expect("an index");
    let of = |manifest: &Value| manifest["platform"]["architecture"].as_str().map(str::to_owned);
    assert_eq!(manifests.iter().filter_map(of).collect::<Vec<_>>(), ["amd64", "arm64"]);
    let repository = name.trim_end_matches(":multi");
    let of_platform = |manifest: &Value| {
        let (_, manifest) = served(&format!("{repository}@{}", manifest["digest"].as_str().expect("a digest")));
        layers(&manifest).into_iter().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let both: Vec<_> = manifests.iter().map(of_platform).collect();
    assert_eq!(both[0].intersection(&both[1]).count(), 1, "what is the same is there once");
    // Three layers and two configs.
    assert_eq!(registry.asked("POST", "/blobs/uploads").len(), 5);
    let ran = lab.ok(&["push", &name]);
    assert!(ran.stdout.contains(&format!("multi: digest: {digest} size: ")), "{}", ran.stdout);
}

#[test]
fn a_layer_goes_from_repository_to_repository_without_being_sent() {
    let (lab, registry) = (Lab::new(), Watched::start());
    let base = format!("{}/base", registry.host());
    app(&lab, &base);
    lab.ok(&["push", &base]);
    let derived = format!("{}/deep/derived:2", registry.host());
    let context = lab.project(&format!("FROM {base}\nCOPY more /more\n"), &[("more", "more")]);
    lab.ok(&["build", "--progress=plain", "-t", &derived, context.to_str().expect("UTF-8")]);
    let ran = lab.ok(&["push", &derived]);
    assert_eq!(ran.stdout.matches(": Mounted from base\n").count(), 3, "{}", ran.stdout);
    assert_eq!(ran.stdout.matches(": Pushed\n").count(), 2, "a layer and a config: {}", ran.stdout);
    let posts = registry.asked("POST", "/deep/derived/blobs/uploads");
    assert_eq!(posts.iter().filter(|line| line.contains("from=base")).count(), 3, "{posts:?}");
    assert_eq!(posts.len(), 5);
    assert_eq!(layers(&served(&derived).1)[..3], layers(&served(&base).1)[..]);
}

#[test]
fn layers_are_on_their_way_before_the_last_step_ends() {
    let (lab, registry) = (Lab::new(), Watched::start());
    let name = format!("{}/app:early", registry.host());
    // The step waits for what the test writes into a cache mount when it saw the layers before it in the registry.
    let dockerfile = "FROM busybox AS other\nRUN echo unrelated > /other\nFROM busybox\nRUN echo first > /first\n\
                      RUN --mount=type=cache,id=gate,target=/gate \
                      echo waiting && until [ -e /gate/open ]; do sleep 0.05; done\nCOPY --from=other /other /other\n";
    let context = lab.project(dockerfile, &[]);
    let mut build = lab.start(&["build", "--progress=plain", "--push", "-t", &name, context.to_str().expect("UTF-8")]);
    build.wait_for("waiting");
    // busybox and /first: both are there while the step waits.
    eventually("two layers are in the registry", || registry.blobs("app").len() == 2);
    assert!(registry.asked("PUT", "/manifests/").is_empty(), "the image is not there yet");
    let mounts = lab.root().join("mounts");
    let open = || {
        fs::read_dir(&mounts)
            .into_iter()
            .flatten()
            .flatten()
            .any(|mount| fs::write(mount.path().join("fs/open"), "").is_ok())
    };
    assert!(open(), "the cache mount is in the store");
    let ran = build.finish();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (_, manifest) = served(&name);
    // The layer of the step that waited is empty, but it is a layer.
    assert_eq!(layers(&manifest).len(), 4);
    let mut expected: BTreeSet<String> =
        layers(&manifest).iter().map(|layer| layer.trim_start_matches("sha256:").to_owned()).collect();
    expected.extend(manifest["config"]["digest"].as_str().map(|id| id.trim_start_matches("sha256:").to_owned()));
    assert_eq!(registry.blobs("app"), expected, "the layer of a stage that is only copied from is not sent");
}

#[test]
fn a_push_that_broke_off_goes_on_where_it_was() {
    let (lab, registry) = (Lab::new(), Watched::start());
    let name = format!("{}/app:1", registry.host());
    app(&lab, &name);
    // One of the blobs is refused, for good.
    let id = lab.inspect(&name)["Id"].as_str().map(|id| id.trim_start_matches("sha256:").to_owned()).expect("an id");
    let said = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"quota exceeded\"}]}";
    registry.proxy.fault("PUT", &id, 1, Fault::Answer("403 Forbidden", String::new(), said.to_owned()));
    let ran = lab.run(&["push", &name]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    for part in ["403", "DENIED: quota exceeded", &format!("{}/app", registry.host())] {
        ran.assert_stderr(part);
    }
    assert!(registry.asked("PUT", "/manifests/").is_empty(), "an image that is not whole has no name");
    // What was on its way when the push was given up may still arrive.
    let there = registry.blobs("app").len();
    registry.proxy.take();
    let ran = lab.ok(&["push", &name]);
    let (exist, pushed) =
        (ran.stdout.matches(": Layer already exists\n").count(), ran.stdout.matches(": Pushed\n").count());
    assert!(exist >= there && pushed >= 1 && exist + pushed == 4, "{there} were there: {}", ran.stdout);
    assert_eq!(registry.asked("PUT", "/blobs/uploads/").len(), pushed, "nothing is sent twice");
    served(&name);
}

#[test]
fn what_breaks_for_a_moment_is_not_noticed() {
    let (lab, registry) = (Lab::new(), Watched::start());
    let name = format!("{}/app:1", registry.host());
    let context = lab.project(APP, &[("greeting", "hi\n")]);
    registry.proxy.fault("HEAD", "/blobs/", 1, Fault::busy("0"));
    registry.proxy.fault("PUT", "/blobs/uploads/", 1, Fault::CutRequest(500));
    registry.proxy.fault(
        "POST",
        "/blobs/uploads/",
        1,
        Fault::Answer("503 Service Unavailable", String::new(), String::new()),
    );
    registry.proxy.fault("PUT", "/manifests/", 1, Fault::LoseAnswer);
    lab.ok(&["build", "--progress=plain", "--push", "-t", &name, context.to_str().expect("UTF-8")]);
    assert_eq!(layers(&served(&name).1).len(), 3);
}

#[test]
fn a_password_and_a_certificate_of_ones_own() {
    let (user, password) = ("somebody", "correct horse");
    let registry = RealRegistry::with(&Options { login: Some((user, password)), tls: true, ..Options::default() });
    let lab = Lab::new();
    let name = registry.reference("app:1");
    let context = lab.project(APP, &[("greeting", "hi\n")]);
    let context = context.to_str().expect("UTF-8");
    let ca = registry.file("ca.crt").display().to_string();
    lab.ok(&["build", "--progress=plain", "-t", &name, context]);
    let another = RealRegistry::with(&Options { tls: true, ..Options::default() });
    let wrong = another.file("ca.crt").display().to_string();
    let ran = lab.run(&["push", "--tls-ca", &wrong, &name]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("signed by an authority that is not trusted here");
    for more in [&[][..], &["--tls-ca", &ca]] {
        let nobody = lab.run(&[&["push"], more, &[&name]].concat());
        assert_eq!(nobody.code, 1);
        nobody.assert_stderr("401");
        nobody.assert_stderr("builder login");
    }

    let docker = lab.path().join("docker");
    fs::create_dir_all(&docker).expect("ours");
    let auth = tool("sh", &["-c", &format!("printf %s '{user}:{password}' | base64")].map(OsStr::new));
    let config = json!({ "auths": { registry.host(): { "auth": auth.trim() } } });
    fs::write(docker.join("config.json"), config.to_string()).expect("ours");
    let with_login = |args: &[&str]| {
        let mut command = lab.command(args);
        let ran = Ran::of(command.env("DOCKER_CONFIG", &docker).output().expect("builder starts"));
        assert!(!ran.stderr.contains(password) && !ran.stderr.contains(auth.trim()), "{}", ran.stderr);
        ran
    };
    let ran = with_login(&["push", "--tls-ca", &ca, &name]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // A build that does not mind who it talks to.
    let output = format!("type=registry,name={},registry.insecure=true", registry.reference("app:2"));
    let ran = with_login(&["build", "--progress=plain", "-o", &output, context]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let credentials = format!("{user}:{password}");
    let of = |tag: &str| {
        let name = format!("docker://{}", registry.reference(&format!("app:{tag}")));
        skopeo(&["inspect", "--creds", &credentials, "--format", "{{.Digest}}", &name])
    };
    assert_eq!(of("1"), of("2"));
}

#[test]
fn a_damaged_blob_does_not_leave_the_store() {
    let (lab, registry) = (Lab::new(), Watched::start());
    let name = format!("{}/app:1", registry.host());
    app(&lab, &name);
    lab.ok(&["push", &name]);
    let (_, manifest) = served(&name);
    let blob = layers(&manifest)[1].trim_start_matches("sha256:").to_owned();
    let path = lab.root().join("blobs/sha256").join(&blob);
    let mut bytes = fs::read(&path).expect("the blob is kept");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("ours");
    let second = Watched::start();
    let other = format!("{}/app:1", second.host());
    lab.ok(&["tag", &name, &other]);
    let ran = lab.run(&["push", &other]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    ran.assert_stderr(&blob);
    ran.assert_stderr("damaged");
    assert!(second.asked("PUT", "/manifests/").is_empty());
}

#[test]
fn bake_pushes_its_targets() {
    let (lab, registry) = (Lab::new(), Watched::start());
    let context = lab.project(
        "FROM busybox AS base\nRUN echo base > /base\nFROM base AS a\nCOPY a /a\nFROM base AS b\nCOPY b /b\n",
        &[
            ("a", "a"),
            ("b", "b"),
            (
                "docker-bake.hcl",
                &format!(
                    "group \"default\" {{ targets = [\"a\", \"b\"] }}\n\
             target \"a\" {{\n target = \"a\"\n tags = [\"{host}/both:a\"]\n output = [\"type=registry\"]\n}}\n\
             target \"b\" {{\n target = \"b\"\n tags = [\"{host}/both:b\"]\n output = [\"type=image,push=true\"]\n}}\n",
                    host = registry.host()
                ),
            ),
        ],
    );
    let mut command = lab.command(&["bake", "--progress=plain", "--metadata-file", "out.json"]);
    let ran = Ran::of(command.current_dir(&context).output().expect("builder starts"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let facts: Value = serde_json::from_slice(&fs::read(context.join("out.json")).expect("written")).expect("JSON");
    let mut all = BTreeSet::new();
    for target in ["a", "b"] {
        let (digest, manifest) = served(&format!("{}/both:{target}", registry.host()));
        assert_eq!(facts[target]["containerimage.digest"], json!(digest));
        all.extend(layers(&manifest).into_iter().map(str::to_owned));
    }
    // What both have goes once: two shared layers, one of each target, and two configs.
    assert_eq!(all.len(), 4);
    assert_eq!(registry.asked("POST", "/blobs/uploads").len(), 6);
}
