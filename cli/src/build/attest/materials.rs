//! What a result was made of: images, repositories and files from elsewhere, each with its digest.

use builder_cache::{BlobDigest, Store};
use builder_executor::remote::{Remotes, redact};
use builder_frontend::platform::Platform;
use builder_image::Reference;
use builder_solver::{GitSource, Graph, HttpSource, NetworkMode, Op, Source, VertexId};
use serde_json::{Value, json};

use super::purl;
use crate::build::source::Address;
use crate::error::{CliError, CliResult};
use crate::store;

/// What a target depends on.
#[derive(Debug, Default)]
pub(super) struct Materials {
    /// `resolvedDependencies`.
    pub(super) list: Vec<Value>,
    /// Directories of whoever builds: nobody else can have these files.
    pub(super) locals: Vec<String>,
    /// A step could reach the network.
    pub(super) network: bool,
}

/// Where something came from and what it was.
#[derive(Debug, Clone)]
pub(super) struct Material {
    pub(super) uri: String,
    pub(super) digest: Value,
}

impl Material {
    pub(super) fn value(&self) -> Value {
        json!({ "uri": self.uri, "digest": self.digest })
    }
}

impl Materials {
    /// Of everything that leads to a target. `address` tells where a context's files came from.
    pub(super) fn new(
        store: &Store,
        remotes: &Remotes,
        graph: &Graph,
        target: VertexId,
        address: &dyn Fn(&str) -> CliResult<Address>,
    ) -> CliResult<Self> {
        let mut found = Self::default();
        for id in graph.reachable(&[target]) {
            match &graph.vertex(id).op {
                Op::Source(Source::Scratch) | Op::File(_) | Op::Merge => {}
                Op::Source(Source::Image { reference, id }) => found.add(&image(store, reference, id)?),
                Op::Source(Source::Git(source)) => found.add(&git(remotes, source)?),
                Op::Source(Source::Http(source)) => found.add(&http(remotes, source)?),
                Op::Source(Source::Local { name }) => match context(remotes, &address(name)?)? {
                    Some(material) => found.add(&material),
                    None => found.locals.push(name.clone()),
                },
                Op::Exec(exec) => found.network |= exec.network != NetworkMode::None,
            }
        }
        Ok(found)
    }

    /// Adds one that is new.
    pub(super) fn add(&mut self, material: &Material) {
        let value = material.value();
        if !self.list.contains(&value) {
            self.list.push(value);
        }
    }

    /// Whether the list has everything.
    pub(super) fn complete(&self) -> bool {
        self.locals.is_empty()
    }
}

/// Where a context's files came from, unless from the machine of whoever builds.
pub(super) fn context(remotes: &Remotes, address: &Address) -> CliResult<Option<Material>> {
    Ok(match address {
        Address::Git(address) => Some(git(remotes, &address.source())?),
        Address::Http(url) | Address::File(url) => {
            Some(http(remotes, &HttpSource { url: url.clone(), name: "context".to_owned(), checksum: None })?)
        }
        Address::Stdin | Address::Directory(_) | Address::Image(_) | Address::Layout(_) => None,
    })
}

/// An image by the digest that its name means in a registry; one that came from none by its id.
fn image(store: &Store, reference: &str, id: &str) -> CliResult<Material> {
    let id: BlobDigest = id.parse()?;
    let platform = store::config(store, &id)?.platform();
    let digest = known_digest(store, reference, &id)?.unwrap_or(id);
    let uri = match reference.strip_prefix("oci-layout://") {
        Some(layout) => layout_url(layout, &platform),
        None => purl::image("docker", reference, &platform),
    };
    // An image without a name is known by its id alone.
    let uri = uri.unwrap_or_else(|| format!("pkg:docker/{}", id.hex()));
    Ok(Material { uri, digest: json!({ "sha256": digest.hex() }) })
}

/// A layout's path says where it is on this machine, which is nobody's business: its last part has to do.
fn layout_url(layout: &str, platform: &Platform) -> Option<String> {
    purl::image("oci", layout.rsplit('/').next()?, platform)
}

fn known_digest(store: &Store, reference: &str, id: &BlobDigest) -> CliResult<Option<BlobDigest>> {
    let Some(image) = store.image(id)? else { return Ok(None) };
    let Ok(reference) = reference.parse::<Reference>() else { return Ok(image.manifest) };
    if let Some(digest) = reference.digest() {
        return Ok(Some(*digest));
    }
    // A pull also names what it found by the digest of the index.
    let prefix = format!("{}@", reference.name());
    let names =
        image.names.iter().chain(&image.platform_of).filter_map(|name| name.strip_prefix(&prefix)?.parse().ok());
    let mut indexes: Vec<BlobDigest> = names.filter(|digest| Some(digest) != image.manifest.as_ref()).collect();
    indexes.dedup();
    Ok(match indexes.as_slice() {
        [only] => Some(*only),
        _ => image.manifest,
    })
}

fn git(remotes: &Remotes, source: &GitSource) -> CliResult<Material> {
    let commit = remotes.git_commit(source, &|| false).map_err(failed)?;
    let mut uri = redact(&source.remote);
    let reference = source.reference.as_deref().filter(|reference| !reference.is_empty());
    let subdir = source.subdir.as_deref().filter(|subdir| !subdir.is_empty());
    if reference.is_some() || subdir.is_some() {
        uri.push('#');
        uri.push_str(reference.unwrap_or_default());
    }
    if let Some(subdir) = subdir {
        uri.push(':');
        uri.push_str(subdir);
    }
    let algorithm = if commit.id.len() == 64 { "sha256" } else { "sha1" };
    Ok(Material { uri, digest: json!({ algorithm: commit.id }) })
}

fn http(remotes: &Remotes, source: &HttpSource) -> CliResult<Material> {
    let digest = match source.checksum.as_deref().and_then(|checksum| checksum.trim().parse::<BlobDigest>().ok()) {
        Some(digest) => digest,
        None => remotes.http(source, &|| false).map_err(failed)?.digest,
    };
    Ok(Material { uri: redact(&source.url), digest: json!({ "sha256": digest.hex() }) })
}

/// Everything was asked for before the build, so this hardly ever happens.
fn failed(error: builder_executor::remote::RemoteError) -> CliError {
    CliError::Failed { error: error.into(), hint: None }
}
