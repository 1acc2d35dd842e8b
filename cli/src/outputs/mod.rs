//! `-o`: where the result of a build goes, and in which form.
//!
//! [`OutputSpec`] is what one `-o` says, in the words of buildx; [`parse`] reads it. [`annotation`] has the annotations
//! of `-o` and of `--annotation`, [`attest`] the attestations.

mod annotation;
mod attest;
mod parse;

use std::path::{Path, PathBuf};

use builder_image::compress::{Compression as Codec, Encoding};

pub(crate) use self::annotation::Annotations;
pub(crate) use self::attest::{Attest, Provenance, Sbom, SlsaVersion};

/// One output of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputSpec {
    /// Into the store, under these names beside those of `-t`.
    Image(ImageOutput),
    /// An image archive, or with `tar=false` an OCI layout directory.
    Archive(ArchiveOutput),
    /// The files of the result into a directory.
    Local(LocalOutput),
    /// The files of the result as a tarball.
    Tar(TarOutput),
    /// Nowhere: only the cache is filled.
    CacheOnly,
}

/// `type=image`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ImageOutput {
    /// What the image is to be.
    pub(crate) image: ImageForm,
    /// Where it is for a moment only: `store=false`.
    pub(crate) passing: bool,
    /// `dangling-name-prefix`: names it by its digest.
    pub(crate) dangling_prefix: Option<String>,
    /// Only when it has no other name.
    pub(crate) dangling_empty_only: bool,
    /// `name-canonical`: by its digest, too.
    pub(crate) canonical: bool,
    /// To the registries of its names, too.
    pub(crate) push: bool,
    /// Without its tags there.
    pub(crate) by_digest: bool,
    /// `registry.insecure`: any certificate will do there.
    pub(crate) insecure: bool,
}

/// `type=oci` and `type=docker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchiveOutput {
    /// Which kind.
    pub(crate) kind: ArchiveKind,
    /// Where to.
    pub(crate) dest: Dest,
    /// A tarball; otherwise a directory.
    pub(crate) tar: bool,
    /// What the image is to be.
    pub(crate) image: ImageForm,
}

/// `type=local`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalOutput {
    /// The directory.
    pub(crate) dest: PathBuf,
    /// Each platform into its own directory; by default when there are several.
    pub(crate) split: Option<bool>,
    /// `mode=delete`: what the result does not have is removed.
    pub(crate) delete: bool,
    /// The time that every file gets.
    pub(crate) epoch: Epoch,
    /// What names of files with attestations begin with.
    pub(crate) attestation_prefix: String,
}

/// `type=tar`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TarOutput {
    /// Where to.
    pub(crate) dest: Dest,
    /// Each platform into its own directory; by default when there are several.
    pub(crate) split: Option<bool>,
    /// The time that every file gets.
    pub(crate) epoch: Epoch,
    /// What names of files with attestations begin with.
    pub(crate) attestation_prefix: String,
}

/// What an image is to be, however it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ImageForm {
    /// From `name=`.
    pub(crate) names: Vec<String>,
    /// How layers are compressed, when that was said.
    pub(crate) compression: Option<Codec>,
    /// How hard to try.
    pub(crate) level: Option<u8>,
    /// Layers that came with a base image, too.
    pub(crate) force_compression: bool,
    /// Docker's media types instead of OCI's.
    pub(crate) docker_types: bool,
    /// From `annotation…=`.
    pub(crate) annotations: Annotations,
    /// What times are clamped to.
    pub(crate) epoch: Epoch,
    /// Times of files in layers that are built here, too.
    pub(crate) rewrite_timestamp: bool,
    /// `oci-artifact=false`: manifests with attestations look like images.
    pub(crate) attestation_images: bool,
    /// Without attestations that are for images in registries and stores only.
    pub(crate) without_inline: bool,
}

impl ImageForm {
    /// How layers are compressed, where `default` is usual.
    pub(crate) fn encoding(&self, default: Codec) -> Encoding {
        // A level alone asks for something that has levels.
        let default = if self.level.is_some() && default == Codec::Uncompressed { Codec::Gzip } else { default };
        Encoding { compression: self.compression.unwrap_or(default), level: self.level }
    }
}

/// `source-date-epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Epoch {
    /// As the build has it.
    #[default]
    Inherited,
    /// None, whatever the build has: an empty value.
    None,
    /// This one, in seconds.
    At(i64),
}

impl Epoch {
    /// The time that counts, when the build has this one.
    pub(crate) fn or(self, inherited: Option<i64>) -> Option<i64> {
        match self {
            Self::Inherited => inherited,
            Self::None => None,
            Self::At(seconds) => Some(seconds),
        }
    }
}

/// The two archive formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveKind {
    /// An OCI image layout.
    Oci,
    /// What `docker load` reads (and an OCI layout, too).
    Docker,
}

impl ArchiveKind {
    /// How layers are compressed where nothing is said.
    pub(crate) fn codec(self) -> Codec {
        match self {
            Self::Oci => Codec::Gzip,
            Self::Docker => Codec::Uncompressed,
        }
    }
}

/// How layers are compressed by commands that write an image as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    /// Not at all.
    Uncompressed,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl From<Compression> for Codec {
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
    /// Into the store, which is where images go when nothing else is said.
    pub(crate) fn store() -> Self {
        Self::Image(ImageOutput::default())
    }

    /// Whether it writes to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(
            self,
            Self::Archive(ArchiveOutput { dest: Dest::Stdout, .. }) | Self::Tar(TarOutput { dest: Dest::Stdout, .. })
        )
    }

    /// The file or directory that it writes, and whether another output may write there, too.
    pub(crate) fn destination(&self) -> Option<(&Path, bool)> {
        match self {
            Self::Archive(ArchiveOutput { dest: Dest::Path(path), tar, .. }) => Some((path, !tar)),
            Self::Tar(TarOutput { dest: Dest::Path(path), .. }) => Some((path, false)),
            Self::Local(output) => Some((&output.dest, !output.delete)),
            Self::Archive(_) | Self::Tar(_) | Self::Image(_) | Self::CacheOnly => None,
        }
    }

    /// What the image is to be, if it is about an image and not only about files.
    pub(crate) fn image(&self) -> Option<&ImageForm> {
        match self {
            Self::Image(output) => Some(&output.image),
            Self::Archive(output) => Some(&output.image),
            Self::Local(_) | Self::Tar(_) | Self::CacheOnly => None,
        }
    }
}
