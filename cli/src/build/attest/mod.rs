//! What is said of a result beside it: how it was made ([`provenance`]) and what is in it (a list of packages, from
//! [`builder_image::sbom`]).
//!
//! Only predicates are made here. What they are about is a manifest's digest, or the files of an output, and is put
//! around them where that is written.

mod materials;
mod provenance;
mod purl;
mod steps;

use std::os::fd::AsFd;
use std::rc::Rc;

use builder_cache::{BlobDigest, Store};
use builder_executor::rootfs::{Driver, Purpose};
use builder_frontend::platform::Platform;
use builder_image::archive::Attestation;
use builder_image::sbom::{self, Described};
use builder_solver::Graph;
use serde_json::{Map, Value};

use self::provenance::Facts;
use super::contexts::Contexts;
use super::report::Origins;
use super::request::BuildRequest;
use super::result::{BuildResult, PlatformResult};
use super::source::{BuildSource, context_address};
use crate::commands::build::BuildArgs;
use crate::error::CliResult;
use crate::outputs::{ImageForm, Sbom};
use crate::progress::{Step, Warning};

/// The type of a list of packages.
const SPDX: &str = "https://spdx.dev/Document";

/// Under which key `--metadata-file` says how something was made.
const PROVENANCE_KEY: &str = "buildx.build.provenance";

/// Something that is said of one platform.
#[derive(Debug, Clone)]
pub(crate) struct Predicate {
    /// What kind of thing.
    pub(crate) kind: &'static str,
    /// The thing itself, as JSON.
    pub(crate) bytes: Vec<u8>,
    /// What its file is called where files are written.
    pub(crate) filename: String,
    /// Only for images in registries and in the store.
    pub(crate) inline_only: bool,
    /// Where the store has it.
    blob: BlobDigest,
}

impl Predicate {
    /// Puts it into the store, where images find it.
    pub(super) fn new(
        store: &Store,
        kind: &'static str,
        bytes: Vec<u8>,
        filename: String,
        inline_only: bool,
    ) -> CliResult<Self> {
        let blob = store.put_blob(&bytes)?;
        Ok(Self { kind, bytes, filename, inline_only, blob })
    }
}

/// All that is said of a result.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attested {
    platforms: Vec<(Platform, Vec<Predicate>)>,
}

impl Attested {
    /// Notes what is said of a platform.
    pub(crate) fn add(&mut self, platform: &Platform, predicate: Predicate) {
        match self.platforms.iter_mut().find(|(known, _)| known == platform) {
            Some((_, predicates)) => predicates.push(predicate),
            None => self.platforms.push((platform.clone(), vec![predicate])),
        }
    }

    /// What is said of a platform.
    pub(crate) fn predicates(&self, platform: &Platform) -> &[Predicate] {
        let found = self.platforms.iter().find(|(known, _)| known == platform);
        found.map_or(&[], |(_, predicates)| predicates)
    }

    /// What `--metadata-file` says of it: how it was made, as buildx has it.
    pub(crate) fn facts(&self, several: bool) -> CliResult<Map<String, Value>> {
        let mut facts = Map::new();
        for (platform, predicates) in &self.platforms {
            for predicate in predicates.iter().filter(|predicate| predicate.kind != SPDX) {
                let key = if several { format!("{PROVENANCE_KEY}/{platform}") } else { PROVENANCE_KEY.to_owned() };
                facts.insert(key, serde_json::from_slice(&predicate.bytes)?);
            }
        }
        Ok(facts)
    }

    /// What the image of an output carries.
    pub(crate) fn of(&self, args: &BuildArgs, form: &ImageForm, platform: &Platform) -> Vec<Attestation> {
        let mut names: Vec<String> = Vec::new();
        for name in args.tags.iter().chain(&form.names).filter_map(|name| purl::image("docker", name, platform)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let carried =
            self.predicates(platform).iter().filter(|predicate| !(predicate.inline_only && form.without_inline));
        let attestation = |predicate: &Predicate| Attestation {
            predicate_type: predicate.kind.to_owned(),
            predicate: predicate.blob,
            subjects: names.clone(),
        };
        carried.map(attestation).collect()
    }
}

/// What was built, as far as all requests have it in common.
pub(super) struct Built<'a> {
    pub(super) store: &'a Store,
    pub(super) graph: &'a Graph,
    pub(super) origins: &'a Origins,
    pub(super) contexts: &'a Contexts,
    pub(super) started: jiff::Timestamp,
}

impl Built<'_> {
    /// Says of each request's results how they were made, as far as that is wanted.
    pub(super) fn provenance(
        &self,
        requests: &[BuildRequest],
        sources: &[Rc<BuildSource>],
        results: &[BuildResult],
    ) -> CliResult<Vec<Attested>> {
        let invocation = provenance::invocation();
        let mut all = Vec::with_capacity(requests.len());
        for ((request, source), result) in requests.iter().zip(sources).zip(results) {
            let mut attested = Attested::default();
            if let (Some(wanted), false) = (request.attest()?.provenance, request.linked) {
                let address = |name: &str| match self.contexts.address(name) {
                    Some(address) => Ok(address),
                    None => context_address(&request.args),
                };
                let facts = Facts {
                    store: self.store,
                    remotes: self.contexts.fetcher().remotes(),
                    graph: self.graph,
                    origins: self.origins,
                    args: &request.args,
                    source,
                    address: &address,
                    started: self.started,
                    invocation: &invocation,
                };
                for platform in &result.platforms {
                    attested.add(&platform.platform, provenance::provenance(&facts, &wanted, platform)?);
                }
            }
            all.push(attested);
        }
        Ok(all)
    }
}

/// The same with lists of packages, when they are wanted.
pub(super) fn with_packages(
    attested: &Attested,
    request: &BuildRequest,
    store: &Store,
    driver: &Driver,
    result: &BuildResult,
    step: impl FnOnce() -> Step,
) -> CliResult<Attested> {
    let mut attested = attested.clone();
    let Some(wanted) = request.attest()?.sbom else { return Ok(attested) };
    let step = step();
    for platform in &result.platforms {
        match packages(store, driver, request, &wanted, platform, &step) {
            Ok(predicate) => attested.add(&platform.platform, predicate),
            Err(error) => {
                step.failed(error.text());
                return Err(error);
            }
        }
    }
    step.done();
    Ok(attested)
}

/// Lists the packages of a result.
fn packages(
    store: &Store,
    driver: &Driver,
    request: &BuildRequest,
    wanted: &Sbom,
    result: &PlatformResult,
    step: &Step,
) -> CliResult<Predicate> {
    let mount = driver.mount(store, &result.snapshot, None, Purpose::Files)?;
    let root = mount.as_fd().try_clone_to_owned()?;
    let found = sbom::scan(&root);
    for message in &found.warnings {
        step.warn(Warning { message: message.clone(), ..Warning::default() });
    }
    let name = request.args.tags.first().map_or("image", String::as_str);
    let created = match result.plan.source_date_epoch {
        Some(epoch) => epoch,
        None => newest(store, result)?,
    };
    let document = sbom::spdx(
        &found,
        &Described {
            name,
            // The same files with the same name have the same list, whoever makes it.
            identity: &format!("{name} {} {}", result.platform, result.target),
            created: jiff::Timestamp::from_second(created).unwrap_or_default(),
            tool: concat!("builder-", env!("CARGO_PKG_VERSION")),
        },
    );
    Predicate::new(store, SPDX, serde_json::to_vec(&document)?, "sbom.spdx.json".into(), wanted.inline_only)
}

/// When the last layer of a result was made, in seconds since the epoch.
fn newest(store: &Store, result: &PlatformResult) -> CliResult<i64> {
    let Some(last) = result.snapshot.layers.last() else { return Ok(0) };
    Ok(store.layer(last)?.meta.created_ms / 1000)
}
