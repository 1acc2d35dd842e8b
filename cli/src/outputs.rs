//! `-o`: where the result of a build goes.

use std::path::PathBuf;
use std::str::FromStr;

/// One output of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputSpec {
    /// Into the store, under these names beside those of `-t`.
    Image {
        /// From `name=`, a list.
        names: Vec<String>,
    },
    /// An image archive, or with `tar=false` an OCI layout directory.
    Archive {
        /// Which kind.
        kind: ArchiveKind,
        /// Where to.
        dest: Dest,
        /// A tarball; otherwise a directory.
        tar: bool,
        /// From `name=`.
        names: Vec<String>,
        /// How layers are compressed.
        compression: Compression,
    },
    /// The files of the result into a directory.
    Local {
        /// The directory.
        dest: PathBuf,
    },
    /// The files of the result as a tarball.
    Tar {
        /// Where to.
        dest: Dest,
    },
    /// Nowhere: only the cache is filled.
    CacheOnly,
}

/// The two archive formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveKind {
    /// An OCI image layout.
    Oci,
    /// What `docker load` reads (and an OCI layout, too).
    Docker,
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    /// Not at all.
    Uncompressed,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl From<Compression> for builder_image::compress::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Uncompressed => Self::Uncompressed,
            Compression::Gzip => Self::Gzip,
            Compression::Zstd => Self::Zstd,
        }
    }
}

/// A file or standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dest {
    /// `dest=-`.
    Stdout,
    /// `dest=FILE`.
    Path(PathBuf),
}

impl Dest {
    fn new(text: &str) -> Self {
        if text == "-" { Self::Stdout } else { Self::Path(PathBuf::from(text)) }
    }
}

impl OutputSpec {
    /// Whether it writes to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self, Self::Archive { dest: Dest::Stdout, .. } | Self::Tar { dest: Dest::Stdout })
    }

    /// Whether the image's config and layers are needed, and not only its files.
    pub(crate) fn needs_image(&self) -> bool {
        matches!(self, Self::Image { .. } | Self::Archive { .. })
    }
}

impl FromStr for OutputSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an output needs a type or a directory".into());
        }
        // As in buildx: without `type=` it is a directory, `-` a tarball on stdout.
        if text == "-" {
            return Ok(Self::Tar { dest: Dest::Stdout });
        }
        let fields = csv(text)?;
        if fields.len() == 1 && !text.starts_with("type=") {
            return Ok(Self::Local { dest: PathBuf::from(text) });
        }
        let mut options = Options::default();
        for field in &fields {
            let Some((key, value)) = field.split_once('=') else {
                return Err(format!("`{field}` is not of the form key=value"));
            };
            options.set(&key.trim().to_ascii_lowercase(), value)?;
        }
        options.finish()
    }
}

#[derive(Default)]
struct Options {
    kind: Option<String>,
    dest: Option<String>,
    tar: Option<bool>,
    names: Vec<String>,
    compression: Option<Compression>,
}

impl Options {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "dest" if value.is_empty() => return Err("dest is empty".into()),
            "dest" => self.dest = Some(value.to_owned()),
            "tar" => {
                self.tar = Some(match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(format!("tar takes true or false, not `{value}`")),
                });
            }
            "name" => self.names.extend(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned)),
            "compression" => {
                self.compression = Some(match value {
                    "uncompressed" => Compression::Uncompressed,
                    "gzip" => Compression::Gzip,
                    "zstd" => Compression::Zstd,
                    "estargz" => return Err("compression=estargz is not supported yet: use gzip or zstd".into()),
                    _ => return Err(format!("compression takes uncompressed, gzip or zstd, not `{value}`")),
                });
            }
            "push" | "push-by-digest" | "registry.insecure" => {
                return Err(format!("{key} is not supported yet: save to type=oci and push that with another tool"));
            }
            _ => return Err(format!("option `{key}` is not supported")),
        }
        Ok(())
    }

    fn finish(self) -> Result<OutputSpec, String> {
        let kind = self.kind.as_deref().ok_or("an output with options needs type=")?;
        let compression = self.compression;
        let archive = |archive: ArchiveKind, default: Compression| {
            let tar = self.tar.unwrap_or(true);
            let dest = match &self.dest {
                Some(dest) => Dest::new(dest),
                None if tar => Dest::Stdout,
                None => return Err(format!("type={kind} with tar=false needs dest=DIR")),
            };
            if !tar && dest == Dest::Stdout {
                return Err("a directory can't be written to standard output: give dest=DIR".to_owned());
            }
            let names = self.names.clone();
            Ok(OutputSpec::Archive { kind: archive, dest, tar, names, compression: compression.unwrap_or(default) })
        };
        let only = |allowed: &[&str]| -> Result<(), String> {
            let given = [
                ("dest", self.dest.is_some()),
                ("tar", self.tar.is_some()),
                ("name", !self.names.is_empty()),
                ("compression", compression.is_some()),
            ];
            match given.iter().find(|(key, given)| *given && !allowed.contains(key)) {
                Some((key, _)) => Err(format!("type={kind} has no option {key}")),
                None => Ok(()),
            }
        };
        match kind {
            "image" => {
                only(&["name"])?;
                Ok(OutputSpec::Image { names: self.names })
            }
            "oci" => archive(ArchiveKind::Oci, Compression::Gzip),
            "docker" => archive(ArchiveKind::Docker, Compression::Uncompressed),
            "local" => {
                only(&["dest"])?;
                let dest = self.dest.ok_or("type=local needs dest=DIR")?;
                Ok(OutputSpec::Local { dest: PathBuf::from(dest) })
            }
            "tar" => {
                only(&["dest"])?;
                Ok(OutputSpec::Tar { dest: self.dest.as_deref().map_or(Dest::Stdout, Dest::new) })
            }
            "cacheonly" => {
                only(&[])?;
                Ok(OutputSpec::CacheOnly)
            }
            "registry" => {
                Err("type=registry is not supported yet: save to type=oci and push that with another tool".into())
            }
            _ => Err(format!("`{kind}` is no output type: use image, oci, docker, local, tar or cacheonly")),
        }
    }
}

/// Splits at commas; a field in double quotes may hold commas, and `""` is a quote in it.
fn csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let field = fields.last_mut().ok_or("no field")?;
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted { Err("a quote is not closed".into()) } else { Ok(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OutputSpec, String> {
        text.parse()
    }

    #[test]
    fn forms_of_buildx() {
        let archive = |kind, dest: &str, compression| OutputSpec::Archive {
            kind,
            dest: Dest::new(dest),
            tar: true,
            names: vec![],
            compression,
        };
        for (text, expected) in [
            ("out", OutputSpec::Local { dest: "out".into() }),
            ("-", OutputSpec::Tar { dest: Dest::Stdout }),
            ("type=local,dest=a b", OutputSpec::Local { dest: "a b".into() }),
            ("type=tar", OutputSpec::Tar { dest: Dest::Stdout }),
            ("type=tar,dest=x.tar", OutputSpec::Tar { dest: Dest::Path("x.tar".into()) }),
            ("type=oci,dest=x", archive(ArchiveKind::Oci, "x", Compression::Gzip)),
            ("type=docker", archive(ArchiveKind::Docker, "-", Compression::Uncompressed)),
            ("type=oci,dest=x,compression=zstd", archive(ArchiveKind::Oci, "x", Compression::Zstd)),
            ("type=image,\"name=a,b\"", OutputSpec::Image { names: vec!["a".into(), "b".into()] }),
            ("type=cacheonly", OutputSpec::CacheOnly),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "needs a type"),
            ("type=zip", "no output type"),
            ("dest=x,type", "key=value"),
            ("dest=x,tar=true", "needs type="),
            ("type=local", "needs dest"),
            ("type=oci,tar=false", "needs dest"),
            ("type=oci,tar=maybe", "true or false"),
            ("type=oci,compression=rar", "not `rar`"),
            ("type=image,dest=x", "no option dest"),
            ("type=registry", "not supported yet"),
            ("type=image,push=true", "not supported yet"),
            ("type=oci,\"dest=x", "not closed"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
