//! A web server on this machine for one test.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request without its body.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// With the query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A header; empty when it was not sent.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }
}

/// Answers until the test ends, and remembers what it was asked.
#[derive(Debug)]
pub(crate) struct Web {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Web {
    /// A server; `answer` makes whole responses ([`ok`], [`response`]).
    pub(crate) fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            let respond = |mut stream: TcpStream| -> std::io::Result<()> {
                let mut lines = BufReader::new(stream.try_clone()?).lines();
                let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
                let mut request =
                    Request { path: first.split(' ').nth(1).unwrap_or_default().to_owned(), headers: Vec::new() };
                for line in lines {
                    let line = line?;
                    if line.is_empty() {
                        break;
                    }
                    let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
                    request.headers.push((name.to_owned(), value.to_owned()));
                }
                seen.lock().expect("no panic").push(request.clone());
                stream.write_all(&answer(&request))?;
                stream.shutdown(Shutdown::Both)
            };
            for stream in listener.incoming().flatten() {
                // A client that goes away early is its own business.
                let _: std::io::Result<()> = respond(stream);
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().expect("no panic"))
    }
}

/// A response: `404 Not Found`, headers that each end with `\r\n`, and a body.
pub(crate) fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").as_bytes(), body].concat()
}

/// A file.
pub(crate) fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    response("200 OK", &format!("Content-Length: {}\r\n{headers}", body.len()), body)
}

pub(crate) fn not_found() -> Vec<u8> {
    response("404 Not Found", "Content-Length: 0\r\n", b"")
}
