//! Caches in a bucket, and in the cache of GitHub Actions.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{cached, layers, machines, project, ran, set, text};
use crate::actions_kit::{Actions, TOKEN};
use crate::kit::{Lab, Ran};
use crate::moto_kit::Moto;
use crate::registry_kit::RealRegistry;

/// Who may use the bucket.
const KEY_ID: &str = "AKIATHISISNOTSECRET";
const KEY: &str = "hidden/key+of/the/bucket";
const SESSION: &str = "hidden-session-token";

/// Builds with a file of this content, and with these variables.
fn build(lab: &Lab, content: &str, args: &[&str], environment: &[(&str, &str)]) -> Ran {
    let context = project(lab, content);
    let mut all = vec!["build", "-t", "app"];
    all.extend(args);
    all.push(text(&context));
    let mut command = lab.command(&all);
    // The machine's own account and job are nobody's business.
    for (name, _) in std::env::vars_os() {
        if ["AWS_", "ACTIONS_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env("BUILDER_PROGRESS", "plain");
    Ran::of(command.envs(environment.iter().copied()).output().expect("builder starts"))
}

#[track_caller]
fn built(lab: &Lab, content: &str, args: &[&str], environment: &[(&str, &str)]) -> Ran {
    let ran = build(lab, content, args, environment);
    assert_eq!(ran.code, 0, "{args:?}\n{}", ran.stderr);
    ran
}

/// Nothing below a directory holds one of these texts.
#[track_caller]
fn assert_nowhere(directory: &Path, secrets: &[&str]) {
    let mut grep = Command::new("grep");
    for secret in secrets {
        grep.args(["-e", secret]);
    }
    let found = Ran::of(grep.args(["-r", "-F", "-l", "-a"]).arg(directory).output().expect("grep is there"));
    assert_eq!((found.code, found.stdout.as_str()), (1, ""), "{}", found.stderr);
}

/// Nothing that was printed holds one of these texts.
#[track_caller]
fn assert_unsaid(ran: &Ran, secrets: &[&str]) {
    for secret in secrets {
        assert!(
            !ran.stdout.contains(secret) && !ran.stderr.contains(secret),
            "{secret} in\n{}\n{}",
            ran.stdout,
            ran.stderr
        );
    }
}

/// A cache that one machine writes, and that another one without anything uses: with options of the command line, and
/// then without any.
#[track_caller]
fn passes_on(options: &str, environment: &[(&str, &str)], name: &str, secrets: &[&str]) {
    let [one, two, three] = machines();
    let (to, from) = (format!("--cache-to={options},mode=max"), format!("--cache-from={options}"));
    let first = built(&one, "one", &[&from, &to], environment);
    first.assert_stderr("there is none yet");
    first.assert_stderr(&format!("exporting cache to {name}"));
    assert_eq!(ran(&first).len(), 6);
    let again = built(&one, "one", &[&from, &to], environment);
    assert_eq!(ran(&again), set(&[]));

    let before = layers(&two);
    let cold = built(&two, "one", &[&from, "-o", "type=cacheonly", "--explain"], environment);
    assert_eq!((ran(&cold), cached(&cold).len()), (set(&[]), 6), "{}", cold.stderr);
    cold.assert_stderr(&format!("from {name}"));
    assert_eq!(layers(&two), before, "nothing was fetched");
    let all = built(&two, "one", &[&from], environment);
    assert_eq!(ran(&all), set(&[]));
    assert_eq!(layers(&two), before + 2, "the layers of the result were fetched, and no others");
    // Whoever runs it needs no access.
    assert_eq!(two.shell("cat /app /done"), "onedeps\ndone\n");
    assert_eq!(one.inspect("app")["RootFS"], two.inspect("app")["RootFS"]);
    // What is left to fetch is fetched for the step that needs it.
    let changed = built(&two, "two", &[&from], environment);
    assert!(cached(&changed).contains("RUN echo deps > /deps"), "{}", changed.stderr);
    assert_eq!(two.shell("cat /app"), "twodeps\n");

    let raw = built(&three, "one", &["--progress=rawjson", &from, &to], environment);
    for told in [&first, &again, &cold, &all, &changed, &raw] {
        assert_unsaid(told, secrets);
    }
    for lab in [&one, &two, &three] {
        assert_unsaid(&lab.ok(&["cache", "graph"]), secrets);
        assert_nowhere(&lab.root(), secrets);
    }
}

#[test]
fn a_bucket_keeps_a_cache() {
    let moto = Moto::start();
    moto.bucket("caches");
    let place = format!("type=s3,bucket=caches,region=eu-central-1,endpoint_url={},use_path_style=true", moto.endpoint);
    let secrets = [KEY, SESSION];
    let keys = format!("access_key_id={KEY_ID},secret_access_key={KEY},session_token={SESSION}");
    passes_on(&format!("{place},name=app,prefix=team/,{keys}"), &[], "s3 caches/team/app", &secrets);
    assert!(moto.keys("caches").contains(&"team/manifests/app.builder.json".to_owned()));
    assert!(moto.keys("caches").iter().all(|key| key.starts_with("team/")));
    let environment = [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", KEY), ("AWS_SESSION_TOKEN", SESSION)];
    passes_on(&format!("{place},name=other"), &environment, "s3 caches/other", &secrets);
}

#[test]
fn the_cache_of_jobs_keeps_a_cache() {
    for version in ["url_v2", "url"] {
        let actions = Actions::start();
        let options = format!("type=gha,scope=main,{version}={},token={TOKEN}", actions.url);
        passes_on(&options, &[], "gha main", &[TOKEN]);
        assert!(actions.keys().iter().any(|key| key.starts_with("builder-index-1-main#")), "{:?}", actions.keys());
        let path = if version == "url" { "/_apis/artifactcache/" } else { "/twirp/" };
        let other = |request: &&String| !request.contains(path) && !request.contains(" /storage/");
        assert_eq!(actions.requests().iter().find(other), None);
    }
    let actions = Actions::start();
    let environment = [("ACTIONS_RESULTS_URL", actions.url.as_str()), ("ACTIONS_RUNTIME_TOKEN", TOKEN)];
    passes_on("type=gha", &environment, "gha builder", &[TOKEN]);
}

#[test]
fn layers_of_a_bucket_are_fetched_later_by_who_has_the_keys() {
    let moto = Moto::start();
    moto.bucket("caches");
    let place = format!("type=s3,bucket=caches,region=us-east-1,endpoint_url={},use_path_style=true", moto.endpoint);
    let keys = format!("{place},access_key_id={KEY_ID},secret_access_key={KEY}");
    let [one, two, three] = machines();
    built(&one, "one", &[&format!("--cache-to={keys}")], &[]);
    for lab in [&two, &three] {
        let cold = built(lab, "one", &[&format!("--cache-from={keys}"), "-o", "type=cacheonly"], &[]);
        assert!(cached(&cold).contains("RUN echo done > /done"), "{}", cold.stderr);
    }
    let environment = [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", KEY)];
    let later = built(&two, "one", &[], &environment);
    assert_eq!(ran(&later), set(&[]), "{}", later.stderr);
    assert_eq!(two.shell("cat /app"), "onedeps\n");
    // For whoever has none, the steps run.
    let nobody = built(&three, "one", &[], &[("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")]);
    nobody.assert_stderr("does not have the layers of some steps that it says it has, which run instead");
    assert_eq!(ran(&nobody).len(), 6, "{}", nobody.stderr);
    assert_eq!(three.shell("cat /app"), "onedeps\n");
    let from = format!("--cache-from={place},name=new");
    let asked = built(&three, "one", &[&from], &[("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")]);
    asked.assert_stderr("the cache s3 caches/new is not used");
    asked.assert_stderr("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
}

#[test]
fn what_a_bucket_has_goes_out_without_being_unpacked() {
    let (moto, registry) = (Moto::start(), RealRegistry::start());
    moto.bucket("caches");
    let keys = format!(
        "type=s3,bucket=caches,region=us-east-1,endpoint_url={},use_path_style=true,access_key_id={KEY_ID},secret_access_key={KEY}",
        moto.endpoint
    );
    let [one, two, three] = machines();
    // Packed as the image is going to be: what is packed otherwise becomes what a build without the cache makes.
    built(&one, "one", &[&format!("--cache-to={keys},mode=max,compression=gzip")], &[]);
    let (from, before) = (format!("--cache-from={keys}"), layers(&two));
    let archive = two.path().join("image.tar");
    let name = registry.reference("app:1");
    let context = project(&two, "one");
    for (name, output) in [
        ("app", format!("type=oci,dest={}", archive.display())),
        (&name, "type=image,push=true,store=false".to_owned()),
    ] {
        let out = two.ok(&["build", "--progress=plain", "-t", name, &from, "-o", &output, text(&context)]);
        assert_eq!(ran(&out), set(&[]), "{}", out.stderr);
        assert_eq!(layers(&two), before, "{output}");
    }
    three.ok(&["load", "-i", text(&archive)]);
    assert_eq!(three.shell("cat /app /done"), "onedeps\ndone\n");
    assert_eq!(three.ok(&["run", "--rm", &name, "cat", "/app"]).stdout, "onedeps\n");
}

#[test]
fn what_is_not_as_it_was_written_is_not_used() {
    let moto = Moto::start();
    moto.bucket("caches");
    let keys = format!(
        "type=s3,bucket=caches,region=us-east-1,endpoint_url={},use_path_style=true,access_key_id={KEY_ID},secret_access_key={KEY}",
        moto.endpoint
    );
    let from = format!("--cache-from={keys}");
    let [one, two, three] = machines();
    built(&one, "one", &[&format!("--cache-to={keys},mode=max")], &[]);
    let curl = |args: &[&str], url: &str| {
        let signed = ["-sf", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "any:key"];
        let output = Command::new("curl").args(signed).args(args).arg(url).output().expect("curl is installed");
        assert!(output.status.success(), "{url}");
        output.stdout
    };
    // First the layers, and then what tells of them, too.
    for (lab, configs) in [(&two, false), (&three, true)] {
        for key in moto.keys("caches").iter().filter(|key| key.starts_with("blobs/")) {
            let url = format!("{}/caches/{key}", moto.endpoint);
            let mut bytes = curl(&[], &url);
            if bytes.starts_with(b"{") == configs && !bytes.ends_with(b"damage") {
                let end = bytes.len() - "damage".len();
                bytes.truncate(end);
                bytes.extend(b"damage");
                let file = lab.path().join("blob");
                fs::write(&file, bytes).expect("ours");
                curl(&["-X", "PUT", "--data-binary", &format!("@{}", file.display())], &url);
            }
        }
        let cold = built(lab, "one", &[&from, "-o", "type=cacheonly"], &[]);
        assert_eq!(ran(&cold).len(), if configs { 6 } else { 0 }, "{}", cold.stderr);
        let all = built(lab, "one", &[&from], &[]);
        if configs {
            cold.assert_stderr("is damaged");
        } else {
            all.assert_stderr("which run instead");
        }
        assert_eq!(lab.shell("cat /app /done"), "onedeps\ndone\n");
        lab.assert_tidy();
    }
}

#[test]
fn a_cache_that_can_not_be_used_is_said_in_the_words_of_the_server() {
    let [lab] = machines();
    let moto = Moto::start();
    let bucket = format!(
        "type=s3,bucket=missing,region=us-east-1,endpoint_url={},use_path_style=true,access_key_id={KEY_ID},secret_access_key={KEY}",
        moto.endpoint
    );
    let actions = Actions::start();
    let job = format!("type=gha,url_v2={},token=an-old-token", actions.url);
    for (options, name, says, reads) in [
        (&bucket, "s3 missing/builder", "NoSuchBucket", "there is none yet"),
        (&job, "gha builder", "wrong token", "wrong token"),
    ] {
        let secrets = [KEY, "an-old-token"];
        let to = format!("--cache-to={options},mode=max");
        let failed = build(&lab, "one", &[&to], &[]);
        assert_eq!(failed.code, 1, "{}", failed.stderr);
        failed.assert_stderr(&format!("the cache can't be written to {name}"));
        failed.assert_stderr(says);
        // The image was made all the same.
        assert_eq!(lab.shell("cat /done"), "done\n");
        let ignored = built(&lab, "one", &[&format!("{to},ignore-error=true")], &[]);
        ignored.assert_stderr(&format!("the cache was not written to {name}"));
        ignored.assert_stderr(says);
        // What is here already is waited for by nobody.
        let read = built(&lab, &format!("new for {name}"), &[&format!("--cache-from={options}")], &[]);
        read.assert_stderr(reads);
        for told in [&failed, &ignored, &read] {
            assert_unsaid(told, &secrets);
        }
        lab.ok(&["rmi", "app"]);
    }
    // A service that is busy for a moment is asked again.
    actions.be_busy(2);
    let options = format!("type=gha,url_v2={},token={TOKEN}", actions.url);
    built(&lab, "one", &[&format!("--cache-to={options}")], &[]);

    for (args, says) in [
        (["--cache-to", "type=gha"], "ACTIONS_RUNTIME_TOKEN is not set"),
        (["--cache-from", "type=s3,region=x"], "type=s3 needs bucket="),
        (["--cache-to", "type=s3,bucket=b,access_key_id=a"], "belong together"),
        (["--cache-from", "type=gha,token=hidden-token,what=x"], "ACTIONS_CACHE_URL is not set"),
    ] {
        let wrong = build(&lab, "one", &args, &[]);
        assert_eq!(wrong.code, 2, "{}", wrong.stderr);
        wrong.assert_stderr(says);
    }
    // The text of a wrong option is shown, but nothing that is secret in it.
    for options in [
        format!("type=s3,bucket=b,secret_access_key={KEY}"),
        format!("type=s3,bucket=b,access_key_id=a,secret_access_key={KEY},session_token={SESSION},what=x"),
        format!("type=gha,url=http://127.0.0.1:1/,token={TOKEN},what=x"),
        format!("type=gha,url=http://127.0.0.1:1/,token={TOKEN},mode=some"),
    ] {
        for flag in ["--cache-to", "--cache-from"] {
            let wrong = build(&lab, "one", &[flag, &options], &[]);
            assert_eq!(wrong.code, 2, "{}", wrong.stderr);
            assert_unsaid(&wrong, &[KEY, SESSION, TOKEN]);
        }
    }
}
