//! Registries to test with: Debian's `docker-registry` on a free port of this machine, and a proxy before it that does
//! what servers and networks do on bad days.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::format_push_string,
    reason = "several tests include this file, and each uses a part of it; a test may panic"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

/// A `docker-registry`, which ends with this value.
#[derive(Debug)]
pub struct RealRegistry {
    child: Child,
    dir: TempDir,
    host: String,
    is_tls: bool,
}

/// How a registry is to be.
#[derive(Debug, Clone, Default)]
pub struct Options<'a> {
    /// User and password that it wants.
    pub login: Option<(&'a str, &'a str)>,
    /// It speaks TLS, with a certificate for `localhost` and 127.0.0.1 of an authority that nobody knows.
    pub tls: bool,
    /// It wants a certificate of the client; implies TLS.
    pub client_certificates: bool,
    /// Its certificate ended years ago; implies TLS.
    pub expired: bool,
    /// Its certificate is signed by itself, for these names, as the one is that Docker's handbook makes for a registry;
    /// `ca.crt` is the same. Implies TLS.
    pub self_signed: Option<&'a str>,
}

impl RealRegistry {
    /// One that everybody may use.
    pub fn start() -> Self {
        Self::with(&Options::default())
    }

    /// One like this.
    pub fn with(options: &Options<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let is_tls = options.tls || options.client_certificates || options.expired || options.self_signed.is_some();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{ level: info, formatter: text, accesslog: {{ disabled: true }} }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n  delete: {{ enabled: true }}\n  \
             maintenance: {{ uploadpurging: {{ enabled: false }} }}\nhttp:\n  addr: 127.0.0.1:0\n  secret: test\n",
            at("data")
        );
        if is_tls {
            make_certificates(dir.path(), options);
            config.push_str(&format!("  tls:\n    certificate: {}\n    key: {}\n", at("server.crt"), at("server.key")));
            if options.client_certificates {
                config.push_str(&format!("    clientcas: [{}]\n", at("ca.crt")));
            }
        }
        if let Some((user, password)) = options.login {
            let line = output(Command::new("htpasswd").args(["-Bbn", user, password]));
            fs::write(dir.path().join("htpasswd"), line).unwrap();
            config.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", at("htpasswd")));
        }
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry should be installed");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let port = loop {
            let Some(Ok(line)) = lines.next() else { panic!("docker-registry ended: {said}") };
            if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                break rest.chars().take_while(char::is_ascii_digit).collect::<String>();
            }
            said.push_str(&line);
            said.push('\n');
        };
        // Nobody reads what it says later, but it must be able to say it.
        thread::spawn(move || lines.for_each(drop));
        Self { child, dir, host: format!("127.0.0.1:{port}"), is_tls }
    }

    /// Its host with its port, as it is written in references.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A reference to an image in it.
    pub fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A file of those that TLS brought: `ca.crt`, `client.crt`, `client.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// It speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, a certificate of it for the server, and one for a client.
fn make_certificates(dir: &Path, options: &Options<'_>) {
    let openssl = |arguments: &str| {
        output(Command::new("openssl").args(arguments.split(' ')).current_dir(dir));
    };
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=test-authority -keyout ca.key -out ca.crt",
    );
    let dates =
        if options.expired { ("20200101000000Z", "20200201000000Z") } else { ("20200101000000Z", "20991231000000Z") };
    write("index.txt", "");
    write(
        "ca.cnf",
        "[ca]\ndefault_ca = a\n[a]\ndatabase = index.txt\nnew_certs_dir = .\nrand_serial = yes\ndefault_md = sha256\n\
         policy = p\nunique_subject = no\n[p]\ncommonName = supplied\n",
    );
    for (name, extensions) in [
        ("server", "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n"),
        ("client", "extendedKeyUsage=clientAuth\n"),
    ] {
        openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        write("extensions.cnf", &format!("basicConstraints=CA:FALSE\n{extensions}"));
        openssl(&format!(
            "ca -batch -notext -config ca.cnf -cert ca.crt -keyfile ca.key -startdate {} -enddate {} -extfile extensions.cnf -in {name}.csr -out {name}.crt",
            dates.0, dates.1
        ));
    }
    if let Some(names) = options.self_signed {
        // What `openssl req -x509` puts into one; that can't be asked for years that are over.
        write(
            "extensions.cnf",
            &format!(
                "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\nbasicConstraints=critical,CA:TRUE\nsubjectAltName={names}\n"
            ),
        );
        openssl(&format!(
            "ca -batch -notext -selfsign -config ca.cnf -keyfile server.key -startdate {} -enddate {} -extfile extensions.cnf -in server.csr -out server.crt",
            dates.0, dates.1
        ));
        fs::copy(dir.join("server.crt"), dir.join("ca.crt")).unwrap();
    }
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection breaks after so many bytes of the answer's body.
    CutAnswer(u64),
    /// The connection breaks after so many bytes of the request's body have come through.
    CutRequest(u64),
    /// The registry does what it was asked, and the answer is lost.
    LoseAnswer,
    /// Another answer: status with reason, headers (each with its line end), body.
    Answer(&'static str, String, String),
    /// Byte `n` of the answer's body is another one.
    Flip(u64),
    /// The answer has this header, with this value, in place of its own.
    Header(&'static str, String),
    /// No answer ever comes.
    Stall,
    /// So many bytes of the answer's body come, and then nothing.
    StallAfter(u64),
}

impl Fault {
    /// A server that wants to be left alone for so many seconds.
    pub fn busy(seconds: &str) -> Self {
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
        Self::Answer("429 Too Many Requests", format!("Retry-After: {seconds}\r\n"), body.to_owned())
    }

    /// A server that sends somebody elsewhere.
    pub fn redirect(location: &str) -> Self {
        Self::Answer("307 Temporary Redirect", format!("Location: {location}\r\n"), String::new())
    }
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, where it was for the proxy itself.
    pub body: String,
}

impl Seen {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A proxy before a registry. It ends with this value.
#[derive(Debug)]
pub struct Faulty {
    host: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    host: String,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    tokens: Mutex<Option<Tokens>>,
    /// Connections that hang, until all is over.
    hung: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

#[derive(Debug)]
struct Rule {
    method: &'static str,
    part: String,
    times: usize,
    fault: Fault,
}

/// Who gets tokens, and which were given.
#[derive(Debug, Clone)]
struct Tokens {
    /// `user:password`, or an identity token; `None` lets everybody read.
    login: Option<String>,
    given: Vec<String>,
}

impl Faulty {
    /// Before a registry without TLS.
    pub fn before(upstream: &RealRegistry) -> Self {
        Self::before_host(upstream.host())
    }

    /// Before any server.
    pub fn before_host(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            host: host.clone(),
            rules: Mutex::default(),
            seen: Mutex::default(),
            tokens: Mutex::default(),
            hung: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&serving);
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { host, shared }
    }

    /// Its host with its port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A reference to an image in it.
    pub fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }

    /// The next so many requests with this method whose target holds this part go wrong.
    pub fn fault(&self, method: &'static str, part: &str, times: usize, fault: Fault) -> &Self {
        self.shared.rules.lock().unwrap().push(Rule { method, part: part.to_owned(), times, fault });
        self
    }

    /// From now on a token is wanted, of the proxy's own token server, which wants `user:password`, or this identity
    /// token; or nothing, for `None`.
    pub fn want_tokens(&self, login: Option<&str>) -> &Self {
        *self.shared.tokens.lock().unwrap() = Some(Tokens { login: login.map(str::to_owned), given: Vec::new() });
        self
    }

    /// The tokens that were given are good for nothing any more.
    pub fn forget_tokens(&self) {
        if let Some(tokens) = &mut *self.shared.tokens.lock().unwrap() {
            tokens.given.clear();
        }
    }

    /// What was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// What was asked so far, as `GET /v2/`, and forgotten then.
    pub fn take(&self) -> Vec<String> {
        let seen = std::mem::take(&mut *self.shared.seen.lock().unwrap());
        seen.into_iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.hung.lock().unwrap().clear();
        // Wakes the one who waits for connections.
        drop(TcpStream::connect(&self.host));
    }
}

impl Shared {
    /// One request of a connection, which is closed then.
    fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let Some((first, headers)) = head(&mut reader)? else { return Ok(()) };
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut seen = Seen { method: method.to_owned(), target: target.to_owned(), headers, body: String::new() };
        let mut length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if target.starts_with("/token") {
            (&mut reader).take(length).read_to_string(&mut seen.body)?;
            length = 0;
        }
        self.seen.lock().unwrap().push(seen.clone());
        let fault = self.fault_of(&seen);
        match fault {
            Some(Fault::Stall) => {
                self.hung.lock().unwrap().push(client);
                return Ok(());
            }
            Some(Fault::Answer(status, headers, body)) => {
                std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
                return answer(&client, status, &headers, &body);
            }
            _ => {}
        }
        if let Some((status, headers, body)) = self.token_answer(&seen) {
            std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
            return answer(&client, status, &headers, &body);
        }

        let upstream = TcpStream::connect(&self.upstream)?;
        let mut head_text = format!("{first}\r\n");
        for (name, value) in &seen.headers {
            if name != "connection" && name != "authorization" {
                head_text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        (&upstream).write_all(format!("{head_text}connection: close\r\n\r\n").as_bytes())?;
        let through = if let Some(Fault::CutRequest(limit)) = fault { limit.min(length) } else { length };
        std::io::copy(&mut (&mut reader).take(through), &mut &upstream)?;
        if through < length {
            upstream.shutdown(Shutdown::Both)?;
            return client.shutdown(Shutdown::Both);
        }
        let mut answers = BufReader::new(upstream);
        let Some((status, mut headers)) = head(&mut answers)? else { return Ok(()) };
        if let Some(Fault::LoseAnswer) = fault {
            std::io::copy(&mut answers, &mut std::io::sink())?;
            return client.shutdown(Shutdown::Both);
        }
        headers.retain(|(name, _)| name != "connection");
        if let Some(Fault::Header(name, value)) = &fault {
            headers.retain(|(known, _)| known != name);
            headers.push(((*name).to_owned(), value.clone()));
        }
        let mut text = format!("{status}\r\n");
        for (name, value) in &headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        (&client).write_all(format!("{text}connection: close\r\n\r\n").as_bytes())?;
        match fault {
            Some(Fault::CutAnswer(limit)) => {
                std::io::copy(&mut answers.take(limit), &mut &client)?;
                client.shutdown(Shutdown::Both)?;
            }
            Some(Fault::StallAfter(limit)) => {
                std::io::copy(&mut answers.take(limit), &mut &client)?;
                self.hung.lock().unwrap().push(client);
            }
            Some(Fault::Flip(place)) => {
                std::io::copy(&mut (&mut answers).take(place), &mut &client)?;
                let mut byte = [0];
                answers.read_exact(&mut byte)?;
                (&client).write_all(&[!byte[0]])?;
                std::io::copy(&mut answers, &mut &client)?;
            }
            _ => drop(std::io::copy(&mut answers, &mut &client)?),
        }
        Ok(())
    }

    fn fault_of(&self, seen: &Seen) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let applies =
            |rule: &&mut Rule| rule.times > 0 && rule.method == seen.method && seen.target.contains(&rule.part);
        let rule = rules.iter_mut().find(applies)?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    /// What the token server says, or who wants a token.
    fn token_answer(&self, seen: &Seen) -> Option<(&'static str, String, String)> {
        let mut tokens = self.tokens.lock().unwrap();
        let tokens = tokens.as_mut()?;
        let kind = "Content-Type: application/json\r\n".to_owned();
        if seen.target.starts_with("/token") {
            let basic = seen.header("authorization").map(|value| value.trim_start_matches("Basic ").to_owned());
            let right = match &tokens.login {
                None => true,
                Some(login) if login.contains(':') => basic == Some(base64(login.as_bytes())),
                Some(identity) => seen.body.split('&').any(|field| field == format!("refresh_token={identity}")),
            };
            if !right {
                return Some(("401 Unauthorized", kind, r#"{"details":"incorrect username or password"}"#.to_owned()));
            }
            let token = format!("token-{}", tokens.given.len());
            let scope =
                seen.target.split(['?', '&']).chain(seen.body.split('&')).any(|part| part.starts_with("scope="));
            tokens.given.push(token.clone());
            let identity =
                if seen.target.contains("offline_token=true") { r#","refresh_token":"identity""# } else { "" };
            let name = if scope { "token" } else { "access_token" };
            return Some(("200 OK", kind, format!(r#"{{"{name}":"{token}","expires_in":300{identity}}}"#)));
        }
        let bearer = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if bearer.is_some_and(|token| tokens.given.iter().any(|known| known == token)) {
            return None;
        }
        let challenge = format!(
            "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"test, \\\"quoted\\\"\"\r\n",
            self.host
        );
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        Some(("401 Unauthorized", kind + &challenge, body.to_owned()))
    }
}

fn answer(mut client: &TcpStream, status: &str, headers: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    client.write_all(text.as_bytes())
}

/// The first line and the headers of a message.
type Head = (String, Vec<(String, String)>);

fn head(reader: &mut impl BufRead) -> std::io::Result<Option<Head>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    Ok(lines.first().map(|first| (first.clone(), headers)))
}

/// Base64, so that this file needs no crate for it.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0, |number: usize, at| number << 8 | usize::from(*group.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let letter = char::from(LETTERS[number >> (18 - 6 * at) & 63]);
            text.push(if at <= group.len() { letter } else { '=' });
        }
    }
    text
}
