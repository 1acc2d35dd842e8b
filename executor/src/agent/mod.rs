//! Ssh agents for steps: the agent of the person who builds, or one of our own for key files.
//!
//! A step never talks to the agent itself. It gets a socket of ours ([`AgentServer`]) with the owner and mode that
//! its mount asks for, through which only two requests pass: which keys there are, and to sign. So a step can't lock
//! the agent, take keys out of it or put some in. `raw` forwarding passes everything.

mod key;
mod message;
mod number;
mod pem;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use key::Key;

pub use server::AgentServer;

/// The largest key file that is read.
const MAX_KEY_FILE: u64 = 100 * 1024;

/// Whom requests go to.
#[derive(Debug, Clone)]
pub struct Agent {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// The agent that listens there.
    Socket { path: PathBuf, raw: bool },
    /// Ours, with these keys.
    Keys(Arc<Vec<Key>>),
}

/// The agents that are offered to steps, by id.
#[derive(Debug, Clone, Default)]
pub struct Agents {
    agents: BTreeMap<String, Agent>,
}

/// Why an agent can't be offered.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its socket or one of its key files is not to be had.
    #[error("{} can't be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file is no key that can be used.
    #[error("{} {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An agent has one socket, or key files.
    #[error("{} is the socket of an agent: give it alone, without key files or other sockets", path.display())]
    Mixed {
        /// The socket.
        path: PathBuf,
    },
    /// `raw` is for sockets.
    #[error("{} is a key file, and raw=true forwards the socket of an agent: leave raw out", path.display())]
    RawKey {
        /// The file.
        path: PathBuf,
    },
    /// Nothing was named.
    #[error("an agent needs the path of a socket or of a key file")]
    Empty,
}

impl Agent {
    /// The agent behind the socket `paths[0]`, or one with the keys of the files `paths`. With `raw` every request
    /// goes to the socket, also those that change the agent.
    ///
    /// # Errors
    /// When a path is not there, or is neither a socket nor a private key without a passphrase.
    pub fn open(paths: &[PathBuf], raw: bool) -> Result<Self, AgentError> {
        let mut keys = Vec::with_capacity(paths.len());
        for path in paths {
            let failed = |source| AgentError::Read { path: path.clone(), source };
            let kind = fs::metadata(path).map_err(failed)?.file_type();
            if kind.is_socket() {
                if paths.len() > 1 {
                    return Err(AgentError::Mixed { path: path.clone() });
                }
                return Ok(Self { kind: Kind::Socket { path: path.clone(), raw } });
            }
            if raw {
                return Err(AgentError::RawKey { path: path.clone() });
            }
            keys.push(read_key(path)?);
        }
        if keys.is_empty() {
            return Err(AgentError::Empty);
        }
        Ok(Self { kind: Kind::Keys(Arc::new(keys)) })
    }

    /// The agent's own socket, when it has one.
    pub fn socket(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Socket { path, .. } => Some(path),
            Kind::Keys(_) => None,
        }
    }
}

impl Agents {
    /// Offers an agent. One that was offered under the same id before is replaced.
    pub fn insert(&mut self, id: impl Into<String>, agent: Agent) {
        self.agents.insert(id.into(), agent);
    }

    /// The agent `id`, when it is offered.
    pub fn get(&self, id: &str) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// Ids and agents, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Agent)> {
        self.agents.iter().map(|(id, agent)| (id.as_str(), agent))
    }
}

fn read_key(path: &Path) -> Result<Key, AgentError> {
    let failed = |source| AgentError::Read { path: path.to_owned(), source };
    let wrong = |reason: String| AgentError::Key { path: path.to_owned(), reason };
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_KEY_FILE + 1).read_to_end(&mut text)).map_err(failed)?;
    if text.len() as u64 > MAX_KEY_FILE {
        return Err(wrong("is too large for a private key".to_owned()));
    }
    let text = crate::secret::Secret::new(text);
    Key::parse(text.bytes(), &path.to_string_lossy()).map_err(wrong)
}
