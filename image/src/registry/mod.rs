//! Registries: images over HTTP, as the OCI distribution specification says.
//!
//! ```text
//!  Registry ──repository──▶ Repository ──manifest, blob, push_blob, …──▶ call ──▶ travel ──▶ http::Agents
//!     │                        │ mirrors first, for what is read          │ tokens    │ redirects
//!     └─ endpoints: scheme, TLS, login, tokens, learned once a process    └ retries, challenges
//! ```
//!
//! # What always holds
//!
//! * **Nothing from a server is believed.** What is named by a digest is hashed; every body has a limit; redirects and
//!   lists end; what a server says is cut and cleaned before anybody sees it.
//! * **Secrets go to the host that they are for,** by TLS unless that host was said to do without, and to the token
//!   server that it names. They never follow a redirect or an upload to somewhere else.
//! * **Nobody waits in vain.** A silent server, a pause and a transfer end when the [`Stop`] says that the work is over.

mod auth;
mod blob;
mod error;
mod exchange;
mod host;
mod list;
mod login;
mod referrers;
mod repository;
pub(crate) mod said;
mod settings;
mod types;
mod upload;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use builder_cache::BlobDigest;

use crate::http::{Agents, Method, Tls};
use crate::reference::{ParseReferenceError, Reference};
use auth::{Auth, Learned, Scopes};
use exchange::Call;
use host::Endpoint;

pub use crate::http::{Patience, Stop};
pub use blob::BlobReader;
pub use error::Error;
pub use login::{Anonymous, Credentials, CredentialsError, IdentityToken, Login, Secret};
pub use repository::Repository;
pub use settings::{ClientCertificate, HostSettings, Hosts, Settings};
pub use types::{Fetched, Head, Hit, Which};

/// How often it is looked whether the work is over while a server is silent.
const TICK: Duration = Duration::from_millis(50);

/// The client of all registries; it pools connections and tokens, so one serves a process. Clones share both.
#[derive(Debug, Clone)]
pub struct Registry(Arc<Inner>);

/// What is seldom anything but the default.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// How long servers are waited for.
    pub patience: Patience,
    /// Directories in which the certificates of a host lie, below one with its name.
    pub certificates: Vec<PathBuf>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { patience: Patience::default(), certificates: host::CERTIFICATES.map(PathBuf::from).to_vec() }
    }
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    surroundings: Surroundings,
    agents: Arc<Agents>,
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    /// Uploads that a registry opened when it could not mount: repository, digest → where to send it.
    sessions: Mutex<HashMap<(String, BlobDigest), String>>,
    watched: Once,
}

impl Registry {
    /// A client. Nothing is connected yet.
    pub fn new(settings: Settings) -> Self {
        Self::in_surroundings(settings, Surroundings::default())
    }

    /// The same, elsewhere.
    pub fn in_surroundings(settings: Settings, surroundings: Surroundings) -> Self {
        Self(Arc::new(Inner {
            agents: Arc::new(Agents::new(0, surroundings.patience)),
            settings,
            surroundings,
            endpoints: Mutex::default(),
            sessions: Mutex::default(),
            watched: Once::new(),
        }))
    }

    /// What it works with.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The repository that a reference names.
    pub fn repository(&self, reference: &Reference) -> Repository {
        Repository::new(self.clone(), reference.registry().to_string(), reference.repository().to_string())
    }

    /// The repository of a name with its host, as [`Repository::name`] gives it.
    pub fn repository_named(&self, name: &str) -> Result<Repository, ParseReferenceError> {
        Ok(self.repository(&name.parse()?))
    }

    /// Asks whether a registry is there, and lets this user in.
    pub fn ping(&self, host: &str) -> Result<(), Error> {
        self.0.ping(&*self.0.endpoint(host)?)
    }

    /// Tries a login. A token is what is to be kept in place of the password.
    pub fn check_login(&self, host: &str, login: &Login) -> Result<Option<IdentityToken>, Error> {
        let host = usual(host);
        let mut endpoint = Endpoint::of(host, &self.0.settings, &self.0.surroundings.certificates)?;
        // What the server wants is learned without the login, so that it goes nowhere before.
        let scopes = Scopes::none();
        let call = Call {
            method: Method::GET,
            target: "",
            headers: &[],
            body: &[],
            scopes: &scopes,
            follow: true,
            what: host,
        };
        endpoint.auth = Auth::default();
        let mut answer = self.0.reach(&endpoint, &call, None)?;
        if answer.status() != 401 || !endpoint.answers_at(&answer.url) {
            return if answer.status() == 200 { Ok(None) } else { Err(self.0.refused(&mut answer, host, &endpoint)) };
        }
        endpoint.auth = Auth::with_login(login.clone());
        let learned = endpoint.auth.learn(&self.0, &endpoint, answer.response.headers(), None, &scopes, true)?;
        if learned == Learned::Refused {
            return Err(self.0.refused(&mut answer, host, &endpoint));
        }
        let identity = endpoint.auth.identity(&self.0, &endpoint, host)?;
        self.0.ping(&endpoint)?;
        Ok(identity)
    }
}

/// A host as references have it.
fn usual(host: &str) -> &str {
    if host == "index.docker.io" || host == "registry-1.docker.io" { host::DOCKER } else { host }
}

impl Inner {
    /// The server of a host.
    fn endpoint(&self, host: &str) -> Result<Arc<Endpoint>, Error> {
        let host = usual(host);
        self.remembered(host, || Endpoint::of(host, &self.settings, &self.surroundings.certificates))
    }

    /// The mirrors of a host, in the order in which they are asked.
    fn mirrors(&self, host: &str) -> Result<Vec<Arc<Endpoint>>, Error> {
        let set = self.settings.hosts.get(host);
        let mirror = |text: &String| {
            // A host may be a registry and a mirror; a mirror is remembered with its path.
            let key = format!("mirror {text}");
            self.remembered(&key, || Endpoint::mirror(text, &self.settings, &self.surroundings.certificates))
        };
        set.mirrors.iter().map(mirror).collect()
    }

    fn remembered(&self, key: &str, make: impl FnOnce() -> Result<Endpoint, Error>) -> Result<Arc<Endpoint>, Error> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = endpoints.get(key) {
            return Ok(Arc::clone(known));
        }
        let endpoint = Arc::new(make()?);
        endpoints.insert(key.to_owned(), Arc::clone(&endpoint));
        Ok(endpoint)
    }

    /// How TLS is spoken with a server that somebody was sent to.
    fn tls(&self, authority: &str) -> Result<Tls, Error> {
        let set = self.settings.hosts.get(authority);
        host::tls(authority, authority, &set, &self.surroundings.certificates)
    }

    fn ping(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let scopes = Scopes::none();
        let what = endpoint.name.as_str();
        let call =
            Call { method: Method::GET, target: "", headers: &[], body: &[], scopes: &scopes, follow: true, what };
        let mut answer = self.call(endpoint, &call)?;
        if answer.status() == 200 { Ok(()) } else { Err(self.refused(&mut answer, what, endpoint)) }
    }

    /// From the first request on, somebody looks whether the work is over, and ends what is under way then.
    fn watch(&self) {
        if self.settings.stop.is_never() {
            return;
        }
        self.watched.call_once(|| {
            let (stop, agents) = (self.settings.stop.clone(), Arc::downgrade(&self.agents));
            let look = move || {
                while let Some(agents) = agents.upgrade() {
                    if stop.is_over() {
                        return agents.shut_down();
                    }
                    drop(agents);
                    thread::sleep(TICK);
                }
            };
            // Without a thread everything works, and ends a little later.
            let _ = thread::Builder::new().name("registry-stop".to_owned()).spawn(look);
        });
    }
}
