//! A git server for one test, and repositories on it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// Runs git for a test, with nothing of the machine's configuration.
pub fn git(directory: &Path, args: &[&str]) -> String {
    run(directory, args, None)
}

fn run(directory: &Path, args: &[&str], input: Option<&str>) -> String {
    let mut command = Command::new("git");
    command
        .args(["-c", "safe.directory=*"])
        .args(args)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "a")
        .env("GIT_AUTHOR_EMAIL", "a@example.com")
        .env("GIT_COMMITTER_NAME", "c")
        .env("GIT_COMMITTER_EMAIL", "c@example.com")
        .env("GIT_AUTHOR_DATE", format!("{} +0000", Repo::TIME))
        .env("GIT_COMMITTER_DATE", format!("{} +0000", Repo::TIME))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("git is needed for this test");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.unwrap_or_default().as_bytes()).expect("git reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it is ours");
    assert!(output.status.success(), "git {args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A repository with a working tree.
pub struct Repo(PathBuf);

impl Repo {
    /// When everything is committed.
    pub const TIME: i64 = 1_600_000_000;

    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path).expect("the test's directory");
        git(path, &["init", "-q", "-b", "main"]);
        Self(path.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("below the repository")).expect("ours");
        fs::write(path, text).expect("ours");
        self
    }

    pub fn executable(&self, name: &str) -> &Self {
        fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(0o755)).expect("ours");
        self
    }

    pub fn git(&self, args: &[&str]) -> &Self {
        git(&self.0, args);
        self
    }

    pub fn output(&self, args: &[&str]) -> String {
        git(&self.0, args)
    }

    pub fn input(&self, args: &[&str], text: &str) -> String {
        run(&self.0, args, Some(text))
    }

    /// Commits everything; the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A", "."]).git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    pub fn head(&self) -> String {
        self.output(&["rev-parse", "HEAD"])
    }

    /// A submodule at `path`: `url` is what `.gitmodules` says, `from` where its newest commit is found.
    pub fn submodule(&self, url: &str, path: &str, from: &str) -> &Self {
        let commit = self.output(&["ls-remote", from, "HEAD"]);
        let commit = commit.split('\t').next().unwrap_or_default();
        let name = format!("submodule.{path}");
        self.git(&["config", "-f", ".gitmodules", &format!("{name}.path"), path]);
        self.git(&["config", "-f", ".gitmodules", &format!("{name}.url"), url]);
        fs::create_dir_all(self.0.join(path)).expect("ours");
        self.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")])
    }

    /// Writes a tree as it is, whatever git thinks of it: `mode type id TAB name NUL`.
    pub fn raw_tree(&self, entries: &str) -> String {
        let mut bytes = Vec::new();
        for entry in entries.split('\0').filter(|entry| !entry.is_empty()) {
            let (about, name) = entry.split_once('\t').expect("a tab");
            let mut about = about.split(' ');
            let (mode, _, id) = (about.next().expect("mode"), about.next(), about.next().expect("id"));
            bytes.extend(format!("{} {name}\0", mode.trim_start_matches('0')).as_bytes());
            bytes.extend((0..20).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).expect("hex")));
        }
        let file = self.0.join(".git/raw-tree");
        fs::write(&file, bytes).expect("ours");
        let id = git(&self.0, &["hash-object", "-w", "-t", "tree", "--literally", ".git/raw-tree"]);
        fs::remove_file(file).expect("ours");
        id
    }
}

#[derive(Default)]
struct State {
    requests: Vec<String>,
    authorization: Option<String>,
    plain: bool,
    first_protocol: bool,
}

/// Serves the repositories of a directory over HTTP, through `git http-backend`, until it is dropped.
pub struct GitServer {
    address: String,
    state: Arc<Mutex<State>>,
}

impl GitServer {
    pub fn start(root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Once the test has let go of it, nobody is served any more.
                if Arc::strong_count(&shared) == 1 {
                    break;
                }
                let (root, shared) = (root.clone(), Arc::clone(&shared));
                let answered = thread::spawn(move || answer(&stream, &root, &shared)).join();
                // A client that goes away early is its own business.
                drop(answered);
            }
        });
        Self { address, state }
    }

    pub fn host(&self) -> &str {
        &self.address
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    pub fn clear(&self) {
        self.state.lock().expect("no panic").requests.clear();
    }

    /// Commands of the protocol that were sent: request lines and `command=…`.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().expect("no panic").requests.clone()
    }

    /// Answers nobody without this header.
    pub fn require(&self, authorization: &str) {
        self.state.lock().expect("no panic").authorization = Some(authorization.to_owned());
    }

    /// Serves files and knows nothing of git.
    pub fn plain_files(&self) {
        self.state.lock().expect("no panic").plain = true;
    }

    /// Ignores that clients speak newer versions of the protocol.
    pub fn first_protocol(&self) {
        self.state.lock().expect("no panic").first_protocol = true;
    }
}

fn answer(stream: &TcpStream, root: &Path, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream.try_clone()?;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut headers: Vec<(String, String)> = Vec::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header == "\r\n" {
            break;
        }
        if let Some((name, value)) = header.trim_end().split_once(": ") {
            headers.push((name.to_lowercase(), value.to_owned()));
        }
    }
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    if header("expect") == "100-continue" {
        out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if header("transfer-encoding") == "chunked" {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).unwrap_or(0);
            reader.by_ref().take(size).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    } else {
        let size = header("content-length").parse().unwrap_or(0);
        reader.take(size).read_to_end(&mut body)?;
    }
    let (plain, first_protocol) = {
        let mut state = state.lock().expect("no panic");
        let text = String::from_utf8_lossy(&body);
        let command = text.find("command=").map(|at| text[at..].chars().take(16).collect::<String>());
        state.requests.push(format!("{} {}", line.trim_end(), command.unwrap_or_default()));
        if state.authorization.as_ref().is_some_and(|wanted| wanted != header("authorization")) {
            out.write_all(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            return stream.shutdown(Shutdown::Both);
        }
        (state.plain, state.first_protocol)
    };
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if plain {
        let (status, bytes) = match fs::read(root.join(path.trim_start_matches('/'))) {
            Ok(bytes) => ("200 OK", bytes),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let length = bytes.len();
        out.write_all(
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        out.write_all(&bytes)?;
        return stream.shutdown(Shutdown::Both);
    }
    let mut backend = Command::new("git")
        .args(["-c", "safe.directory=*", "-c", "uploadpack.allowFilter=true", "http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", if first_protocol { "" } else { header("git-protocol") })
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = backend.stdin.take().expect("a pipe");
    let feeder = thread::spawn(move || stdin.write_all(&body));
    let output = backend.wait_with_output()?.stdout;
    drop(feeder.join());
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
    let rest: Vec<&str> = head.lines().filter(|line| !line.starts_with("Status: ")).collect();
    write!(out, "HTTP/1.1 {status}\r\nConnection: close\r\n{}\r\n\r\n", rest.join("\r\n"))?;
    out.write_all(&output[end + 4..])?;
    stream.shutdown(Shutdown::Both)
}
