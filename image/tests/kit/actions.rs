//! A stand-in for the cache service of GitHub Actions, both versions, with the blob storage behind it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// What jobs of it send along.
pub(crate) const TOKEN: &str = "token-of-the-job";

/// A running service.
pub(crate) struct Actions {
    /// `ACTIONS_RESULTS_URL` and `ACTIONS_CACHE_URL`.
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    base: String,
    entries: Vec<Entry>,
    requests: Vec<String>,
    /// How many of the next requests are answered with 503.
    busy: usize,
    /// How many of the next downloads end in the middle.
    breaks: usize,
    /// What addresses are signed with now; older ones are refused.
    signature: usize,
    /// An upload that is finished is not kept.
    loses: bool,
}

#[derive(Default)]
struct Entry {
    key: String,
    version: String,
    bytes: Vec<u8>,
    blocks: BTreeMap<String, Vec<u8>>,
    whole: bool,
}

impl Actions {
    /// Listens on loopback until the process ends.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let state = Arc::new(Mutex::new(State { base: url.clone(), ..State::default() }));
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&served);
                thread::spawn(move || while serve(&stream, &state).is_some() {});
            }
        });
        Self { url, state }
    }

    /// What was asked so far: method and path.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().expect("nobody panics").requests.clone()
    }

    /// The keys of all entries that are whole.
    pub(crate) fn keys(&self) -> Vec<String> {
        let state = self.state.lock().expect("nobody panics");
        state.entries.iter().filter(|entry| entry.whole).map(|entry| entry.key.clone()).collect()
    }

    /// Breaks the next downloads off in the middle.
    pub(crate) fn break_off(&self, downloads: usize) {
        self.state.lock().expect("nobody panics").breaks = downloads;
    }

    /// All addresses that were given are too old from now on.
    pub(crate) fn expire(&self) {
        self.state.lock().expect("nobody panics").signature += 1;
    }

    /// Keeps nothing that is finished from now on.
    pub(crate) fn lose(&self) {
        self.state.lock().expect("nobody panics").loses = true;
    }

    /// Answers the next requests with 503.
    pub(crate) fn be_busy(&self, requests: usize) {
        self.state.lock().expect("nobody panics").busy = requests;
    }
}

/// Serves one request of a connection; nothing when it is over.
fn serve(stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut state = state.lock().ok()?;
    state.requests.push(format!("{method} {path}"));
    let (mut status, mut answer) = if state.busy > 0 {
        state.busy -= 1;
        (503, Vec::new())
    } else {
        answer(&mut state, &method, &path, &headers, body)
    };
    let mut more = String::new();
    let mut sent = answer.len();
    if method == "GET" && path.starts_with("/storage/") && status == 200 {
        let range = headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        if let Some(start) = range.and_then(|start| start.parse::<usize>().ok()) {
            more = format!("Content-Range: bytes {start}-{}/{}\r\n", answer.len() - 1, answer.len());
            (status, answer) = (206, answer.split_off(start));
        }
        sent = answer.len();
        if state.breaks > 0 {
            state.breaks -= 1;
            sent /= 2;
        }
    }
    drop(state);
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} Said\r\n{more}Content-Length: {}\r\n\r\n", answer.len()).ok()?;
    stream.write_all(&answer[..sent]).ok()?;
    if sent < answer.len() {
        // What was sent arrives before the end does.
        stream.shutdown(std::net::Shutdown::Write).ok()?;
        return None;
    }
    Some(())
}

fn answer(
    state: &mut State,
    method: &str,
    path: &str,
    headers: &BTreeMap<String, String>,
    body: Vec<u8>,
) -> (u16, Vec<u8>) {
    let json = |value: Value| (200, value.to_string().into_bytes());
    if let Some(rest) = path.strip_prefix("/storage/") {
        return store(state, method, rest, headers, body);
    }
    if headers.get("authorization").map(String::as_str) != Some(&format!("Bearer {TOKEN}")) {
        return (401, json!({ "code": "unauthenticated", "msg": "wrong token" }).to_string().into_bytes());
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    if let Some(call) = path.strip_prefix("/twirp/github.actions.results.api.v1.CacheService/") {
        let (key, version) = (text("key"), text("version"));
        return match call {
            "CreateCacheEntry" => match create(state, key, version) {
                Some(at) => {
                    let url = format!("{}storage/{at}?sig=s{}", state.base, state.signature);
                    json(json!({ "ok": true, "signed_upload_url": url }))
                }
                None => (409, json!({ "code": "already_exists", "msg": "there is one" }).to_string().into_bytes()),
            },
            "FinalizeCacheEntryUpload" if state.loses => json(json!({ "ok": false })),
            "FinalizeCacheEntryUpload" => {
                let entry = state.entries.iter_mut().find(|entry| entry.key == key && entry.version == version);
                let Some(entry) = entry else { return (404, Vec::new()) };
                assert_eq!(text("size_bytes"), entry.bytes.len().to_string());
                entry.whole = true;
                json(json!({ "ok": true, "entry_id": "1" }))
            }
            "GetCacheEntryDownloadURL" => {
                let prefixes = request["restore_keys"].as_array().cloned().unwrap_or_default();
                let prefixes: Vec<String> = prefixes.iter().filter_map(|p| p.as_str().map(str::to_owned)).collect();
                match find(state, &key, &version, &prefixes) {
                    Some(at) => json(json!({
                        "ok": true,
                        "matched_key": state.entries[at].key,
                        "signed_download_url": format!("{}storage/{at}?sig=s{}", state.base, state.signature),
                    })),
                    None => json(json!({ "ok": false, "signed_download_url": "", "matched_key": "" })),
                }
            }
            _ => (404, Vec::new()),
        };
    }
    let Some(call) = path.strip_prefix("/_apis/artifactcache/") else { return (404, Vec::new()) };
    if let Some(query) = call.strip_prefix("cache?keys=") {
        let (keys, version) = query.split_once("&version=").expect("both are there");
        let keys: Vec<String> =
            keys.split(',').map(|key| key.replace("%3A", ":").replace("%23", "#").replace("%2F", "/")).collect();
        return match find(state, &keys[0], version, &keys) {
            Some(at) => json(json!({
                "cacheKey": state.entries[at].key,
                "archiveLocation": format!("{}storage/{at}?sig=s{}", state.base, state.signature),
            })),
            None => (204, Vec::new()),
        };
    }
    if call == "caches" {
        return match create(state, text("key"), text("version")) {
            Some(at) => (201, json!({ "cacheId": at }).to_string().into_bytes()),
            None => (409, Vec::new()),
        };
    }
    let at: usize = call.strip_prefix("caches/").and_then(|at| at.parse().ok()).expect("a number");
    let entry = &mut state.entries[at];
    if method == "PATCH" {
        let range = headers.get("content-range").expect("pieces say where they belong");
        assert!(range.starts_with(&format!("bytes {}-", entry.bytes.len())), "{range}");
        entry.bytes.extend(body);
    } else {
        assert_eq!(request["size"].as_u64(), Some(entry.bytes.len() as u64));
        entry.whole = true;
    }
    (204, Vec::new())
}

/// The blob storage.
fn store(
    state: &mut State,
    method: &str,
    rest: &str,
    headers: &BTreeMap<String, String>,
    body: Vec<u8>,
) -> (u16, Vec<u8>) {
    let (at, query) = rest.split_once('?').expect("addresses are signed");
    assert!(query.starts_with("sig=s") && !headers.contains_key("authorization"));
    if !query.starts_with(&format!("sig=s{}", state.signature)) {
        return (403, Vec::new());
    }
    let entry = &mut state.entries[at.parse::<usize>().expect("a number")];
    match (method, query) {
        ("GET", _) => return (200, entry.bytes.clone()),
        (_, query) if query.contains("comp=blocklist") => {
            let list = String::from_utf8(body).expect("XML");
            let names = list.split("<Latest>").skip(1).filter_map(|part| part.split('<').next());
            entry.bytes = names.flat_map(|name| entry.blocks[name].clone()).collect();
        }
        (_, query) if query.contains("comp=block") => {
            let name = query.split("blockid=").nth(1).expect("a name").replace("%3D", "=");
            entry.blocks.insert(name, body);
        }
        _ => {
            assert_eq!(headers.get("x-ms-blob-type").map(String::as_str), Some("BlockBlob"));
            entry.bytes = body;
        }
    }
    (201, Vec::new())
}

fn create(state: &mut State, key: String, version: String) -> Option<usize> {
    if state.entries.iter().any(|entry| entry.key == key && entry.version == version) {
        return None;
    }
    state.entries.push(Entry { key, version, ..Entry::default() });
    Some(state.entries.len() - 1)
}

/// The entry of a key, or the newest one that begins like one of the prefixes.
fn find(state: &State, key: &str, version: &str, prefixes: &[String]) -> Option<usize> {
    let known = |entry: &Entry| entry.whole && entry.version == version;
    let exact = state.entries.iter().position(|entry| known(entry) && entry.key == key);
    exact.or_else(|| {
        prefixes.iter().find_map(|prefix| {
            state.entries.iter().rposition(|entry| known(entry) && entry.key.starts_with(prefix.as_str()))
        })
    })
}
