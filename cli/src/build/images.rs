//! Base images: the frontend's view of the store.

use std::fmt;

use builder_cache::Store;
use builder_frontend::plan::{Images, ResolveError, ResolvedImage};
use builder_frontend::platform::Platform;

use super::source;
use crate::error::CliError;
use crate::store;

/// How long the ids are that listings show.
const SHORT_ID: usize = 12;

/// Resolves references in the store.
pub(crate) struct StoreImages<'a>(pub(crate) &'a Store);

impl Images for StoreImages<'_> {
    fn resolve(&self, reference: &str, platform: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        let fail = |error: &CliError| ResolveError { message: error.text(), help: None, source: None };
        if let Some(layout) = reference.strip_prefix("oci-layout://") {
            let id = source::resolve_layout(self.0, layout, platform).map_err(|error| fail(&error))?;
            let config = store::config(self.0, &id).map_err(|error| fail(&error))?;
            return Ok(ResolvedImage { id: id.to_string(), reference: reference.to_owned(), config });
        }
        let full = store::full_name(reference).map_err(|error| fail(&error))?;
        let found = self.0.image_by_name(&full).map_err(|error| fail(&error.into()))?;
        let found = match found {
            Some(found) => store::for_platform(self.0, &full, found, platform).map_err(|error| fail(&error))?,
            // As in Docker, an id of the store is a base image, too; what is shorter is a name that is not there.
            None if reference.trim_start_matches("sha256:").len() >= SHORT_ID => {
                match store::try_find(self.0, reference).map_err(|error| fail(&error))? {
                    Some(found) if found.name.is_none() => found.image,
                    _ => return Err(missing(reference, &full)),
                }
            }
            None => return Err(missing(reference, &full)),
        };
        let config = store::config(self.0, &found.id).map_err(|error| fail(&error))?;
        if let Some(wanted) = platform {
            let wanted: Platform = wanted.parse().map_err(|error| fail(&CliError::message(error)))?;
            let is = config.platform();
            if (&wanted.os, &wanted.architecture) != (&is.os, &is.architecture) && !is.architecture.is_empty() {
                let named = self.0.name(&full).map_err(|error| fail(&error.into()))?;
                let platforms = named.map(|named| named.platforms).unwrap_or_default();
                let there: Vec<String> = platforms.into_iter().map(|(platform, _)| platform).collect();
                let there = if there.is_empty() { is.to_string() } else { there.join(", ") };
                return Err(ResolveError {
                    message: format!("the image {full} in the store is for {there} and not for {wanted}"),
                    help: Some(format!(
                        "bring in the one for {wanted} with `builder load --platform {wanted} -i FILE`"
                    )),
                    source: None,
                });
            }
        }
        Ok(ResolvedImage { id: found.id.to_string(), reference: full, config })
    }
}

fn missing(reference: &str, full: &str) -> ResolveError {
    ResolveError {
        message: format!("the base image `{reference}` ({full}) is not in the store"),
        help: Some(format!(
            "images can't be pulled yet: bring it in with `builder load -i FILE` (what docker, podman or skopeo saved) or \
             `builder import ROOTFS.tar {reference}`; `builder images` lists what is there"
        )),
        source: None,
    }
}

impl fmt::Debug for StoreImages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreImages")
    }
}
