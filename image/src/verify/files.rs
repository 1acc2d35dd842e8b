//! Layout directories and archives: one pass over all files, and then what is in them is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use builder_cache::{BlobDigest, DiffId};
use serde_json::Value;

use super::fact::Fact;
use super::{Outcome, Report, Subject, differs, statement};
use crate::archive::index::blob_path;
use crate::archive::{
    ATTESTATION_MANIFEST, Error, PREDICATE_TYPE, REFERENCE_DIGEST, REFERENCE_TYPE, STATEMENT, source,
};
use crate::compress::decoder;
use crate::config::ConfigView;
use crate::layer::clean_path;
use crate::tar::{Kind, Limits, Reader};

/// How much of texts is kept in memory.
const TEXTS: u64 = 1 << 30;

/// How much of them is looked into, over and over again.
const LOOKED_INTO: u64 = 4 << 30;

/// How deep indexes may lead to indexes, and links to links.
const DEPTH: usize = 8;

/// Compares the parts of an OCI layout.
pub fn layout(directory: &Path) -> Result<Report, Error> {
    let fail = |source| Error::Read { path: directory.display().to_string(), source };
    let root = OwnedFd::from(File::open(directory).map_err(fail)?);
    let mut names: Vec<String> = ["index.json", "oci-layout", "manifest.json"].map(str::to_owned).to_vec();
    match fs::read_dir(directory.join("blobs/sha256")) {
        Ok(entries) => {
            for entry in entries {
                if let Ok(name) = entry.map_err(fail)?.file_name().into_string()
                    && name.len() == 64
                {
                    names.push(format!("blobs/sha256/{name}"));
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    let mut content = Content::default();
    let mut texts = TEXTS;
    for name in names {
        let Some((file, size)) = source::open(&root, &name)? else { continue };
        let fact = Fact::of(file, size, &mut texts).map_err(|source| Error::Read { path: name.clone(), source })?;
        content.files.insert(name, fact);
    }
    content.report()
}

/// Compares the parts of an archive, compressed or not.
pub fn archive(input: impl Read + Send) -> Result<Report, Error> {
    let (_, input) = decoder(input).map_err(|source| Error::Read { path: "the archive".to_owned(), source })?;
    let mut reader = Reader::new(input, Limits::default());
    let mut content = Content::default();
    let mut texts = TEXTS;
    while let Some(entry) = reader.next_entry()? {
        let Ok(path) = clean_path(&entry.path) else { continue };
        let path = String::from_utf8_lossy(&path).into_owned();
        match &entry.kind {
            Kind::File => {
                let fact = Fact::of(Data(&mut reader), entry.size, &mut texts)
                    .map_err(|source| Error::Read { path: path.clone(), source })?;
                if content.files.insert(path.clone(), fact).is_some() {
                    content.twice.insert(path);
                }
            }
            Kind::Symlink(target) => {
                let directory = path.rfind('/').map_or("", |slash| &path[..slash]);
                let target = [directory.as_bytes(), b"/", target].concat();
                content.link(path.clone(), &target);
            }
            Kind::HardLink(target) => content.link(path.clone(), target),
            _ => {}
        }
    }
    reader.drain()?;
    content.report()
}

/// The bytes of an entry.
struct Data<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read_data(buffer).map_err(std::io::Error::other)
    }
}

/// What was looked at so far. An index can name one thing a million times, and that thing another one.
#[derive(Debug, Default)]
struct Seen {
    blobs: BTreeSet<BlobDigest>,
    /// Indexes and manifests, and what each was said to be about.
    walked: BTreeSet<(BlobDigest, Option<BlobDigest>)>,
    /// How many bytes of texts may still be looked into.
    left: u64,
}

impl Seen {
    fn text<'f>(&mut self, fact: &'f Fact) -> Result<&'f [u8], String> {
        let text = fact.text.as_deref().ok_or("it is no JSON, or too large to be looked into")?;
        self.left = self.left.checked_sub(text.len() as u64).ok_or("there is too much to be looked into")?;
        Ok(text)
    }

    fn parse(&mut self, fact: &Fact) -> Result<Value, String> {
        serde_json::from_slice(self.text(fact)?).map_err(|error| format!("it can't be understood: {error}"))
    }
}

/// What an archive or a layout holds.
#[derive(Debug, Default)]
struct Content {
    files: BTreeMap<String, Fact>,
    links: BTreeMap<String, String>,
    twice: BTreeSet<String>,
}

impl Content {
    fn link(&mut self, path: String, target: &[u8]) {
        if let Ok(target) = clean_path(target) {
            self.links.insert(path, String::from_utf8_lossy(&target).into_owned());
        }
    }

    fn get(&self, path: &str) -> Option<&Fact> {
        let mut path = path;
        for _ in 0..DEPTH {
            match self.links.get(path) {
                Some(target) => path = target,
                None => return self.files.get(path),
            }
        }
        None
    }

    fn report(&self) -> Result<Report, Error> {
        let (index, list) = (self.get("index.json"), self.get("manifest.json"));
        if index.is_none() && list.is_none() {
            return Err(Error::NotAnArchive);
        }
        let mut report = Report::default();
        for path in &self.twice {
            // A second file of the same name could be what another tool sees.
            report.add(Subject::File, path, "name", Outcome::Failed("the archive has it twice".to_owned()));
        }
        let mut seen = Seen { left: LOOKED_INTO, ..Seen::default() };
        if let Some(index) = index {
            self.manifests(index, "index.json", DEPTH, &mut seen, &mut report);
        }
        if let Some(list) = list {
            self.docker(list, &mut seen, &mut report);
        }
        // What nothing refers to still has a name that says what it is.
        for (path, fact) in &self.files {
            let Some(digest) = path.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse().ok())
            else {
                continue;
            };
            if !seen.blobs.contains(&digest) {
                report.check(Subject::Blob, digest, "digest", || same(fact, &digest));
            }
        }
        Ok(report)
    }

    /// The manifests of an index.
    fn manifests(&self, fact: &Fact, path: &str, depth: usize, seen: &mut Seen, report: &mut Report) {
        let parsed = seen.parse(fact).and_then(|value| match value["manifests"].as_array() {
            Some(list) => Ok(list.clone()),
            None => Err("it lists no manifests".to_owned()),
        });
        let list = match parsed {
            Ok(list) => list,
            Err(reason) => {
                report.add(Subject::Index, path, "content", Outcome::Failed(reason));
                return;
            }
        };
        let listed: BTreeSet<&str> = list.iter().filter_map(|descriptor| descriptor["digest"].as_str()).collect();
        for descriptor in &list {
            let attests = descriptor["annotations"][REFERENCE_TYPE] == ATTESTATION_MANIFEST;
            let subject = if is_index(descriptor) { Subject::Index } else { Subject::Manifest };
            let Some((digest, fact)) = self.descriptor(subject, descriptor, seen, report) else { continue };
            if subject == Subject::Index {
                if depth == 0 {
                    let reason = "indexes lead to indexes too many times".to_owned();
                    report.add(Subject::Index, digest, "content", Outcome::Failed(reason));
                } else if seen.walked.insert((digest, None)) {
                    self.manifests(fact, &digest.to_string(), depth - 1, seen, report);
                }
                continue;
            }
            let about = descriptor["annotations"][REFERENCE_DIGEST].as_str();
            if attests {
                let compared = "what it is about";
                report.check(Subject::Manifest, digest, compared, || match about {
                    Some(about) if listed.contains(about) => Ok(()),
                    Some(about) => Err(format!("it is about {about}, which is not listed beside it")),
                    None => Err("it does not say what it is about".to_owned()),
                });
            }
            let about = about.and_then(|about| about.parse().ok());
            if seen.walked.insert((digest, about)) {
                self.manifest(digest, fact, about, seen, report);
            }
        }
    }

    /// Config, layers and statements of a manifest; `about` is the manifest that an index says it is about.
    fn manifest(
        &self,
        digest: BlobDigest,
        fact: &Fact,
        about: Option<BlobDigest>,
        seen: &mut Seen,
        report: &mut Report,
    ) {
        let manifest = match seen.parse(fact) {
            Ok(manifest) => manifest,
            Err(reason) => {
                report.add(Subject::Manifest, digest, "content", Outcome::Failed(reason));
                return;
            }
        };
        let named: Option<BlobDigest> = manifest["subject"]["digest"].as_str().and_then(|text| text.parse().ok());
        if let (Some(about), Some(named)) = (about, named) {
            report.check(Subject::Manifest, digest, "subject", || {
                if about == named { Ok(()) } else { Err(differs(named, about)) }
            });
        }
        let about = about.or(named);
        let config = self.descriptor(Subject::Config, &manifest["config"], seen, report);
        let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_statement = |layer: &Value| layer["mediaType"] == STATEMENT;
        let is_artifact = manifest["artifactType"].is_string() || layers.iter().any(is_statement);
        let wanted = match config.filter(|_| !is_artifact) {
            Some((id, config)) => diff_ids(id, config, layers.len(), seen, report),
            None => Vec::new(),
        };
        for (number, layer) in layers.iter().enumerate() {
            let subject = match layer {
                layer if is_statement(layer) => Subject::Statement,
                _ if is_artifact => Subject::Blob,
                _ => Subject::Layer,
            };
            let Some((digest, fact)) = self.descriptor(subject, layer, seen, report) else { continue };
            match subject {
                Subject::Statement => {
                    let predicate = layer["annotations"][PREDICATE_TYPE].as_str();
                    report.check(subject, digest, "type, subject", || {
                        let text = seen.text(fact)?;
                        statement::compare(text, predicate, about.as_ref())
                    });
                }
                Subject::Layer => {
                    if let Some(wanted) = wanted.get(number) {
                        report.check(subject, digest, "diff id", || unpacks(fact, wanted));
                    }
                }
                _ => {}
            }
        }
    }

    /// The blob of a descriptor, when it is here and what it should be.
    fn descriptor(
        &self,
        subject: Subject,
        descriptor: &Value,
        seen: &mut Seen,
        report: &mut Report,
    ) -> Option<(BlobDigest, &Fact)> {
        let text = descriptor["digest"].as_str().unwrap_or_default();
        let Ok(digest) = text.parse::<BlobDigest>() else {
            let reason = format!("`{text}` is not a SHA-256 digest");
            report.add(subject, text, "digest", Outcome::Failed(reason));
            return None;
        };
        seen.blobs.insert(digest);
        let fact = self.get(&blob_path(&digest));
        let passed = report.check(subject, digest, "digest, size", || {
            let fact = fact.ok_or("it is not here")?;
            same(fact, &digest)?;
            match descriptor["size"].as_u64() {
                Some(size) if size == fact.size => Ok(()),
                size => Err(differs(format!("{} bytes", fact.size), size.unwrap_or_default())),
            }
        });
        fact.filter(|_| passed).map(|fact| (digest, fact))
    }

    /// The images of a docker-archive.
    fn docker(&self, list: &Fact, seen: &mut Seen, report: &mut Report) {
        let images = match seen.parse(list) {
            Ok(Value::Array(images)) => images,
            Ok(_) => Vec::new(),
            Err(reason) => {
                report.add(Subject::File, "manifest.json", "content", Outcome::Failed(reason));
                return;
            }
        };
        for image in &images {
            let path = image["Config"].as_str().unwrap_or_default();
            let layers = image["Layers"].as_array().map(Vec::as_slice).unwrap_or_default();
            let Some(config) = self.get(path) else {
                report.add(Subject::File, path, "config", Outcome::Failed("it is not here".to_owned()));
                continue;
            };
            if let Some(digest) = in_name(path) {
                seen.blobs.insert(digest);
                report.check(Subject::Config, digest, "digest", || same(config, &digest));
            }
            let all = diff_ids(config.digest, config, layers.len(), seen, report);
            for (layer, wanted) in layers.iter().zip(&all) {
                let path = layer.as_str().unwrap_or_default();
                seen.blobs.extend(in_name(path));
                report.check(Subject::Layer, path, "diff id", || {
                    let fact = self.get(path).ok_or("it is not here")?;
                    unpacks(fact, wanted)
                });
            }
        }
    }
}

/// The diff ids of a config.
fn diff_ids(id: BlobDigest, config: &Fact, layers: usize, seen: &mut Seen, report: &mut Report) -> Vec<DiffId> {
    let mut found = Vec::new();
    report.check(Subject::Config, id, "layers", || {
        let text = seen.text(config)?;
        let view = ConfigView::parse(text).map_err(|error| format!("it can't be understood: {error}"))?;
        found = view.diff_ids().to_vec();
        if found.len() == layers {
            return Ok(());
        }
        Err(format!("it has {} diff ids, and the manifest {layers} layers", found.len()))
    });
    found
}

fn is_index(descriptor: &Value) -> bool {
    let media_type = descriptor["mediaType"].as_str().unwrap_or_default();
    media_type.contains("image.index") || media_type.contains("manifest.list")
}

/// The digest that a path of a layout, or of a config, has in its name.
fn in_name(path: &str) -> Option<BlobDigest> {
    let name = path.strip_prefix("blobs/sha256/").or_else(|| path.strip_suffix(".json"))?;
    format!("sha256:{name}").parse().ok()
}

fn same(fact: &Fact, digest: &BlobDigest) -> Result<(), String> {
    if fact.digest == *digest { Ok(()) } else { Err(differs(fact.digest, digest)) }
}

fn unpacks(fact: &Fact, wanted: &DiffId) -> Result<(), String> {
    match &fact.unpacked {
        Some(Ok(found)) if found == wanted => Ok(()),
        Some(Ok(found)) => Err(format!("it unpacks to {found}, and should to {wanted}")),
        Some(Err(reason)) => Err(format!("it can't be unpacked: {reason}")),
        // A tar may begin like a text.
        None if fact.digest == BlobDigest::from(*wanted) => Ok(()),
        None => Err("it is no layer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_named_over_and_over_again_is_looked_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = dir.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |kind: &str, value: &Value| {
            let bytes = value.to_string().into_bytes();
            let digest = BlobDigest::of(&bytes);
            fs::write(blobs.join(digest.hex()), &bytes).unwrap();
            json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
        };
        let config = put("application/vnd.oci.image.config.v1+json", &json!({ "rootfs": { "diff_ids": [] } }));
        let layers = vec![config.clone(); 2000];
        let manifest = json!({ "config": config, "layers": layers, "artifactType": "a" });
        let mut below = put("application/vnd.oci.image.manifest.v1+json", &manifest);
        // With every way through them these would be 2000^7 layers.
        for _ in 0..6 {
            let index = json!({ "manifests": vec![below; 2000] });
            below = put("application/vnd.oci.image.index.v1+json", &index);
        }
        fs::write(dir.path().join("index.json"), json!({ "manifests": [below] }).to_string()).unwrap();
        let report = layout(dir.path()).unwrap();
        assert_eq!(report.failed(), 0, "{:?}", report.checks);
        assert!(report.checks.len() < 20, "{:?}", report.checks);
    }

    #[test]
    fn no_more_is_looked_into_than_is_reasonable() {
        let text = b"{}".to_vec();
        let fact = Fact::of(text.as_slice(), 2, &mut 100).unwrap();
        let mut seen = Seen { left: 3, ..Seen::default() };
        assert!(seen.parse(&fact).is_ok());
        assert!(seen.parse(&fact).unwrap_err().contains("too much"));
    }
}
