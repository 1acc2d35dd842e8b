//! The texts of `--cache-from` and `--cache-to`: `type=registry,ref=user/app:cache,mode=max`, or `user/app:cache`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use builder_cache::BlobDigest;
use builder_image::Reference;
use builder_image::compress::{Compression, Encoding};
use builder_image::remote_cache::Mode;

use super::object::{self, GhaCache, S3Cache};
use crate::csv::{boolean, fields};

/// Where a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A tag of a registry.
    Registry(Reference),
    /// A directory of this machine, and which cache in it.
    Local(PathBuf, Named),
    /// A name in a bucket.
    S3(Box<S3Cache>),
    /// A scope of GitHub Actions.
    Gha(GhaCache),
    /// Inside of the image.
    Inline,
}

/// How a cache is named in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    Tag(String),
    Digest(BlobDigest),
}

/// A cache to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheTo {
    pub(crate) place: Place,
    pub(crate) mode: Mode,
    /// How layers are packed of which there is no blob; `None` is this builder's choice.
    pub(crate) encoding: Option<Encoding>,
    /// Those of which there is another blob, too.
    pub(crate) force: bool,
    /// A build does not fail when this does.
    pub(crate) ignore_error: bool,
}

/// The tag when none is said.
const LATEST: &str = "latest";

/// The keys of a type.
struct Keys {
    from: &'static [&'static str],
    to: &'static [&'static str],
}

/// What all places take.
const PACKING: [&str; 7] = [
    "mode",
    "ignore-error",
    "compression",
    "compression-level",
    "force-compression",
    "image-manifest",
    "oci-mediatypes",
];

fn keys(kind: &str) -> Option<Keys> {
    Some(match kind {
        "registry" => Keys { from: &["ref"], to: &["ref"] },
        "local" => Keys { from: &["src", "tag", "digest"], to: &["dest", "tag", "reset"] },
        "s3" => Keys { from: &object::S3, to: &object::S3 },
        "gha" => Keys { from: &object::GHA, to: &object::GHA },
        "inline" => Keys { from: &[], to: &[] },
        _ => return None,
    })
}

/// The caches that one `--cache-from` names.
pub(crate) fn cache_from(text: &str) -> Result<Vec<Place>, String> {
    read(text, false)?
        .into_iter()
        .map(|mut options| {
            let place = options.place(false)?;
            options.finish(false).map(|()| place)
        })
        .collect()
}

/// The caches that one `--cache-to` names.
pub(crate) fn cache_to(text: &str) -> Result<Vec<CacheTo>, String> {
    read(text, true)?.into_iter().map(Options::target).collect()
}

fn read(text: &str, writes: bool) -> Result<Vec<Options>, String> {
    let fields = fields(text)?;
    if fields.is_empty() {
        return Err("it names no cache".to_owned());
    }
    // As in buildx: without any `=` these are references.
    if fields.iter().all(|field| !field.contains('=')) {
        let of = |field: &String| Options::new("registry", [("ref".to_owned(), field.clone())].into());
        return Ok(fields.iter().map(of).collect());
    }
    let mut values = BTreeMap::new();
    for field in &fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("`{field}` is not of the form key=value"));
        };
        values.insert(key.trim().to_ascii_lowercase(), value.to_owned());
    }
    let kind = values.remove("type").ok_or("it has no type: write type=registry,ref=…")?;
    if !writes && kind == "inline" {
        return Err("a cache inside of an image is read with type=registry,ref=IMAGE".to_owned());
    }
    Ok(vec![Options::new(&kind, values)])
}

pub(super) struct Options {
    kind: String,
    values: BTreeMap<String, String>,
}

impl Options {
    fn new(kind: &str, values: BTreeMap<String, String>) -> Self {
        Self { kind: kind.to_owned(), values }
    }

    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key).filter(|value| !value.is_empty())
    }

    fn need(&mut self, key: &str) -> Result<String, String> {
        self.take(key).ok_or_else(|| format!("type={} needs {key}=", self.kind))
    }

    pub(super) fn truth(&mut self, key: &str) -> Result<Option<bool>, String> {
        self.take(key).map(|value| boolean(key, &value)).transpose()
    }

    fn place(&mut self, writes: bool) -> Result<Place, String> {
        match self.kind.as_str() {
            "registry" => {
                let text = self.need("ref")?;
                let reference: Reference = text.parse().map_err(|error| format!("ref: {error}"))?;
                if writes && reference.digest().is_some() {
                    return Err(format!("a cache is written under a tag, and `{text}` has a digest"));
                }
                Ok(Place::Registry(reference))
            }
            "local" => {
                let directory = PathBuf::from(self.need(if writes { "dest" } else { "src" })?);
                let digest = self.take("digest").map(|text| text.parse().map_err(|error| format!("digest: {error}")));
                let tag = self.take("tag");
                let named = match digest.transpose()? {
                    Some(digest) => Named::Digest(digest),
                    None => Named::Tag(tag.unwrap_or_else(|| LATEST.to_owned())),
                };
                Ok(Place::Local(directory, named))
            }
            "s3" => Ok(Place::S3(Box::new(object::s3(self)?))),
            "gha" => Ok(Place::Gha(object::gha(self)?)),
            "inline" => Ok(Place::Inline),
            other => Err(format!("type={other} is not supported: choose registry, local, s3, gha or inline")),
        }
    }

    fn target(mut self) -> Result<CacheTo, String> {
        let place = self.place(true)?;
        let mode = match self.take("mode").as_deref() {
            None | Some("min") => Mode::Min,
            Some("max") if place == Place::Inline => {
                return Err("an image has no room for the layers of other stages: mode=max is for other types".into());
            }
            Some("max") => Mode::Max,
            Some(other) => return Err(format!("mode takes min or max, not `{other}`")),
        };
        let encoding = self.encoding()?;
        let force = self.truth("force-compression")?.unwrap_or(false);
        let ignore_error = self.truth("ignore-error")?.unwrap_or(false);
        for key in ["image-manifest", "oci-mediatypes"] {
            if self.truth(key)? == Some(false) {
                return Err(format!("{key}=false is not supported: caches are OCI artifacts"));
            }
        }
        if self.truth("reset")? == Some(false) {
            return Err("reset=false is not supported: what no cache of the directory uses is always removed".into());
        }
        self.finish(true)?;
        Ok(CacheTo { place, mode, encoding, force, ignore_error })
    }

    fn encoding(&mut self) -> Result<Option<Encoding>, String> {
        let level = self.take("compression-level");
        let Some(text) = self.take("compression") else {
            return match level {
                Some(_) => Err("compression-level needs compression=".to_owned()),
                None => Ok(None),
            };
        };
        let compression = match text.parse() {
            Ok(Compression::Estargz) | Err(_) => {
                return Err(format!("compression takes uncompressed, gzip or zstd, not `{text}`"));
            }
            Ok(compression) => compression,
        };
        let highest = compression.highest_level();
        let level =
            match level {
                None => None,
                Some(text) => Some(text.parse::<u8>().ok().filter(|level| *level <= highest).ok_or_else(|| {
                    format!("compression-level takes 0 to {highest} for {compression}, not `{text}`")
                })?),
            };
        Ok(Some(Encoding { compression, level }))
    }

    /// Nothing may be left over.
    fn finish(self, writes: bool) -> Result<(), String> {
        let Some((left, _)) = self.values.into_iter().next() else { return Ok(()) };
        let kind = &self.kind;
        let own = keys(kind).map_or(&[][..], |keys| if writes { keys.to } else { keys.from });
        let common: &[&str] = if writes { &PACKING } else { &[] };
        let known: Vec<&str> = own.iter().chain(common).copied().collect();
        Err(format!("type={kind} takes no `{left}`: it takes {}", known.join(", ")))
    }
}

impl fmt::Display for Place {
    /// As the progress names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "{reference}"),
            Self::Local(directory, Named::Tag(tag)) if tag == LATEST => write!(f, "{}", directory.display()),
            Self::Local(directory, Named::Tag(tag)) => write!(f, "{}:{tag}", directory.display()),
            Self::Local(directory, Named::Digest(digest)) => write!(f, "{}@{digest}", directory.display()),
            Self::S3(cache) => write!(f, "s3 {}/{}{}", cache.place.bucket, cache.place.prefix, cache.name),
            Self::Gha(cache) => write!(f, "gha {}", cache.scope),
            Self::Inline => f.write_str("the image"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_to_read() {
        let registry = |text: &str| Place::Registry(text.parse().expect("a reference"));
        let local = |directory: &str, tag: &str| Place::Local(directory.into(), Named::Tag(tag.into()));
        for (text, places) in [
            ("user/app:cache", vec![registry("user/app:cache")]),
            ("a,b:c", vec![registry("a"), registry("b:c")]),
            ("type=registry,ref=h:5000/a", vec![registry("h:5000/a")]),
            ("type=local,src=dir", vec![local("dir", "latest")]),
            ("type=local,src=dir,tag=main", vec![local("dir", "main")]),
        ] {
            assert_eq!(cache_from(text), Ok(places), "{text}");
        }
        for (text, says) in [
            ("", "names no cache"),
            ("type=registry", "needs ref="),
            ("type=registry,ref=UPPER CASE", "ref: "),
            ("type=registry,ref=a,mode=max", "takes no `mode`: it takes ref"),
            ("type=local,dest=dir", "needs src="),
            ("type=local,src=dir,digest=sha256:1", "digest: "),
            ("type=azblob,name=x", "type=azblob is not supported"),
            ("type=inline", "is read with type=registry"),
            ("ref=a", "it has no type"),
            ("type=registry,what", "not of the form"),
        ] {
            let error = cache_from(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn caches_to_write() {
        let all = cache_to("type=local,dest=d,tag=t,mode=max,compression=zstd,compression-level=19,ignore-error=true");
        let expected = CacheTo {
            place: Place::Local("d".into(), Named::Tag("t".into())),
            mode: Mode::Max,
            encoding: Some(Encoding { compression: Compression::Zstd, level: Some(19) }),
            force: false,
            ignore_error: true,
        };
        assert_eq!(all, Ok(vec![expected]));
        let short = cache_to("user/app:cache").expect("a short form");
        assert_eq!(short.iter().map(|to| to.mode).collect::<Vec<_>>(), [Mode::Min]);
        assert!(cache_to("type=registry,ref=a,image-manifest=true,oci-mediatypes=true").is_ok());
        for (text, says) in [
            ("type=inline,mode=max", "no room"),
            ("type=local,dest=d,mode=most", "mode takes min or max"),
            ("type=local,dest=d,compression=estargz", "uncompressed, gzip or zstd"),
            ("type=local,dest=d,compression=gzip,compression-level=12", "takes 0 to 9 for gzip"),
            ("type=local,dest=d,compression-level=1", "needs compression="),
            ("type=local,dest=d,reset=false", "always removed"),
            ("type=local,src=d", "needs dest="),
            ("type=local,dest=d,src=e", "takes no `src`"),
            ("type=registry,ref=a,image-manifest=false", "OCI artifacts"),
            ("type=registry,ref=a,ignore-error=maybe", "takes true or false"),
        ] {
            let error = cache_to(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
