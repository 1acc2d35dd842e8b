//! Root file systems as tarballs become images.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use crate::archives::content;
use crate::kit::{Lab, Ran, busybox_tar, tool};

fn busybox() -> &'static str {
    busybox_tar().to_str().expect("UTF-8")
}

/// What the image prints that is imported under this name.
#[track_caller]
fn shell(lab: &Lab, image: &str, script: &str) -> String {
    lab.ok(&["run", "--rm", image, "sh", "-c", script]).stdout
}

/// The command, which must not ask a proxy for what is on this machine.
fn import(lab: &Lab, args: &[&str]) -> Command {
    let mut command = lab.command(&[&["import"], args].concat());
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// A server on this machine that answers each connection by its path, until the test ends.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let respond = move |mut stream: TcpStream| {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        stream.write_all(&answer(request.split(' ').nth(1).unwrap_or_default()))?;
        stream.shutdown(std::net::Shutdown::Both)
    };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away early is its own business.
            let _: std::io::Result<()> = respond(stream);
        }
    });
    format!("http://{address}")
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").as_bytes(), body].concat()
}

#[test]
fn a_tarball_becomes_an_image_that_runs_and_builds() {
    let lab = Lab::empty();
    let ran = lab.ok(&["import", busybox(), "example.com/base:v1"]);
    let id = ran.stdout.trim_end();
    assert!(id.starts_with("sha256:") && id.len() == 71 && ran.stdout.lines().count() == 1, "{}", ran.stdout);
    let image = lab.inspect("example.com/base:v1");
    assert_eq!(image["Id"], id);
    assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(1));
    assert_eq!((&image["Os"], &image["RepoTags"]), (&"linux".into(), &json!(["example.com/base:v1"])));
    assert_eq!(shell(&lab, "example.com/base:v1", "grep -c app /etc/passwd; stat -c %a /tmp"), "1\n1777\n");
    let history = lab.ok(&["history", "example.com/base:v1"]).stdout;
    assert!(history.contains(&format!("Imported from {}", busybox())), "{history}");
    lab.build_files("FROM example.com/base:v1\nRUN echo built >/f\nCMD [\"cat\", \"/f\"]\n", &[]);
    assert_eq!(lab.ok(&["run", "app"]).stdout, "built\n");
    // Without a name, and with another message.
    let ran = lab.ok(&["image", "import", "-m", "from the attic", busybox()]);
    let history = lab.ok(&["history", ran.stdout.trim_end()]).stdout;
    assert!(history.contains("from the attic") && !history.contains("Imported"), "{history}");
    // A name moves to the image that was imported last.
    let again = lab.ok(&["import", busybox(), "example.com/base:v1"]).stdout;
    assert_eq!(lab.inspect("example.com/base:v1")["Id"], again.trim_end());
}

#[test]
fn a_tarball_comes_from_a_file_a_pipe_or_a_server_compressed_or_not() {
    let lab = Lab::empty();
    lab.ok(&["import", busybox(), "plain"]);
    let layers = lab.inspect("plain")["RootFS"]["Layers"].clone();
    let plain = fs::read(busybox()).expect("it is there");
    let mut all = vec![("plain".to_owned(), plain)];
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let input = File::open(busybox()).expect("it is there");
        let output = Command::new(program).arg("-c").stdin(input).output().expect("it is installed");
        all.push((program.to_owned(), output.stdout));
    }
    let files = all.clone();
    let server = serve(move |path| {
        let (_, body) =
            files.iter().find(|(name, _)| path == format!("/{name}.tar?x=y")).expect("only these are asked for");
        response("200 OK", &format!("Content-Length: {}\r\n", body.len()), body)
    });
    for (name, bytes) in all {
        // The name of the file tells nothing.
        let file = lab.path().join("rootfs");
        fs::write(&file, bytes).expect("ours");
        let url = format!("{server}/{name}.tar?x=y");
        for (source, stdin) in
            [(file.to_str().expect("UTF-8"), "/dev/null"), ("-", file.to_str().expect("UTF-8")), (&url, "/dev/null")]
        {
            let mut command = import(&lab, &[source, "imported"]);
            let ran = Ran::of(command.stdin(File::open(stdin).expect("there")).output().expect("builder starts"));
            assert_eq!(ran.code, 0, "{name} from {source}\n{}", ran.stderr);
            assert_eq!(lab.inspect("imported")["RootFS"]["Layers"], layers, "{name} from {source}");
            assert_eq!(shell(&lab, "imported", "echo works"), "works\n", "{name} from {source}");
            let history = lab.ok(&["history", "--no-trunc", "imported"]).stdout;
            assert!(history.contains(&format!("Imported from {source}")), "{history}");
        }
    }
}

#[test]
fn a_server_may_redirect_and_send_in_chunks() {
    let lab = Lab::empty();
    let tar = fs::read(busybox()).expect("it is there");
    let server = serve(move |path| match path {
        "/here" => response("302 Found", "Location: /there\r\nContent-Length: 0\r\n", b""),
        "/there" => {
            let mut body = Vec::new();
            for chunk in tar.chunks(100_000) {
                body.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            response("200 OK", "Transfer-Encoding: chunked\r\n", &body)
        }
        other => panic!("{other}"),
    });
    let ran = Ran::of(import(&lab, &[&format!("{server}/here"), "base"]).output().expect("builder starts"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(shell(&lab, "base", "echo works"), "works\n");
}

#[test]
fn a_server_that_fails_is_an_error_and_leaves_nothing() {
    let lab = Lab::empty();
    let tar = fs::read(busybox()).expect("it is there");
    let length = format!("Content-Length: {}\r\n", tar.len());
    let server = serve(move |path| match path {
        "/missing" => response("404 Not Found", "Content-Length: 9\r\n", b"not found"),
        "/broken" => response("500 Internal Server Error", "", b""),
        "/page" => response("200 OK", "Content-Type: text/html\r\n", b"<html>please log in</html>\n"),
        "/half" => response("200 OK", &length, &tar[..tar.len() / 2]),
        "/circle" => response("302 Found", "Location: /circle\r\nContent-Length: 0\r\n", b""),
        other => panic!("{other}"),
    });
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it is bound");
    for (url, reason) in [
        (format!("{server}/missing"), "404"),
        (format!("{server}/broken"), "500"),
        (format!("{server}/page"), "can't be imported"),
        (format!("{server}/half"), "can't be imported"),
        (format!("{server}/circle"), "redirect"),
        (format!("http://{closed}/x.tar"), "refused"),
        ("http://no-such-host.invalid/x.tar".to_owned(), "can't be fetched"),
        ("http://".to_owned(), "can't be fetched"),
    ] {
        let ran = Ran::of(import(&lab, &[&url, "base"]).output().expect("builder starts"));
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{url}\n{}", ran.stderr);
        ran.assert_stderr(&url);
        ran.assert_stderr(reason);
        assert_eq!((content(&lab), lab.ok(&["images", "-q"]).stdout.as_str()), (vec![], ""), "{url}");
    }
}

#[test]
fn changes_set_the_config() {
    let lab = Lab::empty();
    let empty = lab.context(&[]).join("empty.tar");
    fs::write(&empty, [0; 1024]).expect("ours");
    for (changes, field, expected) in [
        (&["CMD [\"echo\", \"hi\"]"][..], "Cmd", json!(["echo", "hi"])),
        (&["CMD echo $A"], "Cmd", json!(["/bin/sh", "-c", "echo $A"])),
        (&["ENTRYPOINT [\"/bin/sh\"]"], "Entrypoint", json!(["/bin/sh"])),
        (
            &["SHELL [\"/bin/ash\", \"-ec\"]", "ENTRYPOINT exec top"],
            "Entrypoint",
            json!(["/bin/ash", "-ec", "exec top"]),
        ),
        (&["ENV A=b C=\"d e\"", "ENV F=$A"], "Env", json!(["A=b", "C=d e", "F=b"])),
        (&["env G h i"], "Env", json!(["G=h i"])),
        (&["EXPOSE 80 53/udp"], "ExposedPorts", json!({"80/tcp": {}, "53/udp": {}})),
        (
            &["HEALTHCHECK --interval=5s --retries=3 CMD true"],
            "Healthcheck",
            json!({"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000_u64, "Retries": 3}),
        ),
        (&["LABEL a=b \"c d\"=e"], "Labels", json!({"a": "b", "c d": "e"})),
        (
            &["ONBUILD RUN echo triggered >/f", "ONBUILD ENV O=p"],
            "OnBuild",
            json!(["RUN echo triggered >/f", "ENV O=p"]),
        ),
        (&["STOPSIGNAL SIGINT"], "StopSignal", json!("SIGINT")),
        (&["USER app:app"], "User", json!("app:app")),
        (&["VOLUME /data /other"], "Volumes", json!({"/data": {}, "/other": {}})),
        (&["VOLUME [\"/a b\"]"], "Volumes", json!({"/a b": {}})),
        (&["WORKDIR /w", "WORKDIR sub"], "WorkingDir", json!("/w/sub")),
    ] {
        let mut args = vec!["import", empty.to_str().expect("UTF-8"), "base"];
        args.extend(changes.iter().flat_map(|change| ["--change", change]));
        lab.ok(&args);
        let config = lab.inspect("base")["Config"].clone();
        if field == "Env" {
            let known = config["Env"].as_array().expect("a list");
            assert!(
                expected.as_array().expect("a list").iter().all(|one| known.contains(one)),
                "{changes:?}: {config}"
            );
        } else {
            assert_eq!(config[field], expected, "{changes:?}");
        }
    }
    lab.ok(&["import", busybox(), "base", "-c", "MAINTAINER me <me@example.com>"]);
    assert_eq!(lab.inspect("base")["Author"], "me <me@example.com>");
    lab.ok(&[
        "import",
        busybox(),
        "base",
        "-c",
        "ENV GREETING=hello",
        "-c",
        "WORKDIR /var",
        "-c",
        "USER app",
        "-c",
        "ENTRYPOINT [\"sh\", \"-c\"]",
        "-c",
        "CMD [\"echo $GREETING; pwd; id -un\"]",
        "-c",
        "ONBUILD RUN pwd",
        "-c",
        "ONBUILD ENV GREETING=again",
    ]);
    assert_eq!(lab.ok(&["run", "base"]).stdout, "hello\n/var\napp\n");
    let ran = lab.build_files("FROM base\n", &[]);
    assert_eq!(ran.output(), "/var\n", "the trigger runs in the child");
    assert_eq!(lab.ok(&["run", "app"]).stdout, "again\n/var\napp\n");
}

#[test]
fn changes_that_make_no_sense_are_misuse_and_nothing_is_imported() {
    let lab = Lab::empty();
    for (change, part) in [
        ("RUN true", "`RUN` is not possible here"),
        ("COPY a b", "`COPY` is not possible here"),
        ("FROM scratch", "`FROM` is not possible here"),
        ("WORKDR /w", "WORKDIR"),
        ("ENV", "ENV"),
        ("EXPOSE many", "many"),
        ("STOPSIGNAL", "STOPSIGNAL"),
        ("", ""),
        ("USER a\nUSER b", ""),
    ] {
        let ran = lab.run(&["import", busybox(), "base", "--change", change]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{change:?}\n{}", ran.stderr);
        ran.assert_stderr("--change");
        ran.assert_stderr(part);
        assert_eq!(content(&lab), [] as [PathBuf; 0], "{change:?}");
    }
}

#[test]
fn what_is_no_tarball_is_refused_with_advice() {
    let lab = Lab::empty();
    let dir = lab.context(&[("text", "this is not a tarball\n"), ("root/etc/passwd", "")]);
    let cut = dir.join("cut.tar");
    fs::write(&cut, &fs::read(busybox()).expect("there")[..700_000]).expect("ours");
    let cut_gzip = dir.join("cut.tar.gz");
    let compressed = Command::new("gzip").args(["-c", busybox()]).output().expect("gzip is installed").stdout;
    fs::write(&cut_gzip, &compressed[..compressed.len() / 2]).expect("ours");
    let root = dir.join("root");
    for (source, reason) in [
        (root.as_path(), "is a directory"),
        (&root, "tar -C"),
        (&dir.join("nosuch.tar"), "No such file"),
        (&dir.join("text"), "can't be imported"),
        (&cut, "cut off"),
        (&cut_gzip, "can't be imported"),
        (Path::new("/dev/null"), ""),
    ] {
        let ran = lab.run(&["import", source.to_str().expect("UTF-8"), "base"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}\n{}", source.display(), ran.stderr);
        ran.assert_stderr(source.to_str().expect("UTF-8"));
        ran.assert_stderr(reason);
        assert_eq!((content(&lab), lab.ok(&["images", "-q"]).stdout.as_str()), (vec![], ""), "{}", source.display());
    }
    let ran = lab.run(&["import", busybox(), "Not A Name"]);
    assert_eq!(ran.code, 1);
    ran.assert_stderr("invalid reference `Not A Name`");
    assert_eq!(lab.run(&["import"]).code, 2);
    // An empty root file system is one, too.
    let empty = dir.join("empty.tar");
    tool("tar", &["-cf".as_ref(), empty.as_ref(), "-T".as_ref(), "/dev/null".as_ref()]);
    lab.ok(&["import", empty.to_str().expect("UTF-8"), "empty"]);
    assert_eq!(lab.inspect("empty")["Size"], 0);
}

/// A block of a tarball, as nobody's tar would write it.
fn entry(name: &str, kind: u8, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000755\x000000000\x000000000\x00");
    put(124, format!("{:011o}\0{:011o}\0", data.len(), 0).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut block = header.to_vec();
    block.extend(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

#[test]
fn hostile_tarballs_reach_nothing_outside_and_leave_nothing_behind() {
    let lab = Lab::empty();
    let outside = lab.context(&[("target", "untouched"), ("dir/", "")]);
    let path = |name: &str| outside.join(name).to_str().expect("UTF-8").to_owned();
    let (target, directory) = (path("target"), path("dir"));
    let up = "../".repeat(12);
    let file = |name: &str| entry(name, b'0', "", b"hostile");
    let pax = |record: &str| {
        let length = (record.len()..record.len() + 10)
            .find(|length| format!("{length} {record}\n").len() == *length)
            .expect("there is one");
        entry("pax", b'x', "", format!("{length} {record}\n").as_bytes())
    };
    let mut damaged = file("damaged");
    damaged[0] = b'X';
    let mut endless = entry("endless", b'0', "", b"");
    endless[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    let sum: u32 = endless[..148].iter().chain(&endless[156..512]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    endless[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    for (what, tar) in [
        ("a path that leads up", file(&format!("{up}{}", &target[1..]))),
        ("a path that leads up in the middle", file("a/../../escape")),
        ("a hard link to the host", entry("link", b'1', &target, b"")),
        ("a hard link that leads up", entry("link", b'1', &format!("{up}{}", &target[1..]), b"")),
        (
            "a hard link through a link",
            [entry("dir", b'2', &directory, b""), entry("link", b'1', "dir/../target", b"")].concat(),
        ),
        ("a file below a link to the host", [entry("dir", b'2', &directory, b""), file("dir/file")].concat()),
        (
            "a file below a link that leads up",
            [entry("dir", b'2', &format!("{up}{}", &directory[1..]), b""), file("dir/file")].concat(),
        ),
        ("a directory below a link", [entry("dir", b'2', &directory, b""), entry("dir/sub", b'5', "", b"")].concat()),
        ("a file below a file", [file("file"), file("file/below")].concat()),
        ("a path from an extended header", [pax(&format!("path={up}{}", &target[1..])), file("innocent")].concat()),
        ("the root as a link", entry("./", b'2', &directory, b"")),
        ("the root as a file", file(".")),
        ("a whiteout of what is above", file(".wh...")),
        ("a type that nobody knows", entry("what", b'Z', "", b"")),
        ("a checksum that is wrong", damaged),
        ("a file of nine exabytes", endless),
        ("a file that ends early", file("file")[..515].to_vec()),
    ] {
        let before = content(&lab);
        let archive = lab.path().join("hostile.tar");
        fs::write(&archive, [file("good"), tar, vec![0; 1024]].concat()).expect("ours");
        if what.contains("ends early") {
            let bytes = fs::read(&archive).expect("ours");
            fs::write(&archive, &bytes[..bytes.len() - 1024]).expect("ours");
        }
        let ran = lab.run(&["import", archive.to_str().expect("UTF-8"), "base"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{what}\n{}", ran.stderr);
        ran.assert_stderr("hostile.tar can't be imported: tar");
        assert_eq!((content(&lab), lab.ok(&["images", "-q"]).stdout.as_str()), (before, ""), "{what}");
        assert_eq!(fs::read_to_string(&target).expect("it is there"), "untouched", "{what}");
        assert_eq!(fs::read_dir(&directory).expect("it is there").count(), 0, "{what}");
    }
    // Links that lead out are no harm as long as nothing follows them outside of a container.
    let archive = lab.path().join("links.tar");
    let mut tar = fs::read(busybox()).expect("it is there");
    tar.truncate(tar.len() - 1024);
    while tar.ends_with(&[0; 512]) {
        tar.truncate(tar.len() - 512);
    }
    tar.extend([entry("/absolute", b'0', "", b"inside"), entry("out", b'2', &directory, b""), vec![0; 1024]].concat());
    fs::write(&archive, tar).expect("ours");
    lab.ok(&["import", archive.to_str().expect("UTF-8"), "base"]);
    lab.build_files("FROM base\nCOPY f /out/f\n", &[("f", "copied\n")]);
    assert_eq!(
        lab.shell(&format!("cat /absolute; echo; cat {directory}/f; readlink /out")),
        format!("inside\ncopied\n{directory}\n")
    );
    assert_eq!(fs::read_dir(&directory).expect("it is there").count(), 0);
}

#[test]
fn the_config_is_complete_without_changes() {
    let lab = Lab::empty();
    lab.ok(&["import", busybox(), "base"]);
    let raw: Value = serde_json::from_str(&lab.ok(&["inspect", "--raw", "base"]).stdout).expect("JSON");
    assert_eq!(raw["rootfs"]["type"], "layers");
    assert_eq!(raw["history"].as_array().map(Vec::len), Some(1));
    assert!(raw["created"].as_str().is_some_and(|text| text.starts_with("20") && text.ends_with('Z')), "{raw}");
    // There is no command, and what to do about that is said.
    let ran = lab.run(&["run", "base"]);
    assert_eq!(ran.code, 125);
    ran.assert_stderr("no command");
}
