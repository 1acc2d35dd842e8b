//! The socket that a step sees, and the threads that answer on it.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::key::Key;
use super::message::{
    FAILURE, Fields, IDENTITIES_ANSWER, REQUEST_IDENTITIES, SIGN_REQUEST, SIGN_RESPONSE, put_string, read, write,
};
use super::{Agent, Kind};

/// How many connections are served at once. Further ones are turned away.
const MAX_CONNECTIONS: usize = 64;

/// Answers on a socket until it is dropped.
#[derive(Debug)]
pub struct AgentServer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    listener: UnixListener,
    agent: Agent,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    over: bool,
    count: u64,
    connections: HashMap<u64, Connection>,
}

/// What it takes to end a connection from outside.
#[derive(Debug)]
struct Connection {
    streams: Vec<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl AgentServer {
    /// Serves `agent` on `listener`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(listener: UnixListener, agent: Agent) -> io::Result<Self> {
        let shared = Arc::new(Shared { listener, agent, open: Mutex::default() });
        let own = Arc::clone(&shared);
        let thread = spawn(move || own.accept())?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for AgentServer {
    fn drop(&mut self) {
        // Whoever waits in accept(2) or read(2) is woken up by the shutdown of the socket.
        let _ = rustix::net::shutdown(&self.shared.listener, rustix::net::Shutdown::Both);
        let connections = {
            let mut open = self.shared.lock();
            open.over = true;
            std::mem::take(&mut open.connections)
        };
        for stream in connections.values().flat_map(|connection| &connection.streams) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let threads = connections.into_values().filter_map(|connection| connection.thread);
        for thread in threads.chain(self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("ssh-agent".to_owned()).spawn(work)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>) {
        while let Ok((stream, _)) = self.listener.accept() {
            let Ok(handle) = stream.try_clone() else { continue };
            let mut open = self.lock();
            if open.over {
                return;
            }
            if open.connections.len() >= MAX_CONNECTIONS {
                continue;
            }
            open.count += 1;
            let (number, shared) = (open.count, Arc::clone(self));
            // Before the thread, which takes the entry away at its end.
            open.connections.insert(number, Connection { streams: vec![handle], thread: None });
            let started = spawn(move || {
                // A connection that breaks is its client's affair.
                let _ = shared.serve(number, &stream);
                shared.lock().connections.remove(&number);
            });
            match (started, open.connections.get_mut(&number)) {
                (Ok(thread), Some(connection)) => connection.thread = Some(thread),
                _ => drop(open.connections.remove(&number)),
            }
        }
    }

    fn serve(&self, number: u64, stream: &UnixStream) -> io::Result<()> {
        match &self.agent.kind {
            Kind::Keys(keys) => serve(stream, |request| Ok(answer(keys, request))),
            Kind::Socket { path, raw } => {
                let agent = self.connect(number, path)?;
                serve(stream, |request| {
                    if !raw && !matches!(request.first(), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST))) {
                        return Ok(vec![FAILURE]);
                    }
                    write(&mut &agent, request)?;
                    read(&mut &agent)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
                })
            }
        }
    }

    /// A connection to the agent behind, which ends with this server, too.
    fn connect(&self, number: u64, path: &Path) -> io::Result<UnixStream> {
        let agent = UnixStream::connect(path)?;
        let handle = agent.try_clone()?;
        match self.lock().connections.get_mut(&number) {
            Some(connection) => connection.streams.push(handle),
            None => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        Ok(agent)
    }
}

fn serve(mut stream: &UnixStream, mut answer: impl FnMut(&[u8]) -> io::Result<Vec<u8>>) -> io::Result<()> {
    while let Some(request) = read(&mut stream)? {
        let answer = answer(&request)?;
        write(&mut stream, &answer)?;
    }
    Ok(())
}

/// What an agent with these keys says.
fn answer(keys: &[Key], request: &[u8]) -> Vec<u8> {
    let mut fields = Fields(request);
    match fields.byte() {
        Some(REQUEST_IDENTITIES) => {
            let mut out = vec![IDENTITIES_ANSWER];
            out.extend((keys.len() as u32).to_be_bytes());
            for key in keys {
                put_string(&mut out, &key.public);
                put_string(&mut out, key.comment.as_bytes());
            }
            out
        }
        Some(SIGN_REQUEST) => sign(keys, fields).unwrap_or_else(|| vec![FAILURE]),
        _ => vec![FAILURE],
    }
}

fn sign(keys: &[Key], mut request: Fields<'_>) -> Option<Vec<u8>> {
    let (public, data) = (request.string()?, request.string()?);
    let flags = request.word().unwrap_or(0);
    let signature = keys.iter().find(|key| key.public == public)?.sign(data, flags)?;
    let mut out = vec![SIGN_RESPONSE];
    put_string(&mut out, &signature);
    Some(out)
}
