//! Cache keys: what goes into them, and the components that explain a miss.
//!
//! Two keys lead to a vertex's result.
//!
//! * The **recipe key** is known before anything runs: definition ‖ recipe keys of the inputs. A local source has
//!   no recipe; whoever copies from it contributes the content digest of the files selected.
//! * The **content key** is known when the inputs are there: definition ‖ content digests of the inputs' results
//!   (of the files selected, for copies). It hits when an earlier step ran again and gave the same bytes.
//!
//! | op | definition (in both keys) | left out on purpose |
//! |---|---|---|
//! | source scratch | – | |
//! | source image | image id | the reference: a tag that moves to equal bytes stays a hit |
//! | source local | – (selected files enter the user's key) | its name, its path, every time |
//! | source http, git | the request, and what was found there | |
//! | exec | arguments, each variable and their order, working directory, user, network, script, security, hosts, platform, mounts | proxy variables, secrets' bytes, which cache it is and who shares it, limits |
//! | file | each action: kind, selection, destination, owner, mode, unpack | times |
//! | merge | – | |
//!
//! All parts are length-framed ([`FramedHasher`]) under a domain that ends with [`VERSION`]; raise it whenever the
//! table or the meaning of an op changes, and old records simply stop matching.

use serde::Serialize;

use crate::address::redact;
use crate::digest::{CacheKey, ContentDigest, FramedHasher, OpDigest};
use crate::op::{FileAction, Mount, MountKind, Op, SecretEnv, SecurityMode, Source};
use crate::worker::{Component, Part};

/// The version of the keys' meaning.
pub const VERSION: u32 = 2;

/// How much of a value a component shows.
const SHOWN_VALUE: usize = 200;

/// What an input contributes to a recipe key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKey {
    /// Everything that led to it.
    Recipe(CacheKey),
    /// The content of what is selected from it.
    Files(ContentDigest),
}

/// What was found at a remote source, as a part of its vertex's definition.
pub fn fetched(digest: &ContentDigest) -> Component {
    Component { part: Part::Fetched, value: digest.short(), digest: *digest }
}

/// What a mount means for the result: neither which cache it is nor how it is shared, and of a secret not its bytes.
fn mount(mount: &Mount) -> (String, Vec<u8>) {
    let (kind, detail) = match &mount.kind {
        MountKind::Bind { input, source } => ("bind", encode(&(*input, source))),
        MountKind::Cache(cache) => ("cache", encode(&(&cache.seed, cache.mode, cache.uid, cache.gid))),
        MountKind::Tmpfs { size } => ("tmpfs", encode(size)),
        MountKind::Secret(secret) => ("secret", encode(&(&secret.id, secret.mode, secret.uid, secret.gid))),
        MountKind::Ssh(agent) => ("ssh", encode(&(&agent.id, agent.mode, agent.uid, agent.gid))),
    };
    let value = format!("{kind} at {}", mount.target);
    let parts: [&[u8]; 4] = [kind.as_bytes(), mount.target.as_bytes(), &[u8::from(mount.read_only)], &detail];
    (value, framed("mount", &parts).to_vec())
}

fn secret_variable(secret: &SecretEnv) -> (String, Vec<u8>) {
    (format!("secret as {}", secret.name), framed("secret", &[secret.name.as_bytes(), secret.id.as_bytes()]).to_vec())
}

/// The parts of an op's definition.
pub fn definition(op: &Op) -> Vec<Component> {
    let mut parts = vec![component(Part::Kind, op.kind(), op.kind().as_bytes())];
    match op {
        Op::Source(Source::Scratch | Source::Local { .. }) | Op::Merge => {}
        Op::Source(Source::Image { id, .. }) => parts.push(component(Part::Image, id, id.as_bytes())),
        Op::Source(Source::Http(http)) => parts.push(component(Part::Remote, &redact(&http.url), &encode(http))),
        Op::Source(Source::Git(git)) => parts.push(component(Part::Remote, &redact(&git.remote), &encode(git))),
        Op::Exec(exec) => {
            let args: Vec<&[u8]> = exec.args.iter().map(String::as_bytes).collect();
            parts.push(component(Part::Command, &exec.args.join(" "), &framed("args", &args)));
            for (name, value) in &exec.env {
                parts.push(component(Part::Env(name.clone()), value, value.as_bytes()));
            }
            let names: Vec<&[u8]> = exec.env.iter().map(|(name, _)| name.as_bytes()).collect();
            let order = exec.env.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ");
            parts.push(component(Part::EnvOrder, &order, &framed("names", &names)));
            parts.push(component(Part::WorkingDirectory, &exec.cwd, exec.cwd.as_bytes()));
            parts.push(component(Part::User, &exec.user, exec.user.as_bytes()));
            let network = format!("{:?}", exec.network).to_lowercase();
            parts.push(component(Part::Network, &network, network.as_bytes()));
            if let Some(script) = &exec.script {
                parts.push(component(
                    Part::Script,
                    &script.name,
                    &framed("script", &[script.name.as_bytes(), &script.data]),
                ));
            }
            if exec.security == SecurityMode::Insecure {
                parts.push(component(Part::Security, "insecure", b"insecure"));
            }
            if !exec.hosts.is_empty() || exec.hostname.is_some() {
                let hosts: Vec<String> = exec.hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect();
                let own = exec.hostname.as_deref().unwrap_or_default();
                let names = std::iter::once(own).chain(hosts.iter().map(String::as_str));
                let bytes: Vec<&[u8]> = names.map(str::as_bytes).collect();
                parts.push(component(Part::Hosts, &hosts.join(" "), &framed("hosts", &bytes)));
            }
            if let Some(platform) = &exec.platform {
                parts.push(component(Part::Platform, platform, platform.as_bytes()));
            }
            let mounts = exec.mounts.iter().map(mount).chain(exec.secret_env.iter().map(secret_variable));
            for (position, (value, bytes)) in mounts.enumerate() {
                parts.push(component(Part::Mount(position), &value, &bytes));
            }
        }
        Op::File(file) => {
            for (position, action) in file.actions.iter().enumerate() {
                parts.push(component(Part::Action(position), &summary(action), &encode(action)));
            }
        }
    }
    parts
}

/// The digest of an op's definition.
pub fn op_digest(definition: &[Component]) -> OpDigest {
    OpDigest::from_bytes(hash_components("op", definition))
}

/// The recipe key with everything it is made of.
pub fn recipe_key(definition: Vec<Component>, inputs: &[InputKey]) -> (CacheKey, Vec<Component>) {
    let mut components = definition;
    for (position, input) in inputs.iter().enumerate() {
        components.push(match input {
            InputKey::Recipe(key) => Component {
                part: Part::Input(position),
                value: key.short(),
                digest: ContentDigest::from_bytes(*key.as_bytes()),
            },
            InputKey::Files(digest) => {
                Component { part: Part::Files(position), value: digest.short(), digest: *digest }
            }
        });
    }
    (CacheKey::from_bytes(hash_components("recipe", &components)), components)
}

/// The content key.
pub fn content_key(op: &OpDigest, inputs: &[ContentDigest]) -> CacheKey {
    let mut hasher = FramedHasher::new("content");
    hasher.number(u64::from(VERSION)).part(op.as_bytes());
    for input in inputs {
        hasher.part(input.as_bytes());
    }
    CacheKey::from_bytes(hasher.finish())
}

/// The digest of the definition and the recipe key of a step whose recipe key was made of these, in that order: what
/// [`op_digest`] and [`recipe_key`] gave.
pub fn keys_of<'a>(components: impl IntoIterator<Item = &'a Component, IntoIter: Clone>) -> (OpDigest, CacheKey) {
    let all = components.into_iter();
    let definition = all.clone().filter(|one| !matches!(one.part, Part::Input(_) | Part::Files(_)));
    let (op, recipe) = (hash_components("op", definition), hash_components("recipe", all));
    (OpDigest::from_bytes(op), CacheKey::from_bytes(recipe))
}

fn hash_components<'a>(domain: &str, components: impl IntoIterator<Item = &'a Component>) -> [u8; 32] {
    let mut hasher = FramedHasher::new(domain);
    hasher.number(u64::from(VERSION));
    for component in components {
        let (tag, name, number) = part_code(&component.part);
        hasher.number(tag).part(name.as_bytes()).number(number as u64).part(component.digest.as_bytes());
    }
    hasher.finish()
}

/// A part as it is hashed: stable numbers, never reordered.
fn part_code(part: &Part) -> (u64, &str, usize) {
    match part {
        Part::Kind => (1, "", 0),
        Part::Command => (2, "", 0),
        Part::Env(name) => (3, name, 0),
        Part::EnvOrder => (4, "", 0),
        Part::WorkingDirectory => (5, "", 0),
        Part::User => (6, "", 0),
        Part::Network => (7, "", 0),
        Part::Script => (8, "", 0),
        Part::Action(position) => (9, "", *position),
        Part::Image => (10, "", 0),
        Part::Input(position) => (11, "", *position),
        Part::Files(position) => (12, "", *position),
        Part::Security => (13, "", 0),
        Part::Hosts => (14, "", 0),
        Part::Platform => (15, "", 0),
        Part::Mount(position) => (16, "", *position),
        Part::Remote => (17, "", 0),
        Part::Fetched => (18, "", 0),
    }
}

fn component(part: Part, value: &str, bytes: &[u8]) -> Component {
    let mut end = value.len().min(SHOWN_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    Component { part, value: value[..end].to_owned(), digest: ContentDigest::from_bytes(framed("part", &[bytes])) }
}

fn framed(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = FramedHasher::new(domain);
    for part in parts {
        hasher.part(part);
    }
    hasher.finish()
}

/// The canonical bytes of a part of an op. JSON of a type without maps or floats is canonical: fields in order of declaration,
/// strings escaped.
fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("ops hold only strings, numbers and lists")
}

fn summary(action: &FileAction) -> String {
    match action {
        FileAction::Copy(copy) => format!("copy {} {}", copy.selection.sources.join(" "), copy.dest),
        FileAction::Mkdir { path, .. } => format!("mkdir {path}"),
        FileAction::Mkfile { dest, name, .. } => format!("write {name} to {dest}"),
    }
}
