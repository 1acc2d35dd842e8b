//! `ADD` of files from URLs, and of git repositories.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::kit::{Lab, Ran};
use crate::remote_kit::{GitServer, Repo};
use crate::web::{Web, not_found, ok, response};

const LONG_AGO: &str = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

/// By a tool of the machine, so that nothing of ours checks itself.
fn sha256(bytes: &[u8]) -> String {
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it is installed");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("it reads");
    let output = child.wait_with_output().expect("it is ours").stdout;
    String::from_utf8_lossy(&output[..64]).into_owned()
}

#[track_caller]
fn build(lab: &Lab, dockerfile: &str, args: &[&str]) -> Ran {
    lab.build_with(&lab.project(dockerfile, &[]), args)
}

#[test]
fn a_file_gets_its_name_its_time_and_nobody_elses_eyes() {
    let lab = Lab::new();
    let web = Web::start(|request| match request.path.as_str() {
        "/dir/file.txt?x=y" | "/dir/file.txt" => ok(LONG_AGO, b"text\n"),
        "/plain" => ok("", b"plain\n"),
        "/moved" => response("302 Found", "Location: /dir/file.txt\r\nContent-Length: 0\r\n", b""),
        "/chunks" => response("200 OK", "Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        _ => not_found(),
    });
    let dockerfile = format!(
        "FROM busybox\nADD {} /a/\nADD {} /b/name\nADD --chmod=755 --chown=1000:2000 {} /c/\nADD {} /d\nADD {} {} /e/\n",
        web.url("/dir/file.txt?x=y"),
        web.url("/dir/file.txt"),
        web.url("/plain"),
        web.url("/moved"),
        web.url("/chunks"),
        web.url("/plain"),
    );
    build(&lab, &dockerfile, &[]);
    let shown = lab.shell("cd /; stat -c '%n %a %u:%g %Y' a/* b/* c/* d e/*; cat a/* b/* c/* d e/*");
    assert_eq!(
        shown,
        "a/file.txt 600 0:0 784111777\nb/name 600 0:0 784111777\nc/plain 755 1000:2000 0\nd 600 0:0 784111777\n\
         e/chunks 600 0:0 0\ne/plain 600 0:0 0\ntext\ntext\nplain\ntext\nabcdeplain\n"
    );
    // Equal requests are one.
    assert_eq!(web.asked().iter().filter(|request| request.path == "/plain").count(), 1);
    lab.assert_tidy();
}

#[test]
fn servers_are_asked_whether_it_is_still_right() {
    let lab = Lab::new();
    let state = Arc::new(Mutex::new(("one\n", "\"1\"")));
    let shared = Arc::clone(&state);
    let web = Web::start(move |request| {
        let (text, etag) = *shared.lock().expect("no panic");
        match request.path.as_str() {
            "/tagged" if request.header("If-None-Match") == etag => {
                response("304 Not Modified", &format!("ETag: {etag}\r\n"), b"")
            }
            "/tagged" | "/deaf" => ok(&format!("ETag: {etag}\r\n"), text.as_bytes()),
            "/dated" if !request.header("If-Modified-Since").is_empty() => response("304 Not Modified", "", b""),
            "/dated" => ok(&format!("Date: Mon, 07 Nov 1994 00:00:00 GMT\r\n{LONG_AGO}"), b"dated\n"),
            "/young" => ok(&format!("Date: Sun, 06 Nov 1994 08:49:40 GMT\r\n{LONG_AGO}"), text.as_bytes()),
            "/bare" => ok("", text.as_bytes()),
            _ => not_found(),
        }
    });
    let dockerfile = format!(
        "FROM busybox\nADD {} {} {} {} {} /\nRUN cat tagged deaf dated young bare >all\n",
        web.url("/tagged"),
        web.url("/deaf"),
        web.url("/dated"),
        web.url("/young"),
        web.url("/bare")
    );
    let context = lab.project(&dockerfile, &[]);
    lab.build(&context);
    assert!(web.asked().iter().all(|request| request.header("If-None-Match").is_empty()));
    let again = lab.build(&context);
    let asked = web.asked();
    assert_eq!(asked.len(), 5);
    for request in &asked {
        let (tag, time) = match request.path.as_str() {
            "/tagged" | "/deaf" => ("\"1\"", ""),
            "/dated" => ("", "Sun, 06 Nov 1994 08:49:37 GMT"),
            // Nothing that could tell two versions apart.
            _ => ("", ""),
        };
        assert_eq!((request.header("If-None-Match"), request.header("If-Modified-Since")), (tag, time), "{request:?}");
    }
    assert!(again.executed().is_empty(), "{:?}", again.executed());
    *state.lock().expect("no panic") = ("two\n", "\"2\"");
    let changed = lab.build(&context);
    assert!(changed.executed().iter().any(|name| name.contains("RUN cat")), "{}", changed.stderr);
    assert_eq!(lab.shell("cat /all"), "two\ntwo\ndated\ntwo\ntwo\n");
    // What the store let go of is fetched again.
    lab.ok(&["rmi", "app"]);
    lab.ok(&["cache", "prune", "-a"]);
    web.asked();
    lab.build(&context);
    assert!(web.asked().iter().all(|request| request.header("If-None-Match").is_empty()));
    assert_eq!(lab.shell("cat /all"), "two\ntwo\ndated\ntwo\ntwo\n");
}

#[test]
fn checksums_are_checked_before_anything_is_kept() {
    let lab = Lab::new();
    let web = Web::start(|request| match request.path.as_str() {
        "/file" => ok("", b"text\n"),
        _ => not_found(),
    });
    let (right, wrong) = (sha256(b"text\n"), sha256(b"other\n"));
    let dockerfile =
        |digest: &str| format!("FROM busybox\n\nADD --checksum=sha256:{digest} {} /file\n", web.url("/file"));
    let context = lab.project(&dockerfile(&right), &[]);
    lab.build(&context);
    assert_eq!(lab.shell("cat /file"), "text\n");
    // Bytes that can't have changed need no server.
    web.asked();
    lab.build_with(&context, &["--no-cache"]);
    lab.build(&context);
    assert_eq!(web.asked().len(), 0);
    let layers = fs::read_dir(lab.root().join("snapshots")).expect("there").count();
    let ran = lab.build_fails(&dockerfile(&wrong), &[]);
    for part in [&format!("expected sha256:{wrong}"), &format!("got sha256:{right}"), "Dockerfile:3", ">>> ADD"] {
        ran.assert_stderr(part);
    }
    assert_eq!(fs::read_dir(lab.root().join("snapshots")).expect("there").count(), layers);
    lab.assert_tidy();
}

#[test]
fn archives_are_unpacked_when_asked_for() {
    let lab = Lab::new();
    let dir = lab.context(&[("inner/f", "inside\n")]);
    let tar = lab.path().join("a.tar.gz");
    let (dir, to) = (dir.to_str().expect("UTF-8"), tar.to_str().expect("UTF-8"));
    crate::kit::tool("tar", &["-C".as_ref(), dir.as_ref(), "-czf".as_ref(), to.as_ref(), "inner".as_ref()]);
    let bytes = fs::read(&tar).expect("it was made");
    let web = Web::start(move |_| ok("", &bytes));
    let url = web.url("/a.tar.gz");
    build(&lab, &format!("FROM busybox\nADD {url} /plain/\nADD --unpack=true {url} /unpacked/\n"), &[]);
    assert_eq!(
        lab.shell("ls /plain /unpacked; cat /unpacked/inner/f"),
        "/plain:\na.tar.gz\n\n/unpacked:\ninner\ninside\n"
    );
}

#[test]
fn what_fails_is_told_with_its_line_and_leaves_nothing() {
    let lab = Lab::new();
    let web = Web::start(|request| match request.path.as_str() {
        "/half" => response("200 OK", "Content-Length: 100\r\n", b"only this"),
        "/circle" => response("302 Found", "Location: /circle\r\nContent-Length: 0\r\n", b""),
        "/broken" => response("500 Internal Server Error", "Content-Length: 0\r\n", b""),
        "/secret" => response("403 Forbidden", "Content-Length: 0\r\n", b""),
        _ => not_found(),
    });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("bound");
    let layers = || fs::read_dir(lab.root().join("snapshots")).expect("there").count();
    let before = layers();
    for (url, reason) in [
        (web.url("/missing"), "the server answered 404 Not Found"),
        (web.url("/broken"), "the server answered 500 Internal Server Error"),
        (web.url("/secret"), "--secret id=HTTP_AUTH_TOKEN_127.0.0.1"),
        (web.url("/half"), "can't be fetched: "),
        (web.url("/circle"), "redirects more than 10 times"),
        (format!("http://{closed}/x"), "the connection was refused"),
        ("http://no-such-host.invalid/x".to_owned(), "no-such-host.invalid"),
    ] {
        let ran = lab.build_fails(&format!("FROM busybox\nRUN true\nADD {url} /x\n"), &[]);
        for part in [reason, url.as_str(), "Dockerfile:3", ">>> ADD"] {
            ran.assert_stderr(part);
        }
        lab.assert_tidy();
    }
    // Nothing ran before the sources were known, and nothing of them was kept.
    assert_eq!(layers(), before);
}

#[test]
fn servers_that_are_busy_are_asked_again() {
    let lab = Lab::new();
    let asked = Arc::new(Mutex::new(0));
    let web = Web::start(move |request| {
        let mut asked = asked.lock().expect("no panic");
        *asked += 1;
        match (*asked, request.path.as_str()) {
            (1, _) => response("503 Service Unavailable", "Retry-After: 0\r\nContent-Length: 0\r\n", b""),
            // No answer at all.
            (2, _) => Vec::new(),
            // The user and the password of the URL.
            _ if request.header("Authorization") == "Basic dXNlcjpjYW5hcnk=" => ok("", b"text\n"),
            _ => not_found(),
        }
    });
    let url = web.url("/file").replace("://", "://user:canary@");
    let ran = build(&lab, &format!("FROM busybox\nADD {url} /file\n"), &[]);
    assert_eq!(lab.shell("cat /file"), "text\n");
    assert_eq!(web.asked().len(), 3);
    assert!(!ran.stderr.contains("can't be fetched"), "{}", ran.stderr);
    let gone = lab.build_fails(&format!("FROM busybox\nADD {} /file\n", url.replace("canary", "other")), &[]);
    gone.assert_stderr("user:xxxxx@127.0.0.1");
}

#[test]
fn secrets_open_servers() {
    let lab = Lab::new();
    let web = Web::start(|request| match request.header("Authorization") {
        "Bearer canary" | "Basic other-canary" => ok("", b"text\n"),
        _ => response("401 Unauthorized", "Content-Length: 0\r\n", b""),
    });
    let context = lab.project(&format!("FROM busybox\nADD {} /file\n", web.url("/file")), &[]);
    let secret = lab.path().join("secret");
    let flag = |kind: &str| format!("id=HTTP_AUTH_{kind}_127.0.0.1,src={}", secret.display());
    assert_eq!(lab.try_build(&context, &[]).code, 1);
    for (kind, text) in [("TOKEN", "canary\n"), ("HEADER", "Basic other-canary")] {
        fs::write(&secret, text).expect("ours");
        lab.build_with(&context, &["--no-cache", "--secret", &flag(kind)]);
    }
    fs::remove_file(&secret).expect("ours");
    let found = Command::new("grep").args(["-rl", "canary"]).arg(lab.path()).output().expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn repositories_are_added() {
    let lab = Lab::new();
    let root = lab.path().join("srv");
    let repo = Repo::new(&root.join("app.git"));
    repo.write("src/f", "one\n").write("run.sh", "#!/bin/sh\n").executable("run.sh").write("src/.dockerignore", "*");
    let first = repo.commit("first");
    repo.git(&["tag", "-a", "-m", "one", "v1"]).write("src/f", "two\n").commit("second");
    let server = GitServer::start(root);
    let url = server.url("app.git");
    let dockerfile = format!(
        "FROM busybox\nARG REF=v1\nADD {url} /whole\nADD {url}#$REF:src /old\nADD {url}?branch=main&subdir=src /query/\n\
         ADD --keep-git-dir=true {url}#v1 /kept\nADD --checksum={} {url}#v1 /checked\n",
        &first[..12]
    );
    let context = lab.project(&dockerfile, &[]);
    lab.build(&context);
    assert_eq!(
        lab.shell("cd /; cat whole/src/f old/f query/f checked/src/f; stat -c '%n %a %u' whole/run.sh whole/src whole/src/f; ls -A whole old; cat kept/.git/HEAD"),
        format!(
            "two\none\ntwo\none\nwhole/run.sh 755 0\nwhole/src 755 0\nwhole/src/f 644 0\nold:\n.dockerignore\nf\n\nwhole:\nrun.sh\nsrc\n{first}\n"
        )
    );
    // The second build asks which commits there are, and fetches nothing.
    server.clear();
    let again = lab.build(&context);
    assert!(again.executed().is_empty(), "{}", again.stderr);
    assert!(server.requests().iter().all(|line| !line.contains("command=fetch")), "{:?}", server.requests());
    // Only the branch moved.
    repo.write("src/f", "three\n").commit("third");
    let moved = lab.build(&context);
    assert_eq!(lab.shell("cat /whole/src/f /old/f /query/f"), "three\none\nthree\n");
    assert!(!moved.cached().is_empty() || !moved.executed().is_empty());
    for (line, reason) in [
        (format!("ADD {url}#v2 /x"), "no branch, tag or commit `v2`"),
        (format!("ADD {url}#v1:scr /x"), "did you mean `src`?"),
        (format!("ADD --checksum=0123456 {url}#v1 /x"), "expected 0123456"),
        (format!("ADD {}#main /x", server.url("gone.git")), "gone.git can't be fetched"),
    ] {
        let ran = lab.build_fails(&format!("FROM busybox\n{line}\n"), &[]);
        for part in [reason, "Dockerfile:2", ">>> ADD"] {
            ran.assert_stderr(part);
        }
    }
    lab.assert_tidy();
    // A prune of everything takes what was fetched as well.
    let repositories = || fs::read_dir(lab.root().join("remotes/git")).expect("there").count();
    assert!(repositories() > 0);
    lab.ok(&["rmi", "app"]);
    lab.ok(&["cache", "prune"]);
    assert!(repositories() > 0);
    lab.ok(&["cache", "prune", "-a"]);
    assert_eq!(repositories(), 0);
    lab.build(&context);
    assert_eq!(lab.shell("cat /old/f"), "one\n");
}
