//! The text of `-o` → [`OutputSpec`].

use std::path::PathBuf;
use std::str::FromStr;

use builder_frontend::plan::EPOCHS;
use builder_image::compress::Compression as Codec;

use super::{ArchiveKind, ArchiveOutput, Dest, Epoch, ImageForm, ImageOutput, LocalOutput, OutputSpec, TarOutput};
use crate::csv::{boolean, fields};

/// What every image takes.
const OF_IMAGES: [&str; 14] = [
    "name",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "annotation",
    "source-date-epoch",
    "rewrite-timestamp",
    "push",
    "push-by-digest",
    "registry.insecure",
    "prefer-nondist-layers",
    "attestation-inline",
    "oci-artifact",
];

impl FromStr for OutputSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an output needs a type or a directory".into());
        }
        // As in buildx: without `type=` it is a directory, `-` a tarball on stdout.
        if text == "-" {
            return Ok(Self::Tar(TarOutput {
                dest: Dest::Stdout,
                split: None,
                epoch: Epoch::Inherited,
                attestation_prefix: String::new(),
            }));
        }
        let fields = fields(text)?;
        if fields.len() == 1 && fields[0] == text && !text.starts_with("type=") {
            return Ok(Self::Local(local(PathBuf::from(text))));
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

fn local(dest: PathBuf) -> LocalOutput {
    LocalOutput { dest, split: None, delete: false, epoch: Epoch::Inherited, attestation_prefix: String::new() }
}

#[derive(Default)]
struct Options {
    kind: Option<String>,
    dest: Option<String>,
    tar: Option<bool>,
    split: Option<bool>,
    delete: Option<bool>,
    image: ImageForm,
    store: Option<bool>,
    dangling_prefix: Option<String>,
    dangling_empty_only: bool,
    canonical: bool,
    push: Option<bool>,
    by_digest: bool,
    insecure: bool,
    inline: Option<bool>,
    attestation_prefix: String,
    /// Everything that was said, in order.
    given: Vec<String>,
}

impl Options {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let truth = |text: &str| boolean(key, text);
        // Some are true when they are merely there.
        let or_true = |text: &str| if text.is_empty() { Ok(true) } else { boolean(key, text) };
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "dest" if value.is_empty() => return Err("dest is empty".into()),
            "dest" => self.dest = Some(value.to_owned()),
            "tar" => self.tar = Some(truth(value)?),
            "platform-split" => self.split = Some(truth(value)?),
            "mode" => {
                self.delete = Some(match value {
                    "copy" => false,
                    "delete" => true,
                    _ => return Err(format!("mode takes copy or delete, not `{value}`")),
                });
            }
            // `*` stands for the names that the image has anyway.
            "name" => {
                let names = value.split(',').filter(|name| !name.is_empty() && *name != "*");
                self.image.names.extend(names.map(str::to_owned));
            }
            "compression" => {
                let codec = value
                    .parse::<Codec>()
                    .map_err(|_| format!("compression takes uncompressed, gzip, estargz or zstd, not `{value}`"))?;
                self.image.compression = Some(codec);
            }
            "compression-level" => {
                let level = value.parse().map_err(|_| format!("compression-level takes a number, not `{value}`"))?;
                self.image.level = Some(level);
            }
            "force-compression" => self.image.force_compression = or_true(value)?,
            "oci-mediatypes" => self.image.docker_types = !or_true(value)?,
            "source-date-epoch" => {
                self.image.epoch = match value {
                    "" => Epoch::None,
                    text => {
                        let seconds = text.parse().ok().filter(|seconds| EPOCHS.contains(seconds));
                        let wrong = || format!("source-date-epoch takes seconds since 1970, not `{text}`");
                        Epoch::At(seconds.ok_or_else(wrong)?)
                    }
                };
            }
            "rewrite-timestamp" => self.image.rewrite_timestamp = truth(value)?,
            "store" => self.store = Some(or_true(value)?),
            "dangling-name-prefix" => self.dangling_prefix = Some(value.to_owned()),
            // Misspelt by those who made it up; both are read.
            "danging-name-empty-only" | "dangling-name-empty-only" => self.dangling_empty_only = or_true(value)?,
            "name-canonical" => self.canonical = or_true(value)?,
            // Layers are always unpacked in the store.
            "unpack" => drop(or_true(value)?),
            "attestation-inline" => self.inline = Some(or_true(value)?),
            "oci-artifact" => self.image.attestation_images = !or_true(value)?,
            "attestation-prefix" => {
                if value.contains(['/', '\0']) {
                    return Err(format!(
                        "attestation-prefix is the beginning of a file's name, which `{value}` can't be"
                    ));
                }
                value.clone_into(&mut self.attestation_prefix);
            }
            "push" => self.push = Some(or_true(value)?),
            "push-by-digest" => self.by_digest = or_true(value)?,
            "registry.insecure" => self.insecure = or_true(value)?,
            "prefer-nondist-layers" => {
                if truth(value)? {
                    return Err("prefer-nondist-layers is not supported: every layer is distributable".into());
                }
            }
            "context" => {
                return Err(
                    "context names a Docker engine to load into, and there is none: give dest=FILE, or type=image for \
                     the store"
                        .into(),
                );
            }
            _ => {
                if self.image.annotations.option(key, value)? {
                    self.given.push("annotation".to_owned());
                    return Ok(());
                }
                return Err(format!("option `{key}` is not supported"));
            }
        }
        self.given.push(key.to_owned());
        Ok(())
    }

    fn finish(self) -> Result<OutputSpec, String> {
        let kind = self.kind.clone().ok_or("an output with options needs type=")?;
        match kind.as_str() {
            "image" | "registry" => {
                self.only(
                    &kind,
                    &OF_IMAGES,
                    &[
                        "unpack",
                        "store",
                        "dangling-name-prefix",
                        "danging-name-empty-only",
                        "dangling-name-empty-only",
                        "name-canonical",
                    ],
                )?;
                let image = ImageForm { without_inline: self.inline == Some(false), ..self.image };
                Ok(OutputSpec::Image(ImageOutput {
                    image: checked(image)?,
                    passing: self.store == Some(false),
                    dangling_prefix: self.dangling_prefix,
                    dangling_empty_only: self.dangling_empty_only,
                    canonical: self.canonical,
                    push: self.push.unwrap_or(kind == "registry"),
                    by_digest: self.by_digest,
                    insecure: self.insecure,
                }))
            }
            "oci" => self.archive(ArchiveKind::Oci, &kind),
            "docker" => self.archive(ArchiveKind::Docker, &kind),
            "local" => {
                self.only(&kind, &[], &["dest", "platform-split", "mode", "source-date-epoch", "attestation-prefix"])?;
                match self.dest.as_deref() {
                    None => Err("type=local needs dest=DIR".into()),
                    Some("-") => Err("a directory can't be written to standard output: use type=tar".into()),
                    Some(dest) => Ok(OutputSpec::Local(LocalOutput {
                        split: self.split,
                        delete: self.delete.unwrap_or_default(),
                        epoch: self.image.epoch,
                        attestation_prefix: self.attestation_prefix,
                        ..local(PathBuf::from(dest))
                    })),
                }
            }
            "tar" => {
                self.only(&kind, &[], &["dest", "platform-split", "source-date-epoch", "attestation-prefix"])?;
                Ok(OutputSpec::Tar(TarOutput {
                    dest: self.dest.as_deref().map_or(Dest::Stdout, Dest::new),
                    split: self.split,
                    epoch: self.image.epoch,
                    attestation_prefix: self.attestation_prefix,
                }))
            }
            "cacheonly" => {
                self.only(&kind, &[], &[])?;
                Ok(OutputSpec::CacheOnly)
            }
            _ => Err(format!("`{kind}` is no output type: use image, registry, oci, docker, local, tar or cacheonly")),
        }
    }

    fn archive(self, kind: ArchiveKind, name: &str) -> Result<OutputSpec, String> {
        self.only(name, &OF_IMAGES, &["dest", "tar"])?;
        if self.push == Some(true) {
            return Err(format!("type={name} is written to a file and can't be pushed: add another -o type=registry"));
        }
        let tar = self.tar.unwrap_or(true);
        let dest = match &self.dest {
            Some(dest) => Dest::new(dest),
            None if tar => Dest::Stdout,
            None => return Err(format!("type={name} with tar=false needs dest=DIR")),
        };
        if !tar && dest == Dest::Stdout {
            return Err("a directory can't be written to standard output: give dest=DIR".to_owned());
        }
        let image = ImageForm { without_inline: self.inline != Some(true), ..self.image };
        Ok(OutputSpec::Archive(ArchiveOutput { kind, dest, tar, image: checked(image)? }))
    }

    /// Refuses what was said of another type.
    fn only(&self, kind: &str, common: &[&str], own: &[&str]) -> Result<(), String> {
        let known =
            |key: &&String| key.as_str() == "type" || common.contains(&key.as_str()) || own.contains(&key.as_str());
        match self.given.iter().find(|key| !known(key)) {
            Some(key) => Err(format!("type={kind} has no option {key}")),
            None => Ok(()),
        }
    }
}

/// Brings the parts of an image's form together.
fn checked(mut image: ImageForm) -> Result<ImageForm, String> {
    let codec = image.compression.unwrap_or(Codec::Gzip);
    if let Some(level) = image.level.filter(|&level| level > codec.highest_level()) {
        let highest = codec.highest_level();
        return Err(format!("compression={codec} has levels from 0 to {highest}, and not {level}"));
    }
    // Docker's media types know neither these compressions nor annotations.
    if matches!(image.compression, Some(Codec::Zstd | Codec::Estargz)) || !image.annotations.is_empty() {
        image.docker_types = false;
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OutputSpec, String> {
        text.parse()
    }

    fn form(text: &str) -> ImageForm {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).image().expect("an image").clone()
    }

    #[test]
    fn forms_of_buildx() {
        let archive = |kind, dest: &str, compression| {
            OutputSpec::Archive(ArchiveOutput {
                kind,
                dest: Dest::new(dest),
                tar: true,
                image: ImageForm { compression, without_inline: true, ..ImageForm::default() },
            })
        };
        let tar = |dest| {
            OutputSpec::Tar(TarOutput { dest, split: None, epoch: Epoch::Inherited, attestation_prefix: String::new() })
        };
        for (text, expected) in [
            ("out", OutputSpec::Local(local("out".into()))),
            ("-", tar(Dest::Stdout)),
            ("type=local,dest=a b", OutputSpec::Local(local("a b".into()))),
            ("type=tar", tar(Dest::Stdout)),
            ("type=tar,dest=x.tar", tar(Dest::Path("x.tar".into()))),
            ("type=oci,dest=x", archive(ArchiveKind::Oci, "x", None)),
            ("type=docker", archive(ArchiveKind::Docker, "-", None)),
            ("type=oci,dest=x,compression=zstd", archive(ArchiveKind::Oci, "x", Some(Codec::Zstd))),
            ("type=cacheonly", OutputSpec::CacheOnly),
            ("type=image", OutputSpec::store()),
            ("type=image,push=false,unpack=true,oci-artifact=true,name=*", OutputSpec::store()),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        let OutputSpec::Local(output) = parse("type=local,dest=d,mode=delete,platform-split=0").unwrap() else {
            panic!("it is a directory")
        };
        assert_eq!((output.delete, output.split), (true, Some(false)));
        let OutputSpec::Image(output) =
            parse("type=image,store=false,dangling-name-prefix=p,danging-name-empty-only=true,name-canonical=")
                .unwrap()
        else {
            panic!("it is an image")
        };
        assert!(output.passing && output.dangling_empty_only && output.canonical);
        assert_eq!(output.dangling_prefix.as_deref(), Some("p"));
        for (text, pushed) in [
            ("type=registry", (true, false, false)),
            ("type=registry,push=false", (false, false, false)),
            ("type=image,push=", (true, false, false)),
            ("type=image,push=true,push-by-digest=true,registry.insecure=true", (true, true, true)),
            ("type=image", (false, false, false)),
        ] {
            let Ok(OutputSpec::Image(output)) = parse(text) else { panic!("{text} is an image") };
            assert_eq!((output.push, output.by_digest, output.insecure), pushed, "{text}");
        }
    }

    #[test]
    fn an_image_has_a_form() {
        assert_eq!(form("type=image,\"name=a,b\"").names, ["a", "b"]);
        let all = form("type=oci,compression=estargz,compression-level=9,force-compression=,oci-mediatypes=false");
        assert_eq!((all.compression, all.level, all.force_compression), (Some(Codec::Estargz), Some(9), true));
        assert!(!all.docker_types, "an eStargz needs OCI's media types");
        assert!(form("type=docker,oci-mediatypes=false").docker_types);
        assert!(!form("type=docker,oci-mediatypes=false,annotation.a=b").docker_types);
        assert!(form("type=image,oci-artifact=false").attestation_images);
        assert!(form("type=image,attestation-inline=false").without_inline);
        assert!(!form("type=oci,attestation-inline=").without_inline);
        let times = form("type=image,source-date-epoch=7,rewrite-timestamp=true");
        assert_eq!((times.epoch, times.rewrite_timestamp), (Epoch::At(7), true));
        assert_eq!(form("type=image,source-date-epoch=").epoch, Epoch::None);
        assert!(form("type=oci,annotation-index.A.B=c").annotations.need_index());
        let level = form("type=docker,compression-level=3").encoding(Codec::Uncompressed);
        assert_eq!((level.compression, level.level), (Codec::Gzip, Some(3)));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "needs a type"),
            ("type=zip", "no output type"),
            ("dest=x,type", "key=value"),
            ("dest=x,tar=true", "needs type="),
            ("type=local", "needs dest"),
            ("type=local,dest=-", "type=tar"),
            ("type=local,dest=x,mode=merge", "copy or delete"),
            ("type=tar,mode=delete", "no option mode"),
            ("type=oci,tar=false", "needs dest"),
            ("type=oci,tar=maybe", "true or false"),
            ("type=oci,compression=rar", "not `rar`"),
            ("type=oci,compression-level=high", "not `high`"),
            ("type=oci,compression-level=10", "from 0 to 9"),
            ("type=oci,compression=zstd,compression-level=23", "from 0 to 22"),
            ("type=oci,source-date-epoch=now", "not `now`"),
            ("type=tar,source-date-epoch=253402207201", "not `253402207201`"),
            ("type=local,dest=d,source-date-epoch=-9223372036854775808", "seconds since 1970"),
            ("type=image,dest=x", "no option dest"),
            ("type=oci,platform-split=true", "no option platform-split"),
            ("type=local,dest=x,compression=gzip", "no option compression"),
            ("type=registry,dest=x", "no option dest"),
            ("type=image,push=maybe", "true or false"),
            ("type=oci,push=true", "can't be pushed"),
            ("type=docker,context=other", "names a Docker engine"),
            ("type=image,prefer-nondist-layers=true", "not supported"),
            ("type=image,annotation-layer.x=y", "can't be annotated"),
            ("type=image,colour=red", "option `colour`"),
            ("type=oci,\"dest=x", "not closed"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
