//! `oci-layout://DIRECTORY[:TAG|@DIGEST]`: an image of a layout on this machine, brought into the store without a name.

use std::path::Path;

use anyhow::Context;
use builder_cache::{BlobDigest, Store};
use builder_frontend::platform::Platform;
use builder_image::archive::{LoadOptions, Wanted, load_layout};

use crate::error::{CliError, CliResult};

/// Loads the image that the text after `oci-layout://` names.
pub(crate) fn resolve(store: &Store, text: &str, platform: Option<&str>) -> CliResult<BlobDigest> {
    let (directory, wanted) = split(text)?;
    if !Path::new(directory).is_dir() {
        return Err(CliError::message(format!("the OCI layout {directory} is not there, or is not a directory")));
    }
    let mut options = LoadOptions { wanted: Some(wanted.clone()), ..LoadOptions::default() };
    if let Some(platform) = platform {
        let Platform { os, architecture, variant } = platform.parse().map_err(CliError::message)?;
        let variant = Some(variant).filter(|variant| !variant.is_empty());
        options.platform = builder_image::Platform { os, architecture, variant };
    }
    let loaded = load_layout(store, Path::new(directory), &options)
        .with_context(|| format!("the OCI layout {directory} can't be loaded"))?;
    match loaded.as_slice() {
        [image] => Ok(image.id),
        [] => Err(CliError::message(format!("the OCI layout {directory} has no image {wanted}"))),
        _ => Err(CliError::message(format!(
            "the OCI layout {directory} has several images {wanted}: name one by its digest"
        ))),
    }
}

/// A tag begins behind the last colon of the last part; a colon before a slash belongs to a directory.
fn split(text: &str) -> CliResult<(&str, Wanted)> {
    // An `@` of a directory's name has slashes behind it, or no colon.
    if let Some((directory, digest)) = text.rsplit_once('@').filter(|(_, end)| end.contains(':') && !end.contains('/'))
    {
        let digest = digest.parse().map_err(|error| CliError::Usage(format!("oci-layout://{text}: {error}")))?;
        return Ok((directory, Wanted::Digest(digest)));
    }
    Ok(match text.rsplit_once(':') {
        Some((directory, tag)) if !tag.contains('/') && !tag.is_empty() && !directory.is_empty() => {
            (directory, Wanted::Tag(tag.to_owned()))
        }
        _ => (text, Wanted::Only),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_are_split_off() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let tag = |text: &str| Wanted::Tag(text.to_owned());
        for (text, directory, wanted) in [
            ("a", "a", Wanted::Only),
            ("./a/b:v1", "./a/b", tag("v1")),
            ("/a:b/c", "/a:b/c", Wanted::Only),
            ("/a@b/c", "/a@b/c", Wanted::Only),
            ("/a@b", "/a@b", Wanted::Only),
            ("/a@b/c:v1", "/a@b/c", tag("v1")),
            (&format!("a@{digest}"), "a", Wanted::Digest(digest.parse().expect("a digest"))),
        ] {
            assert_eq!(split(text).ok(), Some((directory, wanted)), "{text}");
        }
        assert!(split("a@sha256:x").is_err() && split("a@b@sha256:x").is_err());
    }
}
