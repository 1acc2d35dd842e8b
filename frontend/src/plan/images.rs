//! What the frontend has to ask others: it does no I/O.

use builder_solver::Source;

use crate::config::ImageConfig;
use crate::plan::ResolveError;

/// The frontend's view of the store, of registries and of what is behind addresses.
pub trait Images {
    /// Finds an image by what `FROM` or `COPY --from` says (`debian`, `debian:12`, `host/app@sha256:…`), which the
    /// implementation brings into full form. `platform` is `os/architecture[/variant]`.
    fn resolve(&self, reference: &str, platform: Option<&str>) -> Result<ResolvedImage, ResolveError>;

    /// When what a source brings in was made, in seconds since 1970, for a `SOURCE_DATE_EPOCH` that names the source:
    /// the time of a commit, `Last-Modified` of a file, the newest file of an archive. Nothing when nobody can tell, as
    /// with a directory of the client.
    fn source_time(&self, source: &Source) -> Result<Option<i64>, ResolveError> {
        let address = match source {
            Source::Http(http) => &http.url,
            Source::Git(git) => &git.remote,
            Source::Scratch | Source::Image { .. } | Source::Local { .. } => return Ok(None),
        };
        Err(ResolveError {
            message: format!("nobody here can tell the time of `{address}`"),
            help: Some("give SOURCE_DATE_EPOCH as a number of seconds".to_owned()),
            source: None,
        })
    }
}

/// An image that [`Images`] found.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The image id, `sha256:…`.
    pub id: String,
    /// The reference in full: `docker.io/library/debian:12`.
    pub reference: String,
    /// Its config.
    pub config: ImageConfig,
}
