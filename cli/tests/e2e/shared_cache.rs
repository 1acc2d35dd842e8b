//! Shared caches: what one machine built is not built by another.

mod mounts;
mod objects;
mod registries;
mod same;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::kit::{Lab, Ran};

/// Two stages, of which the result has one file, and a step of its own.
const STAGES: &str = "FROM busybox AS deps\n\
    RUN echo deps > /deps\n\
    FROM busybox AS build\n\
    COPY --from=deps /deps /deps\n\
    COPY main.c /src/\n\
    RUN cat /src/main.c /deps > /app\n\
    FROM busybox\n\
    COPY --from=build /app /app\n\
    RUN echo done > /done\n";

/// Machines that share a base image and nothing else.
fn machines<const N: usize>() -> [Lab; N] {
    let first = Lab::new();
    let image = first.path().join("base.tar");
    first.ok(&["save", "-o", text(&image), "busybox"]);
    let other = |_| {
        let lab = Lab::empty();
        lab.ok(&["load", "-i", text(&image)]);
        lab
    };
    std::array::from_fn(other)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn project(lab: &Lab, main: &str) -> PathBuf {
    lab.project(STAGES, &[("main.c", main)])
}

fn build(lab: &Lab, context: &Path, args: &[&str]) -> Ran {
    lab.build_with(context, args)
}

/// The instructions among the steps.
fn short(names: BTreeSet<String>) -> BTreeSet<String> {
    let name = |name: String| name.split_once("] ").map_or(name.clone(), |(_, rest)| rest.to_owned());
    names.into_iter().map(name).filter(|name| !name.starts_with("FROM") && !name.starts_with("exporting")).collect()
}

fn ran(ran: &Ran) -> BTreeSet<String> {
    let mut names = short(ran.executed());
    names.retain(|name| name.starts_with("RUN") || name.starts_with("COPY"));
    names
}

fn cached(ran: &Ran) -> BTreeSet<String> {
    short(ran.cached())
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn blobs(cache: &Path) -> BTreeSet<String> {
    let found = fs::read_dir(cache.join("blobs/sha256")).expect("it is a layout").flatten();
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// How many layers of a store have files.
fn layers(lab: &Lab) -> usize {
    fs::read_dir(lab.root().join("snapshots")).map_or(0, Iterator::count)
}

fn to(cache: &Path, more: &str) -> String {
    format!("--cache-to=type=local,dest={}{more}", cache.display())
}

fn from(cache: &Path) -> String {
    format!("--cache-from=type=local,src={}", cache.display())
}

#[test]
fn a_machine_without_anything_builds_nothing() {
    let [one, two, three] = machines();
    let cache = one.path().join("cache");
    let (context, same) = (project(&one, "int main"), project(&two, "int main"));
    let first = build(&one, &context, &[&from(&cache), &to(&cache, ",mode=max")]);
    first.assert_stderr("there is none yet");
    assert_eq!(ran(&first).len(), 6);

    let before = layers(&two);
    let cold = build(&two, &same, &[&from(&cache), "-o", "type=cacheonly", "--explain"]);
    assert_eq!(ran(&cold), set(&[]));
    assert_eq!(cached(&cold).len(), 6);
    cold.assert_stderr(&format!("from local {}", cache.display()));
    assert_eq!(layers(&two), before, "nothing was fetched");
    // What was found is known without the cache from now on.
    let warm = build(&two, &same, &["-o", "type=cacheonly"]);
    assert_eq!(ran(&warm), set(&[]));
    // The same files come of it, to the last byte.
    build(&two, &same, &[]);
    assert_eq!(one.inspect("app")["RootFS"], two.inspect("app")["RootFS"]);
    assert_eq!(two.shell("cat /app /done"), "int maindeps\ndone\n");
    assert_eq!(layers(&two), before + 2, "only the layers of the result were fetched");

    // With the steps of the result alone, the other stages must run when the result changes, and only then.
    build(&one, &context, &[&to(&cache, "")]);
    let same = project(&three, "int main");
    assert_eq!(ran(&build(&three, &same, &[&from(&cache)])), set(&[]));
    fs::write(same.join("main.c"), "changed").expect("it is ours");
    assert!(ran(&build(&three, &same, &[&from(&cache)])).contains("RUN echo deps > /deps"));
}

#[test]
fn a_changed_file_runs_what_depends_on_it() {
    let [one, two] = machines();
    let cache = one.path().join("cache");
    build(&one, &project(&one, "one"), &[&to(&cache, ",mode=max")]);
    let changed = build(&two, &project(&two, "two"), &[&from(&cache), "--explain"]);
    let expected = [
        "COPY main.c /src/",
        "RUN cat /src/main.c /deps > /app",
        "COPY --from=build /app /app",
        "RUN echo done > /done",
    ];
    assert_eq!(ran(&changed), set(&expected));
    assert_eq!(cached(&changed), set(&["RUN echo deps > /deps", "COPY --from=deps /deps /deps"]));
    // Why is told from what the cache says of the step.
    assert!(!changed.stderr.contains("no step like it"), "{}", changed.stderr);
    assert_eq!(two.shell("cat /app"), "twodeps\n");

    // An earlier step that ran again and gave the same is as good as one that was found: with another comment in the
    // command, all after it comes from the cache.
    let [three] = machines();
    let again = three.project(&STAGES.replace("echo deps >", "echo  deps >"), &[("main.c", "one")]);
    let again = build(&three, &again, &[&from(&cache)]);
    assert_eq!(
        ran(&again).iter().filter(|name| name.contains("main.c") || name.contains("/app")).count(),
        0,
        "{}",
        again.stderr
    );
}

#[test]
fn a_directory_is_shared_and_does_not_grow() {
    let [one, two] = machines();
    let cache = one.path().join("cache");
    let context = project(&one, "one");
    build(&one, &context, &[&to(&cache, ",mode=max")]);
    let first = blobs(&cache);
    build(&one, &context, &[&to(&cache, ",mode=max"), "-o", "type=cacheonly"]);
    assert_eq!(blobs(&cache), first);
    // Again by another machine that found everything: the same bytes.
    build(&two, &project(&two, "one"), &[&from(&cache), &to(&cache, ",mode=max")]);
    assert_eq!(blobs(&cache), first);
    for text in ["two", "three", "four"] {
        fs::write(context.join("main.c"), text).expect("it is ours");
        build(&one, &context, &[&to(&cache, ",mode=max")]);
        assert_eq!(blobs(&cache).len(), first.len());
    }
    // Other tags stay until they are written again.
    build(&one, &context, &[&to(&cache, ",tag=side")]);
    fs::write(context.join("main.c"), "five").expect("it is ours");
    build(&one, &context, &[&to(&cache, ",mode=max")]);
    let side = build(&two, &project(&two, "four"), &[&format!("{},tag=side", from(&cache))]);
    assert_eq!(ran(&side), set(&[]));
}

#[test]
fn several_caches_are_asked_in_turn() {
    let [one, two, cold] = machines();
    let dockerfile = "FROM busybox AS a\nRUN echo a > /a\nFROM busybox AS b\nRUN echo b > /b\nFROM busybox\nCOPY --from=a /a /a\nCOPY --from=b /b /b\n";
    let (first, second) = (one.path().join("first"), two.path().join("second"));
    build(&one, &one.project(dockerfile, &[]), &["--target=a", &to(&first, "")]);
    build(&two, &two.project(dockerfile, &[]), &["--target=b", &to(&second, "")]);
    let missing = cold.path().join("missing");
    let args = [from(&missing), from(&first), from(&second)];
    let args: Vec<&str> = args.iter().map(String::as_str).chain(["--explain"]).collect();
    let found = build(&cold, &cold.project(dockerfile, &[]), &args);
    assert_eq!(ran(&found), set(&["COPY --from=a /a /a", "COPY --from=b /b /b"]));
    for cache in [&first, &second] {
        found.assert_stderr(&format!("from local {}", cache.display()));
    }
}

#[test]
fn what_goes_wrong_with_a_cache_is_said_and_fails_the_build_only_when_it_must() {
    let [lab] = machines();
    let context = project(&lab, "one");
    let file = lab.path().join("file");
    fs::write(&file, "").expect("it is ours");
    let broken = lab.try_build(&context, &[&to(&file, "")]);
    assert_eq!(broken.code, 1);
    broken.assert_stderr("the cache can't be written to");
    // The image was made all the same.
    assert_eq!(lab.shell("cat /done"), "done\n");
    let ignored = build(&lab, &context, &[&to(&file, ",ignore-error=true")]);
    ignored.assert_stderr("the cache was not written to");

    let cache = lab.path().join("cache");
    build(&lab, &context, &[&to(&cache, ",mode=max")]);
    for name in blobs(&cache) {
        fs::write(cache.join("blobs/sha256").join(name), "damage").expect("it is ours");
    }
    let [cold] = machines();
    let damaged = build(&cold, &project(&cold, "one"), &[&from(&cache)]);
    damaged.assert_stderr("is not used");
    damaged.assert_stderr("is damaged");
    assert_eq!(ran(&damaged).len(), 6);

    for (args, says) in [
        (["--cache-to", "type=azblob,name=x"], "type=azblob is not supported"),
        (["--cache-to", "type=local,dest=x,mode=some"], "mode takes min or max"),
        (["--cache-from", "type=local,dest=x"], "needs src="),
        (["--cache-from", "type=registry,ref=UPPER"], "--cache-from `type=registry,ref=UPPER`: ref: "),
    ] {
        let wrong = lab.try_build(&context, &args);
        assert_eq!(wrong.code, 2, "{}", wrong.stderr);
        wrong.assert_stderr(says);
    }
}

#[test]
fn layers_that_a_cache_lost_are_built() {
    let [one, two] = machines();
    let cache = one.path().join("cache");
    build(&one, &project(&one, "one"), &[&to(&cache, ",mode=max")]);
    let context = project(&two, "one");
    build(&two, &context, &[&from(&cache), "-o", "type=cacheonly"]);
    // Somebody empties the directory: the steps are still cached here, their files are nowhere.
    let kept = one.path().join("kept");
    fs::rename(&cache, &kept).expect("it is ours");
    build(&two, &context, &[]);
    assert_eq!(two.shell("cat /app /done"), "onedeps\ndone\n");
    // An image that stays here has its files, whatever becomes of the cache.
    let [three] = machines();
    let all = build(&three, &project(&three, "one"), &[&from(&kept)]);
    assert_eq!(ran(&all), set(&[]));
    fs::remove_dir_all(&kept).expect("it is ours");
    assert_eq!(three.shell("cat /app /done"), "onedeps\ndone\n");
}

/// Changes the config of a cache that is a directory.
fn forge(cache: &Path, change: impl Fn(&mut Value)) {
    let read = |digest: &Value| -> Value {
        let name = digest["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
        serde_json::from_slice(&fs::read(cache.join("blobs/sha256").join(name)).expect("it is there")).expect("JSON")
    };
    let write = |descriptor: &mut Value, document: &Value| {
        let bytes = document.to_string().into_bytes();
        let digest = builder_cache::BlobDigest::of(&bytes);
        fs::write(cache.join("blobs/sha256").join(digest.hex()), &bytes).expect("it is ours");
        descriptor["digest"] = Value::from(digest.to_string());
        descriptor["size"] = Value::from(bytes.len());
    };
    let index = cache.join("index.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&index).expect("a layout")).expect("JSON");
    let mut manifest = read(&document["manifests"][0]);
    let mut config = read(&manifest["config"]);
    change(&mut config);
    write(&mut manifest["config"], &config);
    write(&mut document["manifests"][0], &manifest);
    fs::write(index, document.to_string()).expect("it is ours");
}

#[test]
fn what_a_cache_says_of_files_is_compared_with_them() {
    let [one, two, three] = machines();
    let cache = one.path().join("cache");
    // What a tar does not say of a layer is no difference.
    let main = "FROM busybox\nRUN chmod 555 / && echo one > /one\nRUN ln -s /socket /dev/log && syslogd && \
        until [ -S /socket ]; do :; done; rm -rf /var && mkdir /var && touch /var/new && ln /one /other\n";
    let context = |lab: &Lab| lab.project(main, &[]);
    build(&one, &context(&one), &[&to(&cache, ",mode=max")]);
    let honest = build(&two, &context(&two), &[&from(&cache)]);
    assert!(ran(&honest).is_empty() && !honest.stderr.contains("does not have"), "{}", honest.stderr);
    assert_eq!(two.shell("cat /other; ls /var"), "one\nnew\n");
    forge(&cache, |config| {
        for layer in config["layers"].as_array_mut().expect("layers") {
            if layer.get("content").is_some() {
                layer["content"] = Value::from("0".repeat(64));
            }
        }
    });
    let lied = build(&three, &context(&three), &[&from(&cache)]);
    lied.assert_stderr("does not have the layers of some steps that it says it has, which run instead");
    assert_eq!(ran(&lied).len(), 2, "{}", lied.stderr);
    three.ok(&["verify", "app"]);
}

#[test]
fn a_result_that_can_not_be_mounted_is_none() {
    for depth in [0, 1000] {
        let [one, two] = machines();
        let cache = one.path().join("cache");
        build(&one, &project(&one, "one"), &[&to(&cache, ",mode=max")]);
        forge(&cache, |config| {
            let chains: Vec<Value> = (0..depth).map(|number: u32| json!([number.checked_sub(1), 0])).collect();
            config["chains"] = Value::from(chains);
            for record in config["records"].as_array_mut().expect("records") {
                record["chain"] = json!(depth.checked_sub(1));
            }
        });
        let built = build(&two, &project(&two, "one"), &[&from(&cache)]);
        assert_eq!(ran(&built).len(), 6, "{}", built.stderr);
        assert_eq!(two.shell("cat /app /done"), "onedeps\ndone\n");
    }
}

#[test]
fn bake_takes_caches_from_the_definition() {
    let [one, two] = machines();
    let cache = one.path().join("cache");
    for lab in [&one, &two] {
        let context = project(lab, "one");
        let definition = format!(
            "group \"default\" {{ targets = [\"build\", \"app\"] }}\n\
             target \"common\" {{\n cache-from = [\"type=local,src={0}\"]\n cache-to = [{{ type = \"local\", dest = \"{0}\", mode = \"max\" }}]\n}}\n\
             target \"build\" {{\n inherits = [\"common\"]\n target = \"build\"\n}}\n\
             target \"app\" {{\n inherits = [\"common\"]\n tags = [\"app\"]\n}}\n",
            cache.display()
        );
        fs::write(context.join("docker-bake.hcl"), definition).expect("it is ours");
        let bake = |args: &[&str]| {
            let mut command = lab.command(&["bake", "--progress=plain", "--allow", "fs=*"]);
            Ran::of(command.args(args).current_dir(&context).output().expect("builder starts"))
        };
        let baked = bake(&[]);
        assert_eq!(baked.code, 0, "{}", baked.stderr);
        let expected = if lab.root() == one.root() { 6 } else { 0 };
        assert_eq!(ran(&baked).len(), expected, "{}", baked.stderr);
    }
    assert_eq!(two.shell("cat /app"), "onedeps\n");
}
