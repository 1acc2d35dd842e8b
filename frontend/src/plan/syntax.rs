//! `# syntax=`: which frontend the file asks for.

use crate::ast::Dockerfile;
use crate::plan::arguments::BuildArguments;
use crate::plan::error::{PlanError, PlanErrorKind};

/// The standard frontend, whatever its version, is the one built in here.
pub(super) fn check(file: &Dockerfile, arguments: &BuildArguments) -> Result<(), PlanError> {
    let (value, span) = match (arguments.get("BUILDKIT_SYNTAX"), &file.directives.syntax) {
        (Some(value), _) => (value, None),
        (None, Some(word)) => (word.as_str(), Some(word.span.clone())),
        (None, None) => return Ok(()),
    };
    match value.split_whitespace().next() {
        Some(image) if !is_standard(image) => {
            let kind = PlanErrorKind::NotSupported(format!("the frontend `{image}`"));
            let help = "leave the `syntax` line out, or name `docker/dockerfile:1`".to_owned();
            Err(PlanError::new(kind, span).help(help))
        }
        _ => Ok(()),
    }
}

/// `docker/dockerfile`, `docker/dockerfile-upstream` and other builds of it (`docker/dockerfile-…`) with any tag or digest,
/// from Docker Hub or a mirror of it.
fn is_standard(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let (path, last) = name.rsplit_once('/').unwrap_or(("", name));
    let last = last.split(':').next().unwrap_or_default();
    let owner = path.rsplit('/').next().unwrap_or_default();
    let standard = last.strip_prefix("dockerfile").is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    name == "dockerfile.v0" || (owner == "docker" && standard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_frontend_is_known() {
        let standard = [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile:1@sha256:abc",
            "docker/dockerfile-upstream:master",
            "docker/dockerfile-copy",
            "mirror.example:5000/docker/dockerfile:1",
            "dockerfile.v0",
        ];
        for image in standard {
            assert!(is_standard(image), "{image}");
        }
        for image in [
            "",
            "dockerfile",
            "me/dockerfile",
            "docker/other:1",
            "docker/dockerfilex",
            "docker/dockerfile/x",
            "r.example/buildpacks",
        ] {
            assert!(!is_standard(image), "{image}");
        }
    }
}
